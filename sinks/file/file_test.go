package file

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/internal/record"
	"github.com/amoskys/amoskys/sinks/internal/sinktest"
	"github.com/amoskys/amoskys/streams"
)

func config(dir, format string) Config {
	c := Defaults()
	c.Dir, c.Format, c.SegmentRecords = dir, format, 16
	return c
}

func open(t *testing.T, c Config) *Sink {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func batch(from, to int) []streams.Delivery {
	return sinktest.Batch(schemas.AlertsTopic, 0, from, to, sinktest.Alert)
}

func deliver(t *testing.T, s *Sink, b []streams.Delivery) {
	t.Helper()
	if err := s.Deliver(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// positions reads back which offsets an archive has, in order, whatever its form; undecoded ones too.
func positions(dir, format string) (out []int64, err error) {
	names, err := list(dir)
	if err != nil {
		return nil, err
	}
	f, err := newForm(format, "none")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		path := filepath.Join(dir, n.file)
		switch {
		case n.kind == partName, n.kind == dataName && n.format == formatJSONL:
			es, _, err := scan(f, path)
			if err != nil {
				return nil, err
			}
			for _, e := range es {
				out = append(out, e.offset)
			}
		case n.kind == dataName && strings.HasSuffix(n.file, ".index.avro"):
			err := readContainer(path, func(v any) error { out = append(out, v.(map[string]any)["offset"].(int64)); return nil })
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func TestSink(t *testing.T) {
	for _, format := range []string{formatJSONL, formatAvro} {
		t.Run(format, func(t *testing.T) {
			sinktest.TestSink(t, func(t *testing.T) *sinktest.Destination {
				return destination(t, config(t.TempDir(), format))
			}, sinktest.Features{Key: record.Position, Remembers: true, KeepsUndecoded: true})
		})
	}
}

func destination(t *testing.T, c Config) *sinktest.Destination {
	var broken bool
	return &sinktest.Destination{
		Open: func() (streams.Sink, error) {
			s, err := New(c)
			if err == nil {
				t.Cleanup(func() { s.Close() })
				s.probe = func(string) error {
					if broken {
						return errors.New("disk is full")
					}
					return nil
				}
			}
			return s, err
		},
		Held: func() (keys []string, err error) {
			for p := range int32(2) {
				d := streams.Delivery{Topic: schemas.AlertsTopic.Name, Partition: p}
				offsets, err := positions(place{d.Topic, p}.dir(c.Dir), c.Format)
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					return nil, err
				}
				for _, d.Offset = range offsets {
					keys = append(keys, record.Position(&d))
				}
			}
			return keys, nil
		},
		Break: func() func() { broken = true; return func() { broken = false } },
	}
}

func TestSameLogSameFiles(t *testing.T) {
	for _, c := range []Config{{Format: formatJSONL, Compression: "none"}, {Format: formatAvro, Compression: "none"}, {Format: formatAvro, Compression: "snappy"}} {
		t.Run(c.Format+" "+c.Compression, func(t *testing.T) {
			var first map[string]string
			for _, size := range []int{1, 7, 100} {
				c := config(t.TempDir(), c.Format)
				c.SegmentBytes = 4000 // some segments are cut by size
				s := open(t, c)
				b := mixed(0, 100)
				for n := 0; n < len(b); n += size {
					deliver(t, s, b[n:min(n+size, len(b))])
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				files := contents(t, c.Dir)
				if first == nil {
					first = files
				}
				if len(files) != len(first) {
					t.Errorf("deliveries of %d: %d files, want %d", size, len(files), len(first))
				}
				for name, text := range first {
					if files[name] != text {
						t.Errorf("deliveries of %d: %s differs", size, name)
					}
				}
			}
			if len(first) < 20 {
				t.Errorf("only %d files: %v", len(first), keys(first))
			}
		})
	}
}

// mixed is alerts, incidents, large values and what cannot be decoded, in one partition.
func mixed(from, to int) []streams.Delivery {
	return sinktest.Batch(schemas.AlertsTopic, 0, from, to, func(i int) schemas.Payload {
		switch n := i >> 4; {
		case n%9 == 4:
			return &schemas.Incident{ID: fmt.Sprint(n), State: "open", Title: strings.Repeat("x", 500*(n%10))}
		case n%9 == 7:
			return &schemas.DeadLetter{Key: []byte{0xff, 0}, Value: bytes.Repeat([]byte{byte(n)}, 1000)}
		}
		return sinktest.Alert(i)
	})
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func keys(m map[string]string) (ks []string) {
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

// A line is the alert as it is promised to SOC teams, with one field more.
func TestLinesAreAlerts(t *testing.T) {
	c := config(t.TempDir(), formatJSONL)
	s := open(t, c)
	b := batch(0, 3)
	deliver(t, s, b)
	path := filepath.Join(place{b[0].Topic, 0}.dir(c.Dir), fmt.Sprintf("%020d.jsonl.part", 0))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3", len(lines))
	}
	for i, line := range lines {
		var got, want map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		plain, err := record.JSON(b[i].Value)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(plain, &want); err != nil {
			t.Fatal(err)
		}
		facts := got["_record"].(map[string]any)
		delete(got, "_record")
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("line %d is %v\nwant %v", i, got, want)
		}
		if facts["offset"] != float64(b[i].Offset) || facts["key"] != b[i].Key || facts["schema"] != "Alert" || facts["trace"] != b[i].Trace {
			t.Errorf("line %d: record is %v", i, facts)
		}
	}
}

// An Avro segment has every value as it was, and every record in the index, decodable by anybody.
func TestContainersHoldTheValues(t *testing.T) {
	c := config(t.TempDir(), formatAvro)
	s := open(t, c)
	b := mixed(0, 32)
	b[3].Value, b[3].Err = nil, errors.New("decode: no schema")
	deliver(t, s, b)
	dir := place{b[0].Topic, 0}.dir(c.Dir)
	names, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	var rows []map[string]any
	for _, n := range names {
		if n.kind != dataName {
			continue
		}
		err := readContainer(filepath.Join(dir, n.file), func(v any) error {
			switch m := v.(map[string]any); {
			case strings.HasSuffix(n.file, ".Alert.avro"):
				ids = append(ids, m["id"].(string))
			case strings.HasSuffix(n.file, ".index.avro"):
				rows = append(rows, m)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for i, d := range b {
		if a, ok := d.Value.(*schemas.Alert); ok {
			want = append(want, a.ID)
		}
		row := rows[i]
		if row["offset"] != d.Offset || row["timestamp"] != d.Timestamp || string(row["key"].([]byte)) != d.Key || row["trace"] != d.Trace {
			t.Errorf("row %d is %v", i, row)
		}
		if undecoded := d.Value == nil; undecoded != (len(row["value"].([]byte)) > 0) || undecoded != (row["error"] != "") {
			t.Errorf("row %d: value %q, error %q", i, row["value"], row["error"])
		}
	}
	if !slices.Equal(ids, want) {
		t.Errorf("alerts %v\nwant %v", ids, want)
	}
	if got := rows[3]["value"].([]byte); !bytes.Equal(got, b[3].Raw) {
		t.Errorf("the undecodable record is %x, want %x", got, b[3].Raw)
	}
}

// What JSON cannot say is kept as it was on the topic, and holds nothing up.
func TestNotANumber(t *testing.T) {
	c := config(t.TempDir(), formatJSONL)
	s := open(t, c)
	b := sinktest.Batch(schemas.AlertsTopic, 0, 0, 3, func(i int) schemas.Payload {
		a := sinktest.Alert(i).(*schemas.Alert)
		zero := 0.0
		a.Risk = 1 / zero
		return a
	})
	deliver(t, s, b)
	if r, err := Verify(c.Dir); err != nil || r.Records != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAnewTopicIsNotTakenForTheOld(t *testing.T) {
	for _, format := range []string{formatJSONL, formatAvro} {
		c := config(t.TempDir(), format)
		s := open(t, c)
		deliver(t, s, batch(0, 40))
		for _, n := range []int{0, 15, 16, 31, 39} { // sealed and open
			other := batch(n, n+1)
			other[0].Raw = append(slices.Clone(other[0].Raw), 0)
			err := s.Deliver(t.Context(), other)
			if !errors.Is(err, errAnew) || streams.IsPermanent(err) {
				t.Errorf("%s: record %d of another log: %v", format, n, err)
			}
			if err != nil && !strings.Contains(err.Error(), fmt.Sprint(other[0].Offset)) {
				t.Errorf("%v does not name the offset", err)
			}
		}
		gap := batch(6, 7)
		gap[0].Offset++ // a marker is there
		if err := s.Deliver(t.Context(), gap); !errors.Is(err, errAnew) {
			t.Errorf("%s: a record where there was none: %v", format, err)
		}
		deliver(t, s, batch(0, 41))
	}
}

func TestOneProcessHasADirectory(t *testing.T) {
	c := config(t.TempDir(), formatJSONL)
	s := open(t, c)
	if _, err := New(c); !errors.Is(err, streams.ErrFileLocked) {
		t.Errorf("got %v, want a lock", err)
	}
	s.Close()
	open(t, c)
}

func TestOtherFormat(t *testing.T) {
	c := config(t.TempDir(), formatJSONL)
	s := open(t, c)
	deliver(t, s, batch(0, 20)) // one segment, and an open one
	s.Close()
	c.Format = formatAvro
	s = open(t, c)
	if err := s.Deliver(t.Context(), batch(20, 21)); err == nil || !strings.Contains(err.Error(), "format jsonl") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
	s.Close()

	// At a cut the format may change; the chain goes on.
	c = config(t.TempDir(), formatJSONL)
	s = open(t, c)
	deliver(t, s, batch(0, 16))
	s.Close()
	c.Format = formatAvro
	s = open(t, c)
	deliver(t, s, batch(0, 40))
	if r, err := Verify(c.Dir); err != nil || r.Segments != 2 || r.Records != 40 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	bad := Config{Dir: "rel", Topics: []string{"nope", schemas.AlertsTopic.Name}, Format: "xml", Compression: "zip", SegmentRecords: 0, SegmentBytes: 3}
	err := bad.Validate()
	for _, key := range []string{"dir:", "topics[0]:", "format:", "compression:", "segment_records:", "segment_bytes:"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%v does not name %s", err, key)
		}
	}
	for _, c := range []Config{{}, {Dir: "/x"}, {Dir: "/x", Format: formatJSONL, Compression: "snappy", Topics: bad.Topics, SegmentRecords: 1, SegmentBytes: 1 << 20}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was opened", c)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config(file, formatJSONL)); err == nil {
		t.Error("a file was opened as an archive")
	}
}

func FuzzParseLine(f *testing.F) {
	for _, d := range mixed(0, 9) {
		f.Add(jsonLines{}.append(nil, &d, entryOf(&d)))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, n, err := jsonLines{}.next(bufio.NewReader(bytes.NewReader(line)))
		if err == nil && (n <= 0 || n > int64(len(line))) {
			t.Errorf("entry %v of %d bytes", e, n)
		}
	})
}

func FuzzFrame(f *testing.F) {
	x, err := newContainers("none")
	if err != nil {
		f.Fatal(err)
	}
	for _, d := range mixed(0, 9) {
		f.Add(x.append(nil, &d, entryOf(&d)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if fr, n, err := x.frame(bufio.NewReader(bytes.NewReader(b))); err == nil && (n > int64(len(b)) || fr.row == nil) {
			t.Errorf("frame of %d bytes", n)
		}
	})
}
