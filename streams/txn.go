package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// transaction is one transaction of a worker: what was polled is processed, and input positions, outputs, dead letters and
// changelog rows become visible together, or not at all.
type transaction struct {
	w       *worker
	ctx     context.Context // of what is produced: past the transaction's time-out it is of no use
	n       int             // records offered
	cut     map[int32]error // partitions whose further records are dropped, to come again; the registry's error, or nil
	changes []int32         // partitions with an activation
	dirty   []*Task
	asked   bool // for the positions, by the client

	mu       sync.Mutex // the rest is written by the client's goroutines too
	failed   error
	suspects map[int32]error // partitions with a record that will never be taken
}

// lookup bounds the time that a transaction may spend on asking the registry for schemas.
const lookup = 3 * time.Second

// transact is one transaction over what was polled, and over what else comes until the commit interval has passed since
// the last transaction ended: at once for the first record after a quiet time, when it is full under load. If nothing was
// processed, as when all records wait for another input, it is left open, unless must is set or it is time to show the
// client an end. Without a dirty task that end is an abort: a commit without positions makes the client wait half a second
// at the next one. An error means that the outcome is not known, or that the session is of no use any more.
func (w *worker) transact(fetches kgo.Fetches, must bool) error {
	if !w.inTxn {
		if err := w.client.Begin(); err != nil {
			return fmt.Errorf("begin transaction: %w", err)
		}
		w.inTxn = true
	}
	out, stop := context.WithTimeout(context.Background(), w.e.txnTimeout)
	defer stop()
	x := &transaction{w: w, ctx: out, cut: map[int32]error{}, suspects: map[int32]error{}}
	for _, c := range w.careful {
		c.seen = c.seen[:0]
	}
	ctx, cancel := context.WithTimeout(w.ctx, lookup)
	defer cancel()
	err := x.process(ctx, fetches)
	for err == nil {
		left := x.left()
		if left <= 0 {
			break
		}
		if !w.behind() { // many small fetches cost more than they gain
			pause(w.ctx, min(left, gather))
			left = max(x.left(), time.Millisecond)
		}
		err = x.process(ctx, w.poll(left, w.e.maxPoll-x.n))
	}
	if err != nil {
		return err
	}
	x.flush()
	// From here the group may move; the client then aborts the transaction. See worker for why not later.
	w.client.AllowRebalance()
	w.hurry.Store(false)
	if len(x.dirty) == 0 && len(x.cut) == 0 && !must && time.Since(w.ended) < idleEnd {
		return nil
	}
	w.inTxn = false
	err = x.end()
	w.ended = time.Now()
	return err
}

// gather is the pause between two polls of a transaction that is not behind.
const gather = 20 * time.Millisecond

// left is for how long the transaction goes on; 0 or less when it is to end now.
func (x *transaction) left() time.Duration {
	w := x.w
	if x.n == 0 || x.n >= w.e.maxPoll || w.hurry.Load() || x.err() != nil || w.ctx.Err() != nil {
		return 0
	}
	return w.e.interval - time.Since(w.ended)
}

// takeEvery is after how many records the outputs made so far are handed to the client, which packs and sends them
// meanwhile.
const takeEvery = 512

func (x *transaction) process(ctx context.Context, fetches kgo.Fetches) (err error) {
	w := x.w
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) == 0 || err != nil {
			return
		}
		t := w.tasks[p.Partition]
		w.mark(p, t != nil)
		if t == nil {
			err = w.miss(p.Partition)
			return
		}
		x.offer(ctx, t, p.Records)
	})
	return err
}

// mark remembers how far an input partition reaches, and tells of records that were deleted before they were processed.
func (w *worker) mark(p kgo.FetchTopicPartition, processed bool) {
	at := topicPart{p.Topic, p.Partition}
	was, last := w.ends[at], p.Records[len(p.Records)-1]
	if from := max(was.next, was.gone); processed && was.next > 0 {
		if n := expired(from, p); n > 0 {
			w.log.Error("retention has deleted records before they were processed", "topic", p.Topic, "partition", p.Partition, "from", from, "to", from+n-1)
			w.e.m.expired.WithLabelValues(w.plan.Stage(), p.Topic).Add(float64(n))
			was.gone = from + n
		}
	}
	w.ends[at] = mark{next: last.Offset + 1, stable: p.LastStableOffset, high: p.HighWatermark,
		stamp: max(was.stamp, last.Timestamp.UnixMilli()), seen: time.Now(), gone: was.gone}
}

