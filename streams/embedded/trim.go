package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	// ErrInUse is returned by Start when another process has the directory.
	ErrInUse = errors.New("data directory is in use")
	// ErrNoMemory is returned by Start when the log is larger than the memory there is.
	ErrNoMemory = errors.New("not enough memory")
	// ErrDiskFull is returned by Start, and told by Err, when the disk has no room for the log.
	ErrDiskFull = errors.New("disk is full")
	// ErrOpenTransaction is returned by Trim while a transaction is open.
	ErrOpenTransaction = errors.New("a transaction is open")
	// ErrOverCap is returned by Trim when what must be kept is more than the cap.
	ErrOverCap = errors.New("log stays over its cap")
)

// Shares of the cap: what a trim leaves, and from what size on it is time for one. The rest is for what comes in until the
// trim has begun.
const (
	keepShare = 0.5
	fullShare = 0.85
)

// TrimDue says that it is time for a Trim: the log is full, or its tables are to be compacted before that takes long.
func (b *Broker) TrimDue() bool {
	if b.room() < 0 {
		return true
	}
	_, size := b.tables()
	return b.dirty(size)
}

// room is how much may be written until the log is full. While tables are compacted they are there twice: as they were and
// as they will be.
func (b *Broker) room() int64 {
	return int64(fullShare*float64(b.c.MaxBytes)) - b.clean.Load() - b.Size()
}

// Trim brings the log under its cap: it deletes what is past the retention of its topic, and the oldest records of all topics
// that are no tables, but of these none that a consumer group has not yet processed, and compacts the tables if that is
// worth its time, in which the broker answers nobody. Call it at a commit barrier: while a transaction is open it refuses.
func (b *Broker) Trim(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...), kgo.DisableClientMetrics())
	if err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	txns, err := adm.ListTransactions(ctx, nil, []string{"Ongoing", "PrepareCommit", "PrepareAbort"})
	if err != nil {
		return fmt.Errorf("trim log: list transactions: %w", err)
	}
	if len(txns) > 0 {
		return fmt.Errorf("trim log: %v: %w", txns.TransactionalIDs(), ErrOpenTransaction)
	}
	_, size := b.tables()
	full := b.room() < b.superseded(size) // even if a compaction frees nothing
	if full {
		b.cluster.ApplyRetention() // as a compaction does
		if err := b.deleteOld(ctx, adm); err != nil {
			return fmt.Errorf("trim log: %w", err)
		}
	}
	if b.dirty(size) || full && b.gains(size) {
		if err := b.compact(); err != nil {
			return fmt.Errorf("trim log: compact tables: %w", err)
		}
	}
	if n := b.Size(); n > b.c.MaxBytes {
		return fmt.Errorf("trim log: %d MiB are left, the cap is %d: groups have not processed the rest, or tables are large: %w", n>>20, b.c.MaxBytes>>20, ErrOverCap)
	}
	return nil
}

// deleteOld deletes from the start of every topic that is no table, in equal shares, until keepShare of the cap is left.
func (b *Broker) deleteOld(ctx context.Context, adm *kadm.Client) error {
	floors, err := processed(ctx, adm)
	if err != nil {
		return err
	}
	total := b.Size()
	goal := int64(keepShare * float64(b.c.MaxBytes))
	if total <= goal {
		return nil
	}
	ds, err := adm.ListTopics(ctx)
	if err != nil {
		return err
	}
	var deletable int64
	for _, name := range ds.Names() {
		if !b.isTable(name) {
			for _, p := range b.cluster.PartitionInfos(name) {
				deletable += p.NumBytes
			}
		}
	}
	if deletable == 0 {
		return nil
	}
	share := min(1, float64(total-goal)/float64(deletable))
	var errs []error
	for _, name := range ds.Names() {
		if b.isTable(name) {
			continue
		}
		for _, p := range b.cluster.PartitionInfos(name) {
			at := p.LogStartOffset + int64(share*float64(p.HighWatermark-p.LogStartOffset))
			if floor, ok := floors[name][p.Partition]; ok {
				at = min(at, floor)
			}
			if at > p.LogStartOffset {
				errs = append(errs, b.cluster.DeleteRecords(name, p.Partition, at))
			}
		}
	}
	return errors.Join(errs...)
}

// processed is the lowest position of any consumer group, by topic and partition. What no group reads has none.
func processed(ctx context.Context, adm *kadm.Client) (map[string]map[int32]int64, error) {
	gs, err := adm.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	out := map[string]map[int32]int64{}
	for _, r := range adm.FetchManyOffsets(ctx, gs.Groups()...) {
		if r.Err != nil {
			return nil, fmt.Errorf("positions of group %s: %w", r.Group, r.Err)
		}
		r.Fetched.Each(func(o kadm.OffsetResponse) {
			if o.At < 0 {
				return
			}
			if out[o.Topic] == nil {
				out[o.Topic] = map[int32]int64{}
			}
			if at, ok := out[o.Topic][o.Partition]; !ok || o.At < at {
				out[o.Topic][o.Partition] = o.At
			}
		})
	}
	return out, nil
}
