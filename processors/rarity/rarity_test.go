package rarity

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// feed drives rarity with the lineage and features of one host.
type feed struct {
	t   *testing.T
	d   *streamstest.Driver
	now time.Time
	n   int
}

func newFeed(t *testing.T, cfg Config) *feed {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return &feed{t: t, d: streamstest.New(t, streams.Stage{Name: "rarity", Processors: []*streams.Processor{New(cfg)}}), now: start}
}

func (f *feed) provenance(host string) schemas.Provenance {
	f.n++
	return schemas.Provenance{Tenant: "t", Host: host, Coverage: schemas.Coverage{Received: int64(f.n), Since: start.UnixNano()}}
}

func (f *feed) record(host string, l *schemas.LineageRecord) {
	f.t.Helper()
	l.Provenance = f.provenance(host)
	f.now = f.now.Add(time.Second)
	f.d.Derive(schemas.LineageTopic, "t/"+host, l, f.now)
}

func (f *feed) exec(host, parent, exe string) {
	f.t.Helper()
	f.record(host, &schemas.LineageRecord{Kind: "exec", Template: exe, Process: schemas.Process{UID: fmt.Sprintf("u%d", f.n), PID: int64(f.n), Path: exe, Name: exe}, Parent: schemas.Process{Path: parent}})
}

func (f *feed) file(host, exe, object string, first bool) {
	f.t.Helper()
	f.record(host, &schemas.LineageRecord{Kind: "file", Template: object, Object: object, FirstObject: first, Process: schemas.Process{UID: fmt.Sprintf("u%d", f.n), Path: exe}})
}

func (f *feed) minute(host string, execs float64, revision int32) {
	f.t.Helper()
	f.now = f.now.Add(time.Minute)
	f.d.Derive(schemas.FeaturesTopic, "t/"+host, &schemas.FeatureVector{Provenance: f.provenance(host), EntityType: "host", Entity: host, Revision: revision,
		WindowStart: f.now.Add(-time.Minute).UnixNano(), WindowEnd: f.now.UnixNano(), Features: []schemas.Feature{{Name: "execs", Value: execs}, {Name: "files", Value: 3}}}, f.now)
}

// routine is what a host does all day: n times one of a few programs.
func (f *feed) routine(host string, n int) {
	f.t.Helper()
	for i := range n {
		f.exec(host, "/usr/bin/bash", fmt.Sprintf("/usr/bin/tool%c", 'a'+i%8))
	}
}

// scores returns what was emitted, without the sample.
func (f *feed) scores() (out []*schemas.DetectorScore) {
	f.t.Helper()
	for _, v := range f.d.Out(schemas.ScoresTopic) {
		if s := v.(*schemas.DetectorScore); !s.Sampled {
			out = append(out, s)
		}
	}
	return out
}

func small() Config {
	return Config{Warmup: 10 * time.Minute, MinUnits: 100, Window: 512, MaxNames: 1000}
}

// TestWarmup: nothing is emitted while the warm-up lasts, however rare, but the sample.
func TestWarmup(t *testing.T) {
	f := newFeed(t, small())
	f.routine("h", 300)
	f.exec("h", "/usr/sbin/nginx", "/usr/bin/never") // 5 minutes in
	f.routine("h", 200)
	if got := f.scores(); len(got) > 0 {
		t.Fatalf("emitted within the warm-up: %+v", got[0])
	}
	if n := len(f.d.Out(schemas.ScoresTopic)); n == 0 || n > 20 {
		t.Errorf("sample of about 1000 scores is %d, want about one in %d", n, sampleOf)
	}
	f.d.Fuzz(3)
}

// TestMinUnits: time alone does not end the warm-up.
func TestMinUnits(t *testing.T) {
	f := newFeed(t, small())
	f.now = start.Add(time.Hour)
	f.routine("h", 40)
	f.exec("h", "/usr/sbin/nginx", "/usr/bin/never")
	if got := f.scores(); len(got) > 0 {
		t.Fatalf("emitted after 40 units: %+v", got[0])
	}
}

