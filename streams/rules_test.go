package streams_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
	"github.com/twmb/franz-go/pkg/kgo"
)

// process is a processor made of one function.
func process(name string, in, out []*schemas.Topic, f streams.HandlerFunc) *streams.Processor {
	return &streams.Processor{Name: name, Doc: "For a test.", Version: "1", Inputs: in, Outputs: out, New: func(*streams.Builder) streams.Handler { return f }}
}

func topics(ts ...*schemas.Topic) []*schemas.Topic { return ts }

// A stage that is given nothing, because its upstream has nothing to say, still says how far it has come: or whoever
// merges its output with another's waits for as long as the host is busy.
func TestSilentStageHoldsNobodyUp(t *testing.T) {
	first := process("first", topics(schemas.EndpointTopic), topics(schemas.LineageTopic, schemas.FeaturesTopic), func(c *streams.Context, r *streams.Record) error {
		return c.Emit(schemas.LineageTopic, &schemas.LineageRecord{Kind: "exec"}) // and never to the features
	})
	silent := process("silent", topics(schemas.FeaturesTopic), topics(schemas.ScoresTopic), func(c *streams.Context, r *streams.Record) error {
		return c.Emit(schemas.ScoresTopic, &schemas.DetectorScore{Detector: "silent"})
	})
	last := process("last", topics(schemas.LineageTopic, schemas.ScoresTopic), topics(schemas.AlertsTopic), func(c *streams.Context, r *streams.Record) error {
		return c.Emit(schemas.AlertsTopic, &schemas.Alert{ID: r.Ref()})
	})
	d := streamstest.New(t, streams.Stage{Name: "one", Processors: []*streams.Processor{first}}, streams.Stage{Name: "two", Processors: []*streams.Processor{silent}},
		streams.Stage{Name: "three", Processors: []*streams.Processor{last}})
	for i := range 50 {
		at := t0.Add(time.Duration(i) * time.Millisecond)
		d.Ingest(exec("h", "a", at), at)
	}
	if n := len(d.Out(schemas.AlertsTopic)); n != 50 {
		t.Errorf("got %d records, want 50", n)
	}
	d.Fuzz(20)
}

// The engine's own rows are not undone with a processor's: an event that its first processor refuses is not new when it
// comes again.
func TestRefusedRecordIsStillARepeat(t *testing.T) {
	fails := process("fails", topics(schemas.EndpointTopic), nil, func(*streams.Context, *streams.Record) error { return errors.New("no") })
	sees := process("sees", topics(schemas.EndpointTopic), topics(schemas.LineageTopic), func(c *streams.Context, r *streams.Record) error {
		return c.Emit(schemas.LineageTopic, &schemas.LineageRecord{Kind: "exec"})
	})
	d := streamstest.New(t, streams.Stage{Name: "x", Processors: []*streams.Processor{fails, sees}})
	for _, seq := range []int64{1, 1, 2, 2, 3} {
		e := exec("h", "a", t0)
		e.Envelope.Sequence = seq
		d.Ingest(e, t0)
	}
	out := d.Out(schemas.LineageTopic)
	if len(out) != 3 {
		t.Fatalf("got %d records of 3 events, 2 of which came twice", len(out))
	}
	if c := out[2].(*schemas.LineageRecord).Provenance.Coverage; c.Received != 3 || c.Repeats != 2 {
		t.Errorf("coverage %+v, want 3 received, 2 repeats", c)
	}
	d.Fuzz(20)
}

