package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A worker is one goroutine over one consumer group session with one transaction at a time. It owns the tasks of the
// partitions that the group gives it; nothing of it is shared.
//
// Its cycle is: set restored tasks' fetch positions, poll, apply what the group has said meanwhile, process, allow the
// group to move on, end the transaction, hand over what is to be restored. Four things about it are not to be changed:
//
//   - The group is allowed to move on before the transaction ends. The other way round hangs for ever when the group asks
//     for a partition back while the transaction ends.
//   - What the group says is only queued by its callbacks, and applied between two transactions. Callbacks come late, out of
//     order and not at all; so "assigned" always discards and restores, and a record without a task asks for a restore.
//   - A transaction commits the positions that are processed, not those that were polled. The client remembers the polled
//     ones all the same, so after each restore and roll-back it is told where to go on.
//   - If it is not known how a transaction ended, the session is dropped with all its tasks. The next one learns it from
//     the brokers.
type worker struct {
	e    *engine
	s    *stageRun
	sh   *shape
	txid string
	log  *slog.Logger
	plan *Plan // the stage's, with the session's own bounds

	client *kgo.GroupTransactSession
	events eventQueue
	hurry  atomic.Bool // the group waits for the end of the transaction

	tasks    map[int32]*Task        // they take records
	fresh    map[int32]*Task        // restored or rolled back; their fetch positions are not set yet
	stalled  map[int32]*stall       // they wait for the schema registry
	wanted   map[int32]*want        // to be restored
	assigned map[int32]bool         // by the last event of the group
	careful  map[int32]*caution     // see refuse.go
	counted  map[int32]counted      // what of a task's totals is in the metrics
	ends     map[topicPart]mark     // how far the inputs reach
	snaps    map[int32]*snapshotter // when the next snapshot is due
	rounds   []*round
	results  chan *round
	wake     atomic.Pointer[context.CancelFunc] // ends the poll of the moment
	gen      int64                              // of wants
	reported [2]int                             // see report
	commits  int                                // of this session
	aborts   int                                // one after the other
	inTxn    bool                               // the client has a transaction open
	ended    time.Time                          // when a transaction last ended
	ctx      context.Context                    // of the session
}

type topicPart struct {
	topic     string
	partition int32
}

// mark is how far an input partition reaches, at its last fetch.
type mark struct {
	next   int64     // offset after the last record polled
	stable int64     // last stable offset
	high   int64     // high watermark
	stamp  int64     // highest record timestamp, ms
	seen   time.Time // when the last record came, or a tick was written
	gone   int64     // up to where it is told what retention has deleted
}

// expired is how many offsets between next and what was fetched retention has deleted: the client then goes on at the start
// of the log without a word. Offsets are missing elsewhere too, where transactions ended.
func expired(next int64, p kgo.FetchTopicPartition) int64 {
	return min(p.LogStartOffset, p.Records[0].Offset) - next
}

// stall is a task that cannot go on because the schema registry does not answer.
type stall struct {
	task  *Task
	tries int
	until time.Time
}

func newWorker(e *engine, s *stageRun, sh *shape, txid string) *worker {
	w := &worker{
		e: e, s: s, sh: sh, txid: txid, log: e.log.With("stage", s.plan.Stage(), "worker", txid),
		tasks: map[int32]*Task{}, fresh: map[int32]*Task{}, stalled: map[int32]*stall{}, wanted: map[int32]*want{}, assigned: map[int32]bool{},
		careful: map[int32]*caution{}, counted: map[int32]counted{}, ends: map[topicPart]mark{}, snaps: map[int32]*snapshotter{},
		results: make(chan *round, maxRounds),
	}
	p := *s.plan
	p.MaxRecordBytes = sh.maxRecord
	observe := p.Observe
	p.Observe = func(part int32, o schemas.Origin) {
		if c := w.careful[part]; c != nil {
			c.seen = append(c.seen, o)
		}
		if observe != nil {
			observe(part, o)
		}
	}
	w.plan = &p
	return w
}

const (
	idlePoll     = 200 * time.Millisecond // longest wait for records
	idleEnd      = time.Second            // an idle worker ends a session transaction that often: the client swallows revocations between two ends
	closeTimeout = 5 * time.Second        // to leave the group
	openTimeout  = 30 * time.Second       // to get the producer id
)

