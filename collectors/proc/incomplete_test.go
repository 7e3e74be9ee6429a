//go:build linux

package proc

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

// What could not be read of a program is in the event, with the reason.
func TestIncomplete(t *testing.T) {
	w := newConnected(t)
	incomplete := func(want string) *schemas.ProcessExec {
		t.Helper()
		e, ok := w.last().(*schemas.ProcessExec)
		if !ok || e.Process.Incomplete != want {
			t.Errorf("incomplete is %q, want %q", e.Process.Incomplete, want)
		}
		return e
	}
	const gone = "path:ended args:ended working_directory:ended name:ended user_uid:ended container_uid:ended"

	// Gone, and not reaped.
	w.tell(kernelEvent{what: eventFork, pid: 200, parent: 1}, kernelEvent{what: eventExec, pid: 200})
	incomplete(gone)
	w.run(201, 1, ticksNow(), "id", "/bin/id", "id")
	w.state(201, 1, ticksNow(), "id", "Z", 1, 0, 0)
	w.tell(kernelEvent{what: eventExec, pid: 201})
	if e := incomplete("path:ended args:ended working_directory:ended"); e.Process.Name != "id" || e.Process.UserUID != "0" || e.Process.Path != "" {
		t.Errorf("of one that waits to be reaped: %+v", e.Process)
	}
	// Another one has its pid by the time that it is read.
	w.tell(kernelEvent{what: eventFork, pid: 202, parent: 1})
	w.run(202, 1, ticksNow()+1000, "evil", "/tmp/evil", "evil")
	w.tell(kernelEvent{what: eventExec, pid: 202})
	incomplete(gone)
	w.run(203, 1, ticksNow()+1000, "evil", "/tmp/evil", "evil") // also when its fork was not seen
	w.tell(kernelEvent{what: eventExec, pid: 203})
	incomplete(gone)
	// It vanishes while it is read.
	w.run(204, 1, ticksNow(), "id", "/bin/id", "id")
	for _, name := range []string{"cmdline", "exe", "cwd", "cgroup", "status"} {
		if err := os.Remove(filepath.Join(w.root, "204", name)); err != nil {
			t.Fatal(err)
		}
	}
	w.tell(kernelEvent{what: eventExec, pid: 204})
	incomplete("args:ended path:ended working_directory:ended container_uid:ended user_uid:ended")
	// All of it can be read.
	w.run(205, 1, ticksNow(), "id", "/bin/id", "id")
	w.tell(kernelEvent{what: eventExec, pid: 205})
	incomplete("")
}

// A program that starts another one at once is told, though only the second can be read: also when the exec of the second
// comes after the first was told by what was read.
func TestProgramThatIsReplacedAtOnce(t *testing.T) {
	w := newConnected(t)
	start := ticksNow()
	w.tell(kernelEvent{what: eventFork, pid: 200, parent: 1})
	w.run(200, 1, start, "python3", "/usr/bin/python3", "python3", "x.py")
	first := now().mono
	w.tell(kernelEvent{what: eventExec, pid: 200, time: first})
	w.tell(kernelEvent{what: eventExec, pid: 200, time: first + 1})
	w.s.out.flush(t.Context())
	if e := w.last().(*schemas.ProcessExec); !strings.HasPrefix(e.Process.Incomplete, "path:replaced args:replaced") || e.Process.Path != "" {
		t.Errorf("event %+v", e.Process)
	}
	if p := w.s.table[200]; p.info.Path != "/usr/bin/python3" {
		t.Errorf("it is taken to run %q", p.info.Path)
	}
	// What a scan has told was no exec that was replaced.
	w.run(201, 1, ticksNow(), "ls", "/bin/ls", "ls")
	event := kernelEvent{what: eventExec, pid: 201, time: now().mono}
	w.scan()
	w.settled()
	w.expect("exec 201<1 /bin/ls ls")
	w.tell(event)
	w.expect()
}

// What may not be read is marked as well.
func TestWhyUnread(t *testing.T) {
	for want, err := range map[string]error{schemas.Denied: os.ErrPermission, schemas.Ended: os.ErrNotExist, schemas.Failed: errShort} {
		if got := whyUnread(&os.PathError{Op: "open", Path: "exe", Err: err}); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

// Arguments and names may be any bytes. What is written is UTF-8, as Avro demands, and no argument is lost or made of a piece.
func TestArgumentsOfAnyBytes(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxArgs = 64 })
	w.begin()
	w.run(200, 1, 7000, "na\xffme", "/tmp/\xfe", "a\nb", "\xff\xfe", "", "é")
	w.link("200/cwd", "/srv/\xfd")
	w.scan()
	e := w.last().(*schemas.ProcessExec)
	if want := []string{"a\nb", `\xff\xfe`, "", "é"}; !slices.Equal(e.Args, want) {
		t.Errorf("arguments %q, want %q", e.Args, want)
	}
	if e.Process.Path != `/tmp/\xfe` || e.Process.Name != `\xfe` || e.Process.WorkingDirectory != `/srv/\xfd` {
		t.Errorf("process %+v", e.Process)
	}
	// A character that lies across the bound belongs to what is cut off.
	w.run(201, 1, 7001, "x", "/bin/x", strings.Repeat("a", 63)+"é", "b")
	w.scan()
	e = w.last().(*schemas.ProcessExec)
	if len(e.Args) != 1 || e.Args[0] != strings.Repeat("a", 63) || e.ArgsTruncated != int64(len("é\x00b\x00")) {
		t.Errorf("arguments %q, %d cut off", e.Args, e.ArgsTruncated)
	}
}

// A socket of a process that got the pid of another one, whose end was not told yet, is not put down to that.
func TestSocketOfAReusedPID(t *testing.T) {
	w := newWorld(t)
	w.run(200, 1, 300, "nginx", "/bin/nginx", "nginx")
	w.begin()
	w.expect("found 1<0 /sbin/init init", "found 100<1 /usr/bin/amoskys amoskys up", "found 200<1 /bin/nginx nginx")
	w.run(200, 1, 900, "evil", "/tmp/evil", "evil")
	w.link("200/fd/3", "socket:[11]")
	w.write("net/tcp", "   0: 0100007F:1388 0300007F:01BB 01 0:0 0:0 0 0 0 11 1\n")
	w.s.scanSockets()
	w.expect()               // it gets a second look
	w.s.table[200].inode = 0 // a new process has a new folder
	w.scan()
	w.s.scanSockets()
	w.expect("exit 200 0/0", "exec 200<1 /tmp/evil evil", "net/1 200 tcp outbound 127.0.0.1:5000 > 127.0.0.3:443")
}
