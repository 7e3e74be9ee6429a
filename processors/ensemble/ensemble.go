package ensemble

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/amoskys/amoskys/processors/internal/conformal"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Config are the settings.
type Config struct {
	// Alpha is the recalibrated p-value below which a process is an alert.
	Alpha float64 `yaml:"alpha" json:"alpha"`
	// BudgetPerHour and BudgetPerDay bound the alerts from rarity, per host. Certain rules always pass.
	BudgetPerHour int `yaml:"budget_per_hour" json:"budget_per_hour"`
	BudgetPerDay  int `yaml:"budget_per_day" json:"budget_per_day"`
	// HalfLife is in what time risk halves.
	HalfLife time.Duration `yaml:"half_life" json:"half_life"`
	// Window is how many fused values the calibration keeps.
	Window int `yaml:"window" json:"window"`
	// MinUnits is the least number of scored processes before anything is an alert from rarity.
	MinUnits int `yaml:"min_units" json:"min_units"`
}

// Defaults are the settings that hold where none are given.
func Defaults() Config {
	return Config{Alpha: 0.001, BudgetPerHour: 2, BudgetPerDay: 20, HalfLife: time.Hour, Window: 2048, MinUnits: 200}
}

// Validate reports everything that is wrong, each as a streams.SettingError.
func (c Config) Validate() error {
	var errs []error
	bad := func(key string, value any, want string) {
		errs = append(errs, &streams.SettingError{Key: "ensemble." + key, Value: fmt.Sprint(value), Want: want})
	}
	if !(c.Alpha > 0 && c.Alpha <= 0.05) {
		bad("alpha", c.Alpha, "a number over 0, up to 0.05")
	}
	if c.BudgetPerHour < 0 {
		bad("budget_per_hour", c.BudgetPerHour, "a number from 0 on")
	}
	if c.BudgetPerDay < 0 {
		bad("budget_per_day", c.BudgetPerDay, "a number from 0 on")
	}
	if c.HalfLife < time.Minute || c.HalfLife > 30*24*time.Hour {
		bad("half_life", c.HalfLife, "a duration of 1m to 720h")
	}
	if c.Window < 64 || c.Window > 1<<20 {
		bad("window", c.Window, "a number from 64 to 1048576")
	}
	if c.MinUnits < 20 {
		bad("min_units", c.MinUnits, "a number from 20 on")
	}
	return errors.Join(errs...)
}

const (
	version   = "1"
	name      = "ensemble"
	session   = 10 * time.Minute // a process without a score for so long is done
	repeat    = 24 * time.Hour   // within it a certain rule speaks of an entity once
	amend     = time.Minute      // least time between two revisions of an alert
	maxCauses = 16
	members   = 4 // detectors with p-values that may speak of an entity
)

// Processor is the processor with default settings.
var Processor = New(Defaults())

// New returns the processor. The settings must be valid.
func New(cfg Config) *streams.Processor {
	return &streams.Processor{
		Name: name, Version: version, Doc: "Fuses detector scores into alerts, within a budget.",
		Inputs: []*schemas.Topic{schemas.ScoresTopic}, Accepts: []string{"DetectorScore"}, Outputs: []*schemas.Topic{schemas.AlertsTopic}, Config: cfg,
		New: func(b *streams.Builder) streams.Handler { return newHandler(b, cfg) },
	}
}

type handler struct {
	cfg     Config
	cal     *conformal.Calibrator
	cases   *streams.Table[caseRow]
	certain *streams.Table[certainRow]
	risks   *streams.Table[riskRow]
	hours   *streams.Table[countRow]
	active  *streams.Window[countRow]
	told    *streams.Window[countRow]
	days    *streams.Window[dayRow]
}

// caseRow is what is known of a process while it is active. Its key is that of the host and the entity.
type caseRow struct {
	Members  []memberRow       `avro:"members"`
	Features []schemas.Feature `avro:"features"`
	Causes   []string          `avro:"causes"`
	Inputs   []schemas.Origin  `avro:"inputs"`
	Fused    float64           `avro:"fused"` // of the members, uncalibrated
	P        float64           `avro:"p"`     // recalibrated
	Last     int64             `avro:"last"`  // event time of the last score
	Alerted  int64             `avro:"alerted"`
	Revision int32             `avro:"revision"` // of the next alert
	Held     bool              `avro:"held"`     // the budget held it back
}

// memberRow is what one detector said of a process: its least p-value.
type memberRow struct {
	Name    string  `avro:"name"`
	Version string  `avro:"version"`
	Title   string  `avro:"title"`
	Score   float64 `avro:"score"`
	P       float64 `avro:"p"`
}

