package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/amoskys/amoskys/collectors"
	"github.com/amoskys/amoskys/collectors/proc"
	"github.com/amoskys/amoskys/collectors/spool"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks"
	"github.com/amoskys/amoskys/sinks/audit"
	"github.com/amoskys/amoskys/sinks/stdout"
	"github.com/amoskys/amoskys/streams"
	"github.com/spf13/cobra"
)

func enabledCollectors(c collectors.Config) []collectors.Spec {
	return slices.DeleteFunc(slices.Clone(collectors.Suite), func(s collectors.Spec) bool { return !s.Enabled(c) })
}

// startCollectors runs collectors, each with a spool and a shipper of its own.
func (c *command) startCollectors(g *group, p *place, ops *opsServer, specs []collectors.Spec) (cs []streams.Collector, err error) {
	for _, spec := range specs {
		x, err := spec.New(c.cfg.Collectors, c.log.With("collector", spec.Name))
		if err != nil {
			return nil, fmt.Errorf("start collector %s: %w", spec.Name, err)
		}
		s, err := spool.Open(spool.Config{Dir: c.path("spool/" + spec.Name), Topic: spec.Topic, Limits: c.cfg.Collectors.Spool, Identity: c.identity(spec.Name), Logger: c.log})
		if err != nil {
			return nil, err
		}
		producer, err := streams.NewProducer(g.ctx, p.kafka, streams.ProducerOptions{Serde: p.serde, Logger: c.log})
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		registerSpool(ops.registry("collector_"+spec.Name), s)
		g.run("collector "+spec.Name, func(ctx context.Context) error { return c.runCollector(ctx, x, s, producer) })
		cs = append(cs, x)
	}
	return cs, nil
}

func (c *command) identity(collector string) spool.Identity {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return spool.Identity{Tenant: c.cfg.Tenant, Host: proc.HostID(), Boot: proc.BootID("/proc"), Hostname: host, Platform: runtime.GOOS, Collector: collector, Version: Version}
}

// heartbeat is how often a collector says that it is alive, with its counts.
const heartbeat = time.Minute

// runCollector runs one collector until ctx ends: what it has is spooled, and what is spooled is shipped, for a moment longer.
func (c *command) runCollector(ctx context.Context, x streams.Collector, s *spool.Spool, p *streams.Producer) (err error) {
	defer func() { err = errors.Join(err, p.Close(), s.Close()) }()
	if err := s.Append(ctx, s.StartEvents(x.Capabilities())...); err != nil {
		return err
	}
	shipping, stop := context.WithCancel(context.WithoutCancel(ctx))
	shipped := make(chan error, 1)
	go func() { shipped <- s.Ship(shipping, shipper{p}) }()
	done := make(chan error, 1)
	go func() { done <- x.Collect(ctx, s) }()
	t := time.NewTicker(heartbeat)
	defer t.Stop()
	var failed error
wait:
	for {
		select {
		case failed = <-done:
			break wait
		case <-t.C:
			var own []schemas.Counter
			if k, ok := x.(interface{ Counters() []schemas.Counter }); ok {
				own = k.Counters()
			}
			if err := s.Append(ctx, s.StatusEvent(streams.StatusHeartbeat, "alive", own...)); err != nil {
				c.log.Warn("heartbeat is not spooled", "err", err)
			}
		}
	}
	if failed == nil && ctx.Err() == nil { // the source has ended: go on shipping
		c.log.Info("source has ended", "collector", x.Name())
		<-ctx.Done()
	}
	err = errors.Join(failed, s.Append(context.WithoutCancel(ctx), s.StatusEvent(streams.StatusStop, "stopped")))
	s.Drain(stopTimeout / 4)
	stop()
	return errors.Join(err, <-shipped)
}

// shipper hands spooled records to a producer.
type shipper struct{ p *streams.Producer }

// Ship implements spool.Producer.
func (s shipper) Ship(ctx context.Context, r spool.Record, done func(error)) {
	t, ok := schemas.TopicByName(r.Topic)
	if !ok {
		done(streams.Permanent(fmt.Errorf("topic %s is not declared", r.Topic)))
		return
	}
	v, err := s.p.Frame(r.Schema, r.Body)
	if err != nil {
		done(streams.Permanent(err))
		return
	}
	s.p.Produce(ctx, streams.Outgoing{Topic: t, Key: r.Key, Value: v}, done)
}

func (c *command) collect() *cobra.Command {
	var check bool
	cmd := &cobra.Command{Use: "collect NAME…", Short: "Run collectors against Kafka: proc, file", Args: exactly(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.load(); err != nil {
				return err
			}
			var specs []collectors.Spec
			for _, a := range args {
				s, err := collectors.Find(a)
				if err != nil {
					return usageError{err}
				}
				specs = append(specs, s)
			}
			if check {
				return c.checkCollectors(specs)
			}
			if err := c.makeDirs("spool"); err != nil {
				return err
			}
			return c.role(cmd.Context(), "collect", nil, func(g *group, p *place, ops *opsServer) error {
				cs, err := c.startCollectors(g, p, ops, specs)
				if err == nil {
					c.coverageLines(cs)
				}
				return err
			})
		}}
	cmd.Flags().BoolVar(&check, "check", false, "only say what can be collected here, and what not and why")
	c.keyFlag(cmd, "collectors.file.paths", "paths", "recordings for the file collector")
	c.keyFlag(cmd, "collectors.file.format", "format", "form of the recordings")
	c.keyFlag(cmd, "collectors.file.pace", "pace", "speed of the recordings: 1 as recorded, 0 full speed")
	return c.createFlag(cmd)
}

