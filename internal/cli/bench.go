package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"github.com/amoskys/amoskys/internal/loadgen"
	"github.com/amoskys/amoskys/processors"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/spf13/cobra"
)

// benchResult is what a benchmark prints.
type benchResult struct {
	Bench                string  `json:"bench"`
	Events               int64   `json:"events"`
	EventsPerSecond      float64 `json:"events_per_second"`
	CPUSecondsPerMillion float64 `json:"cpu_seconds_per_million"`
	P50                  float64 `json:"p50_ms,omitempty"`
	P95                  float64 `json:"p95_ms,omitempty"`
	P99                  float64 `json:"p99_ms,omitempty"`
	RSSBytes             int64   `json:"rss_bytes"`
	LimitEventsPerSecond float64 `json:"limit_events_per_second,omitempty"`
	RecordsPerEvent      float64 `json:"records_written_per_event,omitempty"`
	PacedEventsPerSecond float64 `json:"paced_events_per_second,omitempty"`
	PacedRSSBytes        []int64 `json:"paced_rss_bytes,omitempty"`  // at each tenth of the paced time
	PacedHeapBytes       []int64 `json:"paced_heap_bytes,omitempty"` // what the last garbage collection before it left
	Commit               string  `json:"commit"`
	Brokers              string  `json:"brokers"`
	Workers              int     `json:"workers"`
	Partitions           int     `json:"partitions"`
	Alerts               int     `json:"alerts"`
}

type benchOptions struct {
	events, seed int
	hosts        int
	rate         int
	paced        time.Duration
	memProfile   string
}

func (c *command) bench() *cobra.Command {
	o := benchOptions{}
	sub := func(use, short string, suite func() []*streams.Processor) *cobra.Command {
		x := &cobra.Command{Use: use, Short: short, Args: exactly(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.load(); err != nil {
				return err
			}
			return c.runBench(cmd.Context(), use, suite(), o)
		}}
		x.Flags().IntVar(&o.events, "events", 500_000, "events of the preloaded log")
		x.Flags().IntVar(&o.seed, "seed", 1, "seed of the generator")
		x.Flags().IntVar(&o.hosts, "hosts", 50, "hosts of the generator")
		x.Flags().IntVar(&o.rate, "rate", 10_000, "events a second while latency is measured, and of event time")
		x.Flags().DurationVar(&o.paced, "paced", 15*time.Second, "how long latency is measured; 0 not at all")
		x.Flags().StringVar(&o.memProfile, "memprofile", "", "write a heap profile, for 'go tool pprof', to this file while the stages still run")
		return x
	}
	all := parent("bench", "Measure this machine",
		sub("chain", "The whole chain: drain a preloaded log of process events, then latency at a fixed rate", func() []*streams.Processor { return processors.Suite(c.cfg.Processors) }),
		sub("engine", "The engine alone: a copy of every event through one stateless processor", func() []*streams.Processor { return []*streams.Processor{copier} }))
	all.Long = `Measures what this machine can do: events a second, CPU and memory, and the time from the append of an event to a reader of
what came of it. It runs on a throw-away embedded broker, or on the Apache Kafka that --brokers names; that one must be unused,
since the events are made up: a cluster with records on its ingest topic is refused.`
	return all
}

// copier writes each event on as it came: what the engine and the broker cost by themselves, and the limit for a chain.
var copier = &streams.Processor{
	Name: "copier", Version: "1", Doc: "Writes every event on as a lineage record without content.", Inputs: []*schemas.Topic{schemas.EndpointTopic}, Outputs: []*schemas.Topic{schemas.LineageTopic},
	New: func(*streams.Builder) streams.Handler {
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error {
			l := &schemas.LineageRecord{Kind: r.Value.SchemaName()}
			if e, ok := r.Value.(*schemas.ProcessExec); ok {
				l.Process, l.Parent = e.Process, e.Parent
			}
			return c.Emit(schemas.LineageTopic, l)
		})
	},
}

