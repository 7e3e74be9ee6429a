package conformal_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/amoskys/amoskys/processors/internal/conformal"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

// stage scores the number that an event carries, and emits its p-value; an event named refused is refused after it was
// added, so that the calibration must be undone.
func stage(n int) streams.Stage {
	return streams.Stage{Name: "x", Processors: []*streams.Processor{{Name: "x", Doc: "x", Version: "1", Inputs: []*schemas.Topic{schemas.EndpointTopic}, Outputs: []*schemas.Topic{schemas.ScoresTopic},
		New: func(b *streams.Builder) streams.Handler {
			c := conformal.New(b, "c", n)
			return streams.HandlerFunc(func(ctx *streams.Context, r *streams.Record) error {
				e := r.Value.(*schemas.ProcessExec)
				s := float64(e.Process.PID) / 100
				p, k := c.P("class", s)
				c.Add("class", s)
				if e.Process.Name == "refused" {
					panic("refused")
				}
				return ctx.Emit(schemas.ScoresTopic, &schemas.DetectorScore{Score: s, PValue: p, Calibration: k, Units: c.Added("class")})
			})
		}}}}
}

func TestAgainstCounting(t *testing.T) {
	const n = 128
	d := streamstest.New(t, stage(n))
	r := rand.New(rand.NewPCG(1, 2))
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var kept []int
	type want struct {
		p float64
		n int
	}
	var wants []want
	for range 600 {
		pid := r.IntN(3000)
		name := "a"
		if r.IntN(10) == 0 {
			name = "refused"
		}
		at = at.Add(time.Second)
		d.Ingest(&schemas.ProcessExec{Process: schemas.Process{PID: int64(pid), Name: name}}, at)
		if name == "refused" {
			continue
		}
		above := 0
		for _, k := range kept {
			if int(float64(k)/100*64) >= int(float64(pid)/100*64) {
				above++
			}
		}
		wants = append(wants, want{float64(1+above) / float64(len(kept)+1), len(kept)})
		if kept = append(kept, pid); len(kept) > n {
			kept = kept[1:]
		}
	}
	out := d.Out(schemas.ScoresTopic)
	if len(out) != len(wants) {
		t.Fatalf("%d scores, want %d", len(out), len(wants))
	}
	for i, v := range out {
		s := v.(*schemas.DetectorScore)
		if math.Abs(s.PValue-wants[i].p) > 1e-12 || int(s.Calibration) != wants[i].n {
			t.Fatalf("score %d: p %v over %d, want %v over %d", i, s.PValue, s.Calibration, wants[i].p, wants[i].n)
		}
	}
	d.Fuzz(20)
}

func TestPValuesAreUniformOnNormal(t *testing.T) {
	d := streamstest.New(t, stage(2048))
	r := rand.New(rand.NewPCG(3, 4))
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 6000 {
		at = at.Add(time.Second)
		d.Ingest(&schemas.ProcessExec{Process: schemas.Process{PID: int64(1000 + r.NormFloat64()*200)}}, at)
	}
	var ps []float64
	for _, v := range d.Out(schemas.ScoresTopic)[2048:] {
		ps = append(ps, v.(*schemas.DetectorScore).PValue)
	}
	slices.Sort(ps)
	for _, q := range []float64{0.01, 0.05, 0.5} {
		n, _ := slices.BinarySearch(ps, q)
		if got := float64(n) / float64(len(ps)); math.Abs(got-q) > 0.02 {
			t.Errorf("share of p-values below %v is %v", q, got)
		}
	}
}

func TestOddScores(t *testing.T) {
	d := streamstest.New(t, stage(64))
	for i, pid := range []int64{-5, 0, 1 << 40, 1 << 40, 1} {
		d.Ingest(&schemas.ProcessExec{Process: schemas.Process{PID: pid}}, time.Unix(int64(1000+i), 0))
	}
	for _, v := range d.Out(schemas.ScoresTopic) {
		if p := v.(*schemas.DetectorScore).PValue; !(p > 0 && p <= 1) {
			t.Errorf("p-value %v", p)
		}
	}
}

func TestHarmonicMean(t *testing.T) {
	if got := conformal.HarmonicMean([]float64{0.01}, 1); got != 0.01 {
		t.Errorf("one member: %v", got)
	}
	if got := conformal.HarmonicMean([]float64{0.5, 0.5}, 2); got != 0.5 {
		t.Errorf("two equal members: %v", got)
	}
	one, two := conformal.HarmonicMean([]float64{0.001}, 3), conformal.HarmonicMean([]float64{0.001, 0.01}, 3)
	if !(two < one && one < 1) {
		t.Errorf("agreement does not lower the value: %v, %v", one, two)
	}
	if got := conformal.HarmonicMean(nil, 3); got != 1 {
		t.Errorf("no members: %v", got)
	}
}
