package streams

import (
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// One record may release many that are held. When what came of one of those cannot be written, that one is found, and the
// others are not refused with it.
func TestOnlyTheCulpritIsRefused(t *testing.T) {
	const culprit, all = 1, heldPolls - 1 // after the last one its producer may still write more of it
	w, task := aheadWorker(t)
	log := map[string][]*kgo.Record{}
	for i := range int64(heldPolls) {
		log[schemas.LineageTopic.Name] = append(log[schemas.LineageTopic.Name], derivedRecord(t, task, schemas.LineageTopic, "first", i, i))
	}
	log[schemas.FeaturesTopic.Name] = append(log[schemas.FeaturesTopic.Name], derivedRecord(t, task, schemas.FeaturesTopic, "second", 0, 9))
	var seen []int64
	w.plan.Observe = both(w.plan.Observe, func(o schemas.Origin) { seen = append(seen, o.Offset) })
	done := map[int64]bool{}
	for n := 0; len(done) < all; n++ {
		if n == 20 {
			t.Fatalf("after %d transactions %d of %d records are processed", n, len(done), all)
		}
		seen = nil
		x := &transaction{w: w, ctx: t.Context(), cut: map[int32]error{}, suspects: map[int32]error{}}
		for _, c := range w.careful {
			c.seen = c.seen[:0]
		}
		failed := false
		for _, in := range w.plan.Inputs() {
			rs := log[in.Name]
			x.offer(t.Context(), task, rs[min(task.Positions()[in.Name], int64(len(rs))):])
		}
		for _, o := range seen {
			failed = failed || o == culprit && len(task.refused) == 0
		}
		if task.Dirty() {
			x.dirty = append(x.dirty, task)
		}
		if failed {
			x.fail(0, kerr.MessageTooLarge)
			x.aborted()
		} else {
			x.committed()
			for _, o := range seen {
				done[o] = true
			}
		}
		x.again(!failed)
		w.tasks[0] = task // as adopt does
	}
	if task.Counts().Dead != 1 {
		t.Errorf("%d records are refused, want the one that cannot be written", task.Counts().Dead)
	}
	if len(w.careful) != 0 || len(task.refused) != 0 {
		t.Error("the search goes on after the record was found, or it is remembered for ever")
	}
}

// both tells two of what a task has processed.
func both(first func(int32, schemas.Origin), then func(schemas.Origin)) func(int32, schemas.Origin) {
	return func(part int32, o schemas.Origin) {
		first(part, o)
		then(o)
	}
}
