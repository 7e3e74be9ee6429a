// Package config reads settings from one YAML file and the environment into a struct, and reports everything that is
// wrong at once: for each problem the key, the value and what is accepted.
//
// A struct field takes part by its yaml tag. Every scalar can be set by an environment variable that is made of the
// prefix and the path of keys: kafka.tls.ca_file is AMOSKYS_KAFKA_TLS_CA_FILE. Lists take comma-separated values.
package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// A Problem is one thing that is wrong with a setting.
type Problem struct {
	Key      string // path of keys, e.g. kafka.tls.ca_file
	Value    string // what was set; empty when nothing was
	Accepted string // what would have been accepted
	Source   string // where it was set: file and line, variable or flag
}

// Error says all of it in one line. What is secret in a URL is not shown.
func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %q is not accepted; accepted: %s", p.Key, Redact(p.Value), p.Accepted)
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
	lines = append(lines, "configuration has "+count(len(ps))+":")
	for _, p := range ps {
		lines = append(lines, "  "+p.Error())
	}
	return strings.Join(lines, "\n")
}

func count(n int) string {
	if n == 1 {
		return "1 problem"
	}
	return strconv.Itoa(n) + " problems"
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

// An Environment is where variables come from, and what they mean.
type Environment struct {
	Prefix  string   // of every variable that is a setting
	Environ []string // NAME=value
	Aliases []Alias
	// Foreign are names with the prefix that are no settings: others read them. A name that ends in * stands for all that
	// begin so.
	Foreign []string
}

// Load sets v, a pointer to a struct that holds the defaults, from a YAML file (if path is not empty) and then from the
// environment. It returns the source of each key that was set. A variable with the prefix that is neither a setting nor
// known as another's is a problem: a misspelt one would be ignored without a word.
func Load(v any, path string, env Environment) (map[string]string, Problems) {
	sources := map[string]string{}
	var ps Problems
	if path != "" {
		ps = append(ps, readFile(v, path, sources)...)
	}
	ps = append(ps, env.read(v, sources)...)
	return sources, ps
}

func typeWords(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration such as 250ms, 10s or 1h"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Struct:
		return "a group of keys"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "a text"
	case t.Kind() == reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// Keys are the paths of all scalar and list settings of a struct, in the order of its fields.
func Keys(v any) (keys []string) {
	visit(reflect.ValueOf(v).Elem(), "", func(key string, _ reflect.Value) { keys = append(keys, key) })
	return keys
}

// KeysOf are the paths of all settings that have the type T.
func KeysOf[T any](v any) (keys []string) {
	visit(reflect.ValueOf(v).Elem(), "", func(key string, f reflect.Value) {
		if f.Type() == reflect.TypeFor[T]() {
			keys = append(keys, key)
		}
	})
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
		ps = append(ps, Problem{Key: key, Value: value, Accepted: among("one of the keys", Keys(v), key), Source: source})
	}
	return ps
}

// set parses text into a field; it returns what would have been accepted, or nothing.
func set(f reflect.Value, text string) string {
	switch f.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return typeWords(f.Type())
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
		return typeWords(f.Type())
	}
	return ""
}
