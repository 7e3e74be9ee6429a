package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// want is a partition whose task has to be restored.
type want struct {
	since time.Time
	gen   int64 // a restore that began before the partition was lost and came back is of no use
	round *round
	why   error // why it is not restored yet
}

// round is one attempt, on a goroutine of its own and with a client of its own, to restore some tasks: a partition that
// waits for somebody's open transaction, or a missing leader, does not hold up the tasks that run.
type round struct {
	gens   map[int32]int64
	cancel context.CancelFunc
	left   atomic.Int64 // changelog records still to be read
	moved  atomic.Int64 // when the last was read, Unix ns

	// set before the round is handed back
	tasks map[int32]*Task
	why   map[int32]error // partitions that are not ready
	err   error           // of the round as a whole
}

const (
	maxRounds   = 4  // at a time
	readyTries  = 10 // looks at the brokers in one round until something is ready
	readyPause  = 20 * time.Millisecond
	askTimeout  = 5 * time.Second // for the questions of one look
	unownedFor  = 5 * time.Second // after that a partition without a sign of ownership is forgotten
	reportEvery = 5 * time.Second
)

// want asks for the restore of a partition's task. A partition that the stage did not have when it started is an error.
func (w *worker) want(part int32) error {
	if int(part) >= w.sh.partitions {
		return fmt.Errorf("stage %s: %w: partition %d came up, it started with %d: %s", w.plan.Stage(), ErrPartitionCount, part, w.sh.partitions, remedyPartitions)
	}
	w.gen++
	w.wanted[part] = &want{since: time.Now(), gen: w.gen}
	return nil
}

// miss sees to a record that has no task. Callbacks of the group can be lost or overtake each other; a record cannot.
func (w *worker) miss(part int32) error {
	if w.wanted[part] != nil || w.fresh[part] != nil || w.stalled[part] != nil {
		return nil
	}
	return w.want(part)
}

// restore takes the tasks that are restored, and starts a round for those that are not. The error is for a task that has
// waited too long.
func (w *worker) restore() error {
	for len(w.results) > 0 {
		w.take(<-w.results)
	}
	w.cancelUnwanted()
	parts, err := w.waiting()
	if err != nil {
		return err
	}
	if len(parts) == 0 || len(w.rounds) >= maxRounds {
		return nil
	}
	r := &round{gens: map[int32]int64{}}
	for _, part := range parts {
		r.gens[part] = w.wanted[part].gen
		w.wanted[part].round = r
	}
	ctx, cancel := context.WithCancel(w.ctx)
	r.cancel = cancel
	w.rounds = append(w.rounds, r)
	go func() {
		defer cancel()
		r.tasks, r.why, r.err = w.read(ctx, r)
		if r.err != nil {
			pause(ctx, minBackoff) // an error may come at once, and its report starts the next round
		}
		w.results <- r
		if len(r.tasks) > 0 {
			if wake := w.wake.Load(); wake != nil {
				(*wake)()
			}
		}
	}()
	return nil
}

// take adopts what a round has restored and is still wanted.
func (w *worker) take(r *round) {
	w.rounds = slices.DeleteFunc(w.rounds, func(x *round) bool { return x == r })
	stage := w.plan.Stage()
	for part, gen := range r.gens {
		x := w.wanted[part]
		if x == nil || x.gen != gen {
			continue
		}
		x.round = nil
		t := r.tasks[part]
		if t == nil {
			x.why = cmpErr(r.why[part], r.err, x.why)
			continue
		}
		w.fresh[part] = t
		w.counted[part] = countsOf(t)
		delete(w.wanted, part)
		w.e.m.restores.WithLabelValues(stage, "done").Inc()
		w.e.m.restoreLeft.DeleteLabelValues(stage, label(part))
		w.log.Info("task restored", "partition", part, "took", time.Since(x.since).Round(time.Millisecond), "positions", t.Positions())
	}
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// cancelUnwanted ends rounds of which nothing is wanted any more.
func (w *worker) cancelUnwanted() {
	for _, r := range w.rounds {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(r.gens)), func(part int32) bool { return w.wanted[part] != nil && w.wanted[part].round == r }) {
			r.cancel()
		}
	}
}

