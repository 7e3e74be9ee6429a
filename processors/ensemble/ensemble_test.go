package ensemble

import (
	"errors"
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

// every is a configuration in which the cut is alpha, whatever the host's pace.
func every() Config {
	cfg := Defaults()
	cfg.AlertsPerDay = 10_000
	return cfg
}

func stage(cfg Config) streams.Stage {
	return streams.Stage{Name: "ensemble", Processors: []*streams.Processor{New(cfg)}}
}

func Test(t *testing.T) { streamstest.Run(t, stage(Defaults()), "testdata/*.txtar") }

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	err := Config{Alpha: math.NaN(), BudgetPerHour: -1, BudgetPerDay: -1}.Validate()
	for _, key := range []string{"alpha", "alerts_per_day", "budget_per_hour", "budget_per_day", "half_life", "slow_half_life", "window"} {
		if err == nil || !strings.Contains(err.Error(), "ensemble."+key) {
			t.Errorf("%s is not reported: %v", key, err)
		}
	}
	var se *streams.SettingError
	if !errors.As(err, &se) {
		t.Errorf("%T is not a SettingError", err)
	}
}

// site feeds the scores of one host.
type site struct {
	d     *streamstest.Driver
	at    time.Time
	units int64
	n     int
}

func newSite(t testing.TB, cfg Config) *site {
	return &site{d: streamstest.New(t, stage(cfg)), at: time.Date(2026, 1, 2, 3, 0, 30, 0, time.UTC)}
}

func (s *site) pass(d time.Duration) *site { s.at = s.at.Add(d); return s }

// score is one score of a process, with its path as uid. Its parent is bash.
func (s *site) score(detector, path string, p float64) *schemas.DetectorScore {
	s.n++
	return &schemas.DetectorScore{Detector: detector, Version: "1", EntityType: "process", Entity: path, Title: "none of the last starts were " + path, Score: 20, PValue: p, Units: s.units,
		Process: schemas.Process{UID: path, PID: int64(s.n), Path: path, Name: path[strings.LastIndex(path, "/")+1:]}, Hostname: "web1",
		Ancestry: []schemas.Ancestor{{UID: "shell", Name: "bash", Path: "/usr/bin/bash"}}, Features: []schemas.Feature{{Name: detector, Value: 20, Baseline: 3}}}
}

func (s *site) send(x *schemas.DetectorScore) {
	s.at = s.at.Add(time.Second)
	s.d.Derive(schemas.ScoresTopic, "t/h", x, s.at)
}

// usual lets a host judge so many processes, of which one in twenty is unusual enough to be seen.
func (s *site) usual(n int) *site {
	for i := range n / 20 {
		s.units += 20
		s.send(s.score(gated[0], fmt.Sprintf("/usr/bin/usual%d", i), 0.04))
	}
	return s
}

// strange is a process that two detectors find most unusual.
func (s *site) strange(path string) *schemas.DetectorScore {
	s.units++
	s.send(s.score(gated[0], path, 0.0005))
	x := s.score(gated[1], path, 0.0005)
	s.send(x)
	return x
}

func (s *site) alerts() (out []*schemas.Alert) {
	for _, v := range s.d.Out(schemas.AlertsTopic) {
		out = append(out, v.(*schemas.Alert))
	}
	return out
}

// first are the alerts without later revisions.
func (s *site) first() (out []*schemas.Alert) {
	for _, a := range s.alerts() {
		if a.Revision == 0 {
			out = append(out, a)
		}
	}
	return out
}

