package rarity

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

var quick = Config{Warmup: time.Minute, MinUnits: 60, Window: 200, MaxNames: 100}

func stage(cfg Config) streams.Stage {
	return streams.Stage{Name: "rarity", Processors: []*streams.Processor{New(cfg)}}
}

func Test(t *testing.T) { streamstest.Run(t, stage(quick), "testdata/*.txtar") }

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	err := Config{Warmup: -1, MinUnits: 1, Window: 1, MaxNames: 1}.Validate()
	for _, key := range []string{"rarity.warmup", "rarity.min_units", "rarity.window", "rarity.max_names"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not reported: %v", key, err)
		}
	}
	var se *streams.SettingError
	if !errors.As(err, &se) {
		t.Errorf("%T is not a SettingError", err)
	}
}

// host feeds the records of one host.
type host struct {
	d   *streamstest.Driver
	key string
	at  time.Time
}

func newHost(t testing.TB, cfg Config) *host {
	return &host{streamstest.New(t, stage(cfg)), "t/h", time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)}
}

func (h *host) exec(path, parent string) {
	h.at = h.at.Add(time.Second)
	h.d.Derive(schemas.LineageTopic, h.key, &schemas.LineageRecord{Kind: "exec", Template: path, Process: schemas.Process{UID: fmt.Sprint(h.at.UnixNano()), Path: path},
		Parent: schemas.Process{UID: "p", Path: parent}}, h.at)
}

// unusual lists the scores that are not there as a sample.
func (h *host) unusual() (out []*schemas.DetectorScore) {
	for _, v := range h.d.Out(schemas.ScoresTopic) {
		if s, ok := v.(*schemas.DetectorScore); ok && !s.Sampled {
			out = append(out, s)
		}
	}
	return out
}

// TestCalibration runs a host with a long tail of programs, some always new, and counts how many starts are below 0.01.
func TestCalibration(t *testing.T) {
	h := newHost(t, Config{Warmup: time.Minute, MinUnits: 500, Window: 2000, MaxNames: 5000})
	r := rand.New(rand.NewPCG(1, 2))
	z := rand.NewZipf(r, 1.3, 3, 30)
	const n = 4000
	for i := range n {
		exe := fmt.Sprintf("/usr/bin/tool%d", z.Uint64())
		if r.IntN(50) == 0 {
			exe = fmt.Sprintf("/opt/new%d", i)
		}
		h.exec(exe, "/usr/bin/bash")
	}
	below := map[string]int{}
	for _, s := range h.unusual() {
		if s.PValue <= 0.03 {
			below[s.Detector]++
		}
	}
	for _, d := range []string{executable, descent} {
		// 2 % of starts are new for ever, so their p-value is about 0.02, whenever they come.
		if share := float64(below[d]) / (n - 500); share < 0.01 || share > 0.04 {
			t.Errorf("%.3f of the starts have p ≤ 0.03 by %s", share, d)
		}
	}
}

// TestNewIsAsUnusualLater is why the weight of the prior is fixed: a new program must not be the most unusual ever only
// because the host was watched for longer.
func TestNewIsAsUnusualLater(t *testing.T) {
	h := newHost(t, quick)
	for i := range 400 {
		exe := "/usr/bin/find"
		if i%20 == 19 {
			exe = fmt.Sprintf("/opt/new%d", i)
		}
		h.exec(exe, "")
	}
	for i, s := range h.unusual() {
		if s.PValue < 0.02 {
			t.Errorf("score %d has p %v, but one start in twenty is new: %s", i, s.PValue, s.Title)
		}
	}
}

// TestNeighboursCount shows that a program is less of a surprise if the tenant's other hosts run it.
func TestNeighboursCount(t *testing.T) {
	score := func(neighbour string) float64 {
		h := newHost(t, quick)
		for range 70 {
			h.key = "t/other"
			h.exec(neighbour, "/usr/bin/bash")
			h.key = "t/h"
			h.exec("/usr/bin/find", "/usr/bin/bash")
		}
		h.exec("/usr/bin/rsync", "/usr/bin/bash")
		out := h.unusual()
		if len(out) == 0 {
			t.Fatal("no scores")
		}
		for _, s := range out {
			if s.Detector == executable && s.Process.Path == "/usr/bin/rsync" {
				return s.Score
			}
		}
		t.Fatal("rsync has no score")
		return 0
	}
	known, unknown := score("/usr/bin/rsync"), score("/usr/bin/vi")
	if known >= unknown {
		t.Errorf("known to a neighbour: %v bits, unknown: %v bits", known, unknown)
	}
}

// TestRoom runs more names than there is room for: what is in use stays known.
func TestRoom(t *testing.T) {
	h := newHost(t, quick)
	for i := range 250 {
		h.exec("/usr/bin/find", "/usr/bin/bash")
		h.exec(fmt.Sprintf("/opt/new%d", i), fmt.Sprintf("/opt/parent%d", i))
	}
	h.exec("/usr/bin/find", "/usr/bin/bash")
	for _, s := range h.unusual() {
		if s.Process.Path == "/usr/bin/find" {
			t.Errorf("find is unusual: %s", s.Title)
		}
	}
	h.d.Fuzz(1)
}