// TestUnusual: after the warm-up a program that never ran, under a parent that starts other things, is scored by both of
// its detectors, with what they saw; a common one is not.
func TestUnusual(t *testing.T) {
	f := newFeed(t, small())
	f.routine("h", 700)
	before := len(f.scores())
	f.exec("h", "/usr/bin/bash", "/usr/bin/toola")
	if got := f.scores(); len(got) != before {
		t.Errorf("a common program is emitted: %+v", got[len(got)-1])
	}
	f.exec("h", "/usr/bin/bash", "/opt/never")
	got := f.scores()[before:]
	if len(got) != 2 {
		t.Fatalf("%d scores, want 2", len(got))
	}
	for i, name := range []string{"rarity.executable", "rarity.lineage"} {
		s := got[i]
		if s.Detector != name || s.EntityType != "process" || s.Entity == "" || s.Title == "" || s.Version == "" {
			t.Errorf("score is %+v", s)
		}
		if s.PValue <= 0 || s.PValue >= emitP || s.Calibration < 100 || s.Units < 50 || s.Units > 110 || s.Score < 5 {
			t.Errorf("%s: p %v of %d, %d units, score %v", name, s.PValue, s.Calibration, s.Units, s.Score)
		}
		if len(s.Features) != 1 || s.Features[0].Value != 0 || s.Features[0].Baseline < 600 {
			t.Errorf("%s: evidence is %+v", name, s.Features)
		}
		if s.Process.Path != "/opt/never" || len(s.Provenance.Causes) != 1 {
			t.Errorf("%s: process %+v, causes %v", name, s.Process, s.Provenance.Causes)
		}
	}
	f.d.Fuzz(5)
}

// TestSnapshot: what ran already teaches, and is not scored.
func TestSnapshot(t *testing.T) {
	f := newFeed(t, small())
	f.routine("h", 700)
	before := len(f.scores())
	f.record("h", &schemas.LineageRecord{Kind: "exec", Snapshot: true, Template: "/opt/daemon", Process: schemas.Process{UID: "d", Path: "/opt/daemon"}, Parent: schemas.Process{Path: "/sbin/init"}})
	f.exec("h", "", "")                                                                     // nothing but an id is known
	f.record("h", &schemas.LineageRecord{Kind: "exit", Process: schemas.Process{UID: "d"}}) // is no activity
	if got := f.scores(); len(got) != before {
		t.Errorf("emitted: %+v", got[len(got)-1])
	}
	f.exec("h", "/sbin/init", "/opt/daemon")
	for _, s := range f.scores()[before:] {
		if s.Features[0].Value != 1 {
			t.Errorf("the scan has not taught: %+v", s.Features)
		}
	}
}

// TestTenantPrior: a program that is new on one host, and common on others of the tenant, is less of a surprise.
func TestTenantPrior(t *testing.T) {
	surprise := func(elsewhere bool) float64 {
		f := newFeed(t, small())
		for range 200 {
			if elsewhere {
				f.exec("other", "/usr/bin/bash", "/opt/agent")
			} else {
				f.exec("other", "/usr/bin/bash", "/usr/bin/toola")
			}
		}
		f.routine("h", 700)
		f.exec("h", "/usr/bin/bash", "/opt/agent")
		got := f.scores()
		if len(got) == 0 {
			t.Fatal("nothing is emitted")
		}
		return got[len(got)-1].Score
	}
	if known, unknown := surprise(true), surprise(false); known >= unknown-1 {
		t.Errorf("surprise is %.1f bits where it is known elsewhere, %.1f where not", known, unknown)
	}
}

// TestTouch: the first time that a program of steady habits touches something is a surprise; the hundredth new thing of one
// that always touches new things is not.
func TestTouch(t *testing.T) {
	f := newFeed(t, small())
	for i := range 400 {
		f.file("h", "/usr/bin/find", fmt.Sprintf("/srv/d%d", i), true)
		f.file("h", "/usr/sbin/cron", "/etc/crontab", i == 0)
	}
	before := len(f.scores())
	f.file("h", "/usr/sbin/cron", "/etc/crontab", false)
	f.file("h", "/usr/bin/find", "/srv/one-more", true)
	if got := f.scores(); len(got) != before {
		t.Errorf("ordinary activity is emitted: %+v", got[len(got)-1])
	}
	f.file("h", "/usr/sbin/cron", "/etc/shadow", true)
	got := f.scores()[before:]
	if len(got) != 1 || got[0].Detector != "rarity.template" || got[0].Object != "/etc/shadow" || got[0].Features[0].Name != "first_of_kind_file" {
		t.Fatalf("scores are %+v", got)
	}
	f.d.Fuzz(3)
}

