package ensemble

import (
	"slices"

	"github.com/amoskys/amoskys/schemas"
)

// certain makes a certain score an alert, once per rule and entity.
func (x *step) certain() error {
	s := x.s
	key := x.entityKey(s.Detector + "|" + s.Entity)
	if s.Entity != "" {
		switch a, ok, err := x.current(key); {
		case err != nil:
			return err
		case ok:
			x.again(key, &a)
			return nil
		}
	}
	first := ""
	if len(x.r.Causes) > 0 {
		first = x.r.Causes[0]
	}
	a := x.begin(s.Detector, first)
	a.Certain = true
	a.Members = []memberRow{{s.Detector, s.Version, s.Title, s.Score, 0, s.Features}}
	a.Alert.SeverityID, a.Alert.Confidence = s.SeverityID, 1
	a.Alert.Techniques, a.Alert.Tactics = s.Techniques, s.Tactics
	p := proofs{}.with(x.r.Causes, x.r.Origin)
	if row, ok := x.h.cases.Get(x.entityKey(s.Entity)); ok { // what was unusual about it before
		a.Members = append(a.Members, row.Members...)
		p = p.with(row.Proofs.Causes, row.Proofs.Inputs...)
	}
	a.Alert.Provenance.Causes, a.Alert.Inputs = p.Causes, p.Inputs
	x.host.Risk.add(x.h.cfg, x.now, float64(s.SeverityID*s.SeverityID)+x.host.Risk.tactics(x.now, s.Tactics))
	return x.open(key, a)
}

// again counts a repeat. One with a new object amends the alert.
func (x *step) again(key string, a *alertRow) {
	s := x.s
	a.Repeats++
	if s.Object == "" || s.Object == a.Alert.Object || slices.Contains(a.Objects, s.Object) || len(a.Objects) >= maxObjects {
		x.h.alerts.Put(key, *a)
		return
	}
	a.Objects = append(slices.Clip(a.Objects), s.Object)
	x.amend(key, a, proofs{x.r.Causes, []schemas.Origin{x.r.Origin}})
}
