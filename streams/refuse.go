package streams

import (
	"errors"

	"github.com/amoskys/amoskys/schemas"
)

// caution is how a worker finds the ingest record that makes a transaction impossible, for instance because a state row has
// grown over what the changelog takes: it halves what the task processes until a transaction of one origin fails. What is
// of that origin goes to the dead-letter topic, and the partition moves on. Origins count, not records offered: one record
// may release many that were held, and others release none.
type caution struct {
	left int              // origins to go until the culprit must have been among them
	seen []schemas.Origin // processed in the open transaction
}

// passed takes note of a committed transaction of n origins, and says whether caution is over.
func (c *caution) passed(n int) bool {
	c.left -= n
	return c.left <= 0
}

// suspect takes note of a transaction of n origins that failed because of one of them. The task is rolled back already.
func (w *worker) suspect(t *Task, n int, cause error) {
	c := w.careful[t.Partition]
	if c == nil {
		c = &caution{}
		w.careful[t.Partition] = c
	}
	if len(c.seen) == 1 {
		o := c.seen[0]
		w.log.Error("record goes to the dead letters: what came of it cannot be written", "topic", o.Topic, "partition", o.Partition, "offset", o.Offset, "err", cause)
		t.Refuse(o, cause)
		w.relax(t)
		return
	}
	t.most, c.left = max(1, n/2), max(1, n)
	w.log.Warn("looking for the record that cannot be taken", "partition", t.Partition, "among", n, "err", cause)
}

// relax ends the search in a task.
func (w *worker) relax(t *Task) {
	t.most = 0
	delete(w.careful, t.Partition)
}

// Refuse makes the task write the records of an origin to the dead-letter topic instead of processing them. It is for what
// only shows when a transaction ends: a row or an output that the brokers do not take.
func (t *Task) Refuse(o schemas.Origin, cause error) {
	if t.refused == nil {
		t.refused = map[schemas.Origin]error{}
	}
	t.refused[o] = errors.New(cause.Error()) // detached: it is kept until the origin is behind
}
