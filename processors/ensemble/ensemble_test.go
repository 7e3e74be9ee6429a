package ensemble

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// feed drives ensemble with the scores of one host.
type feed struct {
	t     *testing.T
	d     *streamstest.Driver
	now   time.Time
	units int64
}

func newFeed(t *testing.T, cfg Config) *feed {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return &feed{t: t, d: streamstest.New(t, streams.Stage{Name: "ensemble", Processors: []*streams.Processor{New(cfg)}}), now: start}
}

func (f *feed) pass(d time.Duration) { f.now = f.now.Add(d) }

func (f *feed) score(s *schemas.DetectorScore) {
	f.t.Helper()
	if s.EntityType == "" {
		s.EntityType = "process"
	}
	f.d.Derive(schemas.ScoresTopic, "t/h", s, f.now)
}

// certain is what a rule says of a process.
func (f *feed) certain(rule, uid string, severity int32) {
	f.t.Helper()
	f.score(&schemas.DetectorScore{Detector: "signature." + rule, Version: "1", Certain: true, Entity: uid, Title: "Rule " + rule, SeverityID: severity, Score: 1,
		Techniques: []string{"T1"}, Tactics: []string{"execution"}, Process: schemas.Process{UID: uid, PID: 7, Name: "x", Path: "/tmp/x", UserName: "alice"}, Ancestry: []schemas.Ancestor{{UID: "p", Name: "bash"}}, Object: "/etc/y"})
}

// unusual is what a detector with p-values says of a process. Of twenty units that are scored one arrives.
func (f *feed) unusual(detector, uid string, p float64) {
	f.t.Helper()
	f.units += 20
	f.score(&schemas.DetectorScore{Detector: "rarity." + detector, Version: "1", Entity: uid, Title: "Odd " + detector, Score: -math.Log2(p), PValue: p, Calibration: 2000, Units: f.units,
		Process: schemas.Process{UID: uid, Path: "/opt/" + uid}, Features: []schemas.Feature{{Name: detector + "_seen", Value: 1, Baseline: 500}}})
}

// ordinary are n processes of which one detector says a little: what fused values are compared with.
func (f *feed) ordinary(n int) {
	f.t.Helper()
	for i := range n {
		f.unusual("executable", fmt.Sprintf("o%d", i), 0.01+0.001*float64(i*17%40))
		f.pass(time.Second)
	}
}

func (f *feed) alerts() (out []*schemas.Alert) {
	f.t.Helper()
	for _, v := range f.d.Out(schemas.AlertsTopic) {
		out = append(out, v.(*schemas.Alert))
	}
	return out
}

// TestCertain: a rule speaks of an entity once a day, in full; another entity or rule is another alert.
func TestCertain(t *testing.T) {
	f := newFeed(t, Defaults())
	for range 5 {
		f.certain("memfd_execution", "u1", 4)
		f.pass(time.Minute)
	}
	f.certain("memfd_execution", "u2", 4)
	f.certain("server_shell", "u1", 5)
	got := f.alerts()
	if len(got) != 3 {
		t.Fatalf("%d alerts, want 3", len(got))
	}
	a := got[0]
	if a.Title != "Rule memfd_execution" || a.SeverityID != 4 || a.Severity != "High" || a.Confidence != 1 || a.Entity.UID != "u1" || a.Object != "/etc/y" {
		t.Errorf("alert is %+v", a)
	}
	if len(a.Detectors) != 1 || a.Detectors[0].Weight != 1 || a.Techniques[0] != "T1" || a.Tactics[0] != "execution" || len(a.Provenance.Causes) != 1 || len(a.Inputs) != 1 {
		t.Errorf("evidence is %+v", a)
	}
	for _, want := range []string{"/tmp/x", "pid 7", "alice", "bash", "/etc/y"} {
		if !strings.Contains(a.Description, want) {
			t.Errorf("description lacks %q: %s", want, a.Description)
		}
	}
	if got[2].Severity != "Critical" || got[0].ID == got[1].ID || got[0].ID == got[2].ID {
		t.Errorf("alerts are %+v", got)
	}
	f.pass(25 * time.Hour)
	f.certain("memfd_execution", "u1", 4)
	if n := len(f.alerts()); n != 4 {
		t.Errorf("%d alerts after a day, want 4", n)
	}
	f.d.Fuzz(10)
}

