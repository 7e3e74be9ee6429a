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

// stage runs f on each event and emits the score that it returns. An event named refused is refused after f, so that what
// f did to the calibration must be undone.
func stage(make func(*streams.Builder) func(*schemas.ProcessExec) *schemas.DetectorScore) streams.Stage {
	return streams.Stage{Name: "x", Processors: []*streams.Processor{{Name: "x", Doc: "x", Version: "1", Inputs: []*schemas.Topic{schemas.EndpointTopic}, Outputs: []*schemas.Topic{schemas.ScoresTopic},
		New: func(b *streams.Builder) streams.Handler {
			f := make(b)
			return streams.HandlerFunc(func(ctx *streams.Context, r *streams.Record) error {
				e := r.Value.(*schemas.ProcessExec)
				s := f(e)
				if e.Process.Name == "refused" {
					panic("refused")
				}
				return ctx.Emit(schemas.ScoresTopic, s)
			})
		}}}}
}

func recent(n int) streams.Stage {
	return stage(func(b *streams.Builder) func(*schemas.ProcessExec) *schemas.DetectorScore {
		c := conformal.NewRecent(b, "c", n)
		return func(e *schemas.ProcessExec) *schemas.DetectorScore {
			s := float64(e.Process.PID) / 100
			p, k, units := c.Judge("class", s)
			return &schemas.DetectorScore{Score: s, PValue: p, Calibration: k, Units: units, Features: []schemas.Feature{{Baseline: c.Usual("class")}, {Baseline: c.Usual("other")}}}
		}
	})
}

type feed struct {
	d  *streamstest.Driver
	at time.Time
}

