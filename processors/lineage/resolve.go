package lineage

import (
	"cmp"
	"strings"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
)

// find returns the process that an event names, or nil. A process that was known by its pid alone gets the uid when an
// event has it.
func (s *step) find(q *schemas.Process) *proc {
	if q.UID == "" {
		if q.PID == 0 {
			return s.host.procs[""]
		}
		return s.host.byPID(q.PID, s.at, s.program(q))
	}
	if p := s.host.procs[q.UID]; p != nil {
		return p
	}
	if p := s.nameless(q); p != nil {
		s.rename(p, q)
		return p
	}
	return nil
}

// program is the name of the program by which processes of one pid can be told apart: on Windows, where a process runs one
// program from its start to its end.
func (s *step) program(q *schemas.Process) string {
	if s.env.Platform == "windows" {
		return q.Name
	}
	return ""
}

// nameless finds the process of which so far only the pid was known, and which must be the one that an event gives a uid
// for: its life, as far as it was seen, has room for the event, and it runs the same program. It may have ended: a source
// that knows only pids may be ahead of one that knows more by a whole life.
func (s *step) nameless(q *schemas.Process) *proc {
	if q.PID == 0 {
		return nil
	}
	for p := s.host.pids[q.PID]; p != nil; p = p.older {
		x := &p.row
		if !x.Anonymous || x.Ended != 0 && s.at > x.Ended+skew || q.CreatedTime > x.Since+skew || s.at+linger < x.Since && q.CreatedTime == 0 {
			continue
		}
		if x.Process.Name == "" || q.Name == "" || x.Process.Name == q.Name {
			return p
		}
	}
	return nil
}

// rename gives the uid of q to a process that had none of its own.
func (s *step) rename(p *proc, q *schemas.Process) {
	old, uid := p.uid(), strings.Clone(q.UID)
	h, hs := s.h, s.host
	hs.unindexPID(p)
	delete(hs.procs, old)
	p.home.Delete()
	p.acts.Delete()
	if p.children > 0 {
		for _, c := range hs.procs {
			if c.row.ParentUID == old {
				c.row.ParentUID = uid
				c.put()
			}
		}
	}
	p.row.Process.UID, p.row.Anonymous = uid, false
	p.row.Process.Settle()
	h.at(p, hs.key+"/"+uid)
	if q.CreatedTime != 0 {
		p.row.Process.CreatedTime, p.row.Since = q.CreatedTime, q.CreatedTime
	}
	if n := hs.waiting[uid]; n > 0 {
		p.children += n
		delete(hs.waiting, uid)
	}
	hs.index(p)
	p.put()
	p.putActivity()
}

// actor finds the process that did something, or makes a placeholder for one that was never seen starting.
func (s *step) actor(q *schemas.Process) *proc {
	p := s.find(q)
	if name := s.program(q); p != nil && q.UID != "" && name != "" && p.row.Process.Name != "" && p.row.Process.Name != name {
		q.UID, q.CreatedTime = "", 0 // a uid that a source gives to several processes is worth no more than the pid
		p = s.find(q)
	}
	if p == nil {
		p = s.placeholder(q)
		p.put()
	} else if s.learn(p, q) {
		p.put()
	}
	return p
}

// placeholder makes a process that was only heard of. The caller puts it.
func (s *step) placeholder(q *schemas.Process) *proc {
	row := processRow{Process: *q, Since: cmp.Or(q.CreatedTime, s.at)}
	if q.UID == "" && q.PID != 0 {
		row.Anonymous = true
		row.Process.Lacks("created_time", schemas.Unrecorded)
		row.Process.UID = schemas.ProcessUID(s.env.Host, s.env.Boot, q.PID, s.at)
	}
	if q.UID == "" && q.PID == 0 {
		row.Process = schemas.Process{} // stands for all that no process is known of
	}
	row.Process.Detach()
	p := s.host.add(row)
	s.succeed(p)
	return p
}

