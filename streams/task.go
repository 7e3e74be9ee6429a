package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Task is a stage over one partition number of its inputs: a pure state machine without goroutine, clock or I/O. It is
// driven by one goroutine: offer records, take what they give, and at the end of a transaction flush, then commit or roll
// back.
type Task struct {
	Partition int32 // -1: it only says which schemas it has

	plan     *Plan
	handlers []*handler // by proc.index
	schemas  []*schemas.Schema
	stores   []store
	touched  []store  // changed for the record being processed
	restored []func() // see Builder.OnRestore
	merge    merge
	gate     gate
	decoder  *schemas.Decoder
	encoders map[string]schemas.Encoder

	// of the group being processed
	origin schemas.Origin
	out    []*kgo.Record
	buf    []byte // what is being encoded
	made   made

	done      Row[schemas.Origin] // the origin up to which everything is processed
	last      schemas.Origin      // the same, in memory
	reported  schemas.Origin      // last one told in progress records
	activated bool
	active    *Table[activeRow]
	dirty     bool
	refused   map[schemas.Origin]error // see Refuse
	ran       int                      // origins processed in the open transaction
	most      int                      // that many are processed in one; 0: any number
	counts    Counts
}

// handler is a processor in a task.
type handler struct {
	p *proc
	Handler
	inbox   []Record
	mark    int // length of the inbox at the savepoint
	windows []closer
	keys    *keyTimes
	emit    int32 // index of the next record emitted for the origin
	counts  ProcessorCounts
	ctx     Context
}

// activeRow is the configuration that a processor of the task has last used.
type activeRow struct {
	Hash string `avro:"hash"`
}

// Counts are totals since the task was made. They are for metrics: a roll-back does not take them back.
type Counts struct {
	In, Out    int64 // records taken and emitted
	Dead, Late int64 // records that went to the dead letters, and to the late topic
	Repeats    int64 // events that were there before
	Lost       int64 // events whose numbers are missing
	Processors map[string]*ProcessorCounts
}

// ProcessorCounts are the totals of one processor, as in Counts.
type ProcessorCounts struct{ In, Out, Dead, Late int64 }

// NewTask makes the task of a partition with empty state.
func NewTask(p *Plan, partition int32) *Task { return newTask(p, partition) }

func newTask(p *Plan, partition int32) *Task {
	t := &Task{Partition: partition, plan: p, encoders: map[string]schemas.Encoder{}, counts: Counts{Processors: map[string]*ProcessorCounts{}}}
	t.decoder = p.serde.NewDecoder()
	own := &Builder{t: t, proc: "engine", self: &handler{}}
	t.done = NewTable[schemas.Origin](own, "done").Row("done")
	t.active = NewTable[activeRow](own, "active")
	t.merge.init(t, own)
	t.gate.init(t, own)
	for _, q := range p.procs {
		h := &handler{p: q}
		h.ctx = Context{t: t, h: h}
		t.handlers = append(t.handlers, h)
		t.counts.Processors[q.Name] = &h.counts
		h.Handler = q.New(&Builder{t: t, proc: q.Name, self: h})
	}
	t.merge.reset()
	return t
}

func (t *Task) encoder(name string) (schemas.Encoder, error) {
	if e, ok := t.encoders[name]; ok {
		return e, nil
	}
	e, err := t.plan.serde.Encoder(name)
	if err == nil {
		t.encoders[name] = e
	}
	return e, err
}

// Offer takes one polled record and processes everything that has become due. It returns an error only if the schema
// registry cannot be asked about the record's schema: the record was not taken then, and is to be offered again. A record
// at or before the position the task has reached is passed over. What is full keeps what else has become due.
func (t *Task) Offer(ctx context.Context, r *kgo.Record) error {
	if len(r.Value) > 0 {
		if _, err := t.decoder.Name(ctx, r.Value); errors.Is(err, schemas.ErrRegistryUnavailable) {
			return malformed(r, err)
		}
	}
	t.merge.accept(r)
	for !t.full() {
		group := t.merge.next()
		if group == nil {
			t.merge.settle()
			break
		}
		t.run(group)
	}
	return nil
}

// full says whether the task processes nothing more in the open transaction.
func (t *Task) full() bool { return t.most > 0 && t.ran >= t.most }

