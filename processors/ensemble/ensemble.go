package ensemble

import (
	"fmt"
	"slices"
	"time"

	"github.com/amoskys/amoskys/processors/internal/conformal"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

const (
	version = "1"
	name    = "ensemble"
	joinP   = 0.01 // p-value up to which what is akin to an alert joins it

	session  = 10 * time.Minute // in which the scores of a process are fused
	keep     = 24 * time.Hour   // in which an alert takes evidence in
	rateLife = 10 * time.Minute // in which alerts show what a minute of their host was like
)

// gated are the detectors whose p-values are fused. The units of the first one are process starts.
var gated = [...]string{"rarity.executable", "rarity.lineage", "rarity.template"}

// Processor is the processor with default settings.
var Processor = New(Defaults())

// New returns the processor. The settings must be valid.
func New(cfg Config) *streams.Processor {
	return &streams.Processor{
		Name: name, Version: version, Doc: "Fuses detector scores into alerts, within a budget.",
		Inputs: []*schemas.Topic{schemas.ScoresTopic}, Accepts: []string{"DetectorScore"}, Outputs: []*schemas.Topic{schemas.AlertsTopic}, Config: cfg,
		New: func(b *streams.Builder) streams.Handler { return newHandler(b, cfg) },
	}
}

type handler struct {
	cfg    Config
	cal    *conformal.Censored
	hosts  *streams.Table[hostRow]
	cases  *streams.Table[caseRow]
	alerts *streams.Table[alertRow]
	links  *streams.Table[linkRow]

	caseEnds  *streams.Window[mark]
	revisions *streams.Window[mark]
	alertEnds *streams.Window[mark]
	held      *streams.Window[heldRow]
}

// hostRow is what is known of a host. Its key is that of the host.
type hostRow struct {
	Units  int64     `avro:"units"` // process starts that were judged
	From   int64     `avro:"from"`  // process start from which on unusual ones are seen; 0 before
	Open   int64     `avro:"open"`  // alerts that are kept
	Risk   riskRow   `avro:"risk"`
	Budget budgetRow `avro:"budget"`
	Pace   paceRow   `avro:"pace"`
	Rate   rateRow   `avro:"rate"`
}

// rateRow is the last unusual minute of a host.
type rateRow struct {
	At      int64             `avro:"at"`
	Title   string            `avro:"title"`
	Feature []schemas.Feature `avro:"feature"`
}

// mark is the value of windows that only serve as timers.
type mark struct {
	N int64 `avro:"n"`
}

func (m *mark) set() { m.N++ }

func newHandler(b *streams.Builder, cfg Config) *handler {
	h := &handler{
		cfg: cfg, cal: conformal.NewCensored(b, "fused", cfg.Window), hosts: streams.NewTable[hostRow](b, "host"), cases: streams.NewTable[caseRow](b, "case"),
		alerts: streams.NewTable[alertRow](b, "alert"), links: streams.NewTable[linkRow](b, "link"),
	}
	timer := func(name string, size time.Duration, f func(*streams.Context, string) error) *streams.Window[mark] {
		return streams.NewWindow(b, streams.WindowSpec[mark]{Name: name, Size: size, Lateness: time.Millisecond,
			Close: func(c *streams.Context, key string, _ streams.Span, _ mark, _ int32) error { return f(c, key) }})
	}
	h.caseEnds = timer("case_end", session, h.endCase)
	h.revisions = timer("revision", time.Minute, h.revise)
	h.alertEnds = timer("alert_end", time.Hour, h.endAlert)
	h.held = streams.NewWindow(b, streams.WindowSpec[heldRow]{Name: "held", Size: time.Hour, Lateness: time.Millisecond, Close: h.summary})
	return h
}

// Process implements streams.Handler.
func (h *handler) Process(c *streams.Context, r *streams.Record) error {
	s, ok := r.Value.(*schemas.DetectorScore)
	if !ok {
		return fmt.Errorf("value is a %s, not a DetectorScore", r.Value.SchemaName())
	}
	x := step{c: c, h: h, r: r, s: s, now: c.Watermark()}
	x.host, _ = h.hosts.Get(r.Key)
	if err := x.take(); err != nil {
		return err
	}
	h.hosts.Put(r.Key, x.host)
	return nil
}

// step is the processing of one score.
type step struct {
	c    *streams.Context
	h    *handler
	r    *streams.Record
	s    *schemas.DetectorScore
	host hostRow
	now  int64 // event time as far as the host has come: a forged clock does not move it
}

func (x *step) take() error {
	s := x.s
	if s.Detector == gated[0] {
		x.host.Units = max(x.host.Units, s.Units)
		x.calibrate(s.EmitsFrom)
	}
	x.host.Budget.turn(x.now)
	switch {
	case s.Certain:
		return x.certain()
	case !(s.PValue > 0 && s.PValue <= 1):
		return fmt.Errorf("p-value %v of %s is not in (0,1]", s.PValue, s.Detector)
	case s.Sampled:
		return nil // for audits of the calibration
	}
	x.host.Pace.turn(x.now, x.host.Units)
	switch {
	case s.EntityType == "host":
		x.rate()
		return nil
	case s.Entity == "" || !slices.Contains(gated[:], s.Detector):
		x.host.Risk.add(x.h.cfg, x.now, x.evidence(s.PValue))
		return nil
	}
	return x.unusual()
}

// calibrate begins the calibration and the pace of the host with the process start from which on unusual ones are seen.
func (x *step) calibrate(from int64) {
	if x.host.From != 0 || from == 0 {
		return
	}
	x.host.From = from
	x.h.cal.Begin(x.r.Key, from)
	x.host.Pace = paceRow{Day: x.now / day, Start: from - 1}
}

// rate takes an unusual minute.
func (x *step) rate() {
	x.host.Risk.add(x.h.cfg, x.now, x.evidence(x.s.PValue))
	x.host.Rate = rateRow{x.now, x.s.Title, x.s.Features[min(1, len(x.s.Features)):]}
}

// entityKey is the key of what is known of an entity of the host.
func (x *step) entityKey(uid string) string { return x.r.Key + "|" + uid }
