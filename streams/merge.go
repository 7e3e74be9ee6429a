package streams

import (
	"context"
	"math"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// merge brings the records of a task's inputs into one order that is a function of the ingest log alone. Its sources are
// the ingest topics, and each (topic, producer) of the derived ones. All records of one origin make a group; a group is
// released when every source has shown that it brings nothing at or before that origin any more.
type merge struct {
	t       *Task
	sources []*source
	by      map[string]map[string]*source // topic -> producer
	pos     *Table[inputRow]              // by topic
	places  map[string]*Row[inputRow]     // of pos, by topic
	offset  map[string]int64              // next offset to accept, by topic
	ingest  map[string]int64              // ingest time that an ingest topic has reached
	group   []*held
}

// inputRow is the position of one input topic: what the group commits too.
type inputRow struct {
	Offset     int64 `avro:"offset"`      // next to process
	IngestTime int64 `avro:"ingest_time"` // ms, reached by what was processed
}

type source struct {
	topic, producer string
	queue           []*held
	done            schemas.Origin // nothing at or before it comes any more
	doneAt          int64          // offset of the progress record that said so
	before          schemas.Origin // nothing before it comes any more
}

// waits says whether the source may still bring something at or before an origin.
func (s *source) waits(at *schemas.Origin) bool {
	return at.Compare(&s.done) > 0 && at.Compare(&s.before) >= 0
}

// held is a record that waits for its turn.
type held struct {
	rec *kgo.Record
	at  position
}

func (m *merge) init(t *Task, b *Builder) {
	m.t = t
	m.pos = NewTable[inputRow](b, "input")
	b.OnRestore(m.reset)
}

// reset drops what is held and starts again from the processed positions.
func (m *merge) reset() {
	m.places = map[string]*Row[inputRow]{}
	m.sources, m.by, m.offset, m.ingest = nil, map[string]map[string]*source{}, map[string]int64{}, map[string]int64{}
	for _, in := range m.t.plan.inputs {
		m.by[in.Name] = map[string]*source{}
		place := m.pos.Row(in.Name)
		m.places[in.Name] = &place
		row, _ := place.Get()
		m.offset[in.Name], m.ingest[in.Name] = row.Offset, row.IngestTime
		producers := m.t.plan.sources[in.Name]
		if in.Kind == schemas.Ingest {
			producers = []string{""}
		}
		for _, p := range producers {
			s := &source{topic: in.Name, producer: p}
			m.sources = append(m.sources, s)
			m.by[in.Name][p] = s
		}
	}
	if d, ok := m.t.done.Get(); ok {
		m.t.last = d
		for _, s := range m.sources {
			s.done, s.before = d, d
		}
	} else {
		m.t.last = schemas.Origin{IngestTime: math.MinInt64}
		for _, s := range m.sources {
			s.done, s.before = m.t.last, m.t.last
		}
	}
	m.t.reported = m.t.last
}

// accept queues a record. It refuses what was taken before, and what other stages' processors wrote that are in this
// stage themselves.
func (m *merge) accept(r *kgo.Record) {
	next, ok := m.offset[r.Topic]
	if !ok || r.Offset < next {
		return
	}
	m.offset[r.Topic] = r.Offset + 1
	h := &held{rec: r}
	if s := m.by[r.Topic][""]; s != nil {
		// Ingest time never goes back within a partition, even if the broker's clock did.
		at := max(min(r.Timestamp.UnixMilli(), maxIngest), m.ingest[r.Topic])
		m.ingest[r.Topic] = at
		h.at.origin = schemas.Origin{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, IngestTime: at}
		s.queue = append(s.queue, h)
		s.done = h.at.origin
		return
	}
	b, _ := header(r, HeaderOrigin)
	p, err := parsePosition(b)
	if err != nil { // not written by a stage: it has no place in the order, so it takes the next one
		m.t.origin = m.t.last
		if m.t.last.IngestTime == math.MinInt64 { // nothing is processed yet
			m.t.origin = schemas.Origin{IngestTime: max(0, r.Timestamp.UnixMilli())}
		}
		m.t.dirty = true
		m.t.refuse("", &Record{Topic: r.Topic, Key: string(r.Key), Origin: m.t.origin, raw: rawOf(r)}, malformed(r, err))
		m.advance(r.Topic)
		return
	}
	s := m.by[r.Topic][p.producer]
	if s == nil || p.origin.Compare(&m.t.last) <= 0 {
		m.advance(r.Topic)
		return
	}
	h.at = p
	if name, err := m.t.decoder.Name(context.Background(), r.Value); err == nil && name == "Progress" {
		if p.origin.Compare(&s.done) > 0 {
			s.done, s.doneAt = p.origin, r.Offset
		}
		m.advance(r.Topic)
		return
	}
	s.queue = append(s.queue, h)
	if p.origin.Compare(&s.before) > 0 {
		s.before = p.origin
	}
}

// maxIngest bounds ingest time, ms: in the year 2109, with room for windows behind it in nanoseconds. Where the broker does
// not stamp, whoever writes does.
const maxIngest = 1 << 42

// next takes the next group that is complete, or nil.
func (m *merge) next() []*held {
	var first *schemas.Origin
	for _, s := range m.sources {
		if len(s.queue) > 0 && (first == nil || s.queue[0].at.origin.Compare(first) < 0) {
			first = &s.queue[0].at.origin
		}
	}
	if first == nil {
		return nil
	}
	at := *first
	for _, s := range m.sources {
		if s.waits(&at) {
			return nil
		}
	}
	m.group = m.group[:0]
	for _, s := range m.sources {
		for len(s.queue) > 0 && s.queue[0].at.origin.Compare(&at) == 0 {
			m.group = append(m.group, s.queue[0])
			s.queue[0] = nil
			s.queue = s.queue[1:]
		}
	}
	return m.group
}

// settle moves the task to where all sources have shown that nothing comes any more, when nothing of it is held either: a
// stage to which its upstream has nothing to say is no reason for those behind it to wait.
func (m *merge) settle() {
	if len(m.sources) == 0 {
		return
	}
	to := m.sources[0].done
	for _, s := range m.sources[1:] {
		if s.done.Compare(&to) < 0 {
			to = s.done
		}
	}
	if to.Compare(&m.t.last) <= 0 {
		return
	}
	m.t.origin = to
	m.t.reach(to)
	m.t.dirty = true
	for _, in := range m.t.plan.inputs {
		if in.Kind != schemas.Ingest {
			m.advance(in.Name)
		}
	}
}

// processed moves the position of the record's topic past it.
func (m *merge) processed(h *held) { m.advance(h.rec.Topic) }

// advance writes the position of a topic: the first offset that is still needed, or the next to accept. Needed is what is
// held, and a progress record that reaches past what is processed: a restored task must hear of it again.
func (m *merge) advance(topic string) {
	at, sources := m.offset[topic], m.by[topic]
	for _, s := range sources {
		if len(s.queue) > 0 {
			at = min(at, s.queue[0].rec.Offset)
		}
		if s.producer != "" && s.done.Compare(&m.t.last) > 0 {
			at = min(at, s.doneAt)
		}
	}
	place := m.places[topic]
	row, ok := place.Get()
	if ok && row.Offset == at {
		return
	}
	row.Offset = at
	if sources[""] != nil {
		row.IngestTime = m.t.origin.IngestTime
	}
	place.Put(row)
	m.t.dirty = true
	m.t.keep()
}

func (m *merge) held() (n int) {
	for _, s := range m.sources {
		n += len(s.queue)
	}
	return n
}

func (m *merge) positions() map[string]int64 {
	out := map[string]int64{}
	for _, in := range m.t.plan.inputs {
		if row, ok := m.pos.Get(in.Name); ok {
			out[in.Name] = row.Offset
		}
	}
	return out
}

// progress is what the task tells the readers of its outputs: everything up to an origin is done.
func (t *Task) progress() {
	if t.last.Compare(&t.reported) <= 0 || t.last.IngestTime == math.MinInt64 {
		return
	}
	t.origin = t.last
	for _, h := range t.handlers {
		for _, topic := range h.p.control {
			v, err := t.plan.progress.Append(nil, &schemas.Progress{Producer: h.p.Name, Origin: t.last})
			if err != nil {
				panic(err) // a progress record can always be encoded
			}
			t.produce(topic.Name, nil, v, []kgo.RecordHeader{h.position(t.last, math.MaxInt32)})
		}
	}
	t.reported = t.last
}
