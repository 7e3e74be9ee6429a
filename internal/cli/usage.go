package cli

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/amoskys/amoskys/collectors/spool"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/prometheus/client_golang/prometheus"
)

// cpuTime is the processor time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rss is the memory of this process that is resident, bytes.
func rss() (n int64) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

// written is how many records lie on all topics that stages write.
func (b *benchRun) written(ctx context.Context) (n int64) {
	topics := append([]*schemas.Topic{schemas.LineageTopic, schemas.FeaturesTopic, schemas.ScoresTopic, schemas.AlertsTopic}, changelogs(b.stages)...)
	for _, t := range topics {
		ends, err := streams.EndOffsets(ctx, b.p.kafka, t.Name)
		if err != nil {
			continue // the topic may not be there yet
		}
		for _, e := range ends {
			n += e
		}
	}
	return n
}

// count is how many records of a topic a read-committed reader sees.
func (b *benchRun) count(ctx context.Context, t *schemas.Topic) (n int, err error) {
	err = streams.Read(ctx, b.p.kafka, b.p.serde, streams.ReadOptions{Topics: []string{t.Name}}, func(d streams.Delivery) error {
		if d.Schema != "Tick" && d.Schema != "Progress" {
			n++
		}
		return nil
	})
	return n, err
}

// copyRaw copies the preloaded log in transactions, without decoding it: what the broker and the client cost by themselves.
func (b *benchRun) copyRaw(ctx context.Context) (float64, error) {
	return streams.BenchCopy(ctx, b.p.kafka, schemas.EndpointTopic, b.c.cfg.Topics.Partitions, b.c.cfg.Engine.Workers, b.p.broker != nil)
}

func registerSpool(r prometheus.Registerer, s *spool.Spool) {
	for _, x := range []struct {
		name, help string
		of         func(spool.Counts) int64
	}{
		{"amoskys_spool_appended_total", "Events that went into the collector's spool.", func(c spool.Counts) int64 { return c.Appended }},
		{"amoskys_spool_shipped_total", "Events of the spool that the brokers have taken.", func(c spool.Counts) int64 { return c.Shipped }},
		{"amoskys_spool_dropped_total", "Events over the spool's limits, refused by the brokers, or too large.", func(c spool.Counts) int64 { return c.Dropped }},
		{"amoskys_spool_damaged_total", "Events lost to damage of the spool's files.", func(c spool.Counts) int64 { return c.Damaged }},
		{"amoskys_spool_refused_total", "Events that the spool could not take, as when the disk is full.", func(c spool.Counts) int64 { return c.Refused }},
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: x.name, Help: x.help}, func() float64 { return float64(x.of(s.Counts())) }))
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "amoskys_spool_bytes", Help: "Size of the collector's spool, bytes."}, func() float64 { return float64(s.Counts().Bytes) }))
}
