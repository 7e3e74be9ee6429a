package streams

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Flush returns what the open transaction must hold besides the records that Take gives: progress records, and the
// changed rows of the state for the changelog. It is called once, right before the transaction ends, and after it Commit
// or Rollback.
func (t *Task) Flush() ([]*kgo.Record, error) {
	t.progress()
	out := t.Take()
	topic := t.plan.Changelog().Name
	for _, s := range t.stores {
		name := s.name()
		err := s.flush(func(key string, value []byte) {
			r := t.made.record()
			*r = kgo.Record{Topic: topic, Partition: t.Partition, Key: t.made.rowKey(name, key), Value: t.made.bytes(value)}
			out = append(out, r)
		})
		if err != nil {
			return nil, fmt.Errorf("flush task %s/%d: %w", t.plan.stage, t.Partition, err)
		}
	}
	return out, nil
}

// Commit makes everything since the last Commit or Rollback final.
func (t *Task) Commit() {
	for _, s := range t.stores {
		s.commit()
	}
	t.dirty, t.ran = false, 0
	maps.DeleteFunc(t.refused, func(o schemas.Origin, _ error) bool { return o.Compare(&t.last) <= 0 })
}

// Rollback forgets everything since the last Commit, and all records that are held: the caller reads again from
// Positions.
func (t *Task) Rollback() {
	t.keep()
	for _, s := range t.stores {
		s.rollback()
	}
	t.rebuild()
}

// Restore takes one record of the changelog, in order. Rows of a table that no longer exists are passed over.
func (t *Task) Restore(r *kgo.Record) error { return t.RestoreRow(r.Key, r.Value) }

// RestoreRow takes one row by the key and value of its changelog record.
func (t *Task) RestoreRow(key, value []byte) error {
	table, k, ok := bytes.Cut(key, []byte{0})
	if !ok {
		return fmt.Errorf("restore task %s/%d: changelog key %q has no table", t.plan.stage, t.Partition, key)
	}
	for _, s := range t.stores {
		if s.name() == string(table) {
			if err := s.restore(string(k), value); err != nil {
				return fmt.Errorf("restore task %s/%d: %w", t.plan.stage, t.Partition, err)
			}
			return nil
		}
	}
	return nil
}

// Restored ends a restore: indexes are built and the task is ready for records from Positions on.
func (t *Task) Restored() { t.rebuild() }

func (t *Task) rebuild() {
	t.out, t.dirty, t.activated, t.ran = nil, false, false, 0
	for _, h := range t.handlers {
		clear(h.inbox)
		h.inbox, h.emit = h.inbox[:0], 0
	}
	for _, s := range t.stores {
		s.rebuild()
	}
	for _, f := range t.restored {
		f()
	}
}

// Snapshot calls f for each row of the state, as it would stand in a compacted changelog. The task must have nothing
// uncommitted.
func (t *Task) Snapshot(f func(key, value []byte) error) error {
	if t.dirty {
		return fmt.Errorf("snapshot task %s/%d: it has uncommitted changes", t.plan.stage, t.Partition)
	}
	for _, s := range t.stores {
		if err := s.each(func(key string, value []byte) error { return f(t.made.rowKey(s.name(), key), value) }); err != nil {
			return err
		}
	}
	return nil
}

// activate writes an activation record for each processor whose version or configuration is not the one that this task
// used last: the record says from which position on it holds, so that a replay can use what was live.
func (t *Task) activate() {
	for _, h := range t.handlers {
		if h.p.hash == "" {
			continue
		}
		if row, _ := t.active.Get(h.p.Name); row.Hash == h.p.hash {
			continue
		}
		t.active.Put(h.p.Name, activeRow{h.p.hash})
		a := &schemas.Activation{Kind: "config", Name: h.p.Name, Version: h.p.Version, ContentHash: h.p.hash, Content: h.p.config, Origin: t.origin}
		v, err := t.plan.activation.Append(nil, a)
		if err != nil {
			panic(err) // an activation can always be encoded
		}
		key, hs := []byte("config/"+h.p.Name), []kgo.RecordHeader{h.position(t.origin, -1)}
		if !t.plan.fits(size(len(key), v, hs)) { // the hash still says which configuration it was
			a.Content = ""
			if v, err = t.plan.activation.Append(nil, a); err != nil {
				panic(err)
			}
		}
		t.produce(schemas.ActivationsTopic.Name, key, v, hs)
	}
	t.keep()
}