func TestUnusualProcess(t *testing.T) {
	s := newSite(t, every()).usual(3000)
	s.strange("/tmp/x/implant")
	s.d.Tick(s.at.Add(2 * time.Minute))
	out := s.alerts()
	if len(out) != 2 || out[0].Revision != 0 || out[1].Revision != 1 || out[0].ID != out[1].ID {
		t.Fatalf("%d alerts, want one with a revision: %+v", len(out), out)
	}
	a := out[1]
	if a.ID != schemas.AlertID("t", "ensemble", "/tmp/x/implant", 0, a.Provenance.Causes[0]) {
		t.Errorf("id %s", a.ID)
	}
	if want := 1.0 / 2982; math.Abs(a.FusedP-want) > 1e-9 || a.Confidence != 1-a.FusedP {
		t.Errorf("p %v, want %v; confidence %v", a.FusedP, want, a.Confidence)
	}
	if a.Entity != (schemas.Entity{Type: "process", UID: "/tmp/x/implant", Name: "implant"}) || a.Hostname != "web1" || a.Process.Path != "/tmp/x/implant" || len(a.Lineage) != 1 {
		t.Errorf("entity %+v, process %+v", a.Entity, a.Process)
	}
	if a.Severity != "Low" || a.SeverityID != 2 || a.Title != "Program that rarely runs here: implant" || len(a.Techniques)+len(a.Tactics) != 0 {
		t.Errorf("severity %s, title %q, techniques %v", a.Severity, a.Title, a.Techniques)
	}
	if len(a.Provenance.Causes) != 2 || len(a.Inputs) != 2 || len(a.Features) != 2 || len(a.Detectors) != 2 {
		t.Errorf("%d causes, %d inputs, %d features, %d detectors", len(a.Provenance.Causes), len(a.Inputs), len(a.Features), len(a.Detectors))
	}
	if w := a.Detectors[0].Weight + a.Detectors[1].Weight; w != 1 {
		t.Errorf("weights sum to %v", w)
	}
	for _, part := range []string{"/tmp/x/implant (pid", "started by bash", "99.97 % of the last 2981 processes", "(rarity.executable, p 0.0005)"} {
		if !strings.Contains(a.Description, part) {
			t.Errorf("description lacks %q: %s", part, a.Description)
		}
	}
	s.d.Fuzz(3)
}

// TestFewProcesses shows that a host with too few processes cannot have one in a thousand.
func TestFewProcesses(t *testing.T) {
	s := newSite(t, every()).usual(900)
	s.strange("/tmp/implant")
	if out := s.alerts(); len(out) != 0 {
		t.Errorf("%d alerts", len(out))
	}
}

// TestFirstAlert holds what Config.StartsNeeded promises: the least p-value is small enough at that start, and not before.
func TestFirstAlert(t *testing.T) {
	const from = 501
	first := from + Defaults().StartsNeeded() - 1
	for _, unit := range []int64{first - 1, first} {
		s := newSite(t, Defaults())
		s.units = from
		x := s.score(gated[0], "/usr/bin/usual", 0.04)
		x.Sampled, x.EmitsFrom = true, from
		s.send(x)
		s.units = unit
		x = s.score(gated[0], "/tmp/implant", 0.0005)
		x.EmitsFrom = from
		s.send(x)
		if out := s.alerts(); (len(out) == 1) != (unit == first) {
			t.Errorf("%d alerts at start %d, and %d is the first there can be one", len(out), unit, first)
		}
	}
}

// TestBusyHost starts more processes in a day than the calibration stands for.
func TestBusyHost(t *testing.T) {
	cfg := Defaults()
	cfg.Window = 64
	s := newSite(t, cfg).usual(20_000)
	s.pass(24 * time.Hour).usual(2000)
	s.strange("/tmp/implant")
	if out := s.first(); len(out) != 1 || out[0].Entity.Name != "implant" {
		t.Errorf("%d alerts", len(out))
	}
	s.d.Fuzz(2)
}

// TestSampledIsNoEvidence sends scores of the audit sample, as in the warm-up.
func TestSampledIsNoEvidence(t *testing.T) {
	s := newSite(t, every())
	for i := range 100 {
		s.units += 50
		x := s.score(gated[0], fmt.Sprintf("/bin/p%d", i), 0.0001)
		x.Sampled = true
		s.send(x)
	}
	if out := s.alerts(); len(out) != 0 {
		t.Errorf("%d alerts", len(out))
	}
}

