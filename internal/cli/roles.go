package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/amoskys/amoskys/processors"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/spf13/cobra"
)

// role runs one role against brokers until ctx ends: it opens what it needs, serves metrics and health, and writes its
// start and stop to the audit topic.
func (c *command) role(ctx context.Context, name string, topics []*schemas.Topic, start func(g *group, p *place, ops *opsServer) error) (err error) {
	defer func() {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = nil // asked to stop while it started
		}
	}()
	if err := c.load(); err != nil {
		return err
	}
	if len(c.cfg.Kafka.Brokers) == 0 {
		return usageError{fmt.Errorf("role %s runs against Apache Kafka: set --brokers or AMOSKYS_BROKERS; without brokers use 'amoskys up'", name)}
	}
	c.creates = c.cfg.Topics.Create
	if err := c.makeDirs("locks"); err != nil {
		return err
	}
	ops := newOpsServer()
	p, err := c.open(ctx, ops, "", topics...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	g := newGroup(ctx)
	defer g.end() // where the start fails half-way, before the place is closed
	if c.cfg.Listen != "" {
		at, err := ops.listen(ctx, "listen", c.cfg.Listen)
		if err != nil {
			return err
		}
		c.log.Info("metrics and health", "role", name, "url", "http://"+at)
	}
	rec, err := c.recorder(ctx, p)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, rec.close)
	if err := rec.started(ctx, name, nil, p.created); err != nil {
		return err
	}
	if err := start(g, p, ops); err != nil {
		return err
	}
	err = g.wait(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(err, rec.write(stop, "stop", name, err))
}

func (c *command) process() *cobra.Command {
	var names []string
	cmd := &cobra.Command{Use: "process", Short: "Run stages of the chain against Kafka", Args: exactly(cobra.NoArgs),
		Long: `Runs stages of the chain against Apache Kafka: the whole chain in one stage, or some of its parts (--stage lineage,
--stage features, --stage scoring). Several processes with the same stages share the partitions. Grouping changes no alert.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.load(); err != nil {
				return err
			}
			suite := processors.Suite(c.cfg.Processors)
			stages, err := pick(suite, names)
			if err != nil {
				return usageError{err}
			}
			return c.role(cmd.Context(), "process "+stageList(stages), changelogs(stages), func(g *group, p *place, ops *opsServer) error {
				app := c.app(p, ops, stages, suite)
				g.run("engine", app.Run)
				return nil
			})
		}}
	cmd.Flags().StringSliceVar(&names, "stage", nil, "stages to run: chain (default), or any of lineage, features, scoring")
	return c.createFlag(cmd)
}

func stageList(stages []streams.Stage) string {
	var names []string
	for _, s := range stages {
		names = append(names, s.Name)
	}
	return strings.Join(names, "+")
}

func (c *command) registryCommand() *cobra.Command {
	return c.createFlag(&cobra.Command{Use: "registry", Short: "Serve the schema registry over the _schemas topic (key registry.listen)", Args: exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			delete(c.flags, "registry.url")
			c.Environ = without(c.Environ, envPrefix+"REGISTRY_URL") // it is the registry
			return c.role(cmd.Context(), "registry", nil, func(g *group, p *place, _ *opsServer) error {
				url, err := c.serveRegistry(g.ctx, p)
				if err == nil {
					c.log.Info("schema registry", "url", url)
				}
				return err
			})
		}})
}

func without(environ []string, name string) (out []string) {
	for _, kv := range environ {
		if !strings.HasPrefix(kv, name+"=") {
			out = append(out, kv)
		}
	}
	return out
}