// runBench preloads the log, measures the raw copy as the limit, drains the log through the chain, and measures latency.
func (c *command) runBench(ctx context.Context, name string, suite []*streams.Processor, o benchOptions) (err error) {
	c.quiet()
	stages, err := stagesOf(suite, "fused")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "amoskys-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if len(c.cfg.Kafka.Brokers) == 0 {
		c.cfg.Broker.Listen = "127.0.0.1:0"
	}
	if err := os.MkdirAll(dir+"/broker", 0o700); err != nil {
		return err
	}
	c.cfg.DataDir, c.creates = dir, true
	ops := newOpsServer()
	p, err := c.open(ctx, ops, c.path("broker"), changelogs(stages)...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	b := &benchRun{c: c, p: p, ops: ops, stages: stages, suite: suite, o: o, gen: loadgen.New(loadgen.Config{Seed: uint64(o.seed), Hosts: o.hosts, Rate: float64(o.rate)})}
	b.shown = c.progress()
	defer b.shown.end()
	r, err := b.run(ctx, name)
	if err != nil {
		return err
	}
	return c.either(r, func() {
		c.print("%s: %d events, %.0f events/s, %.1f CPU-s per million, %.2f records written per event, %d alerts", r.Bench, r.Events, r.EventsPerSecond, r.CPUSecondsPerMillion, r.RecordsPerEvent, r.Alerts)
		c.print("raw copy of the same log in the same run: %.0f events/s (the limit)", r.LimitEventsPerSecond)
		if r.PacedEventsPerSecond > 0 {
			c.print("append of the cause to a read-committed reader at %.0f events/s: p50 %.0f ms, p95 %.0f ms, p99 %.0f ms", r.PacedEventsPerSecond, r.P50, r.P95, r.P99)
			c.print("RSS at each tenth of %s at that rate: %s", o.paced, sizes(r.PacedRSSBytes))
			c.print("live heap:  %s", sizes(r.PacedHeapBytes))
		}
		c.print("RSS %s, brokers %s, %d workers, %d partitions, commit %s", size(r.RSSBytes), r.Brokers, r.Workers, r.Partitions, r.Commit)
	})
}

// benchRun is one run of a benchmark.
type benchRun struct {
	c      *command
	p      *place
	ops    *opsServer
	stages []streams.Stage
	suite  []*streams.Processor
	o      benchOptions
	gen    *loadgen.Generator
	shown  *progress
}

func (b *benchRun) run(ctx context.Context, name string) (*benchResult, error) {
	if err := b.unused(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	b.shown.begin("preloading")
	ends, err := b.preload(ctx)
	if err != nil {
		return nil, fmt.Errorf("preload: %w", err)
	}
	b.shown.end()
	b.c.say("%d events preloaded in %s", b.o.events, time.Since(began).Round(time.Millisecond))
	limit, err := b.copyRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("raw copy: %w", err)
	}
	r := &benchResult{Bench: name, Events: int64(b.o.events), LimitEventsPerSecond: limit, Commit: commit(), Brokers: "embedded",
		Workers: b.c.cfg.Engine.Workers, Partitions: b.c.cfg.Topics.Partitions}
	if b.p.broker == nil {
		r.Brokers = "Apache Kafka"
	}
	written := b.written(ctx)
	cpu := cpuTime()
	began = time.Now()
	b.shown.begin("draining")
	g, caught := b.start(ctx, ends)
	select {
	case <-caught:
	case <-g.ctx.Done():
		return nil, errors.Join(g.wait(ctx), ctx.Err())
	}
	took := time.Since(began)
	b.shown.end()
	r.EventsPerSecond = float64(b.o.events) / took.Seconds()
	r.CPUSecondsPerMillion = (cpuTime() - cpu).Seconds() / float64(b.o.events) * 1e6
	r.RecordsPerEvent = float64(b.written(ctx)-written) / float64(b.o.events)
	r.RSSBytes = rss()
	if b.o.paced > 0 {
		if err := b.latency(ctx, r); err != nil {
			return nil, err
		}
	}
	if err := heapProfile(b.o.memProfile); err != nil {
		return nil, fmt.Errorf("heap profile: %w", err)
	}
	g.cancel(errFinished)
	if err := g.wait(ctx); err != nil {
		return nil, err
	}
	r.Alerts, err = b.count(ctx, schemas.AlertsTopic)
	return r, err
}

// unused refuses a cluster that is in use: made-up events do not belong among real ones, and those of an earlier benchmark
// would be dropped as repeats.
func (b *benchRun) unused(ctx context.Context) error {
	ends, err := streams.EndOffsets(ctx, b.p.kafka, schemas.EndpointTopic.Name)
	if err != nil {
		return err
	}
	for _, end := range ends {
		if end > 0 {
			return fmt.Errorf("topic %s on %s already has records: a benchmark needs a cluster of its own, or new topics", schemas.EndpointTopic.Name, strings.Join(b.p.kafka.Brokers, ","))
		}
	}
	return nil
}

// start runs the chain; the channel is closed once it has processed the preloaded log to its end.
func (b *benchRun) start(ctx context.Context, ends map[int32]int64) (*group, <-chan struct{}) {
	app := b.c.app(b.p, b.ops, b.stages, b.suite)
	app.SnapshotDir = ""
	caught := make(chan struct{})
	var mu sync.Mutex
	var done, total int64
	for _, end := range ends {
		total += end
	}
	at := map[int32]int64{}
	app.OnCommit = func(_ string, part int32, upTo schemas.Origin) {
		mu.Lock()
		defer mu.Unlock()
		if len(ends) > 0 {
			done += upTo.Offset + 1 - at[part]
			at[part] = upTo.Offset + 1
			b.shown.at(done, total)
		}
		if end, ok := ends[part]; ok && upTo.Offset+1 >= end {
			if delete(ends, part); len(ends) == 0 {
				close(caught)
			}
		}
	}
	g := newGroup(ctx)
	g.run("engine", app.Run)
	if b.p.broker != nil {
		g.run("trim", func(ctx context.Context) error { b.c.trim(ctx, b.p.broker, app); return nil })
	}
	return g, caught
}

