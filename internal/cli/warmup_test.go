package cli

import (
	"maps"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/prometheus/client_golang/prometheus"
)

func readiness(host string, units, from int64) *schemas.Readiness {
	return &schemas.Readiness{Provenance: schemas.Provenance{Tenant: "t", Host: host, Time: int64(20 * time.Minute)}, ReadyFrom: int64(time.Hour),
		Detectors: []schemas.DetectorReadiness{{Detector: firstDetector, Unit: "program starts", Units: units, UnitsNeeded: 501, EmitsFrom: from}}}
}

func TestWarmupIsToldWhole(t *testing.T) {
	w := newWarmup(1000)
	says := func(want string) {
		t.Helper()
		if got := w.String(); got != want {
			t.Errorf("says %q, want %q", got, want)
		}
	}
	says("warm-up: not told yet (it is when the first clock minute of a host is over)")
	w.take(readiness("a", 100, 0))
	says("warm-up: alerts on rarity need 40m0s and at least 1400 more program starts; certain rules alert at once")
	w.take(readiness("a", 700, 0)) // the units are enough, the time is not
	says("warm-up: alerts on rarity need 40m0s and at least 1000 more program starts; certain rules alert at once")
	w.saw(int64(2 * time.Hour))
	w.take(readiness("a", 900, 801))
	says("warm-up: alerts on rarity need at least 900 more program starts; certain rules alert at once")
	w.take(readiness("b", 5000, 501))
	says("warm-up: alerts on rarity need at least 900 more program starts (1 of 2 hosts); certain rules alert at once")
	w.take(readiness("a", 1800, 801))
	says("warm-up: done")
}

func TestWarmupMetrics(t *testing.T) {
	w := newWarmup(1000)
	w.take(readiness("a", 100, 0))
	w.take(readiness("b", 5000, 501))
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(w)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{
		"amoskys_warmup_hosts ensemble": 1, "amoskys_warmup_left_units ensemble": 1400, "amoskys_warmup_left_seconds ensemble": 2400,
		"amoskys_warmup_hosts rarity.executable": 1, "amoskys_warmup_left_units rarity.executable": 401, "amoskys_warmup_left_seconds rarity.executable": 2400,
	}
	if !maps.Equal(got, want) {
		t.Errorf("metrics %v, want %v", got, want)
	}
}
