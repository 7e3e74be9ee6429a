package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func start(t *testing.T, c Config) *Broker {
	t.Helper()
	b, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func client(t *testing.T, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Brokers()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// topic creates a topic of one partition, compacted or not.
func topic(t *testing.T, b *Broker, name, policy string) {
	t.Helper()
	adm := kadm.NewClient(client(t, b))
	if _, err := adm.CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": &policy}, name); err != nil {
		t.Fatal(err)
	}
}

func fill(t *testing.T, cl *kgo.Client, topic string, n, size int, key func(i int) string) {
	t.Helper()
	value := make([]byte, size)
	for i := range value {
		value[i] = byte(i*7919 + i>>3*31) // not compressible to nothing
	}
	for i := range n {
		v := append([]byte(fmt.Sprintf("%08d", i)), value...)
		cl.Produce(t.Context(), &kgo.Record{Topic: topic, Key: []byte(key(i)), Value: v}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// read returns key -> last value, and the number of records, of a topic for a read-committed reader.
func read(t *testing.T, b *Broker, topic string) (map[string]string, int) {
	t.Helper()
	cl := client(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	starts, err := kadm.NewClient(cl).ListStartOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	begin, _ := starts.Lookup(topic, 0)
	out, n := map[string]string{}, 0
	for at := begin.Offset; at < end.Offset; {
		fs := cl.PollFetches(t.Context())
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			if !r.Attrs.IsControl() {
				out[string(r.Key)] = string(r.Value[:8])
				n++
			}
		})
	}
	return out, n
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	topic(t, b, "x", "delete")
	fill(t, client(t, b), "x", 1000, 100, func(int) string { return "k" })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, n := read(t, start(t, Config{Dir: dir}), "x"); n != 1000 {
		t.Errorf("%d of 1000 records are there after reopening", n)
	}
}

func TestAbandonedTransactionStaysHidden(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	topic(t, b, "x", "delete")
	dead := client(t, b, kgo.TransactionalID("app-1"), kgo.DefaultProduceTopic("x"))
	if err := dead.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := dead.ProduceSync(t.Context(), kgo.StringRecord("never committed")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	// The process is killed: nothing is closed. A copy of the directory is what the disk holds then.
	crashed := filepath.Join(t.TempDir(), "copy")
	if err := copyTree(dir, crashed, copyFile); err != nil {
		t.Fatal(err)
	}
	again := start(t, Config{Dir: crashed})
	cl := client(t, again, kgo.TransactionalID("app-2"), kgo.DefaultProduceTopic("x")) // a fresh id
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), kgo.KeyStringRecord("k", "committed")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if rows, n := read(t, again, "x"); n != 1 || rows["k"] != "committe" {
		t.Errorf("a read-committed reader sees %v, want only what was committed", rows)
	}
}

func TestTrimKeepsTheCapAndWhatIsNotProcessed(t *testing.T) {
	const limit = 64 << 20
	dir := t.TempDir()
	b := start(t, Config{Dir: dir, MaxBytes: limit})
	topic(t, b, "log", "delete")
	topic(t, b, "table", "compact")
	cl := client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()))
	adm := kadm.NewClient(cl)
	total := 0
	for range 5 {
		fill(t, cl, "log", 50_000, 1300, func(int) string { return "k" })
		fill(t, cl, "table", 20_000, 20, func(i int) string { return fmt.Sprint(i % 500) })
		total += 50_000
		// A group has processed all but the last 1,000 records.
		var os kadm.Offsets
		os.Add(kadm.Offset{Topic: "log", Partition: 0, At: int64(total - 1000)})
		if _, err := adm.CommitOffsets(t.Context(), "reader", os); err != nil {
			t.Fatal(err)
		}
		if err := b.Trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := b.Size(); n > limit {
			t.Fatalf("log has %d MiB after a trim, cap is %d", n>>20, limit>>20)
		}
	}
	check := func(b *Broker) {
		t.Helper()
		if p := b.cluster.PartitionInfo("log", 0); p.LogStartOffset > int64(total-1000) || p.HighWatermark != int64(total) {
			t.Errorf("log begins at %d and ends at %d: what the group has not processed is gone", p.LogStartOffset, p.HighWatermark)
		}
		rows, _ := read(t, b, "table")
		if len(rows) != 500 {
			t.Errorf("table has %d rows, want 500", len(rows))
		}
		for k, v := range rows {
			var i int
			fmt.Sscan(k, &i)
			if v != fmt.Sprintf("%08d", 19_500+i) {
				t.Errorf("row %s is %s", k, v)
			}
		}
	}
	check(b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	check(start(t, Config{Dir: dir, MaxBytes: limit}))
}

func TestTrimRefusesWhileATransactionIsOpen(t *testing.T) {
	b := start(t, Config{})
	topic(t, b, "x", "delete")
	cl := client(t, b, kgo.TransactionalID("t"), kgo.DefaultProduceTopic("x"))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := b.Trim(t.Context()); !errors.Is(err, ErrOpenTransaction) {
		t.Errorf("trim while a transaction is open: %v", err)
	}
}

func TestTrimSaysWhenItCannot(t *testing.T) {
	b := start(t, Config{MaxBytes: 1 << 20})
	topic(t, b, "x", "delete")
	cl := client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()))
	fill(t, cl, "x", 5000, 1000, func(int) string { return "k" })
	var os kadm.Offsets
	os.Add(kadm.Offset{Topic: "x", Partition: 0, At: 0}) // a group that has processed nothing
	if _, err := kadm.NewClient(cl).CommitOffsets(t.Context(), "slow", os); err != nil {
		t.Fatal(err)
	}
	if err := b.Trim(t.Context()); !errors.Is(err, ErrOverCap) {
		t.Errorf("a log that cannot be trimmed: %v", err)
	}
	if _, n := read(t, b, "x"); n != 5000 {
		t.Errorf("%d of 5000 unprocessed records are left", n)
	}
}

