// Package streamstest drives stages without a broker: synchronously, in virtual time, with the codecs and tasks that run
// over Kafka. What a stage gives here it gives there.
//
// A scenario is a txtar file (see Run); Driver is the same for tests written in Go. Fuzz replays what a driver was given
// under random transaction boundaries, aborts and crashes, and demands the same bytes and the same state.
package streamstest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kgo"
)

// feeder is the producer of chain records that a test injects.
const feeder = "feeder"

// A Driver holds the input log of a topology and plays it.
type Driver struct {
	t      testing.TB
	stages []streams.Stage
	suite  []*streams.Processor
	fed    []*schemas.Topic // chain topics that only the test writes
	ingest []*schemas.Topic
	serde  *schemas.Serde

	log    map[string][]*kgo.Record // inputs from outside, by topic
	seq    map[string]int64
	offset int64
	now    int64 // ingest time of the last input, ms
	result *outcome
}

// New returns a driver of one or several stages, one partition each. Chain topics that no stage writes can be fed with
// Derive.
func New(t testing.TB, stages ...streams.Stage) *Driver {
	t.Helper()
	d := &Driver{t: t, stages: stages, log: map[string][]*kgo.Record{}, seq: map[string]int64{}}
	written := map[*schemas.Topic]bool{}
	for _, s := range stages {
		d.suite = append(d.suite, s.Processors...)
		for _, p := range s.Processors {
			for _, o := range p.Outputs {
				written[o] = true
			}
		}
	}
	for _, p := range slices.Clone(d.suite) {
		for _, in := range p.Inputs {
			switch {
			case in.Kind == schemas.Ingest && !slices.Contains(d.ingest, in):
				d.ingest = append(d.ingest, in)
			case in.Kind == schemas.Memory && !written[in]: // fed as if it were ingested
				t.Fatalf("processor %s reads %s, which no stage writes", p.Name, in.Name)
			case in.Kind == schemas.Chain && !written[in] && !slices.Contains(d.fed, in):
				d.fed = append(d.fed, in)
			}
		}
	}
	if len(d.fed) > 0 {
		d.suite = append(d.suite, &streams.Processor{Name: feeder, Doc: "The test.", Version: "1", Outputs: d.fed})
	}
	var err error
	if d.serde, err = schemas.NewSerde(context.Background(), &schemas.LocalRegistry{}); err != nil {
		t.Fatal(err)
	}
	return d
}

// Ingest appends an event to the ingest topic that takes its schema, at the given ingest time. What is empty in its
// envelope is filled: tenant t, host h, boot b, collector test, stream p0, and the next sequence of the stream.
func (d *Driver) Ingest(e schemas.Event, at time.Time) {
	d.t.Helper()
	d.Event(e, at)
}

// Event is Ingest with record headers.
func (d *Driver) Event(e schemas.Event, at time.Time, hs ...kgo.RecordHeader) {
	d.t.Helper()
	d.complete(e.Env(), at)
	d.Keyed(e.Env().Key(), e, at, hs...)
}

// Keyed appends an event as it is, under a key of its own.
func (d *Driver) Keyed(key string, e schemas.Event, at time.Time, hs ...kgo.RecordHeader) {
	d.t.Helper()
	for _, t := range d.ingest {
		if slices.Contains(t.Schemas, e.SchemaName()) {
			d.Raw(t, key, d.encode(e), at, hs...)
			return
		}
	}
	d.t.Fatalf("no stage reads an ingest topic with %s", e.SchemaName())
}

// complete fills what is empty in an envelope.
func (d *Driver) complete(v *schemas.Envelope, at time.Time) {
	for _, f := range []struct {
		p   *string
		def string
	}{{&v.Tenant, "t"}, {&v.Host, "h"}, {&v.Boot, "b"}, {&v.Collector, "test"}, {&v.Stream, "p0"}} {
		if *f.p == "" {
			*f.p = f.def
		}
	}
	if v.Sequence == 0 {
		v.Sequence = d.seq[v.StreamID()] + 1
	}
	d.seq[v.StreamID()] = max(d.seq[v.StreamID()], v.Sequence)
	if v.Time == 0 {
		v.Time = at.UnixNano()
	}
}

// Raw appends a record to an ingest topic as it is, whatever its bytes.
func (d *Driver) Raw(t *schemas.Topic, key string, value []byte, at time.Time, hs ...kgo.RecordHeader) {
	d.append(t.Name, []byte(key), value, d.advance(at), hs)
}

