package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Variable is the name of the variable that sets a key.
func (e Environment) Variable(key string) string {
	return e.Prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func (e Environment) read(v any, sources map[string]string) (ps Problems) {
	fields := map[string]reflect.Value{}
	keyOf := map[string]string{}
	visit(reflect.ValueOf(v).Elem(), "", func(key string, f reflect.Value) {
		fields[key] = f
		keyOf[e.Variable(key)] = key
	})
	for _, a := range e.Aliases {
		keyOf[a.Variable] = a.Key
	}
	var unknown []string
	for _, kv := range slices.Sorted(slices.Values(e.Environ)) {
		name, value, _ := strings.Cut(kv, "=")
		key, ok := keyOf[name]
		if !ok {
			if strings.HasPrefix(name, e.Prefix) && !e.foreign(name, value) {
				unknown = append(unknown, name)
			}
			continue
		}
		sources[key] = "variable " + name
		if want := set(fields[key], value); want != "" {
			ps = append(ps, Problem{Key: key, Value: value, Accepted: want, Source: "variable " + name})
		}
	}
	names := make([]string, 0, len(keyOf))
	for name := range keyOf {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range unknown {
		if referred(fields, name) {
			continue
		}
		accepted := "a variable of a setting: " + e.Prefix + " and its key, as in " + names[0]
		if best := nearest(names, name); best != "" {
			accepted = "the variable of a setting; did you mean " + best + " (key " + keyOf[best] + ")?"
		}
		// Its value may be a secret that was given a wrong name.
		ps = append(ps, Problem{Key: name, Value: notShown, Accepted: accepted, Source: "variable " + name})
	}
	return ps
}

// serviceLinks are the variables that Kubernetes and Docker make in a container for each service or link beside it: those of a
// service amoskys-registry have our prefix.
var serviceLinks = regexp.MustCompile(`_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)

func (e Environment) foreign(name, value string) bool {
	for _, f := range e.Foreign {
		if begin, all := strings.CutSuffix(f, "*"); f == name || all && strings.HasPrefix(name, begin) {
			return true
		}
	}
	return serviceLinks.MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// referred says whether a setting names the variable as the place of a secret: env:NAME.
func referred(fields map[string]reflect.Value, name string) bool {
	for _, f := range fields {
		if f.Kind() == reflect.String && f.String() == "env:"+name {
			return true
		}
	}
	return false
}