// session opens a session and runs it until ctx ends (nil) or it has to be dropped (why).
func (w *worker) session(ctx context.Context) error {
	if err := w.open(ctx); err != nil {
		return err
	}
	w.e.m.sessions.WithLabelValues(w.plan.Stage()).Inc()
	defer w.close()
	defer w.report(0, 0)
	var stop context.CancelFunc
	w.ctx, stop = context.WithCancel(ctx) // ends restores with the session
	defer stop()
	for ctx.Err() == nil {
		if err := w.cycle(); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) inputs() (names []string) {
	for _, t := range w.plan.Inputs() {
		names = append(names, t.Name)
	}
	return names
}

func (w *worker) open(ctx context.Context) error {
	more := []kgo.Opt{
		kgo.TransactionalID(w.txid), kgo.TransactionTimeout(w.e.txnTimeout),
		kgo.ConsumerGroup(w.s.group), kgo.ConsumeTopics(w.inputs()...),
		kgo.Balancers(kgo.RangeBalancer()), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(10 * time.Second), kgo.HeartbeatInterval(time.Second), kgo.RebalanceTimeout(20 * time.Second),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100 * time.Millisecond), kgo.FetchMaxPartitionBytes(4 << 20),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(w.e.app.Kafka.linger()), kgo.ProducerBatchCompression(w.e.app.Kafka.codec()),
		kgo.ProducerBatchMaxBytes(int32(w.sh.maxRecord + batchOverhead)), kgo.MaxBufferedRecords(50_000),
		kgo.OnPartitionsAssigned(w.events.put("assigned")), kgo.OnPartitionsRevoked(w.events.put("revoked")), kgo.OnPartitionsLost(w.events.put("lost")),
		kgo.OnPartitionsCallbackBlocked(func(context.Context, *kgo.Client) { w.hurry.Store(true) }),
	}
	if !w.e.classic {
		more = append(more, kgo.ServerSideBalancer())
	}
	opts, err := w.e.options(more...)
	if err != nil {
		return err
	}
	if w.client, err = kgo.NewGroupTransactSession(opts...); err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	// The client asks for its producer id when it first produces. Asked for now, it ends at once what a dead owner of this
	// transactional id has left open, and with it everybody's wait for that transaction.
	octx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if _, _, err := w.client.Client().ProducerID(octx); err != nil {
		w.close()
		return fmt.Errorf("fence former owner of %s: %w", w.txid, err)
	}
	return nil
}

// close leaves the group. The coordinator may be gone, so it is not waited for without end.
func (w *worker) close() {
	done := make(chan struct{})
	go func() {
		w.client.CloseAllowingRebalance()
		close(done)
	}()
	t := time.NewTimer(closeTimeout)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		w.log.Warn("group is not left in time", "timeout", closeTimeout)
	}
}

// behind says whether a good part of a full transaction waits on the brokers or in the client.
func (w *worker) behind() bool {
	enough := int64(w.e.maxPoll / 4)
	if w.client.Client().BufferedFetchRecords() >= enough {
		return true
	}
	var waiting int64
	for at, m := range w.ends {
		if w.tasks[at.partition] != nil {
			waiting += max(0, m.stable-m.next)
		}
	}
	return waiting >= enough
}

// cycle is one turn of the worker's loop: at most one transaction. An error drops the session.
func (w *worker) cycle() error {
	w.e.app.gate.RLock()
	defer w.e.app.gate.RUnlock()
	w.resume()
	if err := w.adopt(); err != nil {
		return err
	}
	fetches := w.poll(idlePoll, w.e.maxPoll)
	if fetches.IsClientClosed() {
		return errors.New("client is closed")
	}
	changed, err := w.drain()
	if err != nil {
		return err
	}
	if fetches.NumRecords() == 0 && !changed && time.Since(w.ended) < idleEnd {
		w.client.AllowRebalance()
	} else if err := w.transact(fetches, changed); err != nil {
		return err
	}
	if changed, err = w.drain(); err != nil {
		return err
	}
	if changed {
		// The client aborts the next transaction after a revocation, even one that came before its first record. It is
		// spent on an empty one.
		if err := w.transact(nil, true); err != nil {
			return err
		}
	}
	w.tick()
	w.report(len(w.wanted)+len(w.fresh), w.stalls())
	return w.restore()
}

// report shows the tasks that do not process. The stage's workers share the gauges.
func (w *worker) report(restore, registry int) {
	w.e.m.waiting.WithLabelValues(w.plan.Stage(), "restore").Add(float64(restore - w.reported[0]))
	w.e.m.waiting.WithLabelValues(w.plan.Stage(), "registry").Add(float64(registry - w.reported[1]))
	w.reported = [2]int{restore, registry}
}

func (w *worker) stalls() (n int) {
	for _, s := range w.stalled {
		if s.task != nil {
			n++
		}
	}
	return n
}

// poll waits for records. Whatever it returns that is not empty keeps the group from moving until AllowRebalance.
func (w *worker) poll(wait time.Duration, most int) kgo.Fetches {
	ctx, cancel := context.WithTimeout(w.ctx, wait)
	defer cancel()
	w.wake.Store(&cancel)
	fs := w.client.PollRecords(ctx, most)
	fs.EachError(func(topic string, part int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			w.log.Warn("input cannot be read", "topic", topic, "partition", part, "err", err)
		}
	})
	return fs
}

