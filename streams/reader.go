package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ReadOptions say what Read reads.
type ReadOptions struct {
	Topics []string
	// Since begins at the first record with this timestamp or a later one; the zero time at the start of the log.
	Since time.Time
	// Follow goes on with new records until ctx ends. Otherwise Read ends where the log ended when it was called.
	Follow bool
	// Uncommitted shows what open and aborted transactions wrote, too.
	Uncommitted bool
}

// Read calls f for each record of some topics, in order per partition, decoded; a value that cannot be decoded is told in
// Delivery.Err. It is for people and tools: it has no group and commits nothing. It ends with the error of f, or with that
// of ctx, or with nil at the end of the log.
func Read(ctx context.Context, k Kafka, serde *schemas.Serde, o ReadOptions, f func(Delivery) error) error {
	opts, err := k.Options()
	if err != nil {
		return err
	}
	offset := kgo.NewOffset().AtStart()
	if !o.Since.IsZero() {
		offset = kgo.NewOffset().AfterMilli(o.Since.UnixMilli())
	}
	level := kgo.ReadCommitted()
	if o.Uncommitted {
		level = kgo.ReadUncommitted()
	}
	cl, err := kgo.NewClient(append(opts, kgo.ConsumeTopics(o.Topics...), kgo.ConsumeResetOffset(offset), kgo.FetchIsolationLevel(level),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(200*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("open reader: %w", err)
	}
	defer cl.Close()
	var left *remaining
	if !o.Follow {
		if left, err = upToNow(ctx, cl, o); err != nil {
			return err
		}
	}
	for left == nil || left.n > 0 {
		fs := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := readError(fs); err != nil {
			return err
		}
		var stop error
		fs.EachRecord(func(r *kgo.Record) {
			if stop != nil || left != nil && !left.take(r) || r.Attrs.IsControl() {
				return
			}
			stop = f(delivery(ctx, r, serde))
		})
		if stop != nil {
			return stop
		}
	}
	return nil
}

// readError is what ends a reading; what the client tries again by itself is none.
func readError(fs kgo.Fetches) error {
	for _, e := range fs.Errors() {
		if fatal(e.Err) {
			return fmt.Errorf("read %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
	}
	return nil
}

func delivery(ctx context.Context, r *kgo.Record, serde *schemas.Serde) Delivery {
	d := Delivery{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: string(r.Key), Timestamp: r.Timestamp.UnixMilli(), Raw: r.Value}
	if h, ok := header(r, HeaderTrace); ok {
		d.Trace = parseTrace(h)
	}
	if d.Schema, d.Err = serde.Name(ctx, r.Value); d.Err == nil {
		if schemas.New(d.Schema) == nil {
			return d // a state row: shown by its schema, not decoded
		}
		d.Value, d.Err = serde.Decode(ctx, r.Value)
	}
	if d.Err != nil {
		d.Err = malformed(r, d.Err)
	}
	if e, ok := d.Value.(schemas.Event); ok && d.Trace == "" {
		d.Trace = schemas.TraceID(e.Env().EventID())
	}
	return d
}

// remaining is how far a bounded reading has to go, by partition.
type remaining struct {
	end map[topicPart]int64
	n   int // partitions that are not at their end
}

// take says whether the record is within the bound, and notes that its partition has come so far.
func (m *remaining) take(r *kgo.Record) bool {
	at := topicPart{r.Topic, r.Partition}
	end, ok := m.end[at]
	if ok && r.Offset >= end-1 { // further when retention has deleted the rest meanwhile
		delete(m.end, at)
		m.n--
	}
	return ok && r.Offset < end
}

// upToNow finds where the log ends, once no transaction is open there: EndTxn returns before its markers are written.
func upToNow(ctx context.Context, cl *kgo.Client, o ReadOptions) (*remaining, error) {
	adm := kadm.NewClient(cl)
	ends, err := settled(ctx, adm, o.Topics...)
	if err != nil {
		return nil, err
	}
	var starts kadm.ListedOffsets
	if o.Since.IsZero() {
		starts, err = adm.ListStartOffsets(ctx, o.Topics...)
	} else {
		starts, err = adm.ListOffsetsAfterMilli(ctx, o.Since.UnixMilli(), o.Topics...)
	}
	if err != nil {
		return nil, fmt.Errorf("list offsets of %v: %w", o.Topics, err)
	}
	m := &remaining{end: map[topicPart]int64{}}
	ends.Each(func(e kadm.ListedOffset) {
		s, ok := starts.Lookup(e.Topic, e.Partition)
		if ok && s.Err == nil && s.Offset < e.Offset {
			m.end[topicPart{e.Topic, e.Partition}] = e.Offset
		}
	})
	m.n = len(m.end)
	return m, nil
}

// settled returns the high watermarks of topics when they equal the last stable offsets.
func settled(ctx context.Context, adm *kadm.Client, topics ...string) (kadm.ListedOffsets, error) {
	for {
		high, err := adm.ListEndOffsets(ctx, topics...)
		if err == nil {
			err = high.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("list end offsets of %v: %w", topics, err)
		}
		stable, err := adm.ListCommittedOffsets(ctx, topics...)
		if err != nil {
			return nil, fmt.Errorf("list last stable offsets of %v: %w", topics, err)
		}
		same := true
		high.Each(func(o kadm.ListedOffset) {
			s, ok := stable.Lookup(o.Topic, o.Partition)
			same = same && ok && s.Err == nil && s.Offset >= o.Offset
		})
		if same {
			return high, nil
		}
		if !pause(ctx, 50*time.Millisecond) {
			return nil, errors.Join(errors.New("a transaction stays open"), ctx.Err())
		}
	}
}

// EndOffsets are the offsets after the last record of each partition of a topic, once no transaction is open on it.
func EndOffsets(ctx context.Context, k Kafka, topic string) (map[int32]int64, error) {
	adm, err := openAdmin(ctx, k)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	ends, err := settled(ctx, adm, topic)
	if err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out, nil
}

// Ping says whether brokers answer.
func Ping(ctx context.Context, k Kafka) error {
	adm, err := openAdmin(ctx, k)
	if err != nil {
		return err
	}
	defer adm.Close()
	if _, err := adm.BrokerMetadata(ctx); err != nil {
		return fmt.Errorf("ask brokers %v: %w", k.Brokers, err)
	}
	return nil
}