// heapLive is what the last garbage collection found in use, bytes.
func heapLive() int64 {
	x := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(x)
	return int64(x[0].Value.Uint64())
}

// heapProfile writes what is in use, after a garbage collection, for 'go tool pprof'.
func heapProfile(path string) (err error) {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	runtime.GC()
	return pprof.WriteHeapProfile(f)
}

func sizes(bytes []int64) string {
	var words []string
	for _, n := range bytes {
		words = append(words, size(n))
	}
	return strings.Join(words, ", ")
}

func (b *benchRun) produce(ctx context.Context, p *streams.Producer, at time.Time, fail func(error)) error {
	e := b.gen.Next()
	v, err := b.p.serde.Append(nil, e)
	if err != nil {
		return err
	}
	p.Produce(ctx, streams.Outgoing{Topic: schemas.EndpointTopic, Key: e.Env().Key(), Value: v, Time: at}, fail)
	return nil
}

func (b *benchRun) producer(ctx context.Context) (*streams.Producer, error) {
	return streams.NewProducer(ctx, b.p.kafka, streams.ProducerOptions{Serde: b.p.serde, Logger: b.c.log})
}

func (b *benchRun) preload(ctx context.Context) (map[int32]int64, error) {
	p, err := b.producer(ctx)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	var mu sync.Mutex
	var first error
	for i := range b.o.events {
		b.shown.at(int64(i), int64(b.o.events))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err := b.produce(ctx, p, time.Now(), func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil && first == nil {
				first = err
			}
		})
		if err != nil {
			return nil, err
		}
	}
	if err := errors.Join(p.Flush(ctx), first); err != nil {
		return nil, err
	}
	return streams.EndOffsets(ctx, b.p.kafka, schemas.EndpointTopic.Name)
}

// latency feeds events at a fixed rate and measures, for each lineage record, the time from the append of its cause to a
// read-committed reader. Ingest time is the stamp of the append.
func (b *benchRun) latency(ctx context.Context, r *benchResult) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var ms latencies
	began := time.Now()
	done := make(chan error, 1)
	go func() {
		done <- streams.Read(ctx, b.p.kafka, b.p.serde, streams.ReadOptions{Topics: []string{schemas.LineageTopic.Name}, Follow: true, Since: began}, func(d streams.Delivery) error {
			if d.Schema != "LineageRecord" {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			ms.add(time.Now().UnixMilli() - d.Timestamp)
			return nil
		})
	}()
	sent, err := b.pace(ctx, func() {
		r.PacedRSSBytes, r.PacedHeapBytes = append(r.PacedRSSBytes, rss()), append(r.PacedHeapBytes, heapLive())
	})
	if err != nil {
		return err
	}
	r.PacedEventsPerSecond = float64(sent) / time.Since(began).Seconds()
	pauseFor(ctx, 2*time.Second) // the last transactions
	cancel()
	<-done
	mu.Lock()
	defer mu.Unlock()
	if ms.n == 0 {
		return errors.New("no record came out while latency was measured")
	}
	r.P50, r.P95, r.P99 = ms.at(0.50), ms.at(0.95), ms.at(0.99)
	return nil
}

// latencies counts by the millisecond, up to a minute, so that a long measurement does not grow by itself.
type latencies struct {
	count [60_000]int64
	n     int64
}

func (l *latencies) add(ms int64) {
	l.count[min(max(ms, 0), int64(len(l.count)-1))]++
	l.n++
}

// at is the quantile q, milliseconds.
func (l *latencies) at(q float64) float64 {
	rest := min(l.n-1, int64(q*float64(l.n)))
	for ms, n := range l.count {
		if rest -= n; rest < 0 {
			return float64(ms)
		}
	}
	return float64(len(l.count))
}

// pace feeds events at the fixed rate, and calls sample at each tenth of the time.
func (b *benchRun) pace(ctx context.Context, sample func()) (sent int, err error) {
	p, err := b.producer(ctx)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	began := time.Now()
	b.shown.begin("measuring latency")
	defer b.shown.end()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	tenths := 0
	for time.Since(began) < b.o.paced {
		if n := int(time.Since(began) * 10 / b.o.paced); n > tenths {
			tenths = n
			sample()
		}
		b.shown.at(int64(time.Since(began)), int64(b.o.paced))
		for due := int(time.Since(began).Seconds() * float64(b.o.rate)); sent < due; sent++ {
			if err := b.produce(ctx, p, time.Now(), func(error) {}); err != nil {
				return sent, err
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return sent, ctx.Err()
		}
	}
	return sent, p.Flush(ctx)
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