// refuse writes a dead letter: the original record, where it came from, and why it was not taken. processor is empty when
// it could not be decoded.
func (t *Task) refuse(processor string, r *Record, cause error) {
	t.counts.Dead++
	d := &schemas.DeadLetter{Topic: r.Topic, Partition: t.Partition, Offset: r.raw.offset, Origin: t.origin, Stage: t.plan.stage, Processor: processor,
		Error: schemas.Text(cause.Error()), Key: r.raw.key, Value: r.raw.value, Timestamp: r.raw.timestamp, Headers: toHeaders(r.raw.headers)}
	if r.raw.value == nil && r.Value != nil { // handed over in memory
		d.Key, d.Timestamp = []byte(r.Key), t.origin.IngestTime
		if e, err := t.encoder(r.Value.SchemaName()); err == nil {
			d.Value, _ = e.Append(nil, r.Value)
		}
	}
	v, err := t.plan.dead.Append(nil, d)
	if err != nil {
		panic(err) // a dead letter can always be encoded
	}
	if m := t.plan.MaxRecordBytes; !t.plan.fits(size(len(d.Key), v, nil)) { // keep the cause; the original can be read at its offset
		d.Value, d.Headers = nil, nil
		d.Key, d.Error = d.Key[:min(len(d.Key), m/4)], schemas.Text(d.Error[:min(len(d.Error), m/4)])
		if v, err = t.plan.dead.Append(nil, d); err != nil {
			panic(err)
		}
	}
	t.produce(schemas.DeadLetterTopic.Name, slices.Clone(d.Key), v, nil)
}

// reads says whether a processor of the stage reads a topic, in memory or not.
func (t *Task) reads(topic string) bool {
	return slices.ContainsFunc(t.handlers, func(h *handler) bool { _, ok := h.p.input[topic]; return ok })
}

// redrive gives a dead letter to its processor again, or passes it on to the stages behind.
func (t *Task) redrive(x *held) {
	name, _ := header(x.rec, HeaderRedrive)
	r := Record{Topic: x.rec.Topic, Key: string(x.rec.Key), Origin: t.origin, raw: rawOf(x.rec)}
	if len(x.rec.Key) == 0 {
		t.refuse("", &r, errNoKey)
		return
	}
	if from, ok := header(x.rec, HeaderRedriveTopic); ok && t.reads(string(from)) {
		r.Topic = string(from)
	}
	for _, h := range t.handlers {
		if h.p.Name != string(name) {
			continue
		}
		v, err := t.plan.serde.Decode(context.Background(), x.rec.Value)
		if err != nil {
			t.refuse(h.p.Name, &r, err)
			return
		}
		r.Value = v
		switch v := v.(type) {
		case schemas.Event:
			r.Time, r.Causes = t.eventTime(v.Env()), []string{v.Env().EventID()}
			r.Coverage = t.gate.known(r.Key)
		case schemas.Derived:
			r.Time, r.Causes, r.Coverage = v.Prov().Time, v.Prov().Causes, v.Prov().Coverage
		}
		h.inbox = append(h.inbox, r)
		return
	}
	if string(name) == t.plan.stage { // it could not be decoded then; it may be now
		y := *x.rec
		y.Topic = r.Topic
		y.Headers = slices.DeleteFunc(slices.Clone(y.Headers), func(h kgo.RecordHeader) bool { return h.Key == HeaderRedrive })
		t.route(&y, x.at, true)
		return
	}
	for _, h := range t.handlers {
		for _, topic := range h.p.control {
			hs := slices.DeleteFunc(slices.Clone(x.rec.Headers), func(k kgo.RecordHeader) bool { return k.Key == HeaderOrigin })
			t.produce(topic.Name, x.rec.Key, x.rec.Value, append(hs, h.position(t.origin, h.emit)))
			h.emit++
		}
	}
}