// offer gives a task the records of one partition of one input, as far as its bounds reach.
func (x *transaction) offer(ctx context.Context, t *Task, rs []*kgo.Record) {
	w, part := x.w, t.Partition
	for i, r := range rs {
		if _, cut := x.cut[part]; cut {
			break
		}
		if err := t.Offer(ctx, r); err != nil {
			x.cut[part] = err
			break
		}
		x.n++
		if t.full() {
			x.cut[part] = nil
		}
		if i%takeEvery == takeEvery-1 {
			x.produce(t)
		}
	}
	if _, cut := x.cut[part]; !cut {
		delete(w.stalled, part)
	}
	x.produce(t)
}

func (x *transaction) produce(t *Task) {
	for _, r := range t.Take() {
		if r.Topic == schemas.ActivationsTopic.Name {
			x.changes = append(x.changes, t.Partition)
		}
		x.send(r)
	}
}

// send hands a record to the client, and waits while too much is on its way. The context is not the session's: a shutdown
// in the middle would leave the transaction in an unknown state.
func (x *transaction) send(r *kgo.Record) {
	x.w.client.Produce(x.ctx, r, x.promise)
}

func (x *transaction) promise(r *kgo.Record, err error) {
	if err == nil {
		return
	}
	x.fail(r.Partition, fmt.Errorf("write record of %d bytes to %s: %w", len(r.Key)+len(r.Value), r.Topic, err))
}

func (x *transaction) fail(part int32, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed == nil {
		x.failed = err
	}
	if f, _ := classify(err); f == faultRecord {
		x.suspects[part] = err
	}
}

func (x *transaction) err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed
}

// flush produces what the tasks have to say at the end of a transaction.
func (x *transaction) flush() {
	for _, part := range slices.Sorted(maps.Keys(x.w.tasks)) {
		t := x.w.tasks[part]
		if !t.Dirty() {
			continue
		}
		x.dirty = append(x.dirty, t)
		rs, err := t.Flush()
		if err != nil { // a row that cannot be written: the record that made it so has to be found
			x.fail(part, fmt.Errorf("%w: %w", errRow, err))
			continue
		}
		for _, r := range rs {
			x.send(r)
		}
	}
}

// end ends the transaction and tells the tasks how.
func (x *transaction) end() error {
	w := x.w
	began := time.Now()
	ctx, cancel := context.WithTimeout(kgo.PreTxnCommitFnContext(context.Background(), x.positions), w.e.txnTimeout)
	defer cancel()
	// The client would commit what was written and leave out the record that failed: so nothing is in the way of one
	// any more before it is asked to commit.
	if err := w.client.Client().Flush(ctx); err != nil {
		return fmt.Errorf("flush transaction: %w", err)
	}
	try := kgo.TransactionEndTry(len(x.dirty) > 0 && x.err() == nil)
	ok, err := w.client.End(ctx, try)
	took := time.Since(began)
	failed := x.err()
	switch {
	case err != nil:
		x.count("unknown", took)
		return fmt.Errorf("end transaction after %s: %w", took.Round(time.Millisecond), errors.Join(err, failed))
	case ok && failed != nil:
		return fmt.Errorf("transaction committed without a record: %w", failed)
	case ok && len(x.dirty) > 0 && !x.asked:
		return errors.New("transaction committed without positions")
	case ok:
		x.count("committed", took)
		x.committed()
	default:
		if len(x.dirty) > 0 {
			x.count("aborted", took)
			w.log.Info("transaction aborted", "records", x.n, "took", took, "err", failed)
		}
		x.aborted()
		if gone(failed) && w.aborts > patientAborts {
			return fmt.Errorf("transaction aborted %d times in a row: %w", w.aborts, failed)
		}
	}
	x.again(ok)
	return nil
}

