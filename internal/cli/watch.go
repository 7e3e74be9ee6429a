package cli

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// watch shows what goes on in an `up`: alerts as they come, and live counts.
type watch struct {
	c     *command
	p     *place
	quiet bool

	warmup *warmup

	lineage, features, scores, alerts atomic.Int64
}

// countEvery is the least time between two lines of counts.
const countEvery = 10 * time.Second

func (w *watch) run(ctx context.Context) error {
	go w.counts(ctx)
	topics := []string{schemas.LineageTopic.Name, schemas.FeaturesTopic.Name, schemas.ScoresTopic.Name, schemas.AlertsTopic.Name}
	err := streams.Read(ctx, w.p.kafka, w.p.serde, streams.ReadOptions{Topics: topics, Follow: true, Since: time.Now()}, w.take)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (w *watch) take(d streams.Delivery) error {
	switch v := d.Value.(type) {
	case *schemas.LineageRecord:
		w.lineage.Add(1)
		w.warmup.saw(v.Provenance.Time)
	case *schemas.FeatureVector:
		w.features.Add(1)
	case *schemas.DetectorScore:
		w.scores.Add(1)
	case *schemas.Readiness:
		w.warmup.take(v)
	case *schemas.Alert:
		w.alerts.Add(1)
		w.c.log.Debug("alert", "id", v.ID, "trace", d.Trace)
		if !w.quiet {
			return w.c.either(v, func() { w.c.printAlert(v) })
		}
	}
	return nil
}

func (w *watch) counts(ctx context.Context) {
	if w.quiet {
		return
	}
	t := time.NewTicker(countEvery)
	defer t.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		line := fmt.Sprintf("lineage %d  features %d  scores %d  alerts %d  %s", w.lineage.Load(), w.features.Load(), w.scores.Load(), w.alerts.Load(), w.warmup)
		if line != last {
			w.c.say("%s  %s", time.Now().Format(time.TimeOnly), line)
		}
		last = line
	}
}
