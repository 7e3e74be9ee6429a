package rarity

import (
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

func (h *host) minute(values ...float64) {
	h.at = h.at.Add(time.Minute)
	v := &schemas.FeatureVector{EntityType: "host", Entity: h.key, WindowStart: h.at.Add(-time.Minute).UnixNano(), WindowEnd: h.at.UnixNano()}
	for i, x := range values {
		v.Features = append(v.Features, schemas.Feature{Name: []string{"execs", "files"}[i], Value: x})
	}
	h.d.Derive(schemas.FeaturesTopic, h.key, v, h.at)
}

func TestBusyMinute(t *testing.T) {
	h := newHost(t, Config{Warmup: time.Minute, MinUnits: 40, Window: 200, MaxNames: 100})
	for i := range 50 {
		h.minute(3+float64(i%3), 5)
	}
	h.minute(90, 6)
	h.minute(4, 5)
	h.minute(5, 200)
	out := h.unusual()
	if len(out) != 2 {
		t.Fatalf("%d unusual minutes, want 2", len(out))
	}
	s := out[0]
	if s.EntityType != "host" || s.Entity != "t/h" || s.WindowStart == 0 || s.Units != 51 || s.PValue != 1.0/26 {
		t.Errorf("first: %+v", s)
	}
	if f := s.Features[1]; f.Name != "execs" || f.Value != 90 || f.Baseline < 3 || f.Baseline > 5 {
		t.Errorf("feature of the first: %+v", f)
	}
	if f := out[1].Features[1]; f.Name != "files" || f.Value != 200 || f.Baseline < 4.9 || f.Baseline > 6 {
		t.Errorf("feature of the second: %+v", f)
	}
	h.d.Fuzz(1)
}

// TestOneOutlierIsNoRule sends a minute that is far off: what is usual hardly moves.
func TestOneOutlierIsNoRule(t *testing.T) {
	h := newHost(t, quick)
	for range 90 {
		h.minute(4)
	}
	for range 3 {
		h.minute(1e9)
	}
	out := h.unusual()
	if len(out) == 0 {
		t.Fatal("nothing is unusual")
	}
	if b := out[len(out)-1].Features[1].Baseline; b > 5 {
		t.Errorf("baseline has moved to %v", b)
	}
}

// TestOtherFeatures sends a vector with another number of features, as after an upgrade: what is usual is learnt anew.
func TestOtherFeatures(t *testing.T) {
	h := newHost(t, quick)
	for range 90 {
		h.minute(4)
	}
	h.minute(90, 90)
	if out := h.unusual(); len(out) != 0 {
		t.Errorf("%d unusual minutes", len(out))
	}
}

// TestReadiness follows a host from its first minute until all of its detectors emit.
func TestReadiness(t *testing.T) {
	h := newHost(t, quick)
	last := func() (r *schemas.Readiness) {
		for _, v := range h.d.Out(schemas.ScoresTopic) {
			if x, ok := v.(*schemas.Readiness); ok {
				r = x
			}
		}
		return r
	}
	h.exec("/usr/bin/find", "/usr/bin/bash")
	h.minute(1, 1)
	r := last()
	if r == nil || r.Provenance.Host != "h" || r.ReadyFrom-r.WatchedSince != quick.Warmup.Nanoseconds() || len(r.Detectors) != len(detectors) {
		t.Fatalf("first: %+v", r)
	}
	if d := r.Detectors[0]; d != (schemas.DetectorReadiness{Detector: executable, Unit: "program starts", Units: 1, UnitsNeeded: 61}) {
		t.Errorf("executable: %+v", d)
	}
	for range 60 {
		h.exec("/usr/bin/find", "/usr/bin/bash")
	}
	h.minute(60, 1)
	r = last()
	if d := r.Detectors[0]; d.Units != 61 || d.EmitsFrom != 61 {
		t.Errorf("executable after 61 starts: %+v", d)
	}
	if d := r.Detectors[2]; d.Detector != object || d.Units != 0 || d.EmitsFrom != 0 {
		t.Errorf("template, which has judged nothing: %+v", d)
	}
	if d := r.Detectors[3]; d.Units != 2 || d.EmitsFrom != 0 {
		t.Errorf("rate: %+v", d)
	}
	h.exec("/opt/new", "/usr/bin/bash")
	if out := h.unusual(); len(out) == 0 || out[0].EmitsFrom != 61 || out[0].Units != 62 {
		t.Errorf("scores: %+v", out)
	}
	h.d.Fuzz(3)
}
