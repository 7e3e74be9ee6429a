package streams_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

// A small chain with everything the engine offers: a stateful processor on an ingest topic, a window on what it emits,
// and a processor that merges both.

type count struct {
	N int64 `avro:"n"`
}

var counter = &streams.Processor{
	Name: "counter", Doc: "Counts the programs of a host.", Version: "1", Inputs: []*schemas.Topic{schemas.EndpointTopic},
	Accepts: []string{"ProcessExec", "CollectorStatus"}, Outputs: []*schemas.Topic{schemas.LineageTopic},
	Config: map[string]int{"limit": 3},
	New: func(b *streams.Builder) streams.Handler {
		seen := streams.NewTable[count](b, "seen")
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error {
			switch e := r.Value.(type) {
			case *schemas.ProcessExec:
				k := r.Key + "|" + e.Process.Name
				n, _ := seen.Get(k)
				n.N++
				seen.Put(k, n)
				if err := c.Emit(schemas.LineageTopic, &schemas.LineageRecord{Kind: "exec", Process: e.Process, ProcessChildren: n.N}); err != nil {
					return err
				}
				switch e.Process.Name {
				case "refused":
					return errors.New("do not like it")
				case "panics":
					panic("boom")
				}
				return nil
			case *schemas.CollectorStatus:
				return c.Emit(schemas.LineageTopic, &schemas.LineageRecord{Kind: "lost", ProcessFiles: e.LostFrom, ProcessConnects: e.LostTo})
			}
			return fmt.Errorf("unexpected %T", r.Value)
		})
	},
}

type sum struct {
	N      int64    `avro:"n"`
	Causes []string `avro:"causes"`
}

var minute = &streams.Processor{
	Name: "minute", Doc: "Sums over a minute.", Version: "1", Inputs: []*schemas.Topic{schemas.LineageTopic}, Outputs: []*schemas.Topic{schemas.FeaturesTopic},
	New: func(b *streams.Builder) streams.Handler {
		w := streams.NewWindow(b, streams.WindowSpec[sum]{Name: "sum", Size: time.Minute, Lateness: 10 * time.Minute,
			Close: func(c *streams.Context, key string, s streams.Span, v sum, rev int32) error {
				return c.Emit(schemas.FeaturesTopic, &schemas.FeatureVector{Entity: key, WindowStart: s.Start, WindowEnd: s.End, Revision: rev,
					Features: []schemas.Feature{{Name: "n", Value: float64(v.N)}}, Provenance: schemas.Provenance{Causes: v.Causes}})
			}})
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error {
			w.Update(c, r.Key, r.Time, func(s *sum) { s.N++; s.Causes = append(s.Causes, r.Causes...) })
			return nil
		})
	},
}

var both = &streams.Processor{
	Name: "both", Doc: "Sees lineage and features in one order.", Version: "1", Inputs: []*schemas.Topic{schemas.LineageTopic, schemas.FeaturesTopic},
	Outputs: []*schemas.Topic{schemas.ScoresTopic},
	New: func(b *streams.Builder) streams.Handler {
		last := streams.NewTable[count](b, "order")
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error {
			n, _ := last.Get(r.Key)
			n.N++
			last.Put(r.Key, n)
			return c.Emit(schemas.ScoresTopic, &schemas.DetectorScore{Detector: "both", Units: n.N, Title: r.Value.SchemaName()})
		})
	},
}

var (
	fused = []streams.Stage{{Name: "fused", Processors: []*streams.Processor{counter, minute, both}}}
	split = []streams.Stage{{Name: "one", Processors: []*streams.Processor{counter}}, {Name: "two", Processors: []*streams.Processor{minute}},
		{Name: "three", Processors: []*streams.Processor{both}}}
	pairs = []streams.Stage{{Name: "one", Processors: []*streams.Processor{counter, minute}}, {Name: "two", Processors: []*streams.Processor{both}}}
)

var t0 = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

func exec(host, name string, at time.Time) *schemas.ProcessExec {
	return &schemas.ProcessExec{Envelope: schemas.Envelope{Host: host, Time: at.UnixNano()}, Process: schemas.Process{Name: name}}
}

// feed appends a seeded mix of hosts, names, disorder, repeats, gaps, refusals and ticks.
func feed(d *streamstest.Driver, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	at := t0
	seq := map[string]int64{}
	for range 400 {
		at = at.Add(time.Duration(r.IntN(4000)) * time.Millisecond)
		host := fmt.Sprintf("h%d", r.IntN(3))
		name := []string{"a", "b", "refused", "panics", "c"}[r.IntN(5)]
		e := exec(host, name, at.Add(-time.Duration(r.IntN(90))*time.Second))
		switch r.IntN(20) {
		case 0:
			d.Tick(at)
			continue
		case 1:
			seq[host] += 2 // a gap
		case 2:
			if seq[host] > 0 {
				seq[host]-- // a repeat
			}
		case 3:
			e.Envelope.Time = at.Add(-time.Hour).UnixNano() // late
		case 4:
			e.Envelope.Time = at.Add(24 * time.Hour).UnixNano() // forged
		}
		seq[host]++
		e.Envelope.Sequence = seq[host]
		d.Ingest(e, at)
	}
	d.Tick(at.Add(time.Hour))
	d.Tick(at.Add(2 * time.Hour))
}

