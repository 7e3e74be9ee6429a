package file

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

// line writes an event in our own form, which the reader takes back.
func line(t testing.TB, e schemas.Event) string {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return `{"type":"` + e.SchemaName() + `",` + string(b[1:])
}

// read reads a whole recording.
func read(t testing.TB, path string, cfg Config) ([]schemas.Event, Summary) {
	t.Helper()
	r, err := Open(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var events []schemas.Event
	for {
		e, err := r.Next()
		if err == io.EOF {
			return events, r.Summary()
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
}

// TestGolden reads each sample and compares events, broken lines and summary with what is written beside it. With UPDATE=1
// in the environment it writes them.
func TestGolden(t *testing.T) {
	for _, tc := range []struct{ in, format string }{
		{"sysmon.jsonl", Sysmon}, {"nxlog.jsonl", Sysmon}, {"winlogbeat.jsonl", Sysmon}, {"xml.json", Sysmon}, {"own.jsonl", Amoskys}, {"graph", EDR},
	} {
		t.Run(tc.in, func(t *testing.T) {
			path := filepath.Join("testdata", tc.in)
			var bad []string
			events, sum := read(t, path, Config{Format: Auto, OnBad: func(b BadLine) { bad = append(bad, b.Error()) }})
			if sum.Format != tc.format {
				t.Errorf("recognised as %s, want %s", sum.Format, tc.format)
			}
			var b strings.Builder
			for _, e := range events {
				b.WriteString(line(t, e) + "\n")
			}
			s, err := json.MarshalIndent(struct {
				Summary Summary
				Bad     []string
			}{sum, bad}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			base := filepath.Join("testdata", "golden", strings.TrimSuffix(tc.in, filepath.Ext(tc.in)))
			golden(t, base+".events.jsonl", b.String())
			golden(t, base+".summary.json", string(s)+"\n")
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE") == "1" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			at := func(l []string) string {
				if i < len(l) {
					return l[i]
				}
				return "(nothing)"
			}
			t.Fatalf("%s line %d:\n got %s\nwant %s", path, i+1, at(g), at(w))
		}
	}
}

// TestReadBack reads events that were written in our own form: they come back as they were, identity and all.
func TestReadBack(t *testing.T) {
	want, _ := read(t, "testdata/sysmon.jsonl", Config{})
	path := filepath.Join(t.TempDir(), "back.jsonl")
	var b strings.Builder
	for i, e := range want {
		l := line(t, e)
		if i%2 == 1 { // as the records of a topic are printed
			l = fmt.Sprintf(`{"topic":"t","partition":1,"offset":%d,"time":"2024-07-24T12:14:02Z","key":"k","type":"%s","value":%s}`, i, e.SchemaName(), l)
		}
		b.WriteString(l + "\n")
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	got, sum := read(t, path, Config{})
	if sum.Bad != 0 || len(got) != len(want)+1 {
		t.Fatalf("%d events and %d bad lines, want %d and the status of the reading itself", len(got), sum.Bad, len(want))
	}
	for i := range want {
		if g, w := line(t, got[i]), line(t, want[i]); g != w {
			t.Fatalf("event %d:\n got %s\nwant %s", i, g, w)
		}
	}
}
