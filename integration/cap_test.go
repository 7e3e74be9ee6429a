package integration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

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
		ahead     = 3 * perSecond // events that the chain may be behind: what it has not processed is never trimmed
	)
	dir := t.TempDir()
	env := []string{"AMOSKYS_DATA_DIR=" + dir, "AMOSKYS_LISTEN=", "AMOSKYS_BROKER_LISTEN=127.0.0.1:0", "AMOSKYS_REGISTRY_LISTEN=127.0.0.1:0", "AMOSKYS_COLLECTORS_PROC_ENABLED=false",
		fmt.Sprintf("AMOSKYS_BROKER_MAX_BYTES=%d", limit)}
	p := begin(t, env, "up")
	v := seeUp(t, dir, p)
	v.kafka.Compression = "none" // bytes written are bytes on the disk
	largest := watchSize(t, filepath.Join(dir, "broker"))
	m := newMixture(10, time.Now(), perSecond, 5000)
	began := time.Now()
	written, events := int64(0), int64(0)
	for tick := time.NewTicker(100 * time.Millisecond); written < 5*limit; <-tick.C {
		n, bytes := v.pour(t, m, perSecond/10)
		written, events = written+bytes, events+n
		if events%perSecond < n {
			v.notBehind(t, ahead)
		}
	}
	t.Logf("%d events of %d MiB in %s; the log had %d MiB at most, its cap is %d", events, written>>20, time.Since(began).Round(time.Second), largest.Load()>>20, limit>>20)
	if n := largest.Load(); n > limit || n < limit/2 {
		t.Errorf("the log had %d bytes at most, want half its cap of %d or more but not over it", n, limit)
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

// pour writes so many events to the ingest topic and says how many bytes they have.
func (v *view) pour(t *testing.T, m *mixture, n int) (events, bytes int64) {
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
		bytes += int64(len(b))
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
	return int64(n), bytes
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

// watchSize measures a folder ten times a second, until the test ends, and gives the largest size so far.
func watchSize(t *testing.T, dir string) *atomic.Int64 {
	t.Helper()
	largest, stop, done := new(atomic.Int64), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			largest.Store(max(largest.Load(), sizeOf(dir)))
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
	return largest
}

// sizeOf is what the files of a folder have; what goes while it is looked at does not count.
func sizeOf(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if i, err := d.Info(); err == nil && i.Mode().IsRegular() {
			n += i.Size()
		}
		return nil
	})
	return n
}
