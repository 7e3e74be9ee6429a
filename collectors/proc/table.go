package proc

import (
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// process is one process that is known.
type process struct {
	pid   int64
	inode uint64 // of its folder; 0: not known
	start uint64 // ticks since boot
	exact bool   // start was read; else it is the time at which its fork or exec was told

	info     schemas.Process
	parent   schemas.Process // as it was when the process was first known
	comm     string
	stack    uint64
	argsHash uint64
	netns    uint64
	file     fileID
	cpu      uint64 // ticks

	forked int64 // wall time of the fork, ns; 0: not told
	seen   int64 // monotonic; when it started or its fork was told
	told   int64 // monotonic; when the image that its last exec told was read
	execAt int64 // wall time of the connector's exec that it was told for; 0: a scan has told it

	kernel    bool // a kernel thread: never told
	announced bool // an exec or fork was emitted, or none is to be
	ended     bool // its end was told, or is not to be: only its folder is still there
	waiting   bool // in session.waiting
	missing   bool // the last scan did not find it
	scan      int  // number of the last scan that found it

	exited *exit // of its first thread, while there were others
}

// exit is how a process ended.
type exit struct {
	at     int64 // wall time, ns
	status uint32
}

// tick is the unit of start and CPU times: USER_HZ is 100 on every architecture that Go runs Linux on.
const tick = int64(time.Second) / 100

// Start times that the connector tells are those of the event, which comes a moment after the kernel has set the start.
const (
	ticksBefore = 2
	ticksAfter  = 100
)

// is says whether a process that started at a tick is this one.
func (p *process) is(start uint64) bool {
	if p.exact {
		return p.start == start
	}
	return start <= p.start+ticksBefore && p.start <= start+ticksAfter
}

// identify sets what the start time decides.
func (s *session) identify(p *process) {
	since := int64(p.start) * tick
	p.info.PID, p.info.CreatedTime = p.pid, s.bootTime+since
	p.info.UID = schemas.ProcessUID(s.host, s.boot, p.pid, since)
}

// enter makes a process known, in place of whichever had its pid.
func (s *session) enter(p *process, ppid int64) {
	s.identify(p)
	p.info.ParentPID = ppid
	p.parent = schemas.Process{PID: ppid}
	if q := s.table[ppid]; q != nil && q != p {
		p.parent = brief(q)
	}
	p.scan = s.scans
	s.table[p.pid] = p
}

// adopt makes a process known that was found by reading it.
func (s *session) adopt(e entry, i *image) *process {
	p := &process{pid: e.number, inode: e.inode, start: i.start, exact: true, seen: i.readAt - i.age}
	s.enter(p, i.ppid)
	s.see(p, i)
	return p
}

// see takes in what was read of a process.
func (s *session) see(p *process, i *image) {
	if !p.exact && !p.announced { // what was told under an inexact time keeps it
		p.start, p.exact = i.start, true
		s.identify(p)
	}
	p.kernel, p.comm, p.cpu = i.kernel(), i.comm, i.cpu
	if p.kernel || i.ended() {
		p.announced = p.announced || p.kernel
		if p.info.Name == "" {
			p.info.Name = i.comm
		}
		return
	}
	i.describe(&p.info)
	p.stack, p.argsHash, p.netns, p.file = i.stack, i.argsHash, i.netns, i.file
	p.info.SHA256 = s.sum(i.file)
}

func (s *session) sum(id fileID) string {
	if s.hasher == nil || id == (fileID{}) {
		return ""
	}
	sum, _ := s.hasher.sum(id)
	return sum
}

// brief is what is told of a parent.
func brief(p *process) schemas.Process {
	i := &p.info
	return schemas.Process{UID: i.UID, PID: i.PID, ParentPID: i.ParentPID, CreatedTime: i.CreatedTime, Name: i.Name, Path: i.Path, UserUID: i.UserUID, UserName: i.UserName}
}

// likeParent says whether a process runs the program of its parent: it was forked and has started none of its own. The
// stack of a forked process is where that of its parent is; where that may not be read, name and arguments must do.
func (s *session) likeParent(p *process) bool {
	q := s.table[p.parent.PID]
	if q == nil || q.info.UID != p.parent.UID || q.kernel {
		return false
	}
	if p.stack != 0 && q.stack != 0 {
		return p.stack == q.stack
	}
	return p.comm == q.comm && p.argsHash == q.argsHash
}

// wait puts off what is to be told of a process.
func (s *session) wait(p *process) {
	if !p.waiting {
		p.waiting = true
		s.waiting = append(s.waiting, p)
	}
}

const (
	// settleAfter is how long a forked process may take to start a program before its fork is told.
	settleAfter = int64(time.Second)
	settleEvery = 200 * time.Millisecond
)

// settle tells what was put off for long enough.
func (s *session) settle(at instant) {
	list := s.waiting
	s.waiting = nil
	for _, p := range list {
		p.waiting = false
		switch {
		case s.table[p.pid] != p || p.ended:
		case p.exited != nil:
			s.settleExit(p)
		case p.announced:
		case at.mono-p.seen >= settleAfter:
			s.announce(p)
		default:
			s.wait(p)
		}
	}
}

// settleExit tells the end of a process whose first thread has ended, once the others have.
func (s *session) settleExit(p *process) {
	if st, err := s.reader.stat(p.pid); err == nil && p.is(st.start) && st.threads > 1 {
		s.wait(p)
		return
	}
	s.exit(p, *p.exited)
}

// announce makes sure that a process was told before something else is told of it: by an exec if it runs a program of its
// own, which then was missed, else by a fork.
func (s *session) announce(p *process) {
	if p.announced {
		return
	}
	p.announced = true // also ends a circle of parents
	i, err := s.reader.image(p.pid)
	read := err == nil && p.is(i.start) && !i.ended()
	if read {
		p.announced = false // its start is exact from now on
		s.see(p, &i)
		if p.announced {
			return // a kernel thread
		}
		p.announced = true
	}
	if q := s.table[p.parent.PID]; q != nil && q.info.UID == p.parent.UID {
		s.announce(q)
		p.parent = brief(q)
	}
	if read && p.forked == 0 && !s.likeParent(p) {
		if s.kernel {
			s.counts.late.Add(1)
		}
		s.exec(p, &i, s.sinceStart(p), false)
		return
	}
	s.fork(p)
}

// sinceStart is the best time for what a process did first.
func (s *session) sinceStart(p *process) int64 {
	if p.forked != 0 {
		return p.forked
	}
	return p.info.CreatedTime
}
