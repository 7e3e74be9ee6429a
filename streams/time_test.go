package streams_test

import (
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams/streamstest"
)

// A host whose clock jumps, by hours back, by years, ahead within and past what is believed, keeps its windows: its watermark
// never goes back, what is behind it and its lateness is late and nothing else, and nothing of it stays open.
func TestClockThatJumpsBothWays(t *testing.T) {
	d := streamstest.New(t, fused...)
	late := 0
	for i, off := range []time.Duration{0, -5 * time.Minute, 50 * time.Minute, -20 * time.Minute, 2 * time.Hour, -50 * 365 * 24 * time.Hour, 0, -3 * time.Hour, 30 * time.Second, 0} {
		at := t0.Add(time.Duration(i) * 10 * time.Second)
		d.Ingest(exec("h", "a", at.Add(off)), at)
		d.Ingest(exec("other", "a", at), at)
		if off < -12*time.Minute {
			late++
		}
	}
	d.Tick(t0.Add(30 * time.Hour)) // past the longest delay
	events := map[string]float64{}
	for _, v := range d.Out(schemas.FeaturesTopic) {
		f := v.(*schemas.FeatureVector)
		if f.Revision == 0 {
			events[f.Entity] += f.Features[0].Value
		}
	}
	c := d.Counts("fused")
	if int(c.Late) != late || events["t/other"] != 10 || int(events["t/h"]) != 10-late {
		t.Errorf("late %d, want %d; events in windows %v", c.Late, late, events)
	}
	d.Fuzz(20)
}
