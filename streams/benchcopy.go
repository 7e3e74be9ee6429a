package streams

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchCopy measures what brokers and client cost by themselves: it copies a topic, record for record and without decoding,
// in transactions like those of a stage, and returns the records a second. It is the limit for every stage that writes one
// record for each it reads. The copy is deleted.
func BenchCopy(ctx context.Context, k Kafka, from *schemas.Topic, partitions, workers int, fresh bool) (float64, error) {
	adm, err := openAdmin(ctx, k)
	if err != nil {
		return 0, err
	}
	defer adm.Close()
	id := make([]byte, 4)
	if _, err := rand.Read(id); err != nil {
		return 0, err
	}
	run := "amoskys.bench." + hex.EncodeToString(id)
	if r, err := adm.CreateTopic(ctx, int32(partitions), -1, nil, run); err != nil || r.Err != nil {
		return 0, fmt.Errorf("create %s: %w", run, errors.Join(err, r.Err))
	}
	defer func() {
		_, _ = adm.DeleteTopics(context.WithoutCancel(ctx), run) // a bench topic left behind hurts nobody
		_, _ = adm.DeleteGroup(context.WithoutCancel(ctx), run)
	}()
	total, err := total(ctx, adm, from.Name)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var copied atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	began := time.Now()
	for i := range workers {
		wg.Go(func() {
			errs[i] = copyWorker(ctx, k, run, fmt.Sprintf("%s.%d", run, i), from.Name, func(n int64) {
				if copied.Add(n) >= total {
					cancel()
				}
			})
			cancel()
		})
	}
	wg.Wait()
	took := time.Since(began)
	if n := copied.Load(); n < total {
		return 0, fmt.Errorf("copied %d of %d records: %w", n, total, firstOf(errs))
	}
	return float64(total) / took.Seconds(), nil
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return context.Canceled
}

func total(ctx context.Context, adm *kadm.Client, topic string) (n int64, err error) {
	ends, err := settled(ctx, adm, topic)
	if err != nil {
		return 0, err
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, nil
}

// copyWorker is the simplest exactly-once loop: poll, produce, end.
func copyWorker(ctx context.Context, k Kafka, to, id, from string, copied func(int64)) error {
	opts, err := k.Options()
	if err != nil {
		return err
	}
	s, err := kgo.NewGroupTransactSession(append(opts, kgo.TransactionalID(id), kgo.ConsumerGroup(to), kgo.ConsumeTopics(from), kgo.DefaultProduceTopic(to),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ProducerBatchCompression(k.codec()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.FetchMaxWait(100*time.Millisecond), kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))...)
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		fs := s.PollRecords(ctx, 10_000)
		if ctx.Err() != nil {
			return nil
		}
		if err := fs.Err(); err != nil {
			return err
		}
		if err := s.Begin(); err != nil {
			return err
		}
		fs.EachRecord(func(r *kgo.Record) {
			s.Produce(context.WithoutCancel(ctx), &kgo.Record{Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}, nil)
		})
		ok, err := s.End(context.WithoutCancel(ctx), kgo.TryCommit)
		if err != nil {
			return err
		}
		if ok {
			copied(int64(fs.NumRecords()))
		}
	}
}