// run processes all records of one origin.
func (t *Task) run(group []*held) {
	t.origin = group[0].at.origin
	t.dirty = true
	t.ran++
	if !t.activated {
		t.activated = true
		t.activate()
	}
	var tick, redriven bool
	for _, x := range group {
		if cause, ok := t.refused[t.origin]; ok {
			t.refuse("", &Record{Topic: x.rec.Topic, Key: string(x.rec.Key), Origin: t.origin,
				raw: rawOf(x.rec)}, cause)
			continue
		}
		if _, ok := header(x.rec, HeaderRedrive); ok {
			if !redriven { // it comes along every input of the stage
				t.redrive(x)
			}
			redriven = true
			continue
		}
		if t.route(x.rec, x.at, false) {
			tick = true
		}
	}
	t.keep() // what the gate has noted is not undone with what a processor does
	for _, h := range t.handlers {
		t.work(h)
		if tick {
			t.tick(h)
		}
		h.emit = 0
	}
	t.last = t.origin
	for i := range group {
		t.merge.processed(group[i])
	}
	t.reach(t.origin)
	if t.plan.Observe != nil {
		t.plan.Observe(t.Partition, t.origin)
	}
}

// reach notes how far the task has come.
func (t *Task) reach(o schemas.Origin) {
	t.last = o
	t.done.Put(o)
	t.keep()
}

var errNoKey = errors.New("record has no key: state is kept by key")

// route decodes a record from the log and hands it to the inboxes of its consumers. It says whether it was a tick.
func (t *Task) route(rec *kgo.Record, at position, redriven bool) (tick bool) {
	ingest := t.merge.by[rec.Topic][""] != nil
	var v schemas.Payload
	name, err := t.decoder.Name(context.Background(), rec.Value)
	if err == nil {
		switch {
		case name == "Tick":
			return true
		case name == "Progress":
			return false
		case len(rec.Key) == 0:
			err = errNoKey
		case ingest:
			v, err = t.decoder.Decode(context.Background(), rec.Value)
		case t.wanted(rec.Topic, name):
			v, err = t.plan.serde.Decode(context.Background(), rec.Value)
		default:
			return false
		}
	}
	r := Record{Topic: rec.Topic, Key: string(rec.Key), Value: v, Time: t.origin.IngestTime * 1e6, Origin: t.origin, producer: at.producer, emit: at.emit, raw: rawOf(rec)}
	t.counts.In++
	if err != nil {
		t.refuse("", &r, err)
		return false
	}
	if h, ok := header(rec, HeaderTrace); ok {
		r.trace = parseTrace(h)
	}
	switch v := v.(type) {
	case schemas.Event:
		if ingest && !t.enter(v.Env(), &r, redriven) {
			return false
		}
	case schemas.Derived:
		p := v.Prov()
		r.Time, r.Causes, r.Coverage = p.Time, p.Causes, p.Coverage
	}
	t.deliver(r)
	return false
}

// enter takes an event through the gate, and hands over what the gate found to be missing before it. It says whether the
// event is new.
func (t *Task) enter(e *schemas.Envelope, r *Record, redriven bool) bool {
	r.Time = t.eventTime(e)
	if redriven && t.gate.refill(e, r) {
		return true
	}
	lost, fresh := t.gate.pass(e, r)
	if lost != nil {
		t.deliver(Record{Topic: r.Topic, Key: r.Key, Value: lost, Time: r.Time, Origin: t.origin, Causes: r.Causes, Coverage: r.Coverage, emit: -1, raw: raw{offset: -1}})
	}
	return fresh
}

// maxAhead is how far before its ingest an event may be: as far as clocks differ, and time zones that are set wrong.
const maxAhead = int64(time.Hour)

// eventTime is the time of an event as far as it can be true. An event from further ahead takes place when it came in: else
// its windows would not close until then, and a host whose clock is set forward would be seen by no detector.
func (t *Task) eventTime(e *schemas.Envelope) int64 {
	ingest := t.origin.IngestTime * 1e6
	if e.Time > ingest+maxAhead {
		return ingest
	}
	return max(e.Time, 0)
}

func (t *Task) wanted(topic, schema string) bool {
	for _, h := range t.handlers {
		if _, ok := h.p.input[topic]; ok && (h.p.accepts == nil || h.p.accepts[schema]) {
			return true
		}
	}
	return false
}

func (t *Task) deliver(r Record) {
	name := r.Value.SchemaName()
	for _, h := range t.handlers {
		if _, ok := h.p.input[r.Topic]; ok && (h.p.accepts == nil || h.p.accepts[name]) {
			h.inbox = append(h.inbox, r)
		}
	}
}

