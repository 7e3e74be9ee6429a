package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A SinkRunner feeds a sink from topics as the consumer group amoskys.sink.<name>: what a read-committed reader sees, in
// order per partition. Positions are committed after delivery, so a record may come twice after a crash, and never not at
// all.
type SinkRunner struct {
	Name   string // part of the consumer group, and a label of metrics: it is never changed
	Sink   Sink
	Topics []string // by their full names
	Kafka  Kafka
	Serde  *schemas.Serde
	// Control delivers tick and progress records too.
	Control bool
	// Batch is the most records of one delivery. Default: 500.
	Batch   int
	Logger  *slog.Logger
	Metrics prometheus.Registerer

	log    *slog.Logger
	client *kgo.Client
	dead   *Producer
	counts *prometheus.CounterVec
	next   map[topicPart]int64 // to be delivered; -1: from wherever the first record is
}

// Run delivers until ctx ends (nil), and closes the sink. It returns an error only for what nothing but a change of the
// configuration mends.
func (s *SinkRunner) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.Sink.Close()) }()
	if err := s.open(ctx); err != nil {
		return fmt.Errorf("open sink %s: %w", s.Name, err)
	}
	defer func() {
		s.client.CloseAllowingRebalance()
		err = errors.Join(err, s.dead.Close())
	}()
	for {
		fs := s.client.PollRecords(ctx, s.batch())
		if ctx.Err() != nil {
			return nil
		}
		if err := readError(fs); err != nil {
			return fmt.Errorf("sink %s: %w", s.Name, err)
		}
		if err := s.take(ctx, fs); err != nil {
			return err
		}
		s.client.AllowRebalance()
	}
}

func (s *SinkRunner) batch() int {
	if s.Batch == 0 {
		return 500
	}
	return s.Batch
}

func (s *SinkRunner) open(ctx context.Context) error {
	s.log = s.Logger
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.log = s.log.With("sink", s.Name)
	s.next = map[topicPart]int64{}
	s.counts = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "amoskys_sink_records_total", Help: "Records of a sink, by what became of them."}, []string{"sink", "result"})
	if s.Metrics != nil {
		if err := s.Metrics.Register(s.counts); err != nil {
			return err
		}
	}
	opts, err := s.Kafka.Options()
	if err != nil {
		return err
	}
	forget := func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
		for t, ps := range m {
			for _, p := range ps {
				delete(s.next, topicPart{t, p}) // rebalances are blocked while a batch is delivered
			}
		}
	}
	s.client, err = kgo.NewClient(append(opts, kgo.ConsumerGroup("amoskys.sink."+s.Name), kgo.ConsumeTopics(s.Topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.FetchMaxWait(200*time.Millisecond),
		kgo.OnPartitionsRevoked(forget), kgo.OnPartitionsLost(forget), kgo.WithLogger(clientLog{s.log}))...)
	if err != nil {
		return err
	}
	s.dead, err = NewProducer(ctx, s.Kafka, ProducerOptions{Serde: s.Serde, Logger: s.log})
	if err != nil {
		s.client.Close()
	}
	return err
}

// take delivers what was polled, partition by partition, and commits what was delivered.
func (s *SinkRunner) take(ctx context.Context, fs kgo.Fetches) error {
	var stop error
	fs.EachPartition(func(p kgo.FetchTopicPartition) {
		if stop != nil || len(p.Records) == 0 || ctx.Err() != nil {
			return
		}
		rs, err := s.due(p)
		if err != nil {
			stop = fmt.Errorf("sink %s: %w", s.Name, err)
			return
		}
		if len(rs) == 0 {
			return
		}
		if done := s.deliver(ctx, rs); done > 0 {
			s.next[topicPart{p.Topic, p.Partition}] = rs[done-1].Offset + 1
			// A commit that fails is no loss: the records come again, and the sink is idempotent.
			if err := s.client.CommitRecords(context.WithoutCancel(ctx), rs[:done]...); err != nil {
				s.log.Warn("position is not committed", "topic", p.Topic, "partition", p.Partition, "err", err)
			}
		}
	})
	return stop
}

// due are the records of what was polled that the sink has not had. If it is to begin elsewhere it is none, and the client
// goes there.
func (s *SinkRunner) due(p kgo.FetchTopicPartition) ([]*kgo.Record, error) {
	at, first := topicPart{p.Topic, p.Partition}, p.Records[0].Offset
	next, known := s.next[at]
	if !known {
		var err error
		if next, err = s.resume(at, p.HighWatermark); err != nil {
			return nil, err
		}
		s.next[at] = next
		if next >= 0 && next != first {
			s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{at.topic: {at.partition: {Epoch: -1, Offset: next}}})
			return nil, nil
		}
	}
	if next > 0 {
		if n := expired(next, p); n > 0 {
			s.log.Error("retention has deleted records before they were delivered", "topic", at.topic, "partition", at.partition, "from", next, "to", next+n-1)
			s.counts.WithLabelValues(s.Name, "expired").Add(float64(n))
		}
	}
	return slices.DeleteFunc(p.Records, func(r *kgo.Record) bool { return r.Offset < next }), nil
}

