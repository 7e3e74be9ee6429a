package streamstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"golang.org/x/tools/txtar"
)

// Run plays each scenario that matches the pattern through a stage and compares what it writes.
//
// A scenario is a txtar file. It begins with a sentence that says what is shown. The section in.jsonl has one input a line:
//
//	{"type": "ProcessExec", "ingest": "2026-01-02T03:04:05Z", "envelope": {…}, …}    an event; ingest defaults to its time
//	{"topic": "amoskys.lineage.process.v1", "key": "t/h", "ingest": "…", "schema": "LineageRecord", "value": {…}}    a derived record
//	{"tick": "2026-01-02T03:04:06Z"}    time that passed
//
// Fields are those of the Avro schemas; a time may be written as RFC 3339 or as nanoseconds; what is empty in an envelope
// is filled (see Driver.Ingest). The section want.jsonl has one output a line, in order, topics sorted by name:
//
//	{"topic": …, "schema": …, "key": …, "value": {…}}
//
// Every scenario is run twice, and under random transaction ends, aborts and crashes, and must give the same bytes. With
// UPDATE=1 in the environment want.jsonl is written instead of compared.
func Run(t *testing.T, stage streams.Stage, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario matches %s (%v)", pattern, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) { runFile(t, stage, f) })
	}
}

func runFile(t *testing.T, stage streams.Stage, file string) {
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var in, want string
	for _, f := range a.Files {
		switch f.Name {
		case "in.jsonl":
			in = string(f.Data)
		case "want.jsonl":
			want = string(f.Data)
		default:
			t.Fatalf("%s: unknown section %s", file, f.Name)
		}
	}
	got := play(t, stage, file, in)
	if again := play(t, stage, file, in); again != got {
		t.Fatalf("two runs differ\n%s", diff(got, again))
	}
	if os.Getenv("UPDATE") == "1" {
		a.Files = []txtar.File{{Name: "in.jsonl", Data: []byte(in)}, {Name: "want.jsonl", Data: []byte(got)}}
		if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("output differs (UPDATE=1 rewrites it)\n%s", diff(want, got))
	}
}

func play(t *testing.T, stage streams.Stage, file, in string) string {
	t.Helper()
	d := New(t, stage)
	for i, line := range strings.Split(in, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := d.Feed([]byte(line)); err != nil {
			t.Fatalf("%s: in.jsonl line %d: %v", file, i+1, err)
		}
	}
	text := d.Text()
	d.Fuzz(20)
	return text
}

// Feed appends one input in the form of a scenario's in.jsonl.
func (d *Driver) Feed(line []byte) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return err
	}
	var at time.Time
	for _, k := range []string{"ingest", "tick"} {
		s, ok := m[k].(string)
		if !ok {
			continue
		}
		x, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return err
		}
		at = x
		delete(m, k)
		if k == "tick" {
			d.Tick(at)
			return nil
		}
	}
	if topic, ok := m["topic"].(string); ok {
		return d.feedDerived(topic, m, at)
	}
	name, _ := m["type"].(string)
	delete(m, "type")
	e, ok := schemas.New(name).(schemas.Event)
	if !ok {
		return fmt.Errorf("type %q is not an event", name)
	}
	if err := fill(e, m); err != nil {
		return err
	}
	if at.IsZero() {
		at = time.Unix(0, e.Env().Time)
	}
	d.Ingest(e, at)
	return nil
}

func (d *Driver) feedDerived(topic string, m map[string]any, at time.Time) error {
	t, ok := schemas.TopicByName(topic)
	if !ok {
		return fmt.Errorf("topic %q is not declared", topic)
	}
	name, _ := m["schema"].(string)
	v, ok := schemas.New(name).(schemas.Derived)
	if !ok {
		return fmt.Errorf("schema %q is not a derived record", name)
	}
	if err := fill(v, m["value"]); err != nil {
		return err
	}
	key, _ := m["key"].(string)
	if at.IsZero() {
		at = time.Unix(0, v.Prov().Time)
	}
	d.Derive(t, key, v, at)
	return nil
}

// fill sets v from JSON in which times may be texts; an unknown field is an error.
func fill(v any, x any) error {
	text, err := json.Marshal(times(x))
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// times turns RFC 3339 texts into nanoseconds where the name of the field says that it is a time.
func times(x any) any {
	switch x := x.(type) {
	case map[string]any:
		for k, v := range x {
			s, ok := v.(string)
			if ok && (k == "time" || k == "since" || strings.HasSuffix(k, "_time") || strings.HasPrefix(k, "window_")) {
				if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
					x[k] = at.UnixNano()
					continue
				}
			}
			x[k] = times(v)
		}
	case []any:
		for i := range x {
			x[i] = times(x[i])
		}
	}
	return x
}

// Text plays what was appended and returns the outputs in the form of a scenario's want.jsonl, without control records
// and activations.
func (d *Driver) Text() string {
	d.t.Helper()
	o := d.play()
	var b strings.Builder
	for _, topic := range sortedKeys(o.out) {
		if topic == schemas.ActivationsTopic.Name {
			continue
		}
		for _, r := range o.out[topic] {
			if len(r.Key) == 0 {
				continue
			}
			v, err := d.serde.Decode(context.Background(), r.Value)
			if err != nil {
				d.t.Fatalf("decode output on %s: %v", topic, err)
			}
			line, err := json.Marshal(struct {
				Topic  string          `json:"topic"`
				Schema string          `json:"schema"`
				Key    string          `json:"key"`
				Value  schemas.Payload `json:"value"`
			}{topic, v.SchemaName(), string(r.Key), v})
			if err != nil {
				d.t.Fatal(err)
			}
			b.Write(line)
			b.WriteByte('\n')
		}
	}
	return b.String()
}
