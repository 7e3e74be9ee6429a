package streams_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kgo"
)

// worked is a task of the fused stage that has committed n events.
func worked(t testing.TB, n int) (*streams.Plan, *streams.Task) {
	t.Helper()
	serde, err := schemas.NewSerde(t.Context(), &schemas.LocalRegistry{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := streams.NewPlan(t.Context(), "test", fused[0], fused[0].Processors, serde)
	if err != nil {
		t.Fatal(err)
	}
	task := streams.NewTask(p, 3)
	for i := range n {
		e := exec(fmt.Sprintf("h%d", i%100), fmt.Sprintf("prog%d", i), t0)
		e.Envelope.Tenant, e.Envelope.Stream, e.Envelope.Sequence = "t", "p0", int64(i+1)
		v, err := serde.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		if err := task.Offer(t.Context(), &kgo.Record{Topic: schemas.EndpointTopic.Name, Partition: 3, Offset: int64(10 + i), Key: []byte(e.Envelope.Key()), Value: v, Timestamp: t0}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := task.Flush(); err != nil {
		t.Fatal(err)
	}
	task.Commit()
	return p, task
}

func rowsOf(t *testing.T, task *streams.Task) map[string]string {
	t.Helper()
	m := map[string]string{}
	if err := task.Snapshot(func(k, v []byte) error { m[string(k)] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSnapshotRoundTrip(t *testing.T) {
	p, task := worked(t, 5000)
	dir := filepath.Join(t.TempDir(), "a", "b")
	path, err := streams.WriteSnapshot(dir, task)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%013d-5009.snap", t0.UnixMilli()); filepath.Base(path) != want {
		t.Errorf("path is %s, want %s", path, want)
	}
	s, err := streams.ReadSnapshot(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.App != "test" || s.Stage != "fused" || s.Partition != 3 || s.Origin != task.Origin() || !maps.Equal(s.Positions, task.Positions()) {
		t.Errorf("got %+v", s)
	}
	again := streams.NewTask(p, 3)
	if err := s.Restore(again); err != nil {
		t.Fatal(err)
	}
	want, got := rowsOf(t, task), rowsOf(t, again)
	if len(want) < 5000 || !maps.Equal(want, got) {
		t.Errorf("%d rows came back of %d, or others", len(got), len(want))
	}
	if again.Origin() != task.Origin() || !maps.Equal(again.Positions(), task.Positions()) {
		t.Errorf("restored task is at %v, %v", again.Origin(), again.Positions())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSnapshotErrors(t *testing.T) {
	_, task := worked(t, 3)
	if _, err := streams.WriteSnapshot("/dev/null/x", task); err == nil {
		t.Error("written to nowhere")
	}
	if _, err := streams.ReadSnapshot(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := streams.Snapshots("/dev/null/x"); err == nil {
		t.Error("listed nowhere")
	}
	if paths, err := streams.Snapshots(filepath.Join(t.TempDir(), "none")); err != nil || len(paths) != 0 {
		t.Errorf("got %v, %v", paths, err)
	}
}

// Whatever byte is wrong or missing, a snapshot is refused.
func TestSnapshotDamaged(t *testing.T) {
	_, task := worked(t, 20)
	path, err := streams.WriteSnapshot(t.TempDir(), task)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := streams.ReadSnapshot(path); !errors.Is(err, streams.ErrSnapshot) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		check(fmt.Sprintf("byte %d flipped", i), b)
		check(fmt.Sprintf("cut at %d", i), whole[:i])
	}
	check("something behind it", append(bytes.Clone(whole), 0))
}

func TestSnapshotsInOrder(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"0000000000100-9.snap", "0000000000100-10.snap", "0000000000099-50.snap", "x", ".0000000000101-1.snap.77"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	paths, err := streams.Snapshots(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range paths {
		got = append(got, filepath.Base(p))
	}
	if want := "0000000000099-50.snap 0000000000100-9.snap 0000000000100-10.snap"; strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
}

// A snapshot that cannot be written is counted, and the work goes on.
func TestRunSnapshotFails(t *testing.T) {
	w := newWorld(t, 1, fused)
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.load(50)
	r := w.start(fused, func(a *streams.App) { a.SnapshotDir = dir })
	w.passed(time.Minute, w.tick(), fused, r)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.same(fused)
}
