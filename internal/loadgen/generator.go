package loadgen

import (
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// A Mix is how often each kind of event comes, in any unit. Where a kind is not possible at the moment, as an exit on a
// host with no process left, another one takes its place, so shares are met to within a percent or so.
type Mix struct{ Exec, Fork, Exit, File, Network float64 }

// DefaultMix is the mix of a Config that has none.
var DefaultMix = Mix{Exec: 29, Fork: 28, Exit: 28, File: 10, Network: 5}

// A Config says what is generated. Of all numbers 0 means the default, and what makes no sense is taken as the nearest
// thing that does.
type Config struct {
	Seed        uint64    // the same seed gives the same events
	Tenant      string    // default
	Hosts       int       // 4
	Processes   int       // running on each host, on average: 200
	Executables int       // distinct programs: 175
	Exponent    float64   // of their frequencies (Zipf): 1.2
	Mix         Mix       // DefaultMix
	Rate        float64   // events for each second of event time, over all hosts: 10000
	Start       time.Time // event time of the first event: 2025-01-01 UTC
}

func (c Config) defaults() Config {
	c.Hosts, c.Processes, c.Executables = orElse(c.Hosts, 4), orElse(c.Processes, 200), orElse(c.Executables, 175)
	if c.Tenant == "" {
		c.Tenant = "default"
	}
	if !(c.Exponent > 0) {
		c.Exponent = 1.2
	}
	if !(c.Rate > 0) {
		c.Rate = 10_000
	}
	if c.Start.IsZero() {
		c.Start = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	m := &c.Mix
	for _, w := range []*float64{&m.Exec, &m.Fork, &m.Exit, &m.File, &m.Network} {
		if !(*w > 0) {
			*w = 0
		}
	}
	if *m == (Mix{}) {
		*m = DefaultMix
	}
	return c
}

func orElse(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// kind is one kind of event.
type kind int

const (
	execKind kind = iota
	forkKind
	exitKind
	fileKind
	networkKind
)

// A Generator makes events. It is used by one goroutine.
type Generator struct {
	cfg   Config
	r     random
	words *vocabulary
	mix   ranks
	hosts []*host
	n     int64 // events made
	start int64
	step  float64 // nanoseconds between events

	// The events, which are used again.
	exec    schemas.ProcessExec
	fork    schemas.ProcessFork
	exit    schemas.ProcessExit
	file    schemas.FileActivity
	network schemas.NetworkActivity
}

// New returns a generator.
func New(cfg Config) *Generator {
	cfg = cfg.defaults()
	m := cfg.Mix
	g := &Generator{cfg: cfg, r: newRandom(cfg.Seed, 2), words: newVocabulary(cfg), mix: newRanks([]float64{m.Exec, m.Fork, m.Exit, m.File, m.Network}),
		start: cfg.Start.UnixNano(), step: 1e9 / cfg.Rate}
	for i := range cfg.Hosts {
		g.hosts = append(g.hosts, newHost(g, i))
	}
	return g
}

// Next returns the next event. It, and everything it points to, is valid until the following call. There is no end.
//
// The first events are the programs that run all the time, hubs, as a collector reports them when it starts.
func (g *Generator) Next() schemas.Event {
	t := g.start + int64(float64(g.n)*g.step)
	h := g.hosts[g.r.below(len(g.hosts))]
	if g.n < int64(len(g.hosts)*hubs) {
		h = g.hosts[g.n/hubs]
	}
	g.n++
	h.sequence++
	if len(h.hubs) < hubs {
		return h.boot(t)
	}
	switch h.possible(kind(g.mix.draw(g.r))) {
	case execKind:
		return h.exec(t)
	case forkKind:
		return h.fork(t)
	case exitKind:
		return h.exit(t)
	case fileKind:
		return h.file(t)
	}
	return h.network(t)
}

func (g *Generator) envelope(h *host, t int64, class, activity, priority int32) schemas.Envelope {
	return schemas.Envelope{Tenant: g.cfg.Tenant, Host: h.id, Boot: h.bootID, Collector: "bench", Stream: "p0", Sequence: h.sequence, Time: t,
		ClassUID: class, ActivityID: activity, Priority: priority, Hostname: h.name, Platform: "linux"}
}
