package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An App runs stages over Kafka. Its fields are set before Check or Run and not changed afterwards.
type App struct {
	// Name is part of consumer groups, changelogs and transactional ids. Two Apps of one name share the work.
	Name string
	// Version is that of the program, for logs.
	Version string
	// Stages are what this App runs.
	Stages []Stage
	// Suite is every processor of the topology, whatever process runs it. Default: those of Stages.
	Suite []*Processor
	// Kafka says how brokers are reached.
	Kafka Kafka
	// Registry gives schemas their ids.
	Registry schemas.Registry

	// Workers is the number of workers per stage, each with one transaction at a time. Default: 1.
	Workers int
	// CommitInterval is the time from the end of one transaction of a worker to the end of the next under steady load. The
	// first records after a quiet time are committed at once, and so is what fills MaxPoll. Default: 200 ms.
	CommitInterval time.Duration
	// MaxPoll is the most input records of one transaction. Default: 10,000.
	MaxPoll int
	// TxnTimeout is after what time brokers abort a transaction, and the deadline of its end. It must not be less than the
	// broker session (broker.session.timeout.ms) plus 5 s: that is what the crash of a broker takes. Default: 15 s.
	TxnTimeout time.Duration
	// RestoreTimeout is for how long a task may wait for its restore without any progress. Default: 1 min.
	RestoreTimeout time.Duration

	// Ticks makes workers write a Tick to an ingest partition from which nothing has come for TickEvery (default 1 s).
	Ticks     bool
	TickEvery time.Duration

	// FreshIDs gives each session a transactional id of its own, as the embedded broker needs it. Otherwise a worker locks
	// a slot in LockDir and has the id of that slot, so that whoever takes it next fences what a dead one has left open.
	FreshIDs bool
	LockDir  string
	// Instance is part of transactional ids, and differs between machines. Default: the host name.
	Instance string

	// SnapshotDir is where snapshots of task state go; empty for none. One is written when a task's stream time passes a
	// multiple of SnapshotEvery (default 1 h), and after an activation; the newest SnapshotKeep (default 168) of a task
	// stay.
	SnapshotDir   string
	SnapshotEvery time.Duration
	SnapshotKeep  int

	// Logger is where the App speaks. Default: nowhere.
	Logger *slog.Logger
	// Metrics is where the App's collectors are registered, with the label app. Default: nowhere.
	Metrics prometheus.Registerer
	// OnCommit, if set, is told after each committed transaction up to which ingest position a task has processed
	// everything. It is called by several goroutines, which wait for it.
	OnCommit func(stage string, partition int32, upTo schemas.Origin)

	gate sync.RWMutex // held for reading by each worker from poll to the end of the transaction
}

// GroupID is the consumer group of a stage of an application.
func GroupID(app, stage string) string { return "amoskys." + app + "." + stage }

var appForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,60}$`)

// engine is an App that runs: its settings with defaults, and what its workers share.
type engine struct {
	app     *App
	log     *slog.Logger
	m       *metrics
	wire    *wire
	stages  []*stageRun
	classic bool // groups of the classic protocol, see checkBrokers
	ticks   *ticker

	workers, maxPoll, snapshotKeep                                    int
	interval, txnTimeout, restoreTimeout, tickEvery, snapshotInterval time.Duration
	instance                                                          string
}

type stageRun struct {
	plan  *Plan
	group string
	shape *shape
}

func (a *App) newEngine(ctx context.Context) (*engine, error) {
	if err := a.validate(); err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	e := &engine{
		app: a, log: a.Logger, m: newMetrics(),
		workers: cmp.Or(a.Workers, 1), maxPoll: cmp.Or(a.MaxPoll, 10_000), snapshotKeep: cmp.Or(a.SnapshotKeep, 168),
		interval: cmp.Or(a.CommitInterval, 200*time.Millisecond), txnTimeout: cmp.Or(a.TxnTimeout, 15*time.Second),
		restoreTimeout: cmp.Or(a.RestoreTimeout, time.Minute), tickEvery: cmp.Or(a.TickEvery, time.Second),
		snapshotInterval: cmp.Or(a.SnapshotEvery, time.Hour), instance: cmp.Or(a.Instance, host, "local"),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.wire = &wire{m: e.m, log: e.log, last: map[string]time.Time{}}
	serde, err := schemas.NewSerde(ctx, a.Registry)
	if err != nil {
		return nil, err
	}
	suite := a.Suite
	if suite == nil {
		for _, s := range a.Stages {
			suite = append(suite, s.Processors...)
		}
	}
	for _, s := range a.Stages {
		p, err := NewPlan(ctx, a.Name, s, suite, serde)
		if err != nil {
			return nil, fmt.Errorf("plan stage %s: %w", s.Name, err)
		}
		e.stages = append(e.stages, &stageRun{plan: p, group: GroupID(a.Name, s.Name)})
	}
	if a.Ticks {
		e.ticks = newTicker(e, serde)
	}
	return e, nil
}

func (a *App) validate() error {
	var errs []error
	bad := func(key, value, want string) { errs = append(errs, &SettingError{key, value, want}) }
	if !appForm.MatchString(a.Name) {
		bad("name", a.Name, "lower-case letters, digits, _ and -, at most 61")
	}
	if len(a.Stages) == 0 {
		bad("stages", "", "at least one")
	}
	if a.Registry == nil {
		bad("registry", "", "a schema registry")
	}
	if !a.FreshIDs && a.LockDir == "" {
		bad("lock_dir", "", "a directory of this machine, or fresh transactional ids")
	}
	for key, n := range map[string]int{"workers": a.Workers, "max_poll": a.MaxPoll, "snapshot_keep": a.SnapshotKeep} {
		if n < 0 {
			bad(key, fmt.Sprint(n), "a number from 1 on")
		}
	}
	for key, d := range map[string]time.Duration{"commit_interval": a.CommitInterval, "txn_timeout": a.TxnTimeout, "tick_every": a.TickEvery,
		"restore_timeout": a.RestoreTimeout, "snapshot_every": a.SnapshotEvery} {
		if d < 0 {
			bad(key, d.String(), "a duration over 0")
		}
	}
	slices.SortFunc(errs, func(x, y error) int { return cmp.Compare(x.Error(), y.Error()) })
	return errors.Join(append(errs, a.Kafka.Validate(), Validate(a.Stages...))...)
}

// watch are the client options that tie a client to the App's log and metrics.
func (e *engine) watch() []kgo.Opt {
	return []kgo.Opt{kgo.WithHooks(e.wire), kgo.WithLogger(clientLog{e.log})}
}

// options are the options of the App's clients, with more on top.
func (e *engine) options(more ...kgo.Opt) ([]kgo.Opt, error) {
	opts, err := e.app.Kafka.Options()
	if err != nil {
		return nil, err
	}
	return append(append(opts, e.watch()...), more...), nil
}

// Run checks the App and runs its stages until ctx ends; then it finishes the open transactions and returns nil. Whatever
// time or another session may mend is tried again, with the reason in the log; Run returns an error only for what nothing
// but a change of the configuration mends.
func (a *App) Run(ctx context.Context) error {
	e, err := a.newEngine(ctx)
	if err != nil {
		return err
	}
	unregister, err := e.m.register(a.Metrics, a.Name)
	if err != nil {
		return err
	}
	defer unregister()
	switch err := e.checkPatiently(ctx); {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	if e.ticks != nil {
		defer e.ticks.close()
	}
	e.log.Info("stages start", "app", a.Name, "version", a.Version, "stages", len(e.stages), "workers", e.workers)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		workers, watch sync.WaitGroup
		once           sync.Once
		final          error
	)
	fail := func(err error) {
		once.Do(func() { final = err })
		stop()
	}
	watch.Go(func() {
		if err := e.watchTopics(ctx); err != nil {
			fail(err)
		}
	})
	for _, s := range e.stages {
		for range e.workers {
			workers.Go(func() {
				if err := e.work(ctx, s); err != nil {
					fail(fmt.Errorf("run stage %s: %w", s.plan.Stage(), err))
				}
			})
		}
	}
	workers.Wait()
	stop()
	watch.Wait()
	return final
}

// startPatience is for how long Run waits for what time may mend before it begins: brokers and roles start in any order.
const startPatience = 30 * time.Second

func (e *engine) checkPatiently(ctx context.Context) error {
	for until := time.Now().Add(startPatience); ; {
		err := e.check(ctx)
		if err == nil || fatal(err) || time.Now().After(until) {
			return err
		}
		e.log.Warn("not ready to start", "err", err)
		if !pause(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// Barrier waits until no worker of the App has a transaction open, calls f, and lets them go on. It returns the error of
// f, or that of ctx if it ends before f was called. The embedded broker trims its log in f.
func (a *App) Barrier(ctx context.Context, f func() error) error {
	closed := make(chan struct{})
	go func() {
		a.gate.Lock()
		close(closed)
	}()
	select {
	case <-closed:
	case <-ctx.Done():
		go func() {
			<-closed
			a.gate.Unlock()
		}()
		return ctx.Err()
	}
	defer a.gate.Unlock()
	return f()
}

// work opens one session after the other until ctx ends (nil) or an error is final.
func (e *engine) work(ctx context.Context, s *stageRun) error {
	slot, err := e.takeSlot(s)
	if err != nil {
		return err
	}
	defer slot.release()
	sh, wait := s.shape, minBackoff
	for {
		w := newWorker(e, s, sh, slot.id())
		err := w.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		f, reason := classify(err)
		if f == faultFatal {
			return err
		}
		if w.commits > 0 { // it was good for something
			wait = minBackoff
		}
		w.log.Warn("session dropped", "err", err, "reason", reason, "next_in", wait)
		if !pause(ctx, wait) {
			return nil
		}
		wait = min(2*wait, maxBackoff)
		if e.app.FreshIDs {
			e.fence(ctx, w.txid)
		}
		if sh, err = e.again(ctx, s); err != nil {
			return err
		}
	}
}

// client opens a client with the engine's settings, and more; what it is for is in the error.
func (e *engine) client(what string, more ...kgo.Opt) (*kgo.Client, error) {
	opts, err := e.options(more...)
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", what, err)
	}
	return cl, nil
}

// fence ends what a dropped session may have left open: its successor has another transactional id, and would wait for the
// transaction to time out. It is not waited for long; then the time-out does it.
func (e *engine) fence(ctx context.Context, txid string) {
	cl, err := e.client("fencing client", kgo.TransactionalID(txid))
	if err != nil {
		return
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, maxBackoff)
	defer cancel()
	if _, _, err := cl.ProducerID(ctx); err != nil {
		e.log.Warn("dropped session is not fenced", "worker", txid, "err", err)
	}
}

// Between two sessions, and between two attempts of what waits for time to pass.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// again looks at the stage's topics anew before the next session: settings may have changed, and a changed partition count
// is final. It waits for brokers that are away.
func (e *engine) again(ctx context.Context, s *stageRun) (*shape, error) {
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		sh, err := e.look(ctx, s)
		switch {
		case err == nil:
			return sh, nil
		case ctx.Err() != nil:
			return s.shape, nil // the caller sees it too
		case fatal(err):
			return nil, err
		}
		e.log.Warn("topics cannot be looked at", "stage", s.plan.Stage(), "err", err, "next_in", wait)
		pause(ctx, wait)
	}
}

func (e *engine) look(ctx context.Context, s *stageRun) (*shape, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	adm, err := openAdmin(ctx, e.app.Kafka, e.watch()...)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	return checkStage(ctx, adm, s.plan, s.group)
}

// pause waits, and says whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
