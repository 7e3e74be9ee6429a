package rarity

import (
	"errors"
	"math"

	"github.com/amoskys/amoskys/schemas"
)

// rateRow is what is usual of a host's minutes, feature by feature in the order of its vectors: mean and mean absolute
// deviation of log2(1+value), exponentially smoothed. Its key is that of the host.
type rateRow struct {
	Minutes int64     `avro:"minutes"`
	Means   []float64 `avro:"means"`
	Devs    []float64 `avro:"devs"`
}

const (
	memory   = 256  // minutes that are averaged over
	settling = 10   // minutes before anything counts as far from the mean
	floor    = 0.25 // least deviation: a quarter of a doubling is never unusual
	clip     = 3.0  // deviations a minute may move the mean by: one outlier must not become the rule
)

// minute judges a host's minute by the feature that is furthest above what is usual. Smoothing bounded by the deviation is
// after Gelper, Fried and Croux, Robust forecasting with exponential and Holt-Winters smoothing (2010); times of day and
// days of the week are not modelled.
func (x *subject) minute(v *schemas.FeatureVector) error {
	if v.EntityType != "host" || v.Revision > 0 { // an amended minute was judged and learnt already
		return nil
	}
	row, _ := x.h.rates.Get(x.r.Key)
	if len(row.Means) != len(v.Features) {
		row = rateRow{}
	}
	next := rateRow{row.Minutes + 1, make([]float64, len(v.Features)), make([]float64, len(v.Features))}
	share := 1 / float64(min(next.Minutes, memory))
	score, which := 0.0, -1
	for i, f := range v.Features {
		now := math.Log2(1 + max(0, f.Value))
		var mean, dev float64
		if row.Minutes > 0 {
			mean, dev = row.Means[i], row.Devs[i]
		} else {
			mean = now
		}
		off := now - mean
		if z := off / (dev + floor); row.Minutes >= settling && z > score {
			score, which = z, i
		}
		if bound := clip * (dev + floor); row.Minutes >= settling {
			off = min(max(off, -bound), bound)
		}
		next.Means[i] = mean + float64(share*off)
		next.Devs[i] = dev + float64(share*(math.Abs(off)-dev))
	}
	x.h.rates.Put(x.r.Key, next)
	f := finding{detector: minutes, class: x.keys.rate, score: math.Round(score*scaleOf) / scaleOf, start: v.WindowStart}
	if which >= 0 {
		f.rate = schemas.Feature{Name: v.Features[which].Name, Value: v.Features[which].Value, Baseline: rounded(math.Exp2(row.Means[which]) - 1)}
	}
	return errors.Join(x.judge(&f), x.tell(v.Provenance.Time))
}

// rounded is a number without the digits in which machines may differ.
func rounded(x float64) float64 { return math.Round(x*1e4) / 1e4 }
