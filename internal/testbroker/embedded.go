package testbroker

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/amoskys/amoskys/streams/embedded"
	"github.com/twmb/franz-go/pkg/kfake"
)

// StartEmbedded gives the test kfake: one or three brokers in the test's own process. It starts at once and cannot be
// killed. Stop closes and Restart opens the whole of it, whichever broker is named: kfake has no single broker to stop.
// TLS works; ACLs are not checked, because kfake knows principals of SASL only.
func StartEmbedded(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	c, err := newEmbedded(o)
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

func newEmbedded(o Options) (*Cluster, error) {
	ports, err := freePorts(o.Brokers)
	if err != nil {
		return nil, err
	}
	e := &fakeNodes{dir: o.Dir, opts: []kfake.Opt{
		kfake.NumBrokers(o.Brokers), kfake.Ports(ports...), kfake.DataDir(o.Dir),
		kfake.DefaultNumPartitions(4),
	}}
	e.opts = append(e.opts, kfake.WithLogger(kfake.BasicLogger(&e.logged, kfake.LogLevelWarn)), kfake.BrokerConfigs(map[string]string{
		"group.consumer.session.timeout.ms":    millis(o.GroupSession),
		"group.consumer.heartbeat.interval.ms": millis(o.GroupSession / 60), // of its own process: costs nothing
		"log.cleaner.backoff.ms":               "31536000000",               // it compacts past open transactions: never by itself
	}))
	c := &Cluster{kind: "kfake", nodes: e}
	if o.TLS {
		if c.certs, err = newAuthority(o.Dir + "-certs"); err != nil {
			return nil, err
		}
		conf, err := c.certs.server()
		if err != nil {
			return nil, err
		}
		e.opts = append(e.opts, kfake.TLS(conf))
	}
	for _, p := range ports {
		c.addrs = append(c.addrs, net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
	}
	return c, e.start(context.Background(), 0)
}

// fakeNodes run kfake.
type fakeNodes struct {
	dir    string
	opts   []kfake.Opt
	logged lockedLog

	mu sync.Mutex
	c  *kfake.Cluster // nil while stopped
}

func (e *fakeNodes) start(context.Context, int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.c != nil {
		return nil
	}
	if err := embedded.ForgetMembers(e.dir); err != nil {
		return err
	}
	c, err := kfake.NewCluster(e.opts...)
	if err != nil {
		return fmt.Errorf("start kfake: %w", err)
	}
	e.c = c
	return nil
}

func (e *fakeNodes) stop(context.Context, int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.c != nil {
		e.c.Close()
		e.c = nil
	}
	return nil
}

func (e *fakeNodes) kill(context.Context, int) error   { return errNotHere }
func (e *fakeNodes) freeze(context.Context, int) error { return errNotHere }
func (e *fakeNodes) thaw(context.Context, int) error   { return errNotHere }
func (e *fakeNodes) exited(int) error                  { return nil }
func (e *fakeNodes) log(int) string                    { return e.logged.String() }
func (e *fakeNodes) close()                            { _ = e.stop(context.Background(), 0) }
