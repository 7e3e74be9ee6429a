package streams

import (
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// PLACEHOLDER API sketch: replaced by the implementation files.

// A Builder collects the tables and windows of one processor in one task.
type Builder struct{}

// A Context is what a handler may do while it processes one record.
type Context struct{}

// Emit hands v over to topic t under the key of the record being processed. v must not be touched afterwards. For a
// schemas.Derived the engine fills what is empty in its provenance: tenant and host (from the key), time (of the
// trigger), causes, coverage; origin always.
func (c *Context) Emit(t *schemas.Topic, v schemas.Payload) error { panic("sketch") }

// Watermark is the processor's watermark of the key of the record being processed, nanoseconds.
func (c *Context) Watermark() int64 { panic("sketch") }

// A Table is a typed table of the task's state; what is put in a transaction that aborts is gone.
type Table[V any] struct{}

// NewTable declares a table. name is lower_snake_case, unique in the processor, never changed. V is a struct with avro
// tags (see schemas.StateSchema); a value that was put must not be modified through slices it shares: put a new one.
func NewTable[V any](b *Builder, name string) *Table[V] { panic("sketch") }

// Get returns the value of a key.
func (t *Table[V]) Get(key string) (V, bool) { panic("sketch") }

// Put sets the value of a key.
func (t *Table[V]) Put(key string, v V) { panic("sketch") }

// Delete removes a key.
func (t *Table[V]) Delete(key string) { panic("sketch") }

// All calls f for each row in key order until f returns false. It sorts: not for the hot path.
func (t *Table[V]) All(f func(key string, v V) bool) { panic("sketch") }

// Len is the number of rows.
func (t *Table[V]) Len() int { panic("sketch") }

// A Window is a tumbling window of event time per key.
type Window[V any] struct{}

// Span is the time of a window, nanoseconds: [Start, End).
type Span struct{ Start, End int64 }

// WindowSpec declares a tumbling window.
type WindowSpec[V any] struct {
	Name     string        // lower_snake_case, unique in the processor
	Size     time.Duration // length
	Lateness time.Duration // how long after its end a window may still be amended; default 1 h
	// Close is called when the watermark of the window's record key passes its end (revision 0), and again after
	// late data changed it (revision 1, …; at the latest when its lateness has passed). It may Emit and use tables.
	Close func(c *Context, key string, span Span, v V, revision int32) error
}

// NewWindow declares a window.
func NewWindow[V any](b *Builder, w WindowSpec[V]) *Window[V] { panic("sketch") }

// Update applies f to the value of (key, window of the record's event time). Data after the lateness is written to the
// late topic, counted, and reported by false.
func (w *Window[V]) Update(c *Context, key string, f func(*V)) bool { panic("sketch") }