// TestCertainWithoutEntity: of what has no identity nothing is a repeat.
func TestCertainWithoutEntity(t *testing.T) {
	f := newFeed(t, Defaults())
	f.certain("ld_preload", "", 4)
	f.certain("ld_preload", "", 4)
	if n := len(f.alerts()); n != 2 {
		t.Errorf("%d alerts, want 2", n)
	}
}

// TestUnusual: after ordinary processes, one that is far more unusual is an alert that says why; ordinary ones are none.
func TestUnusual(t *testing.T) {
	f := newFeed(t, Defaults())
	f.ordinary(300)
	if got := f.alerts(); len(got) > 0 {
		t.Fatalf("an ordinary process is an alert: %+v", got[0].Description)
	}
	f.unusual("executable", "odd", 0.0005)
	got := f.alerts()
	if len(got) != 1 {
		t.Fatalf("%d alerts, want 1", len(got))
	}
	a := got[0]
	if a.Title != "Odd executable" || a.FusedP <= 0 || a.FusedP > 0.001 || math.Abs(a.Confidence-(1-a.FusedP)) > 1e-12 || a.SeverityID != 2 || a.Entity.UID != "odd" {
		t.Errorf("alert is %+v", a)
	}
	for _, want := range []string{"/opt/odd", "rarity.executable: odd executable (p 0.0005)", "executable_seen is 1 against 500"} {
		if !strings.Contains(a.Description, want) {
			t.Errorf("description lacks %q: %s", want, a.Description)
		}
	}
	f.d.Fuzz(3)
}

// TestAmend: detectors that join later amend the alert, under its id; not within a minute, and not with less than was said.
func TestAmend(t *testing.T) {
	f := newFeed(t, Defaults())
	f.ordinary(300)
	f.unusual("executable", "odd", 0.0005)
	f.pass(10 * time.Second)
	f.unusual("lineage", "odd", 0.0004) // too soon for another revision
	f.pass(2 * time.Minute)
	f.unusual("executable", "odd", 0.04) // says less than before
	f.unusual("template", "odd", 0.0003)
	got := f.alerts()
	if len(got) != 2 {
		t.Fatalf("%d alerts, want 2", len(got))
	}
	a, b := got[0], got[1]
	if a.ID != b.ID || a.Revision != 0 || b.Revision != 1 || len(b.Detectors) != 3 || b.Title != "Odd template" || b.SeverityID < 3 {
		t.Errorf("revisions are\n%+v\n%+v", a, b)
	}
	sum := 0.0
	for i, m := range b.Detectors {
		sum += m.Weight
		if i > 0 && m.Weight > b.Detectors[i-1].Weight {
			t.Errorf("weights are not in order: %+v", b.Detectors)
		}
	}
	if math.Abs(sum-1) > 1e-12 {
		t.Errorf("weights sum to %v", sum)
	}
	if len(b.Provenance.Causes) != 3 || len(b.Inputs) != 3 || b.Provenance.Causes[0] != a.Provenance.Causes[0] {
		t.Errorf("causes are %v of %v", b.Provenance.Causes, b.Inputs)
	}
	if b.Risk > a.Risk {
		t.Errorf("risk went from %v to %v: the same evidence counted twice", a.Risk, b.Risk)
	}
	f.pass(session + time.Minute)
	f.unusual("executable", "odd", 0.0001)
	if got := f.alerts(); len(got) != 3 || got[2].Revision != 0 || got[2].ID == a.ID {
		t.Errorf("after a session: %+v", got[len(got)-1])
	}
	f.d.Fuzz(3)
}

// TestBudget: what is over the hour's budget is held back and counted, told by the next alert, and by a summary when the day
// is over. Certain rules always pass.
func TestBudget(t *testing.T) {
	f := newFeed(t, Defaults())
	f.ordinary(300)
	for i := range 4 {
		f.unusual("executable", fmt.Sprintf("odd%d", i), 0.0004-0.00005*float64(i))
		f.pass(time.Second)
	}
	if n := len(f.alerts()); n != 2 {
		t.Fatalf("%d alerts in the hour, want 2", n)
	}
	f.certain("memfd_execution", "u1", 4)
	if a := f.alerts()[2]; a.HeldBack != 2 || a.Detectors[0].Name != "signature.memfd_execution" {
		t.Errorf("alert after two were held back: %+v", a)
	}
	f.pass(time.Hour)
	f.unusual("executable", "odd9", 0.0001)
	if a := f.alerts()[3]; a.HeldBack != 2 || a.Entity.UID != "odd9" {
		t.Errorf("alert of the next hour: %+v", a)
	}
	f.pass(24 * time.Hour)
	f.d.Tick(f.now)
	got := f.alerts()
	if len(got) != 5 {
		t.Fatalf("%d alerts, want a summary as the fifth", len(got))
	}
	if a := got[4]; a.Title != "Alerts held back by the budget" || a.HeldBack != 2 || a.SeverityID != 1 || a.Entity.Type != "host" || len(a.Provenance.Causes) != 1 || !strings.Contains(a.Description, "2026-01-03T00:00:00Z, 3 alerts") {
		t.Errorf("summary is %+v", a)
	}
	f.d.Fuzz(3)
}

