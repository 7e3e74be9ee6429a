package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// rows writes n records of 500 keys to a topic, each of about 1 KiB.
func rows(t *testing.T, b *Broker, topic string, n int) {
	t.Helper()
	fill(t, client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression())), topic, n, 1000, func(i int) string { return fmt.Sprint(i % 500) })
}

// wantRows checks that a table has the last of n records of each key.
func wantRows(t *testing.T, b *Broker, topic string, n int) {
	t.Helper()
	have, _ := read(t, b, topic)
	if len(have) != 500 {
		t.Errorf("%s has %d rows, want 500", topic, len(have))
	}
	for i := n - 500; i < n; i++ {
		if k, want := fmt.Sprint(i%500), fmt.Sprintf("%08d", i); have[k] != want {
			t.Fatalf("row %s of %s is %s, want %s", k, topic, have[k], want)
		}
	}
}

func trim(t *testing.T, b *Broker) {
	t.Helper()
	if err := b.Trim(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func tableSize(b *Broker) int64 {
	_, n := b.tables()
	return n
}

// TestTablesAreCompactedBeforeTheyAreLarge: a log far from its cap is compacted once most of its tables is superseded, loses
// nothing else by that, and is left alone until then, also after it was opened again.
func TestTablesAreCompactedBeforeTheyAreLarge(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir, MaxBytes: 256 << 20})
	topic(t, b, "table", "compact")
	topic(t, b, "log", "delete")
	rows(t, b, "log", 2000)
	rows(t, b, "table", 10_000)
	if b.TrimDue() {
		t.Errorf("trim is due with tables of %d bytes", tableSize(b))
	}
	rows(t, b, "table", 10_000)
	if !b.TrimDue() {
		t.Errorf("trim is not due with tables of %d bytes, of which nearly all is superseded", tableSize(b))
	}
	trim(t, b)
	clean := tableSize(b)
	if clean > 2<<20 || b.TrimDue() {
		t.Errorf("tables have %d bytes after a trim; due again: %v", clean, b.TrimDue())
	}
	if p := b.cluster.PartitionInfo("log", 0); p.LogStartOffset != 0 {
		t.Errorf("records up to %d were deleted from a log that is not full", p.LogStartOffset)
	}
	rows(t, b, "table", 5000)
	grown := tableSize(b)
	if trim(t, b); tableSize(b) != grown || b.TrimDue() {
		t.Errorf("tables of %d bytes that have grown by 5 MiB were compacted to %d; due: %v", grown, tableSize(b), b.TrimDue())
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = start(t, Config{Dir: dir, MaxBytes: 256 << 20})
	if n := b.clean.Load(); n != clean || b.TrimDue() {
		t.Errorf("opened again, %d bytes count as compacted, want %d; due: %v", n, clean, b.TrimDue())
	}
	wantRows(t, b, "table", 5000)
}

// TestATrimThatDeletesEnoughDoesNotCompact and one that does not, compacts.
func TestATrimThatDeletesEnoughDoesNotCompact(t *testing.T) {
	b := start(t, Config{MaxBytes: 64 << 20})
	topic(t, b, "table", "compact")
	topic(t, b, "log", "delete")
	rows(t, b, "table", 3000)
	rows(t, b, "log", 55_000)
	before := tableSize(b)
	if !b.TrimDue() {
		t.Errorf("trim is not due at %d bytes", b.Size())
	}
	trim(t, b)
	if p := b.cluster.PartitionInfo("log", 0); p.LogStartOffset == 0 {
		t.Error("nothing was deleted from a full log")
	}
	if tableSize(b) != before || b.TrimDue() {
		t.Errorf("tables of %d bytes have %d after a trim that deleted enough; due: %v", before, tableSize(b), b.TrimDue())
	}

	rows(t, b, "log", 30_000)
	var os kadm.Offsets
	os.Add(kadm.Offset{Topic: "log", Partition: 0, At: b.cluster.PartitionInfo("log", 0).LogStartOffset}) // nothing more may go
	if _, err := kadm.NewClient(client(t, b)).CommitOffsets(t.Context(), "slow", os); err != nil {
		t.Fatal(err)
	}
	trimmed := b.Trim(t.Context())
	if trimmed != nil && !errors.Is(trimmed, ErrOverCap) {
		t.Fatal(trimmed)
	}
	if n := tableSize(b); n > before/2 {
		t.Errorf("tables of %d bytes have %d after a trim that could delete nothing", before, n)
	}
	if p := b.cluster.PartitionInfo("log", 0); p.HighWatermark != 85_000 || p.LogStartOffset > os["log"][0].At {
		t.Errorf("log is from %d to %d: what was not processed is gone", p.LogStartOffset, p.HighWatermark)
	}
	wantRows(t, b, "table", 3000)
}

func TestSizeOfCompactedTablesIsReadBack(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "17000000": 17_000_000, "": 0, "-5": 0, "1e6": 0, "17000000\n": 0, "99999999999999999999": 0} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, cleanFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n := loadClean(dir); n != want {
			t.Errorf("%q is read as %d, want %d", text, n, want)
		}
	}
	if n := loadClean(t.TempDir()); n != 0 {
		t.Errorf("no file is read as %d", n)
	}
}

