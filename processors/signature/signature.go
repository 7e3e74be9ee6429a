package signature

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Config says which rules are used.
type Config struct {
	// Disable are the ids of rules that are not used.
	Disable []string `json:"disable"`
}

// Validate reports every id that is not one of a rule, each as a streams.SettingError.
func (c Config) Validate() error {
	var errs []error
	for i, id := range c.Disable {
		if !slices.ContainsFunc(Rules, func(r Rule) bool { return r.ID == id }) {
			errs = append(errs, &streams.SettingError{Key: fmt.Sprintf("signature.disable[%d]", i), Value: id, Want: "one of the rules " + strings.Join(ids(), ", ")})
		}
	}
	return errors.Join(errs...)
}

func ids() (out []string) {
	for _, r := range Rules {
		out = append(out, r.ID)
	}
	return out
}

// Processor applies all rules.
var Processor = New(Config{})

// New returns a processor that applies the rules that cfg leaves. The configuration must be valid.
func New(cfg Config) *streams.Processor {
	return &streams.Processor{
		Name:    "signature",
		Doc:     "Rules that are certain from the first minute, over single activities.",
		Version: version,
		Inputs:  []*schemas.Topic{schemas.LineageTopic},
		Accepts: []string{"LineageRecord"},
		Outputs: []*schemas.Topic{schemas.ScoresTopic},
		Config:  cfg,
		New:     func(b *streams.Builder) streams.Handler { return newHandler(b, cfg) },
	}
}

const (
	version  = "1"
	maxFired = 4096 // findings of a host that are remembered
)

type handler struct {
	byKind map[string][]*Rule
	fired  *streams.Table[firedRow]
	slots  *streams.Table[slotRow]
	next   *streams.Table[nextRow]
}

// firedRow says that a rule spoke of a process. Its key is that of the host, the rule, the uid and, for some, the object.
type firedRow struct {
	At int64 `avro:"at"` // event time
}

// slotRow is one place of a host's ring of findings. Its key is that of the host and the number of the place.
type slotRow struct {
	Fired string `avro:"fired"` // key of the firedRow that is forgotten when the place is used again
}

// nextRow counts the findings of a host. Its key is that of the host.
type nextRow struct {
	N int64 `avro:"n"`
}

func newHandler(b *streams.Builder, cfg Config) *handler {
	h := &handler{
		byKind: map[string][]*Rule{},
		fired:  streams.NewTable[firedRow](b, "fired"),
		slots:  streams.NewTable[slotRow](b, "slot"),
		next:   streams.NewTable[nextRow](b, "next"),
	}
	for i := range Rules {
		r := &Rules[i]
		if !slices.Contains(cfg.Disable, r.ID) {
			h.byKind[r.kind] = append(h.byKind[r.kind], r)
		}
	}
	return h
}

// Process implements streams.Handler.
func (h *handler) Process(c *streams.Context, r *streams.Record) error {
	l, ok := r.Value.(*schemas.LineageRecord)
	if !ok {
		return fmt.Errorf("value is a %s, not a LineageRecord", r.Value.SchemaName())
	}
	for _, rule := range h.byKind[l.Kind] {
		if rule.platform != "" && l.Platform != "" && rule.platform != l.Platform || !rule.match(l) {
			continue
		}
		if !h.once(r, l, rule) {
			continue
		}
		if err := c.Emit(schemas.ScoresTopic, score(rule, l)); err != nil {
			return err
		}
	}
	return nil
}

// once says whether the rule has not spoken of the process before, and notes that it has now.
func (h *handler) once(r *streams.Record, l *schemas.LineageRecord, rule *Rule) bool {
	key := r.Key + "/" + rule.ID + "/" + entity(l)
	if rule.perObject {
		key += "/" + l.Object
	}
	if h.fired.Has(key) {
		return false
	}
	n, _ := h.next.Get(r.Key)
	slot := r.Key + "/" + strconv.FormatInt(n.N%maxFired, 10)
	if old, ok := h.slots.Get(slot); ok {
		h.fired.Delete(old.Fired)
	}
	h.fired.Put(key, firedRow{r.Time})
	h.slots.Put(slot, slotRow{key})
	h.next.Put(r.Key, nextRow{n.N + 1})
	return true
}

// entity is the process; where the source did not tell which one, its program.
func entity(l *schemas.LineageRecord) string { return cmp.Or(l.Process.UID, l.Process.Path) }

func score(rule *Rule, l *schemas.LineageRecord) *schemas.DetectorScore {
	object := l.Object
	if l.Kind == "network" && l.ObjectPort != 0 {
		object += " port " + strconv.Itoa(int(l.ObjectPort))
	}
	return &schemas.DetectorScore{
		Detector: "signature." + rule.ID, Version: version, Certain: true,
		EntityType: "process", Entity: entity(l),
		Title: rule.Title, SeverityID: rule.SeverityID, Score: 1, Techniques: rule.Techniques, Tactics: rule.Tactics,
		Process: l.Process, Ancestry: l.Ancestry, Object: object, Hostname: l.Hostname,
		Features: []schemas.Feature{
			{Name: "depth", Value: float64(l.Depth)},
			{Name: "process_connects", Value: float64(l.ProcessConnects)},
			{Name: "process_files", Value: float64(l.ProcessFiles)},
			{Name: "process_children", Value: float64(l.ProcessChildren)},
			{Name: "first_exec", Value: flag(l.FirstExec)},
			{Name: "first_edge", Value: flag(l.FirstEdge)},
			{Name: "first_object", Value: flag(l.FirstObject)},
		},
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
