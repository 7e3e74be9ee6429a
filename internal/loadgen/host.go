package loadgen

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/amoskys/amoskys/schemas"
)

// The classes and activities of OCSF that occur.
const (
	fileClass, fileCreate, fileUpdate, fileDelete, fileRename = 1001, 1, 3, 4, 5
	processClass, processLaunch, processTerminate             = 1007, 1, 2
	networkClass, networkOpen                                 = 4001, 1
)

// process is one running process.
type process struct {
	uid       string
	pid, ppid int64
	created   int64
	program   int // that it runs
	next      int // that it will run: -1 for none
	starts    int // how many it will still start, of a program that starts others
	parent    *process
}

// host is one machine with its process tree.
type host struct {
	g                *Generator
	id, name, bootID string
	sequence         int64
	pid              int64
	hubs             []*process
	live             []*process // all but the hubs, oldest first but for the gaps that old ones left
	forked           []*process // that have not run their program yet
	running          []*process // by program: the newest process of each that starts others
}

func newHost(g *Generator, i int) *host {
	h := &host{g: g, name: fmt.Sprintf("host-%04d", i), pid: 300, running: make([]*process, len(g.words.programs))}
	r := newRandom(g.cfg.Seed, uint64(i)+1000)
	h.id = fmt.Sprintf("%016x", r.Uint64())
	h.bootID = fmt.Sprintf("%016x", r.Uint64())
	return h
}

// spawn makes a process that will run program.
func (h *host) spawn(t int64, parent *process, program int) *process {
	if h.pid++; h.pid > 4_194_304 { // pid_max of a 64-bit machine
		h.pid = 301
	}
	p := &process{uid: schemas.ProcessUID(h.id, h.bootID, h.pid, t), pid: h.pid, created: t, program: program, next: program, parent: parent}
	if parent != nil {
		p.ppid, p.program = parent.pid, parent.program
	}
	return p
}

// boot reports one hub.
func (h *host) boot(t int64) schemas.Event {
	program := h.g.cfg.Executables + len(h.hubs)
	p := h.spawn(t, nil, program)
	p.ppid, p.next = 1, -1
	h.hubs = append(h.hubs, p)
	h.running[program] = p
	e := h.started(t, p)
	e.Snapshot = true
	return e
}

// possible is the kind that takes the place of k: k itself, unless there is nothing to do it to, or the number of
// processes has gone astray.
func (h *host) possible(k kind) kind {
	n := len(h.live)
	switch {
	case k == exitKind && n <= h.g.cfg.Processes/2:
		return forkKind
	case k == forkKind && n >= h.g.cfg.Processes*2:
		return exitKind
	case k == execKind && len(h.forked) == 0 && n == 0:
		return forkKind
	}
	return k
}

// fork starts a process. It is a child of the program that usually starts what it will run; if that is not running, it
// is started itself.
func (h *host) fork(t int64) schemas.Event {
	g := h.g
	program := g.words.rank.draw(g.r)
	var parent *process
	for {
		w := &g.words.programs[program]
		up := w.parents[0]
		if g.r.chance(otherParent) {
			up = w.parents[1]
		}
		if parent = h.running[up]; parent != nil {
			break
		}
		program = up // hubs always run, so this ends
	}
	if parent.starts--; parent.starts == 0 { // a hub begins below that
		h.running[parent.program] = nil
	}
	p := h.spawn(t, parent, program)
	h.live = append(h.live, p)
	h.forked = append(h.forked, p)
	e := &g.fork
	*e = schemas.ProcessFork{Envelope: g.envelope(h, t, processClass, processLaunch, 0), Process: h.describe(p), Parent: h.describe(parent), Flags: 0x11} // SIGCHLD
	return e
}

// exec lets a process run its program: the one that was forked first, or, seldom, one that runs its program already and
// begins it anew with other arguments.
func (h *host) exec(t int64) schemas.Event {
	var p *process
	if len(h.forked) > 0 {
		p, h.forked = h.forked[0], h.forked[1:]
		p.program, p.next = p.next, -1
	} else {
		p = h.live[h.g.r.below(len(h.live))]
	}
	if h.g.words.programs[p.program].carrier {
		h.running[p.program], p.starts = p, childCount.draw(h.g.r)
	}
	return h.started(t, p)
}

