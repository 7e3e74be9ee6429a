package proc

import (
	"fmt"

	"github.com/amoskys/amoskys/schemas"
)

// take takes what the connector tells. It says whether a scan must find what it did not tell.
func (s *session) take(b *kernelBatch) (rescan bool) {
	at := now()
	if b.lost > 0 {
		s.counts.lost.Add(b.lost)
		s.out.add(s.suppressed("lost_kernel_events", b.lost, fmt.Sprintf("the kernel dropped %d process events: they came faster than they were read; processes that still run are found by a scan", b.lost)))
	}
	for i := range b.events {
		e := &b.events[i]
		wall := at.wall - (at.mono - e.time)
		switch {
		case e.pid != e.tgid: // a thread
		case e.what == eventFork:
			s.forkEvent(e, at, wall)
		case e.what == eventExec:
			s.execEvent(e, b.events[i+1:], at, wall)
		case e.what == eventExit:
			s.exitEvent(e, at, wall)
		}
	}
	return b.lost > 0 || b.overrun
}

// ticks is the start time of a process that started when the event happened.
func ticks(e *kernelEvent, at instant) uint64 { return uint64(max(0, e.time+at.boot-at.mono) / tick) }

func (s *session) forkEvent(e *kernelEvent, at instant, wall int64) {
	start := ticks(e, at)
	if p := s.table[e.tgid]; p != nil {
		if q := (&process{start: start}); q.is(p.start) { // a scan was faster
			if !p.announced {
				p.forked = wall
			}
			return
		}
		s.exit(p, exit{at: wall}) // its end was not told
	}
	p := &process{pid: e.tgid, start: start, forked: wall, seen: at.mono}
	s.enter(p, e.parent)
	if q := s.table[e.parent]; q != nil && q.kernel {
		p.kernel, p.announced = true, true
	}
	s.wait(p)
}

// execEvent tells what a process runs since an exec. What was read may be what a later exec has put in its place, of which
// the event is on its way: then the program of this one is only known to have been there.
func (s *session) execEvent(e *kernelEvent, later []kernelEvent, at instant, wall int64) {
	p := s.table[e.tgid]
	if p != nil && e.time <= p.told { // what runs was read after it
		s.replaced(p, wall)
		return
	}
	i, err := s.reader.image(e.tgid)
	read := err == nil && i.start <= ticks(e, at)+ticksBefore && (p == nil || p.is(i.start))
	switch {
	case p == nil && read:
		p = s.adopt(entry{number: e.tgid}, &i)
	case p == nil:
		p = &process{pid: e.tgid, start: ticks(e, at), seen: at.mono}
		s.enter(p, 0)
	}
	p.kernel, p.told, p.execAt = false, e.time, 0
	s.announceParent(p)
	switch {
	case !read:
		s.unread(p, nil, schemas.Ended, wall)
	case i.ended():
		s.unread(p, &i, schemas.Ended, wall)
	case execsAgain(later, e.tgid):
		s.see(p, &i) // whose process it is
		s.unread(p, nil, schemas.Replaced, wall)
	default:
		s.see(p, &i)
		s.exec(p, &i, wall, false)
		p.execAt = wall
	}
}

// replaced takes an exec whose program was told already. If it was told for the exec before this one, the program of that was
// replaced before it could be read.
func (s *session) replaced(p *process, wall int64) {
	if p.execAt == 0 || p.ended {
		return // a scan has told it
	}
	s.tellUnread(p, lacking(&p.info, nil, schemas.Replaced), p.execAt)
	p.execAt = wall
}

// execsAgain says whether a process starts another program in the events that follow.
func execsAgain(later []kernelEvent, pid int64) bool {
	for i := range later {
		if e := &later[i]; e.tgid == pid && e.pid == pid {
			return e.what == eventExec
		}
	}
	return false
}

// announceParent makes sure that a parent was told before its child is.
func (s *session) announceParent(p *process) {
	if q := s.table[p.parent.PID]; q != nil && q.info.UID == p.parent.UID && !q.announced {
		s.announce(q)
		p.parent = brief(q)
	}
}

func (s *session) exitEvent(e *kernelEvent, at instant, wall int64) {
	p := s.table[e.tgid]
	if p == nil || p.start > ticks(e, at)+ticksBefore { // never seen, or the one that had the pid before
		return
	}
	x := exit{at: wall, status: e.status}
	if st, err := s.reader.stat(e.tgid); err == nil && p.is(st.start) {
		p.cpu = st.cpu
		if st.threads > 1 && !p.kernel { // the process lives as long as one of its threads
			p.exited = &x
			s.wait(p)
			return
		}
	}
	s.exit(p, x)
}