func TestRoomIsBounded(t *testing.T) {
	var c *counts
	p := *New(quick)
	p.New = func(b *streams.Builder) streams.Handler {
		h := newHandler(b, quick)
		c = h.counts
		return h
	}
	h := &host{streamstest.New(t, streams.Stage{Name: "rarity", Processors: []*streams.Processor{&p}}), "t/h", time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)}
	for i := range 1000 {
		h.exec(fmt.Sprintf("/opt/new%d", i), fmt.Sprintf("/opt/parent%d", i%300))
	}
	h.d.Counts("rarity")
	if n := c.names.Len() + c.contexts.Len(); n > 2*quick.MaxNames {
		t.Errorf("%d rows for two owners with room for %d each", n, quick.MaxNames)
	}
}

func TestAgeing(t *testing.T) {
	h := newHost(t, Config{Warmup: time.Minute, MinUnits: 60, Window: 64, MaxNames: 1000})
	h.exec("/usr/bin/once", "/usr/bin/bash")
	for range 3 * children {
		h.exec("/usr/bin/find", "/usr/bin/bash")
	}
	h.exec("/usr/bin/once", "/usr/bin/bash")
	h.exec("/usr/bin/never", "/usr/bin/bash")
	once, never := 0.0, 0.0
	for _, s := range h.unusual() {
		if s.Detector != descent {
			continue
		}
		switch s.Process.Path {
		case "/usr/bin/once":
			once = s.Score
		case "/usr/bin/never":
			never = s.Score
		}
	}
	if !(once > 8 && once < never) {
		t.Errorf("seen long ago: %v bits, never seen: %v bits", once, never)
	}
}

// TestForgedClock sends a record from the far future: it must not end the warm-up.
func TestForgedClock(t *testing.T) {
	h := newHost(t, Config{Warmup: 100 * time.Hour, MinUnits: 60, Window: 200, MaxNames: 100})
	for range 100 {
		h.exec("/usr/bin/find", "/usr/bin/bash")
	}
	h.d.Derive(schemas.LineageTopic, "t/h", &schemas.LineageRecord{Kind: "exec", Template: "/opt/x", Process: schemas.Process{UID: "x", Path: "/opt/x"},
		Provenance: schemas.Provenance{Time: h.at.Add(1000 * time.Hour).UnixNano()}}, h.at)
	if out := h.unusual(); len(out) != 0 {
		t.Errorf("%d scores in the warm-up", len(out))
	}
}

func TestSample(t *testing.T) {
	n := 0
	for i := range 100_000 {
		if chosen(executable, []string{fmt.Sprintf("t/h/b/proc/p0/%d", i)}) {
			n++
		}
	}
	if n < 300 || n > 480 { // 391 expected, five standard deviations
		t.Errorf("%d of 100,000 are chosen", n)
	}
}

func TestUnknownRecord(t *testing.T) {
	p := New(quick)
	p.Accepts = []string{"LineageRecord", "FeatureVector", "DetectorScore"}
	d := streamstest.New(t, streams.Stage{Name: "rarity", Processors: []*streams.Processor{p}})
	d.Derive(schemas.LineageTopic, "t/h", &schemas.DetectorScore{}, time.Unix(1000, 0))
	if n := len(d.Out(schemas.DeadLetterTopic)); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

// TestOddNames gives names that no program should have. Nothing comes of the empty one, and none makes a title that is long
// or no text.
func TestOddNames(t *testing.T) {
	h := newHost(t, quick)
	for range 70 {
		h.exec("/usr/bin/find", "/usr/bin/bash")
	}
	before := len(h.d.Out(schemas.ScoresTopic))
	for range 20 {
		h.exec("", "/usr/bin/bash")
	}
	if n := len(h.d.Out(schemas.ScoresTopic)) - before; n != 0 {
		t.Errorf("%d scores of programs without a name", n)
	}
	h.exec("/usr/bin/find", "")
	for _, name := range []string{"/" + strings.Repeat("漢", 40_000), "/a\x00b|c", "/\u202e\x1b[2J", " ", "/tmp/#"} {
		h.exec(name, name)
	}
	out := h.unusual()
	if len(out) == 0 {
		t.Fatal("no scores of odd names")
	}
	for _, s := range out {
		if !utf8.ValidString(s.Title) || len(s.Title) > 3*maxWord || strings.Contains(s.Title, "were  ") {
			t.Errorf("title of %d bytes: %.80q", len(s.Title), s.Title)
		}
	}
	h.d.Fuzz(2)
}

// TestManyNames starts far more programs than are counted, each once: those in use are still known, and a second run over
// the same records forgets the same.
func TestManyNames(t *testing.T) {
	run := func() (last string) {
		h, seen := newHost(t, quick), 0
		for i := range 30 * quick.MaxNames {
			h.exec(fmt.Sprintf("/opt/%c%c%c", 'a'+i%26, 'a'+i/26%26, 'a'+i/676%26), "/usr/bin/bash")
			if i%5 == 0 {
				h.exec("/usr/bin/find", "/usr/bin/bash")
			}
		}
		for _, v := range h.d.Out(schemas.ScoresTopic) {
			if s, ok := v.(*schemas.DetectorScore); ok && s.Detector == executable && s.Process.Path == "/usr/bin/find" {
				seen++
				if s.Units > 300 && strings.HasPrefix(s.Title, "none") {
					t.Errorf("unit %d: a program in use was forgotten: %s", s.Units, s.Title)
				}
			}
			if s, ok := v.(*schemas.DetectorScore); ok {
				last += fmt.Sprintf("%s %d %v\n", s.Detector, s.Units, s.PValue)
			}
		}
		if seen == 0 {
			t.Error("no score of the program in use is among the sample")
		}
		return last
	}
	if a, b := run(), run(); a != b || a == "" {
		t.Error("two runs over the same records differ")
	}
}
