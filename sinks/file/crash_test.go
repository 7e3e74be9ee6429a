package file

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/streams"
)

var errCrash = errors.New("crash")

// stopAt stops the sink at the n-th step from now, and at every one after it: nothing happens after a crash.
func stopAt(s *Sink, n int) (stopped *string) {
	stopped = new(string)
	s.probe = func(step string) error {
		if n--; n >= 0 {
			return nil
		}
		*stopped = step
		return errCrash
	}
	return stopped
}

// feed delivers in batches, as a runner does: a batch that was not taken comes again.
func feed(t *testing.T, s *Sink, b []streams.Delivery, size int) error {
	for n := 0; n < len(b); n += size {
		if err := s.Deliver(t.Context(), b[n:min(n+size, len(b))]); err != nil {
			return err
		}
	}
	return nil
}

func reference(t *testing.T, format string, b []streams.Delivery) map[string]string {
	t.Helper()
	c := config(t.TempDir(), format)
	s := open(t, c)
	if err := feed(t, s, b, 5); err != nil {
		t.Fatal(err)
	}
	s.Close()
	return contents(t, c.Dir)
}

func same(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if !slices.Equal(keys(got), keys(want)) {
		t.Fatalf("%s: files %v\nwant %v", what, keys(got), keys(want))
	}
	for name, text := range want {
		if got[name] != text {
			t.Fatalf("%s: %s differs", what, name)
		}
	}
}

// The sink is killed at every step that it makes, and then again while it recovers and goes on: the archive is the same as
// without.
func TestCrashAtEveryStep(t *testing.T) {
	b := mixed(0, 40)
	for _, format := range []string{formatJSONL, formatAvro} {
		want := reference(t, format, b)
		for n := 0; ; n++ {
			c := config(t.TempDir(), format)
			s := open(t, c)
			step := stopAt(s, n)
			if err := feed(t, s, b, 5); err == nil {
				if n < 10 {
					t.Errorf("%s: only %d steps", format, n)
				}
				break
			}
			s.Close()
			again := open(t, c)
			stopAt(again, n/2)
			if err := feed(t, again, b, 5); err != nil && !errors.Is(err, errCrash) {
				t.Fatalf("%s: after a crash at step %d (%s): %v", format, n, *step, err)
			}
			again.Close()
			last := open(t, c)
			if err := feed(t, last, b, 5); err != nil {
				t.Fatalf("%s: after two crashes, the first at step %d (%s): %v", format, n, *step, err)
			}
			last.Close()
			same(t, fmt.Sprintf("%s: crash at step %d (%s)", format, n, *step), contents(t, c.Dir), want)
		}
	}
}

// A step fails, as when the disk is full, and the sink goes on by itself.
func TestErrorAtEveryStep(t *testing.T) {
	b := mixed(0, 40)
	for _, format := range []string{formatJSONL, formatAvro} {
		want := reference(t, format, b)
		for n := 0; ; n++ {
			c := config(t.TempDir(), format)
			s := open(t, c)
			calls := 0
			s.probe = func(string) error {
				if calls++; calls == n+1 {
					return errors.New("no space left on device")
				}
				return nil
			}
			for from := 0; from < len(b); from += 5 {
				err := s.Deliver(t.Context(), b[from:from+5])
				for try := 0; err != nil && try < 3; try++ {
					err = s.Deliver(t.Context(), b[from:from+5])
				}
				if err != nil {
					t.Fatalf("%s: step %d: %v", format, n, err)
				}
			}
			if _, _, err := s.Resume(b[0].Topic, 0); err != nil { // opened again, it removes what could not be removed
				t.Fatal(err)
			}
			s.Close()
			if calls <= n {
				break
			}
			same(t, fmt.Sprintf("%s: error at step %d", format, n), contents(t, c.Dir), want)
		}
	}
}

