package ensemble

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

const (
	hour = int64(time.Hour)
	day  = 24 * hour
)

// budgetRow is what a host has used of its budget.
type budgetRow struct {
	Day     int64      `avro:"day"`    // number of the day since the Unix epoch
	Alerts  int64      `avro:"alerts"` // on this day
	Held    int64      `avro:"held"`   // on this day
	Recent  []int64    `avro:"recent"` // when the last alerts were, as many as an hour affords
	Summary summaryRow `avro:"summary"`
}

// summaryRow is the summary alert of a day.
type summaryRow struct {
	Day      int64    `avro:"day"`
	Revision int32    `avro:"revision"` // of the next one
	Held     int64    `avro:"held"`
	Names    []string `avro:"names"`
	Proofs   proofs   `avro:"proofs"`
}

// heldRow is what was held back in an hour. Its key is that of the host.
type heldRow struct {
	Held     int64    `avro:"held"`
	Names    []string `avro:"names"`
	Proofs   proofs   `avro:"proofs"`
	Hostname string   `avro:"hostname"`
	Tenant   string   `avro:"tenant"`
}

// paceRow is how many processes a host starts.
type paceRow struct {
	Day   int64 `avro:"day"`
	Start int64 `avro:"start"` // units before the day
	Last  int64 `avro:"last"`  // units of the day before
}

// turn begins a new day.
func (b *budgetRow) turn(now int64) {
	if d := now / day; d != b.Day {
		b.Day, b.Alerts, b.Held = d, 0, 0
	}
}

// affords says whether there is room for one more alert from rarity.
func (b *budgetRow) affords(cfg Config, now int64) bool {
	recent := 0
	for _, at := range b.Recent {
		if now-at < hour {
			recent++
		}
	}
	return recent < cfg.BudgetPerHour && b.Alerts < int64(cfg.BudgetPerDay)
}

// use takes one alert off the budget, whether there is room or not.
func (b *budgetRow) use(cfg Config, now int64) {
	b.Alerts++
	b.Recent = append(slices.Clip(b.Recent), now)
	if n := len(b.Recent) - cfg.BudgetPerHour; n > 0 {
		b.Recent = b.Recent[n:]
	}
}

// turn begins a new day. units is how many processes were judged so far. The first day begins as the calibration does: what
// was judged in the warm-up is no measure for either.
func (p *paceRow) turn(now, units int64) {
	d := now / day
	switch p.Day {
	case d:
		return
	case 0:
		p.Day, p.Start = d, units-1
		return
	}
	p.Last = 0
	if d == p.Day+1 {
		p.Last = units - p.Start
	}
	p.Day, p.Start = d, units
}

// perDay is how many processes the host starts in a day: as many as on the day before, or today if that is more already.
func (x *step) perDay() float64 {
	return float64(max(x.host.Pace.Last, x.host.Units-x.host.Pace.Start, 1))
}

// cut is the p-value up to which a process is an alert. A host that starts more processes a day than its calibration stands
// for has the least p-value there can be as its cut: else nothing on it could ever be an alert.
func (x *step) cut() float64 {
	return min(x.h.cfg.Alpha, max(x.h.cfg.AlertsPerDay/x.perDay(), x.h.cal.Least(x.r.Key, x.host.Units)))
}

// evidence is what a p-value adds to the risk of the host: −log10 of how often a day its like is expected, or of p·100
// on a host that starts fewer processes than that. So what nothing but chance adds is the same on all hosts.
func (x *step) evidence(p float64) float64 { return max(0, -math.Log10(p*max(100, x.perDay()))) }

const maxNames = 16 // processes that a summary names

// holdBack counts a process that is no alert for want of budget.
func (x *step) holdBack(row *caseRow) {
	x.host.Budget.Held++
	who := fmt.Sprintf("%s (pid %d, p %.2g)", nameOf(&x.s.Process), x.s.Process.PID, row.P)
	x.h.held.Update(x.c, x.r.Key, x.now, func(v *heldRow) {
		v.Held++
		v.Hostname, v.Tenant = x.s.Hostname, x.s.Provenance.Tenant
		if len(v.Names) < maxNames {
			v.Names = append(v.Names, who)
		}
		v.Proofs = v.Proofs.with(row.Proofs.Causes, row.Proofs.Inputs...)
	})
}

// summary tells at the end of an hour what the budget held back in it: one alert a day, amended by each such hour.
func (h *handler) summary(c *streams.Context, key string, span streams.Span, v heldRow, _ int32) error {
	host, _ := h.hosts.Get(key)
	s := host.Budget.Summary
	if d := span.Start / day; d != s.Day {
		s = summaryRow{Day: d}
	}
	s.Held += v.Held
	s.Names = append(slices.Clip(s.Names), v.Names[:min(len(v.Names), maxNames-len(s.Names))]...)
	s.Proofs = s.Proofs.with(v.Proofs.Causes, v.Proofs.Inputs...)
	a := summaryAlert(key, &v, span.End, &s)
	s.Revision++
	host.Budget.Summary = s
	h.hosts.Put(key, host)
	return c.Emit(schemas.AlertsTopic, a)
}

func summaryAlert(key string, v *heldRow, end int64, s *summaryRow) *schemas.Alert {
	more := ""
	if n := s.Held - int64(len(s.Names)); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return &schemas.Alert{
		Provenance: schemas.Provenance{Time: end, Causes: s.Proofs.Causes}, Inputs: s.Proofs.Inputs,
		ID: schemas.AlertID(v.Tenant, name+".budget", key, s.Day*day, ""), Revision: s.Revision, SeverityID: 1, Severity: schemas.Severities[1],
		Title: "Unusual processes held back by the alert budget", Entity: schemas.Entity{Type: "host", UID: key, Name: v.Hostname}, Hostname: v.Hostname, HeldBack: s.Held,
		Detectors: []schemas.Member{{Name: name, Version: version, Weight: 1}},
		Description: fmt.Sprintf("On %s until %s, the budget of this host held back %d processes that were unusual enough for an alert: %s%s.",
			schemas.Time(s.Day * day)[:len("2006-01-02")], schemas.Time(end)[len("2006-01-02T"):], s.Held, strings.Join(s.Names, ", "), more),
	}
}
