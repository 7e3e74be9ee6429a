package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/amoskys/amoskys/internal/config"
	"github.com/amoskys/amoskys/processors"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/spf13/cobra"
)

// stopTimeout bounds what is done after the user asked to stop.
const stopTimeout = 10 * time.Second

// upOptions are how an `up` is run.
type upOptions struct {
	quiet bool   // print no alerts: somebody else does
	ready func() // called once everything runs
}

func (c *command) up() *cobra.Command {
	return &cobra.Command{
		Use: "up", Short: "Run everything in one process: broker, collectors, the chain, sinks", Args: exactly(cobra.NoArgs),
		Long: `Runs everything in one process: an embedded broker (or the one that --brokers names), the collectors that this machine
allows, the chain of processors, and the sinks. Says where data lies, what is collected and what is not and why, and prints
alerts as they come. Ctrl-C stops it cleanly; the next start goes on where it stopped.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := c.runUp(cmd.Context(), upOptions{})
			if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
				return nil // asked to stop while it started
			}
			return err
		},
	}
}

func (c *command) runUp(ctx context.Context, o upOptions) (err error) {
	if err := c.load(); err != nil {
		return err
	}
	c.quiet()
	suite := processors.Suite(c.cfg.Processors)
	stages, err := stagesOf(suite, "fused")
	if err != nil {
		return err
	}
	if err := c.makeDirs("broker", "spool", "locks", "alerts", "audit"); err != nil {
		return err
	}
	ops := newOpsServer()
	if err := c.portsFree(); err != nil {
		return err
	}
	c.creates = true
	p, err := c.open(ctx, ops, c.path("broker"), changelogs(stages)...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	registry, err := c.serveRegistry(ctx, p)
	if err != nil {
		return err
	}
	listen := ""
	if c.cfg.Listen != "" {
		if listen, err = ops.listen(ctx, "listen", c.cfg.Listen); err != nil {
			return err
		}
	}
	rec, err := c.recorder(ctx, p)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, rec.close)
	if err := rec.started(ctx, "up", map[string]string{"data_dir": c.cfg.DataDir}, p.created); err != nil {
		return err
	}
	remove, err := c.announce(running{os.Getpid(), p.kafka.Brokers, registry, listen})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	c.banner(p, registry, listen)

	// Two groups: collectors stop first, so that what they have is still processed and delivered.
	app := c.app(p, ops, stages, suite)
	g, sources := newGroup(ctx), newGroup(ctx)
	defer func() { sources.end(); g.end() }() // where the start fails half-way, before the place is closed
	g.run("engine", app.Run)
	if p.broker != nil {
		g.run("broker", func(ctx context.Context) error { c.trim(ctx, p.broker, app); return nil })
		g.run("broker", func(ctx context.Context) error { return brokerFailure(ctx, p) })
	}
	cs, err := c.startCollectors(sources, p, ops, enabledCollectors(c.cfg.Collectors))
	if err != nil {
		return err
	}
	if err := c.startSinks(g, p, ops, []string{"file", "audit"}); err != nil {
		return err
	}
	c.coverageLines(cs)
	w := &watch{c: c, p: p, quiet: o.quiet, warmup: newWarmup(c.cfg.Processors.Ensemble.StartsNeeded())}
	ops.registry("warmup").MustRegister(w.warmup)
	g.run("watch", w.run)
	if o.ready != nil {
		o.ready()
	}
	select {
	case <-ctx.Done():
	case <-g.ctx.Done():
	case <-sources.ctx.Done():
	}
	if ctx.Err() != nil && !o.quiet {
		c.say("stopping: collectors first, then the chain; a second interrupt ends at once")
	}
	sources.cancel(errFinished)
	err = sources.wait(ctx)
	g.cancel(errFinished)
	err = errors.Join(err, g.wait(ctx))
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(err, rec.write(stop, "stop", "up", err))
}

// portsFree checks every address that is about to be listened on, so that a port in use is told before anything starts,
// with the key that sets it.
func (c *command) portsFree() error {
	var errs []error
	addresses := []struct{ key, address string }{{"listen", c.cfg.Listen}, {"registry.listen", c.cfg.Registry.Listen}}
	if len(c.cfg.Kafka.Brokers) == 0 {
		addresses = append(addresses, struct{ key, address string }{"broker.listen", c.cfg.Broker.Listen})
	}
	for _, a := range addresses {
		if a.address == "" {
			continue
		}
		l, err := net.Listen("tcp", a.address)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen on %s: %w; set another address with key %s", a.address, err, a.key))
			continue
		}
		l.Close()
	}
	return errors.Join(errs...)
}

func brokerFailure(ctx context.Context, p *place) error {
	select {
	case err := <-p.broker.Err():
		return err
	case <-ctx.Done():
		return nil
	}
}

func (c *command) banner(p *place, registry, listen string) {
	c.say("amoskys %s (%.12s)", Version, commit())
	c.say("  data         %s", c.cfg.DataDir)
	kind := "Apache Kafka"
	if p.broker != nil {
		kind = fmt.Sprintf("embedded broker, log capped at %s", size(c.cfg.Broker.MaxBytes))
	}
	c.say("  brokers      %s (%s)", strings.Join(p.kafka.Brokers, ","), kind)
	if registry == "" {
		registry = config.Redact(c.cfg.Registry.URL)
	}
	c.say("  schemas      %s", registry)
	if listen != "" {
		c.say("  metrics      http://%s/metrics   health http://%s/readyz", listen, listen)
	}
	c.say("  alerts       topic %s, files in %s", schemas.AlertsTopic.Name, c.path("alerts"))
}

// coverageLines says what is collected, and what is not and why.
func (c *command) coverageLines(cs []streams.Collector) {
	c.say("collected on this machine:")
	for _, x := range cs {
		for _, k := range x.Capabilities() {
			switch {
			case k.Variant == "":
				c.say("  no   %-22s %s: %s", k.Name, x.Name(), k.Reason)
			case k.Reason != "":
				c.say("  part %-22s %s by %s: %s", k.Name, x.Name(), k.Variant, k.Reason)
			default:
				c.say("  yes  %-22s %s by %s", k.Name, x.Name(), k.Variant)
			}
		}
	}
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
