package ensemble

import (
	"math"
	"slices"
	"time"
)

// riskRow is the risk of a host: sums of evidence that decay.
type riskRow struct {
	Fast    float64     `avro:"fast"`
	Slow    float64     `avro:"slow"`
	At      int64       `avro:"at"`
	Tactics []tacticRow `avro:"tactics"`
}

// tacticRow is when a tactic was last seen.
type tacticRow struct {
	Name string `avro:"name"`
	At   int64  `avro:"at"`
}

const (
	tacticBonus = 2  // for each distinct tactic but the first, within a day
	scale       = 10 // of the evidence that makes a risk of 63
	slowPart    = 3  // so much more evidence it takes over a day
)

// add lets the risk decay to the given time and adds evidence.
func (r *riskRow) add(cfg Config, now int64, evidence float64) {
	if gone := float64(now - r.At); gone > 0 {
		r.Fast *= math.Exp2(-gone / float64(cfg.HalfLife.Nanoseconds()))
		r.Slow *= math.Exp2(-gone / float64(cfg.SlowHalfLife.Nanoseconds()))
		r.At = now
	}
	r.Fast += evidence
	r.Slow += evidence
}

// tactics notes tactics and returns the bonus for those that are new within a day.
func (r *riskRow) tactics(now int64, names []string) (bonus float64) {
	recent := make([]tacticRow, 0, len(r.Tactics)+len(names))
	for _, t := range r.Tactics {
		if now-t.At < (24 * time.Hour).Nanoseconds() {
			recent = append(recent, t)
		}
	}
	for _, n := range names {
		if i := slices.IndexFunc(recent, func(t tacticRow) bool { return t.Name == n }); i >= 0 {
			recent[i].At = now
			continue
		}
		if len(recent) > 0 {
			bonus += tacticBonus
		}
		recent = append(recent, tacticRow{n, now})
	}
	r.Tactics = recent
	return bonus
}

// shown is the risk in [0,100], to one digit after the point.
func (r *riskRow) shown() float64 {
	return math.Round(1000*(1-math.Exp(-max(r.Fast, r.Slow/slowPart)/scale))) / 10
}

// severity of an alert from rarity, by the risk of its host. Rarity alone is never critical.
func severity(risk float64) int32 {
	switch {
	case risk >= 70:
		return 4
	case risk >= 30:
		return 3
	}
	return 2
}
