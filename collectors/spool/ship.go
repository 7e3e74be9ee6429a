package spool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/amoskys/amoskys/streams"
)

// A Producer takes records to the brokers. done is told once, from any goroutine: nil when all in-sync replicas have the
// record; an error that streams.IsPermanent holds for when they never will; else it is sent again. A record's body may be
// kept until then.
type Producer interface {
	Ship(ctx context.Context, r Record, done func(error))
}

const (
	inFlight    = 10_000 // records of a stream without an answer
	cursorEvery = 500 * time.Millisecond
	backOff     = 200 * time.Millisecond // after the first failure
	maxBackOff  = 10 * time.Second
	stalled     = 5 * time.Second // without an answer: then it is said that the brokers are away
)

// Ship sends what is spooled, and what is appended meanwhile, until ctx ends (nil). Order within a stream is kept. The
// cursor only moves over what was acknowledged: after a crash records come again, and the pipeline drops them by their
// numbers. While the brokers are away it goes on trying, and says so once.
func (s *Spool) Ship(ctx context.Context, p Producer) error {
	var wg sync.WaitGroup
	errs := make([]error, logCount)
	for i := range logCount {
		wg.Go(func() {
			x := &shipment{s: s, p: p, r: reader{s: s, log: i}, schemas: schemaReader{dir: s.c.Dir}}
			x.window.answered = make(chan struct{}, 1)
			errs[i] = x.run(ctx)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// shipment is one stream on its way.
type shipment struct {
	s       *Spool
	p       Producer
	r       reader
	schemas schemaReader
	kept    time.Time // when the cursor was written last
	away    bool      // it was said that the brokers are
	window  window
}

func (x *shipment) run(ctx context.Context) error {
	defer x.end()
	pause := backOff
	for ctx.Err() == nil {
		if err := x.window.failure(); err != nil {
			x.goneAway(err)
			x.rewind()
			sleep(ctx, pause)
			pause = min(2*pause, maxBackOff)
			continue
		}
		b, err := x.r.next()
		if err != nil {
			return fmt.Errorf("ship spool %s: %w", x.s.c.Dir, err)
		}
		for _, g := range b.gaps {
			x.s.damaged(x.r.log, g)
			x.window.pass(g.to)
			x.advance()
		}
		if len(b.records) > 0 && x.send(ctx, b.records) {
			pause = backOff
		}
		x.keep(b.arrived != nil)
		if b.arrived != nil {
			x.wait(ctx, b.arrived)
		}
	}
	return nil
}

// send sends records, unless one failed before.
func (x *shipment) send(ctx context.Context, records []Record) bool {
	for _, r := range records {
		if !x.reserve(ctx, r.Sequence) {
			return false
		}
		if err := x.schemas.read(&r); err != nil {
			x.answer(r, streams.Permanent(err))
			continue
		}
		x.p.Ship(ctx, r, func(err error) { x.answer(r, err) })
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// wait waits for new records or answers.
func (x *shipment) wait(ctx context.Context, arrived <-chan struct{}) {
	t := time.NewTimer(stalled)
	defer t.Stop()
	select {
	case <-arrived:
	case <-x.window.answered:
	case <-t.C:
	case <-ctx.Done():
	}
	x.listen()
}

// reserve makes room for one more record in flight. It is false when one has failed, or ctx has ended.
func (x *shipment) reserve(ctx context.Context, seq int64) bool {
	for ctx.Err() == nil {
		room, err := x.window.reserve(seq)
		if room || err != nil {
			return room
		}
		x.keep(false)
		x.wait(ctx, nil)
	}
	return false
}

// answer takes what became of a record.
func (x *shipment) answer(r Record, err error) {
	if streams.IsPermanent(err) {
		x.s.refused(x.r.log, r, err)
	}
	x.window.answer(r.Sequence, err)
	x.advance()
	signal(x.window.answered)
}

// advance moves the cursor behind what is done without a gap.
func (x *shipment) advance() {
	if upTo, acked := x.window.advance(); upTo > 0 {
		x.s.shipped(x.r.log, upTo, acked)
	}
}

// rewind goes back to what was acknowledged. Answers to what was sent before may still come: they only move the cursor on.
func (x *shipment) rewind() {
	x.window.clear()
	x.r.close()
	x.r.seq = 0
}

// listen notices that answers stay away, or come again.
func (x *shipment) listen() {
	waiting, silent := x.window.silence()
	switch {
	case waiting && silent >= stalled:
		x.goneAway(fmt.Errorf("no answer for %v", silent.Round(time.Second)))
	case x.away && silent < stalled:
		x.away = false
		x.s.c.Logger.Info("events are shipped again", "spool", x.s.c.Dir, "stream", streamNames[x.r.log])
	}
}

func (x *shipment) goneAway(err error) {
	if !x.away {
		x.away = true
		x.s.c.Logger.Warn("events cannot be shipped and stay in the spool", "spool", x.s.c.Dir, "stream", streamNames[x.r.log], "topic", x.s.c.Topic.Name, "err", err)
	}
}

// keep writes the cursor down, now and then. A cursor that is lost only sends again.
func (x *shipment) keep(idle bool) {
	if !idle && time.Since(x.kept) < cursorEvery {
		return
	}
	x.kept = time.Now()
	x.s.mu.Lock()
	c := x.s.cursor[x.r.log]
	x.s.mu.Unlock()
	_ = x.s.keepCursor(x.r.log, c)
}

func (x *shipment) end() {
	x.r.close()
	x.keep(true)
}