// What fails in the close of a window is the window's fault: the record whose time closed it was processed, and is not
// given to the processor again by a re-drive of the dead letter.
func TestFailedCloseBlamesTheWindow(t *testing.T) {
	p := *minute
	p.New = func(b *streams.Builder) streams.Handler {
		w := streams.NewWindow(b, streams.WindowSpec[sum]{Name: "sum", Size: time.Minute, Close: func(c *streams.Context, key string, _ streams.Span, v sum, _ int32) error {
			if err := c.Emit(schemas.FeaturesTopic, &schemas.FeatureVector{Entity: "undone"}); err != nil {
				return err
			}
			panic("boom in close")
		}})
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error {
			w.Update(c, r.Key, r.Time, func(s *sum) { s.N++ })
			return nil
		})
	}
	for _, byTick := range []bool{false, true} {
		d := streamstest.New(t, streams.Stage{Name: "fused", Processors: []*streams.Processor{counter, &p, both}})
		d.Ingest(exec("h", "a", t0), t0)
		if byTick {
			d.Tick(t0.Add(2 * time.Minute))
		} else {
			d.Ingest(exec("h", "b", t0.Add(2*time.Minute)), t0.Add(2*time.Minute))
		}
		dead := d.Out(schemas.DeadLetterTopic)
		if len(dead) != 1 {
			t.Fatalf("got %d dead letters, want 1", len(dead))
		}
		l := dead[0].(*schemas.DeadLetter)
		if !strings.Contains(l.Error, "boom in close") || !strings.Contains(l.Error, "close window sum of t/h") || len(l.Value) != 0 || l.Offset != -1 || string(l.Key) != "t/h" {
			t.Errorf("by tick %v: dead letter %+v, want one that names the window and holds no record", byTick, l)
		}
		if n := len(d.Out(schemas.FeaturesTopic)); n != 0 {
			t.Errorf("%d records of a close that failed", n)
		}
		d.Fuzz(20)
	}
}

// A record that could not be decoded has left a gap in its stream. When it is re-driven it fills it: it is no repeat the
// first time, and one the second time.
func TestRedrivenRecordFillsItsGap(t *testing.T) {
	for _, missing := range []int64{1, 2} {
		d := streamstest.New(t, fused...)
		at := func(n int64) time.Time { return t0.Add(time.Duration(n) * time.Second) }
		put := func(seq int64, hs ...kgo.RecordHeader) {
			e := exec("h", fmt.Sprint("p", seq), at(seq))
			e.Envelope.Sequence = seq
			d.Event(e, at(10), hs...)
		}
		redrive := func(seq int64) {
			put(seq, kgo.RecordHeader{Key: streams.HeaderRedrive, Value: []byte("fused")}, kgo.RecordHeader{Key: streams.HeaderRedriveTopic, Value: []byte(schemas.EndpointTopic.Name)})
		}
		for _, seq := range []int64{1, 2, 3} {
			if seq == missing {
				d.Raw(schemas.EndpointTopic, "t/h", []byte{0, 0, 0, 255, 255, 1}, at(seq))
			} else {
				put(seq)
			}
		}
		redrive(missing)
		redrive(missing)
		redrive(3)
		put(4)
		var names []string
		for _, p := range d.Out(schemas.LineageTopic) {
			if l := p.(*schemas.LineageRecord); l.Kind == "exec" {
				names = append(names, l.Process.Name)
			}
		}
		want := map[int64]string{1: "p2 p3 p1 p4", 2: "p1 p3 p2 p4"}[missing]
		if got := strings.Join(names, " "); got != want {
			t.Errorf("missing %d: got %s, want %s", missing, got, want)
		}
		out := d.Out(schemas.LineageTopic)
		c := out[len(out)-1].(*schemas.LineageRecord).Provenance.Coverage
		if c.Received != 4 || c.Lost != 0 || c.Repeats != 2 {
			t.Errorf("missing %d: coverage %+v, want 4 received, none lost, 2 repeats", missing, c)
		}
		d.Fuzz(20)
	}
}

// An event that says it comes from far in the future takes place when it came in: or its windows would never close, and
// whoever sets a clock forward would be seen by nobody.
func TestFarFutureTakesPlaceAtIngest(t *testing.T) {
	d := streamstest.New(t, fused...)
	for i, ahead := range []time.Duration{0, 30 * time.Minute, 2 * time.Hour, 200 * 365 * 24 * time.Hour} {
		at := t0.Add(time.Duration(i) * time.Second)
		d.Ingest(exec("h", "a", at.Add(ahead)), at)
	}
	e := exec("h", "a", t0)
	e.Envelope.Time = 1<<63 - 1
	d.Ingest(e, t0.Add(5*time.Second))
	d.Tick(t0.Add(2 * time.Hour))
	got := map[int64]float64{}
	for _, p := range d.Out(schemas.FeaturesTopic) {
		v := p.(*schemas.FeatureVector)
		got[(v.WindowStart-t0.UnixNano())/int64(time.Minute)] += v.Features[0].Value
	}
	if len(got) != 2 || got[0] != 4 || got[30] != 1 {
		t.Errorf("got windows (minute: events) %v, want 0: 4, 30: 1", got)
	}
	d.Fuzz(20)
}

