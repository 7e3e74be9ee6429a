//go:build linux

package proc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"golang.org/x/sys/unix"
)

// await polls for an event until a deadline.
func await[E schemas.Event](t *testing.T, b *box, what string, ok func(E) bool) E {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		b.mu.Lock()
		i := slices.IndexFunc(b.events, func(e schemas.Event) bool { x, is := e.(E); return is && ok(x) })
		var found schemas.Event
		if i >= 0 {
			found = b.events[i]
		}
		b.mu.Unlock()
		if found != nil {
			return found.(E)
		}
	}
	t.Fatalf("%s was not seen", what)
	panic("unreachable")
}

// observe runs a collector on the real /proc for the time of the test.
func observe(t *testing.T, connector bool) (*Collector, *box) {
	t.Helper()
	cfg := Defaults()
	cfg.Interval, cfg.MaxInterval, cfg.SocketInterval, cfg.Connector, cfg.HashRate = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond, connector, 1<<30
	c, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if connector {
		if err := c.tryConnector(); err != nil {
			t.Skipf("process connector: %v", err)
		}
	}
	b := &box{}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Collect(ctx, b) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	await(t, b, "the test itself", func(e *schemas.ProcessExec) bool { return e.Process.PID == int64(os.Getpid()) && e.Snapshot })
	return c, b
}

func both(t *testing.T, f func(t *testing.T, connector bool)) {
	for _, connector := range []bool{false, true} {
		t.Run(fmt.Sprintf("connector=%v", connector), func(t *testing.T) { f(t, connector) })
	}
}

func TestRealProcess(t *testing.T) {
	both(t, func(t *testing.T, connector bool) {
		_, b := observe(t, connector)
		cmd := exec.Command("sleep", "60")
		cmd.Args = []string{"--password=hunter2", "60"}
		cmd.Dir = t.TempDir()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Process.Kill()
		pid := int64(cmd.Process.Pid)
		e := await(t, b, "the start of sleep", func(e *schemas.ProcessExec) bool { return e.Process.PID == pid && len(e.Args) == 2 })
		if e.Snapshot || e.Process.WorkingDirectory != cmd.Dir || e.Process.UserUID != fmt.Sprint(os.Geteuid()) || e.Parent.PID != int64(os.Getpid()) ||
			e.Parent.UID == "" || e.Process.UID == "" || e.Process.Path == "" || e.Args[0] != "--password=***" {
			t.Errorf("event %+v", e)
		}
		for what, at := range map[string]int64{"start": e.Process.CreatedTime, "exec": e.Envelope.Time} {
			if d := time.Since(time.Unix(0, at)); d < -20*time.Millisecond || d > 20*time.Second {
				t.Errorf("%s is %v ago", what, d)
			}
		}
		await(t, b, "its hash", func(f *schemas.FileActivity) bool { return f.Path == e.Process.Path && len(f.SHA256) == 64 })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		x := await(t, b, "the end of sleep", func(e *schemas.ProcessExit) bool { return e.Process.PID == pid })
		if x.Process.UID != e.Process.UID {
			t.Errorf("exit of %s, exec of %s: not one process", x.Process.UID, e.Process.UID)
		}
		if connector && x.Signal != int32(syscall.SIGKILL) {
			t.Errorf("signal %d", x.Signal)
		}
	})
}

func TestRealShortProcesses(t *testing.T) {
	c, b := observe(t, true)
	var pids []int
	for range 50 {
		cmd := exec.Command("/bin/sh", "-c", "exit 3")
		_ = cmd.Run()
		pids = append(pids, cmd.Process.Pid)
	}
	for _, pid := range pids {
		await(t, b, "a process of a millisecond", func(e *schemas.ProcessExec) bool { return e.Process.PID == int64(pid) })
		x := await(t, b, "its end", func(e *schemas.ProcessExit) bool { return e.Process.PID == int64(pid) })
		if x.ExitCode != 3 || x.Signal != 0 {
			t.Errorf("exit code %d, signal %d, want 3 and 0", x.ExitCode, x.Signal)
		}
	}
	k := c.Counters()
	if !slices.IsSortedFunc(k, func(a, b schemas.Counter) int { return strings.Compare(a.Name, b.Name) }) || k[2].Name != "execs" || k[2].Count < 50 {
		t.Errorf("counters %v", k)
	}
	if k := c.Capabilities(); k[0].Variant != "netlink" {
		t.Errorf("capabilities %v", k)
	}
}

