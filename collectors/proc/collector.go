package proc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Config are the settings.
type Config struct {
	Enabled bool `yaml:"enabled"`
	// Interval is the time between two scans for processes while there is no process connector.
	Interval time.Duration `yaml:"interval"`
	// SocketInterval is the time between two scans for sockets.
	SocketInterval time.Duration `yaml:"socket_interval"`
	// Connector uses the process connector where it can be had.
	Connector bool `yaml:"connector"`
	// Masks are regular expressions whose first group is masked in arguments.
	Masks []string `yaml:"masks"`
	// Root is the proc file system to read: another one in a container that sees its host's.
	Root string `yaml:"root"`
}

// Defaults are the settings that hold where none are given.
func Defaults() Config {
	return Config{Enabled: true, Interval: 500 * time.Millisecond, SocketInterval: 2 * time.Second, Connector: true, Masks: DefaultMasks, Root: "/proc"}
}

// Validate reports everything that is wrong, each as a streams.SettingError.
func (c Config) Validate() error {
	var errs []error
	bad := func(key string, value any, want string) {
		errs = append(errs, &streams.SettingError{Key: "proc." + key, Value: fmt.Sprint(value), Want: want})
	}
	for key, d := range map[string]time.Duration{"interval": c.Interval, "socket_interval": c.SocketInterval} {
		if d < 50*time.Millisecond || d > time.Minute {
			bad(key, d, "a duration of 50ms to 1m")
		}
	}
	if !filepath.IsAbs(c.Root) {
		bad("root", c.Root, "an absolute path")
	}
	for _, m := range c.Masks {
		if _, err := newMasker([]string{m}); err != nil {
			bad("masks", m, "regular expressions: "+err.Error())
		}
	}
	return errors.Join(errs...)
}

// A Collector collects from /proc. It implements streams.Collector.
type Collector struct {
	cfg Config
	m   *machine
	log *slog.Logger
	now func() time.Time

	out     streams.Appender
	events  []schemas.Event
	known   map[int64]known
	sockets map[uint64]bool // inodes of sockets that were told
	scans   int64
	connErr error // why there is no process connector
}

// known is a process that was told.
type known struct {
	start int64
	comm  string
	proc  schemas.Process
	scan  int64 // when it was first seen
}

// New returns a collector.
func New(cfg Config, log *slog.Logger) (*Collector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	mask, err := newMasker(cfg.Masks)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(cfg.Root, "stat"))
	if err != nil {
		return nil, fmt.Errorf("read the boot time: %w", err)
	}
	btime, err := parseBootTime(b)
	if err != nil {
		return nil, fmt.Errorf("read the boot time from %s/stat: %w", cfg.Root, err)
	}
	c := &Collector{cfg: cfg, log: log, now: time.Now, known: map[int64]known{}, sockets: map[uint64]bool{}}
	c.m = &machine{root: cfg.Root, host: HostID(), boot: BootID(cfg.Root), btime: btime * 1e9, users: readUsers("/etc/passwd"), hashes: newHashes(), mask: mask}
	if cfg.Connector {
		c.connErr = connectorProbe()
	} else {
		c.connErr = errors.New("switched off by key proc.connector")
	}
	return c, nil
}

