package audit

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/internal/record"
	"github.com/amoskys/amoskys/sinks/internal/sinktest"
	"github.com/amoskys/amoskys/streams"
	"github.com/gowebpki/jcs"
)

const short = 8 // records of a segment in tests

func open(t *testing.T, dir string) *Sink {
	t.Helper()
	s, err := newSink(Config{Dir: dir}, short, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func batch(from, to int) []streams.Delivery {
	return sinktest.Batch(schemas.AuditTopic, 0, from, to, sinktest.Audit)
}

// lines reads all lines of an archive.
func lines(dir string) (ls []line, err error) {
	firsts, err := segments(dir)
	for _, first := range firsts {
		part, _, err := readSegment(segmentPath(dir, first))
		if err != nil {
			return nil, err
		}
		ls = append(ls, part...)
	}
	return ls, err
}

func TestSink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) *sinktest.Destination {
		dir, broken := t.TempDir(), false
		probe := func(string) error {
			if broken {
				return errors.New("disk is full")
			}
			return nil
		}
		return &sinktest.Destination{
			Open: func() (streams.Sink, error) {
				s, err := newSink(Config{Dir: dir}, short, probe)
				if err != nil {
					return nil, err
				}
				t.Cleanup(func() { s.Close() })
				return s, nil
			},
			Held: func() (keys []string, err error) {
				ls, err := lines(dir)
				for _, l := range ls {
					keys = append(keys, record.Position(&streams.Delivery{Topic: l.Topic, Partition: l.Partition, Offset: l.Offset}))
				}
				return keys, err
			},
			Break: func() func() { broken = true; return func() { broken = false } },
		}
	}, sinktest.Features{Topic: schemas.AuditTopic, Make: sinktest.Audit, Key: record.Position, Partitions: 1, Remembers: true, KeepsUndecoded: true})
}

func TestLinesAreCanonical(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	b := batch(0, 20)
	b[3].Value, b[3].Err = nil, schemas.ErrNotFramed
	b[4].Value = sinktest.Alert(1)
	if err := s.Deliver(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	s.Close()
	firsts, err := segments(dir)
	if err != nil || !slices.Equal(firsts, []int64{1, 9, 17}) {
		t.Fatalf("segments %v, %v", firsts, err)
	}
	n := 0
	for i, first := range firsts {
		path := segmentPath(dir, first)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		info, _ := os.Stat(path)
		if sealed := info.Mode().Perm() == 0o444; sealed != (i < 2) {
			t.Errorf("segment %d: mode %v", first, info.Mode())
		}
		for _, l := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			again, err := jcs.Transform([]byte(l))
			if err != nil || string(again) != l {
				t.Errorf("line is not canonical: %s", l)
			}
			var x line
			if err := json.Unmarshal([]byte(l), &x); err != nil {
				t.Fatal(err)
			}
			d := b[n]
			if x.Offset != d.Offset || x.Key != d.Key || x.Timestamp != d.Timestamp || x.Sequence != int64(n+1) {
				t.Errorf("line %d is %+v", n, x)
			}
			r, ok := d.Value.(*schemas.AuditRecord)
			switch {
			case ok && (x.Record == nil || x.Record.ID != r.ID || x.Record.Detail != r.Detail || x.Record.Time != time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)):
				t.Errorf("line %d: %+v, want %+v", n, x.Record, r)
			case !ok && (x.Record != nil || string(x.Value) != string(d.Raw) || x.Error == ""):
				t.Errorf("line %d: a record that is none was not kept as it was: %+v", n, x)
			}
			n++
		}
	}
	if n != 20 {
		t.Errorf("%d lines, want 20", n)
	}
}