// waiting are the wanted partitions that no round is at work for.
func (w *worker) waiting() (parts []int32, err error) {
	own := w.client.Client().CommittedOffsets()
	owned := func(part int32) bool {
		for _, in := range w.plan.Inputs() {
			if _, ok := own[in.Name][part]; ok {
				return true
			}
		}
		return false
	}
	for _, part := range slices.Sorted(maps.Keys(w.wanted)) {
		x := w.wanted[part]
		moved := x.since
		if x.round != nil {
			if at := time.Unix(0, x.round.moved.Load()); at.After(moved) {
				moved = at
			}
		}
		switch waited := time.Since(moved); {
		case waited > unownedFor && x.round == nil && !owned(part):
			delete(w.wanted, part) // if it is ours all the same, its next record brings it back
		case waited > w.e.restoreTimeout:
			w.e.m.restores.WithLabelValues(w.plan.Stage(), "given_up").Inc()
			return nil, fmt.Errorf("restore task %s/%d: %w (%s): %w", w.plan.Stage(), part, ErrRestore, w.e.restoreTimeout, cmpErr(x.why, errors.New("no answer")))
		case x.round == nil:
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// read restores the tasks of a round that can be restored now, and says why the others cannot.
func (w *worker) read(ctx context.Context, r *round) (map[int32]*Task, map[int32]error, error) {
	// The client does not outlive the round: one that has once found the group's coordinator keeps asking it, even when it
	// cannot be dialed any more.
	cl, err := w.e.client("restore client")
	if err != nil {
		return nil, nil, err
	}
	defer cl.Close()
	for try := 1; ; try++ {
		spans, why, err := w.ready(ctx, kadm.NewClient(cl), slices.Sorted(maps.Keys(r.gens)))
		if err != nil {
			return nil, nil, err
		}
		if len(spans) > 0 {
			tasks, err := w.load(ctx, r, spans, why)
			return tasks, why, err
		}
		if try == readyTries || !pause(ctx, readyPause) {
			return nil, why, nil
		}
	}
}

// span is what a task is restored from.
type span struct {
	from, to int64            // changelog offsets, [from, to)
	group    map[string]int64 // the group's positions by input; absent where there is none
}

// ready finds the partitions whose changelog is complete: the group's positions are stable, and the last stable offset of
// the changelog is its high watermark, so that no transaction of a former owner is open and its markers are written.
// Positions that come one at a time are looked at one at a time: one dead owner holds up only its own partitions.
func (w *worker) ready(ctx context.Context, adm *kadm.Client, parts []int32) (map[int32]span, map[int32]error, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	topic := w.plan.Changelog().Name
	// The order matters: what is committed between two of these questions makes positions older than the changelog, which
	// is noticed below, not newer.
	group, err := adm.FetchOffsets(kadm.RequireStable(ctx), w.s.group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil, fmt.Errorf("read positions of group %s: %w", w.s.group, err)
	}
	stable, err := adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return nil, nil, fmt.Errorf("read last stable offsets of %s: %w", topic, err)
	}
	high, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, nil, fmt.Errorf("read high watermarks of %s: %w", topic, err)
	}
	start, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, nil, fmt.Errorf("read start offsets of %s: %w", topic, err)
	}
	spans, why := map[int32]span{}, map[int32]error{}
	for _, part := range parts {
		s := span{group: map[string]int64{}}
		for _, in := range w.plan.Inputs() {
			c, ok := group.Lookup(in.Name, part)
			if ok && c.Err != nil {
				why[part] = fmt.Errorf("position of %s: %w", in.Name, c.Err)
			} else if ok && c.At >= 0 {
				s.group[in.Name] = c.At
			}
		}
		l, ok1 := stable.Lookup(topic, part)
		h, ok2 := high.Lookup(topic, part)
		b, ok3 := start.Lookup(topic, part)
		switch err := cmpErr(why[part], l.Err, h.Err, b.Err); {
		case err != nil:
			why[part] = err
		case !ok1 || !ok2 || !ok3:
			why[part] = fmt.Errorf("%s: %w", topic, ErrTopicMissing)
		case l.Offset < h.Offset:
			why[part] = fmt.Errorf("a transaction is open in the changelog: it is stable up to %d of %d", l.Offset, h.Offset)
		default:
			s.from, s.to = b.Offset, l.Offset
			spans[part] = s
		}
	}
	return spans, why, nil
}

// load reads the changelog into new tasks and compares the positions that it holds with the group's.
func (w *worker) load(ctx context.Context, r *round, spans map[int32]span, why map[int32]error) (map[int32]*Task, error) {
	tasks := map[int32]*Task{}
	for part := range spans {
		tasks[part] = NewTask(w.plan, part)
	}
	l := &loader{w: w, round: r, spans: spans, tasks: tasks, why: why, next: map[int32]int64{}}
	if err := l.run(ctx); err != nil {
		return nil, err
	}
	for part, t := range tasks {
		if why[part] != nil {
			delete(tasks, part)
			continue
		}
		t.Restored()
		if err := w.compare(t, spans[part]); err != nil {
			why[part] = err
			delete(tasks, part)
		}
	}
	return tasks, nil
}

// compare is the last line of defense: state and group must be at the same position. A group without a position (its
// positions expire after offsets.retention.minutes) is no contradiction: the state knows its own.
func (w *worker) compare(t *Task, s span) error {
	pos := t.Positions()
	for _, in := range w.plan.Inputs() {
		at, ok := s.group[in.Name]
		switch {
		case ok && at != pos[in.Name]:
			return fmt.Errorf("%w: input %s: state at %d, group %s at %d; if one of them was reset, reset the other: amoskys reset",
				ErrStateMismatch, in.Name, pos[in.Name], w.s.group, at)
		case !ok && pos[in.Name] > 0:
			w.log.Warn("group has no position, the state's is taken", "topic", in.Name, "partition", t.Partition, "offset", pos[in.Name])
		}
	}
	return nil
}

