package rarity

import (
	"math/bits"

	"github.com/amoskys/amoskys/streams"
)

// counts are how often names were seen in contexts, such as executables under a parent. Its owners are hosts and tenants.
type counts struct {
	contexts *streams.Table[contextRow]
	names    *streams.Table[nameRow]
	room     *room
}

// contextRow is a context: what was counted in it, aged. Its key is that of the owner and the context.
type contextRow struct {
	Total int64 `avro:"total"`
	New   int64 `avro:"new"` // of these, how many were new
	Epoch int64 `avro:"epoch"`
	Seen  int64 `avro:"seen"` // event time it was last counted in
}

// nameRow is a name in a context. Its key is that of the context and the name.
type nameRow struct {
	Count int64 `avro:"count"` // as of Epoch
	Epoch int64 `avro:"epoch"` // of its context
	Seen  int64 `avro:"seen"`
}

func newCounts(b *streams.Builder, r *room) *counts {
	c := &counts{contexts: streams.NewTable[contextRow](b, "context"), names: streams.NewTable[nameRow](b, "name"), room: r}
	r.kinds['c'] = lodger{func(key string) int64 { x, _ := c.contexts.Get(key); return x.Seen }, c.contexts.Delete}
	r.kinds['n'] = lodger{func(key string) int64 { x, _ := c.names.Get(key); return x.Seen }, c.names.Delete}
	return c
}

// context is a context that was looked up.
type context struct {
	owner string
	place streams.Row[contextRow]
	row   contextRow
	known bool
}

// name is a name that was looked up in a context.
type name struct {
	place streams.Row[nameRow]
	row   nameRow // aged to the context's epoch
	known bool
}

// contextKey is the key of a context of an owner.
func contextKey(owner, kind, of string) string { return owner + "\x00" + kind + "|" + of }

func (c *counts) context(owner, key string) context {
	x := context{owner: owner, place: c.contexts.Row(key)}
	x.row, x.known = x.place.Get()
	return x
}

func (c *counts) name(x *context, of string) name {
	n := name{place: c.names.Row(x.place.Key() + "\x00" + of)}
	n.row, n.known = n.place.Get()
	switch age := x.row.Epoch - n.row.Epoch; {
	case age < 0 || age > 62: // the context was forgotten in between
		n.row.Count = 0
	default:
		n.row.Count >>= uint(age)
	}
	n.row.Count = min(n.row.Count, x.row.Total)
	return n
}

// share is the relative frequency of a name. One that was known once and has aged away counts a half.
func (n *name) share(x *context, total int64) float64 {
	switch {
	case n.row.Count > 0:
		return float64(n.row.Count) / float64(total)
	case n.known && x.row.Total > 0:
		return 0.5 / float64(total)
	}
	return 0
}

// novelty is the chance that something in the context is new, rounded up to a power of two (Witten and Bell 1991, method
// C, with one new thing expected). It is 1 where nothing was counted.
func (x *context) novelty() float64 {
	k := bits.Len64(uint64((x.row.Total+x.row.New+1)/(x.row.New+1))) - 1
	return 1 / float64(int64(1)<<k)
}

// count counts that something was seen in the context, which is halved when its total has come to the bound.
func (c *counts) count(x *context, fresh bool, bound, at int64) {
	if !x.known {
		c.room.take(x.owner, 'c', x.place.Key())
	}
	x.row.Total++
	if fresh {
		x.row.New++
	}
	if x.row.Total >= bound {
		x.row.Total, x.row.New, x.row.Epoch = x.row.Total/2, (x.row.New+1)/2, x.row.Epoch+1
	}
	x.row.Seen = at
	x.place.Put(x.row)
}

// add counts a name that was looked up, in its context. Between looking up and adding nothing else may be added, since that
// could take its place away.
func (c *counts) add(x *context, n *name, bound, at int64) {
	epoch := x.row.Epoch
	c.count(x, n.row.Count == 0, bound, at)
	if !x.known {
		n.known = n.place.Has() // the context may have taken its place
	}
	if !n.known {
		c.room.take(x.owner, 'n', n.place.Key())
	}
	n.place.Put(nameRow{n.row.Count + 1, epoch, at})
}
