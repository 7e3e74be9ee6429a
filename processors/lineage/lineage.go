package lineage

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Config bounds what lineage writes and remembers.
type Config struct {
	// Repeats is how many activities with one object a process writes before repeats are only counted, 1 to 14; 0 means 8.
	Repeats int `json:"repeats"`
	// MaxProcesses is how many processes of a host are remembered, at least 100; 0 means 50,000.
	MaxProcesses int `json:"max_processes"`
	// MaxFacts is how many first-seen facts of a host are remembered, at least 100; 0 means 65,536.
	MaxFacts int `json:"max_facts"`
}

func (c Config) withDefaults() Config {
	for _, x := range []struct {
		v   *int
		def int
	}{{&c.Repeats, 8}, {&c.MaxProcesses, 50_000}, {&c.MaxFacts, 65_536}} {
		if *x.v == 0 {
			*x.v = x.def
		}
	}
	return c
}

// Validate reports everything that is wrong, each as a streams.SettingError.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(key string, value int, want string) {
		errs = append(errs, &streams.SettingError{Key: "lineage." + key, Value: strconv.Itoa(value), Want: want})
	}
	if c.Repeats < 1 || c.Repeats >= maxCell {
		bad("repeats", c.Repeats, fmt.Sprintf("a number from 1 to %d, or 0 for the default", maxCell-1))
	}
	if c.MaxProcesses < 100 {
		bad("max_processes", c.MaxProcesses, "a number from 100 on, or 0 for the default")
	}
	if c.MaxFacts < 100 {
		bad("max_facts", c.MaxFacts, "a number from 100 on, or 0 for the default")
	}
	return errors.Join(errs...)
}

const (
	linger = int64(time.Minute)     // how long a process stays after its end
	pulse  = int64(time.Minute)     // how long repeats may go unwritten
	skew   = int64(2 * time.Second) // by how much two sources may differ about one moment
)

// Processor is the lineage processor with the default configuration.
var Processor = New(Config{})

// New returns the lineage processor. The configuration must be valid.
func New(cfg Config) *streams.Processor {
	cfg = cfg.withDefaults()
	return &streams.Processor{
		Name:    "lineage",
		Doc:     "Each activity with its process, ancestors and first-seen facts.",
		Version: "1",
		Inputs:  []*schemas.Topic{schemas.NormalizedTopic},
		Accepts: []string{"ProcessExec", "ProcessFork", "ProcessExit", "ProcessAccess", "FileActivity", "NetworkActivity", "DNSActivity", "MemoryActivity",
			"ModuleActivity", "RegistryActivity"},
		Outputs: []*schemas.Topic{schemas.LineageTopic},
		Config:  cfg,
		New:     func(b *streams.Builder) streams.Handler { return newHandler(b, cfg) },
	}
}

type handler struct {
	cfg        Config
	processes  *streams.Table[processRow]
	activities *streams.Table[activityRow]
	facts      *streams.Table[factRow]
	losses     *streams.Table[lossRow]

	hosts     map[string]*host
	templates paths.Cache
	buf       []byte
	open      bool // a record was begun and not finished
}

func newHandler(b *streams.Builder, cfg Config) *handler {
	h := &handler{
		cfg:        cfg,
		processes:  streams.NewTable[processRow](b, "process"),
		activities: streams.NewTable[activityRow](b, "activity"),
		facts:      streams.NewTable[factRow](b, "fact"),
		losses:     streams.NewTable[lossRow](b, "loss"),
		hosts:      map[string]*host{},
	}
	b.TrackTime()
	b.OnRestore(h.rebuild)
	return h
}

// Process implements streams.Handler.
func (h *handler) Process(c *streams.Context, r *streams.Record) error {
	e, ok := r.Value.(schemas.Event)
	if !ok {
		return fmt.Errorf("value is a %s, not an event", r.Value.SchemaName())
	}
	if strings.Count(r.Key, "/") != 1 {
		return fmt.Errorf("record key %q is not tenant/host", r.Key)
	}
	if h.open { // the last record was refused: the engine has put the tables back, but not what was derived from them
		h.rebuild()
	}
	h.open = true
	hs := h.host(r.Key)
	hs.reap(c.Watermark())
	hs.evict(c.Watermark())
	s := step{c: c, h: h, host: hs, env: e.Env(), at: r.Time}
	if err := s.take(e); err != nil {
		return err
	}
	h.open = false
	return nil
}

func (h *handler) host(key string) *host {
	hs := h.hosts[key]
	if hs == nil {
		hs = newHost(h, key)
		h.hosts[key] = hs
	}
	return hs
}

// step is the processing of one event.
type step struct {
	c    *streams.Context
	h    *handler
	host *host
	env  *schemas.Envelope
	at   int64 // event time
}

func (s *step) take(e schemas.Event) error {
	switch e := e.(type) {
	case *schemas.ProcessExec:
		return s.exec(e)
	case *schemas.ProcessFork:
		s.fork(e)
		return nil
	case *schemas.ProcessExit:
		return s.exit(e)
	}
	var a activity
	s.describe(e, &a)
	return s.activity(&a)
}
