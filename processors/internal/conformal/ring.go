package conformal

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/amoskys/amoskys/streams"
)

const (
	perUnit = 64           // bins per 1 of score
	topBin  = 64 * perUnit // everything from 64 up
	perRow  = 64           // scores in a row
)

// ring keeps the last scores of each class.
type ring struct {
	n     int // most scores kept
	tails *streams.Table[tailRow]
	rows  *streams.Table[blockRow]
	cache map[string]*sorted
	buf   []byte
}

// tailRow is a class: where its ring begins and ends, and the newest scores, those that do not fill a row yet.
type tailRow struct {
	First   int64  `avro:"first"`   // number of the oldest score that is kept
	Added   int64  `avro:"added"`   // number of the next one
	Changes int64  `avro:"changes"` // tells whether the cache is of the same moment
	Start   int64  `avro:"start"`   // Censored: units scored before the ring's first
	Last    int64  `avro:"last"`    // Censored: units scored up to the newest
	Begun   bool   `avro:"begun"`   // Censored: Start was told
	Bins    []byte `avro:"bins"`    // two bytes each
	Units   []byte `avro:"units"`   // Censored: eight bytes each
}

// blockRow is perRow older scores. Its key is that of the class and a place that is used again.
type blockRow struct {
	Bins  []byte `avro:"bins"`
	Units []byte `avro:"units"`
}

// sorted are the bins of the scores that are kept, in order: half the memory of a tree, and at this size as fast.
type sorted struct {
	changes int64
	bins    []uint16
}

func newRing(b *streams.Builder, name string, n int) ring {
	r := ring{n: n, tails: streams.NewTable[tailRow](b, name+"_tail"), rows: streams.NewTable[blockRow](b, name+"_block"), cache: map[string]*sorted{}}
	b.OnRestore(func() { clear(r.cache) })
	return r
}

func bin(score float64) uint16 {
	switch {
	case !(score > 0): // NaN too
		return 0
	case score >= topBin/perUnit:
		return topBin
	}
	return uint16(score * perUnit)
}

// add appends a score. The caller drops what is too old, and puts the row.
func (r *ring) add(class string, t *tailRow, x uint16) {
	s := r.sorted(class, t)
	if len(t.Bins) == 2*perRow {
		r.rows.Put(string(r.blockKey(class, t.Added-1)), blockRow{t.Bins, t.Units})
		t.Bins, t.Units = nil, nil
	}
	t.Bins = binary.BigEndian.AppendUint16(t.Bins, x)
	t.Added++
	s.insert(x)
	t.Changes++
	s.changes = t.Changes
}

// drop forgets the oldest score.
func (r *ring) drop(class string, t *tailRow) {
	s := r.sorted(class, t)
	bins, _, i := r.at(class, t, t.First)
	s.remove(binary.BigEndian.Uint16(bins[2*i:]))
	t.First++
	t.Changes++
	s.changes = t.Changes
}

// replace sets a score that is kept.
func (r *ring) replace(class string, t *tailRow, seq int64, x uint16) {
	s := r.sorted(class, t)
	bins, units, i := r.at(class, t, seq)
	s.remove(binary.BigEndian.Uint16(bins[2*i:]))
	s.insert(x)
	bins = slices.Clone(bins) // rows are not modified in place
	binary.BigEndian.PutUint16(bins[2*i:], x)
	if seq >= t.Added-int64(len(t.Bins)/2) {
		t.Bins = bins
	} else {
		r.rows.Put(string(r.blockKey(class, seq)), blockRow{bins, units})
	}
	t.Changes++
	s.changes = t.Changes
}

// at finds a score: the row it lies in and its place there.
func (r *ring) at(class string, t *tailRow, seq int64) (bins, units []byte, i int64) {
	if inTail := t.Added - int64(len(t.Bins)/2); seq >= inTail {
		return t.Bins, t.Units, seq - inTail
	}
	row, _ := r.rows.Get(string(r.blockKey(class, seq)))
	return row.Bins, row.Units, seq % perRow
}

// blockKey is the key of the row that score number seq lies in. Two more places than scores need are in use.
func (r *ring) blockKey(class string, seq int64) []byte {
	r.buf = append(append(r.buf[:0], class...), '#')
	r.buf = strconv.AppendInt(r.buf, seq/perRow%int64(r.n/perRow+2), 10)
	return r.buf
}

// sorted returns the cache of a class, made anew if the rows have moved without it.
func (r *ring) sorted(class string, t *tailRow) *sorted {
	s := r.cache[class]
	if s != nil && s.changes == t.Changes {
		return s
	}
	s = &sorted{changes: t.Changes, bins: make([]uint16, 0, t.Added-t.First)}
	for seq := t.First; seq < t.Added; {
		bins, _, i := r.at(class, t, seq)
		for ; int(2*i) < len(bins) && seq < t.Added; i++ {
			s.bins = append(s.bins, binary.BigEndian.Uint16(bins[2*i:]))
			seq++
		}
	}
	slices.Sort(s.bins)
	r.cache[class] = s
	return s
}

func (s *sorted) insert(x uint16) {
	i, _ := slices.BinarySearch(s.bins, x)
	s.bins = slices.Insert(s.bins, i, x)
}

func (s *sorted) remove(x uint16) {
	i, _ := slices.BinarySearch(s.bins, x)
	s.bins = slices.Delete(s.bins, i, i+1)
}

// atLeast is how many scores are x or more.
func (s *sorted) atLeast(x uint16) int64 {
	i, _ := slices.BinarySearch(s.bins, x)
	return int64(len(s.bins) - i)
}
