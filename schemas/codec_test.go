package schemas_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"reflect"
	"runtime"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/linkedin/goavro/v2"
)

// Two implementations of Avro agree on every schema, in binary and in JSON, there and back.
func TestTwoCodecsAgree(t *testing.T) {
	for _, name := range schemas.Names() {
		x := lookup(t, name)
		c, err := goavro.NewCodec(x.Text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for what, v := range map[string]schemas.Payload{"filled": filled(t, name), "empty": schemas.New(name)} {
			ours, err := x.AppendBody(nil, v)
			if err != nil {
				t.Errorf("%s %s: %v", what, name, err)
				continue
			}
			nat := native(t, x.Text, ours)
			theirs, err := c.BinaryFromNative(nil, nat)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(ours, theirs) {
				t.Errorf("%s %s: %x, and by the other implementation %x", what, name, ours, theirs)
			}
			back := schemas.New(name)
			if err := x.DecodeBody(theirs, back); err != nil || !same(back, v) {
				t.Errorf("%s %s: back is %+v, %v", what, name, back, err)
			}
			agree(t, name, c, nat, v)
		}
	}
}

// agree compares the JSON of a value by the other implementation with that of the Go type, field by field.
func agree(t *testing.T, name string, c *goavro.Codec, nat any, v schemas.Payload) {
	t.Helper()
	text, err := c.TextualFromNative(nil, nat)
	if err != nil {
		t.Fatal(err)
	}
	again, rest, err := c.NativeFromTextual(text)
	if err != nil || len(rest) > 0 {
		t.Errorf("%s: read %s as JSON: %v", name, text, err)
		return
	}
	b, err := c.BinaryFromNative(nil, again)
	if err != nil {
		t.Fatal(err)
	}
	back := schemas.New(name)
	x := lookup(t, name)
	if err := x.DecodeBody(b, back); err != nil {
		t.Fatal(err)
	}
	ours, err := json.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if string(ours) != string(want) {
		t.Errorf("%s by way of JSON is\n%s\nwant\n%s", name, ours, want)
	}
}

// same compares values, taking an empty list for none: Avro does not tell them apart.
func same(a, b schemas.Payload) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// A length that lies does not make the decoder reserve memory for it, wherever it stands.
func TestHostileLengths(t *testing.T) {
	s, _ := serde(t)
	lengths := []int64{math.MaxInt64, math.MinInt64, math.MaxInt32, 1 << 40, 1 << 30, 1 << 20, -1, -(1 << 30)}
	for _, name := range schemas.Names() {
		value, err := s.Append(nil, filled(t, name))
		if err != nil {
			t.Fatal(err)
		}
		step := 1 + len(value)/100
		var worst uint64
		for i := 5; i < len(value); i += step {
			for _, n := range lengths {
				hostile := binary.AppendVarint(bytes.Clone(value[:i]), n)
				hostile = append(hostile, value[min(i+1, len(value)):]...)
				worst = max(worst, allocated(func() { _, _ = s.Decode(t.Context(), hostile) }))
			}
		}
		if limit := uint64(64*len(value) + 64<<10); worst > limit {
			t.Errorf("%s: %d bytes were reserved for a value of %d, want at most %d", name, worst, len(value), limit)
		}
	}
}

// allocated is how many bytes f allocates, nothing else going on.
func allocated(f func()) uint64 {
	var a, b runtime.MemStats
	runtime.ReadMemStats(&a)
	f()
	runtime.ReadMemStats(&b)
	return b.TotalAlloc - a.TotalAlloc
}

// The schema a value was written with is found by its id; it may be hostile too.
func TestHostileWriterSchema(t *testing.T) {
	s, r := serde(t)
	for what, text := range map[string]string{
		"items without bytes": `{"type":"record","name":"Alert","namespace":"amoskys","fields":[{"name":"lineage","type":{"type":"array","items":{"type":"record","name":"Ancestor","fields":[]}}}]}`,
		"recursion":           `{"type":"record","name":"Alert","namespace":"amoskys","fields":[{"name":"next","type":["null","Alert"]}]}`,
		"large fixed":         `{"type":"record","name":"Alert","namespace":"amoskys","fields":[{"name":"x","type":{"type":"fixed","name":"F","size":2147483647}}]}`,
	} {
		id, err := r.Register(t.Context(), "amoskys.Alert", text)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range [][]byte{binary.AppendVarint(nil, 1<<40), binary.AppendVarint(nil, 1<<24), bytes.Repeat([]byte{2}, 1<<20)} {
			n := allocated(func() { _, _ = s.Decode(t.Context(), frame(id, body)) })
			if n > 16<<20 {
				t.Errorf("%s: %d bytes were reserved for a value of %d", what, n, len(body))
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	s, _ := serde(f)
	for _, name := range schemas.Names() {
		for _, v := range []schemas.Payload{filled(f, name), schemas.New(name)} {
			b, err := s.Append(nil, v)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Add([]byte{0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	d := s.NewDecoder()
	f.Fuzz(func(t *testing.T, value []byte) {
		v, err := s.Decode(t.Context(), value)
		reused, rerr := d.Decode(t.Context(), value)
		if (err == nil) != (rerr == nil) {
			t.Fatalf("decoding anew gives %v, into a reused value %v", err, rerr)
		}
		name, nerr := s.Name(t.Context(), value)
		known, kerr := d.Name(t.Context(), value)
		if name != known || (nerr == nil) != (kerr == nil) {
			t.Fatalf("the name is %q, %v anew, %q, %v of a schema that was met before", name, nerr, known, kerr)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(encoded(t, s, v), encoded(t, s, reused)) {
			t.Fatalf("decoding anew gives %+v, into a reused value %+v", v, reused)
		}
		back, err := s.Decode(t.Context(), encoded(t, s, v))
		if err != nil || !bytes.Equal(encoded(t, s, back), encoded(t, s, v)) {
			t.Fatalf("there and back: %+v, %v", back, err)
		}
		_, _ = json.Marshal(v) // NaN is an error, never a panic
	})
}

func encoded(t testing.TB, s *schemas.Serde, v schemas.Payload) []byte {
	t.Helper()
	b, err := s.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzDecodeBody(f *testing.F) {
	x := lookup(f, "Alert")
	b, err := x.AppendBody(nil, filled(f, "Alert"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, body []byte) {
		var a schemas.Alert
		if x.DecodeBody(body, &a) != nil {
			return
		}
		if c, err := a.Canonical(); err == nil && !json.Valid(c) {
			t.Errorf("canonical form is no JSON: %s", c)
		}
	})
}

// Every field of every Go type is on the wire, and every schema name has its Go type.
func TestEveryFieldIsWritten(t *testing.T) {
	for _, name := range schemas.Names() {
		x := lookup(t, name)
		v := filled(t, name)
		b, err := x.AppendBody(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		back := schemas.New(name)
		if err := x.DecodeBody(b, back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, v) {
			t.Errorf("%s: %+v\nwant %+v", name, back, v)
		}
		if back.SchemaName() != name || x.Subject() != "amoskys."+name {
			t.Errorf("%s: name %s, subject %s", name, back.SchemaName(), x.Subject())
		}
	}
	if schemas.New("Nothing") != nil {
		t.Error("a schema that is none has a value")
	}
	if _, ok := schemas.Lookup("Nothing"); ok {
		t.Error("a schema that is none is found")
	}
}
