package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/embedded"
	"github.com/amoskys/amoskys/streams/registry"
)

// place is where records lie: the embedded broker or Apache Kafka, with its schema registry. Everything that a role opens
// hangs on it and is closed with it, in reverse order.
type place struct {
	kafka    streams.Kafka
	registry schemas.Registry
	serde    *schemas.Serde
	broker   *embedded.Broker // nil on Apache Kafka
	server   *registry.Server // nil with an external registry
	created  []string         // topics that were made at the opening
	closers  []func() error
}

// open connects to the brokers that are configured, or starts the embedded one in dir (empty: a throw-away one).
func (c *command) open(ctx context.Context, ops *opsServer, dir string, topics ...*schemas.Topic) (p *place, err error) {
	p = &place{kafka: c.cfg.Kafka}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if len(p.kafka.Brokers) == 0 {
		if p.broker, err = embedded.Start(ctx, embedded.Config{Dir: dir, Listen: c.brokerListen(dir), MaxBytes: c.cfg.Broker.MaxBytes,
			Logger: c.log, Metrics: ops.registry("broker")}); err != nil {
			return p, err
		}
		p.closers = append(p.closers, p.broker.Close)
		p.kafka.Brokers = p.broker.Brokers()
	}
	ops.check("brokers", func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		return streams.Ping(ctx, p.kafka)
	})
	if c.creates {
		err = c.ensure(ctx, p, topics)
	} else {
		err = c.missing(ctx, p, topics)
	}
	if err != nil {
		return p, err
	}
	if err := c.openRegistry(ctx, p); err != nil {
		return p, err
	}
	p.serde, err = schemas.NewSerde(ctx, p.registry)
	return p, err
}

func (c *command) brokerListen(dir string) string {
	if dir == "" {
		return "127.0.0.1:0" // nobody else needs to find a throw-away broker
	}
	return c.cfg.Broker.Listen
}

func (c *command) openRegistry(ctx context.Context, p *place) (err error) {
	if c.cfg.Registry.URL != "" {
		p.registry, err = registry.NewClient(c.cfg.Registry.URL)
		return err
	}
	if p.server, err = registry.NewServer(ctx, p.kafka, registry.Config{Logger: c.log}); err != nil {
		return fmt.Errorf("open the embedded schema registry: %w", err)
	}
	p.closers = append(p.closers, p.server.Close)
	p.registry = p.server
	return nil
}

// ensure creates the declared topics, and those given, as far as they do not exist.
func (c *command) ensure(ctx context.Context, p *place, more []*schemas.Topic) error {
	replication := c.cfg.Topics.Replication
	if p.broker != nil {
		replication = 1
	}
	created, err := streams.EnsureTopics(ctx, p.kafka, append(schemas.Topics(), more...), c.cfg.Topics.Partitions, int16(replication))
	if errors.Is(err, streams.ErrNotAllowed) {
		return fmt.Errorf("%w: as a role that may: amoskys topics create", err)
	}
	if p.created = created; len(created) > 0 {
		c.log.Info("topics created", "topics", created)
	}
	return err
}

// topicPatience is for how long topics that are missing are waited for: another role may be creating them.
const topicPatience = 10 * time.Second

