package lineage

import (
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

// pass stands for normalize: it hands events on as they are.
var pass = &streams.Processor{
	Name: "normalize", Doc: "Hands events on.", Version: "1",
	Inputs: []*schemas.Topic{schemas.EndpointTopic}, Accepts: schemas.NormalizedTopic.Schemas, Outputs: []*schemas.Topic{schemas.NormalizedTopic},
	New: func(*streams.Builder) streams.Handler {
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error { return c.Emit(schemas.NormalizedTopic, r.Value) })
	},
}

func stage(p *streams.Processor) streams.Stage {
	return streams.Stage{Name: "lineage", Processors: []*streams.Processor{pass, p}}
}

// at is a moment of the tests: seconds after their start.
func at(seconds float64) time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

// feed drives lineage with events of one Linux host.
type feed struct {
	t *testing.T
	d *streamstest.Driver
}

func newFeed(t *testing.T, cfg Config) *feed {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return &feed{t, streamstest.New(t, stage(New(cfg)))}
}

func (f *feed) env(seconds float64) schemas.Envelope {
	return schemas.Envelope{Time: at(seconds).UnixNano(), Platform: "linux"}
}

func (f *feed) exec(seconds float64, pid, ppid int64, path string) {
	f.t.Helper()
	p := schemas.Process{PID: pid, ParentPID: ppid, Path: path, CreatedTime: at(seconds).UnixNano()}
	p.UID = schemas.ProcessUID("h", "b", pid, p.CreatedTime)
	f.d.Ingest(&schemas.ProcessExec{Envelope: f.env(seconds), Process: p}, at(seconds))
}

func (f *feed) exit(seconds float64, pid int64) {
	f.t.Helper()
	f.d.Ingest(&schemas.ProcessExit{Envelope: f.env(seconds), Process: schemas.Process{PID: pid}}, at(seconds))
}

func (f *feed) file(seconds float64, pid int64, path string) {
	f.t.Helper()
	f.d.Ingest(&schemas.FileActivity{Envelope: f.env(seconds), Process: schemas.Process{PID: pid}, Path: path}, at(seconds))
}

func (f *feed) connect(seconds float64, pid int64, ip string, port int32) {
	f.t.Helper()
	f.d.Ingest(&schemas.NetworkActivity{Envelope: f.env(seconds), Process: schemas.Process{PID: pid}, Dst: schemas.Endpoint{IP: ip, Port: port},
		Protocol: "tcp", Direction: "outbound"}, at(seconds))
}

// out is what lineage wrote, after a check that crashes change nothing.
func (f *feed) out() []*schemas.LineageRecord {
	f.t.Helper()
	var rs []*schemas.LineageRecord
	for _, v := range f.d.Out(schemas.LineageTopic) {
		rs = append(rs, v.(*schemas.LineageRecord))
	}
	for _, v := range f.d.Out(schemas.DeadLetterTopic) {
		f.t.Errorf("dead letter: %s", v.(*schemas.DeadLetter).Error)
	}
	f.d.Fuzz(4)
	return rs
}
