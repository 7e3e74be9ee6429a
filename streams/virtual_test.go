package streams_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Twenty minutes of a quiet machine, in virtual time: a tick each second on each partition, windows that close without
// data, a snapshot every five minutes, of which three stay.
func TestVirtualTwentyMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtualWorld(t, 2, fused)
		w.load(200)
		dir := t.TempDir()
		r := w.start(fused, func(a *streams.App) {
			a.Ticks, a.CommitInterval = true, 200*time.Millisecond
			a.SnapshotDir, a.SnapshotEvery, a.SnapshotKeep = dir, 5*time.Minute, 3
		})
		time.Sleep(20 * time.Minute)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		w.at = time.Now()
		r = w.start(fused, nil) // without ticks: to a known end
		w.passed(time.Minute, w.tick(), fused, r)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		w.same(fused)
		for part, rs := range w.read(schemas.EndpointTopic.Name) {
			ticks := 0
			for _, r := range rs {
				if name, _ := w.serde.Name(t.Context(), r.Value); name == "Tick" {
					ticks++
				}
			}
			if ticks < 1000 || ticks > 1210 {
				t.Errorf("partition %d has %d ticks in 1200 s", part, ticks)
			}
		}
		if !slices.ContainsFunc(w.lines(w.read(schemas.FeaturesTopic.Name)[0]), func(s string) bool { return strings.HasPrefix(s, "FeatureVector") }) {
			t.Error("no window has closed")
		}
		for part := range w.parts {
			paths, err := streams.Snapshots(filepath.Join(dir, streams.SnapshotFolder("test", "fused", part)))
			if err != nil || len(paths) != 3 {
				t.Fatalf("got snapshots %v, %v", paths, err)
			}
			s, err := streams.ReadSnapshot(paths[2])
			if err != nil {
				t.Fatal(err)
			}
			if at := time.UnixMilli(s.Origin.IngestTime); s.Partition != part || time.Since(at) > 6*time.Minute || s.Positions[schemas.EndpointTopic.Name] != s.Origin.Offset+1 {
				t.Errorf("snapshot is of partition %d at %s, positions %v, origin %v", s.Partition, at, s.Positions, s.Origin)
			}
		}
	})
}

// The torment again, where waiting costs nothing: more rounds, and time-outs of a real size.
func TestVirtualTorment(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := virtualWorld(t, 6, split)
				torment(w, split, seed, 25, func(a *streams.App) { a.CommitInterval, a.TxnTimeout = 200*time.Millisecond, 15*time.Second })
			})
		})
	}
}

// The broker cannot be reached for a minute, in the middle of things.
func TestVirtualBrokerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtualWorld(t, 4, pairs)
		r := w.start(pairs, func(a *streams.App) { a.Workers, a.Ticks, a.TxnTimeout = 2, true, 15*time.Second })
		for range 3 {
			w.load(300)
			r.dialer.cut()
			w.load(300)
			time.Sleep(time.Minute)
			r.dialer.heal()
			w.at = time.Now()
			w.passed(5*time.Minute, w.tick(), pairs, r)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		w.at = time.Now()
		r = w.start(pairs, nil)
		w.passed(time.Minute, w.tick(), pairs, r)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		w.same(pairs)
	})
}
