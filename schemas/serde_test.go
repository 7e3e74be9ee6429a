package schemas_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

func TestSerde(t *testing.T) {
	s, _ := serde(t)
	for _, name := range schemas.Names() {
		b, err := s.Append([]byte("before"), filled(t, name))
		if err != nil {
			t.Fatal(err)
		}
		b = b[len("before"):]
		if got, err := s.Name(t.Context(), b); err != nil || got != name {
			t.Errorf("peeked at %s, %v; want %s", got, err, name)
		}
		v, err := s.Decode(t.Context(), b)
		if err != nil || !same(v, filled(t, name)) {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
		if s.ID(name) == 0 {
			t.Errorf("%s has no id", name)
		}
		e, err := s.Encoder(name)
		if err != nil {
			t.Fatal(err)
		}
		if string(e.Frame(b[5:])) != string(b) {
			t.Errorf("%s: a body in a frame is not the value", name)
		}
		if _, err := s.Decode(t.Context(), append(b, 0)); err == nil || !strings.Contains(err.Error(), "1 bytes left over") {
			t.Errorf("%s with a byte more: %v", name, err)
		}
		if _, err := s.Decode(t.Context(), b[:len(b)-1]); err == nil {
			t.Errorf("%s with a byte less was decoded", name)
		}
	}
	if s.ID("Nothing") != 0 {
		t.Error("a schema that is none has an id")
	}
	if _, err := s.Encoder("Nothing"); err == nil || !strings.Contains(err.Error(), "Nothing") {
		t.Errorf("got %v", err)
	}
}

// A registry that fails as told.
type registry struct {
	schemas.LocalRegistry
	err error
}

func (r *registry) Schema(ctx context.Context, id int32) (string, error) {
	if r.err != nil {
		return "", r.err
	}
	return r.LocalRegistry.Schema(ctx, id)
}

func (r *registry) Register(ctx context.Context, subject, text string) (int32, error) {
	if r.err != nil {
		return 0, r.err
	}
	return r.LocalRegistry.Register(ctx, subject, text)
}

// What can never be decoded is told from what only cannot be decoded now.
func TestWhatCannotBeDecoded(t *testing.T) {
	r := new(registry)
	s, err := schemas.NewSerde(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range [][]byte{nil, {0}, {0, 0, 0, 1}, {1, 0, 0, 0, 1, 2}} {
		if _, err := s.Decode(t.Context(), value); !errors.Is(err, schemas.ErrNotFramed) {
			t.Errorf("%x: %v", value, err)
		}
		if _, err := s.Name(t.Context(), value); !errors.Is(err, schemas.ErrNotFramed) {
			t.Errorf("%x: %v", value, err)
		}
	}
	if _, err := s.Decode(t.Context(), frame(9999, nil)); !errors.Is(err, schemas.ErrUnknownSchema) || errors.Is(err, schemas.ErrRegistryUnavailable) {
		t.Errorf("unknown id: %v", err)
	}
	register := func(subject, text string) int32 {
		id, err := r.Register(t.Context(), subject, text)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	foreign := register("x", `{"type":"record","name":"Foreign","namespace":"elsewhere","fields":[]}`)
	if _, err := s.Decode(t.Context(), frame(foreign, nil)); !errors.Is(err, schemas.ErrUnknownSchema) || !strings.Contains(err.Error(), "elsewhere.Foreign") {
		t.Errorf("foreign schema: %v", err)
	}
	broken := register("y", `{"type":"record"}`)
	if _, err := s.Decode(t.Context(), frame(broken, nil)); err == nil || !strings.Contains(err.Error(), "parse schema") {
		t.Errorf("broken schema: %v", err)
	}
	other := register("z", `{"type":"record","name":"Tick","namespace":"amoskys","fields":[{"name":"time","type":"string"}]}`)
	if _, err := s.Decode(t.Context(), frame(other, []byte{0})); err == nil || !strings.Contains(err.Error(), "resolve schema") {
		t.Errorf("incompatible schema: %v", err)
	}
	r.err = errors.New("connection refused")
	if _, err := s.Decode(t.Context(), frame(12345, nil)); !errors.Is(err, schemas.ErrRegistryUnavailable) || errors.Is(err, schemas.ErrUnknownSchema) {
		t.Errorf("registry is away: %v", err)
	}
	if _, err := schemas.NewSerde(t.Context(), r); err == nil || !strings.Contains(err.Error(), "register schema") {
		t.Errorf("registry is away: %v", err)
	}
	// What is known already needs no registry.
	b, err := s.Append(nil, &schemas.Tick{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Decode(t.Context(), b); err != nil {
		t.Error(err)
	}
}

// A value that an older version wrote is read into the present one, with the defaults of what it did not have.
func TestOlderWriter(t *testing.T) {
	s, r := serde(t)
	id, err := r.Register(t.Context(), "amoskys.Counter", `{"type":"record","name":"Counter","namespace":"amoskys","fields":[{"name":"name","type":"string"},{"name":"gone","type":"long"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Decode(t.Context(), frame(id, []byte{4, 'h', 'i', 14}))
	if c, ok := v.(*schemas.Counter); err != nil || !ok || *c != (schemas.Counter{Name: "hi"}) {
		t.Errorf("%+v, %v", v, err)
	}
}

type row struct {
	N    int64    `avro:"n"`
	Tags []string `avro:"tags"`
}

func TestState(t *testing.T) {
	x, err := schemas.StateSchema[row]("rows")
	if err != nil {
		t.Fatal(err)
	}
	s, err := schemas.NewSerde(t.Context(), new(schemas.LocalRegistry), x, x)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.Encoder(x.Name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Append(nil, &row{7, []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	var back row
	if err := s.DecodeInto(t.Context(), b, x.Name, &back); err != nil || back.N != 7 || back.Tags[0] != "a" {
		t.Errorf("%+v, %v", back, err)
	}
	if err := s.DecodeInto(t.Context(), b, "state.other", &back); err == nil || !strings.Contains(err.Error(), "value is a state.rows") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Decode(t.Context(), b); err == nil || !strings.Contains(err.Error(), "not a payload") {
		t.Errorf("got %v", err)
	}
	if _, err := s.NewDecoder().Decode(t.Context(), b); err == nil || !strings.Contains(err.Error(), "not a payload") {
		t.Errorf("got %v", err)
	}
	if err := s.DecodeInto(t.Context(), nil, x.Name, &back); !errors.Is(err, schemas.ErrNotFramed) {
		t.Errorf("got %v", err)
	}
	if _, err := e.Append(nil, 5); err == nil {
		t.Error("a number was encoded as a row")
	}
	if _, err := schemas.StateSchema[func()]("broken"); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("got %v", err)
	}
	if _, err := x.AppendBody(nil, 5); err == nil {
		t.Error("a number was encoded as a row")
	}
}

// A Decoder gives the same value each time, with nothing left of what was in it.
func TestDecoderReuses(t *testing.T) {
	s, _ := serde(t)
	d := s.NewDecoder()
	full, err := s.Append(nil, filled(t, "Alert"))
	if err != nil {
		t.Fatal(err)
	}
	empty, err := s.Append(nil, &schemas.Alert{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := d.Decode(t.Context(), full)
	if err != nil {
		t.Fatal(err)
	}
	second, err := d.Decode(t.Context(), empty)
	if err != nil || first != second {
		t.Errorf("another value, or %v", err)
	}
	if !same(second, &schemas.Alert{}) {
		t.Errorf("something is left: %+v", second)
	}
	if _, err := d.Decode(t.Context(), nil); !errors.Is(err, schemas.ErrNotFramed) {
		t.Errorf("got %v", err)
	}
}

func TestSerdeIsSafeForConcurrentUse(t *testing.T) {
	s, r := serde(t)
	old, err := r.Register(t.Context(), "amoskys.Tick", `{"type":"record","name":"Tick","namespace":"amoskys","fields":[]}`)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, name := range schemas.Names() {
				b, err := s.Append(nil, filled(t, name))
				if err != nil {
					t.Error(err)
				}
				if _, err := s.Decode(t.Context(), b); err != nil {
					t.Error(err)
				}
			}
			if _, err := s.Decode(t.Context(), frame(old, nil)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
