package testbroker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Options say what cluster is wanted. The zero value is one broker without TLS.
type Options struct {
	Brokers int // 1 or 3; 0 is 1. Three replicate every topic threefold, with two in-sync replicas required.

	// TLS asks for mutual TLS on every listener and for the StandardAuthorizer: only Admin may do anything until ACLs say
	// otherwise. Cluster.TLS and Cluster.Files give the certificate of a role.
	TLS bool

	GroupSession       time.Duration // after which a silent group member loses its partitions; 0 is 6 s
	BrokerSession      time.Duration // after which a silent broker loses its leaderships; 0 is 9 s: less makes few cores flap
	TransactionCleanup time.Duration // how often transactions past their timeout are aborted; 0 is 1 s

	Settings map[string]string // further broker settings; they win over the package's own
	Dir      string            // where data, logs and certificates go; empty: the test's temporary directory
}

// Admin is the role that every ACL lets pass: the super user of a cluster with TLS.
const Admin = "admin"

var errNotHere = errors.New("not possible with this kind of broker")

// A Cluster is a running Kafka cluster. Its methods may be called from several goroutines, but not two at a time for the
// same broker.
type Cluster struct {
	kind  string
	addrs []string
	certs *authority // nil without TLS
	nodes nodes
}

// nodes is one way to run brokers. Brokers count from 0.
type nodes interface {
	start(ctx context.Context, i int) error // start again what was killed or stopped
	kill(ctx context.Context, i int) error
	stop(ctx context.Context, i int) error
	freeze(ctx context.Context, i int) error
	thaw(ctx context.Context, i int) error
	exited(i int) error // why the broker ended by itself; nil while it runs
	log(i int) string   // all that the broker wrote so far
	close()
}

// foreign is a cluster that this package did not start and must not disturb.
type foreign struct{}

func (foreign) start(context.Context, int) error  { return errNotHere }
func (foreign) kill(context.Context, int) error   { return errNotHere }
func (foreign) stop(context.Context, int) error   { return errNotHere }
func (foreign) freeze(context.Context, int) error { return errNotHere }
func (foreign) thaw(context.Context, int) error   { return errNotHere }
func (foreign) exited(int) error                  { return nil }
func (foreign) log(int) string                    { return "" }
func (foreign) close()                            {}

// Start gives the test a cluster of real brokers, or skips the test when none can be had.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir() // before the Cleanup below, so that it is removed after the brokers have ended
	}
	c, err := New(context.Background(), o)
	given := os.Getenv("AMOSKYS_BROKERS") != "" // and the test needs a cluster of its own
	if errors.Is(err, ErrUnavailable) && (given || os.Getenv("AMOSKYS_REQUIRE_KAFKA") == "") {
		t.Skipf("no Apache Kafka: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.printLogs(t)
		}
		c.Close()
	})
	return c
}

// Each runs body twice as subtests, on kfake and on one broker of Apache Kafka. The second is left out in -short runs.
func Each(t *testing.T, body func(t *testing.T, c *Cluster)) {
	t.Helper()
	t.Run("kfake", func(t *testing.T) { body(t, StartEmbedded(t, Options{})) })
	t.Run("kafka", func(t *testing.T) {
		if testing.Short() {
			t.Skip("a real broker takes seconds to start")
		}
		body(t, Start(t, Options{}))
	})
}

// New starts a cluster outside a test, in o.Dir, which must be given. It returns an error that wraps ErrUnavailable when
// this machine has no means to run a broker. The caller closes the cluster.
func New(ctx context.Context, o Options) (*Cluster, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if given := os.Getenv("AMOSKYS_BROKERS"); given != "" {
		return useGiven(ctx, given, o)
	}
	var certs *authority
	if o.TLS {
		var err error
		if certs, err = newAuthority(filepath.Join(o.Dir, "certs")); err != nil {
			return nil, err
		}
	}
	var unavailable []error
	for _, source := range []struct {
		kind  string
		start func(context.Context, Options, *authority) (nodes, []string, error)
	}{{"containers", startContainers}, {"processes", startProcesses}} {
		if want := os.Getenv("AMOSKYS_TEST_BROKER"); want != "" && want != source.kind {
			continue
		}
		n, addrs, err := source.start(ctx, o, certs)
		if errors.Is(err, ErrUnavailable) {
			unavailable = append(unavailable, fmt.Errorf("%s: %w", source.kind, err))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("start kafka in %s: %w", source.kind, err)
		}
		c := &Cluster{kind: source.kind, addrs: addrs, certs: certs, nodes: n}
		if err := c.waitAll(ctx); err != nil {
			err = fmt.Errorf("%w\n%s", err, c.logs())
			c.Close()
			return nil, err
		}
		return c, nil
	}
	if unavailable == nil {
		return nil, fmt.Errorf("AMOSKYS_TEST_BROKER is %q: want containers or processes", os.Getenv("AMOSKYS_TEST_BROKER"))
	}
	return nil, errors.Join(unavailable...)
}