// loader reads changelog partitions to their ends.
type loader struct {
	w     *worker
	round *round
	spans map[int32]span
	tasks map[int32]*Task
	why   map[int32]error
	next  map[int32]int64
	open  int // partitions not read to the end
	all   int64
}

func (l *loader) run(ctx context.Context) error {
	topic := l.w.plan.Changelog().Name
	ask := map[int32]kgo.Offset{}
	for part, s := range l.spans {
		if s.from < s.to {
			ask[part] = kgo.NewOffset().At(s.from)
			l.next[part] = s.from
			l.all += s.to - s.from
		}
	}
	if l.open = len(ask); l.open == 0 {
		return nil
	}
	l.round.left.Store(l.all)
	cl, err := l.reader(kgo.ReadCommitted(), ask)
	if err != nil {
		return err
	}
	defer cl.Close()
	said := time.Now()
	for l.open > 0 {
		fs, err := l.poll(ctx, cl)
		if err != nil {
			return err
		}
		if err := fs.Err(); err != nil {
			return fmt.Errorf("read changelog %s: %w", topic, err)
		}
		fs.EachPartition(l.take)
		if time.Since(said) >= reportEvery {
			said = time.Now()
			l.w.log.Info("restoring", "tasks", len(ask), "left", l.round.left.Load(), "of", l.all)
		}
	}
	return nil
}

// reader opens a client that reads partitions of the changelog from offsets on, markers included.
func (l *loader) reader(level kgo.IsolationLevel, from map[int32]kgo.Offset) (*kgo.Client, error) {
	return l.w.e.client("restore client", kgo.FetchIsolationLevel(level), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.FetchMaxPartitionBytes(8<<20), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.w.plan.Changelog().Name: from}))
}

// quietFor is how long nothing comes before a changelog is looked at for records without a marker.
const quietFor = time.Second

// poll reads on. If nothing comes, it leaves out what never will.
func (l *loader) poll(ctx context.Context, cl *kgo.Client) (kgo.Fetches, error) {
	some, cancel := context.WithTimeout(ctx, quietFor)
	defer cancel()
	fs := cl.PollRecords(some, 20_000)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if some.Err() != nil && fs.NumRecords() == 0 {
		return nil, l.skipUnmarked(ctx)
	}
	return fs, nil
}

// skipUnmarked finishes the partitions of which nothing is left but records that were aborted without a marker: so kfake
// leaves a transaction that was open when it was killed. A committed reader gets neither them nor anything behind them to
// count. Below the last stable offset every transaction has ended, so where no marker follows, nothing was committed.
func (l *loader) skipUnmarked(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	ask, marked := map[int32]kgo.Offset{}, map[int32]bool{}
	for part, next := range l.next {
		if next < l.spans[part].to {
			ask[part] = kgo.NewOffset().At(next)
		}
	}
	cl, err := l.reader(kgo.ReadUncommitted(), ask)
	if err != nil {
		return err
	}
	defer cl.Close()
	for len(ask) > 0 {
		fs := cl.PollRecords(ctx, 20_000)
		if ctx.Err() != nil {
			return nil // too slow to say: it is waited for
		}
		fs.EachRecord(func(r *kgo.Record) {
			part := r.Partition
			if _, ok := ask[part]; !ok {
				return
			}
			end := l.spans[part].to
			marked[part] = marked[part] || r.Offset < end && r.Attrs.IsControl()
			if r.Offset < end-1 {
				return
			}
			delete(ask, part)
			if !marked[part] {
				l.w.log.Warn("records without a marker are left out: the broker was killed while they were written", "partition", part, "from", l.next[part], "to", end)
				l.round.left.Add(l.next[part] - end)
				l.next[part] = end
				l.open--
				l.round.moved.Store(time.Now().UnixNano())
			}
		})
	}
	return nil
}

// take gives a task what was read of its partition. Control records count for the progress: the last record of a
// transaction is one.
func (l *loader) take(p kgo.FetchTopicPartition) {
	if len(p.Records) == 0 {
		return
	}
	part := p.Partition
	end, n := l.spans[part].to, 0
	for _, r := range p.Records {
		if l.next[part] >= end {
			break
		}
		if r.Offset < end && !r.Attrs.IsControl() && l.why[part] == nil {
			if err := l.tasks[part].Restore(r); err != nil {
				l.why[part] = err
			}
			n++
		}
		l.round.left.Add(l.next[part] - min(end, r.Offset+1))
		l.next[part] = r.Offset + 1
		if l.next[part] >= end {
			l.open--
		}
	}
	l.round.moved.Store(time.Now().UnixNano())
	stage := l.w.plan.Stage()
	l.w.e.m.restoreRows.WithLabelValues(stage).Add(float64(n))
	l.w.e.m.restoreLeft.WithLabelValues(stage, label(part)).Set(float64(max(0, end-l.next[part])))
}
