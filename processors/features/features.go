package features

import (
	"fmt"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Processor counts what hosts and processes do.
var Processor = &streams.Processor{
	Name:    "features",
	Doc:     "Feature vectors of hosts and processes, one a minute.",
	Version: "1",
	Inputs:  []*schemas.Topic{schemas.LineageTopic},
	Accepts: []string{"LineageRecord"},
	Outputs: []*schemas.Topic{schemas.FeaturesTopic},
	New:     newHandler,
}

const (
	minute          = time.Minute
	processLateness = 5 * time.Minute
	quiet           = 4 // activities below which a process's minute is not written, unless one is new
)

type handler struct {
	hosts     *streams.Window[hostMinute]
	processes *streams.Window[processMinute]
	buf       []byte
}

func newHandler(b *streams.Builder) streams.Handler {
	return &handler{
		hosts:     streams.NewWindow(b, streams.WindowSpec[hostMinute]{Name: "host", Size: minute, Close: closeHost}),
		processes: streams.NewWindow(b, streams.WindowSpec[processMinute]{Name: "process", Size: minute, Lateness: processLateness, Close: closeProcess}),
	}
}

// Process implements streams.Handler.
func (h *handler) Process(c *streams.Context, r *streams.Record) error {
	l, ok := r.Value.(*schemas.LineageRecord)
	if !ok {
		return fmt.Errorf("value is a %s, not a LineageRecord", r.Value.SchemaName())
	}
	if !h.hosts.Update(c, r.Key, r.Time, func(v *hostMinute) { v.add(l, r.Causes) }) {
		return nil // late, and counted by the engine
	}
	if l.Process.UID == "" || l.Kind == "exec" || l.Kind == "exit" {
		return nil
	}
	h.buf = append(append(append(h.buf[:0], r.Key...), '/'), l.Process.UID...)
	h.processes.Update(c, string(h.buf), r.Time, func(v *processMinute) { v.add(l, r.Causes) })
	return nil
}

func closeHost(c *streams.Context, key string, span streams.Span, v hostMinute, revision int32) error {
	return c.Emit(schemas.FeaturesTopic, &schemas.FeatureVector{
		Provenance: schemas.Provenance{Time: span.End, Causes: v.Causes},
		EntityType: "host", Entity: key, WindowStart: span.Start, WindowEnd: span.End, Revision: revision,
		Features: vector(hostFeatures, &v),
	})
}

func closeProcess(c *streams.Context, _ string, span streams.Span, v processMinute, revision int32) error {
	if v.FirstObjects == 0 && v.activities() < quiet {
		return nil
	}
	return c.Emit(schemas.FeaturesTopic, &schemas.FeatureVector{
		Provenance: schemas.Provenance{Time: span.End, Causes: v.Causes},
		EntityType: "process", Entity: v.Process.UID, WindowStart: span.Start, WindowEnd: span.End, Revision: revision,
		Process: v.Process, Features: vector(processFeatures, &v),
	})
}

// vector reads the declared features off a window's value, in declared order.
func vector[V any](fs []feature[V], v *V) []schemas.Feature {
	out := make([]schemas.Feature, len(fs))
	for i := range fs {
		out[i] = schemas.Feature{Name: fs[i].Name, Value: fs[i].value(v)}
	}
	return out
}