func TestDescendantsJoin(t *testing.T) {
	s := newSite(t, every()).usual(3000)
	s.strange("/tmp/dropper")
	s.pass(5 * time.Minute)
	child := func(path string, p float64) {
		x := s.score(gated[1], path, p)
		x.Ancestry = append([]schemas.Ancestor{{UID: "/tmp/dropper", Name: "dropper"}}, x.Ancestry...)
		s.units++
		s.send(x)
	}
	child("/usr/bin/id", 0.0009)
	child("/usr/bin/whoami", 0.0009)
	child("/usr/bin/ls", 0.04) // too usual to count
	s.d.Tick(s.at.Add(2 * time.Minute))
	out := s.alerts()
	if len(s.first()) != 1 || len(out) != 3 {
		t.Fatalf("%d alerts, %d records, want one with two revisions", len(s.first()), len(out))
	}
	a := out[2]
	if a.Entity.UID != "/tmp/dropper" || !strings.Contains(a.Description, "belong to it, 2: /usr/bin/id") || !strings.Contains(a.Description, "/usr/bin/whoami") {
		t.Errorf("last revision: %s", a.Description)
	}
	if want := []schemas.Entity{{Type: "process", UID: "/usr/bin/id", Name: "id"}, {Type: "process", UID: "/usr/bin/whoami", Name: "whoami"}}; !slices.Equal(a.Related, want) || len(out[0].Related) != 0 {
		t.Errorf("related are %v, and %v at first", a.Related, out[0].Related)
	}
	if strings.Contains(a.Description, "/usr/bin/ls") || len(a.Provenance.Causes) != 4 {
		t.Errorf("last revision has %d causes: %s", len(a.Provenance.Causes), a.Description)
	}
	s.d.Fuzz(3)
}

// TestTouchingIsNoBlame shows that what a process starts does not belong to an alert that is only about what it touched.
func TestTouchingIsNoBlame(t *testing.T) {
	s := newSite(t, every()).usual(3000)
	s.send(s.score(gated[2], "/usr/lib/systemd/systemd", 0.0005))
	x := s.score(gated[1], "/opt/new", 0.0005)
	x.Ancestry = []schemas.Ancestor{{UID: "/usr/lib/systemd/systemd", Name: "systemd"}}
	s.send(x)
	if out := s.first(); len(out) != 2 || out[0].Title != "systemd touches something new to it" || out[1].Title != "Program that systemd rarely starts: new" {
		t.Errorf("alerts: %+v", out)
	}
}

// TestAlikeJoins starts a program again that was an alert: it is the same alert.
func TestAlikeJoins(t *testing.T) {
	s := newSite(t, every()).usual(3000)
	s.strange("/tmp/implant")
	s.pass(2 * time.Hour).usual(100)
	x := s.score(gated[0], "/tmp/implant", 0.0005)
	x.Entity, x.Process.UID = "second", "second"
	s.send(x)
	s.d.Tick(s.at.Add(2 * time.Minute))
	if n := len(s.first()); n != 1 {
		t.Errorf("%d alerts, want 1", n)
	}
	s.pass(26 * time.Hour).usual(100) // the alert takes nothing in any more
	s.strange("/tmp/implant")
	if n := len(s.first()); n != 2 {
		t.Errorf("%d alerts after a day, want 2", n)
	}
	s.d.Fuzz(2)
}

func TestAtMostOneRevisionAMinute(t *testing.T) {
	s := newSite(t, every()).usual(12_000)
	s.strange("/tmp/dropper")
	for i := range 100 {
		x := s.score(gated[1], fmt.Sprintf("/usr/bin/tool%d", i), 0.0009)
		x.Ancestry = []schemas.Ancestor{{UID: "/tmp/dropper", Name: "dropper"}}
		s.units += 20
		s.send(x)
	}
	s.d.Tick(s.at.Add(2 * time.Minute))
	out := s.alerts()
	if len(out) < 3 || len(out) > 4 {
		t.Errorf("%d records in 100 seconds", len(out))
	}
	a := out[len(out)-1]
	if len(a.Provenance.Causes) > maxCauses || !strings.Contains(a.Description, "belong to it, ") {
		t.Errorf("%d causes, %s", len(a.Provenance.Causes), a.Description)
	}
	for i, a := range out {
		if a.Revision != int32(i) {
			t.Errorf("record %d has revision %d", i, a.Revision)
		}
	}
}

