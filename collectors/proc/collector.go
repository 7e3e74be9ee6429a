package proc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

const name = "proc"

// A Collector observes the processes and sockets of this host.
type Collector struct {
	cfg    Config
	mask   mask
	log    *slog.Logger
	counts counts

	mu        sync.Mutex
	listening bool  // Collect has the connector
	refused   error // why there is none, if Collect could not have it
}

// counts are totals since the collector was made.
type counts struct {
	execs, exits, unread, late, lost, dropped, connections, hashes atomic.Int64
}

var _ streams.Collector = (*Collector)(nil)

// New returns a collector, or everything that is wrong with its configuration. It opens nothing yet. Without a logger
// nothing is logged.
func New(cfg Config, log *slog.Logger) (*Collector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newMask(&cfg)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Collector{cfg: cfg, mask: m, log: log}, nil
}

// Name is "proc".
func (c *Collector) Name() string { return name }

// Counters are totals since the collector was made, sorted by name: execs, exits, network activities and hashes that were
// emitted; unread_execs, whose process was gone before it could be read; late_execs, which only a scan has found though the
// connector is there; lost_kernel_events, which the connector dropped; dropped_events, which could not be written.
func (c *Collector) Counters() []schemas.Counter {
	k := &c.counts
	return []schemas.Counter{{Name: "connections", Count: k.connections.Load()}, {Name: "dropped_events", Count: k.dropped.Load()},
		{Name: "execs", Count: k.execs.Load()}, {Name: "exits", Count: k.exits.Load()}, {Name: "hashes", Count: k.hashes.Load()},
		{Name: "late_execs", Count: k.late.Load()}, {Name: "lost_kernel_events", Count: k.lost.Load()}, {Name: "unread_execs", Count: k.unread.Load()}}
}

// Capabilities says what can be seen here, and tries the connector to know.
func (c *Collector) Capabilities() []streams.Capability {
	if !supported {
		why := "processes are read from /proc, which only Linux has"
		return []streams.Capability{{Name: "process.exec", Reason: why}, {Name: "process.exit", Reason: why}, {Name: "network.connection", Reason: why}}
	}
	execs, exits := streams.Capability{Name: "process.exec", Variant: "netlink"}, streams.Capability{Name: "process.exit", Variant: "netlink"}
	if err := c.tryConnector(); err != nil {
		execs.Variant, exits.Variant = "procfs", "procfs"
		execs.Reason = fmt.Sprintf("processes that live shorter than %v to %v are missed: %v", c.cfg.Interval, c.cfg.MaxInterval, err)
		exits.Reason = "exit codes and the exact time are not known: there is no process connector"
	}
	sockets := streams.Capability{Name: "network.connection", Variant: "procfs", Reason: fmt.Sprintf("connections shorter than %v (on a busy host up to %v) are missed", c.cfg.SocketInterval, stretch*c.cfg.SocketInterval)}
	if !c.cfg.Sockets {
		sockets.Variant, sockets.Reason = "", "turned off by proc.sockets"
	}
	hashes := streams.Capability{Name: "binary.identity", Variant: "procfs"}
	if !c.cfg.Hashes {
		hashes.Variant, hashes.Reason = "", "turned off by proc.hashes"
	}
	if why := c.blind(); why != "" {
		for _, k := range []*streams.Capability{&sockets, &hashes} {
			if k.Variant != "" {
				k.Reason = strings.TrimPrefix(k.Reason+"; "+why, "; ")
			}
		}
	}
	return []streams.Capability{execs, exits, sockets, hashes}
}

// errOff is why the connector is not used when it is not to be.
var errOff = errors.New("turned off by proc.connector")

func (c *Collector) tryConnector() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.cfg.Connector:
		return errOff
	case c.listening || c.refused != nil:
		return c.refused
	}
	k, err := openConnector()
	if err == nil {
		k.close()
	}
	return err
}

// blind says what may not be read of other users' processes.
func (c *Collector) blind() string {
	if _, err := os.Stat(folder(c.cfg.Root, 1)); err != nil {
		return "processes of other users are hidden (hidepid)"
	}
	b, err := os.ReadFile(c.cfg.Root + "/self/status")
	if err != nil || !hasCapability(b, capSysPtrace) {
		return "executables, working folders and sockets of other users' processes cannot be read (no CAP_SYS_PTRACE)"
	}
	return ""
}

