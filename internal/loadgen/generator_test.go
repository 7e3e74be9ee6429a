package loadgen

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// digest is the SHA-256 of the JSON of the first n events.
func digest(t testing.TB, cfg Config, n int) string {
	t.Helper()
	g, h := New(cfg), sha256.New()
	enc := json.NewEncoder(h)
	for range n {
		if err := enc.Encode(g.Next()); err != nil {
			t.Fatal(err)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestSameSeedSameEvents(t *testing.T) {
	const n = 50_000
	a := digest(t, Config{Seed: 7}, n)
	if b := digest(t, Config{Seed: 7}, n); b != a {
		t.Errorf("two generators of one seed differ: %s and %s", a, b)
	}
	if b := digest(t, Config{Seed: 8}, n); b == a {
		t.Error("another seed gives the same events")
	}
	// Figures of benchmarks can be compared only as long as the events stay the same, on every machine.
	if want := "771fce16a0ef690c6be19e765e4f6dd135d132e12235df8321b4c8309e3df318"; a != want {
		t.Errorf("the events have changed: digest %s, want %s", a, want)
	}
}

// seen is what a test collects of a stream of events.
type seen struct {
	kinds     map[string]int
	programs  map[string]int
	edges     map[string]int
	lines     map[string]int
	argc      []int
	argBytes  []int
	depth     []int
	lifetimes []float64 // in events of the host
	children  map[string]int
	forked    map[string]bool
	execs     map[string]int
	noExec    int
	exits     int
	most      int // processes on a host at once
}

func collect(t *testing.T, cfg Config, n int) *seen {
	t.Helper()
	s := &seen{kinds: map[string]int{}, programs: map[string]int{}, edges: map[string]int{}, lines: map[string]int{}, children: map[string]int{}, forked: map[string]bool{},
		execs: map[string]int{}}
	type process struct {
		path string
		at   int64
	}
	hosts := map[string]map[string]*process{}
	sequence := map[string]int64{}
	var last int64
	g := New(cfg)
	for i := range n {
		e := g.Next()
		env := e.Env()
		sequence[env.Host]++
		if env.Sequence != sequence[env.Host] || env.Tenant == "" || env.Boot == "" || env.Collector == "" || env.Stream == "" {
			t.Fatalf("event %d has the id %s, want number %d", i, env.EventID(), sequence[env.Host])
		}
		if env.Time <= last {
			t.Fatalf("event %d happens at %d, not after %d", i, env.Time, last)
		}
		last = env.Time
		live := hosts[env.Host]
		if live == nil {
			live = map[string]*process{}
			hosts[env.Host] = live
		}
		known := func(p *schemas.Process) *process {
			q := live[p.UID]
			if q == nil {
				t.Fatalf("event %d (%s): process %d does not run", i, e.SchemaName(), p.PID)
			}
			if p.UID != schemas.ProcessUID(env.Host, env.Boot, p.PID, p.CreatedTime) {
				t.Fatalf("event %d: %s is not the uid of process %d", i, p.UID, p.PID)
			}
			return q
		}
		s.kinds[e.SchemaName()]++
		switch e := e.(type) {
		case *schemas.ProcessFork:
			parent := known(&e.Parent)
			if parent.path != e.Process.Path || e.Process.ParentPID != e.Parent.PID || live[e.Process.UID] != nil {
				t.Fatalf("event %d: %+v is no copy of its parent", i, e.Process)
			}
			live[e.Process.UID] = &process{parent.path, env.Sequence}
			s.children[e.Parent.UID]++
			s.forked[e.Process.UID] = true
		case *schemas.ProcessExec:
			if e.Snapshot {
				live[e.Process.UID] = &process{e.Process.Path, env.Sequence}
				continue
			}
			known(&e.Process).path = e.Process.Path
			s.execs[e.Process.UID]++
			s.programs[e.Process.Path]++
			s.edges[e.Parent.Path+" "+e.Process.Path]++
			s.lines[e.Process.CmdLine]++
			s.argc = append(s.argc, len(e.Args))
			s.argBytes = append(s.argBytes, len(e.Process.CmdLine))
			s.depth = append(s.depth, strings.Count(e.Process.Path, "/"))
			if e.Process.CmdLine != strings.Join(e.Args, " ") {
				t.Fatalf("event %d: command line %q of %q", i, e.Process.CmdLine, e.Args)
			}
		case *schemas.ProcessExit:
			p := known(&e.Process)
			delete(live, e.Process.UID)
			s.exits++
			s.lifetimes = append(s.lifetimes, float64(env.Sequence-p.at))
			if s.execs[e.Process.UID] == 0 {
				s.noExec++
			}
		case *schemas.FileActivity:
			known(&e.Process)
		case *schemas.NetworkActivity:
			known(&e.Process)
		}
		s.most = max(s.most, len(live))
	}
	return s
}

func quantile[T int | float64](l []T, share float64) T {
	slices.Sort(l)
	return l[int(share*float64(len(l)-1))]
}

// between checks a figure against bounds around what was measured.
func between[T int | float64](t *testing.T, what string, got, low, high T) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s is %v, want %v to %v", what, got, low, high)
	}
}

func TestShapes(t *testing.T) {
	const n = 200_000
	s := collect(t, Config{Seed: 1}, n)
	for k, want := range map[string]float64{"ProcessExec": 29, "ProcessFork": 28, "ProcessExit": 28, "FileActivity": 10, "NetworkActivity": 5} {
		between(t, "share of "+k, 100*float64(s.kinds[k])/n, want-1, want+1)
	}
	childless := 0
	for uid := range s.forked {
		if s.children[uid] == 0 {
			childless++
		}
	}
	between(t, "share of processes without children", float64(childless)/float64(len(s.forked)), 0.75, 0.92)
	var most int
	for _, c := range s.children {
		most = max(most, c)
	}
	between(t, "children of the busiest hub", most, 200, n)
	between(t, "share of forks without exec", float64(s.noExec)/float64(s.exits), 0.01, 0.19)
	between(t, "distinct programs", len(s.programs), 170, 175)
	between(t, "distinct edges", len(s.edges), 183, 400)
	between(t, "arguments, median", quantile(s.argc, 0.5), 3, 10)
	between(t, "arguments, 95 %", quantile(s.argc, 0.95), 13, 29)
	between(t, "bytes of arguments, median", quantile(s.argBytes, 0.5), 50, 100)
	between(t, "bytes of arguments, 95 %", quantile(s.argBytes, 0.95), 300, 600)
	between(t, "bytes of arguments, 99 %", quantile(s.argBytes, 0.99), 500, 1600)
	between(t, "depth of programs, median", quantile(s.depth, 0.5), 3, 7)
	between(t, "depth of programs, most", quantile(s.depth, 1), 6, 7)
	between(t, "lifetime, 95 % over median", quantile(s.lifetimes, 0.95)/quantile(s.lifetimes, 0.5), 5, 200)
	between(t, "processes at once", s.most, 150, 420)
	t.Logf("edges %d, programs %d, childless %.3f, no exec %.3f, argc %d/%d, bytes %d/%d/%d, lifetimes %v/%v, most %d, exponent %.2f", len(s.edges), len(s.programs),
		float64(childless)/float64(len(s.forked)), float64(s.noExec)/float64(s.exits), quantile(s.argc, 0.5), quantile(s.argc, 0.95), quantile(s.argBytes, 0.5),
		quantile(s.argBytes, 0.95), quantile(s.argBytes, 0.99), quantile(s.lifetimes, 0.5), quantile(s.lifetimes, 0.95), s.most, exponent(s.programs))
	between(t, "exponent of programs", exponent(s.programs), 1.1, 1.45)
}

func TestHalfOfCommandLinesAreDistinct(t *testing.T) {
	s := collect(t, Config{Seed: 3}, 5000)
	between(t, "share of distinct command lines", float64(len(s.lines))/float64(len(s.argc)), 0.4, 0.7)
}

// exponent is the maximum-likelihood estimate of a Zipf exponent over the ranks that occur.
func exponent(counts map[string]int) float64 {
	var v []int
	for _, c := range counts {
		v = append(v, c)
	}
	slices.SortFunc(v, func(a, b int) int { return b - a })
	best, at := math.Inf(-1), 0.0
	for s := 0.5; s < 2.5; s += 0.01 {
		ll, sum, n := 0.0, 0.0, 0
		for i, c := range v {
			ll -= s * float64(c) * math.Log(float64(i+1))
			sum += math.Pow(float64(i+1), -s)
			n += c
		}
		if ll -= float64(n) * math.Log(sum); ll > best {
			best, at = ll, s
		}
	}
	return at
}

func TestConfig(t *testing.T) {
	start := time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	g := New(Config{Seed: 1, Tenant: "acme", Hosts: 3, Rate: 1000, Start: start, Mix: Mix{Exit: math.NaN(), Network: 1}})
	hosts := map[string]int{}
	for i := range 10_000 {
		e := g.Next()
		env := e.Env()
		hosts[env.Host]++
		if want := start.Add(time.Duration(i) * time.Millisecond).UnixNano(); env.Time != want || env.Tenant != "acme" {
			t.Fatalf("event %d of %s is at %d, want %d", i, env.Tenant, env.Time, want)
		}
		if _, ok := e.(*schemas.NetworkActivity); ok != (i >= 3*hubs) {
			t.Fatalf("event %d is a %s", i, e.SchemaName())
		}
	}
	if len(hosts) != 3 {
		t.Errorf("events of %d hosts, want 3", len(hosts))
	}
	for _, n := range hosts {
		between(t, "events of a host", n, 3000, 3700)
	}
}

// TestOddMixes asks for what cannot be: the generator must still find something to do.
func TestOddMixes(t *testing.T) {
	for _, m := range []Mix{{Exit: 1}, {Exec: 1}, {Fork: 1}, {Exec: 1, Exit: 1}, {File: -1, Network: math.Inf(-1)}} {
		s := collect(t, Config{Seed: 5, Hosts: 2, Processes: 1, Executables: 1, Mix: m}, 5000)
		between(t, "processes at once", s.most, hubs, hubs+4)
	}
}

func TestEventsAreReused(t *testing.T) {
	g := New(Config{Seed: 1, Hosts: 1})
	first := g.Next()
	if allocs := testing.AllocsPerRun(1000, func() { g.Next() }); allocs > 6 {
		t.Errorf("%.1f allocations for each event", allocs)
	}
	for range 100 {
		if e := g.Next(); e.SchemaName() == first.SchemaName() && e != first {
			t.Fatalf("%s is another one", e.SchemaName())
		}
	}
}

func BenchmarkNext(b *testing.B) {
	g := New(Config{Seed: 1})
	b.ReportAllocs()
	for b.Loop() {
		g.Next()
	}
}