// Derive appends a derived record to a chain topic that the test feeds, as the processor before it would have.
func (d *Driver) Derive(t *schemas.Topic, key string, v schemas.Derived, at time.Time) {
	d.t.Helper()
	if !slices.Contains(d.fed, t) {
		d.t.Fatalf("topic %s is not fed by the test", t.Name)
	}
	p := v.Prov()
	if p.Tenant == "" && p.Host == "" {
		p.Tenant, p.Host, _ = strings.Cut(key, "/")
	}
	if p.Time == 0 {
		p.Time = at.UnixNano()
	}
	o := d.origin(at)
	p.Origin = o
	if p.Causes == nil {
		p.Causes = []string{fmt.Sprintf("%s/b/test/p0/%d", key, o.Offset+1)}
	}
	d.append(t.Name, []byte(key), d.encode(v), o.IngestTime, []kgo.RecordHeader{position(o, 0)})
	d.progress(o)
}

// Tick appends a tick to every ingest topic and to every topic that the test feeds.
func (d *Driver) Tick(at time.Time) {
	d.t.Helper()
	ms := d.advance(at)
	value := d.encode(&schemas.Tick{Time: ms * 1e6})
	for _, t := range d.ingest {
		d.append(t.Name, nil, value, ms, nil)
	}
	if len(d.fed) == 0 {
		return
	}
	o := d.origin(at)
	for _, t := range d.fed {
		d.append(t.Name, nil, value, ms, []kgo.RecordHeader{position(o, 0)})
	}
	d.progress(o)
}

func (d *Driver) progress(o schemas.Origin) {
	for _, t := range d.fed {
		d.append(t.Name, nil, d.encode(&schemas.Progress{Producer: feeder, Origin: o}), o.IngestTime, []kgo.RecordHeader{position(o, 1<<30)})
	}
}

func (d *Driver) origin(at time.Time) schemas.Origin {
	d.offset++
	return schemas.Origin{Topic: feeder, Offset: d.offset - 1, IngestTime: d.advance(at)}
}

func (d *Driver) advance(at time.Time) int64 {
	d.now = max(d.now, at.UnixMilli())
	return d.now
}

func (d *Driver) append(topic string, key, value []byte, ms int64, hs []kgo.RecordHeader) {
	d.result = nil
	d.log[topic] = append(d.log[topic], &kgo.Record{Topic: topic, Offset: int64(len(d.log[topic])), Key: key, Value: value, Timestamp: time.UnixMilli(ms), Headers: hs})
}

func (d *Driver) encode(v schemas.Payload) []byte {
	d.t.Helper()
	b, err := d.serde.Append(nil, v)
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// position is the origin header of a fed record, in the form that docs/formats/headers.md gives.
func position(o schemas.Origin, emit int32) kgo.RecordHeader {
	b := binary.AppendVarint(nil, o.IngestTime)
	b = binary.AppendVarint(b, o.Offset)
	b = binary.AppendVarint(b, int64(o.Partition))
	b = binary.AppendVarint(b, int64(emit))
	for _, s := range []string{feeder, o.Topic} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return kgo.RecordHeader{Key: streams.HeaderOrigin, Value: b}
}

// Out plays what was appended and returns the payloads of a topic, without ticks and progress.
func (d *Driver) Out(topic *schemas.Topic) []schemas.Payload {
	d.t.Helper()
	var out []schemas.Payload
	for _, r := range d.play().out[topic.Name] {
		v, err := d.serde.Decode(context.Background(), r.Value)
		if err != nil {
			d.t.Fatalf("decode output on %s: %v", topic.Name, err)
		}
		switch v.(type) {
		case *schemas.Tick, *schemas.Progress:
		default:
			out = append(out, v)
		}
	}
	return out
}

// Records plays what was appended and returns the records of a topic as they were written.
func (d *Driver) Records(topic string) []*kgo.Record { d.t.Helper(); return d.play().out[topic] }

// Counts plays what was appended and returns the totals of a stage.
func (d *Driver) Counts(stage string) streams.Counts { d.t.Helper(); return d.play().counts[stage] }

func (d *Driver) play() *outcome {
	d.t.Helper()
	if d.result == nil {
		d.result = d.run(nil)
	}
	return d.result
}

// Fuzz plays the input log again, from the start, once for each seed from 0 to seeds-1, with random ends of transactions,
// aborts and crashes with restore, and fails if any output or the state differs from the undisturbed run.
func (d *Driver) Fuzz(seeds int) {
	d.t.Helper()
	want := d.play().text()
	for seed := range seeds {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		if got := d.run(r).text(); got != want {
			d.t.Fatalf("seed %d: output differs from the undisturbed run\n%s", seed, diff(want, got))
		}
	}
}
