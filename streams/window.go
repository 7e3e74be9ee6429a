package streams

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Span is the time of a window, nanoseconds: [Start, End).
type Span struct{ Start, End int64 }

// WindowSpec declares a tumbling window of event time: windows of one size that follow each other without overlap,
// aligned to the Unix epoch.
type WindowSpec[V any] struct {
	Name     string        // lower_snake_case, unique in the processor, never changed
	Size     time.Duration // length
	Lateness time.Duration // how long after its end a window may still be amended; 0 means 1 h
	// Close is called when the watermark of the window's record key passes its end (revision 0). After late data changed
	// it, it is called again (revision 1, …) at the next tick, or when its lateness has passed. It may emit and use
	// tables; c has the window's record key and the window's end as time.
	Close func(c *Context, key string, span Span, v V, revision int32) error
}

// A Window keeps the values of a tumbling window per key.
type Window[V any] struct {
	spec WindowSpec[V]
	h    *handler
	tab  *Table[windowRow[V]]
	by   map[string]*keyWindows[V] // by record key
	buf  []byte
}

type windowRow[V any] struct {
	Key       string `avro:"key"`        // of the window
	RecordKey string `avro:"record_key"` // whose watermark closes it
	Start     int64  `avro:"start"`
	Revision  int32  `avro:"revision"` // of the next close
	Dirty     bool   `avro:"dirty"`    // changed since the last close
	Value     V      `avro:"value"`
}

// keyWindows are the windows of one record key: an index over the table.
type keyWindows[V any] struct {
	next int64 // earliest watermark at which something is due
	rows map[*row[windowRow[V]]]struct{}
}

// closer is what the task knows of a window: it is asked after each record and at each tick.
type closer interface {
	due(c *Context, key string, tick bool)
	keys(tick bool, watermark func(string) int64) []string
}

// NewWindow declares a window.
func NewWindow[V any](b *Builder, spec WindowSpec[V]) *Window[V] {
	if spec.Lateness == 0 {
		spec.Lateness = time.Hour
	}
	b.TrackTime()
	w := &Window[V]{spec: spec, h: b.self, tab: NewTable[windowRow[V]](b, spec.Name), by: map[string]*keyWindows[V]{}}
	b.self.windows = append(b.self.windows, w)
	b.OnRestore(w.reindex)
	return w
}

// Update applies f to the value of (key, the window that at falls into); at is event time, nanoseconds. f must not modify
// what slices in the value hold; it may append. For data after the lateness it does nothing and returns false; the record
// is written to the late topic and counted.
func (w *Window[V]) Update(c *Context, key string, at int64, f func(*V)) bool {
	size := w.spec.Size.Nanoseconds()
	start := at - ((at%size)+size)%size
	wm := c.Watermark()
	if end := start + size; end+w.spec.Lateness.Nanoseconds() <= wm {
		c.late(time.Duration(wm - end))
		return false
	}
	w.buf = append(append(w.buf[:0], key...), '@')
	w.buf = strconv.AppendInt(w.buf, start, 10)
	r := w.tab.rows[string(w.buf)]
	if r == nil || !r.has {
		r = w.tab.touch(string(w.buf))
		r.v, r.has = windowRow[V]{Key: key, RecordKey: c.key, Start: start}, true
	} else {
		w.tab.mark(r)
	}
	r.v.Dirty = true
	f(&r.v.Value)
	w.index(r)
	return true
}

// Get returns the value of a key in the window that at falls into.
func (w *Window[V]) Get(key string, at int64) (v V, ok bool) {
	size := w.spec.Size.Nanoseconds()
	w.buf = append(append(w.buf[:0], key...), '@')
	w.buf = strconv.AppendInt(w.buf, at-((at%size)+size)%size, 10)
	if r := w.tab.rows[string(w.buf)]; r != nil && r.has {
		return r.v.Value, true
	}
	return v, false
}

// at says at which watermark something is to be done with a row: closed, or removed.
func (w *Window[V]) at(v *windowRow[V]) int64 {
	end := v.Start + w.spec.Size.Nanoseconds()
	if v.Revision == 0 {
		return end
	}
	return end + w.spec.Lateness.Nanoseconds()
}

func (w *Window[V]) index(r *row[windowRow[V]]) {
	k := w.by[r.v.RecordKey]
	if k == nil {
		k = &keyWindows[V]{next: w.at(&r.v), rows: map[*row[windowRow[V]]]struct{}{}}
		w.by[r.v.RecordKey] = k
	}
	k.rows[r] = struct{}{}
	k.next = min(k.next, w.at(&r.v))
}

func (w *Window[V]) reindex() {
	clear(w.by)
	for _, r := range w.tab.rows {
		if r.has {
			w.index(r)
		}
	}
}

// keys lists the record keys for which something may be due, sorted.
func (w *Window[V]) keys(tick bool, watermark func(string) int64) (out []string) {
	for key, k := range w.by {
		if k.next <= watermark(key) || tick && k.amended() {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

func (k *keyWindows[V]) amended() bool {
	for r := range k.rows {
		if r.v.Dirty && r.v.Revision > 0 {
			return true
		}
	}
	return false
}

// due closes the windows of a record key that its watermark has passed, in the order of their end and key, closes amended
// ones again, and removes those whose lateness has passed.
func (w *Window[V]) due(c *Context, key string, tick bool) {
	k := w.by[key]
	wm := c.Watermark()
	if k == nil || k.next > wm && !(tick && k.amended()) {
		return
	}
	var rows []*row[windowRow[V]]
	k.next = math.MaxInt64 // of what stays; a close may add to it
	for r := range k.rows {
		if !r.has { // its record was refused
			delete(k.rows, r)
			continue
		}
		if w.at(&r.v) <= wm || tick && r.v.Dirty && r.v.Revision > 0 {
			rows = append(rows, r)
		} else {
			k.next = min(k.next, w.at(&r.v))
		}
	}
	slices.SortFunc(rows, func(a, b *row[windowRow[V]]) int {
		return cmp.Or(cmp.Compare(a.v.Start, b.v.Start), cmp.Compare(a.key, b.key))
	})
	for _, r := range rows {
		w.close(c, r, wm)
		if r.has {
			k.next = min(k.next, w.at(&r.v))
		} else {
			delete(k.rows, r)
		}
	}
	if len(k.rows) == 0 {
		delete(w.by, key)
	}
}

// close closes one window. That it is closed holds even if Close fails: else every record would try again.
func (w *Window[V]) close(c *Context, r *row[windowRow[V]], wm int64) {
	span := Span{r.v.Start, r.v.Start + w.spec.Size.Nanoseconds()}
	w.tab.mark(r)
	gone := span.End+w.spec.Lateness.Nanoseconds() <= wm
	v := r.v
	r.v.Dirty, r.v.Revision = false, v.Revision+1
	if gone {
		var zero windowRow[V]
		r.v, r.has = zero, false
	}
	c.t.keep()
	if !v.Dirty {
		return
	}
	c.at = span.End
	// The record whose time has closed the window, if it was one, is processed already: it is not to blame.
	c.t.guard(c, nil, func() error {
		if err := safely(func() error { return w.spec.Close(c, v.Key, span, v.Value, v.Revision) }); err != nil {
			return fmt.Errorf("close window %s of %s that ends %s: %w", w.spec.Name, v.Key, time.Unix(0, span.End).UTC().Format(time.RFC3339), err)
		}
		return nil
	})
}