// certainRow says that a rule spoke of an entity. Its key is that of the host, the rule and the entity.
type certainRow struct {
	At    int64 `avro:"at"`
	Count int64 `avro:"count"`
}

// countRow counts something, or marks a time.
type countRow struct {
	N int64 `avro:"n"`
}

func newHandler(b *streams.Builder, cfg Config) *handler {
	h := &handler{cfg: cfg, cal: conformal.New(b, "fused", cfg.Window), cases: streams.NewTable[caseRow](b, "case"), certain: streams.NewTable[certainRow](b, "certain"),
		risks: streams.NewTable[riskRow](b, "risk"), hours: streams.NewTable[countRow](b, "hour")}
	forget := func(_ *streams.Context, key string, s streams.Span, _ countRow, _ int32) error {
		if r, ok := h.cases.Get(key); ok && r.Last < s.End {
			h.cases.Delete(key)
		}
		if r, ok := h.certain.Get(key); ok && r.At < s.End {
			h.certain.Delete(key)
		}
		return nil
	}
	h.active = streams.NewWindow(b, streams.WindowSpec[countRow]{Name: "active", Size: session, Lateness: time.Minute, Close: forget})
	h.told = streams.NewWindow(b, streams.WindowSpec[countRow]{Name: "told", Size: repeat, Lateness: time.Minute, Close: forget})
	h.days = streams.NewWindow(b, streams.WindowSpec[dayRow]{Name: "day", Size: 24 * time.Hour, Lateness: time.Minute, Close: h.summary})
	return h
}

// Process implements streams.Handler.
func (h *handler) Process(c *streams.Context, r *streams.Record) error {
	s, ok := r.Value.(*schemas.DetectorScore)
	if !ok {
		return fmt.Errorf("value is a %s, not a DetectorScore", r.Value.SchemaName())
	}
	switch {
	case s.Certain:
		return h.rule(c, r, s)
	case s.Sampled || s.Entity == "":
		return nil // for audits of the calibration
	case !(s.PValue > 0 && s.PValue <= 1):
		return fmt.Errorf("p-value %v of %s is not in (0,1]", s.PValue, s.Detector)
	}
	return h.unusual(c, r, s)
}

// rule makes a certain score an alert, once per rule and entity.
func (h *handler) rule(c *streams.Context, r *streams.Record, s *schemas.DetectorScore) error {
	key := r.Key + "|" + s.Detector + "|" + s.Entity
	row, seen := h.certain.Get(key)
	row.Count++
	if seen && s.Entity != "" && r.Time-row.At < repeat.Nanoseconds() {
		h.certain.Put(key, row)
		return nil
	}
	row.At = r.Time
	h.certain.Put(key, row)
	h.told.Update(c, key, r.Time, func(n *countRow) { n.N++ })
	a := h.alert(r, s, s.Detector)
	a.Title, a.SeverityID, a.Confidence, a.FusedP = s.Title, s.SeverityID, 1, 0
	a.Detectors = []schemas.Member{{Name: s.Detector, Version: s.Version, Score: s.Score, Weight: 1}}
	a.Techniques, a.Tactics, a.Features = s.Techniques, s.Tactics, s.Features
	a.Description = describeRule(s)
	a.Risk = h.addRisk(r, ruleRisk(s.SeverityID))
	a.Inputs = []schemas.Origin{r.Origin}
	return h.raise(c, r, a)
}

// ruleRisk is what an alert of a certain rule adds to its host's risk, by severity: as much as a p-value of 10^-(2+n).
func ruleRisk(severity int32) float64 { return float64(severity * severity) }

// unusual fuses a score with what else was said of its entity, and decides.
func (h *handler) unusual(c *streams.Context, r *streams.Record, s *schemas.DetectorScore) error {
	key := r.Key + "|" + s.Entity
	x, seen := h.cases.Get(key)
	if seen && r.Time-x.Last > session.Nanoseconds() {
		x, seen = caseRow{}, false
	}
	joined := x.join(r, s)
	if !x.leads() {
		x.Last = max(x.Last, r.Time)
		h.cases.Put(key, x)
		h.active.Update(c, key, r.Time, func(n *countRow) { n.N++ })
		return nil
	}
	x.Fused = x.fuse()
	score := -math.Log10(x.Fused)
	above, kept := h.cal.Above(r.Key, score)
	if joined { // one value for each time that evidence was added
		h.cal.Add(r.Key, score)
	}
	x.P = recalibrate(above, kept, h.cal.Added(r.Key), s.Units)
	x.Last = max(x.Last, r.Time)
	h.active.Update(c, key, r.Time, func(n *countRow) { n.N++ })
	err := h.decide(c, r, s, &x, joined)
	h.cases.Put(key, x)
	return err
}

