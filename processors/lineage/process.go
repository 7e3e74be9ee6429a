package lineage

import (
	"github.com/amoskys/amoskys/schemas"
)

// exec takes the start of a program: of a new process, of one that was forked, or in place of another program.
func (s *step) exec(e *schemas.ProcessExec) error {
	bound(&e.Process)
	p := s.started(e)
	if p.row.Started && same(p, &e.Process) && (e.Snapshot || s.at-p.row.Executed <= skew) {
		p.act.Held++
		p.putActivity()
		if s.learn(p, &e.Process) {
			p.put()
		}
		return nil
	}
	if why, _ := e.Process.Lacking("path"); why == schemas.Replaced && p.row.Started && s.at <= p.row.Executed {
		p.act.Held++ // the program that took its place was told first
		p.putActivity()
		return nil
	}
	early := !p.row.seen() && p.act.acted() || p.row.Ended != 0
	s.image(p, e)
	s.link(p, &e.Parent)
	p.put()

	r := s.record(p, "exec")
	r.OutOfOrder = early
	r.Object, r.Template = p.row.Process.Path, p.exe
	if p.exe != "" {
		r.FirstExec = s.host.see(s.h.fact(factExec, 0, p.exe, ""))
		if q := s.host.parentOf(p); q != nil && q.exe != "" {
			r.FirstEdge = s.host.see(s.h.fact(factEdge, 0, q.exe, p.exe))
		}
	}
	return s.c.Emit(schemas.LineageTopic, r)
}

// started finds the process that an exec is about, or makes it.
func (s *step) started(e *schemas.ProcessExec) *proc {
	q := &e.Process
	if p := s.find(q); p != nil && (q.UID != "" || s.continues(p, e)) {
		return p
	}
	if q.UID == "" { // no source has told its start time: this is it
		q.CreatedTime = s.at
		q.UID = schemas.ProcessUID(s.env.Host, s.env.Boot, q.PID, s.at)
	}
	if q.CreatedTime == 0 && !e.Snapshot {
		q.CreatedTime = s.at
	}
	p := s.host.procs[q.UID]
	if p == nil {
		p = s.placeholder(q)
	}
	return p
}

// continues says whether an exec that gives only a pid is of the process that has this pid, and not of a new one that got
// it anew.
func (s *step) continues(p *proc, e *schemas.ProcessExec) bool {
	switch {
	case p.uid() == "" || p.row.Ended != 0:
		return false
	case p.row.Forked && !p.row.Started, s.at <= p.row.Since+skew:
		return true
	case s.env.Platform == "windows": // where a program never takes the place of another
		return false
	case e.Snapshot:
		return same(p, &e.Process)
	}
	return e.Process.ParentPID != 0 && e.Process.ParentPID == p.row.Process.ParentPID
}

// same says whether the process already runs the program that an exec tells of.
func same(p *proc, q *schemas.Process) bool {
	x := &p.row.Process
	return x.Path == q.Path && (x.CmdLine == q.CmdLine || x.CmdLine == "" || q.CmdLine == "")
}

// image puts the program of an exec in place. Whose process it is stays, where the exec does not tell it.
func (s *step) image(p *proc, e *schemas.ProcessExec) {
	s.host.unindexPID(p) // which may become known now, as may the time of the start
	old := p.row.Process
	x := &p.row.Process
	*x = e.Process
	x.UID = old.UID
	for _, f := range [...]struct{ to, from *string }{{&x.UserUID, &old.UserUID}, {&x.UserName, &old.UserName}, {&x.ContainerUID, &old.ContainerUID},
		{&x.WorkingDirectory, &old.WorkingDirectory}, {&x.Integrity, &old.Integrity}} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
	for _, f := range [...]struct{ to, from *int64 }{{&x.PID, &old.PID}, {&x.ParentPID, &old.ParentPID}, {&x.CreatedTime, &old.CreatedTime}} {
		if *f.to == 0 {
			*f.to = *f.from
		}
	}
	x.Settle()
	x.Detach()
	switch {
	case x.CreatedTime != 0:
		p.row.Since = x.CreatedTime
	case !p.row.seen():
		p.row.Since = min(p.row.Since, s.at)
	}
	s.host.index(p)
	p.row.Started, p.row.Executed, p.row.Anonymous = true, s.at, false
	p.row.Deleted, p.row.Memfd, p.row.Snapshot = e.Deleted, e.Memfd, e.Snapshot
}

// fork makes a process with the image of its parent.
func (s *step) fork(e *schemas.ProcessFork) {
	bound(&e.Process)
	p := s.find(&e.Process)
	if p != nil && e.Process.UID == "" && p.row.Since+skew < s.at { // the pid was reused
		p = nil
	}
	if p == nil {
		q := e.Process
		if q.UID == "" {
			q.CreatedTime, q.UID = s.at, schemas.ProcessUID(s.env.Host, s.env.Boot, q.PID, s.at)
		}
		if p = s.host.procs[q.UID]; p == nil {
			p = s.placeholder(&q)
		}
	}
	s.link(p, &e.Parent)
	if q := s.host.parentOf(p); q != nil && !p.row.seen() {
		x := q.row.Process
		p.row.Deleted, p.row.Memfd = q.row.Deleted, q.row.Memfd
		s.learn(p, &schemas.Process{Name: x.Name, Path: x.Path, CmdLine: x.CmdLine, WorkingDirectory: x.WorkingDirectory, UserUID: x.UserUID,
			UserName: x.UserName, ContainerUID: x.ContainerUID, SHA256: x.SHA256, Integrity: x.Integrity})
	}
	p.row.Forked = true
	p.put()
}

// exit takes the end of a process. One that wrote nothing before leaves nothing to close.
func (s *step) exit(e *schemas.ProcessExit) error {
	bound(&e.Process)
	p := s.actor(&e.Process)
	if p.uid() == "" {
		return nil
	}
	again, implied := p.row.Exited, p.row.Ended != 0
	p.row.Exited = true
	s.host.end(p, s.at)
	if again || !p.row.Started && !p.act.acted() {
		return nil
	}
	r := s.record(p, "exit")
	r.OutOfOrder = implied || s.at < p.row.Since
	r.Repeats = p.act.held()
	return s.c.Emit(schemas.LineageTopic, r)
}
