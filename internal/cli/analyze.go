package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/amoskys/amoskys/collectors/file"
	"github.com/amoskys/amoskys/processors"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/spf13/cobra"
)

// flush is how far time is moved past the end of a recording, so that every window closes, its lateness passes, and the
// last alert budget of a day is accounted for.
const flush = 26 * time.Hour

func (c *command) analyze() *cobra.Command {
	var format, grouping string
	var workers int
	cmd := &cobra.Command{
		Use: "analyze FILE…", Short: "Run the chain over recorded events, and print the alerts", Args: exactly(cobra.MinimumNArgs(1)),
		Long: `Runs the same chain as 'up' over recorded events, on a throw-away embedded broker, at full speed, until the input ends and
every window is flushed. Alerts go to standard output, sorted by time and id: the same input gives the same bytes,
whatever the number of workers and the grouping of processors.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.load(); err != nil {
				return err
			}
			c.quiet()
			if workers > 0 {
				c.cfg.Engine.Workers = workers
			}
			c.cfg.Kafka, c.cfg.Registry.URL = streams.Kafka{}, "" // nothing outside is touched
			a := &analysis{c: c, files: args, format: format, grouping: grouping}
			return a.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&format, "format", "auto", "form of the input: auto, amoskys, sysmon or edr")
	cmd.Flags().StringVar(&grouping, "grouping", "fused", "which processors run together: fused or split")
	cmd.Flags().IntVar(&workers, "workers", 0, "workers per stage (default: key engine.workers)")
	return cmd
}

// analysis is one run over recordings.
type analysis struct {
	c                *command
	files            []string
	format, grouping string

	place  *place
	shown  *progress
	ends   map[int32]int64 // offset after the last record of each ingest partition
	events int64
	bad    int64
	stamp  time.Time // ingest time: the highest event time so far
}

func (a *analysis) run(ctx context.Context) (err error) {
	began := time.Now()
	suite := processors.Suite(a.c.cfg.Processors)
	stages, err := stagesOf(suite, a.grouping)
	if err != nil {
		return usageError{err}
	}
	ops := newOpsServer()
	a.c.creates = true
	if a.place, err = a.c.open(ctx, ops, "", changelogs(stages)...); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.place.close()) }()
	if err := a.load(ctx); err != nil {
		return err
	}
	loaded := time.Now()
	a.shown.begin("analyzing")
	err = a.process(ctx, ops, stages, suite)
	a.shown.end()
	if err != nil {
		return err
	}
	alerts, err := a.alerts(ctx)
	if err != nil {
		return err
	}
	for _, x := range alerts {
		if err := a.c.either(x, func() { a.c.printAlert(x) }); err != nil {
			return err
		}
	}
	digest, err := schemas.Digest(alerts)
	if err != nil {
		return err
	}
	took := time.Since(began)
	a.c.say("%d events (%d bad lines) read in %s, %d alerts, digest %s, %s in all (%.0f events/s)", a.events, a.bad, loaded.Sub(began).Round(time.Millisecond),
		len(alerts), digest, took.Round(time.Millisecond), float64(a.events)/took.Seconds())
	return nil
}

// load writes the recordings to the ingest topic. Ingest time is the highest event time so far: so a recording has the
// time it had, and two runs have the same.
func (a *analysis) load(ctx context.Context) error {
	p, err := streams.NewProducer(ctx, a.place.kafka, streams.ProducerOptions{Serde: a.place.serde, Logger: a.c.log})
	if err != nil {
		return err
	}
	defer p.Close()
	load := &loader{a: a, p: p}
	a.shown = a.c.progress()
	defer a.shown.end()
	for _, f := range a.files {
		a.shown.begin("reading " + filepath.Base(f))
		if err := load.file(ctx, f); err != nil {
			return err
		}
	}
	if err := p.Flush(ctx); err != nil {
		return err
	}
	if err := load.err(); err != nil {
		return err
	}
	if a.events == 0 {
		return fmt.Errorf("no events in %v", a.files)
	}
	return a.tick(ctx, p)
}

// loader produces events and remembers the first thing that failed.
type loader struct {
	a     *analysis
	p     *streams.Producer
	mu    sync.Mutex
	first error
}

func (l *loader) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

func (l *loader) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.first == nil {
		l.first = err
	}
}

func (l *loader) file(ctx context.Context, path string) error {
	a := l.a
	r, err := file.Open(path, file.Config{Format: a.format, Tenant: a.c.cfg.Tenant, OnBad: func(b file.BadLine) {
		a.bad++
		a.shown.end()
		a.c.say("amoskys: %v", b)
	}, OnProgress: func(p file.Progress) { a.shown.at(p.Done, p.Total) }})
	if err != nil {
		return err
	}
	defer r.Close()
	for l.err() == nil {
		e, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		a.events++
		if at := time.Unix(0, e.Env().Time); at.After(a.stamp) {
			a.stamp = at
		}
		v, err := a.place.serde.Append(nil, e)
		if err != nil {
			return err
		}
		l.p.Produce(ctx, streams.Outgoing{Topic: schemas.EndpointTopic, Key: e.Env().Key(), Value: v, Time: a.stamp}, l.fail)
	}
	return l.err()
}

// tick moves time past the end of the recording in every partition: once to close what is open, and once more for what
// that changed.
func (a *analysis) tick(ctx context.Context, p *streams.Producer) error {
	for _, at := range []time.Time{a.stamp.Add(time.Minute), a.stamp.Add(flush), a.stamp.Add(flush + time.Minute)} {
		v, err := a.place.serde.Append(nil, &schemas.Tick{Time: at.UnixNano()})
		if err != nil {
			return err
		}
		if a.ends, err = p.Broadcast(ctx, schemas.EndpointTopic, v, at); err != nil {
			return err
		}
	}
	return nil
}

// process runs the stages until each has processed every partition to its end.
func (a *analysis) process(ctx context.Context, ops *opsServer, stages []streams.Stage, suite []*streams.Processor) error {
	app := a.c.app(a.place, ops, stages, suite)
	app.Ticks, app.SnapshotDir = false, ""
	g := newGroup(ctx)
	var mu sync.Mutex
	left := map[string]bool{}
	at := map[string]int64{}
	var done, total int64
	for _, end := range a.ends {
		total += end * int64(len(stages))
	}
	for _, s := range stages {
		for p := range a.ends {
			left[fmt.Sprintf("%s/%d", s.Name, p)] = true
		}
	}
	app.OnCommit = func(stage string, p int32, upTo schemas.Origin) {
		mu.Lock()
		defer mu.Unlock()
		task := fmt.Sprintf("%s/%d", stage, p)
		done += upTo.Offset + 1 - at[task]
		at[task] = upTo.Offset + 1
		a.shown.at(done, total)
		if upTo.Offset+1 < a.ends[p] {
			return
		}
		delete(left, task)
		if len(left) == 0 {
			g.cancel(errFinished)
		}
	}
	g.run("engine", app.Run)
	if err := g.wait(ctx); err != nil {
		return err
	}
	return ctx.Err()
}

func (a *analysis) alerts(ctx context.Context) (out []*schemas.Alert, err error) {
	err = streams.Read(ctx, a.place.kafka, a.place.serde, streams.ReadOptions{Topics: []string{schemas.AlertsTopic.Name}}, func(d streams.Delivery) error {
		if x, ok := d.Value.(*schemas.Alert); ok {
			out = append(out, x)
		}
		return d.Err
	})
	slices.SortFunc(out, func(x, y *schemas.Alert) int {
		return cmp.Or(cmp.Compare(x.Provenance.Time, y.Provenance.Time), cmp.Compare(x.ID, y.ID), cmp.Compare(x.Revision, y.Revision))
	})
	return out, err
}
