package cli

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// upRun is an `up` that runs in the test's process.
type upRun struct {
	t        *testing.T
	dir      string
	cancel   context.CancelFunc
	code     chan int
	out, err buffer
	where    running
}

var freePorts = []string{"AMOSKYS_BROKER_LISTEN=127.0.0.1:0", "AMOSKYS_REGISTRY_LISTEN=127.0.0.1:0"}

// startUp starts one over the folder and waits until it is ready.
func startUp(t *testing.T, dir string, args ...string) *upRun {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	u := &upRun{t: t, dir: dir, cancel: cancel, code: make(chan int, 1)}
	args = append([]string{"up", "--data-dir", dir, "--listen", "127.0.0.1:0"}, args...)
	go func() {
		u.code <- Run(ctx, args, IO{In: strings.NewReader(""), Out: &u.out, Err: &u.err, Environ: freePorts})
	}()
	t.Cleanup(cancel)
	eventually(t, "up is ready", time.Minute, func() bool {
		select {
		case code := <-u.code:
			t.Fatalf("up has ended with %d\n%s", code, u.err.String())
		default:
		}
		text, err := os.ReadFile(filepath.Join(dir, runningFile))
		return err == nil && json.Unmarshal(text, &u.where) == nil && strings.Contains(u.err.String(), "collected on this machine") && u.run("health", "--address", u.where.Listen).code == exitDone
	})
	return u
}

func (u *upRun) run(args ...string) result {
	u.t.Helper()
	return run(u.t, freePorts, append(args, "--data-dir", u.dir)...)
}

// stop interrupts it, as Ctrl-C does, and checks that it ends in time and cleanly.
func (u *upRun) stop() {
	u.t.Helper()
	began := time.Now()
	u.cancel()
	select {
	case code := <-u.code:
		if code != exitDone {
			u.t.Fatalf("up ended with %d\n%s", code, u.err.String())
		}
	case <-time.After(30 * time.Second):
		u.t.Fatalf("up does not end\n%s", u.err.String())
	}
	if took := time.Since(began); took > 15*time.Second {
		u.t.Errorf("up took %s to end", took)
	}
	if _, err := os.Stat(filepath.Join(u.dir, runningFile)); !os.IsNotExist(err) {
		u.t.Errorf("%s is left: %v", runningFile, err)
	}
}

