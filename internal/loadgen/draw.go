package loadgen

import (
	"math"
	"math/bits"
	"math/rand/v2"
)

// random is the one source of chance of a generator. All draws are by integers, so that a seed gives the same events on
// every machine.
type random struct{ *rand.PCG }

func newRandom(seed, stream uint64) random { return random{rand.NewPCG(seed, stream)} }

// below is a number from 0 to n-1.
func (r random) below(n int) int {
	hi, _ := bits.Mul64(r.Uint64(), uint64(n))
	return int(hi)
}

// chance is true in permille of 1000 cases.
func (r random) chance(permille int) bool { return r.below(1000) < permille }

// ranks draws ranks from a discrete distribution in constant time (alias method: M. D. Vose, A linear algorithm for
// generating random numbers with a given distribution, IEEE TSE 17, 1991).
type ranks struct {
	keep  []uint32 // of 2^32: how often the rank that was hit is kept
	alias []int32
}

// newRanks prepares weights, of which not all may be 0.
func newRanks(weights []float64) ranks {
	n := len(weights)
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	d := ranks{make([]uint32, n), make([]int32, n)}
	scaled := make([]float64, n)
	var small, large []int32
	for i, w := range weights {
		if scaled[i] = w * float64(n) / sum; scaled[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		d.keep[s], d.alias[s] = uint32(scaled[s]*math.MaxUint32), l
		if scaled[l] -= 1 - scaled[s]; scaled[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		d.keep[i], d.alias[i] = math.MaxUint32, i
	}
	return d
}

// zipf are ranks of which the k-th, from 1, is as frequent as k to the power of -exponent.
func zipf(n int, exponent float64) ranks {
	w := make([]float64, n)
	for i := range w {
		w[i] = math.Pow(float64(i+1), -exponent)
	}
	return newRanks(w)
}

func (d ranks) draw(r random) int {
	hi, lo := bits.Mul64(r.Uint64(), uint64(len(d.keep)))
	if uint32(lo>>32) < d.keep[hi] {
		return int(hi)
	}
	return int(d.alias[hi])
}

// quantiles is a measured distribution: values at the shares of shares. Between them it is taken to be even.
type quantiles [len(shares)]int

// shares, in permille, at which distributions were measured.
var shares = [...]int{0, 50, 250, 500, 750, 950, 990, 1000}

func (q *quantiles) draw(r random) int {
	u := r.below(1000)
	i := 1
	for u >= shares[i] {
		i++
	}
	from, to := shares[i-1], shares[i]
	return q[i-1] + (q[i]-q[i-1])*(u-from)/(to-from)
}