// Collect reports what runs, and then what happens, until ctx is done. It fails if /proc cannot be read. Events that out
// does not take are kept for a while, and counted beyond that: a full disk ends nothing.
func (c *Collector) Collect(ctx context.Context, out streams.Appender) error {
	s, err := c.open(out)
	if err != nil {
		return err
	}
	defer s.lister.close()
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	batches, failed := c.listen(ctx, &wg)
	s.kernel = batches != nil
	if s.hasher != nil {
		wg.Go(func() { s.hasher.run(ctx) })
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	return s.loop(ctx, batches, failed)
}

func (c *Collector) open(out streams.Appender) (*session, error) {
	id := identity{HostID(), BootID(c.cfg.Root)}
	l, err := openLister(c.cfg.Root)
	if err != nil {
		return nil, err
	}
	s := &session{c: &c.cfg, counts: &c.counts, log: c.log, identity: id, out: outbox{identity: id, to: out, counts: &c.counts, log: c.log}, lister: l,
		reader: newReader(&c.cfg, c.mask), table: map[int64]*process{}, sockets: newSockets(), self: ownPID(c.cfg.Root)}
	if c.cfg.Hashes {
		s.hasher = newHasher(&c.cfg)
	}
	if s.bootTime, err = s.readBootTime(); err != nil {
		l.close()
		return nil, err
	}
	return s, nil
}

// listen opens the connector, if it can be had, and receives from it until ctx ends. Why it ended, or that there was none,
// is remembered for Capabilities.
func (c *Collector) listen(ctx context.Context, wg *sync.WaitGroup) (<-chan kernelBatch, <-chan error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cfg.Connector {
		return nil, nil
	}
	k, err := openConnector()
	if c.refused = err; err != nil {
		return nil, nil
	}
	c.listening = true
	batches, failed := make(chan kernelBatch, 64), make(chan error, 1)
	wg.Go(func() {
		err := k.receive(batches)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.listening = false
		if !errors.Is(err, os.ErrClosed) {
			c.refused = err
			failed <- err
		}
	})
	context.AfterFunc(ctx, k.close)
	return batches, failed
}

// session is one call of Collect. All of it but the hasher's work is done by one goroutine.
type session struct {
	identity
	c        *Config
	counts   *counts
	log      *slog.Logger
	out      outbox
	lister   *lister
	reader   *reader
	hasher   *hasher // nil: off
	sockets  *sockets
	bootTime int64 // wall time of the boot, ns
	self     int64 // own pid
	kernel   bool  // the connector tells what happens

	table   map[int64]*process
	entries []entry // of the last scan
	turn    int     // where the next check of known processes goes on
	waiting []*process
	scans   int           // how many there were
	scanIn  time.Duration // until the next one
}

// readBootTime reads when the machine was started. The kernel tells it in whole seconds; the clocks tell it finer, unless
// this is another machine's /proc, or a time namespace.
func (s *session) readBootTime() (int64, error) {
	b, err := os.ReadFile(s.c.Root + "/stat")
	if err != nil {
		return 0, fmt.Errorf("read boot time: %w", err)
	}
	sec, err := parseBootTime(b)
	if err != nil {
		return 0, err
	}
	told := sec * int64(time.Second)
	at := now()
	if fine := (at.wall - at.boot) / tick * tick; fine > told-int64(time.Second) && fine < told+int64(2*time.Second) {
		return fine, nil
	}
	return told, nil
}

// start reports what runs already.
func (s *session) start(ctx context.Context) error {
	var err error
	if s.entries, err = s.lister.list(s.entries[:0]); err != nil {
		return err
	}
	at := now()
	for _, f := range s.discover(s.entries) {
		if f.image.ended() {
			s.keep(f.process)
		} else {
			s.exec(f.process, &f.image, at.wall, true)
		}
	}
	s.scanIn = s.c.Interval
	s.out.flush(ctx)
	return nil
}

// loop does what is due, until ctx ends.
func (s *session) loop(ctx context.Context, batches <-chan kernelBatch, failed <-chan error) error {
	var hashes <-chan hashResult
	if s.hasher != nil {
		hashes = s.hasher.results
	}
	scans, sockets := time.NewTimer(s.nextScan(0)), time.NewTimer(0)
	if !s.c.Sockets {
		sockets.Stop()
	}
	settle := time.NewTimer(time.Hour)
	defer func() { scans.Stop(); sockets.Stop(); settle.Stop() }()
	for {
		select {
		case <-ctx.Done():
			s.out.last(ctx)
			return nil
		case b := <-batches:
			if s.take(&b) {
				scans.Reset(0)
			}
		case err := <-failed:
			s.log.Warn("process connector is lost, polling instead", "err", err)
			batches, s.kernel = nil, false
			s.scanIn = s.c.Interval
			scans.Reset(0)
		case <-scans.C:
			began := now()
			if err := s.scan(); err != nil {
				return err
			}
			scans.Reset(s.nextScan(cost(began, now())))
		case <-sockets.C:
			began := now()
			s.scanSockets()
			sockets.Reset(rest(s.c.SocketInterval, cost(began, now())))
		case <-settle.C:
			s.settle(now())
		case r := <-hashes:
			s.hashed(&r)
		}
		if len(s.waiting) > 0 {
			settle.Reset(settleEvery)
		}
		s.out.flush(ctx)
	}
}

const (
	// costFactor is how much longer a periodic job waits than it takes, so that it costs at most 1 % of a core. Waiting longer
	// would miss the connections of a busy machine.
	costFactor = 100
	// stretch bounds how much longer it waits than it is set to: on a very busy host seeing comes before saving.
	stretch = 15
	// rescanEvery is the time between scans beside the connector, which find what it has not told.
	rescanEvery = 30 * time.Second
)

// rest is how long a periodic job waits that took as long as given.
func rest(interval, took time.Duration) time.Duration {
	return min(max(interval, costFactor*took), stretch*interval)
}

// cost is the processor time between two moments. If the thread has changed in between, which is seldom, it may be wrong; it
// is never more than the time that has passed.
func cost(from, to instant) time.Duration {
	passed, worked := to.mono-from.mono, to.cpu-from.cpu
	if worked < 0 || worked > passed {
		worked = passed
	}
	return time.Duration(worked)
}

// nextScan is the time until the next scan, after one that took as long as given.
func (s *session) nextScan(took time.Duration) time.Duration {
	if s.kernel {
		return rest(rescanEvery, took)
	}
	return rest(s.scanIn, took)
}