func TestRealDeletedProgram(t *testing.T) {
	_, b := observe(t, false)
	from, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("no sleep here")
	}
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.MemfdCreate("hidden", 0)
	if err != nil {
		t.Skipf("memfd: %v", err)
	}
	mem := os.NewFile(uintptr(fd), "memfd")
	defer mem.Close()
	if _, err := mem.Write(text); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f              *os.File
		path           string
		deleted, memfd bool
	}{{file, path, true, false}, {mem, "/memfd:hidden", false, true}} {
		cmd := exec.Command(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), c.f.Fd()))
		cmd.Args = []string{"sleep", "60"}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		e := await(t, b, c.path, func(e *schemas.ProcessExec) bool {
			return e.Process.PID == int64(cmd.Process.Pid) && e.Process.Path == c.path
		})
		if e.Deleted != c.deleted || e.Memfd != c.memfd {
			t.Errorf("%s: deleted %v, memfd %v", c.path, e.Deleted, e.Memfd)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func TestRealSockets(t *testing.T) {
	both(t, func(t *testing.T, connector bool) {
		_, b := observe(t, connector)
		bash, err := exec.LookPath("bash")
		if err != nil {
			t.Skip("no bash here")
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		cmd := exec.Command(bash, "-c", fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d; read -t 60 -u 3", port))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		e := await(t, b, "the connection", func(e *schemas.NetworkActivity) bool { return e.Dst.Port == int32(port) && e.Direction == "outbound" })
		if e.Process.PID != int64(cmd.Process.Pid) || e.Dst.IP != "127.0.0.1" || e.Protocol != "tcp" {
			t.Errorf("event %+v", e)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, x := range b.events {
			if n, ok := x.(*schemas.NetworkActivity); ok && n.Process.PID == int64(os.Getpid()) {
				t.Errorf("own socket is told: %+v", n)
			}
		}
	})
}

func TestOverrunIsCounted(t *testing.T) {
	k, err := openConnector()
	if err != nil {
		t.Skipf("process connector: %v", err)
	}
	_ = k.conn.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1) })
	if err != nil {
		k.close()
		t.Skipf("small buffer: %v", err)
	}
	for range 40 {
		_ = exec.Command("/bin/true").Run()
	}
	batches, done := make(chan kernelBatch), make(chan error, 1)
	go func() { done <- k.receive(batches) }()
	var lost int64
	overrun := false
	deadline := time.After(20 * time.Second)
	for lost == 0 || !overrun {
		select {
		case b := <-batches:
			lost, overrun = lost+b.lost, overrun || b.overrun
		case <-deadline:
			t.Fatalf("lost %d, overrun %v", lost, overrun)
		default:
			_ = exec.Command("/bin/true").Run() // what comes next shows the gap
		}
	}
	k.close()
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("end: %v", err)
	}
}

func TestLostConnectorEndsInPolling(t *testing.T) {
	w := newWorld(t)
	w.s.kernel = true
	w.begin()
	ctx, stop := context.WithCancel(t.Context())
	failed, done := make(chan error, 1), make(chan error, 1)
	failed <- errors.New("gone")
	go func() { done <- w.s.loop(ctx, nil, failed) }()
	w.run(300, 1, 700, "x", "/bin/x", "x")
	await(t, w.out, "a process after the connector was lost", func(e *schemas.ProcessExec) bool { return e.Process.PID == 300 })
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestConfigReportsEverything(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatal(err)
	}
	err := Config{Interval: 1, MaxInterval: 1, SocketInterval: 2 * time.Hour, Root: "proc", Masks: []string{"(", "x", "(x)"}}.Validate()
	for _, want := range []string{"interval", "max_interval", "socket_interval", "root", "max_args", "hash_limit", "hash_rate", "masks"} {
		if !slices.ContainsFunc(streams.SettingErrors(err), func(e *streams.SettingError) bool { return e.Key == "proc."+want }) {
			t.Errorf("error does not name %s: %v", want, err)
		}
	}
	if n := len(streams.SettingErrors(err)); n != 9 {
		t.Errorf("%d problems, want 9: %v", n, err)
	}
	if _, err := New(Config{}, nil); err == nil {
		t.Error("a configuration of nothing was taken")
	}
}

