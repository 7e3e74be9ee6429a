package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/amoskys/amoskys/internal/testbroker"
	"github.com/twmb/franz-go/pkg/kgo"
)

// scratch is a folder for what all tests share.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "amoskys-integration-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// binary builds the program once, or takes the one that AMOSKYS_BIN names.
var binary = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("AMOSKYS_BIN"); bin != "" {
		return filepath.Abs(bin)
	}
	bin := filepath.Join(scratch, "amoskys")
	cmd := exec.Command("go", "build", "-o", bin, "../cmd/amoskys")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return bin, nil
})

// A program is a running amoskys. It is killed when its test ends.
type program struct {
	name   string
	cmd    *exec.Cmd
	out    output        // standard output
	talk   output        // standard error
	exited chan struct{} // closed when it has ended
}

// output collects what a program writes, and can be read meanwhile.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// begin starts the program with further variables of the form KEY=value. It inherits no AMOSKYS_ variable of the tests.
func begin(t testing.TB, env []string, args ...string) *program {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{name: "amoskys " + strings.Join(args, " "), cmd: exec.Command(bin, args...), exited: make(chan struct{})}
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "AMOSKYS_") }), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.talk
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the code is in ProcessState
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, tail(p.talk.String(), 60))
		}
	})
	return p
}

// kill ends the program with SIGKILL and waits until it is gone.
func (p *program) kill() {
	_ = p.cmd.Process.Kill() // an error says that it is gone
	<-p.exited
}

// stop asks the program to end, and returns its exit code.
func (p *program) stop(t testing.TB) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return p.wait(t, time.Minute)
}

// wait waits until the program ends by itself, and returns its exit code.
func (p *program) wait(t testing.TB, within time.Duration) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("%s has not ended within %s", p.name, within)
		return -1
	}
}

// amoskys runs the program to its end and returns standard output, standard error and the exit code.
func amoskys(t testing.TB, env []string, args ...string) (out, talk string, code int) {
	t.Helper()
	p := begin(t, env, args...)
	code = p.wait(t, 2*time.Minute)
	return p.out.String(), p.talk.String(), code
}

// must runs the program and fails the test unless it ends with 0. It returns standard output.
func must(t testing.TB, env []string, args ...string) string {
	t.Helper()
	out, talk, code := amoskys(t, env, args...)
	if code != 0 {
		t.Fatalf("amoskys %s: exit code %d\n%s", strings.Join(args, " "), code, tail(talk, 60))
	}
	return out
}

// environ are the settings by which the program reaches a cluster as one of its roles, with its data in a folder of the
// test. No two programs of a test may have the same folder.
func environ(t testing.TB, c *testbroker.Cluster, role string, more ...string) []string {
	t.Helper()
	ca, cert, key, err := c.Files(role)
	if err != nil {
		t.Fatal(err)
	}
	env := append([]string{"AMOSKYS_BROKERS=" + strings.Join(c.Addrs(), ","), "AMOSKYS_DATA_DIR=" + t.TempDir(), "AMOSKYS_LISTEN="}, more...)
	if ca != "" {
		env = append(env, "AMOSKYS_KAFKA_TLS_CA_FILE="+ca, "AMOSKYS_KAFKA_TLS_CERT_FILE="+cert, "AMOSKYS_KAFKA_TLS_KEY_FILE="+key)
	}
	return env
}

// options are those of a client of a cluster with all rights.
func options(t testing.TB, c *testbroker.Cluster) []kgo.Opt {
	t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(c.Addrs()...), kgo.MetadataMinAge(100 * time.Millisecond)}
	conf, err := c.TLS(testbroker.Admin)
	if err != nil {
		t.Fatal(err)
	}
	if conf != nil {
		opts = append(opts, kgo.DialTLSConfig(conf))
	}
	return opts
}

// eventually calls f until it returns nil, and fails the test with its last error when that takes too long.
func eventually(t testing.TB, within time.Duration, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
	}
}

// patiently asks the brokers until they answer without an error. One that was away, or that a busy machine kept from its
// heartbeats, is fenced by the controller and leads nothing until an election is over.
func patiently[T any](t testing.TB, what string, ask func(context.Context) (T, error)) (answer T) {
	t.Helper()
	eventually(t, time.Minute, what, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // so that the last error says more than that time is over
		defer cancel()
		answer, err = ask(ctx)
		return err
	})
	return answer
}

// tail are the last lines of a text.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// freeAddress is an address on this machine that nobody listens on at the moment.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// variable is what a program was started with.
func variable(p *program, name string) (value string) {
	for _, kv := range p.cmd.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

// answers waits until a URL answers.
func answers(t testing.TB, url string) {
	t.Helper()
	eventually(t, 30*time.Second, url, func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/subjects", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}

// long says whether the tests that disturb and kill are to run for minutes rather than seconds.
func long() bool { return os.Getenv("AMOSKYS_CHAOS") != "" }

// chaos leaves a test that takes long, or a machine of its own, to `make chaos`.
func chaos(t *testing.T) {
	t.Helper()
	if !long() {
		t.Skip("runs with AMOSKYS_CHAOS=1 (make chaos): it takes minutes and a machine of its own")
	}
}
