package proc

import "fmt"

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
			s.execEvent(e, at, wall)
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

func (s *session) execEvent(e *kernelEvent, at instant, wall int64) {
	p := s.table[e.tgid]
	if p != nil && e.time <= p.told { // what runs was read after it
		return
	}
	i, err := s.reader.image(e.tgid)
	read := err == nil && (p == nil || p.is(i.start))
	if p == nil && read {
		p = s.adopt(entry{number: e.tgid}, &i)
	}
	switch {
	case read && !i.ended():
		p.kernel = false
		s.announceParent(p)
		s.see(p, &i)
		s.exec(p, &i, wall, false)
		return
	case p == nil:
		p = &process{pid: e.tgid, start: ticks(e, at), seen: at.mono}
		s.enter(p, 0)
	}
	p.kernel, p.told = false, e.time
	s.announceParent(p)
	name := ""
	if read {
		name = i.comm
	}
	s.unread(p, name, wall)
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