// missing refuses to go on without a topic. It was deleted, or comes with a new version: a role that made it anew without a
// word would hide that what was on it is gone.
func (c *command) missing(ctx context.Context, p *place, more []*schemas.Topic) error {
	all := append(schemas.Topics(), more...)
	if c.cfg.Registry.URL != "" { // it keeps the schemas where it likes
		all = slices.DeleteFunc(all, func(t *schemas.Topic) bool { return t == schemas.SchemasTopic })
	}
	for until := time.Now().Add(topicPatience); ; {
		names, err := streams.MissingTopics(ctx, p.kafka, all)
		if err != nil || len(names) == 0 {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("%w on %s: %s; create with 'amoskys topics create', or let this role do it with --create-topics (key topics.create)",
				streams.ErrTopicMissing, strings.Join(p.kafka.Brokers, ","), strings.Join(names, ", "))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// serveRegistry offers the embedded registry over HTTP, so that any consumer outside resolves schema ids.
func (c *command) serveRegistry(ctx context.Context, p *place) (string, error) {
	if p.server == nil {
		return "", nil
	}
	l, err := net.Listen("tcp", c.cfg.Registry.Listen)
	if err != nil {
		return "", fmt.Errorf("listen on %s (key registry.listen): %w", c.cfg.Registry.Listen, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", p.server)
	serve(ctx, l, mux)
	return "http://" + l.Addr().String(), nil
}

// close closes what was opened, last first.
func (p *place) close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

// app is an App over the place with the settings of this process.
func (c *command) app(p *place, ops *opsServer, stages []streams.Stage, suite []*streams.Processor) *streams.App {
	instance := "" // ids of the embedded broker are new each time
	if p.broker == nil {
		instance = c.instance()
	}
	return &streams.App{
		Name: appName, Version: Version, Stages: stages, Suite: suite, Kafka: p.kafka, Registry: p.registry,
		Workers: c.cfg.Engine.Workers, CommitInterval: c.cfg.Engine.CommitInterval, TxnTimeout: c.cfg.Engine.TxnTimeout, Ticks: true,
		FreshIDs: p.broker != nil, LockDir: c.path("locks"), Instance: instance, SnapshotDir: c.path("snapshots"), SnapshotEvery: c.cfg.Engine.SnapshotEvery,
		Logger: c.log, Metrics: ops.registry("engine"),
	}
}

// instance tells processes on one machine apart that have data directories, and so worker slots, of their own: with the
// same transactional ids they would fence each other for ever. It is made with the data directory and stays.
func (c *command) instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "local"
	}
	path := filepath.Join(c.path("locks"), "instance")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = c.makeDirs("locks"); err == nil {
			err = nameOnce(path)
		}
		if err == nil {
			text, err = os.ReadFile(path)
		}
	}
	if err != nil {
		c.log.Warn("data directory has no name: workers in other data directories on this machine would disturb those here", "err", err)
		return host
	}
	return host + "-" + string(text)
}

// nameOnce writes a random name to a file that does not exist; whoever comes first wins.
func nameOnce(path string) error {
	part := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(part, []byte(strings.ToLower(rand.Text()[:8])), 0o600); err != nil {
		return err
	}
	defer os.Remove(part)
	if err := os.Link(part, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// path is a folder of the data directory.
func (c *command) path(name string) string { return filepath.Join(c.cfg.DataDir, name) }

// makeDirs makes the data directory and folders of it, readable for the owner only: events name what people do.
func (c *command) makeDirs(names ...string) error {
	for _, n := range append([]string{"."}, names...) {
		if err := os.MkdirAll(c.path(n), 0o700); err != nil {
			return fmt.Errorf("make folder of data (key data_dir): %w", err)
		}
	}
	return nil
}

// changelogs are the changelog topics of stages.
func changelogs(stages []streams.Stage) (ts []*schemas.Topic) {
	for _, s := range stages {
		ts = append(ts, schemas.ChangelogTopic(appName, s.Name))
	}
	return ts
}

// trim keeps the embedded log under its cap, at commit barriers. One that did not help is not tried again at once: it takes
// from the workers the time in which they might process what is in its way.
func (c *command) trim(ctx context.Context, b *embedded.Broker, app *streams.App) {
	wait := trimEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = trimEvery
		if !b.TrimDue() {
			continue
		}
		began, before := time.Now(), b.Size()
		err := app.Barrier(ctx, func() error { return b.Trim(ctx) })
		took := time.Since(began).Round(time.Millisecond)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = max(time.Second, 5*took)
			c.log.Error("log is not trimmed", "err", err, "took", took, "next_in", wait)
		default:
			c.log.Info("log trimmed", "before", before, "after", b.Size(), "took", took)
			if b.TrimDue() { // most of it are tables, or what is not processed
				wait = max(time.Second, 5*took)
			}
		}
	}
}

// trimEvery is how often the size of the embedded log is looked at.
const trimEvery = 250 * time.Millisecond

// group runs functions until one fails or ctx ends, and waits for all of them.
type group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   []chan struct{}
}

func newGroup(ctx context.Context) *group {
	ctx, cancel := context.WithCancelCause(ctx)
	return &group{ctx: ctx, cancel: cancel}
}

// errFinished ends a group without an error.
var errFinished = errors.New("finished")

// run starts a function. Its error ends the group; the name says whose it was.
func (g *group) run(name string, f func(context.Context) error) {
	ch := make(chan struct{})
	g.done = append(g.done, ch)
	go func() {
		defer close(ch)
		if err := f(g.ctx); err != nil && g.ctx.Err() == nil {
			g.cancel(fmt.Errorf("%s: %w", name, err))
		}
	}()
}

// end ends a group and waits for what it runs; it may have ended before.
func (g *group) end() {
	g.cancel(errFinished)
	for _, ch := range g.done {
		<-ch
	}
}

// wait waits until the group has ended, and returns the error that ended it; nil if it was asked to end.
func (g *group) wait(parent context.Context) error {
	<-g.ctx.Done()
	for _, ch := range g.done {
		<-ch
	}
	cause := context.Cause(g.ctx)
	if parent.Err() != nil || errors.Is(cause, errFinished) {
		return nil
	}
	return cause
}
