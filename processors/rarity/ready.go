package rarity

import (
	"slices"

	"github.com/amoskys/amoskys/schemas"
)

// detectors are the names of the detectors and what each judges, in the order of Readiness and of hostRow.From.
var detectors = [...]struct{ name, unit string }{
	{executable, "program starts"}, {descent, "program starts under a known parent"}, {object, "objects new to a program"}, {minutes, "minutes"},
}

// hostRow is a host. Its key is that of the host.
type hostRow struct {
	First int64   `avro:"first"` // event time of its first record
	From  []int64 `avro:"from"`  // unit from which on each detector emits, in the order of detectors; 0 while it warms up
}

// emitsFrom is the unit from which on a detector emits what is unusual, now that it judges so many units; 0 while it warms
// up. What was over once stays over: a record that comes out of order is judged like those around it.
func (x *subject) emitsFrom(detector string, units int64) int64 {
	i := 0
	for detectors[i].name != detector {
		i++
	}
	if x.host.From[i] == 0 && units > int64(x.h.cfg.MinUnits) && x.at-x.host.First >= x.h.cfg.Warmup.Nanoseconds() {
		x.host.From = slices.Clone(x.host.From)
		x.host.From[i] = units
		x.h.hosts.Put(x.r.Key, x.host)
	}
	return x.host.From[i]
}

// tell emits how far the warm-up of the host is. It is told for ever: who begins to read needs not know since when.
func (x *subject) tell(at int64) error {
	r := &schemas.Readiness{
		Provenance: schemas.Provenance{Time: at}, WatchedSince: x.host.First, ReadyFrom: x.host.First + x.h.cfg.Warmup.Nanoseconds(),
		Detectors: make([]schemas.DetectorReadiness, len(detectors)),
	}
	for i, class := range [...]string{x.keys.executable, x.keys.lineage, x.keys.template, x.keys.rate} {
		r.Detectors[i] = schemas.DetectorReadiness{
			Detector: detectors[i].name, Unit: detectors[i].unit, Units: x.h.cal.Units(class), UnitsNeeded: int64(x.h.cfg.MinUnits) + 1, EmitsFrom: x.host.From[i],
		}
	}
	return x.c.Emit(schemas.ScoresTopic, r)
}