// adopt sets the fetch positions of restored and rolled-back tasks to what their state has processed. The client's own
// idea of them is what was polled before the last good end of a transaction: past records that were held, or dropped for
// want of a task. The records it has buffered are dropped with it.
func (w *worker) adopt() error {
	if len(w.fresh) == 0 {
		return nil
	}
	// A poll that is cancelled already returns nothing but keeps the group from moving: no partition must come or go
	// between the look at the events and the setting of positions.
	done, cancel := context.WithCancel(w.ctx)
	cancel()
	w.client.PollRecords(done, 1)
	if _, err := w.drain(); err != nil {
		return err
	}
	at := map[string]map[int32]kgo.EpochOffset{}
	for part, t := range w.fresh {
		pos := t.Positions()
		for _, in := range w.plan.Inputs() {
			if at[in.Name] == nil {
				at[in.Name] = map[int32]kgo.EpochOffset{}
			}
			at[in.Name][part] = kgo.EpochOffset{Epoch: -1, Offset: pos[in.Name]}
			m := w.ends[topicPart{in.Name, part}]
			m.next = pos[in.Name]
			w.ends[topicPart{in.Name, part}] = m
		}
		w.tasks[part] = t
	}
	clear(w.fresh)
	if len(at) > 0 {
		w.client.Client().SetOffsets(at)
	}
	return nil
}

// event is something the group said.
type event struct {
	what  string // assigned, revoked or lost
	parts []int32
}

// eventQueue takes events from the client's goroutines.
type eventQueue struct {
	mu     sync.Mutex
	events []event
}

func (q *eventQueue) put(what string) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
		var parts []int32
		for _, ps := range m {
			parts = append(parts, ps...)
		}
		if len(parts) == 0 {
			return // a KIP-848 group says so at every change: it is no event
		}
		slices.Sort(parts)
		q.mu.Lock()
		defer q.mu.Unlock()
		q.events = append(q.events, event{what, slices.Compact(parts)})
	}
}

func (q *eventQueue) take() []event {
	q.mu.Lock()
	defer q.mu.Unlock()
	es := q.events
	q.events = nil
	return es
}

// drain applies what the group has said. The error is for a partition that is not the stage's.
func (w *worker) drain() (changed bool, err error) {
	for _, e := range w.events.take() {
		changed = true
		w.e.m.rebalances.WithLabelValues(w.plan.Stage(), e.what).Inc()
		w.log.Info("partitions "+e.what, "partitions", e.parts)
		for _, part := range e.parts {
			w.discard(part)
			delete(w.assigned, part)
			if e.what != "assigned" {
				continue
			}
			w.assigned[part] = true
			if err := w.want(part); err != nil {
				return changed, err
			}
		}
	}
	return changed, nil
}

// discard forgets a partition's task.
func (w *worker) discard(part int32) {
	if s := w.stalled[part]; s != nil {
		w.fetch(part, true)
	}
	delete(w.tasks, part)
	delete(w.fresh, part)
	delete(w.stalled, part)
	delete(w.wanted, part)
	delete(w.careful, part)
	delete(w.counted, part)
	delete(w.snaps, part)
	w.e.m.held.DeleteLabelValues(w.plan.Stage(), label(part))
	w.e.m.restoreLeft.DeleteLabelValues(w.plan.Stage(), label(part))
	for _, in := range w.plan.Inputs() {
		delete(w.ends, topicPart{in.Name, part})
		w.e.m.lag.DeleteLabelValues(w.plan.Stage(), in.Name, label(part))
	}
}

// fetch lets the client read a partition's inputs, or stops it.
func (w *worker) fetch(part int32, on bool) {
	m := map[string][]int32{}
	for _, in := range w.plan.Inputs() {
		m[in.Name] = []int32{part}
	}
	if on {
		w.client.Client().ResumeFetchPartitions(m)
	} else {
		w.client.Client().PauseFetchPartitions(m)
	}
}

// stall puts a task aside after the registry did not answer: it is tried again later, from its processed positions on.
func (w *worker) stall(t *Task, err error) {
	tries := 0
	if s := w.stalled[t.Partition]; s != nil {
		tries = s.tries
	}
	wait := min(minBackoff<<min(tries, 10), maxBackoff)
	w.log.Warn("schema registry does not answer", "partition", t.Partition, "err", err, "next_in", wait)
	w.stalled[t.Partition] = &stall{t, tries + 1, time.Now().Add(wait)}
	delete(w.tasks, t.Partition)
	delete(w.fresh, t.Partition)
	w.fetch(t.Partition, false)
}

// resume lets tasks try again for which the registry did not answer.
func (w *worker) resume() {
	for _, part := range slices.Sorted(maps.Keys(w.stalled)) {
		if s := w.stalled[part]; s.task != nil && time.Now().After(s.until) {
			w.fresh[part], s.task = s.task, nil // the entry stays, for its number of tries
			w.fetch(part, true)
		}
	}
}