func TestBudget(t *testing.T) {
	cfg := every()
	s := newSite(t, cfg).usual(20_000)
	for i := range 6 {
		s.strange(fmt.Sprintf("/opt/app%d", i))
	}
	s.pass(time.Hour)
	s.strange("/opt/later")
	s.d.Tick(s.at.Add(time.Hour))
	out := s.first()
	var titles []string
	for _, a := range out {
		titles = append(titles, a.Title)
	}
	want := []string{"Program that rarely runs here: app0", "Program that rarely runs here: app1", "Program that rarely runs here: later", "Unusual processes held back by the alert budget"}
	if !slices.Equal(titles, want) {
		t.Fatalf("alerts %q, want %q", titles, want)
	}
	later, sum := out[2], out[3]
	if sum.HeldBack != 4 || sum.Severity != "Informational" || sum.Entity.Type != "host" || !strings.Contains(sum.Description, "/opt/app2 (pid") || !strings.Contains(sum.Description, "/opt/app5 (pid") ||
		len(sum.Provenance.Causes) < 4 || sum.Hostname != "web1" {
		t.Errorf("summary: %+v", sum)
	}
	if later.HeldBack != 4 {
		t.Errorf("later alert says that %d were held back", later.HeldBack)
	}
	s.d.Fuzz(3)
}

// TestSummaryIsAmended holds back in two hours of a day, and in one of the next.
func TestSummaryIsAmended(t *testing.T) {
	cfg := every()
	cfg.BudgetPerHour = 0
	s := newSite(t, cfg).usual(4000)
	for i, wait := range []time.Duration{0, 2 * time.Hour, 20 * time.Hour} {
		s.pass(wait)
		s.strange(fmt.Sprintf("/opt/app%d", i))
	}
	s.d.Tick(s.at.Add(2 * time.Hour))
	out := s.alerts()
	if len(out) != 3 || out[0].ID != out[1].ID || out[1].Revision != 1 || out[1].HeldBack != 2 || out[2].ID == out[0].ID || out[2].Revision != 0 || out[2].HeldBack != 1 {
		t.Errorf("summaries: %+v", out)
	}
}

// TestCut lets a host start so many processes a day that one in a thousand would be many alerts.
func TestCut(t *testing.T) {
	cfg := Defaults()
	cfg.BudgetPerHour = 1000
	s := newSite(t, cfg).usual(12_000)
	s.units += 20
	s.send(s.score(gated[0], "/opt/most", 0.0005))
	for i := range 8 {
		s.units += 20
		s.send(s.score(gated[0], fmt.Sprintf("/opt/app%d", i), 0.001))
	}
	s.d.Tick(s.at.Add(time.Hour))
	if out := s.first(); len(out) != 1 || out[0].Entity.Name != "most" {
		t.Errorf("alerts: %+v", out)
	}
}

func certain(s *site, rule, path, object string) *schemas.DetectorScore {
	x := s.score("signature."+rule, path, 0)
	x.Certain, x.SeverityID, x.Title, x.Score, x.Object, x.Techniques, x.Tactics = true, 4, "Thing that is certain", 1, object, []string{"T1620"}, []string{"defense-evasion"}
	return x
}

