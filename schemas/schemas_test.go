package schemas_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/linkedin/goavro/v2"
	"github.com/twmb/avro"
)

// fill sets every field of a struct to something that is not zero, the same every time.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte{byte(*n), 0, 255})
			return
		}
		s := reflect.MakeSlice(v.Type(), 2, 2)
		fill(s.Index(0), n)
		fill(s.Index(1), n)
		v.Set(s)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d ü", *n))
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.5)
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic("kind " + v.Kind().String())
	}
}

func sample(name string) schemas.Payload {
	p := schemas.New(name)
	n := 0
	fill(reflect.ValueOf(p).Elem(), &n)
	return p
}

// TestReleasedVersionsAreRead holds the promise of compatibility: bytes and schema of each version of each schema lie in
// testdata/golden, and are read for ever. UPDATE=1 adds a version that is new; it never changes one.
func TestReleasedVersionsAreRead(t *testing.T) {
	for _, name := range schemas.Names() {
		s, _ := schemas.Lookup(name)
		old, err := filepath.Glob(filepath.Join("testdata", "golden", name+".v*.avsc"))
		if err != nil {
			t.Fatal(err)
		}
		now, err := avro.Parse(s.Text)
		if err != nil {
			t.Fatal(err)
		}
		known := false
		for _, f := range old {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			known = known || string(bytes.TrimSpace(text)) == s.Text
			w, err := avro.Parse(string(text))
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			if err := avro.CheckCompatibility(w, now); err != nil {
				t.Errorf("%s cannot be read any more: %v", f, err)
				continue
			}
			r, err := avro.Resolve(w, now)
			if err != nil {
				t.Fatal(err)
			}
			body, err := os.ReadFile(strings.TrimSuffix(f, ".avsc") + ".bin")
			if err != nil {
				t.Fatal(err)
			}
			got := schemas.New(name)
			if rest, err := r.Decode(body, got); err != nil || len(rest) > 0 {
				t.Errorf("%s: golden bytes: %v, %d left over", f, err, len(rest))
			}
			if string(bytes.TrimSpace(text)) == s.Text && !reflect.DeepEqual(got, sample(name)) {
				t.Errorf("%s: golden bytes decode to something else", f)
			}
		}
		if known {
			continue
		}
		if os.Getenv("UPDATE") != "1" {
			t.Errorf("schema %s is not among its golden versions: add it with UPDATE=1", name)
			continue
		}
		base := filepath.Join("testdata", "golden", fmt.Sprintf("%s.v%d", name, len(old)+1))
		body, err := s.AppendBody(nil, sample(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(base+".avsc", []byte(s.Text+"\n"), 0o644), os.WriteFile(base+".bin", body, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTwoCodecsAgree decodes with goavro what twmb/avro encoded, and encodes it again to the same bytes.
func TestTwoCodecsAgree(t *testing.T) {
	for _, name := range schemas.Names() {
		s, _ := schemas.Lookup(name)
		body, err := s.AppendBody(nil, sample(name))
		if err != nil {
			t.Fatal(err)
		}
		c, err := goavro.NewCodec(s.Text)
		if err != nil {
			t.Fatalf("%s: goavro does not take the schema: %v", name, err)
		}
		n, rest, err := c.NativeFromBinary(body)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%s: goavro: %v, %d bytes left over", name, err, len(rest))
		}
		again, err := c.BinaryFromNative(nil, n)
		if err != nil || !bytes.Equal(again, body) {
			t.Errorf("%s: goavro writes other bytes (%v)", name, err)
		}
		got := schemas.New(name)
		if err := s.DecodeBody(again, got); err != nil || !reflect.DeepEqual(got, sample(name)) {
			t.Errorf("%s: round trip through goavro: %v", name, err)
		}
	}
}

func TestGeneratedTypesAreUpToDate(t *testing.T) {
	out := filepath.Join(t.TempDir(), "types_gen.go")
	cmd := exec.Command("go", "run", "./internal/gen", "avsc", out)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("types_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("types_gen.go is not what the schemas give: run go generate ./schemas")
	}
}

func serde(t testing.TB) *schemas.Serde {
	t.Helper()
	s, err := schemas.NewSerde(t.Context(), &schemas.LocalRegistry{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSerde(t *testing.T) {
	s := serde(t)
	d := s.NewDecoder()
	for _, name := range schemas.Names() {
		b, err := s.Append(nil, sample(name))
		if err != nil {
			t.Fatal(err)
		}
		for i, decode := range []func(context.Context, []byte) (schemas.Payload, error){s.Decode, d.Decode, d.Decode} {
			if v, err := decode(t.Context(), b); err != nil || !reflect.DeepEqual(v, sample(name)) {
				t.Errorf("%s, decoder %d: %v", name, i, err)
			}
		}
		if got, err := s.Name(t.Context(), b); err != nil || got != name {
			t.Errorf("name %q, %v, want %s", got, err, name)
		}
		if s.ID(name) == 0 {
			t.Errorf("%s has no id", name)
		}
		if _, err := s.Decode(t.Context(), b[:len(b)-1]); err == nil {
			t.Errorf("%s: a cut value was decoded", name)
		}
		if _, err := s.Decode(t.Context(), append(slices.Clone(b), 0)); err == nil {
			t.Errorf("%s: a value with more behind it was decoded", name)
		}
	}
	for _, bad := range [][]byte{nil, {0}, {1, 0, 0, 0, 1, 0}, []byte("text")} {
		if _, err := s.Decode(t.Context(), bad); !errors.Is(err, schemas.ErrNotFramed) {
			t.Errorf("%v: %v, want ErrNotFramed", bad, err)
		}
	}
	if _, err := s.Decode(t.Context(), []byte{0, 9, 9, 9, 9, 0}); !errors.Is(err, schemas.ErrUnknownSchema) {
		t.Errorf("an unknown id: %v", err)
	}
}

// down is a registry that does not answer.
type down struct{ schemas.LocalRegistry }

func (d *down) Schema(context.Context, int32) (string, error) {
	return "", errors.New("connection refused")
}

func TestRegistryDownIsNotFinal(t *testing.T) {
	s, err := schemas.NewSerde(t.Context(), &down{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Decode(t.Context(), []byte{0, 9, 9, 9, 9, 0}); !errors.Is(err, schemas.ErrRegistryUnavailable) {
		t.Errorf("got %v, want ErrRegistryUnavailable", err)
	}
}

func TestOlderWriterIsResolved(t *testing.T) {
	r := &schemas.LocalRegistry{}
	// A version of Tick without its field: the reader's default fills it.
	id, err := r.Register(t.Context(), "amoskys.Tick", `{"type":"record","namespace":"amoskys","name":"Tick","fields":[]}`)
	if err != nil {
		t.Fatal(err)
	}
	s, err := schemas.NewSerde(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Decode(t.Context(), []byte{0, 0, 0, 0, byte(id)})
	if err != nil || v.(*schemas.Tick).Time != 0 {
		t.Errorf("%v, %v", v, err)
	}
	other, err := r.Register(t.Context(), "x.Other", `{"type":"record","namespace":"x","name":"Other","fields":[]}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Decode(t.Context(), []byte{0, 0, 0, 0, byte(other)}); !errors.Is(err, schemas.ErrUnknownSchema) {
		t.Errorf("somebody else's schema: %v", err)
	}
}

type rowV1 struct {
	N int64 `avro:"n"`
}

func TestStateSchema(t *testing.T) {
	x, err := schemas.StateSchema[rowV1]("test_row")
	if err != nil {
		t.Fatal(err)
	}
	s, err := schemas.NewSerde(t.Context(), &schemas.LocalRegistry{}, x)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.Encoder(x.Name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Append(nil, &rowV1{7})
	if err != nil {
		t.Fatal(err)
	}
	var got rowV1
	if err := s.DecodeInto(t.Context(), b, x.Name, &got); err != nil || got.N != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	if err := s.DecodeInto(t.Context(), b, "state.other", &got); err == nil {
		t.Error("a row of one table was read as another's")
	}
	if _, err := s.Encoder("nothing"); err == nil {
		t.Error("an encoder of nothing")
	}
	if string(e.Frame(b[5:])) != string(b) {
		t.Error("a framed body is not what Append writes")
	}
}

func TestIdentities(t *testing.T) {
	seen := map[string]string{}
	parts := []string{"a", "a/b", "a%2Fb", "", "/", "%"}
	for _, tenant := range parts {
		for _, host := range parts {
			for _, stream := range parts {
				e := schemas.Envelope{Tenant: tenant, Host: host, Boot: "b", Collector: "c", Stream: stream, Sequence: 3}
				id := e.EventID()
				if was, ok := seen[id]; ok {
					t.Fatalf("%q is the id of %s and of %q %q %q", id, was, tenant, host, stream)
				}
				seen[id] = fmt.Sprintf("%q %q %q", tenant, host, stream)
				if id != e.StreamID()+"/3" {
					t.Errorf("id %q, stream %q", id, e.StreamID())
				}
				a := schemas.AlertID(tenant, host, stream, 0, "x")
				if was, ok := seen[a]; ok {
					t.Fatalf("alert id %s twice: %s", a, was)
				}
				seen[a] = "alert"
			}
		}
	}
	if a, b := schemas.AlertID("t", "d", "e", 5, "x"), schemas.AlertID("t", "d", "e", 5, "y"); a != b {
		t.Error("with a window, the first cause is part of the alert's id")
	}
	if schemas.ProcessUID("h", "b", 1, 2) == schemas.ProcessUID("h", "b", 12, 0) {
		t.Error("two processes have one id")
	}
	if id := schemas.TraceID("x"); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
		t.Errorf("trace id %q", id)
	}
}

func TestOriginsAreTotallyOrdered(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	pick := func() schemas.Origin {
		return schemas.Origin{Topic: []string{"a", "b"}[r.IntN(2)], Offset: r.Int64N(3), IngestTime: r.Int64N(3)}
	}
	for range 2000 {
		a, b, c := pick(), pick(), pick()
		if a.Compare(&b) != -b.Compare(&a) || (a.Compare(&b) == 0) != (a == b) {
			t.Fatalf("%v and %v", a, b)
		}
		if a.Compare(&b) <= 0 && b.Compare(&c) <= 0 && a.Compare(&c) > 0 {
			t.Fatalf("%v, %v, %v", a, b, c)
		}
	}
}

func TestDigest(t *testing.T) {
	a, b := sample("Alert").(*schemas.Alert), sample("Alert").(*schemas.Alert)
	b.ID = "another"
	one, err := schemas.Digest([]*schemas.Alert{a, b})
	if err != nil {
		t.Fatal(err)
	}
	moved := *a
	moved.Inputs = []schemas.Origin{{Topic: "elsewhere", Offset: 77}}
	if two, _ := schemas.Digest([]*schemas.Alert{b, &moved}); two != one {
		t.Error("order or locators are part of the digest")
	}
	changed := *a
	changed.Risk++
	if two, _ := schemas.Digest([]*schemas.Alert{b, &changed}); two == one {
		t.Error("a changed alert has the same digest")
	}
	if two, _ := schemas.Digest([]*schemas.Alert{a, a, b}); two == one {
		t.Error("an alert that is there twice is not seen")
	}
}

func TestAlertJSON(t *testing.T) {
	text, err := json.Marshal(&schemas.Alert{})
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"id", "revision", "time", "tenant", "host", "title", "severity", "risk", "techniques", "tactics", "entity", "lineage", "detectors", "features", "causes", "coverage"} {
		if v, ok := m[k]; !ok || v == nil {
			t.Errorf("an empty alert has no %s", k)
		}
	}
	a := sample("Alert").(*schemas.Alert)
	a.Provenance.Origin, a.Provenance.Time, a.Provenance.Coverage.Since, a.Process.CreatedTime = schemas.Origin{}, 1e18, 2e18, 3e18
	if text, err = json.Marshal(a); err != nil {
		t.Fatal(err)
	}
	var back schemas.Alert
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(&back, a) {
		t.Errorf("an alert is not read back from its JSON: %v\n%+v\n%+v", err, back, *a)
	}
}

func TestTopics(t *testing.T) {
	seen := map[string]bool{}
	for _, x := range append(schemas.Topics(), schemas.NormalizedTopic) {
		if seen[x.Name] {
			t.Errorf("topic %s is declared twice", x.Name)
		}
		seen[x.Name] = true
		if x.Doc == "" || x.Key == "" || x.Owner == "" || !slices.Contains([]string{"public", "internal", "personal"}, x.Class) {
			t.Errorf("topic %s is not fully declared: %+v", x.Name, x)
		}
		if !regexp.MustCompile(`^amoskys\.[a-z]+\.[a-z]+\.v[1-9]$|^_schemas$`).MatchString(x.Name) {
			t.Errorf("topic %s is not of the form", x.Name)
		}
		for _, s := range x.Schemas {
			if _, ok := schemas.Lookup(s); !ok {
				t.Errorf("topic %s has unknown schema %s", x.Name, s)
			}
		}
		if x.Kind == schemas.Table && x.Retention != 0 || x.Kind != schemas.Table && x.Kind != schemas.Memory && x.Retention == 0 {
			t.Errorf("topic %s of kind %s has retention %s", x.Name, x.Kind, x.Retention)
		}
	}
	if _, ok := schemas.TopicByName("nothing"); ok {
		t.Error("a topic that is not there was found")
	}
	if c := schemas.ChangelogTopic("app", "stage"); c.Kind != schemas.Table || !strings.HasSuffix(c.Name, "app.stage") {
		t.Errorf("changelog %+v", c)
	}
}

func FuzzDecode(f *testing.F) {
	s := serde(f)
	for _, name := range schemas.Names() {
		b, err := s.Append(nil, sample(name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := s.Decode(context.Background(), b)
		if err != nil {
			return
		}
		if _, err := s.Append(nil, v); err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
	})
}
