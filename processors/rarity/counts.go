package rarity

import (
	"math"

	"github.com/amoskys/amoskys/streams"
)

// counts are how often names were seen, per host and per tenant.
type counts struct {
	rows  *streams.Table[countRow]
	names *streams.Table[countRow] // distinct names of a host
	kinds *streams.Table[kindRow]
	limit int
}

// countRow is a count. Its key is the owner (host or tenant), the group, and the name; a total has no name.
type countRow struct {
	N int64 `avro:"n"`
}

// kindRow is how many things of a kind an executable touched (tokens), and how many different ones (types). Its key is the
// host, the kind and the executable.
type kindRow struct {
	Types  int64 `avro:"types"`
	Tokens int64 `avro:"tokens"`
}

func newCounts(b *streams.Builder, limit int) *counts {
	return &counts{rows: streams.NewTable[countRow](b, "count"), names: streams.NewTable[countRow](b, "name"), kinds: streams.NewTable[kindRow](b, "kind"), limit: limit}
}

func key(owner, group, name string) string { return owner + "\x00" + group + "\x00" + name }

func (c *counts) get(owner, group, name string) int64 {
	r, _ := c.rows.Get(key(owner, group, name))
	return r.N
}

// total is how often anything of a group was seen on a host.
func (c *counts) total(host, group string) int64 { return c.get(host, group, "") }

// surprise is how unusual a name in a group is on a host, in bits, and how often it was seen there: the less often it was
// seen, the more. What other hosts of the tenant have seen counts as up to one time. In a group that is a context (a parent)
// a name that was never seen says more the more often the context was: up to contextBits.
//
// It is no −log2 of a relative frequency on purpose: that grows with everything that is counted, so that today's scores
// would always be higher than those they are calibrated against.
func (c *counts) surprise(host, tenant, group, name string, context bool) (bits float64, n int64) {
	n = c.get(host, group, name)
	others := c.get("tenant|"+tenant, group, name) - n
	seen := float64(n) + 0.5 + float64(min(max(others, 0), 16))/16
	bits = countBits - math.Log2(seen)
	if context {
		bits += math.Log2(1 + float64(min(c.total(host, group), 1<<contextBits-1)))
	}
	return max(0, bits), n
}

const (
	countBits   = 24 // a name seen 16 million times is no surprise at all
	contextBits = 8
)

// add counts a name, unless it is a new one and the host has too many.
func (c *counts) add(host, tenant, group, name string) {
	for _, owner := range [...]string{host, "tenant|" + tenant} {
		k := key(owner, group, name)
		r, seen := c.rows.Get(k)
		if !seen {
			names, _ := c.names.Get(owner)
			if names.N >= int64(c.limit) {
				continue
			}
			names.N++
			c.names.Put(owner, names)
		}
		r.N++
		c.rows.Put(k, r)
		t := key(owner, group, "")
		total, _ := c.rows.Get(t)
		total.N++
		c.rows.Put(t, total)
	}
}

// touched counts that an executable touched something of a kind, and returns the counts before.
func (c *counts) touched(host, class string, first bool) (types, tokens int64) {
	k := host + "\x00" + class
	r, seen := c.kinds.Get(k)
	types, tokens = r.Types, r.Tokens
	if !seen {
		names, _ := c.names.Get(host)
		if names.N >= int64(c.limit) {
			return types, tokens
		}
		names.N++
		c.names.Put(host, names)
	}
	r.Tokens++
	if first {
		r.Types++
	}
	c.kinds.Put(k, r)
	return types, tokens
}
