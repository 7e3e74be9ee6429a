package rarity

import (
	"fmt"
	"math"
	"strings"

	"github.com/amoskys/amoskys/processors/internal/conformal"
	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

const (
	version  = "1"
	emitP    = 0.05 // what is not unusual is counted in units instead
	oneIn    = 256  // of the sample for audits
	scaleOf  = 64   // scores are multiples of 1/64, so that the last bit of a logarithm never shows
	weight   = 1.0 / 128
	anything = 1.0 / 1024 // probability of an executable that the tenant never ran

	executable = "rarity.executable"
	descent    = "rarity.lineage"
	object     = "rarity.template"
	minutes    = "rate.host"

	// Bounds of totals, at which counts are halved.
	executables = 8192
	children    = 512
	objects     = 1024
)

// Processor is the processor with default settings.
var Processor = New(Defaults())

// New returns the processor. The settings must be valid.
func New(cfg Config) *streams.Processor {
	return &streams.Processor{
		Name: "rarity", Version: version, Doc: "How rarely the like of a process, of what it touches, and of a host's minute was seen.",
		Inputs: []*schemas.Topic{schemas.LineageTopic, schemas.FeaturesTopic}, Accepts: []string{"LineageRecord", "FeatureVector"},
		Outputs: []*schemas.Topic{schemas.ScoresTopic}, Config: cfg,
		New: func(b *streams.Builder) streams.Handler { return newHandler(b, cfg) },
	}
}

type handler struct {
	cfg    Config
	counts *counts
	procs  *processes
	cal    *conformal.Recent
	hosts  *streams.Table[hostRow]
	rates  *streams.Table[rateRow]

	templates paths.Cache
	keys      map[string]*keys // a cache of keys, by record key
}

// keys are the texts that every record of a host needs.
type keys struct{ tenant, here, wide, executable, lineage, template, rate string }

func newHandler(b *streams.Builder, cfg Config) *handler {
	r := newRoom(b, cfg.MaxNames)
	return &handler{
		cfg: cfg, counts: newCounts(b, r), procs: newProcesses(b, r), cal: conformal.NewRecent(b, "cal", cfg.Window),
		hosts: streams.NewTable[hostRow](b, "host"), rates: streams.NewTable[rateRow](b, "rate"),
		keys: map[string]*keys{},
	}
}

// Process implements streams.Handler.
func (h *handler) Process(c *streams.Context, r *streams.Record) error {
	x := subject{c: c, h: h, r: r, at: min(r.Time, r.Origin.IngestTime*1e6)} // a clock that is ahead ends no warm-up
	known := false
	if x.host, known = h.hosts.Get(r.Key); !known {
		x.host = hostRow{First: x.at, From: make([]int64, len(detectors))}
		h.hosts.Put(r.Key, x.host)
	}
	x.keys = h.keysOf(r.Key)
	switch v := r.Value.(type) {
	case *schemas.LineageRecord:
		switch {
		case v.Kind == "exit":
			h.procs.ended(r.Key, v.Process.UID)
			return nil
		case v.Template == "": // an exec of which only the pid is known
			return nil
		case v.Kind == "exec":
			return x.exec(v)
		}
		return x.touch(v)
	case *schemas.FeatureVector:
		return x.minute(v)
	}
	return fmt.Errorf("value is a %s, not a LineageRecord or FeatureVector", r.Value.SchemaName())
}

// subject is one record being judged.
type subject struct {
	c    *streams.Context
	h    *handler
	r    *streams.Record
	keys *keys
	host hostRow
	at   int64 // event time
}

// surprise is −log2 p as a multiple of 1/64.
func surprise(p float64) float64 { return math.Round(-math.Log2(p)*scaleOf) / scaleOf }

func (x *subject) exec(l *schemas.LineageRecord) error {
	m, exe := x.h.counts, l.Template
	host, wide := m.context(x.r.Key, x.keys.here), m.context(x.keys.tenant, x.keys.wide)
	n, o := m.name(&host, exe), m.name(&wide, exe)
	p := mix(n.share(&host, host.row.Total), mix(o.share(&wide, wide.row.Total), anything))
	f := finding{detector: executable, class: x.keys.executable, score: surprise(p), part: n.row.Count, of: host.row.Total, process: l}
	m.add(&host, &n, executables, x.at)
	m.add(&wide, &o, executables, x.at)

	if !l.Snapshot {
		if err := x.judge(&f); err != nil {
			return err
		}
	}
	if parent := x.h.templates.Template(l.Parent.Program()); parent != "" {
		return x.child(l, parent, p)
	}
	return nil
}

// child judges the start of an executable of probability p under a parent.
func (x *subject) child(l *schemas.LineageRecord, parent string, p float64) error {
	m := x.h.counts
	under := m.context(x.r.Key, contextKey(x.r.Key, "l", parent))
	n := m.name(&under, l.Template)
	p = min(1, n.share(&under, under.row.Total+under.row.New+1)+float64(under.novelty()*p))
	f := finding{detector: descent, class: x.keys.lineage, part: n.row.Count, of: under.row.Total, process: l}
	m.add(&under, &n, children, x.at)
	if l.Snapshot {
		return nil
	}
	f.score = x.h.procs.chain(x.r.Key, l.Parent.UID, surprise(p), x.at)
	x.h.procs.started(x.r.Key, l.Process.UID, f.score, x.at)
	return x.judge(&f)
}

// mix is a relative frequency smoothed by what is known besides.
func mix(share, below float64) float64 { return float64((1-weight)*share) + float64(weight*below) }

// touch judges what an executable touches for the first time.
func (x *subject) touch(l *schemas.LineageRecord) error {
	exe := x.h.templates.Template(l.Process.Program())
	if exe == "" {
		return nil
	}
	m := x.h.counts
	of := m.context(x.r.Key, contextKey(x.r.Key, l.Kind, exe))
	f := finding{detector: object, class: x.keys.template, score: surprise(of.novelty()), part: of.row.New, of: of.row.Total, process: l}
	m.count(&of, l.FirstObject, objects, x.at)
	if !l.FirstObject {
		return nil
	}
	f.tries = x.h.procs.touched(x.r.Key, l.Process.UID, x.at)
	return x.judge(&f)
}

// finding is a score on its way.
type finding struct {
	detector, class string
	score           float64
	part, of        int64                  // the counts behind it
	tries           int64                  // how often the process was judged by the detector lately, if more than once
	process         *schemas.LineageRecord // nil for a host
	start           int64                  // of the window
	rate            schemas.Feature        // of a host
}

// judge turns a score into a p-value, learns it, and emits it if it is unusual and the warm-up is over, or if it is of the
// sample.
func (x *subject) judge(f *finding) error {
	p, n, units := x.h.cal.Judge(f.class, f.score)
	p = min(1, p*float64(max(1, f.tries)))
	from := x.emitsFrom(f.detector, units)
	unusual := p < emitP && from > 0
	if !unusual && !chosen(f.detector, x.r.Causes) {
		return nil
	}
	s := &schemas.DetectorScore{
		Detector: f.detector, Version: version, EntityType: "host", Entity: x.r.Key, Title: f.title(), Score: f.score, PValue: p, Calibration: n, Units: units,
		Sampled: !unusual, WindowStart: f.start, EmitsFrom: from,
		Features: append([]schemas.Feature{{Name: f.detector, Value: f.score, Baseline: x.h.cal.Usual(f.class)}}, f.features()...),
	}
	if l := f.process; l != nil {
		s.EntityType, s.Entity, s.Process, s.Ancestry, s.Object, s.Hostname = "process", l.Process.UID, l.Process, l.Ancestry, l.Object, l.Hostname
	}
	return x.c.Emit(schemas.ScoresTopic, s)
}

// chosen chooses the sample by the hash of the causes (FNV-1a, finished as in MurmurHash3), so that a replay chooses the
// same.
func chosen(detector string, causes []string) bool {
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	for i := range len(detector) {
		h = (h ^ uint64(detector[i])) * prime
	}
	for _, s := range causes {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * prime
		}
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h ^= h >> 33
	return h < math.MaxUint64/oneIn
}

// maxKeys bounds the cache of keys; when it is emptied does not matter.
const maxKeys = 1 << 15

// keysOf returns the keys of a host.
func (h *handler) keysOf(host string) *keys {
	k := h.keys[host]
	if k == nil {
		if len(h.keys) >= maxKeys {
			clear(h.keys)
		}
		tenant, _, _ := strings.Cut(host, "/")
		wide := "tenant|" + tenant
		k = &keys{wide, contextKey(host, "e", ""), contextKey(wide, "e", ""), executable + "|" + host, descent + "|" + host, object + "|" + host, minutes + "|" + host}
		h.keys[host] = k
	}
	return k
}