// Whatever the length at which the open segment was torn, what is whole stays and the rest comes again.
func TestTornAtEveryLength(t *testing.T) {
	b := mixed(0, 4)
	for _, format := range []string{formatJSONL, formatAvro} {
		want := reference(t, format, b)
		part := filepath.Join(b[0].Topic, "0", fmt.Sprintf("%020d.%s.part", 0, format))
		whole := want[part]
		for n := 0; n <= len(whole); n += 1 + n%31 {
			c := config(t.TempDir(), format)
			dir := place{b[0].Topic, 0}.dir(c.Dir)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(c.Dir, part), []byte(whole[:n]), 0o400); err != nil {
				t.Fatal(err)
			}
			s := open(t, c)
			next, known, err := s.Resume(b[0].Topic, 0)
			if err != nil {
				t.Fatalf("%s torn at %d: %v", format, n, err)
			}
			if sound := wholeRecords(t, whole[:n], format); known != (sound > 0) || known && next != b[sound-1].Offset+1 {
				t.Fatalf("%s torn at %d: resumes at %d, %v, with %d records", format, n, next, known, sound)
			}
			if err := feed(t, s, b, 2); err != nil {
				t.Fatalf("%s torn at %d: %v", format, n, err)
			}
			s.Close()
			got := contents(t, c.Dir)
			for name := range got {
				if strings.HasSuffix(name, ".torn") { // a line feed may lie in a torn Avro frame
					delete(got, name)
				}
			}
			same(t, fmt.Sprintf("%s torn at %d", format, n), got, want)
		}
	}
}

func wholeRecords(t *testing.T, text, format string) int {
	t.Helper()
	f, err := newForm(format, "none")
	if err != nil {
		t.Fatal(err)
	}
	for r, n := bufio.NewReader(strings.NewReader(text)), 0; ; n++ {
		if _, _, err := f.next(r); err != nil {
			return n
		}
	}
}

// Whole lines that are cut off with a damaged one before them are kept aside.
func TestCutLinesAreKeptAside(t *testing.T) {
	c := config(t.TempDir(), formatJSONL)
	s := open(t, c)
	b := batch(0, 5)
	deliver(t, s, b)
	s.Close()
	path := filepath.Join(place{b[0].Topic, 0}.dir(c.Dir), fmt.Sprintf("%020d.jsonl.part", 0))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	hole := lines[0] + strings.Repeat("\x00", len(lines[1])) + lines[2] + lines[3] + lines[4]
	if err := os.WriteFile(path, []byte(hole), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(c.Dir); err != nil || r.Records != 1 || r.Partitions[0].Torn == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	s = open(t, c)
	if next, _, err := s.Resume(b[0].Topic, 0); err != nil || next != b[0].Offset+1 {
		t.Fatalf("resumes at %d, %v", next, err)
	}
	deliver(t, s, b)
	now, err := os.ReadFile(path)
	if err != nil || string(now) != string(text) {
		t.Errorf("the segment is not as before: %v", err)
	}
	aside, err := os.ReadFile(fmt.Sprintf("%s.%d.torn", path, len(lines[0])))
	if err != nil || string(aside) != hole[len(lines[0]):] {
		t.Errorf("what was cut off is not kept: %v", err)
	}
	if _, err := Verify(c.Dir); err != nil {
		t.Error(err)
	}
}

// What somebody left under the name of a segment is accepted if it is equal, and named if not.
func TestSegmentIsThereAlready(t *testing.T) {
	b := batch(0, 16)
	for _, format := range []string{formatJSONL, formatAvro} {
		want := reference(t, format, b)
		for name, text := range want {
			if !strings.HasSuffix(name, ".jsonl") && !strings.HasSuffix(name, ".avro") {
				continue
			}
			for _, equal := range []bool{true, false} {
				c := config(t.TempDir(), format)
				s := open(t, c)
				deliver(t, s, b[:10])
				if !equal {
					text = "x" + text[1:]
				}
				if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(text), 0o440); err != nil {
					t.Fatal(err)
				}
				err := s.Deliver(t.Context(), b[10:])
				var d *Damage
				switch {
				case equal && err != nil:
					t.Errorf("%s: %v", name, err)
				case !equal && (!errors.As(err, &d) || d.File != filepath.Join(c.Dir, name)):
					t.Errorf("%s: got %v, want an error that names the file", name, err)
				}
			}
		}
	}
}