// resume finds where a partition is to begin, once for each time the sink is given it: where a sink that knows how far it
// has come says, be it that more was delivered than committed, or that its storage was set back; else where was committed.
func (s *SinkRunner) resume(at topicPart, end int64) (int64, error) {
	if x, ok := s.Sink.(Resumer); ok {
		next, known, err := x.Resume(at.topic, at.partition)
		switch {
		case err != nil:
			return 0, fmt.Errorf("resume %s/%d: %w", at.topic, at.partition, err)
		case known && next <= end:
			return next, nil
		case known:
			s.log.Error("sink has more than there is: the topic was made anew, and all of it is delivered", "topic", at.topic, "partition", at.partition, "sink_at", next, "end", end)
		}
	}
	if c, ok := s.client.CommittedOffsets()[at.topic][at.partition]; ok && c.Offset >= 0 {
		return c.Offset, nil
	}
	return -1, nil
}

// The wait between two attempts of a delivery.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// deliver hands records to the sink until it takes them; it returns how many were dealt with: all, unless ctx ended. A
// record that the sink will never take goes to the dead-letter topic.
func (s *SinkRunner) deliver(ctx context.Context, rs []*kgo.Record) int {
	batch := make([]Delivery, 0, len(rs))
	for _, r := range rs {
		d := delivery(ctx, r, s.Serde)
		if !s.Control && (d.Schema == "Tick" || d.Schema == "Progress") {
			continue
		}
		batch = append(batch, d)
	}
	for wait := firstRetry; len(batch) > 0; {
		err := s.Sink.Deliver(ctx, batch)
		if err == nil {
			s.counts.WithLabelValues(s.Name, "delivered").Add(float64(len(batch)))
			break
		}
		if ctx.Err() != nil {
			return 0
		}
		if IsPermanent(err) {
			if batch = s.refuse(ctx, batch, err); ctx.Err() != nil {
				return 0
			}
			continue
		}
		s.counts.WithLabelValues(s.Name, "retried").Inc()
		d := wait/2 + rand.N(wait/2+1) // half fixed, half jitter
		s.log.Warn("sink does not take records", "topic", batch[0].Topic, "partition", batch[0].Partition, "offset", batch[0].Offset, "err", err, "next_in", d)
		if !pause(ctx, d) {
			return 0
		}
		wait = min(2*wait, lastRetry)
	}
	return len(rs)
}

// refuse finds the record that the sink will never take, by delivering one at a time; it goes to the dead-letter topic. It
// returns what is still to be delivered.
func (s *SinkRunner) refuse(ctx context.Context, batch []Delivery, err error) []Delivery {
	for len(batch) > 1 {
		if err = s.Sink.Deliver(ctx, batch[:1]); err != nil {
			break
		}
		s.counts.WithLabelValues(s.Name, "delivered").Inc()
		batch = batch[1:]
	}
	if err == nil {
		err = s.Sink.Deliver(ctx, batch[:1])
	}
	if err == nil {
		return batch[1:]
	}
	if !IsPermanent(err) {
		s.log.Warn("sink does not take a record", "topic", batch[0].Topic, "partition", batch[0].Partition, "offset", batch[0].Offset, "err", err)
		pause(ctx, firstRetry)
		return batch
	}
	d := batch[0]
	s.log.Error("record goes to the dead letters", "topic", d.Topic, "partition", d.Partition, "offset", d.Offset, "err", err)
	xerr := s.bury(ctx, d, err, len(d.Raw))
	if IsPermanent(xerr) { // too large with its bytes; they can be read at its offset
		xerr = s.bury(ctx, d, err, 0)
	}
	if xerr != nil {
		s.log.Error("dead letter is not written", "err", xerr)
		pause(ctx, firstRetry)
		return batch
	}
	s.counts.WithLabelValues(s.Name, "dead").Inc()
	return batch[1:]
}

// mostCause bounds what a dead letter says of why, in bytes: a sink may pass on whatever it was answered.
const mostCause = 4 << 10

// bury writes a dead letter with the record's bytes, or without them and with the beginning of its key.
func (s *SinkRunner) bury(ctx context.Context, d Delivery, cause error, bytes int) error {
	text, key := schemas.Text(cause.Error()), d.Key
	if bytes == 0 {
		key = key[:min(len(key), mostCause)]
	}
	v, err := s.Serde.Append(nil, &schemas.DeadLetter{Topic: d.Topic, Partition: d.Partition, Offset: d.Offset, Stage: "sink." + s.Name, Processor: s.Name,
		Error: schemas.Text(text[:min(len(text), mostCause)]), Key: []byte(key), Value: d.Raw[:bytes], Timestamp: d.Timestamp})
	if err != nil {
		return err
	}
	told := make(chan error, 1)
	s.dead.Produce(ctx, Outgoing{Topic: schemas.DeadLetterTopic, Key: key, Value: v}, func(err error) { told <- err })
	return <-told
}
