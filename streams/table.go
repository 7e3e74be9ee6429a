package streams

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/amoskys/amoskys/schemas"
)

// A store is a part of a task's state: what was changed in the open transaction can be flushed to the changelog, kept or
// dropped, and what was changed for one record can be undone.
type store interface {
	name() string
	flush(row func(key string, value []byte)) error // changed rows in key order; a nil value is a tombstone
	commit()
	rollback()
	keep() // the record is done: forget how to undo it
	undo() // the record was refused: as before it
	restore(key string, value []byte) error
	each(row func(key string, value []byte) error) error // all committed rows in key order
	rebuild()                                            // derived indexes, after restore or rollback
}

// A Table is a typed table of the task's state: what is put in a transaction that aborts is gone, and so is what is put
// for a record that is refused.
type Table[V any] struct {
	t       *Task
	full    string // processor.table
	schema  *schemas.Schema
	enc     schemas.Encoder
	rows    map[string]*row[V]
	dirty   []*row[V]
	journal []change[V]
}

type row[V any] struct {
	key         string
	v, old      V // old: as of the last commit, while dirty
	has, oldHas bool
	dirty       bool
}

// change remembers a row as it was before the record being processed touched it.
type change[V any] struct {
	r   *row[V]
	v   V
	has bool
}

// NewTable declares a table. name is lower_snake_case, unique in the processor, and never changes. V is a struct with
// avro tags (see schemas.StateSchema). A value that was put must not be modified through slices it shares; put a new one.
func NewTable[V any](b *Builder, name string) *Table[V] {
	s, err := schemas.StateSchema[V](b.proc + "_" + name)
	if err != nil {
		panic(fmt.Sprintf("table %s of processor %s: %v", name, b.proc, err)) // a bug in the processor, found by every test
	}
	t := &Table[V]{t: b.t, full: b.proc + "." + name, schema: s, rows: map[string]*row[V]{}}
	b.add(t, s, func(e schemas.Encoder) { t.enc = e })
	return t
}

// Get returns the value of a key.
func (t *Table[V]) Get(key string) (V, bool) {
	if r := t.rows[key]; r != nil && r.has {
		return r.v, true
	}
	var zero V
	return zero, false
}

// Has says whether the key has a value.
func (t *Table[V]) Has(key string) bool {
	r := t.rows[key]
	return r != nil && r.has
}

// Put sets the value of a key.
func (t *Table[V]) Put(key string, v V) {
	r := t.touch(key)
	r.v, r.has = v, true
}

// Delete removes a key.
func (t *Table[V]) Delete(key string) {
	if !t.Has(key) {
		return
	}
	r := t.touch(key)
	var zero V
	r.v, r.has = zero, false
}

// touch returns the row of a key, ready to be changed.
func (t *Table[V]) touch(key string) *row[V] {
	r := t.rows[key]
	if r == nil {
		r = &row[V]{key: strings.Clone(key)} // the caller's text may be part of a large buffer
		t.rows[r.key] = r
	}
	t.mark(r)
	return r
}

func (t *Table[V]) mark(r *row[V]) {
	if len(t.journal) == 0 {
		t.t.touched = append(t.t.touched, t)
	}
	t.journal = append(t.journal, change[V]{r, r.v, r.has})
	if !r.dirty {
		r.dirty, r.old, r.oldHas = true, r.v, r.has
		t.dirty = append(t.dirty, r)
	}
}

// Len is the number of rows, counted: not for the hot path.
func (t *Table[V]) Len() (n int) {
	for _, r := range t.rows {
		if r.has {
			n++
		}
	}
	return n
}

// All calls f for each row in key order until f returns false. It sorts: not for the hot path.
func (t *Table[V]) All(f func(key string, v V) bool) {
	for _, r := range t.sorted() {
		if r.has && !f(r.key, r.v) {
			return
		}
	}
}

func (t *Table[V]) sorted() []*row[V] {
	rs := make([]*row[V], 0, len(t.rows))
	for _, r := range t.rows {
		rs = append(rs, r)
	}
	slices.SortFunc(rs, byKey[V])
	return rs
}

func byKey[V any](a, b *row[V]) int { return strings.Compare(a.key, b.key) }

func (t *Table[V]) name() string { return t.full }

func (t *Table[V]) flush(out func(string, []byte)) error {
	slices.SortFunc(t.dirty, byKey[V])
	for _, r := range t.dirty {
		if !r.has {
			if r.oldHas { // a row that came and went within the transaction was never written
				out(r.key, nil)
			}
			continue
		}
		b, err := t.enc.Append(nil, &r.v)
		if err != nil {
			return fmt.Errorf("write row %q of table %s: %w", r.key, t.full, err)
		}
		out(r.key, b)
	}
	return nil
}

func (t *Table[V]) commit() {
	var zero V
	for _, r := range t.dirty {
		r.dirty, r.old, r.oldHas = false, zero, false
		if !r.has {
			delete(t.rows, r.key)
		}
	}
	t.dirty = t.dirty[:0]
}

func (t *Table[V]) rollback() {
	var zero V
	for _, r := range t.dirty {
		r.v, r.has, r.dirty, r.old = r.old, r.oldHas, false, zero
		if !r.has {
			delete(t.rows, r.key)
		}
	}
	t.dirty = t.dirty[:0]
	t.keep()
}

func (t *Table[V]) keep() {
	clear(t.journal) // values may hold memory
	t.journal = t.journal[:0]
}

func (t *Table[V]) undo() {
	for _, c := range slices.Backward(t.journal) {
		c.r.v, c.r.has = c.v, c.has
	}
	t.keep()
}

func (t *Table[V]) restore(key string, value []byte) error {
	if value == nil {
		delete(t.rows, key)
		return nil
	}
	r := &row[V]{key: key, has: true}
	if err := t.t.plan.serde.DecodeInto(context.Background(), value, t.schema.Name, &r.v); err != nil {
		return fmt.Errorf("read row %q of table %s: %w", key, t.full, err)
	}
	t.rows[key] = r
	return nil
}

func (t *Table[V]) each(f func(string, []byte) error) error {
	for _, r := range t.sorted() {
		if !r.has {
			continue
		}
		b, err := t.enc.Append(nil, &r.v)
		if err != nil {
			return fmt.Errorf("write row %q of table %s: %w", r.key, t.full, err)
		}
		if err := f(r.key, b); err != nil {
			return err
		}
	}
	return nil
}

func (t *Table[V]) rebuild() {}
