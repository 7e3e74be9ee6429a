package schemas

import (
	"embed"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/avro"
)

//go:embed avsc/*.avsc
var avsc embed.FS

// Namespace is the Avro namespace of every schema of ours.
const Namespace = "amoskys"

// A Schema is one named Avro schema in self-contained form: every named type it uses is defined inside it, as a schema
// registry wants it.
type Schema struct {
	Name string // without the namespace
	Text string // self-contained JSON
	avro *avro.Schema
}

// Names are the names of all schemas, sorted.
func Names() []string {
	var names []string
	for n := range all() {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Lookup finds a schema by its name.
func Lookup(name string) (*Schema, bool) {
	s, ok := all()[name]
	return s, ok
}

// New makes an empty value of the named schema, or nil when there is none.
func New(name string) Payload {
	if f := newByName[name]; f != nil {
		return f()
	}
	return nil
}

// StateSchema is the schema of a table's values, inferred from the Go struct V. State rows are written like every
// other record, so that a changelog can be read by any tool and survives a change of V that Avro can resolve.
//
// It is inferred once: a task declares its tables anew at each restore.
func StateSchema[V any](name string) (*Schema, error) {
	at := stateOf{name, reflect.TypeFor[V]()}
	if s, ok := states.Load(at); ok {
		return s.(*Schema), nil
	}
	s, err := avro.SchemaFor[V](avro.WithName(name), avro.WithNamespace(Namespace+".state"))
	if err != nil {
		return nil, fmt.Errorf("infer schema of state %s: %w", name, err)
	}
	x, _ := states.LoadOrStore(at, &Schema{Name: "state." + name, Text: s.String(), avro: s})
	return x.(*Schema), nil
}

type stateOf struct {
	name string
	row  reflect.Type
}

var states sync.Map // stateOf -> *Schema

// Subject is the registry subject of the schema: the record name strategy, since one topic carries several kinds.
func (s *Schema) Subject() string { return Namespace + "." + s.Name }

var all = sync.OnceValue(func() map[string]*Schema {
	defs := map[string]any{}
	files, err := avsc.ReadDir("avsc")
	if err != nil {
		panic(err) // embedded: cannot fail
	}
	for _, f := range files {
		text, err := avsc.ReadFile("avsc/" + f.Name())
		if err != nil {
			panic(err)
		}
		var d map[string]any
		if err := json.Unmarshal(text, &d); err != nil {
			panic(fmt.Sprintf("schema %s: %v", f.Name(), err))
		}
		defs[d["name"].(string)] = d
	}
	m := map[string]*Schema{}
	for n, d := range defs {
		text, err := json.Marshal(inline(d, defs, map[string]bool{}))
		if err != nil {
			panic(err)
		}
		m[n] = &Schema{Name: n, Text: string(text), avro: avro.MustParse(string(text))}
	}
	return m
})

// inline replaces the first use of each named type of ours by its definition; later uses stay names.
func inline(x any, defs map[string]any, seen map[string]bool) any {
	switch x := x.(type) {
	case string:
		d, ok := defs[strings.TrimPrefix(x, Namespace+".")]
		if !ok || seen[x] {
			return x
		}
		return inline(d, defs, seen)
	case map[string]any:
		if x["type"] == "record" {
			seen[x["name"].(string)] = true
		}
		o := map[string]any{}
		for k, v := range x {
			switch k {
			case "type", "items":
				o[k] = inline(v, defs, seen)
			case "fields":
				var fs []any
				for _, f := range v.([]any) {
					fs = append(fs, inline(f, defs, seen))
				}
				o[k] = fs
			default:
				o[k] = v
			}
		}
		return o
	}
	return x
}
