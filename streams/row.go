package streams

import "strings"

// A Row is the place of one key in a table. It is the key, looked up once: what it does is what the table's methods do for
// that key, whatever became of the row in between by commits, roll-backs, refused records and deletes. So it may be kept for
// as long as the handler. It gives values, no pointers into the table: a change is made by Put, and so can be undone. The
// zero value is of no use; see Table.Row.
type Row[V any] struct {
	t *Table[V]
	r *row[V]
}

// Row returns the place of a key, which need not have a value.
func (t *Table[V]) Row(key string) Row[V] {
	if r := t.rows[key]; r != nil {
		return Row[V]{t, r}
	}
	return Row[V]{t, &row[V]{key: strings.Clone(key), gone: true}}
}

// at finds the row anew if it has left the table. It returns nil if the table has none of its key.
func (h *Row[V]) at() *row[V] {
	if h.r.gone {
		r := h.t.rows[h.r.key]
		if r == nil {
			return nil
		}
		h.r = r
	}
	return h.r
}

// Key is the key.
func (h *Row[V]) Key() string { return h.r.key }

// Get returns the value.
func (h *Row[V]) Get() (v V, ok bool) {
	if r := h.at(); r != nil && r.has {
		return r.v, true
	}
	return v, false
}

// Has says whether there is a value.
func (h *Row[V]) Has() bool {
	r := h.at()
	return r != nil && r.has
}

// Put sets the value.
func (h *Row[V]) Put(v V) {
	r := h.at()
	if r == nil {
		r = h.t.insert(h.r.key)
		h.r = r
	}
	h.t.mark(r)
	r.v, r.has = v, true
}

// Delete removes the value.
func (h *Row[V]) Delete() {
	if h.Has() {
		h.t.remove(h.r)
	}
}
