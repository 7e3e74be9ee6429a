package rarity

import (
	"fmt"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

// BenchmarkExec measures what one program start costs in this processor alone: records are handed to the handler from
// within one record of a test stage, in portions, so that tables keep their rows as in a transaction.
func BenchmarkExec(b *testing.B) {
	const portion = 2000
	var took time.Duration
	p := *New(Defaults())
	p.New = func(bu *streams.Builder) streams.Handler {
		h := newHandler(bu, Defaults())
		n := 0
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error {
			began := time.Now()
			for range portion {
				n++
				exe := fmt.Sprintf("/usr/bin/tool-%c%c", 'a'+n%23, 'a'+n%7)
				l := &schemas.LineageRecord{Kind: "exec", Template: exe, Process: schemas.Process{UID: "u", Path: exe}, Parent: schemas.Process{UID: "v", Path: "/usr/bin/bash"},
					Provenance: schemas.Provenance{Tenant: "t", Host: "h"}}
				x := *r
				x.Value, x.Causes = l, []string{"t/h/b/proc/p0/123456"}
				if err := h.Process(c, &x); err != nil {
					return err
				}
			}
			took += time.Since(began)
			return nil
		})
	}
	d := streamstest.New(b, streams.Stage{Name: "rarity", Processors: []*streams.Processor{&p}})
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range b.N/portion + 1 {
		at = at.Add(time.Second)
		d.Derive(schemas.LineageTopic, "t/h", &schemas.LineageRecord{Kind: "exec"}, at)
	}
	d.Counts("rarity")
	b.ReportMetric(float64(took.Nanoseconds())/float64((b.N/portion+1)*portion), "ns/exec")
}