func TestCertain(t *testing.T) {
	s := newSite(t, every())
	s.send(certain(s, "memfd", "/memfd:x", "/memfd:x"))
	s.send(certain(s, "memfd", "/memfd:x", "/memfd:x")) // a repeat
	s.send(certain(s, "other", "/memfd:x", "10.0.0.1 port 443"))
	s.send(certain(s, "memfd", "/memfd:y", "/memfd:y"))
	s.d.Tick(s.at.Add(2 * time.Minute))
	out := s.alerts()
	if len(out) != 3 {
		t.Fatalf("%d alerts, want 3", len(out))
	}
	a := out[0]
	if a.ID != schemas.AlertID("t", "signature.memfd", "/memfd:x", 0, a.Provenance.Causes[0]) || a.Severity != "High" || a.Confidence != 1 || a.Title != "Thing that is certain" ||
		!slices.Equal(a.Techniques, []string{"T1620"}) || !slices.Equal(a.Tactics, []string{"defense-evasion"}) || len(a.Detectors) != 1 || a.Detectors[0].Weight != 1 || len(a.Inputs) != 1 {
		t.Errorf("alert: %+v", a)
	}
	if !(a.Risk > 50 && out[1].Risk > a.Risk) {
		t.Errorf("risks %v, %v", a.Risk, out[1].Risk)
	}
	s.d.Fuzz(3)
}

func TestCertainIsAmendedByNewObjects(t *testing.T) {
	s := newSite(t, every())
	s.send(certain(s, "thread", "/x", "/usr/bin/a"))
	s.send(certain(s, "thread", "/x", "/usr/bin/b"))
	s.send(certain(s, "thread", "/x", "/usr/bin/c"))
	s.send(certain(s, "thread", "/x", "/usr/bin/b"))
	s.d.Tick(s.at.Add(2 * time.Minute))
	out := s.alerts()
	if len(out) != 2 || out[1].Revision != 1 || !strings.Contains(out[1].Description, "/usr/bin/a, /usr/bin/b, /usr/bin/c. Times it was said again: 3.") || len(out[1].Provenance.Causes) != 3 {
		t.Fatalf("alerts: %+v", out)
	}
	s.pass(26 * time.Hour)
	s.send(certain(s, "thread", "/x", "/usr/bin/a"))
	if n := len(s.first()); n != 2 {
		t.Errorf("%d alerts after a day, want 2", n)
	}
}

// TestCertainPassesTheBudget, and uses it up.
func TestCertainPassesTheBudget(t *testing.T) {
	s := newSite(t, every()).usual(3000)
	for i := range 30 {
		s.send(certain(s, "memfd", fmt.Sprintf("/memfd:%d", i), ""))
	}
	s.strange("/opt/app")
	if n := len(s.first()); n != 30 {
		t.Errorf("%d alerts, want 30", n)
	}
}

// TestRarityJoinsCertain sends evidence about the process of a rule's alert, and one without an entity.
func TestRarityJoinsCertain(t *testing.T) {
	s := newSite(t, every()).usual(3000)
	s.send(certain(s, "memfd", "/memfd:x", ""))
	s.strange("/memfd:x")
	anonymous := certain(s, "memfd", "/memfd:x", "")
	anonymous.Entity, anonymous.Process.UID = "", ""
	s.send(anonymous)
	s.send(anonymous)
	s.d.Tick(s.at.Add(2 * time.Minute))
	out := s.alerts()
	if len(s.first()) != 3 {
		t.Fatalf("%d alerts, want 3", len(s.first()))
	}
	a := out[len(out)-1]
	if a.Revision != 1 || len(a.Detectors) != 3 || a.Detectors[0].Name != "signature.memfd" || a.Severity != "High" || a.Title != "Thing that is certain" || a.Confidence != 1 {
		t.Errorf("revision: %+v", a)
	}
	if e := out[2].Entity; e.Type != "host" || e.UID != "t/h" || e.Name != "web1" {
		t.Errorf("entity of the alert without a process: %+v", e)
	}
}