func (u *upRun) get(path string) (int, string) {
	u.t.Helper()
	resp, err := http.Get("http://" + u.where.Listen + path)
	if err != nil {
		u.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// lineage returns the lineage records by now.
func (u *upRun) lineage() []map[string]any {
	u.t.Helper()
	r := u.run("tail", "lineage", "--output", "json")
	if r.code != exitDone {
		u.t.Fatalf("tail: exit code %d\n%s", r.code, r.err)
	}
	return objects(u.t, r.out)
}

func TestUp(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no collector of processes on this platform")
	}
	dir := t.TempDir()
	u := startUp(t, dir)
	eventually(t, "lineage records", time.Minute, func() bool { return len(u.lineage()) > 0 })
	t.Run("ops", func(t *testing.T) {
		if code, text := u.get("/healthz"); code != http.StatusOK || text != "ok\n" {
			t.Errorf("healthz: %d %s", code, text)
		}
		if code, text := u.get("/readyz"); code != http.StatusOK || !strings.Contains(text, `"ready":true`) {
			t.Errorf("readyz: %d %s", code, text)
		}
		code, text := u.get("/metrics")
		for _, want := range []string{`component="engine"`, `component="broker"`, `component="sink_audit"`, "amoskys_spool_shipped_total", "go_goroutines"} {
			if code != http.StatusOK || !strings.Contains(text, want) {
				t.Errorf("metrics lack %s (%d)", want, code)
			}
		}
	})
	t.Run("refused", func(t *testing.T) { u.refused(t) })
	t.Run("benched", func(t *testing.T) { u.benched(t) })
	t.Run("commands", func(t *testing.T) {
		for _, args := range [][]string{{"topics", "verify"}, {"alerts"}, {"audit", "list"}, {"dlq", "list"}, {"schemas", "check"}, {"topics", "create"}, {"tail", "finding", "--since", "1h"}, {"alerts", "--since", "1h"}, {"tail", "lineage", "-n", "1"}} {
			for _, output := range []string{"text", "json"} {
				r := u.run(append(args, "--output", output)...)
				if r.code != exitDone {
					t.Errorf("%v: exit code %d\n%s", args, r.code, r.err)
				}
				if output == "json" {
					objects(t, r.out)
				}
			}
		}
		if r := u.run("tail", "lineage", "-n", "1"); strings.Count(r.out, "\n") != 1 {
			t.Errorf("tail -n 1 gives %q", r.out)
		}
		if r := u.run("dlq", "redrive", "0@0"); r.code != exitFailed {
			t.Errorf("re-drive of nothing: exit code %d\n%s", r.code, r.err)
		}
		if r := u.run("dlq", "redrive", "x"); r.code != exitUsage {
			t.Errorf("re-drive of x: exit code %d\n%s", r.code, r.err)
		}
		if r := u.run("audit", "list"); !strings.Contains(r.out, "start") {
			t.Errorf("audit has no start: %s", r.out)
		}
	})
	t.Run("roles", func(t *testing.T) { u.roles(t) })
	u.stop()
	first := u.err.String()
	for _, want := range []string{dir, "yes  process.exec", "stopping"} {
		if !strings.Contains(first, want) {
			t.Errorf("up does not say %q:\n%s", want, first)
		}
	}
	verify := func() {
		r := u.run("audit", "verify", "--output", "json")
		if r.code != exitDone {
			t.Fatalf("audit verify: exit code %d\n%s%s", r.code, r.out, r.err)
		}
		u.run("audit", "verify", filepath.Join(dir, "audit"))

	}
	verify()

	again := startUp(t, dir)
	before := len(again.lineage())
	eventually(t, "more lineage records after the second start", time.Minute, func() bool { return len(again.lineage()) > before })
	if before == 0 {
		t.Error("the second start has lost what the first one wrote")
	}
	if r := again.run("audit", "list"); strings.Count(r.out, "  up  ") < 3 { // start, stop, start
		t.Errorf("audit is %s", r.out)
	}
	if strings.Contains(again.err.String(), "level=ERROR") {
		t.Errorf("errors after the second start:\n%s", again.err.String())
	}
	again.stop()
	verify()
}

// refused starts a role whose changelog is missing, since the chain of an `up` is in one stage.
func (u *upRun) refused(t *testing.T) {
	r := run(t, freePorts, "process", "--stage", "features", "--data-dir", t.TempDir(), "--brokers", strings.Join(u.where.Brokers, ","), "--registry-url", u.where.Registry, "--listen", "")
	for _, want := range []string{"topic does not exist", "amoskys.changelog.", "amoskys topics create", "--create-topics"} {
		if r.code != exitFailed || !strings.Contains(r.err, want) {
			t.Errorf("a role without its topic: exit code %d, lacks %q\n%s", r.code, want, r.err)
		}
	}
}

// benched: a benchmark does not put its events among those of a cluster in use.
func (u *upRun) benched(t *testing.T) {
	r := run(t, freePorts, "bench", "engine", "--brokers", strings.Join(u.where.Brokers, ","), "--registry-url", u.where.Registry)
	if r.code != exitFailed || !strings.Contains(r.err, schemas.EndpointTopic.Name) || !strings.Contains(r.err, "a cluster of its own") {
		t.Errorf("bench on a cluster in use: exit code %d\n%s", r.code, r.err)
	}
}

// roles runs roles against the brokers of an `up`, each for a moment.
func (u *upRun) roles(t *testing.T) {
	for _, args := range [][]string{{"sink", "stdout"}, {"registry"}, {"process", "--stage", "features", "--create-topics"}} {
		ctx, cancel := context.WithCancel(context.Background())
		var out, errs buffer
		code := make(chan int, 1)
		args = append(args, "--data-dir", t.TempDir(), "--brokers", strings.Join(u.where.Brokers, ","), "--listen", "127.0.0.1:0", "--log-level", "info")
		if args[0] != "registry" {
			args = append(args, "--registry-url", u.where.Registry)
		}
		go func() {
			code <- Run(ctx, args, IO{In: strings.NewReader(""), Out: &out, Err: &errs, Environ: freePorts})
		}()
		eventually(t, args[0]+" runs", time.Minute, func() bool { return strings.Contains(u.run("audit", "list").out, args[0]) || len(code) > 0 })
		cancel()
		select {
		case c := <-code:
			if c != exitDone {
				t.Errorf("%v: exit code %d\n%s", args, c, errs.String())
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%v does not end\n%s", args, errs.String())
		}
	}
}

// TestUpFailsHalfWay: a start that fails after things run ends them all, and leaves nothing behind.
func TestUpFailsHalfWay(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "spool"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, freePorts, "up", "--data-dir", dir, "--listen", ""); r.code != exitFailed || !strings.Contains(r.err, "data_dir") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "spool"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "spool", "proc"), nil, 0o600); err != nil { // no folder for the collector
		t.Fatal(err)
	}
	if r := run(t, freePorts, "up", "--data-dir", dir, "--listen", ""); r.code != exitFailed {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	if _, err := os.Stat(filepath.Join(dir, runningFile)); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", runningFile, err)
	}
}

// TestUpFile runs an `up` over a recording instead of this machine.
func TestUpFile(t *testing.T) {
	path, err := filepath.Abs(intrusion)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg := writeConfig(t, "collectors:\n  proc: {enabled: false}\n  file: {paths: ['"+path+"'], format: amoskys}\n")
	u := startUp(t, dir, "--config", cfg)
	eventually(t, "both alerts", time.Minute, func() bool {
		r := u.run("alerts", "--output", "json")
		return len(objects(t, r.out)) == 2
	})
	eventually(t, "alerts are printed", time.Minute, func() bool { return strings.Contains(u.out.String(), "signature.memfd_execution") })
	u.stop()
	files, err := filepath.Glob(filepath.Join(dir, "alerts", "*", "*"))
	if more, _ := filepath.Glob(filepath.Join(dir, "alerts", "*.jsonl")); err != nil || len(files)+len(more) == 0 {
		t.Errorf("no alert files: %v", err)
	}
}

func TestDemo(t *testing.T) {
	switch {
	case runtime.GOOS != "linux":
		t.Skip("the demo has no steps on this platform")
	case os.Geteuid() != 0:
		t.Skip("not root: the process connector is not to be had")
	case testing.Short():
		t.Skip("-short")
	}
	r := run(t, nil, "demo", "--yes", "--output", "json", "--data-dir", t.TempDir())
	if r.code != exitDone {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.err)
	}
	if got := objects(t, r.out); len(got) != 4 {
		t.Errorf("%d alerts are shown: %s", len(got), r.out)
	}
}

func TestDemoConsent(t *testing.T) {
	var out, errs buffer
	if code := Run(context.Background(), []string{"demo"}, IO{In: strings.NewReader("no\n"), Out: &out, Err: &errs}); code != exitUsage && runtime.GOOS == "linux" {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	if strings.Contains(errs.String(), "starts one of its own") {
		t.Error("the demo ran without consent")
	}
}
