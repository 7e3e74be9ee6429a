package streams

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// keyTime is how far event time has come for one record key in one processor.
type keyTime struct {
	Watermark int64            `avro:"watermark"` // ns; never goes back
	Delay     int64            `avro:"delay"`     // ns between event and ingest of the key's last event
	Late      int64            `avro:"late"`      // records after their lateness
	Coverage  schemas.Coverage `avro:"coverage"`  // of the key's last record
}

// keyTimes are the watermarks of one processor. Watermarks are per key, from min(event, ingest), so that a forged clock
// moves nobody else's windows; a tick moves a key to the tick's time less the key's own delay, so that a host that
// delivers ten minutes late is not late by its own fault. Ticks are kept as one floor, not written to each key's row.
//
// Unlike a table it is not undone for a refused record: time passed all the same.
type keyTimes struct {
	t      *Task
	full   string
	schema *schemas.Schema
	enc    schemas.Encoder
	rows   map[string]*keyRow
	dirty  []*keyRow
	floor  int64 // time of the last tick, ns: the row with the empty key
	floorC int64 // at the last commit
}

type keyRow struct {
	key    string
	v, old keyTime
	dirty  bool
	fresh  bool // made in the open transaction
}

// TrackTime makes the engine keep a watermark for each record key, so that Context.Watermark can be asked. Windows do it
// by themselves. It costs a row for each key and transaction.
func (b *Builder) TrackTime() {
	if b.self.keys != nil {
		return
	}
	s, err := schemas.StateSchema[keyTime](b.proc + "__time")
	if err != nil {
		panic(err) // keyTime has a schema
	}
	k := &keyTimes{t: b.t, full: b.proc + "._time", schema: s, rows: map[string]*keyRow{}}
	b.self.keys = k
	b.add(k, s, func(e schemas.Encoder) { k.enc = e })
}

func (k *keyTimes) watermark(key string) int64 {
	r := k.rows[key]
	if r == nil {
		return 0
	}
	return r.watermark(k.floor)
}

func (r *keyRow) watermark(floor int64) int64 { return max(r.v.Watermark, floor-r.v.Delay) }

// observe moves the key's watermark for one record.
func (k *keyTimes) observe(r *Record) {
	at := max(0, min(r.Time, r.Origin.IngestTime*1e6))
	delay := min(max(0, r.Origin.IngestTime*1e6-at), maxDelay)
	row := k.rows[r.Key]
	if row == nil {
		row = k.insert(r.Key)
	} else {
		at = max(at, row.watermark(k.floor))
	}
	v := k.change(row)
	v.Watermark = max(v.Watermark, at)
	v.Delay, v.Coverage = delay, r.Coverage
}

// maxDelay bounds the delay of a host. A clock that is set back by years must not hold its windows open for as long.
const maxDelay = int64(24 * time.Hour)

func (k *keyTimes) touch(key string) *keyTime {
	r := k.rows[key]
	if r == nil {
		r = k.insert(key)
	}
	return k.change(r)
}

func (k *keyTimes) insert(key string) *keyRow {
	r := &keyRow{key: strings.Clone(key), fresh: true}
	k.rows[r.key] = r
	return r
}

func (k *keyTimes) change(r *keyRow) *keyTime {
	if !r.dirty {
		r.dirty, r.old = true, r.v
		k.dirty = append(k.dirty, r)
	}
	return &r.v
}

func (k *keyTimes) name() string { return k.full }

func (k *keyTimes) flush(out func(string, []byte)) error {
	if k.floor != k.floorC {
		b, err := k.enc.Append(nil, &keyTime{Watermark: k.floor})
		if err != nil {
			return err
		}
		out("", b)
	}
	slices.SortFunc(k.dirty, func(a, b *keyRow) int { return strings.Compare(a.key, b.key) })
	for _, r := range k.dirty {
		b, err := k.enc.Append(k.t.buf[:0], &r.v)
		if err != nil {
			return err
		}
		k.t.buf = b
		out(r.key, b)
	}
	return nil
}

func (k *keyTimes) commit() {
	k.floorC = k.floor
	for _, r := range k.dirty {
		r.dirty, r.fresh = false, false
	}
	k.dirty = k.dirty[:0]
}

func (k *keyTimes) rollback() {
	k.floor = k.floorC
	for _, r := range k.dirty {
		r.v, r.dirty = r.old, false
		if r.fresh {
			delete(k.rows, r.key)
		}
	}
	k.dirty = k.dirty[:0]
}

func (k *keyTimes) keep() {}
func (k *keyTimes) undo() {}

func (k *keyTimes) restore(key string, value []byte) error {
	if value == nil {
		delete(k.rows, key)
		return nil
	}
	r := &keyRow{key: key}
	if err := k.t.plan.serde.DecodeInto(context.Background(), value, k.schema.Name, &r.v); err != nil {
		return err
	}
	if key == "" {
		k.floor, k.floorC = r.v.Watermark, r.v.Watermark
		return nil
	}
	k.rows[key] = r
	return nil
}

func (k *keyTimes) each(f func(string, []byte) error) error {
	rows := []*keyRow{{v: keyTime{Watermark: k.floor}}}
	for _, r := range k.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *keyRow) int { return strings.Compare(a.key, b.key) })
	for _, r := range rows {
		b, err := k.enc.Append(nil, &r.v)
		if err != nil {
			return err
		}
		if err := f(r.key, b); err != nil {
			return err
		}
	}
	return nil
}

func (k *keyTimes) rebuild() {}
