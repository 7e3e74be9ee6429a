// Package config reads settings from one YAML file and the environment into a struct, and reports everything that is
// wrong at once: for each problem the key, the value and what is accepted.
//
// A struct field takes part by its yaml tag. Every scalar can be set by an environment variable that is made of the
// prefix and the path of keys: kafka.tls.ca_file is AMOSKYS_KAFKA_TLS_CA_FILE. Lists take comma-separated values.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A Problem is one thing that is wrong with a setting.
type Problem struct {
	Key      string // path of keys, e.g. kafka.tls.ca_file
	Value    string // what was set; empty when nothing was
	Accepted string // what would have been accepted
	Source   string // where it was set: file and line, variable or flag
}

// Error says all of it in one line.
func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %q is not accepted; accepted: %s", p.Key, p.Value, p.Accepted)
	if p.Source != "" {
		fmt.Fprintf(&b, " (%s)", p.Source)
	}
	return b.String()
}

// Problems are all problems of a configuration. It is an error when it is not empty.
type Problems []Problem

// Error lists the problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, 0, len(ps)+1)
	lines = append(lines, fmt.Sprintf("configuration has %d problem(s):", len(ps)))
	for _, p := range ps {
		lines = append(lines, "  "+p.Error())
	}
	return strings.Join(lines, "\n")
}

// Err returns the problems as an error, or nil when there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Alias gives a variable a second, shorter name.
type Alias struct{ Variable, Key string }

// Load sets v, a pointer to a struct that holds the defaults, from a YAML file (if path is not empty) and then from the
// environment. It returns the source of each key that was set.
func Load(v any, path, prefix string, environ []string, aliases ...Alias) (map[string]string, Problems) {
	sources := map[string]string{}
	var ps Problems
	if path != "" {
		ps = append(ps, readFile(v, path, sources)...)
	}
	ps = append(ps, readEnviron(v, prefix, environ, aliases, sources)...)
	return sources, ps
}

var (
	unknownField = regexp.MustCompile(`^line (\d+): field (\S+) not found in type (\S+)$`)
	wrongType    = regexp.MustCompile("^line (\\d+): cannot unmarshal !!\\w+ `?(.*?)`? into (\\S+)$")
)

func readFile(v any, path string, sources map[string]string) (ps Problems) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Problems{{Key: "--config", Value: path, Accepted: "a readable YAML file", Source: err.Error()}}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return Problems{{Key: path, Value: firstLine(err.Error()), Accepted: "YAML"}}
	}
	lines := map[int]string{} // line -> key path
	if len(doc.Content) > 0 {
		walk(doc.Content[0], "", func(key string, n *yaml.Node) {
			lines[n.Line] = key
			sources[key] = fmt.Sprintf("%s line %d", path, n.Line)
		})
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	err = dec.Decode(v)
	var te *yaml.TypeError
	switch {
	case err == nil || errors.Is(err, io.EOF):
	case errors.As(err, &te):
		keys := Keys(v)
		for _, e := range te.Errors {
			ps = append(ps, typeProblem(e, path, lines, keys))
		}
	default:
		ps = append(ps, Problem{Key: path, Value: firstLine(err.Error()), Accepted: "YAML"})
	}
	return ps
}

func firstLine(s string) string { s, _, _ = strings.Cut(s, "\n"); return s }

func typeProblem(text, path string, lines map[int]string, keys []string) Problem {
	if m := unknownField.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		key := lines[n]
		if key == "" {
			key = m[2]
		}
		parent := key[:max(strings.LastIndex(key, "."), 0)]
		return Problem{Key: key, Value: m[2], Accepted: "one of the keys " + strings.Join(children(keys, parent), ", "), Source: path + " line " + m[1]}
	}
	if m := wrongType.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		return Problem{Key: lines[n], Value: m[2], Accepted: typeWords(m[3]), Source: path + " line " + m[1]}
	}
	return Problem{Key: path, Value: text, Accepted: "a value of the key's type"}
}

