package streams_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kgo"
)

// From whichever snapshot a stage goes on, it gives what it gave without a stop, byte by byte, and ends in the same state.
func TestEverySnapshotContinues(t *testing.T) {
	serde, err := schemas.NewSerde(t.Context(), &schemas.LocalRegistry{})
	if err != nil {
		t.Fatal(err)
	}
	for _, stages := range [][]streams.Stage{fused, split, pairs} {
		var suite []*streams.Processor
		for _, s := range stages {
			suite = append(suite, s.Processors...)
		}
		log := map[string][]*kgo.Record{schemas.EndpointTopic.Name: ingest(t, serde, 300)}
		for _, s := range stages {
			p, err := streams.NewPlan(t.Context(), "test", s, suite, serde)
			if err != nil {
				t.Fatal(err)
			}
			continueFromEach(t, p, log)
		}
	}
}

// ingest is a seeded log of events with disorder, gaps, refusals and ticks.
func ingest(t *testing.T, serde *schemas.Serde, n int) (log []*kgo.Record) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	at, seq := t0, map[string]int64{}
	for i := range n {
		at = at.Add(time.Duration(r.IntN(4000)) * time.Millisecond)
		rec := &kgo.Record{Topic: schemas.EndpointTopic.Name, Offset: int64(i), Timestamp: at}
		var v schemas.Payload = &schemas.Tick{Time: at.UnixNano()}
		if i%15 != 14 {
			host := fmt.Sprintf("h%d", r.IntN(3))
			e := exec(host, []string{"a", "b", "refused", "panics"}[r.IntN(4)], at.Add(-time.Duration(r.IntN(90))*time.Second))
			seq[host] += 1 + int64(r.IntN(20)/19)
			e.Envelope.Tenant, e.Envelope.Boot, e.Envelope.Collector, e.Envelope.Stream, e.Envelope.Sequence = "t", "b", "test", "p0", seq[host]
			rec.Key, v = []byte(e.Envelope.Key()), e
		}
		var err error
		if rec.Value, err = serde.Append(nil, v); err != nil {
			t.Fatal(err)
		}
		log = append(log, rec)
	}
	return log
}

// player offers a stage's inputs to a task, a few records of a topic at a time, so that one is ahead of the other.
type player struct {
	task   *streams.Task
	rand   *rand.Rand
	out    []*kgo.Record // without the changelog
	lines  []string      // of what has a key
	cursor map[string]int64
}

// step plays one transaction, and says whether there was anything left.
func (p *player) step(t *testing.T, plan *streams.Plan, log map[string][]*kgo.Record) bool {
	t.Helper()
	moved := false
	for _, in := range plan.Inputs() {
		rest := slices.DeleteFunc(slices.Clone(log[in.Name]), func(r *kgo.Record) bool { return r.Offset < p.cursor[in.Name] })
		for _, r := range rest[:min(len(rest), 1+p.rand.IntN(40))] {
			if err := p.task.Offer(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			p.cursor[in.Name], moved = r.Offset+1, true
		}
	}
	rows, err := p.task.Flush()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.Topic == plan.Changelog().Name {
			continue
		}
		p.out = append(p.out, r)
		if len(r.Key) > 0 && r.Topic != schemas.ActivationsTopic.Name {
			p.lines = append(p.lines, fmt.Sprintf("%s %s %d %x %v", r.Topic, r.Key, r.Timestamp.UnixMilli(), r.Value, r.Headers))
		}
	}
	p.task.Commit()
	return moved
}

// continueFromEach plays a stage to its end with a snapshot after each transaction, then from each snapshot to the end. The
// outputs are appended to the log.
func continueFromEach(t *testing.T, plan *streams.Plan, log map[string][]*kgo.Record) {
	t.Helper()
	dir := t.TempDir()
	type mark struct {
		path  string
		lines int
	}
	var marks []mark
	whole := &player{task: streams.NewTask(plan, 0), rand: rand.New(rand.NewPCG(1, 1)), cursor: map[string]int64{}}
	for whole.step(t, plan, log) {
		path, err := streams.WriteSnapshot(fmt.Sprintf("%s/%d", dir, len(marks)), whole.task)
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, mark{path, len(whole.lines)})
	}
	if len(marks) < 5 || len(whole.lines) == 0 {
		t.Fatalf("stage %s: %d snapshots, %d records: nothing is shown", plan.Stage(), len(marks), len(whole.lines))
	}
	want := rowsOf(t, whole.task)
	for i, m := range marks {
		s, err := streams.ReadSnapshot(m.path)
		if err != nil {
			t.Fatal(err)
		}
		p := &player{task: streams.NewTask(plan, 0), rand: rand.New(rand.NewPCG(2, uint64(i)))}
		if err := s.Restore(p.task); err != nil {
			t.Fatal(err)
		}
		p.cursor = p.task.Positions()
		for p.step(t, plan, log) {
		}
		if rest := whole.lines[m.lines:]; !slices.Equal(p.lines, rest) {
			t.Fatalf("stage %s: from snapshot %d of %d it gives %d records, want %d, or others", plan.Stage(), i, len(marks), len(p.lines), len(rest))
		}
		if got := rowsOf(t, p.task); !maps.Equal(got, want) {
			t.Fatalf("stage %s: from snapshot %d of %d it ends in another state: %s", plan.Stage(), i, len(marks), otherRow(got, want))
		}
	}
	for _, r := range whole.out {
		r.Offset = int64(len(log[r.Topic]))
		log[r.Topic] = append(log[r.Topic], r)
	}
}

// otherRow names the first row in which two states differ.
func otherRow(got, want map[string]string) string {
	all := maps.Clone(got)
	maps.Copy(all, want)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if got[k] != want[k] {
			return fmt.Sprintf("row %q is %x, want %x", k, got[k], want[k])
		}
	}
	return "none"
}
