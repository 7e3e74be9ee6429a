package proc

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// outbox holds events until they are appended. What cannot be appended for a time, as when the disk is full, is kept up to a
// bound; what happens beyond it is dropped, counted, and told when it works again.
type outbox struct {
	identity
	to      streams.Appender
	counts  *counts
	log     *slog.Logger
	events  []schemas.Event
	dropped int64 // since it was told last
	failed  error // the last attempt; nil: it worked
	retry   time.Time
}

const (
	outboxBatch = 256
	outboxMax   = 16 << 10 // events
	retryEvery  = time.Second
	lastTimeout = 2 * time.Second
)

func (o *outbox) add(e schemas.Event) {
	if len(o.events) >= outboxMax {
		o.dropped++
		o.counts.dropped.Add(1)
		return
	}
	o.events = append(o.events, e)
}

// flush appends what there is; after a failure not more often than once a second.
func (o *outbox) flush(ctx context.Context) {
	if len(o.events) == 0 || o.failed != nil && time.Now().Before(o.retry) {
		return
	}
	done := 0
	for done < len(o.events) {
		n := min(outboxBatch, len(o.events)-done)
		if err := o.to.Append(ctx, o.events[done:done+n]...); err != nil {
			o.fail(err)
			break
		}
		done += n
	}
	rest := copy(o.events, o.events[done:])
	clear(o.events[rest:])
	o.events = o.events[:rest]
	if rest == 0 && o.failed != nil {
		o.recover()
	}
}

func (o *outbox) fail(err error) {
	if o.failed == nil {
		o.log.Error("events cannot be written and are kept", "kept", len(o.events), "at_most", outboxMax, "err", err)
	}
	o.failed, o.retry = err, time.Now().Add(retryEvery)
}

func (o *outbox) recover() {
	o.log.Info("events are written again", "dropped", o.dropped)
	if o.dropped > 0 {
		o.events = append(o.events, o.suppressed("dropped_events", o.dropped, fmt.Sprintf("%d events were dropped while they could not be written: %v", o.dropped, o.failed)))
	}
	o.dropped, o.failed = 0, nil
}

// last appends what is left, though ctx has ended.
func (o *outbox) last(ctx context.Context) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout)
	defer stop()
	o.retry = time.Time{}
	o.flush(ctx)
	o.flush(ctx) // the word about what was dropped
}
