package proc

import (
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// fork tells of a child that runs its parent's program so far.
func (c *Collector) fork(e kernelEvent, at int64) {
	parent, ok := c.known[e.parent]
	if !ok {
		return // a thread of the kernel, or one that a scan has not seen: the child's exec tells the rest
	}
	child := parent.proc
	child.PID, child.ParentPID, child.CreatedTime = e.pid, e.parent, at
	start := int64(-1)
	if s, err := c.m.stat(e.pid); err == nil {
		start, child.CreatedTime = s.start, c.m.btime+s.start*tick
		child.UID = c.m.uid(e.pid, s.start)
	} else {
		child.UID = c.m.uid(e.pid, at/tick)
	}
	c.known[e.pid] = known{start, parent.comm, child, c.scans}
	c.events = append(c.events, &schemas.ProcessFork{Envelope: envelope(at, 1007, 1, 0), Process: child, Parent: parent.proc})
}

// overrun tells that the kernel had more to say than was taken: what still runs is found by a scan, the rest is lost.
func (c *Collector) overrun() *schemas.CollectorStatus {
	now := c.now().UnixNano()
	return &schemas.CollectorStatus{Envelope: schemas.Envelope{Time: now, ClassUID: streams.StatusClass, ActivityID: streams.StatusSuppressed}, Capability: "process.exec",
		Variant: "netlink", Message: "the kernel's queue of process events overran: short processes were missed", WindowEnd: now,
		Counters: []schemas.Counter{{Name: "overruns", Count: 1}}}
}