// work lets a processor take its inbox in merge order: input, producer, emit index.
func (t *Task) work(h *handler) {
	if len(h.inbox) > 1 {
		slices.SortStableFunc(h.inbox, func(a, b Record) int {
			return cmp.Or(cmp.Compare(h.p.input[a.Topic], h.p.input[b.Topic]), cmp.Compare(a.producer, b.producer), cmp.Compare(a.emit, b.emit))
		})
	}
	for i := range h.inbox {
		r := &h.inbox[i]
		c := &h.ctx
		c.rec, c.key, c.at = r, r.Key, r.Time
		h.counts.In++
		if h.keys != nil {
			h.keys.observe(r)
		}
		t.guard(c, r, func() error { return h.Process(c, r) })
		for _, w := range h.windows {
			c.at = r.Time
			w.due(c, r.Key, false)
		}
		c.rec = nil
	}
	clear(h.inbox)
	h.inbox = h.inbox[:0]
}

// tick moves the processor's watermarks to the time of the tick, closes what is due, and forwards the tick.
func (t *Task) tick(h *handler) {
	c := &h.ctx
	if h.keys != nil {
		h.keys.floor = max(h.keys.floor, t.origin.IngestTime*1e6)
		for _, w := range h.windows {
			for _, key := range w.keys(true, h.keys.watermark) {
				c.rec, c.key = nil, key
				w.due(c, key, true)
			}
		}
	}
	for _, topic := range h.p.control {
		v, err := t.plan.tick.Append(nil, &schemas.Tick{Time: t.origin.IngestTime * 1e6})
		if err != nil {
			panic(err) // a tick can always be encoded
		}
		t.produce(topic.Name, nil, v, []kgo.RecordHeader{h.position(t.origin, h.emit)})
		h.emit++
	}
}

// guard runs f with a savepoint: if it returns an error or panics, what it changed and emitted is undone, and the record
// goes to the dead-letter topic; without one, as in the close of a window, a dead letter about the key.
func (t *Task) guard(c *Context, r *Record, f func() error) {
	out, emit := len(t.out), c.h.emit
	for _, x := range t.handlers {
		x.mark = len(x.inbox)
	}
	err := safely(f)
	if err == nil {
		c.h.counts.Out += int64(c.h.emit - emit)
		t.keep()
		return
	}
	for _, s := range t.touched {
		s.undo()
	}
	t.touched = t.touched[:0]
	clear(t.out[out:])
	t.out, c.h.emit = t.out[:out], emit
	for _, x := range t.handlers {
		x.inbox = x.inbox[:x.mark] // the processor's own is as it was: nobody emits to itself
	}
	if r == nil {
		r = &Record{Key: c.key, Origin: t.origin, raw: raw{offset: -1, key: []byte(c.key), timestamp: t.origin.IngestTime}}
	}
	c.h.counts.Dead++
	t.refuse(c.h.p.Name, r, err)
}

func safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

func (t *Task) keep() {
	for _, s := range t.touched {
		s.keep()
	}
	t.touched = t.touched[:0]
}

// produce adds a record to what the group gives. Derived records lie in the partition of their trigger and carry its
// ingest time: an unset timestamp would be the wall clock.
func (t *Task) produce(topic string, key, value []byte, hs []kgo.RecordHeader) {
	t.counts.Out++
	r := t.made.record()
	*r = kgo.Record{Topic: topic, Partition: t.Partition, Key: key, Value: value, Headers: hs, Timestamp: time.UnixMilli(t.origin.IngestTime)}
	t.out = append(t.out, r)
}

func (h *handler) position(o schemas.Origin, emit int32) kgo.RecordHeader {
	p := position{o, h.p.Name, emit}
	var room [128]byte
	return kgo.RecordHeader{Key: HeaderOrigin, Value: h.ctx.t.made.bytes(p.append(room[:0]))}
}

// Take returns the records made since the last call, in order; partition and timestamp are set.
func (t *Task) Take() []*kgo.Record {
	out := t.out
	t.out = nil
	return out
}

// Dirty says whether the task has processed something since the last Commit or Rollback.
func (t *Task) Dirty() bool { return t.dirty }

// Held is the number of records taken and not yet processed.
func (t *Task) Held() int { return t.merge.held() }

// Positions are the next offsets to process by input topic; a topic of which nothing was processed is absent.
func (t *Task) Positions() map[string]int64 { return t.merge.positions() }

// Origin is the ingest position up to which the task has processed everything.
func (t *Task) Origin() schemas.Origin { return t.last }

// Counts are the task's totals.
func (t *Task) Counts() Counts { return t.counts }