// ErrUnavailable is returned when this machine has neither a Docker engine nor Java to run a broker with.
var ErrUnavailable = errors.New("unavailable")

func useGiven(ctx context.Context, given string, o Options) (*Cluster, error) {
	if o.TLS || o.Brokers > 1 {
		return nil, fmt.Errorf("%w: AMOSKYS_BROKERS is used as it is, and this test needs its own cluster (%d brokers, TLS %v)", ErrUnavailable, o.Brokers, o.TLS)
	}
	c := &Cluster{kind: "given", addrs: strings.Split(given, ","), nodes: foreign{}}
	for i := range c.addrs {
		if err := c.wait(ctx, i, nil); err != nil { // it may be known to its clients by other names
			return nil, fmt.Errorf("use AMOSKYS_BROKERS: %w", err)
		}
	}
	return c, nil
}

func (o *Options) complete() error {
	if o.Brokers == 0 {
		o.Brokers = 1
	}
	if o.Brokers != 1 && o.Brokers != 3 {
		return fmt.Errorf("%d brokers: want 1 or 3", o.Brokers)
	}
	if o.Dir == "" {
		return errors.New("options of a broker: Dir is empty")
	}
	for _, d := range []struct {
		have *time.Duration
		want time.Duration
	}{{&o.GroupSession, 6 * time.Second}, {&o.BrokerSession, 9 * time.Second}, {&o.TransactionCleanup, time.Second}} {
		if *d.have == 0 {
			*d.have = d.want
		}
	}
	return nil
}

// Addrs returns host:port of every broker, in the order of their numbers.
func (c *Cluster) Addrs() []string { return slices.Clone(c.addrs) }

// Kind says what runs the brokers: kfake, containers, processes or given.
func (c *Cluster) Kind() string { return c.kind }

// Killable reports whether Kill, Freeze and Thaw work: not on kfake, which lives in the test's own process, and not on a
// cluster that was given.
func (c *Cluster) Killable() bool {
	return c.kind == "containers" || c.kind == "processes"
}

// Kill ends broker i with SIGKILL.
func (c *Cluster) Kill(i int) error { return c.do("kill", i, nodes.kill) }

// Stop ends broker i in order (SIGTERM) and waits until it is gone.
func (c *Cluster) Stop(i int) error { return c.do("stop", i, nodes.stop) }

// Freeze stops broker i from running (SIGSTOP) while it keeps its connections, as a long pause of a virtual machine does.
func (c *Cluster) Freeze(i int) error { return c.do("freeze", i, nodes.freeze) }

// Thaw lets broker i go on after Freeze.
func (c *Cluster) Thaw(i int) error { return c.do("thaw", i, nodes.thaw) }

// Restart starts broker i again at its old address with its old data, ending it in order first if it still runs, and
// waits until it answers.
func (c *Cluster) Restart(i int) error {
	if err := c.Stop(i); err != nil {
		return err
	}
	if err := c.do("start", i, nodes.start); err != nil {
		return err
	}
	return c.wait(context.Background(), i, c.addrs[i:i+1])
}

func (c *Cluster) do(what string, i int, f func(nodes, context.Context, int) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := f(c.nodes, ctx, i); err != nil {
		return fmt.Errorf("%s broker %d: %w", what, i, err)
	}
	return nil
}

// TLS returns the client settings of a role, with a certificate issued for it on first use; nil on a cluster without TLS.
func (c *Cluster) TLS(role string) (*tls.Config, error) {
	if c.certs == nil {
		return nil, nil
	}
	return c.certs.client(role)
}

// Files returns the PEM files a program needs to be that role: the authority's certificate, the role's certificate and
// its key. They are empty on a cluster without TLS.
func (c *Cluster) Files(role string) (ca, cert, key string, err error) {
	if c.certs == nil {
		return "", "", "", nil
	}
	return c.certs.files(role)
}

// Close ends all brokers.
func (c *Cluster) Close() { c.nodes.close() }

func (c *Cluster) printLogs(t testing.TB) {
	if s := c.logs(); s != "" {
		t.Log(s)
	}
}

func (c *Cluster) logs() string {
	var b strings.Builder
	for i := range c.addrs {
		if s := worth(c.nodes.log(i)); s != "" {
			fmt.Fprintf(&b, "broker %d (%s) logged:\n%s\n", i, c.addrs[i], s)
		}
	}
	return b.String()
}