func (c *command) checkCollectors(specs []collectors.Spec) error {
	for _, s := range specs {
		x, err := s.New(c.cfg.Collectors, c.log)
		if err != nil {
			return err
		}
		if c.output == "json" {
			for _, k := range x.Capabilities() {
				if err := c.json(map[string]string{"collector": s.Name, "capability": k.Name, "variant": k.Variant, "reason": k.Reason}); err != nil {
					return err
				}
			}
			continue
		}
		c.coverageLines([]streams.Collector{x})
	}
	return nil
}

// startSinks runs sinks by their names.
func (c *command) startSinks(g *group, p *place, ops *opsServer, names []string) error {
	if c.cfg.Sinks.Webhook.URL != "" && !slices.Contains(names, "webhook") {
		names = append(names, "webhook")
	}
	for _, name := range names {
		spec, err := sinks.Find(name)
		if err != nil {
			return usageError{err}
		}
		s, err := spec.New(c.cfg.Sinks, sinks.Env{Out: c.Out, JSON: c.output == "json", Colour: terminal(c.Out), AlertsDir: c.path("alerts"), AuditDir: c.path("audit")})
		if err != nil {
			return fmt.Errorf("start sink %s: %w", name, err)
		}
		r := &streams.SinkRunner{Name: name, Sink: s, Topics: spec.Topics(c.cfg.Sinks), Kafka: p.kafka, Serde: p.serde, Logger: c.log, Metrics: ops.registry("sink_" + name)}
		g.run("sink "+name, r.Run)
	}
	return nil
}

func (c *command) sink() *cobra.Command {
	return c.createFlag(&cobra.Command{Use: "sink NAME…", Short: "Run sinks against Kafka: file, webhook, stdout, audit", Args: exactly(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, a := range args {
				if _, err := sinks.Find(a); err != nil {
					return usageError{err}
				}
			}
			return c.role(cmd.Context(), "sink", nil, func(g *group, p *place, ops *opsServer) error { return c.startSinks(g, p, ops, args) })
		}})
}

func (c *command) printAlert(a *schemas.Alert) { fmt.Fprint(c.Out, stdout.Card(a, terminal(c.Out))) }

// recorder writes audit records.
type recorder struct {
	c *command
	p *streams.Producer
	s *schemas.Serde
}

func (c *command) recorder(ctx context.Context, p *place) (*recorder, error) {
	x, err := streams.NewProducer(ctx, p.kafka, streams.ProducerOptions{Serde: p.serde, Logger: c.log})
	return &recorder{c, x, p.serde}, err
}

func (r *recorder) close() error { return r.p.Close() }

// write writes one record and waits for it. An error as detail makes the outcome a failure.
func (r *recorder) write(ctx context.Context, action, object string, detail any) error {
	outcome := "success"
	if err, ok := detail.(error); ok {
		if err == nil {
			detail = nil
		} else {
			outcome, detail = "failure", map[string]string{"error": err.Error()}
		}
	}
	a, err := audit.NewRecord(action, object, outcome, Version, r.c.cfg.hash(), detail, time.Now())
	if err != nil {
		return err
	}
	v, err := r.s.Append(nil, a)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	r.p.Produce(ctx, streams.Outgoing{Topic: schemas.AuditTopic, Key: a.Actor, Value: v}, func(err error) { done <- err })
	if err := <-done; err != nil {
		return fmt.Errorf("write audit record %s: %w", action, err)
	}
	return nil
}

// started writes that a role has started, and which topics it created.
func (r *recorder) started(ctx context.Context, role string, detail any, created []string) error {
	if err := r.write(ctx, "start", role, detail); err != nil || len(created) == 0 {
		return err
	}
	return r.write(ctx, "topic.create", "topics", created)
}

// auditOnce writes one record of a command that looks or changes little.
func (c *command) auditOnce(ctx context.Context, p *place, action, object string, detail any) (err error) {
	r, err := c.recorder(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	return r.write(ctx, action, object, detail)
}

func (c *command) audit() *cobra.Command {
	var head string
	verify := &cobra.Command{Use: "verify [DIR]", Short: "Check the sealed archive: exit code 1 if a record was flipped, cut or is missing", Args: exactly(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := c.load(); err != nil {
				return err
			}
			dir := c.cfg.Sinks.Audit.Dir
			if dir == "" {
				dir = c.path("audit")
			}
			if len(args) > 0 {
				dir = args[0]
			}
			r, err := audit.Verify(dir, head)
			if err != nil {
				return err
			}
			err = c.either(r, func() {
				for _, p := range r.Problems {
					c.print("%s", p)
				}
				c.print("%s: %d records in %d segments, head %s, %d problem(s)", dir, r.Records, r.Segments, r.Head, len(r.Problems))
			})
			if err == nil && len(r.Problems) > 0 {
				return errSilent
			}
			return err
		}}
	verify.Flags().StringVar(&head, "head", "", "hash of the last record as it was kept elsewhere")
	list := &cobra.Command{Use: "list", Short: "The audit records", Args: exactly(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return c.look(cmd.Context(), func(p *place) error {
			return streams.Read(cmd.Context(), p.kafka, p.serde, streams.ReadOptions{Topics: []string{schemas.AuditTopic.Name}}, func(d streams.Delivery) error {
				a, ok := d.Value.(*schemas.AuditRecord)
				if !ok {
					return d.Err
				}
				return c.either(a, func() {
					c.print("%s  %-20s %-14s %s  %s  config %.12s  %s", schemas.Time(a.Time), a.Actor, a.Action, a.Object, a.Outcome, a.ConfigHash, a.Detail)
				})
			})
		})
	}}
	return parent("audit", "Look at the audit trail, and verify its archive", list, verify)
}
