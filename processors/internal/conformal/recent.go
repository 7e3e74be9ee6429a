package conformal

import "github.com/amoskys/amoskys/streams"

// Recent calibrates a detector that sees every score.
type Recent struct{ ring }

// NewRecent declares the tables of a calibration of n scores for each class.
func NewRecent(b *streams.Builder, name string, n int) *Recent { return &Recent{newRing(b, name, n)} }

// Judge is the p-value of a score in (0,1], the number of scores behind it, and the number of scores that its class has
// had, this one included. The score is then added to the calibration.
func (c *Recent) Judge(class string, score float64) (p float64, n, units int64) {
	t, _ := c.tails.Get(class)
	x := bin(score)
	n = t.Added - t.First
	p = float64(1+c.sorted(class, &t).atLeast(x)) / float64(1+n)
	c.add(class, &t, x)
	for t.Added-t.First > int64(c.n) || t.First < t.Added/2 {
		c.drop(class, &t)
	}
	c.tails.Put(class, t)
	return p, n, t.Added
}

// Units is the number of scores that a class has had.
func (c *Recent) Units(class string) int64 {
	t, _ := c.tails.Get(class)
	return t.Added
}

// Usual is the median of the scores that a class is calibrated by, to the precision they are kept with; 0 for none.
func (c *Recent) Usual(class string) float64 {
	t, _ := c.tails.Get(class)
	s := c.sorted(class, &t)
	if len(s.bins) == 0 {
		return 0
	}
	return float64(s.bins[len(s.bins)/2]) / perUnit
}
