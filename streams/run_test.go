package streams_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestRunEqualsReference(t *testing.T) {
	for name, stages := range map[string][]streams.Stage{"fused": fused, "split": split} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 4, stages)
			w.load(3000)
			r := w.start(stages, nil)
			w.load(3000)
			w.passed(time.Minute, w.tick(), stages, r)
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d records are the same", w.same(stages))
		})
	}
}

// Workers join, leave and are killed under load: every record of the reference comes out once, in order.
func TestRunUnderTorment(t *testing.T) {
	for _, c := range []struct {
		name   string
		stages []streams.Stage
		mod    func(*streams.App)
	}{
		{"fresh ids, fused", fused, func(a *streams.App) { a.TxnTimeout = time.Second }},
		{"fresh ids, split, two workers", split, func(a *streams.App) { a.TxnTimeout, a.Workers = time.Second, 2 }},
		{"locked ids, pairs", pairs, func(a *streams.App) { a.FreshIDs = false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := newWorld(t, 6, c.stages)
			torment(w, c.stages, uint64(len(c.name)), 8, func(a *streams.App) { a.LockDir = dir; c.mod(a) })
		})
	}
}

func torment(w *world, stages []streams.Stage, seed uint64, rounds int, mod func(*streams.App)) {
	w.t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 7))
	runs := []*run{w.start(stages, mod), w.start(stages, mod)}
	live := slices.Clone(runs)
	for round := range rounds {
		w.load(500)
		switch n := rnd.IntN(3); {
		case n == 0 || len(live) == 1:
			r := w.start(stages, mod)
			runs, live = append(runs, r), append(live, r)
		case n == 1:
			if err := live[0].stop(); err != nil {
				w.t.Fatal(err)
			}
			live = live[1:]
		default:
			live[0].kill()
			live = live[1:]
		}
		// Not all at once: the group is to settle on some of them, and be hit in the middle of others.
		if round%3 == 2 {
			w.load(500)
			w.passed(2*time.Minute, w.tick(), stages, runs...)
		}
	}
	w.passed(2*time.Minute, w.tick(), stages, runs...)
	for _, r := range live {
		if err := r.stop(); err != nil {
			w.t.Fatal(err)
		}
	}
	w.t.Logf("seed %d: %d records are the same after %d workers", seed, w.same(stages), len(runs))
}

// A transaction whose end goes wrong in every way a broker has, before and after it took effect.
func TestRunWithEndErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, fused)
	var n atomic.Int64
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(3, 4))
	chance := func(p int) bool {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(100) < p
	}
	w.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		switch {
		case chance(15): // the connection breaks before the broker saw it
			n.Add(1)
			return nil, fmt.Errorf("broken"), true
		case chance(15):
			n.Add(1)
			resp.ErrorCode = []int16{kerr.NotCoordinator.Code, kerr.ConcurrentTransactions.Code, kerr.InvalidProducerEpoch.Code, kerr.UnknownServerError.Code}[n.Load()%4]
			return resp, nil, true
		}
		return nil, nil, false
	})
	w.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		if !chance(20) {
			return nil, nil, false
		}
		n.Add(1)
		code := []int16{kerr.IllegalGeneration.Code, kerr.UnstableOffsetCommit.Code, kerr.StaleMemberEpoch.Code, 0}[n.Load()%4]
		if code == 0 {
			return nil, fmt.Errorf("broken"), true
		}
		resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, t := range req.(*kmsg.TxnOffsetCommitRequest).Topics {
			rt := kmsg.NewTxnOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	r := w.start(fused, func(a *streams.App) { a.TxnTimeout = time.Second })
	for range 30 {
		w.load(100)
		w.passed(time.Minute, w.tick(), fused, r)
	}
	w.cluster.DropControl()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if n.Load() < 5 {
		t.Fatalf("only %d errors were made", n.Load())
	}
	t.Logf("%d records are the same after %d errors", w.same(fused), n.Load())
}

// A quiet partition gets ticks, so that windows close without data.
func TestRunTicks(t *testing.T) {
	w := newWorld(t, 2, fused)
	w.at = time.Now()
	w.load(50)
	r := w.start(fused, func(a *streams.App) { a.Ticks, a.TickEvery = true, 50*time.Millisecond })
	w.eventually(20*time.Second, func() (bool, string) {
		n := 0
		for _, rs := range w.read(schemas.EndpointTopic.Name) {
			last := int64(0)
			for _, r := range rs {
				if name, _ := w.serde.Name(t.Context(), r.Value); name == "Tick" {
					n++
				}
				if r.Timestamp.UnixMilli() < last {
					t.Fatalf("timestamp %d after %d", r.Timestamp.UnixMilli(), last)
				}
				last = r.Timestamp.UnixMilli()
			}
		}
		return n >= 20, fmt.Sprintf("%d ticks", n)
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	last := w.start(fused, nil) // the last ticks may have been written after the last poll
	w.passed(time.Minute, w.tick(), fused, last)
	if err := last.stop(); err != nil {
		t.Fatal(err)
	}
	w.same(fused)
}