// Time that a host has made up does not stop its windows from closing: neither none at all, nor the oldest there is.
func TestForgedPastDoesNotKeepWindowsOpen(t *testing.T) {
	for _, forged := range []int64{0, -1 << 63, 1} {
		d := streamstest.New(t, fused...)
		d.Ingest(exec("h", "a", t0), t0)
		e := exec("h", "a", t0)
		e.Envelope.Time = forged
		if forged == 0 {
			e.Envelope.Time = 2 // the driver fills 0
		}
		d.Ingest(e, t0.Add(time.Second))
		d.Tick(t0.Add(25 * time.Hour))
		if n := len(d.Out(schemas.FeaturesTopic)); n != 1 {
			t.Errorf("time %d: %d windows are closed a day later, want the one of the sound event", forged, n)
		}
		d.Fuzz(10)
	}
}

// Records without a key have no place: state is kept by key.
func TestRecordWithoutKey(t *testing.T) {
	d := streamstest.New(t, fused...)
	e := exec("h", "a", t0)
	e.Envelope.Tenant, e.Envelope.Stream, e.Envelope.Boot, e.Envelope.Collector, e.Envelope.Sequence = "t", "p9", "b", "c", 1
	d.Keyed("", e, t0)
	d.Keyed("t/\xff\xfe", e, t0.Add(time.Second))
	d.Ingest(exec("h", "a", t0.Add(time.Second)), t0.Add(time.Second))
	d.Tick(t0.Add(time.Hour))
	dead := d.Out(schemas.DeadLetterTopic)
	if len(dead) != 1 || !strings.Contains(dead[0].(*schemas.DeadLetter).Error, "no key") {
		t.Errorf("dead letters %v, want one that says the record has no key", dead)
	}
	d.Fuzz(20)
}

// A record on a topic of the chain that no stage has written goes to the dead letters, with a time that brokers take,
// though it be the first of all.
func TestForeignRecordOnChainTopic(t *testing.T) {
	d := streamstest.New(t, split[1]) // the test is the stage before it
	d.Raw(schemas.LineageTopic, "t/h", []byte("who wrote this?"), t0)
	d.Derive(schemas.LineageTopic, "t/h", &schemas.LineageRecord{Kind: "exec"}, t0.Add(time.Second))
	d.Tick(t0.Add(time.Hour))
	rs := d.Records(schemas.DeadLetterTopic.Name)
	if len(rs) != 1 || !rs[0].Timestamp.Equal(t0) {
		t.Errorf("got dead letters %v, want one with the time of the record", rs)
	}
	if n := len(d.Out(schemas.FeaturesTopic)); n != 1 {
		t.Errorf("got %d windows, want 1", n)
	}
	d.Fuzz(20)
}

// Ticks and progress are written where another stage needs them to go on, and nowhere else.
func TestControlRecordsOnlyForOtherStages(t *testing.T) {
	for _, test := range []struct {
		stages []streams.Stage
		want   []*schemas.Topic
	}{{fused, nil}, {pairs, topics(schemas.LineageTopic, schemas.FeaturesTopic)}, {split, topics(schemas.LineageTopic, schemas.FeaturesTopic)}} {
		d := streamstest.New(t, test.stages...)
		feed(d, 1)
		for _, topic := range topics(schemas.LineageTopic, schemas.FeaturesTopic, schemas.ScoresTopic) {
			n := 0
			for _, r := range d.Records(topic.Name) {
				if len(r.Key) == 0 {
					n++
				}
			}
			if slices.Contains(test.want, topic) != (n > 0) {
				t.Errorf("%d stages: %d control records on %s", len(test.stages), n, topic.Name)
			}
		}
	}
}

