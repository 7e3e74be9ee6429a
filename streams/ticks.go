package streams

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ticker writes ticks: time that has passed on an ingest partition without a record. All workers of an App share it. Its
// producer is idempotent and has no part in anybody's transaction: a tick is a fact like what collectors write.
type ticker struct {
	e     *engine
	value func(at time.Time) ([]byte, error)

	mu     sync.Mutex
	client *kgo.Client
	said   time.Time
}

func newTicker(e *engine, serde *schemas.Serde) *ticker {
	return &ticker{e: e, value: func(at time.Time) ([]byte, error) {
		return serde.Append(nil, &schemas.Tick{Time: at.UnixNano()})
	}}
}

// tickLife is how long a tick is worth delivering.
const tickLife = 5 * time.Second

func (t *ticker) open() (*kgo.Client, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client != nil {
		return t.client, nil
	}
	cl, err := t.e.client("tick producer", kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.RecordDeliveryTimeout(tickLife))
	t.client = cl // nil after an error
	return cl, err
}

func (t *ticker) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client != nil {
		t.client.Close()
	}
}

// send writes a tick without waiting for it. The record's timestamp only matters where the broker does not stamp.
func (t *ticker) send(topic string, part int32, at time.Time) {
	cl, err := t.open()
	if err != nil {
		t.complain(topic, part, err)
		return
	}
	v, err := t.value(at)
	if err != nil {
		t.complain(topic, part, err)
		return
	}
	cl.TryProduce(context.Background(), &kgo.Record{Topic: topic, Partition: part, Value: v, Timestamp: at}, func(r *kgo.Record, err error) {
		if err != nil {
			t.complain(topic, part, err)
			return
		}
		t.e.m.ticks.WithLabelValues(topic).Inc()
	})
}

func (t *ticker) complain(topic string, part int32, err error) {
	t.mu.Lock()
	quiet := time.Since(t.said) < complaintEvery
	if !quiet {
		t.said = time.Now()
	}
	t.mu.Unlock()
	if !quiet {
		t.e.log.Warn("tick cannot be written", "topic", topic, "partition", part, "err", err)
	}
}

// tick writes ticks to the ingest partitions that the worker has been given, is not behind on, and has had nothing from
// for a while. Of two stages that read a partition, the second sees the tick of the first.
func (w *worker) tick() {
	if w.e.ticks == nil {
		return
	}
	now := time.Now()
	for _, in := range w.plan.Inputs() {
		if in.Kind != schemas.Ingest {
			continue
		}
		for _, part := range slices.Sorted(maps.Keys(w.assigned)) {
			at := topicPart{in.Name, part}
			m := w.ends[at]
			switch {
			case m.seen.IsZero():
				m.seen = now // from now on it is watched
			case now.Sub(m.seen) < w.e.tickEvery, m.next < m.stable, w.stalled[part] != nil:
				continue
			default:
				m.seen = now
				// Where the producer's stamp counts, it never goes back behind what was seen.
				m.stamp = max(now.UnixMilli(), m.stamp)
				w.e.ticks.send(in.Name, part, time.UnixMilli(m.stamp))
			}
			w.ends[at] = m
		}
	}
}
