package streams

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

// gateTask is a task of a stage that reads collected events and makes nothing of them.
func gateTask(t *testing.T) *Task {
	t.Helper()
	return gateTaskOf(t, &schemas.LocalRegistry{})
}

func gateTaskOf(t *testing.T, registry schemas.Registry) *Task {
	t.Helper()
	serde, err := schemas.NewSerde(t.Context(), registry)
	if err != nil {
		t.Fatal(err)
	}
	p := &Processor{Name: "nothing", Doc: "For a test.", Version: "1", Inputs: []*schemas.Topic{schemas.EndpointTopic},
		New: func(*Builder) Handler { return HandlerFunc(func(*Context, *Record) error { return nil }) }}
	plan, err := NewPlan(t.Context(), "test", Stage{Name: "nothing", Processors: []*Processor{p}}, []*Processor{p}, serde)
	if err != nil {
		t.Fatal(err)
	}
	return NewTask(plan, 0)
}

// enter lets the event of a host and stream with a number in, and returns the coverage after it.
func enter(t *testing.T, task *Task, host, stream string, seq int64, redriven bool) (c schemas.Coverage, fresh bool) {
	t.Helper()
	e := &schemas.ProcessExec{Envelope: schemas.Envelope{Tenant: "t", Host: host, Boot: "b", Collector: "c", Stream: stream, Sequence: seq, Time: 1}}
	fresh = task.enter(e.Env(), &Record{Topic: schemas.EndpointTopic.Name, Key: e.Envelope.Key(), Value: e}, redriven)
	task.keep()
	for _, h := range task.handlers {
		h.inbox = h.inbox[:0]
	}
	c = task.gate.known(e.Envelope.Key())
	return c, fresh
}

// Numbers come from outside. However far apart they are, what is missing between them is counted up, never down.
func TestGapAsWideAsNumbersAre(t *testing.T) {
	const least, most = math.MinInt64, math.MaxInt64
	for _, seqs := range [][]int64{{-5, most}, {least, most}, {least, 0, most}, {1, most}} {
		task := gateTask(t)
		for _, stream := range []string{"p0", "p1", "p2"} {
			var before Counts
			for _, seq := range seqs {
				if _, fresh := enter(t, task, "h", stream, seq, false); !fresh {
					t.Errorf("numbers %d: %d is a repeat", seqs, seq)
				}
				if now := task.Counts(); now.Lost < before.Lost {
					t.Errorf("numbers %d: %d lost after %d", seqs, now.Lost, before.Lost)
				}
				before = task.Counts()
			}
			if c, fresh := enter(t, task, "h", stream, most, false); fresh || c.Lost <= 0 {
				t.Errorf("numbers %d: the last one again is new: %v, coverage %+v", seqs, fresh, c)
			}
		}
	}
}

// What a collector says of itself is a total that grows, whatever it says.
func TestSuppressedNeverGoesBack(t *testing.T) {
	task := gateTask(t)
	for i, n := range []int64{7, -3, math.MaxInt64, 9} {
		e := &schemas.CollectorStatus{Envelope: schemas.Envelope{Tenant: "t", Host: "h", Sequence: int64(i + 1), Time: 1, ActivityID: StatusSuppressed}, Counters: []schemas.Counter{{Count: n}}}
		task.enter(e.Env(), &Record{Topic: schemas.EndpointTopic.Name, Key: "t/h", Value: e}, false)
		if c := task.gate.known("t/h"); c.Suppressed < 7 {
			t.Errorf("after %d: %+v", n, c)
		}
	}
}

// What is re-driven into the middle of a gap makes two of it: not without end.
func TestManyRefillsKeepTheirBound(t *testing.T) {
	task := gateTask(t)
	enter(t, task, "h", "p0", 1, false)
	enter(t, task, "h", "p0", 1001, false)
	for seq := int64(1000); seq > 2; seq -= 2 {
		enter(t, task, "h", "p0", seq, true)
	}
	row, _ := task.gate.gaps.Get("t/h/b/c/p0")
	if n := len(row.Gaps); n == 0 || n > maxGaps {
		t.Errorf("%d gaps are kept, want at most %d", n, maxGaps)
	}
	if _, fresh := enter(t, task, "h", "p0", 999, true); !fresh {
		t.Error("what fills one of the latest gaps is a repeat")
	}
	if _, fresh := enter(t, task, "h", "p0", 999, true); fresh {
		t.Error("what has filled a gap is new again")
	}
}

