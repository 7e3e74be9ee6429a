package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/amoskys/amoskys/internal/demo"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/spf13/cobra"
)

func (c *command) demo() *cobra.Command {
	var yes bool
	var patience time.Duration
	cmd := &cobra.Command{
		Use: "demo", Short: "Run harmless attack-like steps, and show the alerts they raise", Args: exactly(cobra.NoArgs),
		Long: `Says which harmless attack-like steps it will run on this machine, runs them on consent (--yes), and shows the alert that
each raises in the running 'amoskys up', or in one of its own. Exit code 1 if an expected alert is missing.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runDemo(cmd.Context(), yes, patience) },
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "run the steps without asking")
	cmd.Flags().DurationVar(&patience, "wait", 45*time.Second, "how long to wait for each alert: a busy machine looks at connections every 30s")
	var d time.Duration
	talk := &cobra.Command{Use: "talk", Hidden: true, Args: exactly(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error { return demo.Talk(cmd.Context(), d) }}
	talk.Flags().DurationVar(&d, "for", 30*time.Second, "how long to hold the socket")
	cmd.AddCommand(talk)
	return cmd
}

func (c *command) runDemo(ctx context.Context, yes bool, patience time.Duration) error {
	steps := demo.Steps()
	if len(steps) == 0 {
		return errors.New("this platform has no demo steps yet")
	}
	c.say("This runs %d harmless steps on this machine. Each works in a temporary folder that is removed, and ends as soon as\nits alert came, or by itself:", len(steps))
	for i, s := range steps {
		c.say("  %d. %s: %s. Expected: an alert of %s.", i+1, s.Name, s.Does, s.Expects)
	}
	if !yes && !c.consent() {
		return usageError{errors.New("not run: consent is given by answering yes, or with --yes")}
	}
	if err := c.load(); err != nil {
		return err
	}
	if len(c.cfg.Kafka.Brokers) > 0 {
		return c.demoAt(ctx, steps, patience)
	}
	if _, err := c.running(); err == nil {
		return c.demoAt(ctx, steps, patience)
	}
	return c.demoAlone(ctx, steps, patience)
}

func (c *command) consent() bool {
	fmt.Fprint(c.Err, "Run them? [yes/no] ")
	line, _ := bufio.NewReader(c.In).ReadString('\n')
	return slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(line)))
}

// demoAlone runs an `up` of its own in a throw-away folder around the steps.
func (c *command) demoAlone(ctx context.Context, steps []demo.Step, patience time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "amoskys-demo-data-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c.say("No 'amoskys up' runs here: the demo starts one of its own in %s.", dir)
	for key, value := range map[string]string{"data_dir": dir, "listen": "", "broker.listen": "127.0.0.1:0", "registry.listen": "127.0.0.1:0"} {
		c.flags[key] = value
	}
	up := &command{IO: c.IO, flags: c.flags, configPath: c.configPath, output: c.output}
	ctx, cancel := context.WithCancel(ctx)
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- up.runUp(ctx, upOptions{quiet: true, ready: func() { close(ready) }}) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-done)
	}()
	select {
	case <-ready:
	case e := <-done:
		done <- nil
		return fmt.Errorf("start: %w", e)
	}
	return c.demoAt(ctx, steps, patience)
}

// demoAt runs the steps and waits for the alert of each at the brokers of the moment.
func (c *command) demoAt(ctx context.Context, steps []demo.Step, patience time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return c.look(ctx, func(p *place) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		alerts := make(chan *schemas.Alert, 1024)
		began := time.Now()
		go func() {
			_ = streams.Read(ctx, p.kafka, p.serde, streams.ReadOptions{Topics: []string{schemas.AlertsTopic.Name}, Follow: true, Since: began}, func(d streams.Delivery) error {
				if a, ok := d.Value.(*schemas.Alert); ok {
					alerts <- a
				}
				return nil
			})
		}()
		missing := 0
		for i, s := range steps {
			c.say("%d. %s …", i+1, s.Name)
			run, err := s.Start(ctx, self, patience)
			if err != nil {
				return err
			}
			a := awaitAlert(ctx, alerts, s.Expects, int64(run.PID), patience)
			if err := run.Stop(); ctx.Err() != nil {
				return ctx.Err()
			} else if err != nil && a == nil {
				c.say("   %v", err)
			}
			if a == nil {
				missing++
				c.say("   MISSING: no alert of %s within %s", s.Expects, patience)
				continue
			}
			if err := c.either(a, func() { c.printAlert(a) }); err != nil {
				return err
			}
		}
		if missing > 0 {
			c.say("%d of %d expected alerts are missing", missing, len(steps))
			return errSilent
		}
		c.say("All %d expected alerts came.", len(steps))
		return nil
	})
}

// awaitAlert waits for an alert of a detector about a step's process, or one that it started: other programs of this
// machine may raise the same.
func awaitAlert(ctx context.Context, alerts <-chan *schemas.Alert, detector string, pid int64, patience time.Duration) *schemas.Alert {
	t := time.NewTimer(patience)
	defer t.Stop()
	for {
		select {
		case a := <-alerts:
			ours := a.Process.PID == pid || slices.ContainsFunc(a.Lineage, func(x schemas.Ancestor) bool { return x.PID == pid })
			if ours && slices.ContainsFunc(a.Detectors, func(d schemas.Member) bool { return d.Name == detector }) {
				return a
			}
		case <-t.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
