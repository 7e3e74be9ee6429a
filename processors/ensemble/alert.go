package ensemble

import (
	"fmt"
	"math"
	"strings"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// riskRow is the risk of a host: a sum of evidence that decays. Its key is that of the host.
type riskRow struct {
	R  float64 `avro:"r"`
	At int64   `avro:"at"`
}

// dayRow is the budget of a host's day.
type dayRow struct {
	Alerts int64    `avro:"alerts"`
	Held   int64    `avro:"held"`
	First  []string `avro:"first"` // causes of the first one that was held back
}

// addRisk adds evidence to the host's risk and returns it in [0, 100): 100·(1 − e^(−R/10)).
func (h *handler) addRisk(r *streams.Record, add float64) float64 {
	x, _ := h.risks.Get(r.Key)
	if x.At != 0 && r.Time > x.At {
		x.R *= math.Exp2(-float64(r.Time-x.At) / float64(h.cfg.HalfLife.Nanoseconds()))
	}
	x.R += add
	x.At = max(x.At, r.Time)
	h.risks.Put(r.Key, x)
	risk := 100 * (1 - math.Exp(-x.R/10))
	return math.Round(risk*10) / 10
}

// affords says whether the budget of the hour and of the day has room for one more alert, and takes it.
func (h *handler) affords(c *streams.Context, r *streams.Record) bool {
	hour, _ := h.hours.Get(r.Key)
	this := r.Time / 3.6e12
	if hour.N/1000 != this { // the hour and its count share a row
		hour.N = this * 1000
	}
	ok := hour.N%1000 < int64(min(h.cfg.BudgetPerHour, 999))
	h.days.Update(c, r.Key, r.Time, func(d *dayRow) {
		if ok = ok && d.Alerts < int64(h.cfg.BudgetPerDay); ok {
			d.Alerts++
			return
		}
		if d.Held++; d.Held == 1 {
			d.First = r.Causes
		}
	})
	if ok {
		hour.N++
	}
	h.hours.Put(r.Key, hour)
	return ok
}

// summary tells at the end of a day what its budget held back.
func (h *handler) summary(c *streams.Context, key string, span streams.Span, d dayRow, revision int32) error {
	if d.Held == 0 {
		return nil
	}
	tenant, host, _ := strings.Cut(key, "/")
	a := &schemas.Alert{
		Provenance: schemas.Provenance{Causes: d.First}, ID: schemas.AlertID(tenant, "ensemble.budget", key, span.Start, ""), Revision: revision,
		Title: "Alerts held back by the budget", SeverityID: 1, Severity: schemas.Severities[1], Entity: schemas.Entity{Type: "host", UID: key, Name: host}, HeldBack: d.Held,
		Description: fmt.Sprintf("On the day that ended %s, %d alerts from rarity were raised on this host and %d more were held back by the budget.", schemas.Time(span.End), d.Alerts, d.Held),
	}
	return c.Emit(schemas.AlertsTopic, a)
}

// alert begins an alert about what a score is about.
func (h *handler) alert(r *streams.Record, s *schemas.DetectorScore, by string) *schemas.Alert {
	first := ""
	if len(r.Causes) > 0 {
		first = r.Causes[0]
	}
	a := &schemas.Alert{
		ID:     schemas.AlertID(s.Provenance.Tenant, by, s.Entity, s.WindowStart, first),
		Entity: schemas.Entity{Type: s.EntityType, UID: s.Entity, Name: s.Process.Name}, Process: s.Process, Lineage: s.Ancestry, Object: s.Object, Hostname: s.Hostname,
	}
	if s.EntityType == "host" {
		a.Entity.Name = s.Provenance.Host
	}
	return a
}

// raise completes and emits an alert.
func (h *handler) raise(c *streams.Context, r *streams.Record, a *schemas.Alert) error {
	a.Severity = schemas.Severities[min(max(a.SeverityID, 0), int32(len(schemas.Severities)-1))]
	a.HeldBack = h.held(r)
	return c.Emit(schemas.AlertsTopic, a)
}

// held is what the budget has held back on the host's day so far.
func (h *handler) held(r *streams.Record) int64 {
	d, _ := h.days.Get(r.Key, r.Time)
	return d.Held
}

func describeRule(s *schemas.DetectorScore) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. Process %s (pid %d", s.Title, nameOf(&s.Process), s.Process.PID)
	if s.Process.UserName != "" {
		fmt.Fprintf(&b, ", user %s", s.Process.UserName)
	}
	b.WriteString(")")
	if line := lineage(s); line != "" {
		fmt.Fprintf(&b, ", started by %s", line)
	}
	if s.Object != "" && s.Object != s.Process.Path {
		fmt.Fprintf(&b, ", acted on %s", s.Object)
	}
	b.WriteString(". The rule is certain by itself and needs no baseline.")
	return b.String()
}

func describeCase(s *schemas.DetectorScore, x *caseRow) string {
	var b strings.Builder
	what := "Process " + nameOf(&s.Process)
	if s.EntityType == "host" {
		what = "Host " + s.Provenance.Host
	}
	fmt.Fprintf(&b, "%s is among the %.2g %% most unusual of what was scored on this host lately.", what, 100*x.P)
	for _, m := range x.Members {
		fmt.Fprintf(&b, " %s: %s (p %.2g).", m.Name, lowerFirst(m.Title), m.P)
	}
	for _, f := range x.Features {
		fmt.Fprintf(&b, " %s is %.4g", f.Name, f.Value)
		if f.Baseline != 0 {
			fmt.Fprintf(&b, " against %.4g", f.Baseline)
		}
		b.WriteString(".")
	}
	return b.String()
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

func nameOf(p *schemas.Process) string {
	switch {
	case p.Path != "":
		return p.Path
	case p.Name != "":
		return p.Name
	}
	return "of which only the id is known"
}

func lineage(s *schemas.DetectorScore) string {
	var names []string
	for _, a := range s.Ancestry {
		names = append(names, a.Name)
	}
	return strings.Join(names, " ← ")
}