// trimmedDir tells the process that TestKilledTrim starts which directory to trim.
const trimmedDir = "AMOSKYS_TEST_TRIMMED_DIR"

// TestKilledTrim kills a process at many moments of a trim. The table is whole after each.
func TestKilledTrim(t *testing.T) {
	if dir := os.Getenv(trimmedDir); dir != "" {
		b := start(t, Config{Dir: dir, MaxBytes: 256 << 20})
		fmt.Println("opened")
		trim(t, b)
		fmt.Println("trimmed")
		<-t.Context().Done() // killed at the latest here
		return
	}
	from := t.TempDir()
	b := start(t, Config{Dir: from, MaxBytes: 256 << 20})
	topic(t, b, "table", "compact")
	rows(t, b, "table", 20_000)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	within, after := 0, 0
	for i := range 8 {
		dir := filepath.Join(t.TempDir(), "log")
		if err := copyTree(from, dir, copyFile); err != nil {
			t.Fatal(err)
		}
		if killTrim(t, dir, time.Duration(i)*20*time.Millisecond) {
			after++
		} else {
			within++
		}
		b := start(t, Config{Dir: dir, MaxBytes: 256 << 20})
		wantRows(t, b, "table", 20_000)
		if _, err := os.Stat(filepath.Join(dir, copyDir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the copy of the tables is still there: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if t.Logf("%d kills within a trim, %d after it", within, after); within == 0 {
		t.Error("no trim was killed")
	}
}

// killTrim trims a directory in another process, and kills that so long after it began. It says whether the trim had ended.
func killTrim(t *testing.T, dir string, wait time.Duration) (ended bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledTrim$")
	cmd.Env = append(os.Environ(), trimmedDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	words := bufio.NewScanner(out)
	for words.Text() != "opened" {
		if !words.Scan() {
			t.Fatalf("the process that trims did not open its log: %v", cmd.Wait())
		}
	}
	pause, stop := context.WithTimeout(t.Context(), wait)
	<-pause.Done()
	stop()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for words.Scan() {
		ended = ended || words.Text() == "trimmed"
	}
	_ = cmd.Wait() // it was killed
	return ended
}

// TestCopyThatDidNotEndIsDropped: nothing was compacted yet, so nothing is put back.
func TestCopyThatDidNotEndIsDropped(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir, MaxBytes: 256 << 20})
	topic(t, b, "table", "compact")
	rows(t, b, "table", 1000)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, copyDir, "partitions", "table-0")
	if err := errors.Join(os.MkdirAll(half, 0o700), os.WriteFile(filepath.Join(half, "00.dat"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	b = start(t, Config{Dir: dir, MaxBytes: 256 << 20})
	wantRows(t, b, "table", 1000)
	if _, err := os.Stat(filepath.Join(dir, copyDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half copy is still there: %v", err)
	}
}

// TestSizeCountsACopyOnce: files of the copy count from when they are all that is left of a table.
func TestSizeCountsACopyOnce(t *testing.T) {
	dir := t.TempDir()
	part := filepath.Join(dir, "partitions", "table-0")
	file := filepath.Join(part, "00.dat")
	if err := errors.Join(os.MkdirAll(part, 0o700), os.WriteFile(file, make([]byte, 1000), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(part, filepath.Join(dir, copyDir, "partitions", "table-0"), linkFile); err != nil {
		t.Fatal(err)
	}
	if n, err := dirSize(dir); err != nil || n != 1000 {
		t.Errorf("size with a copy of links is %d, %v, want 1000", n, err)
	}
	if err := errors.Join(os.Remove(file), os.WriteFile(file, make([]byte, 10), 0o600)); err != nil {
		t.Fatal(err)
	}
	if n, err := dirSize(dir); err != nil || n != 1010 {
		t.Errorf("size with the copy and what was written anew is %d, %v, want 1010", n, err)
	}
	if err := linkFile(filepath.Join(dir, copyDir, "partitions", "table-0", "00.dat"), file); !errors.Is(err, os.ErrExist) {
		t.Errorf("a copy to a name that is taken: %v", err)
	}
	if i, err := os.Stat(file); err != nil || i.Size() != 10 {
		t.Errorf("the file of that name is not as it was: %v, %v", i, err)
	}
	if err := copyTree(filepath.Join(dir, "none"), filepath.Join(dir, "to"), copyFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("copying nothing: %v", err)
	}
}

// TestCompactionAfterOneThatFailed: a copy that failed half-way has left links to the segments that are in use.
func TestCompactionAfterOneThatFailed(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir, MaxBytes: 256 << 20})
	topic(t, b, "table", "compact")
	rows(t, b, "table", 20_000)
	before := tableSize(b)
	done := filepath.Join(dir, copyDone)
	if err := os.MkdirAll(filepath.Join(done, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.Trim(t.Context()); err == nil {
		t.Error("a compaction behind a copy that cannot be told to be whole")
	}
	if n := tableSize(b); n != before || !b.TrimDue() {
		t.Errorf("tables of %d bytes have %d after it; due: %v", before, n, b.TrimDue())
	}
	part := filepath.Join("partitions", "table-0")
	if err := errors.Join(os.RemoveAll(done), copyTree(filepath.Join(dir, part), filepath.Join(dir, copyDir, part), linkFile)); err != nil {
		t.Fatal(err)
	}
	trim(t, b)
	if n := tableSize(b); n > before/2 {
		t.Errorf("tables of %d bytes have %d after a trim", before, n)
	}
	wantRows(t, b, "table", 20_000)
}

// TestTrimAppliesRetention, to a topic whose share of what is deleted would be less.
func TestTrimAppliesRetention(t *testing.T) {
	b := start(t, Config{MaxBytes: 16 << 20})
	topic(t, b, "log", "delete")
	topic(t, b, "old", "delete")
	cl := client(t, b)
	hour := "3600000"
	if rs, err := kadm.NewClient(cl).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "retention.ms", Value: &hour}}, "old"); err != nil || rs[0].Err != nil {
		t.Fatal(rs, err)
	}
	for age := 2 * time.Hour; age >= 0; age -= 20 * time.Minute {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "old", Value: []byte("x"), Timestamp: time.Now().Add(-age - time.Minute)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	var os kadm.Offsets
	os.Add(kadm.Offset{Topic: "old", Partition: 0, At: 4}) // a trim may delete no more of its own accord
	if _, err := kadm.NewClient(cl).CommitOffsets(t.Context(), "reader", os); err != nil {
		t.Fatal(err)
	}
	rows(t, b, "log", 14_000)
	trim(t, b)
	if p := b.cluster.PartitionInfo("old", 0); p.LogStartOffset != 4 || p.HighWatermark != 7 {
		t.Errorf("records %d to %d of a topic are left, want 4 to 7: four are older than its retention", p.LogStartOffset, p.HighWatermark)
	}
}
