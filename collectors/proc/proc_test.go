package proc

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// sink is an Appender that remembers.
type sink struct {
	mu     sync.Mutex
	events []schemas.Event
}

func (s *sink) Append(_ context.Context, es ...schemas.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, es...)
	return nil
}

// find returns the first event that a test wants.
func find[E schemas.Event](s *sink, ok func(E) bool) (e E, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.events {
		if v, is := x.(E); is && ok(v) {
			return v, true
		}
	}
	return e, false
}

// await polls for an event until a deadline.
func await[E schemas.Event](t *testing.T, s *sink, what string, ok func(E) bool) E {
	t.Helper()
	until := time.Now().Add(10 * time.Second)
	for time.Now().Before(until) {
		if e, found := find(s, ok); found {
			return e
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s was not seen", what)
	panic("unreachable")
}

func start(t *testing.T, cfg Config) *sink {
	t.Helper()
	c, err := New(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Collect(ctx, s) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	await(t, s, "the test itself", func(e *schemas.ProcessExec) bool { return e.Process.PID == int64(os.Getpid()) && e.Snapshot })
	return s
}

func fast(connector bool) Config {
	c := Defaults()
	c.Interval, c.SocketInterval, c.Connector = 50*time.Millisecond, 100*time.Millisecond, connector
	return c
}

func TestProcessIsSeen(t *testing.T) {
	for _, connector := range []bool{false, true} {
		t.Run(fmt.Sprintf("connector=%v", connector), func(t *testing.T) {
			if connector && connectorProbe() != nil {
				t.Skipf("process connector: %v", connectorProbe())
			}
			s := start(t, fast(connector))
			cmd := exec.Command("sleep", "1", "--password=hunter2")
			cmd.Args = []string{"sleep", "1"}
			cmd.Dir = t.TempDir()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pid := int64(cmd.Process.Pid)
			e := await(t, s, "the start of sleep", func(e *schemas.ProcessExec) bool {
				return e.Process.PID == pid && strings.HasSuffix(e.Process.Path, "sleep")
			})
			if e.Snapshot || !slices.Equal(e.Args, []string{"sleep", "1"}) || e.Process.WorkingDirectory != cmd.Dir || len(e.Process.SHA256) != 64 ||
				e.Process.UserUID != fmt.Sprint(os.Getuid()) || e.Parent.PID != int64(os.Getpid()) || e.Parent.UID == "" || e.Process.UID == "" {
				t.Errorf("event %+v", e)
			}
			if d := time.Since(time.Unix(0, e.Process.CreatedTime)); d < -2*time.Second || d > 12*time.Second {
				t.Errorf("start time is %s ago", d)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			x := await(t, s, "the end of sleep", func(e *schemas.ProcessExit) bool { return e.Process.PID == pid })
			if x.Process.UID != e.Process.UID {
				t.Errorf("exit of %s, exec of %s: not one process", x.Process.UID, e.Process.UID)
			}
		})
	}
}

func TestShortProcessIsSeenByTheConnector(t *testing.T) {
	if err := connectorProbe(); err != nil {
		t.Skipf("process connector: %v", err)
	}
	s := start(t, fast(true))
	cmd := exec.Command("/bin/sh", "-c", "exit 3")
	_ = cmd.Run()
	pid := int64(cmd.Process.Pid)
	await(t, s, "a process of a millisecond", func(e *schemas.ProcessExec) bool { return e.Process.PID == pid })
	x := await(t, s, "its end", func(e *schemas.ProcessExit) bool { return e.Process.PID == pid })
	if x.ExitCode != 3 || x.Signal != 0 {
		t.Errorf("exit code %d, signal %d, want 3 and 0", x.ExitCode, x.Signal)
	}
}

func TestDeletedProgram(t *testing.T) {
	s := start(t, fast(false))
	from, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("no sleep here")
	}
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sleep")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()))
	cmd.Args = []string{"sleep", "1"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	e := await(t, s, "the deleted program", func(e *schemas.ProcessExec) bool {
		return e.Process.PID == int64(cmd.Process.Pid) && e.Process.Path == path
	})
	if !e.Deleted || e.Memfd {
		t.Errorf("deleted %v, memfd %v", e.Deleted, e.Memfd)
	}
}

func TestSocketsAreSeen(t *testing.T) {
	s := start(t, fast(false))
	// Another process holds the sockets: the collector leaves out its own.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	port := l.Addr().(*net.TCPAddr).Port
	cmd := exec.Command(bash, "-c", fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d; sleep 3", port))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	e := await(t, s, "the connection", func(e *schemas.NetworkActivity) bool { return e.Dst.Port == int32(port) && e.Direction == "outbound" })
	if e.Process.PID == 0 || e.Dst.IP != "127.0.0.1" || e.Protocol != "tcp" || e.Envelope.ClassUID != 4001 || e.Envelope.ActivityID != activityOpen {
		t.Errorf("event %+v", e)
	}
}

func TestMask(t *testing.T) {
	m, err := newMasker(DefaultMasks)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"mysql|--password=hunter2":              "mysql|--password=****",
		"curl|--token|abc|x":                    "curl|--token|****|x",
		"curl|https://joe:secret@example.com/x": "curl|https://joe:****@example.com/x",
		"env|DB_PASSWORD=abc|sh":                "env|DB_PASSWORD=****|sh",
		"aws|AKIAABCDEFGHIJKLMNOP":              "aws|****",
		"curl|-H|Authorization: Bearer abc.def": "curl|-H|Authorization: Bearer ****",
		"ls|--color=auto|/tmp":                  "ls|--color=auto|/tmp",
		"git|--passive|push":                    "git|--passive|push",
	} {
		if got := strings.Join(m.args(strings.Split(in, "|")), "|"); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	s, err := parseStat([]byte("42 (a) b) (c)) S 7 42 42 34816 42 4194304 1 0 0 0 5 6 0 0 20 0 1 0 12345 1 1 1\n"))
	if err != nil || s.pid != 42 || s.comm != "a) b) (c)" || s.ppid != 7 || s.session != 42 || s.start != 12345 || s.cpu != 11 || terminal(s.tty) != "pts/0" {
		t.Errorf("%+v, %v", s, err)
	}
	for in, want := range map[string]string{
		"0::/system.slice/docker-" + strings.Repeat("a", 64) + ".scope\n":                  strings.Repeat("a", 64),
		"12:pids:/docker/" + strings.Repeat("b", 64) + "\n0::/\n":                          strings.Repeat("b", 64),
		"0::/kubepods.slice/x/cri-containerd-" + strings.Repeat("c", 64) + ".scope/init\n": strings.Repeat("c", 64),
		"0::/user.slice/user-1000.slice\n":                                                 "",
	} {
		if got := parseContainer([]byte(in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	ss, bad := parseSockets([]byte("  sl  local_address rem_address   st\n   0: 0100007F:1F90 0200007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 98765 1\n   1: nonsense\n" +
		"   2: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0  0 0 5 1\n"))
	if bad != 1 || len(ss) != 2 || ss[0].local.String() != "127.0.0.1:8080" || ss[0].remote.String() != "127.0.0.2:54321" || ss[0].inode != 98765 ||
		ss[1].local.String() != "127.0.0.1:80" || ss[1].state != stateListen {
		t.Errorf("%+v, %d bad", ss, bad)
	}
	for in, want := range map[string]struct {
		path         string
		deleted, mem bool
	}{"/usr/bin/x": {"/usr/bin/x", false, false}, "/tmp/x (deleted)": {"/tmp/x", true, false}, "/memfd:y (deleted)": {"/memfd:y", false, true}} {
		if p, d, m := imagePath(in); p != want.path || d != want.deleted || m != want.mem {
			t.Errorf("%s: %s %v %v", in, p, d, m)
		}
	}
}

func TestConfigReportsEverything(t *testing.T) {
	err := Config{Interval: 1, SocketInterval: 2 * time.Hour, Root: "proc", Masks: []string{"("}}.Validate()
	for _, want := range []string{"proc.interval", "proc.socket_interval", "proc.root", "proc.masks"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %s: %v", want, err)
		}
	}
}

func TestCapabilitiesSayWhy(t *testing.T) {
	c, err := New(fast(false), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range c.Capabilities() {
		if k.Variant == "" && k.Reason == "" {
			t.Errorf("capability %s is not there, without a reason", k.Name)
		}
	}
	if !slices.ContainsFunc(c.Capabilities(), func(k streams.Capability) bool { return k.Variant == "procfs" && strings.Contains(k.Reason, "missed") }) {
		t.Error("polling does not say what it misses")
	}
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte("42 (a) S 7 42 42 34816 42 4194304 1 0 0 0 5 6 0 0 20 0 1 0 12345 1"))
	f.Add([]byte("  sl\n   0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 5 1\n"))
	msg := make([]byte, nlHeader+cnHeader+evHeader+16)
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	binary.NativeEndian.PutUint32(msg[nlHeader:], cnIdxProc)
	binary.NativeEndian.PutUint32(msg[nlHeader+cnHeader:], whatExec)
	f.Add(msg)
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parseStat(b)
		_, _ = parseUID(b)
		_, _ = parseBootTime(b)
		_, _ = parseSockets(b)
		_, _ = parseKernelEvents(b)
		parseArgs(b)
		parseContainer(b)
		parseInode(string(b))
	})
}
