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
	flush(row func(key string, value []byte)) error // changed rows in key order; a nil value is a tombstone; copy what is kept
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
	base    []change[V] // as of the last commit, the rows changed since
	begun   int         // how many of these were changed before the record being processed
	journal []change[V] // as they were before the record being processed, those of these that it has changed
	saves   uint64      // records so far
	order   []*row[V]   // of flush
}

type row[V any] struct {
	key   string
	v     V
	has   bool
	was   bool   // it had a value as of the last commit
	dirty bool   // it is in the table's base
	gone  bool   // it is no longer in the table, which may have another one of its key
	saved uint64 // the last record that changed it, counted from 1
}

// change remembers a row as it was.
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
	if r := t.rows[key]; r != nil && r.has {
		t.remove(r)
	}
}

func (t *Table[V]) remove(r *row[V]) {
	t.mark(r)
	var zero V
	r.v, r.has = zero, false
}

// touch returns the row of a key, ready to be changed.
func (t *Table[V]) touch(key string) *row[V] {
	r := t.rows[key]
	if r == nil {
		r = t.insert(strings.Clone(key)) // the caller's text may be part of a large buffer
	}
	t.mark(r)
	return r
}

// insert makes a row without a value.
func (t *Table[V]) insert(key string) *row[V] {
	r := &row[V]{key: key}
	t.rows[key] = r
	return r
}

// mark notes a row as it is before it is changed, the first time that a record changes it: for the roll-back of the
// transaction or, if that has it as it was before, for the undoing of the record.
func (t *Table[V]) mark(r *row[V]) {
	if r.saved == t.saves+1 {
		return
	}
	r.saved = t.saves + 1
	if len(t.journal) == 0 && len(t.base) == t.begun {
		t.t.touched = append(t.t.touched, t)
	}
	if r.dirty {
		t.journal = append(t.journal, change[V]{r, r.v, r.has})
		return
	}
	r.dirty, r.was = true, r.has
	t.base = append(t.base, change[V]{r, r.v, r.has})
}

// drop takes a row without a value out of the table.
func (t *Table[V]) drop(r *row[V]) {
	r.gone = true
	delete(t.rows, r.key)
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
	t.order = t.order[:0]
	for i := range t.base {
		t.order = append(t.order, t.base[i].r)
	}
	slices.SortFunc(t.order, byKey[V])
	for _, r := range t.order {
		if !r.has {
			if r.was { // a row that came and went within the transaction was never written
				out(r.key, nil)
			}
			continue
		}
		b, err := t.enc.Append(t.t.buf[:0], &r.v)
		if err != nil {
			return fmt.Errorf("write row %q of table %s: %w", r.key, t.full, err)
		}
		t.t.buf = b
		out(r.key, b)
	}
	clear(t.order)
	return nil
}

func (t *Table[V]) commit() {
	for i := range t.base {
		r := t.base[i].r
		if r.dirty = false; !r.has {
			t.drop(r)
		}
	}
	t.clean()
}

func (t *Table[V]) rollback() {
	for i := range t.base {
		c := &t.base[i]
		c.r.v, c.r.has, c.r.dirty = c.v, c.has, false
		if !c.has {
			t.drop(c.r)
		}
	}
	t.clean()
}

// clean forgets the transaction. Values may hold memory.
func (t *Table[V]) clean() {
	clear(t.base)
	t.base = t.base[:0]
	t.keep()
}

func (t *Table[V]) keep() {
	t.saves++
	t.begun = len(t.base)
	clear(t.journal)
	t.journal = t.journal[:0]
}

func (t *Table[V]) undo() {
	for _, cs := range [][]change[V]{t.journal, t.base[t.begun:]} {
		for i := range cs {
			c := &cs[i]
			c.r.v, c.r.has = c.v, c.has
		}
	}
	t.keep()
}

func (t *Table[V]) restore(key string, value []byte) error {
	if r := t.rows[key]; r != nil {
		t.drop(r)
	}
	if value == nil {
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
