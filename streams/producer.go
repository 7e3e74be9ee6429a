package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Producer writes to ingest and journal topics: idempotent, acknowledged by all in-sync replicas, in order per key. It
// takes no part in any transaction. It is safe for concurrent use.
type Producer struct {
	client *kgo.Client
	manual *kgo.Client // for records that go to a partition of their own
	serde  *schemas.Serde
	mu     sync.Mutex
	stamp  time.Time
}

// ProducerOptions are what a Producer needs besides the way to the brokers.
type ProducerOptions struct {
	Serde  *schemas.Serde
	Logger *slog.Logger
	// Buffer bounds the records that wait for an acknowledgement; Produce blocks beyond it. Default: 50,000.
	Buffer int
}

// Outgoing is a record to produce.
type Outgoing struct {
	Topic *schemas.Topic
	Key   string // which decides the partition
	Value []byte // in the Confluent wire format, see Frame
	Trace string // W3C trace id, or empty
	// Time is the ingest time where the broker does not stamp it (the embedded one does not); the zero time is now. It
	// never goes back: an earlier one is written as the latest so far.
	Time time.Time
}

// NewProducer opens a producer.
func NewProducer(_ context.Context, k Kafka, o ProducerOptions) (*Producer, error) {
	opts, err := k.Options()
	if err != nil {
		return nil, err
	}
	if o.Buffer == 0 {
		o.Buffer = 50_000
	}
	if o.Logger != nil {
		opts = append(opts, kgo.WithLogger(clientLog{o.Logger}))
	}
	opts = append(opts, kgo.ProducerBatchCompression(k.codec()), kgo.ProducerLinger(10*time.Millisecond), kgo.MaxBufferedRecords(o.Buffer), kgo.RequiredAcks(kgo.AllISRAcks()))
	p := &Producer{serde: o.Serde}
	// Keys are hashed as by every other Kafka client, so that whoever writes the facts of a host writes to one partition.
	if p.client, err = kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...); err != nil {
		return nil, fmt.Errorf("open producer: %w", err)
	}
	if p.manual, err = kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...); err != nil {
		p.client.Close()
		return nil, fmt.Errorf("open producer: %w", err)
	}
	return p, nil
}

// Frame puts the registered schema id before an Avro body.
func (p *Producer) Frame(schema string, body []byte) ([]byte, error) {
	e, err := p.serde.Encoder(schema)
	if err != nil {
		return nil, err
	}
	return e.Frame(body), nil
}

// now is the ingest time of the next record.
func (p *Producer) now(at time.Time) time.Time {
	if at.IsZero() {
		at = time.Now()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if at.Before(p.stamp) {
		return p.stamp
	}
	p.stamp = at
	return at
}

// Produce writes a record; done is told once it is acknowledged, or will never be: see IsPermanent. It blocks while too
// many records wait.
func (p *Producer) Produce(ctx context.Context, o Outgoing, done func(error)) {
	r := &kgo.Record{Topic: o.Topic.Name, Value: o.Value, Timestamp: p.now(o.Time)}
	if o.Key != "" {
		r.Key = []byte(o.Key)
	}
	if o.Trace != "" {
		r.Headers = []kgo.RecordHeader{{Key: HeaderTrace, Value: traceparent(o.Trace)}}
	}
	p.client.Produce(ctx, r, func(r *kgo.Record, err error) {
		if err != nil {
			if f, _ := classify(err); f == faultRecord {
				err = Permanent(err)
			}
			err = fmt.Errorf("write record of %d bytes to %s: %w", len(o.Value), o.Topic.Name, err)
		}
		done(err)
	})
}

// Broadcast writes a record without a key to every partition of a topic, waits for all, and returns the offset after it
// by partition.
func (p *Producer) Broadcast(ctx context.Context, t *schemas.Topic, value []byte, at time.Time) (map[int32]int64, error) {
	if err := p.Flush(ctx); err != nil {
		return nil, err
	}
	ds, err := kadm.NewClient(p.manual).ListTopics(ctx, t.Name)
	if err == nil {
		err = ds.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list partitions of %s: %w", t.Name, err)
	}
	var rs []*kgo.Record
	at = p.now(at)
	for part := range ds[t.Name].Partitions {
		rs = append(rs, &kgo.Record{Topic: t.Name, Partition: part, Value: value, Timestamp: at})
	}
	ends := map[int32]int64{}
	for _, r := range p.manual.ProduceSync(ctx, rs...) {
		if r.Err != nil {
			return nil, fmt.Errorf("write to %s/%d: %w", t.Name, r.Record.Partition, r.Err)
		}
		ends[r.Record.Partition] = r.Record.Offset + 1
	}
	return ends, nil
}

// Flush waits until everything produced so far is acknowledged or given up.
func (p *Producer) Flush(ctx context.Context) error {
	if err := p.client.Flush(ctx); err != nil {
		return fmt.Errorf("flush producer: %w", err)
	}
	return nil
}

// Close flushes for a moment and closes the producer.
func (p *Producer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := p.Flush(ctx)
	p.client.Close()
	p.manual.Close()
	return err
}

// permanentError marks an error that will come again for the same record.
type permanentError struct{ error }

// Unwrap returns the error itself.
func (e permanentError) Unwrap() error { return e.error }

// Permanent says that it is so.
func (permanentError) Permanent() bool { return true }

// Permanent marks an error as one that the same record will always cause: it is not tried again.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// IsPermanent says whether an error, or one that it wraps, is marked as permanent.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}
