package file

import (
	"context"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// pacer maps the times of one recording to those of its delivery.
type pacer struct {
	pace    float64
	restamp bool
	begun   bool
	first   int64     // recorded time of the first event
	start   time.Time // when it was delivered
}

// wait is how long the event of the recorded time t is still to be held back; nothing when it is due or late, as after an
// event that is out of order.
func (p *pacer) wait(t int64) time.Duration {
	if !p.begun {
		p.begun, p.first, p.start = true, t, time.Now()
	}
	if p.pace == 0 {
		return 0
	}
	return time.Until(p.start.Add(time.Duration(p.scale(t - p.first))))
}

// scale is a span of the recording at the pace of its delivery.
func (p *pacer) scale(span int64) int64 {
	if p.pace == 0 || p.pace == 1 {
		return span
	}
	return int64(float64(span) / p.pace)
}

// stamp moves the times in an event; 0, not known, stays.
func (p *pacer) stamp(e schemas.Event) {
	if !p.restamp {
		return
	}
	for _, t := range times(e) {
		if *t != 0 {
			*t = p.start.UnixNano() + p.scale(*t-p.first)
		}
	}
}

// times are all times in an event.
func times(e schemas.Event) []*int64 {
	t := []*int64{&e.Env().Time}
	switch e := e.(type) {
	case *schemas.ProcessExec:
		t = append(t, &e.Process.CreatedTime, &e.Parent.CreatedTime)
	case *schemas.ProcessFork:
		t = append(t, &e.Process.CreatedTime, &e.Parent.CreatedTime)
	case *schemas.ProcessExit:
		t = append(t, &e.Process.CreatedTime)
	case *schemas.ProcessAccess:
		t = append(t, &e.Process.CreatedTime, &e.Target.CreatedTime)
	case *schemas.FileActivity:
		t = append(t, &e.Process.CreatedTime)
	case *schemas.NetworkActivity:
		t = append(t, &e.Process.CreatedTime)
	case *schemas.DNSActivity:
		t = append(t, &e.Process.CreatedTime)
	case *schemas.MemoryActivity:
		t = append(t, &e.Process.CreatedTime)
	case *schemas.ModuleActivity:
		t = append(t, &e.Process.CreatedTime)
	case *schemas.RegistryActivity:
		t = append(t, &e.Process.CreatedTime)
	case *schemas.SyscallSequence:
		t = append(t, &e.Process.CreatedTime, &e.FirstTime)
	case *schemas.Flow:
		t = append(t, &e.StartTime, &e.EndTime)
	case *schemas.CollectorStatus:
		t = append(t, &e.WindowStart, &e.WindowEnd)
	}
	return t
}

// sleep waits and says whether it was not interrupted.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