func newFeed(t *testing.T, s streams.Stage) *feed {
	return &feed{streamstest.New(t, s), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// exec appends an event whose score is pid/100.
func (f *feed) exec(pid int, name string, unit int64) {
	f.at = f.at.Add(time.Second)
	f.d.Ingest(&schemas.ProcessExec{Process: schemas.Process{PID: int64(pid), Name: name}, SessionID: unit}, f.at)
}

func (f *feed) scores() []*schemas.DetectorScore {
	var out []*schemas.DetectorScore
	for _, v := range f.d.Out(schemas.ScoresTopic) {
		out = append(out, v.(*schemas.DetectorScore))
	}
	return out
}

// binOf is the documented precision.
func binOf(pid int) int { return min(int(float64(pid)/100*64), 64*64) }

func TestRecentAgainstCounting(t *testing.T) {
	for _, n := range []int{100, 128, 1000} {
		f := newFeed(t, recent(n))
		r := rand.New(rand.NewPCG(1, uint64(n)))
		var all []int
		type want struct {
			p float64
			n int
		}
		var wants []want
		for range 600 {
			pid, name := r.IntN(3000), "a"
			if r.IntN(10) == 0 {
				name = "refused"
			}
			f.exec(pid, name, 0)
			if name == "refused" {
				continue
			}
			kept := all[max(len(all)/2, len(all)-n):] // the newer half, at most n
			above := 0
			for _, k := range kept {
				if binOf(k) >= binOf(pid) {
					above++
				}
			}
			wants = append(wants, want{float64(1+above) / float64(len(kept)+1), len(kept)})
			all = append(all, pid)
		}
		out := f.scores()
		if len(out) != len(wants) {
			t.Fatalf("n %d: %d scores, want %d", n, len(out), len(wants))
		}
		for i, s := range out {
			if s.PValue != wants[i].p || int(s.Calibration) != wants[i].n || s.Units != int64(i+1) {
				t.Fatalf("n %d: score %d: p %v over %d, unit %d, want %v over %d", n, i, s.PValue, s.Calibration, s.Units, wants[i].p, wants[i].n)
			}
		}
		f.d.Fuzz(3)
	}
}

func TestPValuesAreUniformOnNormal(t *testing.T) {
	f := newFeed(t, recent(2000))
	r := rand.New(rand.NewPCG(3, 4))
	for range 6000 {
		f.exec(int(1000+r.NormFloat64()*200), "a", 0)
	}
	var ps []float64
	for _, s := range f.scores()[2000:] {
		ps = append(ps, s.PValue)
	}
	out := f.scores()
	if x := out[len(out)-1].Features; math.Abs(x[0].Baseline-10) > 0.3 || x[1].Baseline != 0 {
		t.Errorf("usual are %v, and %v of nothing", x[0].Baseline, x[1].Baseline)
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
	f := newFeed(t, recent(64))
	for _, pid := range []int{-5, 0, 1 << 40, 1 << 40, 1} {
		f.exec(pid, "a", 0)
	}
	out := f.scores()
	for _, s := range out {
		if !(s.PValue > 0 && s.PValue <= 1) {
			t.Errorf("p-value %v", s.PValue)
		}
	}
	if p := out[3].PValue; p != 2.0/3 { // over 0 and 1<<40, which is of the same bin
		t.Errorf("p-value of the second huge score is %v", p)
	}
}

// censored judges and adds the scores it is shown; the event's session id is the unit's number. A name that is a digit
// raises the score of the unit that came so many events before.
func censored(n int) streams.Stage {
	return stage(func(b *streams.Builder) func(*schemas.ProcessExec) *schemas.DetectorScore {
		c := conformal.NewCensored(b, "c", n)
		return func(e *schemas.ProcessExec) *schemas.DetectorScore {
			s := float64(e.Process.PID) / 100
			if e.Process.Name == "raise" {
				own := e.Process.ParentPID
				p, k := c.P("class", e.SessionID, own, s)
				c.Raise("class", own, s)
				return &schemas.DetectorScore{Score: s, PValue: p, Calibration: k}
			}
			p, k := c.P("class", e.SessionID, 0, s)
			own := c.Add("class", e.SessionID, s)
			return &schemas.DetectorScore{Score: s, PValue: p, Calibration: k, Units: own}
		}
	})
}

// TestCensoredIsAsIfAllWereSeen compares with counting over all units, seen or not.
func TestCensoredIsAsIfAllWereSeen(t *testing.T) {
	f := newFeed(t, censored(1000))
	r := rand.New(rand.NewPCG(5, 6))
	var all []int
	var want []float64
	for unit := int64(1); unit <= 4000; unit++ {
		pid := int(r.ExpFloat64() * 300)
		if unit == 1 {
			pid = 2000 // counting begins with the first unit that is seen
		}
		if pid > 900 { // about one in twenty
			above := 0
			for _, x := range all {
				if binOf(x) >= binOf(pid) {
					above++
				}
			}
			want = append(want, float64(1+above)/float64(1+len(all)))
			f.exec(pid, "a", unit)
		}
		all = append(all, pid)
	}
	out := f.scores()
	if len(out) != len(want) {
		t.Fatalf("%d scores, want %d", len(out), len(want))
	}
	for i, s := range out {
		if s.PValue != want[i] {
			t.Fatalf("score %d: p %v over %d, want %v", i, s.PValue, s.Calibration, want[i])
		}
	}
	if out[0].PValue != 1 || out[0].Calibration != 0 {
		t.Errorf("the first score has p %v over %d", out[0].PValue, out[0].Calibration)
	}
	f.d.Fuzz(2)
}

func TestCensoredForgets(t *testing.T) {
	f := newFeed(t, censored(64))
	for i := range 200 {
		f.exec(5000, "a", int64(1+10*i)) // one of ten units is seen
	}
	out := f.scores()
	s := out[len(out)-1]
	// 64 are kept; the one before them was unit 1341 of now 1991.
	if s.Calibration != 649 || s.PValue != 65.0/650 {
		t.Errorf("p %v over %d, want 65/650 over 649", s.PValue, s.Calibration)
	}
}

func TestCensoredRaise(t *testing.T) {
	d := newFeed(t, censored(100))
	raise := func(pid int, own, unit int64, name string) {
		d.at = d.at.Add(time.Second)
		d.d.Ingest(&schemas.ProcessExec{Process: schemas.Process{PID: int64(pid), ParentPID: own, Name: name}, SessionID: unit}, d.at)
	}
	for i := range 10 {
		d.exec(100*(i+1), "a", int64(i+1))
	}
	raise(2000, 3, 10, "raise") // the third one is now the highest
	d.exec(1500, "a", 11)
	raise(1600, 11, 11, "raise") // itself does not count: above it is only the third
	for i := range 150 {
		d.exec(50, "a", int64(12+i))
	}
	raise(3000, 3, 161, "raise") // has left: it is compared with all, and changes nothing
	d.exec(2500, "a", 162)
	out := d.scores()
	for i, want := range map[int]float64{10: 1.0 / 10, 11: 2.0 / 11, 12: 2.0 / 11, 163: 1.0 / 101, 164: 1.0 / 101} {
		if out[i].PValue != want {
			t.Errorf("score %d has p %v over %d, want %v", i, out[i].PValue, out[i].Calibration, want)
		}
	}
	d.d.Fuzz(5)
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