func TestSameTopicSameBytes(t *testing.T) {
	var first map[string]string
	for _, size := range []int{1, 3, 30} {
		dir := t.TempDir()
		s := open(t, dir)
		b := batch(0, 30)
		for n := 0; n < len(b); n += size {
			if err := s.Deliver(t.Context(), b[n:min(n+size, len(b))]); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		files := contents(t, dir)
		if first == nil {
			first = files
		}
		for name, text := range first {
			if files[name] != text || len(files) != len(first) {
				t.Errorf("deliveries of %d: %s differs", size, name)
			}
		}
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

// The sink stops at every step, as by a crash or an error, and goes on: the archive is the same as without.
func TestCrashAtEveryStep(t *testing.T) {
	b := batch(0, 20)
	want := t.TempDir()
	s := open(t, want)
	if err := s.Deliver(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for n := range 100 {
		dir, left, stopped := t.TempDir(), n, ""
		probe := func(step string) error {
			if left--; left >= 0 {
				return nil
			}
			stopped = step
			return errors.New("crash")
		}
		for range 2 {
			s, err := newSink(Config{Dir: dir}, short, probe)
			for from := 0; from < 20 && err == nil; from += 5 {
				err = s.Deliver(t.Context(), b[from:from+5])
			}
			if s != nil {
				s.Close()
			}
			left = n / 2
		}
		s := open(t, dir)
		for from := 0; from < 20; from += 5 {
			if err := s.Deliver(t.Context(), b[from:from+5]); err != nil {
				t.Fatalf("crash at step %d (%s): %v", n, stopped, err)
			}
		}
		s.Close()
		got, want := contents(t, dir), contents(t, want)
		for name, text := range want {
			if got[name] != text || len(got) != len(want) {
				t.Fatalf("crash at step %d (%s): %s differs", n, stopped, name)
			}
		}
		if r, err := Verify(dir, ""); err != nil || len(r.Problems) > 0 || r.Records != 20 {
			t.Fatalf("crash at step %d: %+v, %v", n, r, err)
		}
		if stopped == "" {
			if n < 10 {
				t.Errorf("only %d steps", n)
			}
			return
		}
	}
	t.Error("steps do not end")
}

// What was written behind the head and torn is cut off; what the head has is not.
func TestTornAtEveryLength(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	b := batch(0, 4)
	if err := s.Deliver(t.Context(), b[:2]); err != nil {
		t.Fatal(err)
	}
	behind := contents(t, dir)[headFile]
	if err := s.Deliver(t.Context(), b[2:]); err != nil {
		t.Fatal(err)
	}
	s.Close()
	whole := contents(t, dir)
	path := segmentPath(dir, 1)
	promised := strings.Index(whole[filepath.Base(path)], `"offset":2,`)
	promised = strings.LastIndex(whole[filepath.Base(path)][:promised], "\n") + 1
	for n := range len(whole[filepath.Base(path)]) {
		for name, text := range map[string]string{path: whole[filepath.Base(path)][:n], filepath.Join(dir, headFile): behind} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r, err := Verify(dir, "")
		if err != nil || (len(r.Problems) == 0) != (n >= promised) {
			t.Fatalf("torn at %d of %d: %+v, %v", n, promised, r, err)
		}
		s, err := newSink(Config{Dir: dir}, short, nil)
		if n < promised {
			if err == nil || !strings.Contains(err.Error(), "were lost") {
				t.Fatalf("torn at %d of %d: %v", n, promised, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("torn at %d: %v", n, err)
		}
		if err := s.Deliver(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		s.Close()
		for name, text := range contents(t, dir) {
			if text != whole[name] {
				t.Fatalf("torn at %d: %s differs", n, name)
			}
		}
	}
}

func TestAnewTopicIsNotTakenForTheOld(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.Deliver(t.Context(), batch(0, 20)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 7, 8, 19} {
		other := batch(n, n+1)
		other[0].Key = "somebody else"
		if err := s.Deliver(t.Context(), other); !errors.Is(err, errAnew) {
			t.Errorf("record %d of another topic: %v", n, err)
		}
	}
	gap := batch(6, 7)
	gap[0].Offset++
	if err := s.Deliver(t.Context(), gap); !errors.Is(err, errAnew) {
		t.Errorf("a record where there was none: %v", err)
	}
	place := batch(20, 21)
	place[0].Partition = 1
	if err := s.Deliver(t.Context(), place); err == nil || !strings.Contains(err.Error(), "archive is of") {
		t.Errorf("a record of another partition: %v", err)
	}
	if _, known, err := s.Resume(schemas.AuditTopic.Name, 1); known || err != nil {
		t.Errorf("another partition is known: %v", err)
	}
	if err := s.Deliver(t.Context(), batch(0, 21)); err != nil {
		t.Error(err)
	}
}

func TestNew(t *testing.T) {
	for _, c := range []Config{{}, {Dir: "relative"}} {
		var se *streams.SettingError
		if _, err := New(c); !errors.As(err, &se) || se.Key != "dir" {
			t.Errorf("%+v: %v", c, err)
		}
	}
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := New(Config{Dir: dir}); !errors.Is(err, streams.ErrFileLocked) {
		t.Errorf("got %v, want a lock", err)
	}
	s.Close()
	x, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	x.Close()

	// What is damaged at its end is not gone on with.
	s = open(t, dir)
	if err := s.Deliver(t.Context(), batch(0, 4)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	good := contents(t, dir)
	for what, change := range map[string]func(string) string{
		"is no record":    func(s string) string { return "x" + s[1:] },
		"does not follow": func(s string) string { return strings.Replace(s, "root", "boot", 1) },
		"were lost":       func(s string) string { return s[:strings.LastIndex(s[:len(s)-1], "\n")+1] },
	} {
		path := segmentPath(dir, 1)
		if err := os.WriteFile(path, []byte(change(good[filepath.Base(path)])), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want %q", err, what)
		}
	}
	for _, text := range []string{"", "{}", good[headFile] + " ", strings.ToUpper(good[headFile])} {
		if err := os.WriteFile(filepath.Join(dir, headFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), headFile) {
			t.Errorf("head %q: %v", text, err)
		}
	}
}

func TestImmutable(t *testing.T) {
	dir := t.TempDir()
	if err := tryImmutable(dir); err != nil {
		t.Logf("no immutable attribute here: %v", err)
		if _, err := New(Config{Dir: dir, Immutable: true}); err == nil || !strings.Contains(err.Error(), "immutable") {
			t.Errorf("got %v, want an error that names the setting", err)
		}
		return
	}
	s, err := newSink(Config{Dir: dir, Immutable: true}, 4, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	t.Cleanup(func() {
		for _, first := range []int64{1, 5} {
			setImmutable(segmentPath(dir, first), false)
		}
	})
	if err := s.Deliver(t.Context(), batch(0, 10)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(segmentPath(dir, 1)); err == nil {
		t.Error("a closed segment was removed")
	}
	if err := os.WriteFile(segmentPath(dir, 5), nil, 0o600); err == nil {
		t.Error("a closed segment was overwritten")
	}
}

func TestNewRecord(t *testing.T) {
	at := time.Unix(0, 1_790_000_000_123_456_789)
	r, err := NewRecord("config.change", "sinks", "success", "v1", "c0ffee", map[string]any{"b": 1, "a": []string{"<x>"}}, at)
	if err != nil {
		t.Fatal(err)
	}
	if r.Detail != `{"a":["<x>"],"b":1}` || r.Time != at.UnixNano() || !strings.Contains(r.Actor, "@") || len(r.ID) != 32 {
		t.Errorf("got %+v", r)
	}
	same, err := NewRecord("config.change", "sinks", "success", "v1", "c0ffee", map[string]any{"a": []string{"<x>"}, "b": 1}, at)
	if err != nil || *same != *r {
		t.Errorf("the same facts give %+v, %v", same, err)
	}
	for i, other := range []func() (*schemas.AuditRecord, error){
		func() (*schemas.AuditRecord, error) {
			return NewRecord("x", "sinks", "success", "v1", "c0ffee", nil, at)
		},
		func() (*schemas.AuditRecord, error) {
			return NewRecord("config.change", "sinks", "success", "v1", "c0ffee", nil, at)
		},
		func() (*schemas.AuditRecord, error) {
			return NewRecord("config.change", "sinks", "success", "v1", "c0ffee", map[string]any{"b": 1, "a": []string{"<x>"}}, at.Add(1))
		},
	} {
		if x, err := other(); err != nil || x.ID == r.ID {
			t.Errorf("other facts %d have the same id, or %v", i, err)
		}
	}
	for _, detail := range []any{math.NaN(), func() {}} {
		if _, err := NewRecord("start", "", "", "", "", detail, at); err == nil || !strings.Contains(err.Error(), "start") {
			t.Errorf("detail %T: %v", detail, err)
		}
	}
	if r, err := NewRecord("start", "", "", "", "", nil, at); err != nil || r.Detail != "" {
		t.Errorf("no detail: %q, %v", r.Detail, err)
	}
}
