package cli

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/processors"
	"github.com/amoskys/amoskys/schemas"
	"github.com/spf13/cobra"
)

// TestHelp asks every command for help: it must tell what it is for, and be found by its own usage line.
func TestHelp(t *testing.T) {
	c := &command{IO: IO{}, flags: map[string]string{}}
	var walk func(*cobra.Command, []string)
	walk = func(cmd *cobra.Command, path []string) {
		r := must(t, exitDone, append(path, "--help")...)
		if !strings.Contains(r.out, "Usage:") || !cmd.Hidden && cmd.Short == "" {
			t.Errorf("%v: no help: %q", path, r.out)
		}
		for _, sub := range cmd.Commands() {
			walk(sub, append(append([]string(nil), path...), sub.Name()))
		}
	}
	walk(c.root(), nil)
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"nothing"}, {"--nothing"}, {"topics", "nothing"}, {"audit", "x"}, {"bench", "x"}, {"up", "x"}, {"up", "--output", "xml"}, {"analyze"}, {"tail"}, {"tail", "nothing"},
		{"tail", "amoskys."}, {"schemas", "show"}, {"schemas", "show", "Nothing"}, {"schemas", "list", "x"}, {"describe", "--grouping", "x"}, {"collect"}, {"collect", "nothing"},
		{"sink"}, {"sink", "nothing"}, {"process", "--stage", "nothing"}, {"process"}, {"registry"}, {"sink", "file"}, {"collect", "proc"}, {"demo"}, {"dlq", "redrive"},
		{"tail", "finding", "--since", "soon"}, {"analyze", "x", "--grouping", "x"}, {"health", "--address", "%"},
	} {
		r := must(t, exitUsage, append(args, "--data-dir", t.TempDir())...)
		if r.err == "" || r.out != "" {
			t.Errorf("%v: out %q, err %q", args, r.out, r.err)
		}
	}
}

