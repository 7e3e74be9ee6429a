package file

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/klauspost/compress/zstd"
)

func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const goodLine = `{"type":"FileActivity","envelope":{"host":"h","time":1700000000000000000},"path":"/a"}`

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCompressedIsTheSameRecording(t *testing.T) {
	plain := sample(t, "sysmon.jsonl")
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := read(t, "testdata/sysmon.jsonl", Config{})
	for name, content := range map[string][]byte{"a.gz": gz(t, plain), "a.zst": enc.EncodeAll(plain, nil), "without-ending": gz(t, plain)} {
		got, _ := read(t, write(t, name, content), Config{})
		if len(got) != len(want) {
			t.Fatalf("%s: %d events, want %d", name, len(got), len(want))
		}
		for i := range got {
			if g, w := line(t, got[i]), line(t, want[i]); g != w {
				t.Fatalf("%s event %d:\n got %s\nwant %s", name, i, g, w)
			}
		}
	}
}

func TestCompressedGraph(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{nodesFile, edgesFile} {
		if err := os.WriteFile(filepath.Join(dir, f+".gz"), gz(t, sample(t, "graph/"+f)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, ws := read(t, "testdata/graph/edges.csv", Config{}) // a file of the folder names the folder
	got, gs := read(t, dir, Config{Format: EDR})
	if len(got) != len(want) || gs.SHA256 != ws.SHA256 || got[0].Env().EventID() != want[0].Env().EventID() {
		t.Errorf("got %d events of %s, first %s; want %d of %s, %s", len(got), gs.SHA256, got[0].Env().EventID(), len(want), ws.SHA256, want[0].Env().EventID())
	}
}

func TestIdentity(t *testing.T) {
	events, sum := read(t, "testdata/sysmon.jsonl", Config{Tenant: "acme"})
	boot := "rec-" + sum.SHA256[:12]
	for i, e := range events {
		want := fmt.Sprintf("acme/ws-linden.acme.test/%s/file/p0/%d", boot, i+1)
		if got := e.Env().EventID(); got != want {
			t.Fatalf("event %d is %s, want %s", i, got, want)
		}
	}
}

func TestTenantOfTheRecordingIsNotTaken(t *testing.T) {
	events, _ := read(t, "testdata/own.jsonl", Config{Tenant: "acme"})
	for _, e := range events {
		if e.Env().Tenant != "acme" {
			t.Errorf("%s belongs to %s, want acme", e.Env().EventID(), e.Env().Tenant)
		}
	}
}

func TestBrokenLines(t *testing.T) {
	content := strings.Join([]string{goodLine, `{"type":"FileActivity","envelope":{"ho`, "", goodLine, `[1]`, `{"a":1}`, `{"type":"Nonsense"}`,
		`{"type":"FileActivity","envelope":{"time":5}}`, `{"type":"FileActivity","envelope":{"host":"h"}}`, `{"type":"FileActivity","path":7}`, goodLine + " x"}, "\n")
	path := write(t, "broken.jsonl", []byte(content))
	var bad []BadLine
	events, sum := read(t, path, Config{Format: Auto, OnBad: func(b BadLine) { bad = append(bad, b) }})
	if len(events) != 3 || sum.Events != 2 || sum.Bad != 8 || sum.Lines != 10 {
		t.Errorf("%d events, summary %+v; want 2 events and a status, 8 bad of 10 lines", len(events), sum)
	}
	for i, want := range []struct {
		line, offset int64
		text         string
	}{
		{2, 87, "ends in the middle"}, {5, 214, "not a JSON object"}, {6, 218, `no "type"`}, {7, 226, `"Nonsense" is not a schema`}, {8, 246, "names no host"},
		{9, 292, "has no time"}, {10, 340, "decode FileActivity"}, {11, 373, "something follows"},
	} {
		b := bad[i]
		prefix := fmt.Sprintf("read %s: line %d (byte %d): ", path, want.line, want.offset)
		if !strings.HasPrefix(b.Error(), prefix) || !strings.Contains(b.Error(), want.text) || errors.Unwrap(b) == nil {
			t.Errorf("bad line %d: %v; want %s… %s", i, b, prefix, want.text)
		}
	}
	if got := string(bad[0].Raw); got != `{"type":"FileActivity","envelope":{"ho` {
		t.Errorf("raw is %q", got)
	}
	status := events[2].(*schemas.CollectorStatus)
	if i := len(status.Counters); i == 0 || status.Counters[0] != (schemas.Counter{Name: "bad_lines", Count: 8}) {
		t.Errorf("counters are %v, want bad_lines 8 first", status.Counters)
	}
}

// junk gives n bytes without a line end.
type junk struct{ n int64 }

func (j *junk) Read(p []byte) (int, error) {
	if j.n == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), j.n)
	for i := range p[:n] {
		p[i] = 'x'
	}
	j.n -= n
	return int(n), nil
}

func TestHugeLineIsPassedOver(t *testing.T) {
	const size = 50 << 20
	path := filepath.Join(t.TempDir(), "huge.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, goodLine)
	if _, err := io.Copy(f, &junk{size}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "\n%s\n", goodLine)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{Amoskys, Auto} {
		var bad []string
		events, _ := read(t, path, Config{Format: format, OnBad: func(b BadLine) { bad = append(bad, b.Error()) }})
		if len(events) != 3 || len(bad) != 1 || !strings.Contains(bad[0], fmt.Sprintf("line 2 (byte %d): line has %d bytes", len(goodLine)+1, size+1)) {
			t.Errorf("%s: %d events, bad %q", format, len(events), bad)
		}
	}
	// The first pass over a Windows log does not stumble over it either.
	w := []byte(`{"EventID":4624,"Channel":"Security","Hostname":"h","TimeCreated":"2024-01-01T00:00:00Z"}` + "\n")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, sum := read(t, write(t, "w.json", bytes.Join([][]byte{w, b[len(goodLine)+1 : len(goodLine)+size+2], w}, nil)), Config{Format: Sysmon})
	if sum.Lines != 3 || sum.Bad != 1 {
		t.Errorf("summary %+v, want 3 lines with 1 bad", sum)
	}
}

func TestUnreadable(t *testing.T) {
	whole := gz(t, sample(t, "sysmon.jsonl"))
	half := t.TempDir()
	if err := os.WriteFile(filepath.Join(half, nodesFile), sample(t, "graph/nodes.csv"), 0o600); err != nil {
		t.Fatal(err)
	}
	graph := func(nodes, edges string) string {
		dir := t.TempDir()
		for f, c := range map[string]string{nodesFile: nodes, edgesFile: edges} {
			if err := os.WriteFile(filepath.Join(dir, f), []byte(c), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	const nodesHeader, edgesHeader = "node,type,name,first_seen_us,guid\n", "ts_us,src,dst,type,actor_process_node\n"
	for _, tc := range []struct{ what, path, format, want string }{
		{"missing", filepath.Join(t.TempDir(), "nothing-here.json"), Auto, "nothing-here.json: no such file"},
		{"missing, format known", filepath.Join(t.TempDir(), "nothing-here.json"), Sysmon, "nothing-here.json: no such file"},
		{"format", "testdata/own.jsonl", "zip", `format "zip" is not known; known: auto, amoskys, sysmon, edr`},
		{"cut archive", write(t, "cut.gz", whole[:len(whole)/2]), Sysmon, "cut.gz: unexpected EOF"},
		{"cut archive, guessed", write(t, "cut.gz", whole[:12]), Auto, "cut.gz: unexpected EOF"},
		{"broken archive", write(t, "odd.gz", []byte("\x1f\x8bnot at all")), Amoskys, "odd.gz: gzip: invalid header"},
		{"broken zstd", write(t, "odd.zst", []byte("\x28\xb5\x2f\xfdnot at all")), Amoskys, "odd.zst:"},
		{"empty", write(t, "empty.json", nil), Auto, "empty.json: nothing is in it"},
		{"UTF-16", write(t, "wide.json", []byte("\xff\xfe{\x00")), Auto, "it is UTF-16"},
		{"UTF-16, format known", write(t, "wide.json", []byte("\xff\xfe{\x00")), Sysmon, "it is UTF-16"},
		{"array", write(t, "array.json", []byte(`[{"EventID":1}]`)), Auto, "begins with a JSON array"},
		{"other text", write(t, "audit.log", []byte("type=SYSCALL msg=audit(1.2:3)\n")), Auto, `begins with "type=SYSCALL`},
		{"folder", t.TempDir(), Auto, "nodes.csv: no such file"},
		{"folder as lines", t.TempDir(), Sysmon, "neither a regular file nor"},
		{"half a graph", half, EDR, "edges.csv: no such file"},
		{"no nodes", graph("", edgesHeader), EDR, "nodes.csv: EOF"},
		{"no edges", graph(nodesHeader, ""), EDR, "edges.csv: unexpected EOF"},
		{"columns of nodes", graph("node,kind\n", edgesHeader), EDR, `header "node,kind" has no column type, name, first_seen_us, guid`},
		{"columns of edges", graph(nodesHeader, "ts_us,src,dst\n"), EDR, `header "ts_us,src,dst" has no column type, actor_process_node`},
	} {
		t.Run(tc.what, func(t *testing.T) {
			r, err := Open(tc.path, Config{Format: tc.format})
			if err == nil {
				r.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tc.want) || strings.Count(err.Error(), tc.path) > 1 {
				t.Errorf("got %q, want …%s…, the path once", err, tc.want)
			}
		})
	}
}

func TestOnlyWhatWasHashedIsRead(t *testing.T) {
	path := write(t, "growing.jsonl", []byte(goodLine+"\n"))
	r, err := Open(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, goodLine)
	f.Close()
	n := 0
	for ; ; n++ {
		if _, err := r.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n != 2 {
		t.Errorf("%d events, want the one that was there and a status", n)
	}
}

func TestProgress(t *testing.T) {
	path := write(t, "many.jsonl", bytes.Repeat([]byte(goodLine+"\n"), 10_000))
	var seen []Progress
	_, sum := read(t, path, Config{OnProgress: func(p Progress) { seen = append(seen, p) }})
	if len(seen) != 3 || sum.Events != 10_000 {
		t.Fatalf("%d reports, %d events", len(seen), sum.Events)
	}
	last := Progress{}
	for _, p := range seen {
		if p.Done < last.Done || p.Events <= last.Events || p.Total != int64(10_000*(len(goodLine)+1)) {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
	}
	if last.Done != last.Total {
		t.Errorf("ends at %d of %d bytes", last.Done, last.Total)
	}
}

func TestReadErrorEndsTheReading(t *testing.T) {
	var content bytes.Buffer
	for r := rand.New(rand.NewPCG(1, 2)); content.Len() < 4<<20; { // more than is read ahead, compressed
		fmt.Fprintf(&content, `{"type":"FileActivity","envelope":{"host":"h","time":1},"path":"/%x%x%x%x"}`+"\n", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
	}
	path := write(t, "a.gz", gz(t, content.Bytes()))
	r, err := Open(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(path, 300<<10); err != nil { // between the two passes
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, err = r.Next()
	}
	if n < 1000 || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "read recording "+path) {
		t.Errorf("after %d events: %v", n, err)
	}
}

func TestRecordsOverSeveralLines(t *testing.T) {
	whole := string(sample(t, "xml.json"))
	cutOff := whole + "\n" + whole[:len(whole)/3]
	var bad []string
	events, sum := read(t, write(t, "pretty.json", []byte(cutOff)), Config{OnBad: func(b BadLine) { bad = append(bad, b.Error()) }})
	if len(events) != 3 || sum.Lines != 3 || len(bad) != 1 {
		t.Fatalf("%d events of %d records, bad %q; want 2 and a status of 3, 1 bad", len(events), sum.Lines, bad)
	}
	if want := fmt.Sprintf("line %d (byte %d): JSON ends", strings.Count(whole, "\n")+2, len(whole)+1); !strings.Contains(bad[0], want) {
		t.Errorf("got %q, want %s", bad[0], want)
	}
	huge := "{\n\"EventID\": 1,\n" + strings.Repeat("\"Message\": \"x\",\n", maxLine/14) + "\"Hostname\": \"h\"\n}\n" + whole
	bad = nil
	if events, _ := read(t, write(t, "huge.json", []byte(huge)), Config{Format: Sysmon, OnBad: func(b BadLine) { bad = append(bad, b.Error()) }}); len(events) != 3 ||
		len(bad) != 1 || !strings.Contains(bad[0], "line 1 (byte 0): line has ") {
		t.Errorf("%d events, bad %.200q; want 2 and a status, and 1 bad", len(events), bad)
	}
}

// BenchmarkSysmon and BenchmarkGraph read the samples over and over; a record of theirs is shorter than a real one.
func BenchmarkSysmon(b *testing.B) {
	lines := bytes.Split(bytes.TrimSpace(bytes.TrimPrefix(sample(b, "sysmon.jsonl"), bom)), []byte("\r\n"))
	d := windows{skip: func(*schemas.Envelope, skip) {}}
	var n int64
	for i := 0; b.Loop(); i++ {
		l := lines[i%len(lines)]
		n += int64(len(l))
		if _, err := d.decode(l); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(n / int64(b.N))
	b.ReportAllocs()
}

func BenchmarkGraph(b *testing.B) {
	dir := b.TempDir()
	edges := sample(b, "graph/edges.csv")
	_, rows, _ := bytes.Cut(edges, []byte("\n"))
	for f, c := range map[string][]byte{nodesFile: sample(b, "graph/nodes.csv"), edgesFile: append(edges, bytes.Repeat(rows, 2000)...)} {
		if err := os.WriteFile(filepath.Join(dir, f), c, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	var n int64
	for b.Loop() {
		_, s := read(b, dir, Config{})
		n += s.Lines
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "edges/s")
}
