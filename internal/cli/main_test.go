package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain makes the test binary the program where it is asked to be: a step of the demo runs a copy of it.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "demo" && os.Args[2] == "talk" {
		os.Exit(Run(context.Background(), os.Args[1:], IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	os.Exit(m.Run())
}

// buffer is what a running command writes, to be read while it writes.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// result is what a command did.
type result struct {
	code     int
	out, err string
}

// run runs a command with no settings but those given.
func run(t *testing.T, environ []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out, errs buffer
	code := Run(ctx, args, IO{In: strings.NewReader(""), Out: &out, Err: &errs, Environ: environ})
	return result{code, out.String(), errs.String()}
}

// must runs a command that has to end with the code.
func must(t *testing.T, code int, args ...string) result {
	t.Helper()
	r := run(t, nil, args...)
	if r.code != code {
		t.Fatalf("%v: exit code %d, want %d\nout: %s\nerr: %s", args, r.code, code, r.out, r.err)
	}
	return r
}

// objects reads JSON lines.
func objects(t *testing.T, text string) (out []map[string]any) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if line == "" {
			continue
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("line is no JSON object: %v\n%s", err, line)
		}
		out = append(out, m)
	}
	return out
}

// eventually polls until ok says true.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.After(within)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}
