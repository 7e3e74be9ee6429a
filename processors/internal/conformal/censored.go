package conformal

import (
	"encoding/binary"

	"github.com/amoskys/amoskys/streams"
)

// Censored calibrates scores of which only the unusual ones are seen. Units are numbered from 1 by whoever saw all.
type Censored struct{ ring }

// NewCensored declares the tables of a calibration of n scores for each class.
func NewCensored(b *streams.Builder, name string, n int) *Censored {
	return &Censored{newRing(b, name, n)}
}

// Begin says that from this unit on all unusual scores are seen. Without it, that is so from the first one that is.
func (c *Censored) Begin(class string, unit int64) {
	t, _ := c.tails.Get(class)
	t.Start = max(t.Start, unit-1)
	t.Begun = true
	c.tails.Put(class, t)
}

// Least is the least p-value there can be once the calibration is full, and cannot stand for more units; 0 before.
func (c *Censored) Least(class string, unit int64) float64 {
	t, _ := c.tails.Get(class)
	if t.First == 0 {
		return 0
	}
	return 1 / float64(max(t.Added-t.First, max(unit, t.Last)-t.Start-1)+1)
}

// P is the p-value of a score in (0,1] after so many units, and the number of units behind it. own is the number that Add
// gave the unit's earlier score, which is not compared with; 0 for none.
func (c *Censored) P(class string, unit, own int64, score float64) (p float64, n int64) {
	t, ok := c.tails.Get(class)
	if !ok {
		return 1, 0
	}
	x := bin(score)
	above := c.sorted(class, &t).atLeast(x)
	kept := t.Added - t.First
	if c.kept(&t, own) {
		bins, _, i := c.at(class, &t, own-1)
		if binary.BigEndian.Uint16(bins[2*i:]) >= x {
			above--
		}
		kept--
	}
	n = max(kept, max(unit, t.Last)-t.Start-1) // the unit itself is not behind it
	return float64(1+above) / float64(1+n), n
}

// Add takes the score of the unit-th unit into the calibration and returns a number for Raise.
func (c *Censored) Add(class string, unit int64, score float64) (own int64) {
	t, _ := c.tails.Get(class)
	if t.Added == 0 && !t.Begun {
		t.Start = unit - 1
	}
	t.Last = max(t.Last, unit)
	c.add(class, &t, bin(score))
	t.Units = binary.BigEndian.AppendUint64(t.Units, uint64(t.Last))
	for t.Added-t.First > int64(c.n) {
		_, units, i := c.at(class, &t, t.First)
		t.Start = int64(binary.BigEndian.Uint64(units[8*i:]))
		c.drop(class, &t)
	}
	c.tails.Put(class, t)
	return t.Added
}

// Raise replaces the score that a unit was added with, once more is known of it. A unit that has left the calibration
// stays out.
func (c *Censored) Raise(class string, own int64, score float64) {
	t, _ := c.tails.Get(class)
	if c.kept(&t, own) {
		c.replace(class, &t, own-1, bin(score))
		c.tails.Put(class, t)
	}
}

func (c *Censored) kept(t *tailRow, own int64) bool { return own > t.First && own <= t.Added }
