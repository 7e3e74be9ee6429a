package integration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/amoskys/amoskys/internal/loadgen"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// TestUpStaysUnderItsCap writes five times the size cap of the embedded log through `amoskys up`. The log stays under it all
// the while, opens again within ten seconds, and the chain goes on.
func TestUpStaysUnderItsCap(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 320 MiB")
	}
	const (
		limit     = 64 << 20 // the smallest that is taken
		perSecond = 12_000
		ahead     = 6_000 // events that the chain may be behind: what it has not processed is never trimmed
	)
	dir := t.TempDir()
	env := []string{"AMOSKYS_DATA_DIR=" + dir, "AMOSKYS_LISTEN=", "AMOSKYS_BROKER_LISTEN=127.0.0.1:0", "AMOSKYS_REGISTRY_LISTEN=127.0.0.1:0", "AMOSKYS_COLLECTORS_PROC_ENABLED=false",
		fmt.Sprintf("AMOSKYS_BROKER_MAX_BYTES=%d", limit), "AMOSKYS_LOG_LEVEL=info"}
	p := begin(t, env, "up")
	v := seeUp(t, dir, p)
	v.kafka.Compression = "none" // bytes written are bytes on the disk
	size := watchSize(t, filepath.Join(dir, "broker"))
	// Few new processes: what is known of each is state, kept for an hour of their time, which no cap makes smaller.
	m := &mixture{every: 5000, ordinary: loadgen.New(loadgen.Config{Seed: 10, Start: time.Now(), Rate: perSecond, Hosts: 8, Processes: 50,
		Mix: loadgen.Mix{Exec: 0.01, Fork: 0.01, Exit: 0.02, File: 0.6, Network: 0.36}})}
	began := time.Now()
	events := int64(0)
	for tick := time.NewTicker(100 * time.Millisecond); size.written.Load() < 5*limit; <-tick.C {
		v.notBehind(t, ahead)
		v.pour(t, m, perSecond/10)
		events += perSecond / 10
	}
	most := size.most.Load()
	t.Logf("%d events, %d MiB written in %s; the log had %d MiB at most, its cap is %d", events, size.written.Load()>>20, time.Since(began).Round(time.Second), most>>20, limit>>20)
	if most > limit || most < limit/2 {
		t.Errorf("the log had %d bytes at most, want half its cap of %d or more but not over it", most, limit)
	}
	v.settle(t, chainGroup, time.Minute)
	if code := p.stop(t); code != 0 {
		t.Fatalf("up ended with %d after it was asked to", code)
	}

	began = time.Now()
	p = begin(t, env, "up")
	v = seeUp(t, dir, p)
	took := time.Since(began)
	t.Logf("open again after %s", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Errorf("up took %s to open a log of five times its cap, want 10 s at most", took)
	}
	last := attack("h1", 1, time.Now().UnixNano())
	v.send(t, last)
	eventually(t, time.Minute, "an alert after the restart", func(context.Context) error {
		for _, a := range alertsOn(t, v.opts, v.serde) {
			if a.Provenance.Causes[0] == last.Env().EventID() {
				return nil
			}
		}
		return errors.New("not there")
	})
	if code := p.stop(t); code != 0 {
		t.Errorf("up ended with %d after it was asked to", code)
	}
}

// pour writes so many events to the ingest topic.
func (v *view) pour(t *testing.T, m *mixture, n int) {
	t.Helper()
	if v.pouring == nil {
		p, err := streams.NewProducer(t.Context(), v.kafka, streams.ProducerOptions{Serde: v.serde})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		v.pouring = p
	}
	var failed atomic.Pointer[error]
	for range n {
		e := m.next()
		b, err := v.serde.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		v.pouring.Produce(t.Context(), streams.Outgoing{Topic: schemas.EndpointTopic, Key: e.Env().Key(), Value: b}, func(err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := v.pouring.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
}

// notBehind waits until the chain has processed the ingest log but for so many records.
func (v *view) notBehind(t *testing.T, most int64) {
	t.Helper()
	eventually(t, time.Minute, "the chain to come near", func(ctx context.Context) error {
		rs, err := v.adm.FetchOffsets(ctx, chainGroup)
		if err != nil {
			return err
		}
		left := int64(0)
		for p, end := range v.ends(t) {
			o, _ := rs.Lookup(schemas.EndpointTopic.Name, p)
			left += end - max(o.At, 0)
		}
		if left > most {
			return fmt.Errorf("%d records are not processed", left)
		}
		return nil
	})
}

// A folderSize is the size of a folder over time, bytes.
type folderSize struct {
	most    atomic.Int64 // at any moment
	written atomic.Int64 // by how much it grew altogether
}

// watchSize measures a folder twenty times a second until the test ends.
func watchSize(t *testing.T, dir string) *folderSize {
	t.Helper()
	s, stop, done := new(folderSize), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for last := int64(0); ; {
			n := sizeOf(dir)
			s.most.Store(max(s.most.Load(), n))
			s.written.Add(max(0, n-last))
			last = n
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return s
}

// sizeOf is what the files of a folder take on the disk, each once; what goes while it is looked at does not count.
func sizeOf(dir string) (n int64) {
	seen := map[uint64]bool{}
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		i, err := d.Info()
		if err != nil || !i.Mode().IsRegular() {
			return nil
		}
		if s, ok := i.Sys().(*syscall.Stat_t); ok && !seen[s.Ino] {
			seen[s.Ino] = true
			n += i.Size()
		}
		return nil
	})
	return n
}