// A record that says it is re-driven, but has no key, is refused like any other without one: the engine keeps rows of its own
// under the empty key.
func TestRedrivenRecordWithoutKey(t *testing.T) {
	d := streamstest.New(t, fused...)
	lineage := &schemas.LineageRecord{Kind: "exec", Provenance: schemas.Provenance{Time: t0.UnixNano()}}
	serde, err := schemas.NewSerde(t.Context(), &schemas.LocalRegistry{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := serde.Append(nil, lineage)
	if err != nil {
		t.Fatal(err)
	}
	put := func(n int) {
		at := t0.Add(time.Duration(n) * 100 * time.Second)
		d.Ingest(exec("h", "a", at), at)
	}
	put(0)
	d.Tick(t0.Add(time.Second))
	d.Raw(schemas.EndpointTopic, "", b, t0.Add(time.Hour), kgo.RecordHeader{Key: streams.HeaderRedrive, Value: []byte("minute")},
		kgo.RecordHeader{Key: streams.HeaderRedriveTopic, Value: []byte(schemas.LineageTopic.Name)})
	put(40)
	d.Tick(t0.Add(2 * time.Hour))
	put(80)
	dead := d.Out(schemas.DeadLetterTopic)
	if len(dead) != 1 || !strings.Contains(dead[0].(*schemas.DeadLetter).Error, "no key") {
		t.Errorf("dead letters %v, want one for want of a key", dead)
	}
	d.Fuzz(50)
}

// Where the broker does not stamp, a stamp may be any number. An event keeps its own time all the same, and so do those after
// it.
func TestStampOutOfRange(t *testing.T) {
	for _, ms := range []int64{math.MaxInt64, math.MaxInt64/1_000_000 + 1, 1 << 42} {
		d := streamstest.New(t, fused...)
		d.Ingest(exec("h", "a", t0), t0)
		d.Ingest(exec("h", "b", t0), time.UnixMilli(ms))
		d.Ingest(exec("h", "c", t0), t0)
		d.Tick(t0)
		for i, v := range d.Out(schemas.LineageTopic) {
			if at := v.(*schemas.LineageRecord).Provenance.Time; at != t0.UnixNano() {
				t.Errorf("stamp %d, record %d: time %d, want that of the event", ms, i, at)
			}
		}
		if n := len(d.Out(schemas.FeaturesTopic)); n == 0 {
			t.Errorf("stamp %d: the window never closes", ms)
		}
		d.Fuzz(10)
	}
}

// A window may be armed again from its own close, as a timer that repeats: it closes in time, not when the key's next record
// happens to look.
func TestWindowArmedByItsClose(t *testing.T) {
	p := *minute
	p.New = func(b *streams.Builder) streams.Handler {
		var w *streams.Window[sum]
		w = streams.NewWindow(b, streams.WindowSpec[sum]{Name: "timer", Size: time.Minute, Lateness: time.Millisecond,
			Close: func(c *streams.Context, key string, s streams.Span, v sum, rev int32) error {
				if v.N < 4 {
					w.Update(c, key, s.End, func(x *sum) { x.N = v.N + 1 })
				}
				return c.Emit(schemas.FeaturesTopic, &schemas.FeatureVector{Entity: key, WindowStart: s.Start, WindowEnd: s.End, Revision: rev})
			}})
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error {
			w.Update(c, r.Key, r.Time, func(s *sum) { s.N++ })
			return nil
		})
	}
	d := streamstest.New(t, streams.Stage{Name: "one", Processors: []*streams.Processor{counter, &p}})
	d.Ingest(exec("h", "a", t0), t0)
	for n := range 12 {
		d.Tick(t0.Add(time.Duration(n+1)*30*time.Second + time.Second)) // the lateness of what ends has passed too
	}
	out := d.Out(schemas.FeaturesTopic)
	if len(out) != 4 {
		t.Fatalf("the timer has run %d times, want 4", len(out))
	}
	for i, v := range out {
		if f := v.(*schemas.FeatureVector); f.WindowStart != t0.Add(time.Duration(i)*time.Minute).UnixNano() || f.Provenance.Origin.IngestTime != f.WindowEnd/1e6+1000 {
			t.Errorf("run %d: window %+v", i, f)
		}
	}
	d.Fuzz(20)
}

// What a processor gives itself would never be processed.
func TestProcessorThatReadsItself(t *testing.T) {
	p := process("snake", topics(schemas.LineageTopic), topics(schemas.LineageTopic), func(*streams.Context, *streams.Record) error { return nil })
	if err := streams.Validate(streams.Stage{Name: "x", Processors: []*streams.Processor{p}}); err == nil || !strings.Contains(err.Error(), "its input too") {
		t.Errorf("got %v", err)
	}
}
