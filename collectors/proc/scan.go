package proc

import (
	"cmp"
	"slices"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

const (
	// youngFor is how long a new process is looked at by every scan: that is when it starts its program.
	youngFor = int64(5 * time.Second)
	// turnEvery is the time in which each known process is looked at once.
	turnEvery = 30 * time.Second
)

// scan lists the processes and finds what has changed.
func (s *session) scan() error {
	var err error
	if s.entries, err = s.lister.list(s.entries[:0]); err != nil {
		return err
	}
	s.scans++
	at := now()
	told := s.counts.execs.Load() + s.counts.exits.Load()
	checks := s.checks()
	var unknown []entry
	for n, e := range s.entries {
		p := s.table[e.number]
		if p == nil {
			unknown = append(unknown, e)
			continue
		}
		p.scan, p.missing = s.scans, false
		due := (n-s.turn+len(s.entries))%len(s.entries) < checks
		young := !s.kernel && at.mono-p.seen < youngFor
		if (due || young || p.ended || p.inode != e.inode) && !s.check(p, e, at) {
			unknown = append(unknown, e)
		}
	}
	s.newcomers(unknown, at)
	s.turn += checks
	if s.turn >= len(s.entries) {
		s.turn = 0
	}
	s.sweep(at)
	if s.counts.execs.Load()+s.counts.exits.Load() != told || len(s.waiting) > 0 {
		s.scanIn = s.c.Interval
	} else {
		s.scanIn = min(s.c.MaxInterval, s.scanIn*3/2)
	}
	return nil
}

// checks is how many of the known processes are looked at in this scan, besides those that must be. Beside the connector
// scans are rare, and look at all.
func (s *session) checks() int {
	if s.kernel {
		return len(s.entries)
	}
	return min(len(s.entries), 1+int(int64(len(s.entries))*int64(s.scanIn)/int64(turnEvery)))
}

// found is a process that was not known, and what it runs.
type found struct {
	*process
	image
}

// discover makes processes known that were not: those that have ended too, but no kernel threads are returned. Parents come
// before their children.
func (s *session) discover(entries []entry) []found {
	var list []found
	for _, e := range entries {
		i, err := s.reader.image(e.number)
		if err != nil || i.ended() && s.kernel { // of whose end the connector has told, or will
			continue
		}
		if p := s.adopt(e, &i); !p.kernel {
			list = append(list, found{p, i})
		}
	}
	slices.SortFunc(list, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.process.start, b.process.start), cmp.Compare(a.pid, b.pid))
	})
	for _, f := range list {
		if q := s.table[f.parent.PID]; q != nil && q != f.process {
			f.parent = brief(q)
		}
	}
	return list
}

// newcomers tells of processes that were not there at the last scan.
func (s *session) newcomers(entries []entry, at instant) {
	for _, f := range s.discover(entries) {
		p, i := f.process, &f.image
		switch {
		case i.ended(): // it lived for less than the time between two scans
			s.announceParent(p)
			s.unread(p, i, schemas.Ended, p.info.CreatedTime)
			s.exit(p, exit{at.wall, uint32(i.code)})
			s.keep(p)
		case s.kernel || s.likeParent(p):
			s.wait(p)
		default:
			s.announceParent(p)
			s.exec(p, i, p.info.CreatedTime, false)
		}
	}
}

// keep remembers a process whose end was told as long as its folder is there.
func (s *session) keep(p *process) {
	p.ended, p.announced = true, true
	s.table[p.pid] = p
}

// check looks whether a known process is still the same, and runs the same program. It is false if another one has its pid.
func (s *session) check(p *process, e entry, at instant) bool {
	st, err := s.reader.stat(p.pid)
	if err != nil {
		return true // gone: the next scan does not find it
	}
	p.inode = e.inode
	if !p.is(st.start) {
		s.exit(p, exit{at: at.wall})
		return false
	}
	p.cpu = st.cpu
	switch {
	case p.ended, p.kernel && st.kernel():
	case st.ended():
		if !s.kernel {
			s.exit(p, exit{at.wall, uint32(st.code)})
			s.keep(p)
		}
	case s.changed(p, &st):
		s.rerun(p, at)
	case p.announced:
		s.want(p, false)
	}
	return true
}

// changed says whether a process runs another program than before.
func (s *session) changed(p *process, st *stat) bool {
	switch {
	case p.kernel, s.kernel && !p.announced: // what it runs was not read yet
		return p.kernel
	case st.stack != 0 && p.stack != 0:
		return st.stack != p.stack
	case st.stack != p.stack:
		return true // it may be read now, or not any more, as when a program changes its user
	}
	return st.comm != p.comm && s.reader.argsHash(p.pid) != p.argsHash
}

// rerun tells that a process runs another program. Beside the connector its exec may still be on its way: then it finds that
// it was told.
func (s *session) rerun(p *process, at instant) {
	i, err := s.reader.image(p.pid)
	if err != nil || !p.is(i.start) || i.ended() {
		return
	}
	if s.kernel {
		s.counts.late.Add(1)
	}
	same := p.stack != i.stack && (p.stack == 0 || i.stack == 0) && p.info.Path == i.path && p.argsHash == i.argsHash
	s.announceParent(p)
	s.see(p, &i)
	if !same {
		s.exec(p, &i, at.wall, false)
	}
}

// sweep tells the end of processes that were not found. Beside the connector their exits may be on their way: they have
// until the next scan.
func (s *session) sweep(at instant) {
	var gone []*process
	for _, p := range s.table {
		switch {
		case p.scan == s.scans:
		case p.ended:
			delete(s.table, p.pid)
		case s.kernel && !p.missing:
			p.missing = true
		default:
			gone = append(gone, p)
		}
	}
	slices.SortFunc(gone, func(a, b *process) int { // children first
		return cmp.Or(cmp.Compare(b.start, a.start), cmp.Compare(b.pid, a.pid))
	})
	for _, p := range gone {
		s.exit(p, exit{at: at.wall})
	}
}
