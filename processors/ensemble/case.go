package ensemble

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/amoskys/amoskys/processors/internal/conformal"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// caseRow is what was said of a process within a session. Its key is that of the host and the process.
type caseRow struct {
	Members []memberRow `avro:"members"` // the most unusual first
	Proofs  proofs      `avro:"proofs"`
	Own     int64       `avro:"own"`   // number of its value in the calibration
	Fused   float64     `avro:"fused"` // uncalibrated, as −log10
	P       float64     `avro:"p"`     // recalibrated
	Behind  int64       `avro:"behind"`
	Held    bool        `avro:"held"` // the budget held it back
}

// memberRow is what one detector said: its least p-value.
type memberRow struct {
	Name     string            `avro:"name"`
	Version  string            `avro:"version"`
	Title    string            `avro:"title"`
	Score    float64           `avro:"score"`
	P        float64           `avro:"p"` // 0: certain
	Features []schemas.Feature `avro:"features"`
}

// proofs are ingest events and where they lie.
type proofs struct {
	Causes []string         `avro:"causes"`
	Inputs []schemas.Origin `avro:"inputs"`
}

const maxCauses = 32

// with returns proofs with some more, at most maxCauses.
func (p proofs) with(causes []string, inputs ...schemas.Origin) proofs {
	for _, id := range causes {
		if len(p.Causes) < maxCauses && !slices.Contains(p.Causes, id) {
			p.Causes = append(slices.Clip(p.Causes), id)
		}
	}
	for _, o := range inputs {
		if len(p.Inputs) < maxCauses && !slices.Contains(p.Inputs, o) {
			p.Inputs = append(slices.Clip(p.Inputs), o)
		}
	}
	return p
}

// unusual fuses a score with what else was said of its process, and decides.
func (x *step) unusual() error {
	key := x.entityKey(x.s.Entity)
	row, known := x.h.cases.Get(key)
	if !row.join(x.s) {
		return nil
	}
	row.Proofs = row.Proofs.with(x.r.Causes, x.r.Origin)
	fused := -math.Log10(row.fuse())
	if known && fused < row.Fused { // never: a member only gets more unusual
		fused = row.Fused
	}
	before := row.P
	row.Fused = fused
	row.P, row.Behind = x.h.cal.P(x.r.Key, x.host.Units, row.Own, fused)
	if known {
		x.h.cal.Raise(x.r.Key, row.Own, fused)
		x.host.Risk.add(x.h.cfg, x.now, max(0, x.evidence(row.P)-x.evidence(before)))
	} else {
		row.Own = x.h.cal.Add(x.r.Key, x.host.Units, fused)
		x.h.caseEnds.Update(x.c, key, x.now+session.Nanoseconds(), (*mark).set)
		x.host.Risk.add(x.h.cfg, x.now, x.evidence(row.P))
	}
	err := x.decide(&row)
	x.h.cases.Put(key, row)
	return err
}

// join takes a score in. It says whether it is more unusual than what its detector has said before.
func (row *caseRow) join(s *schemas.DetectorScore) bool {
	ms, ok := joined(row.Members, memberRow{s.Detector, s.Version, s.Title, s.Score, s.PValue, s.Features})
	row.Members = ms
	return ok
}

// joined returns the members with m among them, unless its detector has said as much before.
func joined(ms []memberRow, m memberRow) ([]memberRow, bool) {
	i := slices.IndexFunc(ms, func(o memberRow) bool { return o.Name == m.Name })
	if i >= 0 && ms[i].P <= m.P {
		return ms, false
	}
	next := slices.Clone(ms)
	if i >= 0 {
		next[i] = m
	} else {
		next = append(next, m)
	}
	slices.SortFunc(next, func(a, b memberRow) int { return cmp.Or(cmp.Compare(a.P, b.P), strings.Compare(a.Name, b.Name)) })
	return next, true
}

func (row *caseRow) fuse() float64 {
	ps := make([]float64, len(row.Members))
	for i, m := range row.Members {
		ps[i] = m.P
	}
	return conformal.HarmonicMean(ps, len(gated))
}

// endCase forgets a case when its session is over.
func (h *handler) endCase(_ *streams.Context, key string) error {
	h.cases.Delete(key)
	return nil
}

// decide makes the process an alert, joins it to one, or holds it back.
func (x *step) decide(row *caseRow) error {
	if key := x.owner(row); key != "" {
		switch a, ok, err := x.current(key); {
		case err != nil:
			return err
		case ok:
			x.joinAlert(key, a, row)
			return nil
		}
	}
	switch {
	case row.P > x.cut():
		return nil
	case !x.host.Budget.affords(x.h.cfg, x.now):
		if !row.Held {
			row.Held = true
			x.holdBack(row)
		}
		return nil
	}
	return x.open(x.fromCase(row))
}

// owner is the key of the alert that the process belongs to; empty for none.
func (x *step) owner(row *caseRow) string {
	if l, ok := x.h.links.Get(x.entityKey(x.s.Entity)); ok {
		return l.Alert
	}
	if row.P > max(joinP, x.cut()) {
		return ""
	}
	for i := range x.s.Ancestry {
		if l, ok := x.h.links.Get(x.entityKey(x.s.Ancestry[i].UID)); ok && l.Tree {
			return l.Alert
		}
	}
	if l, ok := x.h.links.Get(x.likeKey()); ok {
		return l.Alert
	}
	return ""
}
