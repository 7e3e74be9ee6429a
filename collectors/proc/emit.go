package proc

import (
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// OCSF classes and activities, and the priorities of events when the spool is full.
const (
	classFile    = 1001
	classProcess = 1007
	classNetwork = 4001

	fileGetAttributes = 8
	processLaunch     = 1
	processTerminate  = 2
	networkOpen       = 1
	networkListen     = 7

	priorityProcess = 0
	priorityDetail  = 1
)

// identity is what the collector's events have in common.
type identity struct{ host, boot string }

func (d *identity) envelope(at int64, class, activity, priority int32) schemas.Envelope {
	return schemas.Envelope{Host: d.host, Boot: d.boot, Collector: name, Platform: "linux", Time: at, ClassUID: class, ActivityID: activity, Priority: priority}
}

// suppressed is the word about what was seen and is not told, or was not seen.
func (d *identity) suppressed(what string, n int64, message string) *schemas.CollectorStatus {
	at := now().wall
	return &schemas.CollectorStatus{Envelope: d.envelope(at, streams.StatusClass, streams.StatusSuppressed, priorityProcess), Message: message,
		Counters: []schemas.Counter{{Name: what, Count: n}}, WindowEnd: at}
}

// exec tells that a process runs a program.
func (s *session) exec(p *process, i *image, at int64, snapshot bool) {
	p.announced, p.told, p.execAt = true, i.readAt, 0
	e := &schemas.ProcessExec{Envelope: s.envelope(at, classProcess, processLaunch, priorityProcess), Process: p.info, Parent: p.parent, Args: i.args,
		ArgsTruncated: i.argsCut, Deleted: i.deleted, Memfd: i.memfd, Snapshot: snapshot, SessionID: i.session, TTY: ttyName(i.tty)}
	if i.script {
		e.Interpreter = i.path
	}
	s.counts.execs.Add(1)
	s.out.add(e)
	s.want(p, !snapshot)
}

// unread tells that a process ran a program that could not be read, and why: at most its name and owner are known, if it
// has ended and was not reaped.
func (s *session) unread(p *process, i *image, why string, at int64) {
	p.announced = true
	p.info = lacking(&p.info, i, why)
	s.tellUnread(p, p.info, at)
}

func (s *session) tellUnread(p *process, info schemas.Process, at int64) {
	s.counts.execs.Add(1)
	s.counts.unread.Add(1)
	s.out.add(&schemas.ProcessExec{Envelope: s.envelope(at, classProcess, processLaunch, priorityProcess), Process: info, Parent: p.parent})
}

// lacking is what is known of a process whose program could not be read. Without an image nothing could.
func lacking(known *schemas.Process, i *image, why string) schemas.Process {
	q := schemas.Process{UID: known.UID, PID: known.PID, ParentPID: known.ParentPID, CreatedTime: known.CreatedTime}
	facts := []string{"path", "args", "working_directory"}
	if i == nil {
		facts = append(facts, "name", "user_uid", "container_uid")
	} else {
		q.Name, q.UserUID, q.UserName, q.ContainerUID, q.Incomplete = i.comm, i.uid, i.user, i.box, i.lacks.Incomplete
	}
	for _, f := range facts {
		q.Lacks(f, why)
	}
	return q
}

// fork tells that a process runs the program of its parent.
func (s *session) fork(p *process) {
	if i := &p.info; i.Name == "" { // it was gone before it could be read
		i.Name, i.Path, i.UserUID, i.UserName = p.parent.Name, p.parent.Path, p.parent.UserUID, p.parent.UserName
	}
	s.out.add(&schemas.ProcessFork{Envelope: s.envelope(s.sinceStart(p), classProcess, processLaunch, priorityProcess), Process: p.info, Parent: p.parent})
}

// exit tells the end of a process, and forgets it.
func (s *session) exit(p *process, x exit) {
	if s.table[p.pid] == p {
		delete(s.table, p.pid)
	}
	if p.ended || p.kernel {
		return
	}
	p.ended = true
	s.announce(p)
	if p.kernel {
		return
	}
	s.counts.exits.Add(1)
	s.out.add(&schemas.ProcessExit{Envelope: s.envelope(x.at, classProcess, processTerminate, priorityProcess), Process: p.info, ExitCode: int32(x.status >> 8 & 0xff),
		Signal: int32(x.status & 0x7f), CPUNS: int64(p.cpu) * tick})
}

// want asks for the hash of what a process runs, if it is not known.
func (s *session) want(p *process, urgent bool) {
	if s.hasher != nil && p.info.SHA256 == "" {
		s.hasher.want(folder(s.c.Root, p.pid)+"/exe", p.file, &p.info, urgent)
	}
}

// hashed tells the hash of an executable, in the name of the process that was the first to run it.
func (s *session) hashed(r *hashResult) {
	s.hasher.done(r)
	if r.sum == "" {
		return
	}
	for _, p := range s.table {
		if p.file == r.id {
			p.info.SHA256 = r.sum
		}
	}
	r.process.SHA256 = r.sum
	s.counts.hashes.Add(1)
	s.out.add(&schemas.FileActivity{Envelope: s.envelope(time.Now().UnixNano(), classFile, fileGetAttributes, priorityDetail), Process: r.process,
		Path: r.process.Path, Size: r.id.size, SHA256: r.sum})
}