func TestFailures(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"tail", "finding"}, {"alerts"}, {"topics", "verify"}, {"topics", "create"}, {"dlq", "list"}, {"audit", "list"}, {"schemas", "check"}} {
		if r := must(t, exitFailed, append(args, "--data-dir", dir)...); !strings.Contains(r.err, "no 'amoskys up' runs") {
			t.Errorf("%v: %s", args, r.err)
		}
	}
	must(t, exitFailed, "health", "--address", "127.0.0.1:1")
	if err := os.WriteFile(filepath.Join(dir, runningFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := must(t, exitFailed, "alerts", "--data-dir", dir); !strings.Contains(r.err, runningFile) {
		t.Error(r.err)
	}
}

func TestVersionAndCompletion(t *testing.T) {
	if r := must(t, exitDone, "version"); !strings.HasPrefix(r.out, "amoskys "+Version) {
		t.Error(r.out)
	}
	v := objects(t, must(t, exitDone, "version", "--output", "json").out)[0]
	for _, k := range []string{"version", "commit", "go", "platform"} {
		if v[k] == "" || v[k] == nil {
			t.Errorf("version lacks %s: %v", k, v)
		}
	}
	if r := must(t, exitDone, "completion", "bash"); !strings.Contains(r.out, "__start_amoskys") {
		t.Errorf("no completion: %.200s", r.out)
	}
}

func TestDescribe(t *testing.T) {
	for _, grouping := range []string{"split", "fused"} {
		text := must(t, exitDone, "describe", "--grouping", grouping)
		graph := must(t, exitDone, "describe", "--grouping", grouping, "--output", "json")
		objects(t, graph.out)
		if !strings.HasPrefix(text.out, "flowchart ") {
			t.Errorf("no Mermaid: %.100s", text.out)
		}
		var names []string
		for _, p := range processors.Suite(processors.Defaults()) {
			names = append(names, p.Name)
			for _, tp := range append(p.Inputs, p.Outputs...) {
				names = append(names, tp.Name)
			}
		}
		for _, n := range names {
			if !strings.Contains(text.out, "["+n+"]") && !strings.Contains(text.out, "("+n+")") {
				t.Errorf("%s: Mermaid lacks %s", grouping, n)
			}
			if !strings.Contains(graph.out, `"`+n+`"`) {
				t.Errorf("%s: JSON lacks %s", grouping, n)
			}
		}
	}
	if got := strings.Count(must(t, exitDone, "describe", "--grouping", "fused").out, "subgraph"); got != 1 {
		t.Errorf("the fused chain has %d stages", got)
	}
}

func TestSchemasAndTopics(t *testing.T) {
	if got := strings.Fields(must(t, exitDone, "schemas", "list").out); len(got) != len(schemas.Names()) {
		t.Errorf("%d schemas listed, %d are known", len(got), len(schemas.Names()))
	}
	if got := objects(t, must(t, exitDone, "schemas", "list", "--output", "json").out); got[0]["subject"] == nil {
		t.Error("no subject")
	}
	for _, n := range schemas.Names() {
		if m := objects(t, must(t, exitDone, "schemas", "show", n).out)[0]; m["name"] != n {
			t.Errorf("schema %s shows %v", n, m["name"])
		}
	}
	text := must(t, exitDone, "topics", "list").out
	for i, m := range objects(t, must(t, exitDone, "topics", "list", "--output", "json").out) {
		if want := schemas.Topics()[i].Name; m["name"] != want || !strings.Contains(text, want) {
			t.Errorf("topic %d is %v, want %s", i, m["name"], want)
		}
	}
}

const intrusion = "testdata/intrusion.jsonl"

func TestAnalyze(t *testing.T) {
	text := must(t, exitDone, "analyze", intrusion)
	for _, want := range []string{"signature.memfd_execution", "signature.server_shell", "systemd → nginx → dash → memfd:payload", "web1"} {
		if !strings.Contains(text.out, want) {
			t.Errorf("cards lack %q:\n%s", want, text.out)
		}
	}
	first := must(t, exitDone, "analyze", intrusion, "--output", "json")
	if got := objects(t, first.out); len(got) != 2 || got[0]["host"] != "web1" || got[0]["time"].(string) > got[1]["time"].(string) {
		t.Errorf("alerts are %v", got)
	}
	for _, more := range [][]string{nil, {"--workers", "3"}, {"--grouping", "split"}, {"--format", "amoskys"}} {
		again := must(t, exitDone, append([]string{"analyze", intrusion, "--output", "json"}, more...)...)
		if again.out != first.out {
			t.Errorf("%v gives other bytes", more)
		}
	}
}

// TestAnalyzeIsolated: settings of brokers and registries outside are not used.
func TestAnalyzeIsolated(t *testing.T) {
	r := run(t, []string{"AMOSKYS_BROKERS=127.0.0.1:1", "AMOSKYS_KAFKA_TLS_ENABLED=true", "AMOSKYS_REGISTRY_URL=http://127.0.0.1:1"}, "analyze", intrusion)
	if r.code != exitDone {
		t.Fatal(r.err)
	}
}

func TestAnalyzeBrokenInput(t *testing.T) {
	good, err := os.ReadFile(intrusion)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(good, []byte("\n"))
	broken := bytes.Join(append(append([][]byte{}, lines[:2]...), append([][]byte{[]byte("{\"type\":\"ProcessExec\",\n")}, lines[2:]...)...), nil)
	path := filepath.Join(t.TempDir(), "broken.jsonl")
	if err := os.WriteFile(path, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	r := must(t, exitDone, "analyze", path, "--format", "amoskys", "--output", "json")
	if !strings.Contains(r.err, path) || !strings.Contains(r.err, "3") || !strings.Contains(r.err, "(1 bad lines)") {
		t.Errorf("broken line is not named:\n%s", r.err)
	}
	if n := len(objects(t, r.out)); n != 2 {
		t.Errorf("%d alerts beside the broken line", n)
	}
	if r := must(t, exitFailed, "analyze", filepath.Join(t.TempDir(), "none.jsonl")); !strings.Contains(r.err, "none.jsonl") {
		t.Error(r.err)
	}
	empty := filepath.Join(t.TempDir(), "empty.jsonl")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, exitFailed, "analyze", empty, "--format", "amoskys")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if code := Run(ctx, []string{"analyze", intrusion}, IO{Out: &buffer{}, Err: &buffer{}}); code != exitFailed {
		t.Errorf("interrupted: exit code %d", code)
	}
}

func TestCheckCollectors(t *testing.T) {
	if r := must(t, exitDone, "collect", "proc", "--check"); !strings.Contains(r.err, "process.exec") {
		t.Error(r.err)
	}
	for _, m := range objects(t, must(t, exitDone, "collect", "proc", "--check", "--output", "json").out) {
		if m["capability"] == "" || m["collector"] != "proc" {
			t.Errorf("capability is %v", m)
		}
	}
}

// TestPortsFree: a port in use is told before anything starts, with the key that sets another.
func TestPortsFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	used := l.Addr().String()
	environ := []string{"AMOSKYS_BROKER_LISTEN=" + used, "AMOSKYS_REGISTRY_LISTEN=" + used}
	r := run(t, environ, "up", "--data-dir", t.TempDir(), "--listen", used)
	if r.code != exitFailed {
		t.Fatalf("exit code %d\n%s", r.code, r.err)
	}
	for _, key := range []string{"key listen", "key registry.listen", "key broker.listen", used} {
		if !strings.Contains(r.err, key) {
			t.Errorf("report lacks %q:\n%s", key, r.err)
		}
	}
}

func TestBench(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "heap")
	r := must(t, exitDone, "bench", "chain", "--events", "20000", "--paced", "1s", "--rate", "2000", "--memprofile", profile, "--output", "json")
	m := objects(t, r.out)[0]
	for _, k := range []string{"bench", "events", "events_per_second", "cpu_seconds_per_million", "p50_ms", "p95_ms", "p99_ms", "rss_bytes", "paced_rss_bytes", "paced_heap_bytes", "limit_events_per_second", "commit"} {
		if m[k] == nil {
			t.Errorf("result lacks %s: %v", k, m)
		}
	}
	if m["bench"] != "chain" || m["events"] != 20000.0 {
		t.Errorf("result is of %v, %v events", m["bench"], m["events"])
	}
	if b, err := os.ReadFile(profile); err != nil || !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) { // profiles are gzipped
		t.Errorf("the heap profile begins with % x: %v", b[:min(2, len(b))], err)
	}
	if r := must(t, exitDone, "bench", "engine", "--events", "5000", "--paced", "0"); !strings.Contains(r.out, "engine: 5000 events") {
		t.Error(r.out)
	}
}

// TestBenchInterrupted: a benchmark that is stopped prints no result, and says that it was stopped.
func TestBenchInterrupted(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var out, errs buffer
	code := Run(ctx, []string{"bench", "engine", "--events", "100000000", "--paced", "0", "--output", "json"}, IO{Out: &out, Err: &errs})
	if code != exitFailed || out.String() != "" {
		t.Errorf("exit code %d, printed %q, %q", code, out.String(), errs.String())
	}
}
