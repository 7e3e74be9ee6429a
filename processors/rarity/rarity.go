package rarity

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"time"

	"github.com/amoskys/amoskys/processors/internal/conformal"
	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Config are the settings.
type Config struct {
	// Warmup is the event time after a host's first event during which nothing is emitted.
	Warmup time.Duration `yaml:"warmup" json:"warmup"`
	// MinUnits is the least number of calibrated scores before anything is emitted.
	MinUnits int `yaml:"min_units" json:"min_units"`
	// Window is how many scores a p-value is calibrated against.
	Window int `yaml:"window" json:"window"`
	// MaxNames bounds the distinct names that are counted for a host; further ones count as new.
	MaxNames int `yaml:"max_names" json:"max_names"`
}

// Defaults are the settings that hold where none are given.
func Defaults() Config {
	return Config{Warmup: time.Hour, MinUnits: 200, Window: 2048, MaxNames: 50_000}
}

// Validate reports everything that is wrong, each as a streams.SettingError.
func (c Config) Validate() error {
	var errs []error
	bad := func(key string, value any, want string) {
		errs = append(errs, &streams.SettingError{Key: "rarity." + key, Value: fmt.Sprint(value), Want: want})
	}
	if c.Warmup < 0 || c.Warmup > 30*24*time.Hour {
		bad("warmup", c.Warmup, "a duration of 0 to 720h")
	}
	if c.MinUnits < 20 || c.MinUnits > c.Window {
		bad("min_units", c.MinUnits, "a number from 20 to rarity.window")
	}
	if c.Window < 64 || c.Window > 1<<20 {
		bad("window", c.Window, "a number from 64 to 1048576")
	}
	if c.MaxNames < 100 {
		bad("max_names", c.MaxNames, "a number from 100 on")
	}
	return errors.Join(errs...)
}

const (
	version  = "1"
	emitP    = 0.05 // DESIGN: write little; what is not unusual is counted in units
	sampleOf = 256  // one in so many scores is emitted whatever its p-value
)

// Processor is the processor with default settings.
var Processor = New(Defaults())

// New returns the processor. The settings must be valid.
func New(cfg Config) *streams.Processor {
	return &streams.Processor{
		Name: "rarity", Version: version, Doc: "How rarely the like of a process, of what it touches, and of a host's minute was seen.",
		Inputs: []*schemas.Topic{schemas.LineageTopic, schemas.FeaturesTopic}, Accepts: []string{"LineageRecord", "FeatureVector"},
		Outputs: []*schemas.Topic{schemas.ScoresTopic}, Config: cfg,
		New: func(b *streams.Builder) streams.Handler {
			return &handler{cfg: cfg, counts: newCounts(b, cfg.MaxNames), cal: conformal.New(b, "cal", cfg.Window), units: streams.NewTable[unitRow](b, "unit")}
		},
	}
}

type handler struct {
	cfg    Config
	counts *counts
	cal    *conformal.Calibrator
	units  *streams.Table[unitRow]
}

// unitRow counts what was scored of a host after its warm-up, by detector. Its key is that of the host and the detector.
type unitRow struct {
	N int64 `avro:"n"`
}

// Process implements streams.Handler.
func (h *handler) Process(c *streams.Context, r *streams.Record) error {
	switch v := r.Value.(type) {
	case *schemas.LineageRecord:
		if v.Kind == "exec" {
			return h.exec(c, r, v)
		}
		return h.touch(c, r, v)
	case *schemas.FeatureVector:
		return h.minute(c, r, v)
	}
	return fmt.Errorf("value is a %s", r.Value.SchemaName())
}

// finding is one score on its way.
type finding struct {
	detector string
	score    float64
	features []schemas.Feature
	learn    bool // it only teaches
}

func (h *handler) exec(c *streams.Context, r *streams.Record, l *schemas.LineageRecord) error {
	exe := l.Template
	if exe == "" {
		return nil // a process of which nothing but its id is known
	}
	parent := paths.Template(l.Parent.Path)
	tenant := l.Provenance.Tenant
	bits, n := h.counts.surprise(r.Key, tenant, "e", exe, false)
	err := h.emit(c, r, l, finding{"rarity.executable", bits, []schemas.Feature{
		{Name: "executable_seen", Value: float64(n), Baseline: float64(h.counts.total(r.Key, "e"))}}, l.Snapshot})
	if err == nil && parent != "" {
		bits, m := h.counts.surprise(r.Key, tenant, "l|"+parent, exe, true)
		err = h.emit(c, r, l, finding{"rarity.lineage", bits, []schemas.Feature{
			{Name: "child_of_parent_seen", Value: float64(m), Baseline: float64(h.counts.total(r.Key, "l|"+parent))}}, l.Snapshot})
		h.counts.add(r.Key, tenant, "l|"+parent, exe)
	}
	h.counts.add(r.Key, tenant, "e", exe)
	return err
}

