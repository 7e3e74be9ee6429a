// Package conformal turns scores into p-values against what was normal lately: p = (1 + #{calibration ≥ score}) / (n + 1)
// over the last n scores of a class (Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005; Bates et al.,
// Testing for Outliers with Conformal p-values, 2023). Every score goes into the calibration, flagged or not: a set that
// leaves out what was flagged makes the rate of false alarms run away.
//
// Scores are kept in bins of 1/64 up to 64; a score is compared with its whole bin, so a p-value is never too small
// because of it. Below 1/(n+1) nothing is extrapolated: ranking beyond that is the fused score's business.
package conformal

import (
	"math"
	"strconv"

	"github.com/amoskys/amoskys/streams"
)

const (
	bins      = 64*64 + 1 // the last one holds everything from 64 up
	perUnit   = 64
	blockSize = 64
)

// A Calibrator keeps the last n scores of each class in tables of a task, in blocks, so that a transaction writes only the
// blocks that it touched.
type Calibrator struct {
	n      int
	heads  *streams.Table[head]
	blocks *streams.Table[block]
	memory map[string]*ranks
}

// head is how many scores a class has had.
type head struct {
	Added int64 `avro:"added"`
}

// block is a part of a class's ring of scores, as bins.
type block struct {
	Bins []int32 `avro:"bins"`
}

// ranks answers how many of the kept scores are at least as high: a Fenwick tree over the bins (Fenwick 1994). It is a
// cache of the tables; added tells whether it still is of the same moment.
type ranks struct {
	added int64
	size  int64
	tree  [bins + 1]int32
}

// New declares the tables of a calibrator. n is rounded up to whole blocks.
func New(b *streams.Builder, name string, n int) *Calibrator {
	c := &Calibrator{n: (n + blockSize - 1) / blockSize * blockSize, heads: streams.NewTable[head](b, name+"_head"),
		blocks: streams.NewTable[block](b, name+"_block"), memory: map[string]*ranks{}}
	b.OnRestore(func() { clear(c.memory) })
	return c
}

func bin(score float64) int {
	switch {
	case !(score > 0): // NaN too
		return 0
	case score >= bins/perUnit:
		return bins - 1
	}
	return int(score * perUnit)
}

// P is the p-value of a score, in (0, 1], and the number of scores behind it.
func (c *Calibrator) P(class string, score float64) (p float64, n int64) {
	above, n := c.Above(class, score)
	return float64(1+above) / float64(n+1), n
}

// Above is how many of the kept scores of a class are at least as high, and how many are kept.
func (c *Calibrator) Above(class string, score float64) (above, n int64) {
	r := c.ranks(class)
	return r.size - int64(r.below(bin(score))), r.size
}

// Added is how many scores the class has had in all.
func (c *Calibrator) Added(class string) int64 {
	h, _ := c.heads.Get(class)
	return h.Added
}

// Add takes a score into the calibration; the oldest one beyond n leaves.
func (c *Calibrator) Add(class string, score float64) {
	r := c.ranks(class)
	h, _ := c.heads.Get(class)
	at := int(h.Added % int64(c.n))
	key := blockKey(class, at/blockSize)
	old, _ := c.blocks.Get(key)
	next := block{make([]int32, max(len(old.Bins), at%blockSize+1))} // a new one: rows are not modified in place
	copy(next.Bins, old.Bins)
	if h.Added >= int64(c.n) {
		r.add(int(old.Bins[at%blockSize]), -1)
		r.size--
	}
	x := bin(score)
	next.Bins[at%blockSize] = int32(x)
	r.add(x, 1)
	r.size++
	h.Added++
	r.added = h.Added
	c.heads.Put(class, h)
	c.blocks.Put(key, next)
}

func blockKey(class string, i int) string { return class + "#" + strconv.Itoa(i) }

// ranks returns the class's cache, made anew if the tables have moved without it: a record was refused and undone.
func (c *Calibrator) ranks(class string) *ranks {
	h, _ := c.heads.Get(class)
	r := c.memory[class]
	if r != nil && r.added == h.Added {
		return r
	}
	r = &ranks{added: h.Added, size: min(h.Added, int64(c.n))}
	for i := 0; i*blockSize < int(r.size); i++ {
		b, _ := c.blocks.Get(blockKey(class, i))
		for _, x := range b.Bins {
			r.add(int(x), 1)
		}
	}
	c.memory[class] = r
	return r
}

func (r *ranks) add(bin int, n int32) {
	for i := bin + 1; i <= bins; i += i & -i {
		r.tree[i] += n
	}
}

// below is the number of scores in bins before the given one.
func (r *ranks) below(bin int) (n int32) {
	for i := bin; i > 0; i -= i & -i {
		n += r.tree[i]
	}
	return n
}

// HarmonicMean fuses p-values of dependent tests: k / Σ 1/p (Wilson, PNAS 2019). The result is anti-conservative as a
// p-value (arXiv 2405.01368), so it is a score to be calibrated again. Members that said nothing count as p = 1.
func HarmonicMean(ps []float64, k int) float64 {
	sum := float64(k - len(ps))
	for _, p := range ps {
		sum += 1 / p
	}
	return math.Min(1, float64(k)/sum)
}
