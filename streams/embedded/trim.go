package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

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

// Full says that it is time for a Trim, which has every table twice for a moment: as it was and as it will be.
func (b *Broker) Full() bool {
	return b.Size()+b.tables.Load() > int64(fullShare*float64(b.c.MaxBytes))
}

// Trim brings the log under its cap: it compacts tables, and deletes the oldest records of all other topics, but none that
// a consumer group has not yet processed. Call it at a commit barrier: while a transaction is open it refuses.
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
	compacted, err := tables(ctx, adm)
	if err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	if err := b.compact(compacted); err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	if err := b.deleteOld(ctx, adm, compacted); err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	if n := b.Size(); n > b.c.MaxBytes {
		return fmt.Errorf("trim log: %d MiB are left, the cap is %d: groups have not processed the rest, or tables are large: %w", n>>20, b.c.MaxBytes>>20, ErrOverCap)
	}
	return nil
}

// tables are the compacted topics.
func tables(ctx context.Context, adm *kadm.Client) (map[string]bool, error) {
	ds, err := adm.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := adm.DescribeTopicConfigs(ctx, ds.Names()...)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, c := range cfg {
		for _, k := range c.Configs {
			if k.Key == "cleanup.policy" && k.Value != nil && strings.Contains(*k.Value, "compact") {
				out[c.Name] = true
			}
		}
	}
	return out, nil
}

// copyDir is where the tables lie while they are compacted; copyDone says that the copy is whole.
const (
	copyDir  = "compacting"
	copyDone = "compacting.done"
)

// compact compacts the tables. kfake deletes the segments of a partition before it writes the new ones, so a kill in
// between would lose it: the copy is put back at the next start. It is of links: kfake only appends to files, or writes new
// ones, so a copy of bytes would take time and room for nothing.
func (b *Broker) compact(topics map[string]bool) error {
	dirs, err := partitionDirs(b.dir, topics)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		rel, err := filepath.Rel(b.dir, d)
		if err != nil {
			return err
		}
		if err := copyTree(d, filepath.Join(b.dir, copyDir, rel), linkFile); err != nil {
			return fmt.Errorf("copy %s: %w", rel, err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.dir, copyDone), nil, 0o600); err != nil {
		return err
	}
	b.cluster.Compact()
	var left int64
	for _, d := range dirs {
		n, err := dirSize(d)
		if err != nil {
			return err
		}
		left += n
	}
	b.tables.Store(left)
	return dropCopy(b.dir)
}

func dropCopy(dir string) error {
	return errors.Join(os.Remove(filepath.Join(dir, copyDone)), os.RemoveAll(filepath.Join(dir, copyDir)))
}

// recoverCopy puts back the tables of a compaction that did not end. The copy is of a moment with no transaction open, and
// nothing was written before the compaction had ended.
func recoverCopy(dir string, log *slog.Logger) error {
	if _, err := os.Stat(filepath.Join(dir, copyDone)); errors.Is(err, os.ErrNotExist) {
		return os.RemoveAll(filepath.Join(dir, copyDir)) // the copy itself did not end: nothing was compacted yet
	} else if err != nil {
		return err
	}
	log.Warn("a compaction did not end: tables are put back from their copy", "dir", dir)
	dirs, err := partitionDirs(filepath.Join(dir, copyDir), nil)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		rel, err := filepath.Rel(filepath.Join(dir, copyDir), d)
		if err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(filepath.Join(dir, rel)), copyTree(d, filepath.Join(dir, rel), linkFile)); err != nil {
			return fmt.Errorf("put back %s: %w", rel, err)
		}
	}
	return dropCopy(dir)
}

// partitionDirs finds the folders of partitions below a data directory: partitions/<topic>-<number>. nil means all.
func partitionDirs(dir string, topics map[string]bool) (out []string, err error) {
	all, err := filepath.Glob(filepath.Join(dir, "partitions", "*"))
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		name := filepath.Base(d)
		if i := strings.LastIndexByte(name, '-'); i > 0 && (topics == nil || topics[name[:i]]) {
			out = append(out, d)
		}
	}
	return out, nil
}

// copyTree makes a folder again, its files by one of linkFile and copyFile.
func copyTree(from, to string, file func(from, to string) error) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		return file(path, filepath.Join(to, rel))
	})
}

// linkFile gives a file a second name, or copies it where the file system has no links.
func linkFile(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// deleteOld deletes from the start of every topic that is no table, in equal shares, until keepShare of the cap is left.
func (b *Broker) deleteOld(ctx context.Context, adm *kadm.Client, compacted map[string]bool) error {
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
		if !compacted[name] {
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
		if compacted[name] {
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
