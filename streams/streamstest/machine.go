package streamstest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kgo"
)

// outcome is what a run wrote, by topic, and the totals and the state of each stage's last task.
type outcome struct {
	out    map[string][]*kgo.Record
	counts map[string]streams.Counts
	state  map[string]string
}

// text is the outcome in a form to compare: every record of every topic but control records, whose number depends on where
// transactions end, and every row of the state but positions, for the same reason.
func (o *outcome) text() string {
	var b strings.Builder
	for _, topic := range sortedKeys(o.out) {
		n := 0
		for _, r := range o.out[topic] {
			if len(r.Key) == 0 {
				continue
			}
			fmt.Fprintf(&b, "%s %d key %q time %d value %x", topic, n, r.Key, r.Timestamp.UnixMilli(), r.Value)
			for _, h := range r.Headers {
				fmt.Fprintf(&b, " %s=%x", h.Key, h.Value)
			}
			b.WriteByte('\n')
			n++
		}
	}
	for _, stage := range sortedKeys(o.state) {
		b.WriteString(o.state[stage])
	}
	return b.String()
}

func sortedKeys[V any](m map[string]V) []string {
	var ks []string
	for k := range m {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	return ks
}

// diff shows the first line in which two texts differ.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, a, b)
		}
	}
	return ""
}

// machine is one stage with its changelog, as a worker would run it.
type machine struct {
	d         *Driver
	plan      *streams.Plan
	task      *streams.Task
	changelog []*kgo.Record
	cursor    map[string]int64
	turn      int // the input that is read next
}

// run plays the whole input log. With a random source it ends transactions anywhere, aborts some, and crashes.
func (d *Driver) run(r *rand.Rand) *outcome {
	d.t.Helper()
	log := map[string][]*kgo.Record{}
	for k, v := range d.log {
		log[k] = slices.Clone(v)
	}
	o := &outcome{map[string][]*kgo.Record{}, map[string]streams.Counts{}, map[string]string{}}
	var ms []*machine
	for _, s := range d.stages {
		plan, err := streams.NewPlan(context.Background(), "test", s, d.suite, d.serde)
		if err != nil {
			d.t.Fatal(err)
		}
		ms = append(ms, &machine{d: d, plan: plan, task: streams.NewTask(plan, 0), cursor: map[string]int64{}})
	}
	for {
		moved := false
		for _, m := range ms {
			if m.step(log, r) {
				moved = true
			}
		}
		if !moved {
			break
		}
	}
	for _, m := range ms {
		if n := m.task.Held(); n > 0 {
			d.t.Fatalf("stage %s still holds %d records at the end", m.plan.Stage(), n)
		}
		o.counts[m.plan.Stage()] = m.task.Counts()
		o.state[m.plan.Stage()] = m.state()
		for _, t := range m.plan.Outputs() {
			o.out[t.Name] = log[t.Name]
		}
	}
	for _, t := range []*schemas.Topic{schemas.LateTopic, schemas.DeadLetterTopic, schemas.ActivationsTopic} {
		o.out[t.Name] = log[t.Name]
	}
	return o
}

// step is one transaction. It says whether there was anything to do.
func (m *machine) step(log map[string][]*kgo.Record, r *rand.Rand) bool {
	m.d.t.Helper()
	limit, abort, crash := 1<<30, false, false
	if r != nil {
		limit, abort, crash = 1+r.IntN(20), r.IntN(4) == 0, r.IntN(6) == 0
	}
	out, taken := m.offer(log, limit)
	if !taken {
		return false
	}
	rows, err := m.task.Flush()
	if err != nil {
		m.d.t.Fatal(err)
	}
	if abort || crash {
		if abort {
			m.task.Rollback()
		}
		if crash {
			m.restart()
		}
		m.cursor = m.task.Positions()
		return true
	}
	for _, rec := range append(out, rows...) {
		if rec.Topic == m.plan.Changelog().Name {
			m.changelog = append(m.changelog, rec)
			continue
		}
		at := int64(len(log[rec.Topic]))
		if n := len(log[rec.Topic]); n > 0 {
			at = log[rec.Topic][n-1].Offset + 1
		}
		if r != nil {
			at += r.Int64N(3) // offsets of derived topics have holes where transactions ended
		}
		rec.Offset = at
		log[rec.Topic] = append(log[rec.Topic], rec)
	}
	m.task.Commit()
	return true
}

// offer gives the task up to limit records, and returns what they gave, and whether there were any. The inputs take turns,
// over the ends of transactions too: if one of them were read to its end first, an abort, which gives back what is held for
// want of the others, would undo all of it each time, and a long log would never be done.
func (m *machine) offer(log map[string][]*kgo.Record, limit int) (out []*kgo.Record, taken bool) {
	m.d.t.Helper()
	inputs := m.plan.Inputs()
	for idle := 0; limit > 0 && idle < len(inputs); m.turn = (m.turn + 1) % len(inputs) {
		in := inputs[m.turn].Name
		left := from(log[in], m.cursor[in])
		if len(left) == 0 {
			idle++
			continue
		}
		idle, taken = 0, true
		limit--
		x := *left[0]
		if err := m.task.Offer(context.Background(), &x); err != nil {
			m.d.t.Fatal(err)
		}
		m.cursor[in] = x.Offset + 1
		out = append(out, m.task.Take()...)
	}
	return out, taken
}

// from are the records of a log from an offset on.
func from(log []*kgo.Record, offset int64) []*kgo.Record {
	i, _ := slices.BinarySearchFunc(log, offset, func(r *kgo.Record, at int64) int { return cmp.Compare(r.Offset, at) })
	return log[i:]
}

// restart is a crash: the task is made anew from its changelog, compacted.
func (m *machine) restart() {
	m.d.t.Helper()
	last := map[string]int{}
	for i, r := range m.changelog {
		last[string(r.Key)] = i
	}
	m.task = streams.NewTask(m.plan, 0)
	for i, r := range m.changelog {
		if last[string(r.Key)] != i {
			continue
		}
		if err := m.task.Restore(r); err != nil {
			m.d.t.Fatal(err)
		}
	}
	m.task.Restored()
}

// state is the state of the stage, one row a line.
func (m *machine) state() string {
	m.d.t.Helper()
	var b strings.Builder
	if err := m.task.Snapshot(func(key, value []byte) error {
		if !bytes.HasPrefix(key, []byte("engine.input\x00")) {
			fmt.Fprintf(&b, "stage %s row %q value %x\n", m.plan.Stage(), key, value)
		}
		return nil
	}); err != nil {
		m.d.t.Fatal(err)
	}
	return b.String()
}
