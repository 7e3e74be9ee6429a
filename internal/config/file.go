package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlFile sets the fields of a struct from one YAML document. It goes through the document itself, so that each problem
// is found, whatever else is wrong, and is told with its key and line.
type yamlFile struct {
	path    string
	fields  map[string]reflect.Value // by key, scalars and lists
	keys    []string
	sources map[string]string
	ps      Problems
}

func readFile(v any, path string, sources map[string]string) Problems {
	text, err := os.ReadFile(path)
	if err != nil {
		return Problems{{Key: "--config", Value: path, Accepted: "a readable YAML file", Source: err.Error()}}
	}
	f := &yamlFile{path: path, fields: map[string]reflect.Value{}, sources: sources}
	visit(reflect.ValueOf(v).Elem(), "", func(key string, field reflect.Value) {
		f.fields[key] = field
		f.keys = append(f.keys, key)
	})
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // an empty file sets nothing
		return nil
	case err != nil:
		return Problems{{Key: path, Value: firstLine(err.Error()), Accepted: "YAML"}}
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		f.ps = append(f.ps, Problem{Key: path, Value: "more than one document", Accepted: "one YAML document"})
	}
	f.group("", doc.Content[0])
	return f.ps
}

func firstLine(s string) string { s, _, _ = strings.Cut(s, "\n"); return s }

func (f *yamlFile) at(n *yaml.Node) string { return fmt.Sprintf("%s line %d", f.path, n.Line) }

func (f *yamlFile) bad(key, value, accepted string, n *yaml.Node) {
	f.ps = append(f.ps, Problem{Key: key, Value: value, Accepted: accepted, Source: f.at(n)})
}

// group takes the keys of a mapping. Nothing after a key leaves the defaults of its settings.
func (f *yamlFile) group(key string, n *yaml.Node) {
	n = resolve(n)
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		name := key
		if name == "" {
			name = f.path
		}
		f.bad(name, shown(n), "a group of keys: "+strings.Join(children(f.keys, key), ", "), n)
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		child := strings.TrimPrefix(key+"."+name.Value, ".")
		if line, ok := seen[name.Value]; ok {
			f.bad(child, shown(value), fmt.Sprintf("each key once; it is set in line %d already", line), name)
			continue
		}
		seen[name.Value] = name.Line
		f.setting(child, name, value)
	}
}

func (f *yamlFile) setting(key string, name, value *yaml.Node) {
	field, ok := f.fields[key]
	switch {
	case ok:
		f.sources[key] = f.at(name)
		value = resolve(value)
		if value.Tag == "!!null" {
			return
		}
		// Into a new value: where it fails in the middle of a list, the setting keeps what it was.
		fresh := reflect.New(field.Type())
		if err := value.Decode(fresh.Interface()); err != nil {
			f.bad(key, shown(value), typeWords(field.Type()), value)
			return
		}
		field.Set(fresh.Elem())
	case len(children(f.keys, key)) > 0:
		f.group(key, value)
	default:
		parent := key[:max(strings.LastIndex(key, "."), 0)]
		f.bad(key, name.Value, among("one of the keys", children(f.keys, parent), name.Value), name)
	}
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// shown is a value in a report.
func shown(n *yaml.Node) string {
	switch n = resolve(n); n.Kind {
	case yaml.MappingNode:
		return "(a group of keys)"
	case yaml.SequenceNode:
		return "(a list)"
	}
	return n.Value
}

// children are the names of the keys right below a parent; all top keys when it is empty.
func children(keys []string, parent string) (out []string) {
	seen := map[string]bool{}
	for _, k := range keys {
		if parent != "" {
			rest, ok := strings.CutPrefix(k, parent+".")
			if !ok {
				continue
			}
			k = rest
		}
		k, _, _ = strings.Cut(k, ".")
		if !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	return out
}