// patientAborts is how many transactions in a row may fail for a topic that the brokers do not know before the session is
// dropped: the next one looks whether it was deleted. A few are what elections and stale metadata cost.
const patientAborts = 4

// gone says whether brokers do not know a topic.
func gone(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID)
}

func (x *transaction) count(result string, took time.Duration) {
	stage := x.w.plan.Stage()
	x.w.e.m.transactions.WithLabelValues(stage, result).Inc()
	x.w.e.m.end.WithLabelValues(stage).Observe(took.Seconds())
}

// positions replaces the positions that the client would commit: those that were polled. What is processed may lag behind
// them, where records wait for another input, and it may concern partitions that nothing was polled from this time, whose
// records were released by the others'. Member, epoch and producer are in the request already.
func (x *transaction) positions(req *kmsg.TxnOffsetCommitRequest) error {
	x.asked = true
	ids := map[string][16]byte{}
	for _, t := range req.Topics {
		ids[t.Topic] = t.TopicID
	}
	note := partitionsNote(x.w.sh.partitions)
	req.Topics = nil
	for _, in := range x.w.plan.Inputs() {
		rt := kmsg.NewTxnOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = in.Name, ids[in.Name]
		for _, t := range x.dirty {
			if at, ok := t.Positions()[in.Name]; ok {
				rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
				rp.Partition, rp.Offset, rp.Metadata = t.Partition, at, &note
				rt.Partitions = append(rt.Partitions, rp)
			}
		}
		if len(rt.Partitions) > 0 {
			req.Topics = append(req.Topics, rt)
		}
	}
	return nil
}

func (x *transaction) committed() {
	w, stage := x.w, x.w.plan.Stage()
	w.aborts = 0
	if len(x.dirty) > 0 {
		w.commits++
	}
	for _, t := range x.dirty {
		ran := t.ran
		t.Commit()
		now := countsOf(t)
		w.e.m.committed(stage, w.counted[t.Partition], now)
		w.counted[t.Partition] = now
		pos := t.Positions()
		for _, in := range w.plan.Inputs() {
			if m, ok := w.ends[topicPart{in.Name, t.Partition}]; ok {
				w.e.m.lag.WithLabelValues(stage, in.Name, label(t.Partition)).Set(float64(max(0, m.high-pos[in.Name])))
			}
		}
		if c := w.careful[t.Partition]; c != nil && c.passed(ran) {
			w.relax(t)
		}
		w.snapshot(t, slices.Contains(x.changes, t.Partition))
		if w.e.app.OnCommit != nil {
			w.e.app.OnCommit(stage, t.Partition, t.Origin())
		}
	}
}

// aborted takes the tasks that processed something back to their last commit. The others keep what they hold: the client
// goes back to its last good end, and what it reads again they pass over.
func (x *transaction) aborted() {
	w := x.w
	for _, t := range x.dirty {
		ran := t.ran
		t.Rollback()
		now := countsOf(t)
		w.counted[t.Partition] = now
		w.rewind(t)
		if cause := x.suspects[t.Partition]; cause != nil {
			w.suspect(t, ran, cause)
		}
	}
	switch {
	case len(x.suspects) > 0: // the search goes on
	case len(x.dirty) > 0:
		w.aborts++
		if w.aborts > 2 {
			pause(w.ctx, min(minBackoff<<min(w.aborts-3, 10), maxBackoff))
		}
	}
}

// rewind makes the task's inputs be read again from its processed positions.
func (w *worker) rewind(t *Task) {
	delete(w.tasks, t.Partition)
	w.fresh[t.Partition] = t
}

// again sees to the partitions of which records were dropped.
func (x *transaction) again(committed bool) {
	w := x.w
	for _, part := range slices.Sorted(maps.Keys(x.cut)) {
		t := w.tasks[part]
		if t == nil {
			t = w.fresh[part]
		}
		if t == nil {
			continue
		}
		if err := x.cut[part]; err != nil {
			w.stall(t, err)
		} else if committed {
			w.rewind(t)
		}
	}
}