// touch scores the first time that an executable touches something of a kind.
func (h *handler) touch(c *streams.Context, r *streams.Record, l *schemas.LineageRecord) error {
	if l.Template == "" || l.Kind == "exit" {
		return nil
	}
	class := l.Kind + "|" + paths.Template(l.Process.Path)
	types, tokens := h.counts.touched(r.Key, class, l.FirstObject)
	if !l.FirstObject {
		return nil
	}
	chance := float64(types+1) / float64(types+tokens+2)
	return h.emit(c, r, l, finding{"rarity.template", -math.Log2(chance), []schemas.Feature{
		{Name: "first_of_kind_" + l.Kind, Value: float64(types + 1), Baseline: float64(tokens)}}, false})
}

// emit turns a score into a p-value, learns it, and emits it if it is unusual and the warm-up is over, or if it is of the
// sample.
func (h *handler) emit(c *streams.Context, r *streams.Record, l *schemas.LineageRecord, f finding) error {
	p, n := h.pvalue(r.Key, l.Provenance.Tenant, f)
	if f.learn {
		return nil
	}
	warm := h.warm(r, n)
	units := h.count(r.Key, f.detector, warm)
	unusual, sampled := warm && p < emitP, sample(f.detector, r.Causes)
	if !unusual && !sampled {
		return nil
	}
	return c.Emit(schemas.ScoresTopic, &schemas.DetectorScore{
		Detector: f.detector, Version: version, EntityType: "process", Entity: l.Process.UID, Title: titles[f.detector], Score: f.score, PValue: p,
		Calibration: n, Units: units, Sampled: !unusual, Features: f.features, Process: l.Process, Ancestry: l.Ancestry,
		Object: l.Object, Hostname: l.Hostname,
	})
}

var titles = map[string]string{
	"rarity.executable": "Program that rarely runs here",
	"rarity.lineage":    "Program under a parent that rarely starts it",
	"rarity.template":   "Program touches something it never touched before",
	"rarity.rate":       "Host does unusually much in a minute",
}

// pvalue calibrates a score by the host, or by the tenant while the host has few, and adds it to both.
func (h *handler) pvalue(host, tenant string, f finding) (p float64, n int64) {
	class, wide := f.detector+"|"+host, f.detector+"|"+tenant
	p, n = h.cal.P(class, f.score)
	if n < int64(h.cfg.MinUnits) {
		if q, m := h.cal.P(wide, f.score); m > n {
			p, n = q, m
		}
	}
	h.cal.Add(class, f.score)
	h.cal.Add(wide, f.score)
	return p, n
}

// count counts a unit, and returns their number. Units of the warm-up do not count: nothing unusual of theirs is emitted,
// so who compares what is emitted with all units would find it rarer than it is.
func (h *handler) count(host, detector string, warm bool) int64 {
	key := host + "|" + detector
	u, _ := h.units.Get(key)
	if warm {
		u.N++
		h.units.Put(key, u)
	}
	return u.N
}

// warm says whether the host's warm-up is over.
func (h *handler) warm(r *streams.Record, n int64) bool {
	return n >= int64(h.cfg.MinUnits) && r.Time-r.Coverage.Since >= h.cfg.Warmup.Nanoseconds()
}

// sample chooses by the hash of the cause, so that a replay chooses the same.
func sample(detector string, causes []string) bool {
	h := fnv.New32a()
	h.Write([]byte(detector))
	for _, c := range causes {
		h.Write([]byte(c))
	}
	return h.Sum32()%sampleOf == 0
}

// minute scores a host's minute by the least p-value of its features, each against the host's own minutes.
func (h *handler) minute(c *streams.Context, r *streams.Record, v *schemas.FeatureVector) error {
	if v.EntityType != "host" || v.Revision > 0 { // an amended minute was learnt already
		return nil
	}
	least, which := 1.0, schemas.Feature{}
	for _, f := range v.Features {
		class := "feature|" + f.Name + "|" + r.Key
		p, _ := h.cal.P(class, math.Log2(1+max(0, f.Value)))
		h.cal.Add(class, math.Log2(1+max(0, f.Value)))
		if p < least {
			least, which = p, f
		}
	}
	f := finding{detector: "rarity.rate", score: -math.Log10(least), features: []schemas.Feature{which}}
	p, n := h.pvalue(r.Key, v.Provenance.Tenant, f)
	warm := h.warm(r, n)
	units := h.count(r.Key, f.detector, warm)
	unusual, sampled := warm && p < emitP, sample(f.detector, r.Causes)
	if unusual || sampled {
		return c.Emit(schemas.ScoresTopic, &schemas.DetectorScore{
			Detector: f.detector, Version: version, EntityType: "host", Entity: r.Key, Title: titles[f.detector], Score: f.score, PValue: p, Calibration: n,
			Units: units, Sampled: !unusual, Features: f.features, WindowStart: v.WindowStart, Object: which.Name,
		})
	}
	return nil
}
