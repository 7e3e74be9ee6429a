package streams

// A Row is the place of one key in a table. It is the key, looked up once: what it does is what the table's methods do for
// that key, whatever became of the row in between by commits, roll-backs, refused records and deletes. So it may be kept for
// as long as the handler. It gives values, no pointers into the table: a change is made by Put, and so can be undone. The
// zero value is of no use; see Table.Row.
type Row[V any] struct {
	t   *Table[V]
	key string
	r   *row[V] // nil if it was not looked up since the table has one of the key
}

// Row returns the place of a key, which need not have a value. The key is kept: it must not be a piece of a large text.
func (t *Table[V]) Row(key string) Row[V] { return Row[V]{t, key, t.rows[key]} }

// at finds the row, anew if it has left the table. It returns nil if the table has none of its key.
func (h *Row[V]) at() *row[V] {
	if h.r == nil || h.r.gone {
		h.r = h.t.rows[h.key]
	}
	return h.r
}

// Key is the key.
func (h *Row[V]) Key() string { return h.key }

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
		r = h.t.insert(h.key)
		h.r = r
	}
	h.t.mark(r)
	r.v, r.has = v, true
}

// Delete removes the value.
func (h *Row[V]) Delete() {
	if r := h.at(); r != nil && r.has {
		h.t.remove(r)
	}
}