// HostID is a stable id of this machine: a hash of /etc/machine-id, which must not be shown itself (machine-id(5)), or the
// host name.
func HostID() string {
	for _, f := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if b, err := os.ReadFile(f); err == nil && len(strings.TrimSpace(string(b))) >= 16 {
			h := sha256.Sum256([]byte("amoskys host " + strings.TrimSpace(string(b))))
			return hex.EncodeToString(h[:8])
		}
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// BootID is the id of this boot.
func BootID(root string) string {
	b, err := os.ReadFile(filepath.Join(root, "sys/kernel/random/boot_id"))
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// Name implements streams.Collector.
func (c *Collector) Name() string { return "proc" }

// Capabilities implements streams.Collector.
func (c *Collector) Capabilities() []streams.Capability {
	exec := streams.Capability{Name: "process.exec", Variant: "netlink"}
	if c.connErr != nil {
		exec = streams.Capability{Name: "process.exec", Variant: "procfs",
			Reason: fmt.Sprintf("processes that live for less than %s are missed: no process connector: %v", c.cfg.Interval, c.connErr)}
	}
	exit := exec
	exit.Name = "process.exit"
	net := streams.Capability{Name: "network.connection", Variant: "procfs", Reason: fmt.Sprintf("connections that live for less than %s are missed", c.cfg.SocketInterval)}
	if os.Geteuid() != 0 {
		net.Reason += "; without root, sockets of other users have no process"
	}
	return []streams.Capability{exec, exit, net,
		{Name: "file.activity", Reason: "needs the eBPF sensor"}, {Name: "memory.activity", Reason: "needs the eBPF sensor"}, {Name: "dns.activity", Reason: "needs the eBPF sensor"}}
}

// safetyScan is the time between two scans while the process connector tells of processes: it may have lost some.
const safetyScan = 10 * time.Second

// Collect implements streams.Collector.
func (c *Collector) Collect(ctx context.Context, out streams.Appender) error {
	c.out = out
	interval := c.cfg.Interval
	kernel, stop, err := c.connect(ctx) // before the first scan: nothing that starts meanwhile is missed
	if err != nil {
		c.log.Warn("process connector cannot be used: polling", "err", err)
		c.connErr = err
	} else if kernel != nil {
		defer stop()
		interval = safetyScan
	}
	if err := c.scan(ctx, true); err != nil {
		return err
	}
	scans, sockets := time.NewTicker(interval), time.NewTicker(c.cfg.SocketInterval)
	defer scans.Stop()
	defer sockets.Stop()
	if err := c.scanSockets(ctx); err != nil {
		return err
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case e := <-kernel:
			err = c.kernelEvents(ctx, e, kernel)
		case <-scans.C:
			err = c.scan(ctx, false)
		case <-sockets.C:
			err = c.scanSockets(ctx)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// Reading a process's stat costs more than all else of a scan. So a process that was seen several times is looked at only
// in every tenth scan: in between, its id is taken for it. What that may delay is the notice that a long-lived process runs
// another program, or that its id was used again within a scan.
const (
	verifyEvery = 10
	youngScans  = 6
)

// scan tells what started and what ended since the last scan.
func (c *Collector) scan(ctx context.Context, first bool) error {
	pids, err := c.m.pids()
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	alive := make(map[int64]bool, len(pids))
	slices.Sort(pids) // parents mostly before their children
	c.scans++
	for _, pid := range pids {
		if k, ok := c.known[pid]; ok && c.scans-k.scan > youngScans && (pid+c.scans)%verifyEvery != 0 {
			alive[pid] = true
			continue
		}
		s, err := c.m.stat(pid)
		if err != nil {
			continue // it has ended
		}
		alive[pid] = true
		k, ok := c.known[pid]
		switch {
		case ok && k.start == s.start && k.comm == s.comm:
			continue
		case ok && k.start != s.start:
			c.exit(pid, k, 0, 0)
		}
		c.exec(s, first, 0)
	}
	for _, pid := range sortedKeys(c.known) {
		if !alive[pid] {
			c.exit(pid, c.known[pid], 0, 0)
		}
	}
	return c.flush(ctx)
}

func sortedKeys(m map[int64]known) []int64 {
	out := make([]int64, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// exec tells that a program was started, or found running. at is when the kernel said so, nanoseconds; 0: it did not.
func (c *Collector) exec(s stat, snapshot bool, at int64) {
	p := c.m.read(s)
	if p.kernel {
		c.known[s.pid] = known{s.start, s.comm, p.Process, c.scans}
		return
	}
	if at == 0 {
		at = c.now().UnixNano()
		if _, again := c.known[s.pid]; !snapshot && !again && p.CreatedTime <= at && at-p.CreatedTime < 2*int64(max(c.cfg.Interval, safetyScan)) {
			at = p.CreatedTime // it started between two scans: its own time is better than the scan's
		}
	}
	e := &schemas.ProcessExec{Envelope: envelope(at, 1007, 1, 0), Process: p.Process, Args: p.args, ArgsTruncated: p.truncated, Deleted: p.deleted, Memfd: p.mem,
		Snapshot: snapshot, SessionID: s.session, TTY: terminal(s.tty)}
	e.Parent = schemas.Process{PID: s.ppid}
	if k, ok := c.known[s.ppid]; ok {
		e.Parent = k.proc
		e.Parent.CmdLine = ""
	}
	c.known[s.pid] = known{s.start, s.comm, p.Process, c.scans}
	c.events = append(c.events, e)
}

// vanished tells of a program that the kernel says was started, and that ended before anything of it could be read.
func (c *Collector) vanished(pid, at int64) {
	e := &schemas.ProcessExec{Envelope: envelope(at, 1007, 1, 0), Process: schemas.Process{PID: pid, CreatedTime: at}}
	if k, ok := c.known[pid]; ok { // it was forked before: what it was then is known
		e.Process = k.proc
		e.Process.Path, e.Process.Name, e.Process.SHA256 = "", "", ""
	}
	if e.Process.UID == "" {
		e.Process.UID = c.m.uid(pid, at/tick)
	}
	c.events = append(c.events, e)
	c.known[pid] = known{start: -1, proc: e.Process, scan: c.scans}
}

func (c *Collector) exit(pid int64, k known, code int32, at int64) {
	delete(c.known, pid)
	if k.proc.UID == "" || k.proc.Path == "" && k.start != -1 && k.proc.UserUID == "" {
		return // a thread of the kernel
	}
	if at == 0 {
		at = c.now().UnixNano()
	}
	e := &schemas.ProcessExit{Envelope: envelope(at, 1007, 2, 0), Process: k.proc, ExitCode: code >> 8 & 0xff, Signal: code & 0x7f}
	c.events = append(c.events, e)
}

func envelope(at int64, class, activity, priority int32) schemas.Envelope {
	return schemas.Envelope{Time: at, ClassUID: class, ActivityID: activity, Priority: priority}
}

// terminal names a controlling terminal by its device number, as ps does for the common ones.
func terminal(tty int64) string {
	major, minor := tty>>8&0xfff, tty&0xff|tty>>12&0xfff00
	switch {
	case tty == 0:
		return ""
	case major >= 136 && major <= 143:
		return fmt.Sprintf("pts/%d", (major-136)*256+minor)
	case major == 4 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	case major == 4:
		return fmt.Sprintf("ttyS%d", minor-64)
	}
	return fmt.Sprintf("%d:%d", major, minor)
}

func (c *Collector) flush(ctx context.Context) error {
	if len(c.events) == 0 {
		return nil
	}
	err := c.out.Append(ctx, c.events...)
	clear(c.events)
	c.events = c.events[:0]
	return err
}