// started reports that p runs its program.
func (h *host) started(t int64, p *process) *schemas.ProcessExec {
	g := h.g
	w := &g.words.programs[p.program]
	e := &g.exec
	*e = schemas.ProcessExec{Envelope: g.envelope(h, t, processClass, processLaunch, 0), Process: h.describe(p)}
	if p.parent != nil {
		e.Parent = h.describe(p.parent)
	}
	e.Process.WorkingDirectory = w.cwd
	if g.r.chance(freshArgv) {
		e.Args = w.arguments(g.r)
		e.Args = append(e.Args, "--run="+strconv.FormatInt(g.n, 36))
		e.Process.CmdLine = strings.Join(e.Args, " ")
	} else {
		i := g.words.argv.draw(g.r)
		e.Args, e.Process.CmdLine = w.argv[i], w.lines[i]
	}
	return e
}

// recent is how many of the newest processes are young: most that end are among them.
const recent = 24

// exit ends a process: mostly a young one, since most processes are short.
func (h *host) exit(t int64) schemas.Event {
	g := h.g
	n := len(h.live)
	i := g.r.below(n)
	if young := min(recent, n); g.r.chance(850) {
		i = n - young + g.r.below(young)
	}
	p := h.live[i]
	h.live = append(h.live[:i], h.live[i+1:]...)
	if h.running[p.program] == p {
		h.running[p.program] = nil
	}
	if p.next >= 0 {
		h.drop(p)
	}
	e := &g.exit
	*e = schemas.ProcessExit{Envelope: g.envelope(h, t, processClass, processTerminate, 0), Process: h.describe(p), ExitCode: int32(g.words.code.draw(g.r)),
		CPUNS: min(t-p.created, int64(g.r.below(50_000_000)))}
	return e
}

// drop forgets that p has yet to run its program: it ends as a copy of its parent.
func (h *host) drop(p *process) {
	for i, q := range h.forked {
		if q == p {
			h.forked = append(h.forked[:i], h.forked[i+1:]...)
			return
		}
	}
}

// actor is who acts on files and connections: half of the time something that always runs, else any process.
func (h *host) actor() *process {
	if n := len(h.live); n > 0 && h.g.r.chance(500) {
		return h.live[h.g.r.below(n)]
	}
	return h.hubs[h.g.r.below(hubs)]
}

func (h *host) file(t int64) schemas.Event {
	g := h.g
	e := &g.file
	activity := [...]int32{fileCreate, fileUpdate, fileDelete, fileRename}[g.words.change.draw(g.r)]
	*e = schemas.FileActivity{Envelope: g.envelope(h, t, fileClass, activity, 1), Process: h.describe(h.actor()), Path: g.words.files[g.words.file.draw(g.r)]}
	if activity == fileRename {
		e.OldPath = e.Path + "~"
	}
	return e
}

func (h *host) network(t int64) schemas.Event {
	g := h.g
	e := &g.network
	*e = schemas.NetworkActivity{Envelope: g.envelope(h, t, networkClass, networkOpen, 1), Process: h.describe(h.actor()), Protocol: "tcp", Direction: "outbound",
		Src: schemas.Endpoint{IP: "198.19.0.1", Port: int32(32768 + g.r.below(28232))}, Dst: schemas.Endpoint{Port: 443}}
	e.Dst.IP = g.words.remotes[g.words.remote.draw(g.r)]
	if g.r.chance(300) {
		e.Dst.Port = [...]int32{80, 22, 5432, 6379, 9092}[g.r.below(5)]
	}
	return e
}

// describe is what a collector says of a process in every event.
func (h *host) describe(p *process) schemas.Process {
	w := &h.g.words.programs[p.program]
	return schemas.Process{UID: p.uid, PID: p.pid, ParentPID: p.ppid, CreatedTime: p.created, Name: w.name, Path: w.path, UserUID: w.uid, UserName: w.user}
}