// succeed notes that a process took over its pid: whoever had it before has ended, seen or not. One whose start is not
// known, or who started within the skew, may be the same process under the uid of another source.
func (s *step) succeed(p *proc) {
	if p.row.Process.CreatedTime == 0 {
		return
	}
	for q := p.older; q != nil; q = q.older {
		if q.row.Ended == 0 && q.row.Since+skew < p.row.Since {
			s.host.end(q, p.row.Since)
		}
	}
	q := s.host.pids[p.row.Process.PID]
	if q == nil || q == p || p.row.Process.PID == 0 {
		return
	}
	for q.older != p { // p came late: it has ended when the next one started
		q = q.older
	}
	if p.row.Since+skew < q.row.Since {
		s.host.end(p, q.row.Since)
	}
}

// learn fills what is not known of a process from what an event tells of it. It says whether there was anything.
func (s *step) learn(p *proc, q *schemas.Process) bool {
	if p.uid() == "" {
		return false
	}
	x := &p.row.Process
	image := x.Path == "" && q.Path != ""
	if p.row.Forked && !p.row.Started && q.Path != "" && q.Path != x.Path { // it runs another program: its exec was not seen
		image, x.Path, x.Name, x.CmdLine, x.SHA256 = true, "", "", "", ""
	}
	more := image
	for _, f := range [...]struct{ to, from *string }{
		{&x.Name, &q.Name}, {&x.Path, &q.Path}, {&x.CmdLine, &q.CmdLine}, {&x.WorkingDirectory, &q.WorkingDirectory}, {&x.UserUID, &q.UserUID},
		{&x.UserName, &q.UserName}, {&x.ContainerUID, &q.ContainerUID}, {&x.SHA256, &q.SHA256}, {&x.Integrity, &q.Integrity}} {
		if *f.to == "" && *f.from != "" {
			*f.to, more = *f.from, true
		}
	}
	if x.ParentPID == 0 && q.ParentPID != 0 {
		x.ParentPID, more = q.ParentPID, true
	}
	if more {
		x.Settle()
		x.Detach()
	}
	if image {
		s.host.identify(p)
	}
	return more
}

// identify finds what a process is called when executables are compared.
func (hs *host) identify(p *proc) {
	p.exe = hs.h.templates.Template(p.row.Process.Program())
}

// link notes who started a process, the first time that it is known. The caller puts the row.
func (s *step) link(p *proc, parent *schemas.Process) {
	bound(parent)
	if p.row.Process.ParentPID == 0 {
		p.row.Process.ParentPID = parent.PID
	}
	if p.row.ParentUID != "" {
		if q := s.host.parentOf(p); q != nil && q.uid() == parent.UID && s.learn(q, parent) {
			q.put()
		}
		return
	}
	q := s.parent(p, parent)
	var uid string
	if q != nil {
		uid = q.uid()
	} else {
		uid = strings.Clone(parent.UID)
	}
	if uid == "" || uid == p.uid() {
		return
	}
	p.row.ParentUID = uid
	if q == nil {
		s.host.waiting[uid]++
		return
	}
	q.children++
	q.act.Children++
	q.putActivity()
}

// parent finds the process that an event names as the parent of p; it makes a placeholder if the event says what it is.
func (s *step) parent(p *proc, parent *schemas.Process) *proc {
	var q *proc
	if parent.UID != "" {
		q = s.find(parent)
	} else if pid := cmp.Or(parent.PID, p.row.Process.ParentPID); pid != 0 {
		q = s.host.byPID(pid, p.row.Since, s.program(parent))
	}
	switch {
	case q == p:
		return nil
	case q != nil:
		if s.learn(q, parent) {
			q.put()
		}
		return q
	case parent.Path != "" && (parent.UID != "" || parent.PID != 0):
		x := *s
		x.at = p.row.Since // it was there when its child started
		q = x.placeholder(parent)
		q.put()
		return q
	}
	return nil
}

// The bounds of what is kept of a text, bytes. The whole text is in the event.
const (
	maxUID     = 128
	maxText    = 1 << 10
	maxPath    = 4 << 10
	maxCmdLine = 8 << 10
)

// bound cuts the texts of a process that an event names, so that no event makes rows or records too large to write.
func bound(p *schemas.Process) {
	n := 0
	for _, f := range p.Texts() {
		n += len(*f)
	}
	if n <= maxUID {
		return
	}
	for _, f := range p.Texts() {
		most := maxText
		switch f {
		case &p.UID:
			most = maxUID
		case &p.Path:
			most = maxPath
		case &p.CmdLine:
			most = maxCmdLine
		}
		*f = paths.Cut(*f, most)
	}
}
