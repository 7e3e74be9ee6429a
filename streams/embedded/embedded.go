// Package embedded runs franz-go's kfake as a broker with a data directory, in this process, behind guards against what it
// is known to do wrong as a store (docs/adr/0007-broker.md):
//
//   - Whoever writes transactions uses a fresh transactional id after every start (streams.App.FreshIDs).
//   - Compaction and deletion happen only in Trim, at a commit barrier with no transaction open, and behind a copy of what
//     is compacted: kfake deletes segments before it writes the new ones.
//   - Producers stamp ingest time, since LogAppendTime is ignored.
//   - Members of groups join anew after each start (ForgetMembers): those it leaves out keep their partitions.
//   - One process per directory, by a lock. The log has a size cap, and memory and disk are checked at start.
//
// It is one node without replication: for one machine, demonstrations and tests.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amoskys/amoskys/streams"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Config are the settings of a Broker.
type Config struct {
	// Dir holds the log. Empty: a temporary directory that Close removes.
	Dir string
	// Listen is host:port; port 0 takes a free one. Default: 127.0.0.1:0.
	Listen string
	// MaxBytes is the size cap of the log, bytes. Default: 4 GiB.
	MaxBytes int64
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// A Broker is a running embedded broker.
type Broker struct {
	c       Config
	log     *slog.Logger
	dir     string
	temp    bool
	lock    io.Closer
	cluster *kfake.Cluster
	failed  chan error
	clean   atomic.Int64 // size of the tables after they were last compacted, bytes
	stop    context.CancelFunc
	watch   sync.WaitGroup
	close   sync.Once
}

// brokerSettings keep kfake from doing anything by itself, and make groups notice a dead member within seconds.
func brokerSettings(segment int64) map[string]string {
	return map[string]string{
		"log.cleaner.backoff.ms":            strconv.FormatInt((365 * 24 * time.Hour).Milliseconds(), 10),
		"log.segment.bytes":                 strconv.FormatInt(segment, 10), // the disk is freed by whole segments
		"message.max.bytes":                 strconv.Itoa(maxMessage),
		"group.consumer.session.timeout.ms": "10000", "group.consumer.min.session.timeout.ms": "1000",
		"group.consumer.heartbeat.interval.ms": "1000", "group.consumer.min.heartbeat.interval.ms": "500",
	}
}

const maxMessage = 4 << 20

// Start opens the log and listens. It fails if another process has the directory, if the port is in use, or if memory
// or disk would not do.
func Start(ctx context.Context, c Config) (_ *Broker, err error) {
	b := &Broker{c: c, log: c.Logger, dir: c.Dir, failed: make(chan error, 1)}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.c.MaxBytes == 0 {
		b.c.MaxBytes = 4 << 30
	}
	if b.c.Listen == "" {
		b.c.Listen = "127.0.0.1:0"
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start embedded broker: %w", err), b.release())
		}
	}()
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "amoskys-broker-"); err != nil {
			return nil, err
		}
		b.temp = true
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, err
	}
	if b.lock, err = streams.LockFile(filepath.Join(b.dir, "lock")); errors.Is(err, streams.ErrFileLocked) {
		return nil, fmt.Errorf("directory %s: %w: %w", b.dir, ErrInUse, err)
	} else if err != nil {
		return nil, err
	}
	if err := writable(b.dir); err != nil {
		return nil, err
	}
	if err := recoverCopy(b.dir, b.log); err != nil {
		return nil, err
	}
	if err := ForgetMembers(b.dir); err != nil {
		return nil, err
	}
	b.clean.Store(loadClean(b.dir))
	size, err := dirSize(b.dir)
	if err != nil {
		return nil, err
	}
	if err := roomFor(size, b.dir, b.log); err != nil {
		return nil, err
	}
	return b, b.open(ctx)
}

func (b *Broker) open(ctx context.Context) error {
	host, port, err := net.SplitHostPort(b.c.Listen)
	if err != nil {
		return fmt.Errorf("address %q: %w", b.c.Listen, err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	_, taken, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(taken)
	if err != nil {
		return err
	}
	used := false
	listen := func(network, address string) (net.Listener, error) {
		if used { // it asks again only for a node that is added, which does not happen
			return net.Listen(network, address)
		}
		used = true
		return l, nil
	}
	began := time.Now()
	segment := max(1<<20, b.c.MaxBytes/256)
	b.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(n), kfake.ListenFn(listen), kfake.DataDir(b.dir), kfake.BrokerConfigs(brokerSettings(segment)),
		kfake.GroupMinSessionTimeout(time.Second), kfake.WithLogger(logger{b.log}))
	if err != nil {
		l.Close()
		return err
	}
	b.log.Info("embedded broker", "address", l.Addr().String(), "dir", b.dir, "opened_in", time.Since(began).Round(time.Millisecond))
	if b.c.Metrics != nil {
		g := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "amoskys_broker_log_bytes", Help: "Size of the embedded broker's log on disk."}, func() float64 { return float64(b.Size()) })
		if err := b.c.Metrics.Register(g); err != nil {
			return err
		}
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.stop = stop
	b.watch.Go(func() { b.watchDisk(run, 2*time.Second, freeDisk) })
	return nil
}

// Brokers are the addresses to connect to.
func (b *Broker) Brokers() []string { return b.cluster.ListenAddrs() }

// Err tells what makes the broker unusable while it runs: at most one error.
func (b *Broker) Err() <-chan error { return b.failed }

// Size is the size of the log on disk, bytes.
func (b *Broker) Size() int64 {
	n, err := dirSize(b.dir)
	if err != nil {
		b.log.Warn("size of the log is not known", "err", err)
	}
	return n
}

// Close writes what is open and stops the broker.
func (b *Broker) Close() error {
	var err error
	b.close.Do(func() {
		if b.stop != nil {
			b.stop()
			b.watch.Wait()
		}
		if b.cluster != nil {
			b.cluster.Close()
		}
		err = b.release()
	})
	return err
}

func (b *Broker) release() error {
	var errs []error
	if b.lock != nil {
		errs = append(errs, b.lock.Close())
		b.lock = nil
	}
	if b.temp {
		errs = append(errs, os.RemoveAll(b.dir))
		b.temp = false
	}
	return errors.Join(errs...)
}

// writable says whether the directory takes a file now: a read-only or full disk is better known before than after.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".write-*")
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, "test")
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// dirSize is what the files of a data directory take on the disk. The copy of tables that are compacted has links: what is
// still in its place is not counted again.
func dirSize(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return nil // trimmed meanwhile
			}
			return err
		}
		if i, err := d.Info(); err == nil && i.Mode().IsRegular() && !linked(dir, path, i) {
			n += i.Size()
		}
		return nil
	})
	return n, err
}

// linked says whether a file of the copy is the file that it is a copy of.
func linked(dir, path string, i os.FileInfo) bool {
	rel, err := filepath.Rel(filepath.Join(dir, copyDir), path)
	if err != nil || !filepath.IsLocal(rel) {
		return false
	}
	original, err := os.Stat(filepath.Join(dir, rel))
	return err == nil && os.SameFile(original, i)
}

// logger gives kfake's words to slog.
type logger struct{ log *slog.Logger }

// Logf implements kfake.Logger.
func (l logger) Logf(level kfake.LogLevel, f string, v ...any) {
	switch level {
	case kfake.LogLevelError:
		l.log.Error(fmt.Sprintf("broker: "+f, v...))
	case kfake.LogLevelWarn:
		if strings.Contains(f, "slow") { // a remark on its own speed
			return
		}
		l.log.Warn(fmt.Sprintf("broker: "+f, v...))
	}
}
