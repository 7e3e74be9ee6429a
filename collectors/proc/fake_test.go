package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// box is an Appender that remembers, and fails while it is told to.
type box struct {
	mu     sync.Mutex
	events []schemas.Event
	fail   error
}

func (b *box) Append(_ context.Context, es ...schemas.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	b.events = append(b.events, es...)
	return nil
}

// world is a made-up proc file system, and a session that reads it.
type world struct {
	*testing.T
	root string
	s    *session
	out  *box
	c    *Collector
	read int // events that were looked at
}

const own = 100 // pid of the collector

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	cfg := Defaults()
	cfg.Root, cfg.Connector, cfg.Hashes = t.TempDir(), false, false
	for _, f := range change {
		f(&cfg)
	}
	w := &world{T: t, root: cfg.Root, out: &box{}}
	w.write("stat", "cpu 1 2 3\nbtime 1700000000\n")
	w.write("sys/kernel/random/boot_id", "b00t\n")
	w.write("net/tcp", "  sl  local_address rem_address\n")
	w.link("self", fmt.Sprint(own))
	w.run(own, 1, 50, "amoskys", "/usr/bin/amoskys", "amoskys", "up")
	w.run(1, 0, 1, "init", "/sbin/init", "init")
	var err error
	if w.c, err = New(cfg, nil); err != nil {
		t.Fatal(err)
	}
	if w.s, err = w.c.open(w.out); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.s.lister.close)
	return w
}

// newConnected is a world in which the connector tells what happens, after the first scan.
func newConnected(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.s.kernel = true
	w.begin()
	w.expect("found 1<0 /sbin/init init", "found 100<1 /usr/bin/amoskys amoskys up")
	return w
}