// TestMinute: a minute in which a host does much more than ever is scored; an amendment of it is not scored again.
func TestMinute(t *testing.T) {
	f := newFeed(t, small())
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		f.minute("h", float64(20+r.IntN(20)), 0)
	}
	before := len(f.scores())
	f.minute("h", 5000, 0)
	f.minute("h", 5001, 1)
	got := f.scores()[before:]
	if len(got) != 1 {
		t.Fatalf("%d scores", len(got))
	}
	if s := got[0]; s.Detector != "rarity.rate" || s.EntityType != "host" || s.Entity != "t/h" || s.WindowStart == 0 || s.Object != "execs" || s.Features[0].Value != 5000 {
		t.Errorf("score is %+v", s)
	}
	f.d.Derive(schemas.FeaturesTopic, "t/h", &schemas.FeatureVector{Provenance: f.provenance("h"), EntityType: "process", Entity: "u"}, f.now)
	if got := f.scores()[before:]; len(got) != 1 {
		t.Errorf("a process's minute is scored: %+v", got[1])
	}
}

// TestCalibration: on stationary input, a program drawn from a fixed distribution each second, about one in twenty p-values
// is below 0.05. Ties count against the score, so where more than that is new each time, as with the long tail, none is.
func TestCalibration(t *testing.T) {
	for _, c := range []struct {
		names     uint64
		low, high float64
	}{{300, 0.02, 0.065}, {3000, 0, 0.065}} {
		cfg := small()
		cfg.MaxNames = 20_000
		f := newFeed(t, cfg)
		zipf := rand.NewZipf(rand.New(rand.NewPCG(3, 4)), 1.1, 20, c.names)
		const n = 12_000
		for range n {
			f.exec("h", "/usr/bin/bash", "/usr/bin/p"+letters(zipf.Uint64()))
		}
		count := map[string]int{}
		for _, s := range f.scores() {
			count[s.Detector]++
		}
		for _, d := range []string{"rarity.executable", "rarity.lineage"} {
			share := float64(count[d]) / n
			t.Logf("%d names, %s: %.3f of p-values are below %v", c.names, d, share, emitP)
			if share > c.high || share < c.low {
				t.Errorf("%d names, %s: %.3f of p-values are below %v, want %v to %v", c.names, d, share, emitP, c.low, c.high)
			}
		}
	}
}

// letters writes a number without digits, which templates would replace.
func letters(n uint64) string {
	var b strings.Builder
	for ; ; n /= 26 {
		b.WriteByte(byte('a' + n%26))
		if n < 26 {
			return b.String()
		}
	}
}

// TestMaxNames: a flood of names does not grow the tables, and what was counted before still counts.
func TestMaxNames(t *testing.T) {
	cfg := small()
	cfg.MaxNames = 100
	f := newFeed(t, cfg)
	f.routine("h", 100)
	for i := range 400 {
		f.exec("h", "/usr/bin/bash", "/srv/x"+letters(uint64(i)))
		f.file("h", "/srv/y"+letters(uint64(i)), "/etc/x", true)
	}
	f.routine("h", 300)
	before := len(f.scores())
	f.exec("h", "/usr/bin/bash", "/usr/bin/toola")
	if got := f.scores(); len(got) != before {
		t.Errorf("a known program is a surprise: %+v", got[len(got)-1])
	}
	f.d.Fuzz(2)
}

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	errs := streams.SettingErrors(Config{Warmup: -1, MinUnits: 1, Window: 3, MaxNames: 0}.Validate())
	var keys []string
	for _, e := range errs {
		keys = append(keys, e.Key)
		if e.Want == "" || e.Value == "" {
			t.Errorf("problem is %+v", e)
		}
	}
	if got := strings.Join(keys, " "); got != "rarity.warmup rarity.min_units rarity.window rarity.max_names" {
		t.Errorf("problems are of %s", got)
	}
}

// TestCrash: both inputs, under random ends of transactions, aborts and crashes.
func TestCrash(t *testing.T) {
	f := newFeed(t, Config{MinUnits: 20, Window: 64, MaxNames: 100})
	for i := range 24 {
		f.minute("h", float64(20+i%5), 0)
	}
	f.minute("h", 5000, 0)
	f.exec("h", "/usr/bin/bash", "/opt/never")
	if got := f.scores(); len(got) != 1 {
		t.Fatalf("%d scores", len(got))
	}
	f.d.Fuzz(8)
}

func TestScenarios(t *testing.T) {
	cfg := Config{Warmup: time.Minute, MinUnits: 20, Window: 64, MaxNames: 100}
	streamstest.Run(t, streams.Stage{Name: "rarity", Processors: []*streams.Processor{New(cfg)}}, "testdata/*.txtar")
}
