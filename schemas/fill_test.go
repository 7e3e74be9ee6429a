package schemas_test

import (
	"fmt"
	"hash/fnv"
	"reflect"
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

// filled is a value of a schema in which every field, at every depth, has a value of its own: a function of the field's
// path alone, so that the same schema always gives the same value.
func filled(t testing.TB, name string) schemas.Payload {
	t.Helper()
	v := schemas.New(name)
	if v == nil {
		t.Fatalf("no schema %s", name)
	}
	fill(t, reflect.ValueOf(v).Elem(), name)
	return v
}

func fill(t testing.TB, v reflect.Value, path string) {
	t.Helper()
	h := fnv.New64a()
	h.Write([]byte(path))
	n := h.Sum64()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), path+"."+v.Type().Field(i).Tag.Get("avro"))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte{0, byte(n), 0xff, '"', '\n'})
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.String:
		v.SetString(path + " é\u2028\U0001f980\"\\\x00<>")
	case reflect.Int32:
		v.SetInt(int64(int32(n)))
	case reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Float64:
		v.SetFloat(float64(int64(n)) / 1024)
	case reflect.Bool:
		v.SetBool(true)
	default:
		t.Fatalf("%s has kind %s, which no schema of ours has", path, v.Kind())
	}
}

// serde is a codec over a registry in memory that has only our own schemas.
func serde(t testing.TB) (*schemas.Serde, *schemas.LocalRegistry) {
	t.Helper()
	r := new(schemas.LocalRegistry)
	s, err := schemas.NewSerde(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func lookup(t testing.TB, name string) *schemas.Schema {
	t.Helper()
	s, ok := schemas.Lookup(name)
	if !ok {
		t.Fatalf("no schema %s", name)
	}
	return s
}
