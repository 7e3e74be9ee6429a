package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A DeadLetterFilter says which dead letters are wanted; an empty field means all.
type DeadLetterFilter struct {
	Stage, Processor string
	Topic            string    // that the record was read from
	Since            time.Time // when the dead letter was written, at the earliest
}

// A DeadLetter is a dead letter and where it lies.
type DeadLetter struct {
	At        string    `json:"at"`    // partition@offset on the dead-letter topic
	Time      time.Time `json:"time"`  // when it was written
	Topic     string    `json:"topic"` // of the record, as are partition and offset
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`              // -1: it was handed over in memory
	Stage     string    `json:"stage"`               // that refused it
	Processor string    `json:"processor,omitempty"` // empty: it could not be decoded
	Error     string    `json:"error"`
	Key       string    `json:"key"`
	Bytes     int       `json:"bytes"` // of the value
}

// String is the dead letter on one line.
func (d DeadLetter) String() string {
	who := d.Stage
	if d.Processor != "" {
		who += "/" + d.Processor
	}
	return fmt.Sprintf("%-10s %s  %s/%d@%d  key %s  %d bytes  refused by %s: %s", d.At, d.Time.UTC().Format(time.RFC3339), d.Topic, d.Partition, d.Offset, d.Key, d.Bytes, who, d.Error)
}

// DeadLetters calls f for the dead letters of the moment.
func DeadLetters(ctx context.Context, k Kafka, serde *schemas.Serde, want DeadLetterFilter, f func(DeadLetter) error) error {
	return Read(ctx, k, serde, ReadOptions{Topics: []string{schemas.DeadLetterTopic.Name}, Since: want.Since}, func(d Delivery) error {
		x, ok := d.Value.(*schemas.DeadLetter)
		if !ok || want.Stage != "" && x.Stage != want.Stage || want.Processor != "" && x.Processor != want.Processor || want.Topic != "" && x.Topic != want.Topic {
			return nil
		}
		return f(DeadLetter{At: fmt.Sprintf("%d@%d", d.Partition, d.Offset), Time: time.UnixMilli(d.Timestamp), Topic: x.Topic, Partition: x.Partition, Offset: x.Offset,
			Stage: x.Stage, Processor: x.Processor, Error: x.Error, Key: string(x.Key), Bytes: len(x.Value)})
	})
}

// A Redriven is what became of a dead letter that was given to its processor again.
type Redriven struct {
	DeadLetter string `json:"dead_letter"` // topic/partition@offset
	Processor  string `json:"processor"`   // or the stage, for what could not be decoded
	Topic      string `json:"topic"`       // ingest topic that it was written to
	Partition  int32  `json:"partition"`
	Offset     int64  `json:"offset"`
}

// ErrNotRedrivable is returned for a dead letter that cannot be given to a processor again.
var ErrNotRedrivable = errors.New("dead letter cannot be re-driven")

// Redrive gives a dead letter to the processor that refused it again: it is written to the ingest topic it came from, in
// the same partition, so that a replay of the log does the same at the same place. Only the processor that is named sees
// it.
func Redrive(ctx context.Context, k Kafka, serde *schemas.Serde, partition int32, offset int64) (*Redriven, error) {
	d, err := deadLetterAt(ctx, k, serde, partition, offset)
	if err != nil {
		return nil, err
	}
	target := d.Processor
	if target == "" {
		target = d.Stage
	}
	if d.Origin.Topic == "" || strings.HasPrefix(d.Stage, "sink.") {
		return nil, fmt.Errorf("%w: it was refused by %s, not by a stage of the chain", ErrNotRedrivable, d.Stage)
	}
	if len(d.Value) == 0 && d.Offset < 0 {
		return nil, fmt.Errorf("%w: it is about the key %s, as at the close of a window, not about a record", ErrNotRedrivable, d.Key)
	}
	if len(d.Value) == 0 {
		return nil, fmt.Errorf("%w: it was too large to keep its bytes; read them at %s/%d@%d", ErrNotRedrivable, d.Topic, d.Partition, d.Offset)
	}
	opts, err := k.Options()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return nil, fmt.Errorf("open producer: %w", err)
	}
	defer cl.Close()
	at := fmt.Sprintf("%s/%d@%d", schemas.DeadLetterTopic.Name, partition, offset)
	r, err := cl.ProduceSync(ctx, &kgo.Record{Topic: d.Origin.Topic, Partition: d.Origin.Partition, Key: d.Key, Value: d.Value, Timestamp: time.Now(), Headers: []kgo.RecordHeader{
		{Key: HeaderRedrive, Value: []byte(target)}, {Key: HeaderRedriveOf, Value: []byte(at)}, {Key: HeaderRedriveTopic, Value: []byte(d.Topic)}}}).First()
	if err != nil {
		return nil, fmt.Errorf("write to %s/%d: %w", d.Origin.Topic, d.Origin.Partition, err)
	}
	return &Redriven{at, target, r.Topic, r.Partition, r.Offset}, nil
}

func deadLetterAt(ctx context.Context, k Kafka, serde *schemas.Serde, partition int32, offset int64) (*schemas.DeadLetter, error) {
	opts, err := k.Options()
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		schemas.DeadLetterTopic.Name: {partition: kgo.NewOffset().At(offset)}}))...)
	if err != nil {
		return nil, fmt.Errorf("open reader: %w", err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	none := fmt.Errorf("no dead letter lies at %d@%d", partition, offset)
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, schemas.DeadLetterTopic.Name)
	if err != nil {
		return nil, fmt.Errorf("list end offsets of %s: %w", schemas.DeadLetterTopic.Name, err)
	}
	if end, ok := ends.Lookup(schemas.DeadLetterTopic.Name, partition); !ok || offset < 0 || offset >= end.Offset {
		return nil, none
	}
	fs := cl.PollRecords(ctx, 1)
	if err := fs.Err(); err != nil {
		return nil, fmt.Errorf("read dead letter %d@%d: %w", partition, offset, err)
	}
	for _, r := range fs.Records() {
		if r.Offset != offset || r.Attrs.IsControl() {
			break
		}
		v, err := serde.Decode(ctx, r.Value)
		if err != nil {
			return nil, malformed(r, err)
		}
		if d, ok := v.(*schemas.DeadLetter); ok {
			return d, nil
		}
	}
	return nil, none
}