func TestKilledCompactionIsPutBack(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	topic(t, b, "table", "compact")
	fill(t, client(t, b), "table", 2000, 50, func(i int) string { return fmt.Sprint(i % 100) })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	// The kill came while the segments were gone: the copy is whole, the partition is not.
	dirs, err := partitionDirs(dir, map[string]bool{"table": true})
	if err != nil || len(dirs) != 1 {
		t.Fatalf("partition folders %v, %v", dirs, err)
	}
	rel, _ := filepath.Rel(dir, dirs[0])
	if err := copyTree(dirs[0], filepath.Join(dir, copyDir, rel), copyFile); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, copyDone), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	segments, _ := filepath.Glob(filepath.Join(dirs[0], "*.dat"))
	for _, s := range segments {
		os.Remove(s)
	}
	if rows, _ := read(t, start(t, Config{Dir: dir}), "table"); len(rows) != 100 {
		t.Errorf("%d of 100 rows are there after the compaction was put back", len(rows))
	}
	if _, err := os.Stat(filepath.Join(dir, copyDir)); err == nil {
		t.Error("the copy is still there")
	}
}

func TestStartErrorsNameTheThing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	used := t.TempDir()
	start(t, Config{Dir: used})
	for name, x := range map[string]struct {
		c    Config
		want string
	}{
		"port in use":         {Config{Listen: l.Addr().String()}, l.Addr().String()},
		"no port":             {Config{Listen: "localhost"}, "localhost"},
		"directory is a file": {Config{Dir: file}, file},
		"directory in use":    {Config{Dir: used}, fmt.Sprintf("process %d", os.Getpid())},
	} {
		b, err := Start(context.Background(), x.c)
		if err == nil {
			b.Close()
			t.Errorf("%s: started", name)
			continue
		}
		if !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %q does not name %q", name, err, x.want)
		}
	}
	if err := roomFor(1<<60, t.TempDir(), nil); !errors.Is(err, ErrNoMemory) {
		t.Errorf("a log larger than the memory: %v", err)
	}
}