// TestBudgetOfDay: hours add up to the day's budget, and a budget of nothing lets nothing pass.
func TestBudgetOfDay(t *testing.T) {
	for _, c := range []struct{ hour, day, want int }{{2, 3, 3}, {0, 20, 0}, {2, 0, 0}} {
		cfg := Defaults()
		cfg.BudgetPerHour, cfg.BudgetPerDay = c.hour, c.day
		f := newFeed(t, cfg)
		f.ordinary(300)
		for i := range 8 {
			f.unusual("executable", fmt.Sprintf("odd%d", i), 0.0004-0.00004*float64(i))
			f.pass(31 * time.Minute)
		}
		if n := len(f.alerts()); n != c.want {
			t.Errorf("budget %d an hour, %d a day: %d alerts, want %d", c.hour, c.day, n, c.want)
		}
	}
}

// TestRisk: risk adds up, halves with the half-life, stays below 100, and late evidence does not make it older.
func TestRisk(t *testing.T) {
	f := newFeed(t, Defaults())
	f.certain("a", "u1", 3)
	f.pass(time.Hour)
	f.certain("a", "u2", 3)
	f.pass(1000 * time.Hour)
	f.certain("a", "u3", 3)
	for i := range 30 {
		f.certain("a", fmt.Sprintf("v%d", i), 5)
	}
	got := f.alerts()
	risk := func(r float64) float64 { return math.Round(1000*(1-math.Exp(-r/10))) / 10 }
	for i, want := range []float64{risk(9), risk(13.5), risk(9)} {
		if got[i].Risk != want {
			t.Errorf("risk %d is %v, want %v", i, got[i].Risk, want)
		}
	}
	for _, a := range got {
		if !(a.Risk >= 0 && a.Risk <= 100) {
			t.Errorf("risk is %v", a.Risk)
		}
	}
}

func TestSeverity(t *testing.T) {
	for _, c := range []struct {
		risk  float64
		agree int
		want  int32
	}{{0, 1, 2}, {34.9, 1, 2}, {0, 2, 3}, {35, 1, 3}, {74.9, 3, 3}, {75, 1, 4}, {100, 4, 4}} {
		if got := severity(c.risk, c.agree); got != c.want {
			t.Errorf("severity of risk %v with %d detectors is %d, want %d", c.risk, c.agree, got, c.want)
		}
	}
}

