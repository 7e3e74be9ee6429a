package embedded

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// isTable says whether kfake compacts a topic. Of one that it does not know, nothing is deleted.
func (b *Broker) isTable(topic string) bool {
	t := b.cluster.TopicInfo(topic)
	if t == nil {
		return true
	}
	policy := t.Configs["cleanup.policy"]
	return policy != nil && strings.Contains(*policy, "compact")
}

// tables are the compacted topics that have records, and the size of these in the log.
func (b *Broker) tables() (topics map[string]bool, size int64) {
	dirs, _ := partitionDirs(b.dir, nil) // it fails only for a pattern that is none
	topics, seen := map[string]bool{}, map[string]bool{}
	for _, d := range dirs {
		name := topicOf(d)
		if seen[name] {
			continue
		}
		seen[name] = true
		if !b.isTable(name) {
			continue
		}
		topics[name] = true
		for _, p := range b.cluster.PartitionInfos(name) {
			size += p.NumBytes
		}
	}
	return topics, size
}

// minSuperseded is how much a compaction must free, unless the log is full: a share of the cap, but no more than takes a few
// seconds, since members of groups are given up after ten.
func (b *Broker) minSuperseded() int64 { return min(b.c.MaxBytes/16, 192<<20) }

// superseded is by how much tables of a size have grown since they were compacted: about what a compaction frees.
func (b *Broker) superseded(size int64) int64 { return max(0, size-b.clean.Load()) }

// dirty says that most of the tables is superseded, as min.cleanable.dirty.ratio does to Kafka: what kfake has compacted it
// writes unpacked, so tables that have grown by half have more than twice as many records. A compaction reads all of them:
// one that frees less takes nearly as long, and comes more often; one that is put off takes longer.
func (b *Broker) dirty(size int64) bool {
	return b.superseded(size) >= max(b.clean.Load()/2, b.minSuperseded())
}

// gains says that a compaction puts off the next trim by as much again as there is room now.
func (b *Broker) gains(size int64) bool {
	n := b.superseded(size)
	return n > 0 && n >= b.room()
}

// cleanFile has the size of the tables after they were last compacted, bytes.
const cleanFile = "compacted"

// loadClean reads it. Without it, all of the tables count as superseded: they are compacted once.
func loadClean(dir string) int64 {
	text, err := os.ReadFile(filepath.Join(dir, cleanFile))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0
	}
	return max(0, n)
}

func (b *Broker) setClean(n int64) error {
	b.clean.Store(n)
	return os.WriteFile(filepath.Join(b.dir, cleanFile), strconv.AppendInt(nil, n, 10), 0o600)
}

// copyDir is where the tables lie while they are compacted; copyDone says that the copy is whole.
const (
	copyDir  = "compacting"
	copyDone = "compacting.done"
)

// compact compacts the tables. kfake deletes the segments of a partition before it writes the new ones, so a kill in
// between would lose it: the copy is put back at the next start. It is of links: kfake only appends to files, or writes new
// ones, so a copy of bytes would take time and room for nothing.
func (b *Broker) compact() error {
	if err := dropCopy(b.dir); err != nil { // of one that failed: its links are not to be written through
		return err
	}
	topics, before := b.tables()
	if free, err := freeDisk(b.dir); err == nil && free < minFree+unpacked*before {
		return fmt.Errorf("%d MiB are free on the disk of %s, %d may be needed: %w", free>>20, b.dir, (minFree+unpacked*before)>>20, ErrDiskFull)
	}
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
	began := time.Now()
	b.cluster.Compact()
	_, after := b.tables()
	b.log.Info("tables compacted", "before", before, "after", after, "took", time.Since(began).Round(time.Millisecond))
	return errors.Join(b.setClean(after), dropCopy(b.dir))
}

// unpacked is how many times its size a table takes at most once it is compacted: kfake packs nothing that it writes anew,
// and goes on without what it cannot write.
const unpacked = 4

// dropCopy removes the copy, and before it the word that it is whole.
func dropCopy(dir string) error {
	if err := os.Remove(filepath.Join(dir, copyDone)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(filepath.Join(dir, copyDir))
}

// recoverCopy puts back the tables of a compaction that did not end. The copy is of a moment with no transaction open, and
// nothing was written before the compaction had ended.
func recoverCopy(dir string, log *slog.Logger) error {
	if _, err := os.Stat(filepath.Join(dir, copyDone)); errors.Is(err, os.ErrNotExist) {
		return dropCopy(dir) // the copy itself did not end: nothing was compacted yet
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
		if name := topicOf(d); name != "" && (topics == nil || topics[name]) {
			out = append(out, d)
		}
	}
	return out, nil
}

// topicOf is the topic that the folder of a partition belongs to, "" if it is none.
func topicOf(dir string) string {
	name := filepath.Base(dir)
	return name[:max(0, strings.LastIndexByte(name, '-'))]
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

// copyFile copies a file to a name that is not taken: it might be another name of the same file.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