func children(keys []string, parent string) (out []string) {
	for _, k := range keys {
		if parent != "" {
			rest, ok := strings.CutPrefix(k, parent+".")
			if !ok {
				continue
			}
			k = rest
		}
		k, _, _ = strings.Cut(k, ".")
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

func typeWords(t string) string {
	switch {
	case t == "time.Duration":
		return "a duration such as 250ms, 10s or 1h"
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"):
		return "a whole number"
	case strings.HasPrefix(t, "float"):
		return "a number"
	case t == "bool":
		return "true or false"
	case t == "string":
		return "a text"
	case strings.HasPrefix(t, "[]"):
		return "a list"
	}
	return "a group of keys"
}

func walk(n *yaml.Node, prefix string, f func(string, *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if prefix != "" {
			key = prefix + "." + key
		}
		f(key, n.Content[i])
		walk(n.Content[i+1], key, f)
	}
}

// Keys are the paths of all scalar and list settings of a struct, in the order of its fields.
func Keys(v any) (keys []string) {
	visit(reflect.ValueOf(v).Elem(), "", func(key string, _ reflect.Value) { keys = append(keys, key) })
	return keys
}

// Value is the present value of a key as text; empty when there is no such key.
func Value(v any, key string) (text string) {
	visit(reflect.ValueOf(v).Elem(), "", func(k string, f reflect.Value) {
		if k == key {
			if l, ok := f.Interface().([]string); ok {
				text = strings.Join(l, ",")
				return
			}
			text = fmt.Sprint(f.Interface())
		}
	})
	return text
}

func visit(v reflect.Value, prefix string, f func(string, reflect.Value)) {
	for i := range v.NumField() {
		ft := v.Type().Field(i)
		name, opts, _ := strings.Cut(ft.Tag.Get("yaml"), ",")
		if !ft.IsExported() || name == "-" || name == "" && opts != "inline" {
			continue
		}
		key := prefix
		if name != "" {
			key = strings.TrimPrefix(prefix+"."+name, ".")
		}
		fv := v.Field(i)
		if fv.Kind() == reflect.Struct {
			visit(fv, key, f)
			continue
		}
		f(key, fv)
	}
}

func readEnviron(v any, prefix string, environ []string, aliases []Alias, sources map[string]string) (ps Problems) {
	fields := map[string]reflect.Value{}
	keyOf := map[string]string{}
	visit(reflect.ValueOf(v).Elem(), "", func(key string, f reflect.Value) {
		fields[key] = f
		keyOf[prefix+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = key
	})
	for _, a := range aliases {
		keyOf[a.Variable] = a.Key
	}
	for _, kv := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(kv, "=")
		key, ok := keyOf[name]
		if !ok {
			continue
		}
		sources[key] = "variable " + name
		if want := set(fields[key], value); want != "" {
			ps = append(ps, Problem{Key: key, Value: value, Accepted: want, Source: "variable " + name})
		}
	}
	return ps
}

// Set sets one key from text, as a flag does.
func Set(v any, key, value, source string) (ps Problems) {
	found := false
	visit(reflect.ValueOf(v).Elem(), "", func(k string, f reflect.Value) {
		if k != key {
			return
		}
		found = true
		if want := set(f, value); want != "" {
			ps = append(ps, Problem{Key: key, Value: value, Accepted: want, Source: source})
		}
	})
	if !found {
		ps = append(ps, Problem{Key: key, Value: value, Accepted: "a known key", Source: source})
	}
	return ps
}

// set parses text into a field; it returns what would have been accepted, or nothing.
func set(f reflect.Value, text string) string {
	switch f.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return typeWords("time.Duration")
		}
		f.SetInt(int64(d))
		return ""
	case []string:
		var l []string
		for _, s := range strings.Split(text, ",") {
			if s = strings.TrimSpace(s); s != "" {
				l = append(l, s)
			}
		}
		f.Set(reflect.ValueOf(l))
		return ""
	}
	var err error
	switch f.Kind() {
	case reflect.String:
		f.SetString(text)
	case reflect.Bool:
		var b bool
		if b, err = strconv.ParseBool(text); err == nil {
			f.SetBool(b)
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		var n int64
		if n, err = strconv.ParseInt(text, 10, 64); err == nil {
			f.SetInt(n)
		}
	case reflect.Float64:
		var x float64
		if x, err = strconv.ParseFloat(text, 64); err == nil {
			f.SetFloat(x)
		}
	default:
		return "a value in the configuration file"
	}
	if err != nil {
		return typeWords(f.Kind().String())
	}
	return ""
}