func TestFusedEqualsSplit(t *testing.T) {
	for seed := range uint64(5) {
		var want string
		for _, stages := range [][]streams.Stage{fused, split, pairs} {
			d := streamstest.New(t, stages...)
			feed(d, seed)
			got := withoutStage(d.Text())
			if want == "" {
				want = got
			}
			if got != want {
				t.Fatalf("seed %d: %d stages give other records than one\nwant %.2000s\ngot  %.2000s", seed, len(stages), want, got)
			}
			if !strings.Contains(got, `"revision":1`) || !strings.Contains(got, "boom") || !strings.Contains(got, schemas.LateTopic.Name) {
				t.Fatal("the feed does not show an amendment, a panic and a late record")
			}
		}
	}
}

// withoutStage takes out of dead letters what differs by grouping: the stage, and whether the record lay on a topic.
func withoutStage(text string) string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["schema"] == "DeadLetter" {
			v := m["value"].(map[string]any)
			for _, k := range []string{"stage", "offset", "headers"} {
				delete(v, k)
			}
			b, _ := json.Marshal(m)
			line = string(b)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestCrashesChangeNothing(t *testing.T) {
	for _, stages := range [][]streams.Stage{fused, split, pairs} {
		t.Run(stages[0].Name+fmt.Sprint(len(stages)), func(t *testing.T) {
			t.Parallel()
			d := streamstest.New(t, stages...)
			feed(d, 42)
			d.Fuzz(40)
		})
	}
}

func TestRefusedRecordReachesTheOthers(t *testing.T) {
	picky := *minute
	picky.New = func(b *streams.Builder) streams.Handler {
		return streams.HandlerFunc(func(*streams.Context, *streams.Record) error { return errors.New("no") })
	}
	d := streamstest.New(t, streams.Stage{Name: "fused", Processors: []*streams.Processor{counter, &picky, both}})
	d.Ingest(exec("h", "a", t0), t0)
	if n := len(d.Out(schemas.ScoresTopic)); n != 1 {
		t.Errorf("got %d scores, want 1: the refused record must reach the other processor", n)
	}
	dead := d.Out(schemas.DeadLetterTopic)
	if len(dead) != 1 {
		t.Fatalf("got %d dead letters, want 1", len(dead))
	}
	if l := dead[0].(*schemas.DeadLetter); l.Processor != "minute" || l.Error != "no" || len(l.Value) == 0 || l.Topic != schemas.LineageTopic.Name {
		t.Errorf("dead letter %+v does not name the processor, the topic, the cause and the bytes", l)
	}
}

func TestUndecodableRecordIsDeadLettered(t *testing.T) {
	d := streamstest.New(t, fused...)
	d.Raw(schemas.EndpointTopic, "t/h", []byte("not avro at all"), t0)
	d.Raw(schemas.EndpointTopic, "t/h", []byte{0, 0, 0, 255, 255, 1, 2}, t0)
	d.Raw(schemas.EndpointTopic, "t/h", nil, t0)
	d.Ingest(exec("h", "a", t0), t0)
	if n := len(d.Out(schemas.DeadLetterTopic)); n != 3 {
		t.Errorf("got %d dead letters, want 3", n)
	}
	if n := len(d.Out(schemas.LineageTopic)); n != 1 {
		t.Errorf("got %d lineage records, want 1: bad input must not stop the good", n)
	}
}

func TestGapsAndRepeats(t *testing.T) {
	d := streamstest.New(t, fused...)
	for _, seq := range []int64{1, 2, 2, 1, 5, 6} {
		e := exec("h", "a", t0.Add(time.Duration(seq)*time.Second))
		e.Envelope.Sequence = seq
		d.Ingest(e, t0.Add(time.Duration(seq)*time.Second))
	}
	out := d.Out(schemas.LineageTopic)
	if len(out) != 5 {
		t.Fatalf("got %d records, want 4 events and 1 loss", len(out))
	}
	lost := out[2].(*schemas.LineageRecord)
	if lost.Kind != "lost" || lost.ProcessFiles != 3 || lost.ProcessConnects != 4 {
		t.Errorf("got %+v, want the loss of 3 to 4 before event 5", lost)
	}
	last := out[4].(*schemas.LineageRecord).Provenance.Coverage
	if last.Received != 4 || last.Lost != 2 || last.Repeats != 2 {
		t.Errorf("coverage %+v, want 4 received, 2 lost, 2 repeats", last)
	}
}

func TestWatermarksArePerKey(t *testing.T) {
	d := streamstest.New(t, fused...)
	d.Ingest(exec("honest", "a", t0.Add(10*time.Second)), t0.Add(10*time.Second))
	d.Ingest(exec("forged", "a", t0.Add(100*time.Hour)), t0.Add(11*time.Second)) // bounded by its ingest time
	d.Ingest(exec("honest", "a", t0.Add(30*time.Second)), t0.Add(31*time.Second))
	if n := len(d.Out(schemas.FeaturesTopic)); n != 0 {
		t.Fatalf("a forged clock closed %d windows", n)
	}
	d.Ingest(exec("honest", "a", t0.Add(61*time.Second)), t0.Add(62*time.Second))
	out := d.Out(schemas.FeaturesTopic)
	if len(out) != 1 || out[0].(*schemas.FeatureVector).Features[0].Value != 2 {
		t.Fatalf("got %v, want one window of two events of the honest host", out)
	}
	// A host that delivers ten minutes late is not late: ticks move it by its own delay.
	d = streamstest.New(t, fused...)
	late := 10 * time.Minute
	for i := range 3 {
		at := t0.Add(time.Duration(i) * 50 * time.Second)
		d.Ingest(exec("slow", "a", at), at.Add(late))
		d.Tick(at.Add(late + time.Second))
	}
	if n := d.Counts("fused").Late; n != 0 {
		t.Errorf("%d records of a slow host counted as late", n)
	}
	for _, p := range d.Out(schemas.FeaturesTopic) {
		if v := p.(*schemas.FeatureVector); v.Revision != 0 {
			t.Errorf("window %v was amended", v)
		}
	}
}

func TestActivationBeforeFirstUse(t *testing.T) {
	d := streamstest.New(t, fused...)
	for i := range 3 {
		d.Ingest(exec("h", "a", t0.Add(time.Duration(i)*time.Second)), t0.Add(time.Duration(i)*time.Second))
	}
	as := d.Out(schemas.ActivationsTopic)
	if len(as) != 1 {
		t.Fatalf("got %d activations, want one", len(as))
	}
	if a := as[0].(*schemas.Activation); a.Name != "counter" || a.Content != `{"limit":3}` || a.Origin.Offset != 0 {
		t.Errorf("activation %+v does not name processor, content and first position", a)
	}
}

func TestDerivedRecordsCarryProvenance(t *testing.T) {
	d := streamstest.New(t, fused...)
	d.Ingest(exec("h", "a", t0), t0.Add(time.Second))
	rs := d.Records(schemas.ScoresTopic.Name)
	v := d.Out(schemas.ScoresTopic)[0].(*schemas.DetectorScore).Provenance
	want := schemas.Origin{Topic: schemas.EndpointTopic.Name, IngestTime: t0.Add(time.Second).UnixMilli()}
	if v.Tenant != "t" || v.Host != "h" || v.Time != t0.UnixNano() || v.Origin != want || len(v.Causes) != 1 || v.Causes[0] != "t/h/b/test/p0/1" {
		t.Errorf("provenance %+v", v)
	}
	if !rs[0].Timestamp.Equal(t0.Add(time.Second)) {
		t.Errorf("timestamp %v is not the trigger's ingest time", rs[0].Timestamp)
	}
	var trace string
	for _, h := range rs[0].Headers {
		if h.Key == streams.HeaderTrace {
			trace = string(h.Value)
		}
	}
	if want := "00-" + schemas.TraceID(v.Causes[0]); !strings.HasPrefix(trace, want) {
		t.Errorf("traceparent %q does not follow from the cause", trace)
	}
}

func TestValidate(t *testing.T) {
	bad := &streams.Processor{Name: "Bad Name", Inputs: []*schemas.Topic{schemas.NormalizedTopic}, Accepts: []string{"Nothing"}, Outputs: []*schemas.Topic{schemas.EndpointTopic}}
	err := streams.Validate(streams.Stage{Name: "x", Processors: []*streams.Processor{bad, counter, counter}})
	for _, want := range []string{"lower_snake_case", "New is nil", "Doc is empty", "Version is empty", "unknown schema Nothing", "is an ingest topic",
		"handed over in memory", "processor counter: is in stage x and in stage x"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
	loop := func(name string, in, out *schemas.Topic) *streams.Processor {
		return &streams.Processor{Name: name, Doc: "x", Version: "1", Inputs: []*schemas.Topic{in}, Outputs: []*schemas.Topic{out}, New: counter.New}
	}
	err = streams.Validate(streams.Stage{Name: "x", Processors: []*streams.Processor{loop("p", schemas.LineageTopic, schemas.FeaturesTopic), loop("q", schemas.FeaturesTopic, schemas.LineageTopic)}})
	if err == nil || !strings.Contains(err.Error(), "cycle") {
		t.Errorf("a cycle was accepted: %v", err)
	}
}