func (w *world) write(path, text string) {
	w.Helper()
	path = filepath.Join(w.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) link(path, to string) {
	w.Helper()
	path = filepath.Join(w.root, path)
	os.Remove(path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(to, path)); err != nil {
		w.Fatal(err)
	}
}

// state writes the stat of a process.
func (w *world) state(pid, ppid, start int, comm, state string, threads, stack, code int) {
	w.write(fmt.Sprintf("%d/stat", pid), fmt.Sprintf("%d (%s) %s %d 7 7 34817 0 0 0 0 0 0 150 50 0 0 20 0 %d 0 %d 0 0 0 0 0 %d 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 %d\n",
		pid, comm, state, ppid, threads, start, stack, code))
}

// run makes a process. The address of its stack follows from its arguments.
func (w *world) run(pid, ppid, start int, comm, exe string, args ...string) {
	w.Helper()
	w.state(pid, ppid, start, comm, "S", 1, stackOf(exe, args), 0)
	w.write(fmt.Sprintf("%d/cmdline", pid), strings.Join(args, "\x00")+"\x00")
	w.write(fmt.Sprintf("%d/status", pid), "Name:\tx\nUid:\t0\t0\t0\t0\n")
	w.write(fmt.Sprintf("%d/cgroup", pid), "0::/\n")
	w.link(fmt.Sprintf("%d/exe", pid), exe)
	w.link(fmt.Sprintf("%d/cwd", pid), "/srv")
}

func stackOf(exe string, args []string) (n int) {
	for _, c := range exe + strings.Join(args, " ") {
		n = n*31%1_000_003 + int(c)
	}
	return n + 1
}

func (w *world) end(pid int) {
	w.Helper()
	if err := os.RemoveAll(filepath.Join(w.root, fmt.Sprint(pid))); err != nil {
		w.Fatal(err)
	}
}

// begin takes stock.
func (w *world) begin() {
	w.Helper()
	if err := w.s.start(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) scan() {
	w.Helper()
	if err := w.s.scan(); err != nil {
		w.Fatal(err)
	}
}

// tell gives events of the connector, as of now.
func (w *world) tell(es ...kernelEvent) {
	for i := range es {
		if es[i].time == 0 {
			es[i].time = now().mono
		}
		if es[i].tgid == 0 {
			es[i].tgid = es[i].pid
		}
	}
	w.s.take(&kernelBatch{events: es})
}

// ticksNow is the start time of a process that starts now.
func ticksNow() int { return int(now().boot / tick) }

// settled lets a second pass.
func (w *world) settled() {
	at := now()
	at.mono += 2 * settleAfter
	w.s.settle(at)
}

// expect compares the events since the last time with short descriptions of them.
func (w *world) expect(want ...string) {
	w.Helper()
	w.s.out.flush(w.Context())
	var got []string
	for _, e := range w.out.events[w.read:] {
		got = append(got, short(e))
	}
	w.read = len(w.out.events)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		w.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func (w *world) last() schemas.Event {
	w.Helper()
	w.s.out.flush(w.Context())
	w.read = len(w.out.events)
	if w.read == 0 {
		w.Fatal("no event")
	}
	return w.out.events[w.read-1]
}

func short(e schemas.Event) string {
	switch e := e.(type) {
	case *schemas.ProcessExec:
		s := fmt.Sprintf("exec %d<%d %s %s", e.Process.PID, e.Parent.PID, e.Process.Path, strings.Join(e.Args, " "))
		if e.Snapshot {
			s = "found" + s[4:]
		}
		return strings.TrimRight(s, " ")
	case *schemas.ProcessFork:
		return fmt.Sprintf("fork %d<%d %s", e.Process.PID, e.Parent.PID, e.Process.Path)
	case *schemas.ProcessExit:
		return fmt.Sprintf("exit %d %d/%d", e.Process.PID, e.ExitCode, e.Signal)
	case *schemas.NetworkActivity:
		return fmt.Sprintf("net/%d %d %s %s %s:%d > %s:%d", e.Envelope.ActivityID, e.Process.PID, e.Protocol, e.Direction, e.Src.IP, e.Src.Port, e.Dst.IP, e.Dst.Port)
	case *schemas.FileActivity:
		return fmt.Sprintf("file/%d %d %s %d %.8s", e.Envelope.ActivityID, e.Process.PID, filepath.Base(e.Path), e.Size, e.SHA256)
	case *schemas.CollectorStatus:
		return fmt.Sprintf("status/%d %s %d", e.Envelope.ActivityID, e.Counters[0].Name, e.Counters[0].Count)
	}
	return e.SchemaName()
}

func TestWhatRunsIsFound(t *testing.T) {
	w := newWorld(t)
	w.run(500, 600, 900, "child", "/bin/child", "child") // a lower pid than its parent
	w.run(600, 1, 800, "parent", "/bin/parent", "parent", "--password=x")
	w.state(2, 0, 1, "kthreadd", "S", 1, 0, 0)
	w.write("2/stat", strings.Replace("2 (kthreadd) S 0 0 0 0 -1 FLAGS 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0", "FLAGS", fmt.Sprint(kernelThread), 1))
	w.state(700, 1, 850, "gone", "Z", 1, 0, 0)
	w.write("800/stat", "broken")
	w.write("notes/stat", "")
	w.begin()
	w.expect("found 1<0 /sbin/init init", "found 100<1 /usr/bin/amoskys amoskys up", "found 600<1 /bin/parent parent --password=***", "found 500<600 /bin/child child")
	e := w.out.events[3].(*schemas.ProcessExec)
	since := 900 * tick
	if p := e.Process; p.CreatedTime != 1700000000e9+since || p.UID != schemas.ProcessUID(HostID(), "b00t", 500, since) || p.UserUID != "0" || p.UserName != "root" ||
		p.WorkingDirectory != "/srv" || p.Name != "child" || p.ParentPID != 600 {
		t.Errorf("process %+v", p)
	}
	if e.Parent.Path != "/bin/parent" || e.Parent.UID == "" || e.TTY != "pts/1" || e.SessionID != 7 {
		t.Errorf("event %+v", e)
	}
	if v := e.Envelope; v.ClassUID != 1007 || v.ActivityID != 1 || v.Priority != 0 || v.Collector != "proc" || v.Platform != "linux" || v.Boot != "b00t" || v.Host == "" {
		t.Errorf("envelope %+v", v)
	}
	w.scan()
	w.scan()
	w.expect()
}

func TestPolling(t *testing.T) {
	w := newWorld(t)
	base := ticksNow()
	w.begin()
	w.expect("found 1<0 /sbin/init init", "found 100<1 /usr/bin/amoskys amoskys up")

	w.run(200, 1, base+0, "sh", "/bin/sh", "sh", "-c", "x")
	w.scan()
	w.expect("exec 200<1 /bin/sh sh -c x")
	if at := w.out.events[w.read-1].Env().Time; at != 1700000000e9+int64(base)*tick {
		t.Errorf("time %d is not that of the start", at)
	}
	w.run(201, 200, base+1, "sh", "/bin/sh", "sh", "-c", "x") // forked, no program of its own yet
	w.scan()
	w.expect()
	w.run(201, 200, base+1, "ls", "/bin/ls", "ls")
	w.scan()
	w.expect("exec 201<200 /bin/ls ls")
	w.run(202, 200, base+2, "sh", "/bin/sh", "sh", "-c", "x") // forked, and stays so
	w.scan()
	w.settled()
	w.expect("fork 202<200 /bin/sh")
	w.run(203, 202, base+3, "sh", "/bin/sh", "sh", "-c", "x")
	w.run(204, 203, base+4, "id", "/bin/id", "id")
	w.scan()
	w.expect("fork 203<202 /bin/sh", "exec 204<203 /bin/id id") // a parent is told before its child

	w.end(204)
	w.state(203, 202, base+3, "sh", "Z", 1, 0, 0x300)
	w.scan()
	w.expect("exit 203 3/0", "exit 204 0/0")
	w.scan() // the zombie is still there
	w.expect()
	w.end(203)
	w.run(203, 1, base+10, "new", "/bin/new", "new") // and now somebody else has its pid
	w.scan()
	w.scan()
	w.expect("exec 203<1 /bin/new new")
	w.end(202)
	w.run(202, 1, base+11, "other", "/bin/other", "other")
	w.scan()
	w.expect("exit 202 0/0", "exec 202<1 /bin/other other")
	w.state(205, 1, base+12, "flash", "Z", 1, 0, 9)
	w.scan()
	w.expect("exec 205<1", "exit 205 0/9")
	if e := w.out.events[w.read-2].(*schemas.ProcessExec); e.Process.Name != "flash" {
		t.Errorf("process %+v: its name was known", e.Process)
	}
	w.state(201, 200, base+1, "renamed", "S", 1, stackOf("/bin/ls", []string{"ls"}), 0) // a new name is no program
	w.scan()
	w.expect()
}

// TestPollingBlind: without the right to read others' stack addresses, names and arguments tell programs apart.
func TestPollingBlind(t *testing.T) {
	w := newWorld(t)
	base := ticksNow()
	blind := func(pid, ppid, start int, comm string, args ...string) {
		w.run(pid, ppid, start, comm, "/", args...)
		w.state(pid, ppid, start, comm, "S", 1, 0, 0)
		os.Remove(filepath.Join(w.root, fmt.Sprint(pid), "exe"))
	}
	blind(300, 1, 100, "sshd", "sshd", "-D")
	w.begin()
	w.expect("found 1<0 /sbin/init init", "found 100<1 /usr/bin/amoskys amoskys up", "found 300<1  sshd -D")
	blind(301, 300, base, "sshd", "sshd", "-D")
	w.scan()
	w.expect()
	blind(301, 300, base, "bash", "bash")
	w.scan()
	w.expect("exec 301<300  bash")
	w.run(301, 300, base, "bash", "/bin/bash", "bash") // may be read now
	w.scan()
	w.expect("exec 301<300 /bin/bash bash")
	blind(301, 300, base, "bash", "bash")
	w.scan()
	blind(301, 300, base, "bash2", "bash")
	w.scan()
	w.expect("exec 301<300  bash")
}

func TestExecutables(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxArgs = 64 })
	w.begin()
	w.expect("found 1<0 /sbin/init init", "found 100<1 /usr/bin/amoskys amoskys up")
	id := strings.Repeat("c0", 32)
	for i, c := range []struct {
		comm, exe, args, cgroup            string
		path, name, interpreter, container string
		deleted, memfd                     bool
		cut                                int64
		real                               string // a file to make
		user                               string
	}{
		{comm: "x", exe: "/tmp/x (deleted)", args: "x", path: "/tmp/x", name: "x", deleted: true, user: "root"},
		{comm: "3", exe: "/memfd:a (deleted)", args: "x", path: "/memfd:a", name: "memfd:a", memfd: true, user: "root"},
		{comm: "x", exe: "REAL (deleted)", real: "REAL (deleted)", args: "x", path: "REAL (deleted)", name: "REAL (deleted)", user: "root"},
		{comm: "deploy.sh", exe: "/bin/bash", args: "/bin/bash\x00/opt/deploy.sh", path: "/bin/bash", name: "bash", interpreter: "/bin/bash", user: "root"},
		{comm: "averyveryverylo", exe: "/opt/averyveryverylongname", args: "x", path: "/opt/averyveryverylongname", name: "averyveryverylongname", user: "root"},
		{comm: "runc", exe: "/", args: "runc\x00init", path: "", name: "runc", user: "root"},
		{comm: "java", exe: "/bin/java", args: "java", cgroup: "0::/docker/" + id + "\n", path: "/bin/java", name: "java", container: id, user: "root"},
		{comm: "long", exe: "/bin/long", args: strings.Repeat("a", 99), path: "/bin/long", name: "long", cut: 99 + 1 - 64, user: "root"},
	} {
		exe, path, name := c.exe, c.path, c.name
		if c.real != "" {
			exe = filepath.Join(t.TempDir(), c.real)
			path, name = exe, filepath.Base(exe)
			if err := os.WriteFile(exe, []byte("x"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		pid := 1000 + i
		w.run(pid, 1, 7000+i, c.comm, exe, strings.Split(c.args, "\x00")...)
		if c.cgroup != "" {
			w.write(fmt.Sprintf("%d/cgroup", pid), c.cgroup)
		}
		w.scan()
		e, ok := w.last().(*schemas.ProcessExec)
		if !ok || e.Process.PID != int64(pid) || e.Process.Path != path || e.Process.Name != name || e.Interpreter != c.interpreter || e.Process.ContainerUID != c.container ||
			e.Deleted != c.deleted || e.Memfd != c.memfd || e.ArgsTruncated != c.cut || e.Process.UserName != c.user {
			t.Errorf("%s: %+v", c.exe, e)
		}
	}
}

func TestConnector(t *testing.T) {
	w := newConnected(t)

	start := ticksNow()
	w.tell(kernelEvent{what: eventFork, pid: 200, parent: 1})
	w.run(200, 1, start, "sh", "/bin/sh", "sh")
	w.tell(kernelEvent{what: eventExec, pid: 200})
	w.expect("exec 200<1 /bin/sh sh")
	e := w.out.events[w.read-1].(*schemas.ProcessExec)
	if d := time.Since(time.Unix(0, e.Envelope.Time)); d < 0 || d > time.Minute {
		t.Errorf("time of the exec is %v ago", d)
	}
	if want := schemas.ProcessUID(HostID(), "b00t", 200, int64(start)*tick); e.Process.UID != want {
		t.Error("the start that was read is not the one that counts")
	}

	// Gone before it was read; its ids and parent are known from the fork.
	w.tell(kernelEvent{what: eventFork, pid: 201, parent: 200}, kernelEvent{what: eventExec, pid: 201}, kernelEvent{what: eventExit, pid: 201, status: 1 << 8})
	w.expect("exec 201<200", "exit 201 1/0")
	// Nobody saw it fork.
	w.tell(kernelEvent{what: eventExec, pid: 202}, kernelEvent{what: eventExit, pid: 202, status: 11})
	w.expect("exec 202<0", "exit 202 0/11")
	// Forked, and ended without a program.
	w.tell(kernelEvent{what: eventFork, pid: 203, parent: 200}, kernelEvent{what: eventExit, pid: 203})
	w.expect("fork 203<200 /bin/sh", "exit 203 0/0")
	// Threads are no processes, and what was never seen does not end.
	w.tell(kernelEvent{what: eventFork, pid: 205, tgid: 200, parent: 1}, kernelEvent{what: eventExit, pid: 205, tgid: 200}, kernelEvent{what: eventExit, pid: 9999})
	w.expect()
	// A child of a forked process makes that known.
	forked := ticksNow() // of the kernel, a moment before the forks are told
	w.tell(kernelEvent{what: eventFork, pid: 206, parent: 200}, kernelEvent{what: eventFork, pid: 207, parent: 206})
	w.run(206, 200, forked, "sh", "/bin/sh", "sh")
	w.run(207, 206, forked, "ls", "/bin/ls", "ls")
	w.tell(kernelEvent{what: eventExec, pid: 207})
	w.expect("fork 206<200 /bin/sh", "exec 207<206 /bin/ls ls")
	w.settled()
	w.expect()

	// The first thread ends before the others: the process lives on.
	w.state(207, 206, int(w.s.table[207].start), "ls", "Z", 2, 0, 0)
	w.tell(kernelEvent{what: eventExit, pid: 207, status: 5 << 8})
	w.settled()
	w.expect()
	w.end(207)
	w.settled()
	w.expect("exit 207 5/0")

	// The pid is used again, and the end of the first was not told.
	w.tell(kernelEvent{what: eventFork, pid: 206, parent: 1, time: now().mono + 10*int64(time.Second)})
	w.expect("exit 206 0/0")

	// Two execs at once: the program of the first is only known to have been there.
	later := now().mono
	w.run(200, 1, start, "dash", "/bin/dash", "dash")
	w.tell(kernelEvent{what: eventExec, pid: 200, time: later}, kernelEvent{what: eventExec, pid: 200, time: later + 1})
	w.expect("exec 200<1", "exec 200<1 /bin/dash dash")
}

func TestScanBesideTheConnector(t *testing.T) {
	w := newConnected(t)
	w.run(200, 1, ticksNow(), "late", "/bin/late", "late")
	w.state(201, 1, ticksNow(), "zombie", "Z", 1, 0, 0)
	w.scan()
	w.expect() // its events may be on their way
	w.settled()
	w.expect("exec 200<1 /bin/late late")
	w.tell(kernelEvent{what: eventFork, pid: 200, parent: 1}) // here it is
	w.expect()
	w.run(200, 1, int(w.s.table[200].start), "next", "/bin/next", "next") // an exec that was not told
	w.scan()
	w.expect("exec 200<1 /bin/next next")
	w.end(200)
	w.scan()
	w.expect()
	w.scan()
	w.expect("exit 200 0/0")
	if n := w.s.nextScan(time.Second); n != costFactor*time.Second {
		t.Errorf("next scan in %v after one that took a second", n)
	}
	if w.s.take(&kernelBatch{}) || !w.s.take(&kernelBatch{overrun: true}) || !w.s.take(&kernelBatch{lost: 7}) {
		t.Error("a scan follows what was lost, and nothing else")
	}
	w.expect("status/6 lost_kernel_events 7")
}

func TestScanThatIsFasterThanTheConnector(t *testing.T) {
	w := newConnected(t)
	forked, execed := now().mono, now().mono+1
	w.run(200, 1, ticksNow(), "ls", "/bin/ls", "ls")
	w.scan()
	w.tell(kernelEvent{what: eventFork, pid: 200, parent: 1, time: forked}, kernelEvent{what: eventExec, pid: 200, time: execed})
	w.settled()
	w.expect("exec 200<1 /bin/ls ls")
}

func TestKernelThreadsAreNotTold(t *testing.T) {
	w := newWorld(t)
	w.s.kernel = true
	thread := func(pid int) {
		w.write(fmt.Sprintf("%d/stat", pid), fmt.Sprintf("%d (kworker) S 2 0 0 0 -1 %d 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0", pid, kernelThread, ticksNow()))
	}
	thread(2)
	w.begin()
	w.expect("found 1<0 /sbin/init init", "found 100<1 /usr/bin/amoskys amoskys up")
	w.tell(kernelEvent{what: eventFork, pid: 50, parent: 2}, kernelEvent{what: eventExit, pid: 50})
	w.tell(kernelEvent{what: eventFork, pid: 51, parent: 2})
	thread(51)
	w.scan()
	w.settled()
	w.expect()
	w.run(51, 2, int(w.s.table[51].start), "modprobe", "/sbin/modprobe", "modprobe") // a helper that the kernel starts
	w.tell(kernelEvent{what: eventExec, pid: 51}, kernelEvent{what: eventExit, pid: 51})
	w.expect("exec 51<2 /sbin/modprobe modprobe", "exit 51 0/0")
}

func TestSockets(t *testing.T) {
	w := newWorld(t)
	line := func(local, remote, state string, uid, inode int) string {
		return fmt.Sprintf("   0: %s %s %s 0:0 0:0 0 %d 0 %d 1\n", local, remote, state, uid, inode)
	}
	w.run(200, 1, 300, "nginx", "/bin/nginx", "nginx")
	w.run(201, 1, 301, "curl", "/bin/curl", "curl")
	w.link("200/fd/0", "socket:[11]")
	w.link("200/fd/4", "socket:[12]")
	w.link("201/fd/3", "socket:[13]")
	w.link("201/fd/1", "/dev/null")
	w.link("201/ns/net", "net:[77]")
	w.link("self/ns/net", "net:[4]")
	w.link("100/fd/9", "socket:[15]")
	w.write("201/net/udp", line("0100007F:9C40", "08080808:0035", "01", 0, 13))
	listener := line("00000000:0050", "00000000:0000", "0A", 0, 11)
	in := line("0100007F:0050", "0200007F:C350", "01", 0, 12)
	w.write("net/tcp", listener+in+line("0100007F:1388", "0300007F:01BB", "02", 0, 14)+line("0100007F:1389", "0300007F:01BB", "06", 0, 0)+
		line("0100007F:138A", "0300007F:2384", "01", 0, 15))
	w.write("net/udp", line("00000000:0035", "00000000:0000", "07", 0, 16))
	w.begin()
	w.read = 0
	w.expect("found 1<0 /sbin/init init", "found 100<1 /usr/bin/amoskys amoskys up", "found 200<1 /bin/nginx nginx", "found 201<1 /bin/curl curl")
	w.s.scanSockets()
	w.expect("net/7 200 tcp  :0 > 0.0.0.0:80", "net/1 200 tcp inbound 127.0.0.2:50000 > 127.0.0.1:80", "net/1 201 udp outbound 127.0.0.1:40000 > 8.8.8.8:53")
	w.s.scanSockets() // those without a process get a second look
	w.expect("net/7 0 udp  :0 > 0.0.0.0:53", "net/1 0 tcp outbound 127.0.0.1:5000 > 127.0.0.3:443")
	for _, e := range w.out.events[4:] {
		if v := e.Env(); v.ClassUID != 4001 || v.Priority != 1 {
			t.Errorf("envelope %+v", v)
		}
		if p := e.(*schemas.NetworkActivity).Process; p.UserName != "root" {
			t.Errorf("process %+v: the user was known", p)
		}
	}
	w.s.scanSockets()
	w.expect()
	w.write("201/net/udp", line("0100007F:9C40", "09080808:0035", "01", 0, 13)) // another peer of the same socket
	w.write("net/tcp", in)
	w.s.scanSockets()
	w.expect("net/1 201 udp outbound 127.0.0.1:40000 > 8.8.8.9:53")
	w.write("net/tcp", listener+in)
	w.s.scanSockets()
	w.expect("net/7 200 tcp  :0 > 0.0.0.0:80")
	// A process that was only forked is told before what it does.
	w.run(202, 200, 302, "nginx", "/bin/nginx", "nginx")
	w.link("202/fd/5", "socket:[17]")
	w.write("net/tcp", listener+line("0100007F:0050", "0200007F:C351", "01", 0, 17))
	w.scan()
	w.s.scanSockets()
	w.expect("fork 202<200 /bin/nginx", "net/1 202 tcp inbound 127.0.0.2:50001 > 127.0.0.1:80")
	big := strings.Repeat("x", 3*len(w.s.sockets.buf))
	w.write("net/tcp", big+"\n"+line("0100007F:0051", "0200007F:C352", "01", 0, 18))
	w.s.scanSockets()
	w.run(203, 1, 303, "young", "/bin/young", "young") // was not known when its socket was found
	w.link("203/fd/0", "socket:[18]")
	w.scan()
	w.s.scanSockets()
	w.expect("exec 203<1 /bin/young young", "net/1 203 tcp outbound 127.0.0.1:81 > 127.0.0.2:50002")
}

// TestSocketsAreListedOnlyWhenSomethingHappened: the list of TCP sockets is read when the counters say so, and now and then.
func TestSocketsAreListedOnlyWhenSomethingHappened(t *testing.T) {
	w := newWorld(t)
	counters := func(active, use int) {
		w.write("net/snmp", fmt.Sprintf("Tcp: ActiveOpens PassiveOpens\nTcp: %d 0\n", active))
		w.write("net/sockstat", fmt.Sprintf("TCP: inuse %d orphan 0\n", use))
	}
	tcp := func(ports ...int) {
		text := ""
		for _, p := range ports {
			text += fmt.Sprintf("0: 0100007F:1388 0300007F:%04X 01 0:0 0:0 0 0 0 %d 1\n", p, p)
		}
		w.write("net/tcp", text)
	}
	w.run(200, 1, 300, "x", "/bin/x", "x")
	for p := range 5 {
		w.link(fmt.Sprintf("200/fd/%d", p), fmt.Sprintf("socket:[%d]", p+1))
	}
	w.begin()
	w.last()
	counters(1, 1)
	tcp(1)
	w.s.scanSockets()
	w.expect("net/1 200 tcp outbound 127.0.0.1:5000 > 127.0.0.3:1")
	tcp(1, 2) // which cannot be without a counter that moves
	w.s.scanSockets()
	w.expect()
	counters(2, 1)
	w.s.scanSockets()
	w.expect("net/1 200 tcp outbound 127.0.0.1:5000 > 127.0.0.3:2")
	tcp(1, 3)
	counters(2, 2)
	w.s.scanSockets()
	w.expect("net/1 200 tcp outbound 127.0.0.1:5000 > 127.0.0.3:3")
	tcp(1, 3, 4)
	w.s.scanSockets()
	w.expect()
	m := w.s.sockets.marks[0]
	m.at -= markFor
	w.s.sockets.marks[0] = m
	w.s.scanSockets()
	w.expect("net/1 200 tcp outbound 127.0.0.1:5000 > 127.0.0.3:4")
	if n := len(w.s.sockets.known); n != 3 {
		t.Errorf("%d sockets are known, want 3", n)
	}
}

func TestHashes(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Hashes, c.HashLimit, c.HashRate = true, 1<<20, 1<<30 })
	dir := t.TempDir()
	exe := func(name string, size int) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(strings.Repeat("a", size)), 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	a, b, big := exe("a", 3), exe("b", 200_000), exe("big", 1<<20+1)
	w.run(200, 1, 300, "a", a, "a")
	w.begin()
	w.run(201, 1, 301, "b", b, "b")
	w.run(202, 1, 302, "big", big, "big")
	w.scan()
	os.Remove(b) // it was opened before
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	go func() { w.s.hasher.run(ctx); close(done) }()
	var got []string
	for !slices.Contains(got, "file/8 200 a 3 9834876d") {
		select {
		case r := <-w.s.hasher.results:
			w.s.hashed(&r)
			got = append(got, short(w.last()))
		case <-time.After(10 * time.Second):
			t.Fatal("no hash came")
		}
	}
	if got[0] != "file/8 201 b 200000 2287d207" {
		t.Errorf("got %v: what was just started goes first", got)
	}
	w.run(203, 1, 303, "a", a, "a", "again")
	w.scan()
	if e, ok := w.last().(*schemas.ProcessExec); !ok || !strings.HasPrefix(e.Process.SHA256, "9834876d") {
		t.Errorf("a hash that is known is not told: %+v", e)
	}
	if w.s.table[200].info.SHA256 == "" || w.s.table[202].info.SHA256 != "" {
		t.Error("hashes are not with their processes")
	}
	stop()
	<-done
}

func TestHashCacheForgetsTheOldest(t *testing.T) {
	h := newHasher(&Config{})
	id := func(n int) fileID { return fileID{ino: uint64(n)} }
	for n := range 2*hashCache + 1 {
		h.put(id(n), "x")
		if _, ok := h.sum(id(0)); !ok {
			t.Fatalf("what is in use was forgotten after %d", n)
		}
	}
	if _, ok := h.sum(id(1)); ok || len(h.newer)+len(h.older) > 2*hashCache {
		t.Error("nothing is forgotten")
	}
}

func TestBudgetHolds(t *testing.T) {
	b := budget{rate: 100_000, burst: 1000, left: 1000, at: time.Now()}
	began := time.Now()
	for range 6 {
		if err := b.take(t.Context(), 1000); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 40*time.Millisecond {
		t.Errorf("6,000 bytes took %v at 100,000 a second with 1,000 at once", took)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := b.take(ctx, 1<<30); !errors.Is(err, context.Canceled) {
		t.Errorf("take after the end: %v", err)
	}
}

func TestSumOf(t *testing.T) {
	after := func(int) error { return nil }
	if s, err := sumOf(strings.NewReader("abc"), 3, make([]byte, 2), after); err != nil || !strings.HasPrefix(s, "ba7816bf") {
		t.Errorf("%s, %v", s, err)
	}
	for _, size := range []int64{2, 4} {
		if _, err := sumOf(strings.NewReader("abc"), size, make([]byte, 2), after); !errors.Is(err, errChanged) {
			t.Errorf("size %d: %v", size, err)
		}
	}
	stop := errors.New("stop")
	if _, err := sumOf(strings.NewReader("abc"), 3, make([]byte, 2), func(int) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped: %v", err)
	}
}

func TestOutboxKeepsWhatCannotBeWritten(t *testing.T) {
	out := &box{fail: errors.New("disk full")}
	o := outbox{to: out, counts: &counts{}, log: newWorld(t).c.log}
	for range outboxMax + 10 {
		o.add(&schemas.ProcessExit{})
	}
	o.flush(t.Context())
	o.flush(t.Context())
	if len(out.events) != 0 || len(o.events) != outboxMax || o.failed == nil {
		t.Fatalf("%d written, %d kept", len(out.events), len(o.events))
	}
	out.fail = nil
	o.flush(t.Context())
	if len(out.events) != 0 {
		t.Error("it is tried again at once")
	}
	o.last(t.Context())
	if n := len(out.events); n != outboxMax+1 || short(out.events[n-1]) != "status/6 dropped_events 10" || o.counts.dropped.Load() != 10 {
		t.Errorf("%d written, the last is %s", n, short(out.events[n-1]))
	}
}

func TestUsersAreReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	write := func(text string, at time.Time) {
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Unix(1_700_000_000, 0)
	u := users{path: path}
	if u.name("5", at) != "" {
		t.Error("a name without a file")
	}
	write("a:x:5:5::/:/bin/sh\n", at)
	if got := u.name("5", at.Add(time.Second)); got != "" {
		t.Errorf("got %q before it was time to look", got)
	}
	if got := u.name("5", at.Add(usersEvery)); got != "a" {
		t.Errorf("got %q", got)
	}
	write("b:x:5:5::/:/bin/sh\n", at.Add(time.Hour))
	if got := u.name("5", at.Add(2*usersEvery)); got != "b" {
		t.Errorf("got %q after a change", got)
	}
	os.Remove(path)
	if got := u.name("5", at.Add(3*usersEvery)); got != "b" {
		t.Errorf("got %q without the file", got)
	}
}