func TestCapabilitiesSayWhy(t *testing.T) {
	w := newWorld(t)
	w.write(fmt.Sprintf("%d/status", own), "CapEff:\t0\n")
	check := func(cfg Config, want map[string]string) {
		t.Helper()
		c, err := New(cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range c.Capabilities() {
			if !strings.Contains(k.Variant+": "+k.Reason, want[k.Name]) || want[k.Name] == "" {
				t.Errorf("%s is %s: %s, want %q", k.Name, k.Variant, k.Reason, want[k.Name])
			}
		}
	}
	cfg := w.c.cfg
	cfg.Hashes = true
	check(cfg, map[string]string{"process.exec": "procfs: processes that live shorter than 250ms to 1s are missed: turned off by proc.connector",
		"process.exit": "exit codes", "network.connection": "procfs: connections shorter than 2s (on a busy host up to 30s) are missed; executables", "binary.identity": "no CAP_SYS_PTRACE"})
	w.write(fmt.Sprintf("%d/status", own), "CapEff:\tffffffffffffffff\n")
	check(cfg, map[string]string{"process.exec": "procfs", "process.exit": "procfs", "network.connection": "procfs: connections", "binary.identity": "procfs: "})
	w.end(1)
	cfg.Sockets, cfg.Hashes = false, false
	check(cfg, map[string]string{"process.exec": "procfs", "process.exit": "procfs", "network.connection": ": turned off by proc.sockets", "binary.identity": ": turned off by proc.hashes"})
	cfg.Sockets = true
	check(cfg, map[string]string{"process.exec": "procfs", "process.exit": "procfs", "network.connection": "hidepid", "binary.identity": ": turned off by proc.hashes"})
	if w.c.Name() != "proc" {
		t.Error("name")
	}
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	id := filepath.Join(dir, "machine-id")
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"": name, "uninitialized\n": name, "0123456789abcdef0123456789abcdef\n": "1046c4773a019e6ef66b80ac40e0d760"} {
		if err := os.WriteFile(id, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := hostID(filepath.Join(dir, "none"), id)
		if got != want {
			t.Errorf("machine id %q: got %q, want %q", text, got, want)
		}
	}
	if HostID() == "" || BootID("/proc") == "unknown" || BootID(dir) != "unknown" {
		t.Errorf("host %q, boot %q", HostID(), BootID("/proc"))
	}
}

func TestErrorsNameWhatCannotBeRead(t *testing.T) {
	cfg := Defaults()
	cfg.Root = filepath.Join(t.TempDir(), "none")
	c, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Collect(t.Context(), &box{}); err == nil || !strings.Contains(err.Error(), cfg.Root) {
		t.Errorf("collect without /proc: %v", err)
	}
	cfg.Root = t.TempDir()
	if c, err = New(cfg, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Collect(t.Context(), &box{}); err == nil || !strings.Contains(err.Error(), cfg.Root+"/stat") {
		t.Errorf("collect without a boot time: %v", err)
	}
}

func TestAppendEntriesTakesOnlyNumbers(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"0", "7", "42", "4x", "self", "99999999999999999999", "-1"} {
		if err := os.Mkdir(filepath.Join(dir, n), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l, err := openLister(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for range 2 {
		list, err := l.list(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, e := range list {
			if e.inode == 0 {
				t.Errorf("entry %d has no inode", e.number)
			}
			got = append(got, e.number)
		}
		slices.Sort(got)
		if !slices.Equal(got, []int64{0, 7, 42}) {
			t.Errorf("entries %v", got)
		}
	}
}

func FuzzEntries(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x18\x00\x0442\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range appendEntries(nil, b) {
			if e.number < 0 {
				t.Fatalf("number %d", e.number)
			}
		}
	})
}