// The word about a loss is no collected event. With the number of the event that showed the loss, one of the two would be
// dropped as a repeat when both are read back from a recording.
func TestLossHasNoNumber(t *testing.T) {
	e := &schemas.Envelope{Tenant: "t", Host: "h", Boot: "b", Collector: "proc", Stream: "p0", Sequence: 9, Time: 1}
	l := lossOf(e, 4, 8)
	if v := &l.Envelope; v.Stream != "" || v.Sequence != 0 || v.Host != "h" || v.ClassUID != StatusClass || v.ActivityID != StatusLost {
		t.Errorf("envelope %+v", v)
	}
	if l.LostStream != "p0" || l.LostFrom != 4 || l.LostTo != 8 || e.Sequence != 9 {
		t.Errorf("loss %+v of %+v", l, e)
	}
}

// state is all of a task's rows, as the changelog has them.
func state(t *testing.T, task *Task) map[string]string {
	t.Helper()
	rows := map[string]string{}
	if err := task.Snapshot(func(key, value []byte) error { rows[string(key)] = string(value); return nil }); err != nil {
		t.Fatal(err)
	}
	return rows
}

// settle ends a transaction of the task and gives its rows to another one.
func settle(t *testing.T, task, other *Task) {
	t.Helper()
	rows, err := task.Flush()
	if err != nil {
		t.Fatal(err)
	}
	task.Commit()
	for _, r := range rows {
		if err := other.Restore(r); err != nil {
			t.Fatal(err)
		}
	}
}

// The names of hosts and streams come from outside, and there may be any number of them. Those seen longest ago are forgotten,
// the same ones by a task that was restored and rolled back in between.
func TestGateForgetsTheOldest(t *testing.T) {
	task, other := gateTask(t), gateTask(t)
	at := func(task *Task, n int) {
		task.origin.IngestTime = int64(n / 3) // of the same time are several
		enter(t, task, fmt.Sprint("h", n), "p0", 9, false)
	}
	for n := range maxStreams {
		at(task, n)
	}
	task.origin.IngestTime = maxStreams
	enter(t, task, "h5", "p0", 10, false) // so the fifth is not among the oldest any more
	if n := task.gate.streams.Len(); n != maxStreams {
		t.Fatalf("%d streams are known", n)
	}
	settle(t, task, other)
	other.Restored()
	for _, x := range []*Task{task, other} {
		at(x, 3*maxStreams)
	}
	other.Rollback()
	at(other, 3*maxStreams)
	settle(t, task, gateTask(t))
	settle(t, other, gateTask(t))
	if a, b := state(t, task), state(t, other); !maps.Equal(a, b) {
		t.Errorf("a restored task has forgotten others: %d and %d rows", len(a), len(b))
	}
	want := maxStreams - maxStreams/4 + 1
	for what, n := range map[string]int{"streams": task.gate.streams.Len(), "gaps": task.gate.gaps.Len(), "coverage": task.gate.coverage.Len()} {
		if n != want {
			t.Errorf("%s: %d rows, want %d", what, n, want)
		}
	}
	if n, m := len(task.gate.places), len(task.gate.hosts); n > want || m > want {
		t.Errorf("%d places and %d hosts are kept in memory, want at most %d", n, m, want)
	}
	if c, fresh := enter(t, task, "h5", "p0", 10, false); fresh || c.Received != 2 || c.Repeats != 1 {
		t.Errorf("one that was seen again: new %v, coverage %+v", fresh, c)
	}
	if c, fresh := enter(t, task, "h7", "p0", 3, true); !fresh || c.Received != 1 || c.Lost != 0 {
		t.Errorf("one that is forgotten: new %v, coverage %+v", fresh, c)
	}
}

// Rows of a version that did not know when it had seen a stream are still read.
func TestGateReadsFormerRows(t *testing.T) {
	type former struct {
		Last int64 `avro:"last"`
	}
	registry := &schemas.LocalRegistry{}
	task := gateTaskOf(t, registry)
	for name, v := range map[string]any{"stream\x00t/h/b/c/p0": &former{7}, "coverage\x00t/h": &schemas.Coverage{Received: 7, Since: 3}} {
		table, _, _ := strings.Cut(name, "\x00")
		s, err := schemas.StateSchema[former]("engine_" + table)
		if table == "coverage" {
			s, err = schemas.StateSchema[schemas.Coverage]("engine_" + table)
		}
		if err != nil {
			t.Fatal(err)
		}
		id, err := registry.Register(t.Context(), s.Subject(), s.Text)
		if err != nil {
			t.Fatal(err)
		}
		body, err := s.AppendBody(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		row := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), body...)
		if err := task.RestoreRow([]byte("engine."+name), row); err != nil {
			t.Fatal(err)
		}
	}
	task.Restored()
	if c, fresh := enter(t, task, "h", "p0", 7, false); fresh || c.Received != 7 || c.Since != 3 || c.Repeats != 1 {
		t.Errorf("new %v, coverage %+v", fresh, c)
	}
}