func TestRateIsShown(t *testing.T) {
	s := newSite(t, every()).usual(3000)
	s.send(&schemas.DetectorScore{Detector: "rate.host", Version: "1", EntityType: "host", Entity: "t/h", Title: "execs was 90 in a minute, where 3.9 is usual", PValue: 0.001,
		Features: []schemas.Feature{{Name: "rate.host", Value: 9}, {Name: "execs", Value: 90, Baseline: 3.9}}})
	s.strange("/opt/app")
	a := s.first()[0]
	if f := a.Features[len(a.Features)-1]; f.Name != "execs" || !strings.HasSuffix(a.Description, "On the host, execs was 90 in a minute, where 3.9 is usual.") {
		t.Errorf("alert: %+v", a)
	}
}

// TestUngatedDetectorsOnlyAddRisk sends scores of a detector that takes no part in decisions.
func TestUngatedDetectorsOnlyAddRisk(t *testing.T) {
	s := newSite(t, every()).usual(3000)
	for range 50 {
		s.send(s.score("flow.codebook", "/opt/app", 1e-6))
	}
	if n := len(s.alerts()); n != 0 {
		t.Fatalf("%d alerts", n)
	}
	s.strange("/opt/other")
	if a := s.first()[0]; a.Risk < 90 || a.Severity != "High" {
		t.Errorf("risk %v, severity %s", a.Risk, a.Severity)
	}
}

func TestRiskDecays(t *testing.T) {
	var r riskRow
	cfg := Defaults()
	r.add(cfg, hour, 16)
	at := r.shown()
	r.add(cfg, 2*hour, 0)
	if math.Abs(r.Fast-8) > 1e-9 || r.Slow < 15 {
		t.Errorf("after an hour: %+v", r)
	}
	r.add(cfg, hour, 0) // time does not go back
	if r.At != 2*hour {
		t.Errorf("time went back to %d", r.At)
	}
	if at != 79.8 || r.shown() >= at {
		t.Errorf("shown %v, then %v", at, r.shown())
	}
	if b := r.tactics(2*hour, []string{"execution", "persistence"}); b != tacticBonus {
		t.Errorf("bonus %v for one more tactic", b)
	}
	if b := r.tactics(30*hour, []string{"execution"}); b != 0 {
		t.Errorf("bonus %v a day later", b)
	}
}

func TestBadScores(t *testing.T) {
	s := newSite(t, every())
	for _, p := range []float64{0, -1, 1.5, math.NaN()} {
		s.send(s.score(gated[0], "/x", p))
	}
	if n := len(s.d.Out(schemas.DeadLetterTopic)); n != 4 {
		t.Errorf("%d dead letters, want 4", n)
	}
	p := New(Defaults())
	p.Accepts = nil
	d := streamstest.New(t, streams.Stage{Name: "ensemble", Processors: []*streams.Processor{p}})
	d.Derive(schemas.ScoresTopic, "t/h", &schemas.FeatureVector{}, s.at)
	if n := len(d.Out(schemas.DeadLetterTopic)); n != 1 {
		t.Errorf("%d dead letters for a record of another kind, want 1", n)
	}
}

// TestWhatLedToIt shows that an alert takes in what was unusual about its process and its ancestors just before.
func TestWhatLedToIt(t *testing.T) {
	s := newSite(t, every()).usual(3000)
	s.send(s.score(gated[0], "/usr/bin/wget", 0.04)) // as usual as the others
	child := s.score(gated[1], "/memfd:x", 0.04)
	s.send(child)
	rule := certain(s, "memfd", "/memfd:x", "")
	rule.Ancestry = append([]schemas.Ancestor{{UID: "/usr/bin/wget", PID: 77, Name: "wget", Path: "/usr/bin/wget"}}, rule.Ancestry...)
	s.send(rule)
	out := s.alerts()
	if len(out) != 1 {
		t.Fatalf("%d alerts, want 1", len(out))
	}
	a := out[0]
	if len(a.Detectors) != 2 || a.Detectors[1].Name != gated[1] || len(a.Provenance.Causes) != 3 || !strings.Contains(a.Description, "belong to it, 1: /usr/bin/wget (pid 77, p ") {
		t.Errorf("%d detectors, %d causes: %s", len(a.Detectors), len(a.Provenance.Causes), a.Description)
	}
	s.d.Fuzz(2)
}