func TestRecalibrate(t *testing.T) {
	for _, c := range []struct {
		above, kept, added, units int64
		want                      float64
	}{
		{0, 0, 0, 5000, 1},              // nothing to compare with
		{0, 100, 100, 2000, 1.0 / 2001}, // one in twenty of the units arrives
		{99, 100, 100, 2000, 100.0 / 2001},
		{0, 100, 200, 2000, 1.0 / 1001}, // half of what was added is kept: half the units count
		{0, 100, 100, 10, 1.0 / 101},    // a detector that counts otherwise
		{50, 50, 50, 50, 1},
	} {
		if got := recalibrate(c.above, c.kept, c.added, c.units); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestMinUnits: as long as a host has few scored units nothing from rarity is an alert.
func TestMinUnits(t *testing.T) {
	cfg := Defaults()
	cfg.MinUnits = 20_000
	f := newFeed(t, cfg)
	f.ordinary(300)
	f.unusual("executable", "odd", 0.0005)
	if n := len(f.alerts()); n > 0 {
		t.Errorf("%d alerts", n)
	}
}

// TestPassedOver: the sample, and what has no entity, is for audits of the calibration.
func TestPassedOver(t *testing.T) {
	f := newFeed(t, Defaults())
	f.ordinary(300)
	f.score(&schemas.DetectorScore{Detector: "rarity.executable", Entity: "s", PValue: 0.00001, Units: 9000, Sampled: true})
	f.score(&schemas.DetectorScore{Detector: "rarity.executable", PValue: 0.00001, Units: 9000})
	if n := len(f.alerts()); n > 0 {
		t.Errorf("%d alerts", n)
	}
	if n := len(f.d.Records(schemas.DeadLetterTopic.Name)); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

// TestRefused: a p-value that cannot be one is a dead letter, and changes nothing.
func TestRefused(t *testing.T) {
	f := newFeed(t, Defaults())
	for _, p := range []float64{0, -1, 1.5, math.NaN(), math.Inf(1)} {
		f.score(&schemas.DetectorScore{Detector: "rarity.executable", Entity: "u", PValue: p, Units: 9000})
	}
	got := f.d.Out(schemas.DeadLetterTopic)
	if len(got) != 5 {
		t.Fatalf("%d dead letters, want 5", len(got))
	}
	if n := len(f.alerts()); n > 0 {
		t.Errorf("%d alerts", n)
	}
	f.certain("a", "u", 4)
	if n := len(f.alerts()); n != 1 {
		t.Errorf("%d alerts after them", n)
	}
}

// TestHost: an alert about a host's minute is about the host, and its id is that of the minute.
func TestHost(t *testing.T) {
	f := newFeed(t, Defaults())
	f.ordinary(300)
	at := f.now.Truncate(time.Minute).UnixNano()
	f.score(&schemas.DetectorScore{Detector: "rarity.rate", Version: "1", EntityType: "host", Entity: "t/h", Title: "Busy", PValue: 0.0002, Units: 9000, WindowStart: at, Object: "execs"})
	got := f.alerts()
	if len(got) != 1 || got[0].Entity.Type != "host" || got[0].Entity.Name != "h" || got[0].ID != schemas.AlertID("t", name, "t/h", at, "") || !strings.Contains(got[0].Description, "Host h") {
		t.Fatalf("alerts are %+v", got)
	}
}

// TestJoin: a detector's least p-value counts, members are sorted by it, and causes are bounded.
func TestJoin(t *testing.T) {
	var x caseRow
	put := func(detector string, p float64, causes ...string) bool {
		return x.join(&streams.Record{Causes: causes}, &schemas.DetectorScore{Detector: detector, PValue: p})
	}
	if !put("b", 0.01, "1") || !put("a", 0.01, "2") || put("b", 0.02, "3") || put("b", 0.01, "3") || !put("b", 0.001, "4") {
		t.Error("what is new is not told")
	}
	if got := []string{x.Members[0].Name, x.Members[1].Name}; !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("members are %v", got)
	}
	for i := range 40 {
		put("c", 0.01/float64(i+2), fmt.Sprintf("c%d", i))
	}
	if len(x.Causes) != maxCauses || len(x.Inputs) != maxCauses || x.Causes[0] != "1" {
		t.Errorf("causes are %v", x.Causes)
	}
	want := 4 / (1 + 1/0.001 + 1/0.01 + 41/0.01)
	if got := x.fuse(); math.Abs(got-want) > 1e-12 {
		t.Errorf("fused p is %v, want %v", got, want)
	}
}

func TestDescribeUnknown(t *testing.T) {
	for p, want := range map[*schemas.Process]string{{Path: "/x"}: "/x", {Name: "x"}: "x", {}: "of which only the id is known"} {
		if got := nameOf(p); got != want {
			t.Errorf("name is %q, want %q", got, want)
		}
	}
	if lowerFirst("") != "" {
		t.Error("text from nothing")
	}
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	var keys []string
	for _, e := range streams.SettingErrors(Config{Alpha: math.NaN(), BudgetPerHour: -1, BudgetPerDay: -1}.Validate()) {
		keys = append(keys, strings.TrimPrefix(e.Key, "ensemble."))
		if e.Want == "" || e.Value == "" {
			t.Errorf("problem is %+v", e)
		}
	}
	if got := strings.Join(keys, " "); got != "alpha budget_per_hour budget_per_day half_life window min_units" {
		t.Errorf("problems are of %s", got)
	}
}

func TestScenarios(t *testing.T) {
	cfg := Config{Alpha: 0.05, BudgetPerHour: 1, BudgetPerDay: 20, HalfLife: time.Hour, Window: 64, MinUnits: 20}
	streamstest.Run(t, streams.Stage{Name: "ensemble", Processors: []*streams.Processor{New(cfg)}}, "testdata/*.txtar")
}
