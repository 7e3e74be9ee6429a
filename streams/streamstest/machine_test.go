package streamstest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

// echo writes a score for each record of two inputs.
var echo = &streams.Processor{
	Name: "echo", Doc: "One score for each record.", Version: "1",
	Inputs: []*schemas.Topic{schemas.LineageTopic, schemas.FeaturesTopic}, Outputs: []*schemas.Topic{schemas.ScoresTopic},
	New: func(*streams.Builder) streams.Handler {
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error {
			return c.Emit(schemas.ScoresTopic, &schemas.DetectorScore{Detector: r.Value.SchemaName()})
		})
	},
}

// A long log on two topics is played to its end under aborts and crashes: neither input is read so far ahead of the other
// that each abort gives back all of it.
func TestFuzzLongInputs(t *testing.T) {
	d := streamstest.New(t, streams.Stage{Name: "echo", Processors: []*streams.Processor{echo}})
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const n = 600
	for i := range n {
		at := start.Add(time.Duration(i) * time.Second)
		d.Derive(schemas.LineageTopic, "t/h", &schemas.LineageRecord{Kind: fmt.Sprint(i)}, at)
		d.Derive(schemas.FeaturesTopic, "t/h", &schemas.FeatureVector{Entity: fmt.Sprint(i)}, at)
	}
	if got := len(d.Out(schemas.ScoresTopic)); got != 2*n {
		t.Fatalf("%d scores, want %d", got, 2*n)
	}
	d.Fuzz(3)
}