// recalibrate is the share of scored units whose fused value was at least as unusual. Of the units only those with a
// p-value below 0.05 have one; kept of all added are in the window, and so much of all units is compared with.
func recalibrate(above, kept, added, units int64) float64 {
	n := float64(kept)
	if added > 0 {
		n = math.Max(n, float64(units)*float64(kept)/float64(added))
	}
	return math.Min(1, float64(1+above)/(1+n))
}

// join takes a score into the case. It says whether it brought anything new.
func (x *caseRow) join(r *streams.Record, s *schemas.DetectorScore) bool {
	m := memberRow{s.Detector, s.Version, s.Title, s.Score, s.PValue}
	i := slices.IndexFunc(x.Members, func(o memberRow) bool { return o.Name == s.Detector })
	if i >= 0 && x.Members[i].P <= s.PValue {
		return false
	}
	next := slices.Clone(x.Members)
	if i >= 0 {
		next[i] = m
	} else {
		next = append(next, m)
	}
	slices.SortFunc(next, func(a, b memberRow) int {
		if a.P != b.P {
			return sign(a.P < b.P)
		}
		return sign(a.Name < b.Name)
	})
	x.Members = next
	x.Features = append(slices.Clone(x.Features), s.Features...)
	for _, id := range r.Causes {
		if len(x.Causes) < maxCauses && !slices.Contains(x.Causes, id) {
			x.Causes = append(slices.Clone(x.Causes), id)
			x.Inputs = append(slices.Clone(x.Inputs), r.Origin)
		}
	}
	return true
}

func sign(less bool) int {
	if less {
		return -1
	}
	return 1
}

// supporting are detectors that strengthen others and do not speak alone: measured by themselves, they rank no better than
// chance. A member enters the fusion by itself only if it was shown to rank attacks over normal behaviour.
var supporting = map[string]bool{"rarity.template": true}

// leads says whether a member speaks that may do so alone.
func (x *caseRow) leads() bool {
	return slices.ContainsFunc(x.Members, func(m memberRow) bool { return !supporting[m.Name] })
}

func (x *caseRow) fuse() float64 {
	ps := make([]float64, len(x.Members))
	for i, m := range x.Members {
		ps[i] = m.P
	}
	return conformal.HarmonicMean(ps, members)
}

// decide makes the case an alert, amends the alert it is, or holds it back.
func (h *handler) decide(c *streams.Context, r *streams.Record, s *schemas.DetectorScore, x *caseRow, joined bool) error {
	if x.P > h.cfg.Alpha || s.Units < int64(h.cfg.MinUnits) || x.Held || !joined {
		return nil
	}
	if x.Revision > 0 && r.Time-x.Alerted < amend.Nanoseconds() {
		return nil
	}
	if x.Revision == 0 && !h.affords(c, r) {
		x.Held = true
		return nil
	}
	a := h.alert(r, s, name)
	a.ID = schemas.AlertID(r.Value.(*schemas.DetectorScore).Provenance.Tenant, name, s.Entity, s.WindowStart, x.Causes[0])
	a.Revision, a.Title = x.Revision, x.Members[0].Title
	a.FusedP, a.Confidence = x.P, 1-x.P
	a.Detectors, a.Features = weigh(x.Members), x.Features
	a.Inputs, a.Provenance.Causes = x.Inputs, x.Causes
	a.Description = describeCase(s, x)
	add := math.Max(0, -math.Log10(x.P)-2)
	if x.Revision > 0 {
		add = 0 // the same evidence does not count twice
	}
	a.Risk = h.addRisk(r, add)
	a.SeverityID = severity(a.Risk, len(x.Members))
	x.Revision++
	x.Alerted = r.Time
	return h.raise(c, r, a)
}

// weigh gives each member its share of the sum of 1/p, which the harmonic mean is made of.
func weigh(ms []memberRow) []schemas.Member {
	sum := 0.0
	for _, m := range ms {
		sum += 1 / m.P
	}
	out := make([]schemas.Member, len(ms))
	for i, m := range ms {
		out[i] = schemas.Member{Name: m.Name, Version: m.Version, Score: m.Score, PValue: m.P, Weight: 1 / m.P / sum}
	}
	return out
}

// severity of an alert from rarity: low, medium when several detectors agree or the host's risk is up, high when it is
// very high. Rarity alone is never critical.
func severity(risk float64, agree int) int32 {
	switch {
	case risk >= 75:
		return 4
	case risk >= 35 || agree > 1:
		return 3
	}
	return 2
}
