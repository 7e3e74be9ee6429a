package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/spf13/cobra"
)

// look opens the brokers that are configured, or those of the `up` that runs on this machine, for commands that look at
// what is there or change little.
func (c *command) look(ctx context.Context, f func(p *place) error) (err error) {
	if err := c.brokers(); err != nil {
		return err
	}
	p := &place{kafka: c.cfg.Kafka}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := c.openRegistry(ctx, p); err != nil {
		return err
	}
	if p.serde, err = schemas.NewSerde(ctx, p.registry); err != nil {
		return err
	}
	return f(p)
}

// brokers loads the settings, and finds the brokers of the `up` that runs here where none are set.
func (c *command) brokers() error {
	if err := c.load(); err != nil || len(c.cfg.Kafka.Brokers) > 0 {
		return err
	}
	running, err := c.running()
	if err != nil {
		return err
	}
	c.flags["kafka.brokers"] = strings.Join(running.Brokers, ",")
	if running.Registry != "" { // else the settings name an external one, as those of the 'up' do
		c.flags["registry.url"] = running.Registry
	}
	return c.load()
}

func (c *command) topics() *cobra.Command {
	return parent("topics", "List, create and verify the topics",
		&cobra.Command{Use: "list", Short: "The declared topics: what is on them, for whom, how long", Args: exactly(cobra.NoArgs), RunE: func(*cobra.Command, []string) error {
			for _, t := range schemas.Topics() {
				keep := "for ever"
				if t.Retention > 0 {
					keep = fmt.Sprintf("%d days", t.Retention/schemas.Day)
				}
				row := map[string]any{"name": t.Name, "kind": t.Kind.String(), "key": t.Key, "schemas": t.Schemas, "retention": keep, "owner": t.Owner, "class": t.Class, "doc": t.Doc}
				if err := c.either(row, func() { c.print("%-34s %-7s kept %-9s key %-16s %s", t.Name, t.Kind, keep, t.Key, t.Doc) }); err != nil {
					return err
				}
			}
			return nil
		}},
		c.topicsCreate(),
		&cobra.Command{Use: "verify", Short: "Check that the topics are as declared; exit code 1 if one is not", Args: exactly(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
			return c.look(cmd.Context(), func(p *place) error {
				problems, err := streams.VerifyTopics(cmd.Context(), p.kafka, schemas.Topics(), c.cfg.Topics.Partitions)
				if err != nil {
					return err
				}
				for _, x := range problems {
					if err := c.either(x, func() { c.print("%s", x) }); err != nil {
						return err
					}
				}
				if len(problems) > 0 {
					return errSilent
				}
				return c.either(map[string]any{"ok": true}, func() { c.print("%d topics are as declared", len(schemas.Topics())) })
			})
		}})
}

func (c *command) topicsCreate() *cobra.Command {
	return &cobra.Command{Use: "create", Short: "Create what is missing of the declared topics, and of the changelogs of all stages", Args: exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.brokers(); err != nil {
				return err
			}
			all := schemas.Topics()
			for _, grouping := range []string{"split", "fused"} {
				stages, err := c.stages(grouping)
				if err != nil {
					return err
				}
				all = append(all, changelogs(stages)...)
			}
			created, err := streams.EnsureTopics(cmd.Context(), c.cfg.Kafka, all, c.cfg.Topics.Partitions, int16(c.cfg.Topics.Replication))
			if err != nil {
				return err
			}
			c.auditTopics(cmd.Context(), created)
			return c.either(map[string]any{"created": append([]string{}, created...)}, func() { c.print("%d topics created, %d were there", len(created), len(all)-len(created)) })
		}}
}

// auditTopics writes an audit record of created topics, if the registry answers: it may start only now, since it needs one
// of them.
func (c *command) auditTopics(ctx context.Context, created []string) {
	if len(created) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	err := c.look(ctx, func(p *place) error { return c.auditOnce(ctx, p, "topic.create", "topics", created) })
	if err != nil {
		c.log.Warn("audit record is not written: the schema registry does not answer yet", "err", err)
	}
}

func (c *command) tail() *cobra.Command {
	var follow bool
	var most int
	var since time.Duration
	var control bool
	cmd := &cobra.Command{Use: "tail TOPIC", Short: "Print the records of a topic, decoded; TOPIC may be a part of the name", Args: exactly(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, err := topicNamed(args[0])
			if err != nil {
				return usageError{err}
			}
			return c.look(cmd.Context(), func(p *place) error {
				o := streams.ReadOptions{Topics: []string{topic}, Follow: follow}
				if since > 0 {
					o.Since = time.Now().Add(-since)
				}
				n := 0
				err := streams.Read(cmd.Context(), p.kafka, p.serde, o, func(d streams.Delivery) error {
					if !control && (d.Schema == "Tick" || d.Schema == "Progress") {
						return nil
					}
					if most > 0 && n >= most {
						return errFinished
					}
					n++
					return c.printRecord(d)
				})
				if errors.Is(err, errFinished) || cmd.Context().Err() != nil {
					return nil
				}
				return err
			})
		}}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on with new records")
	f.IntVarP(&most, "lines", "n", 0, "stop after so many records (0: all)")
	f.DurationVar(&since, "since", 0, "only records ingested within this time")
	f.BoolVar(&control, "control", false, "print tick and progress records too")
	return cmd
}

// topicNamed finds the one declared topic that the text is a part of; a changelog is taken by its full name.
func topicNamed(text string) (string, error) {
	if _, ok := schemas.TopicByName(text); ok {
		return text, nil
	}
	var found, all []string
	for _, t := range schemas.Topics() {
		all = append(all, t.Name)
		if strings.Contains(t.Name, text) {
			found = append(found, t.Name)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("topic %q fits several: %v", text, found)
	case strings.HasPrefix(text, "amoskys.changelog."):
		return text, nil
	}
	return "", fmt.Errorf("topic %q is not declared; declared: %v", text, all)
}

func (c *command) printRecord(d streams.Delivery) error {
	row := struct {
		Topic     string          `json:"topic"`
		Partition int32           `json:"partition"`
		Offset    int64           `json:"offset"`
		Time      string          `json:"time"`
		Key       string          `json:"key"`
		Type      string          `json:"type"`
		Trace     string          `json:"trace,omitempty"`
		Error     string          `json:"error,omitempty"`
		Value     schemas.Payload `json:"value,omitempty"`
	}{d.Topic, d.Partition, d.Offset, schemas.Time(d.Timestamp * 1e6), d.Key, d.Schema, d.Trace, "", d.Value}
	if d.Err != nil {
		row.Error = d.Err.Error()
	}
	if c.output == "json" {
		return c.json(row)
	}
	text, err := json.Marshal(d.Value)
	if err != nil {
		return err
	}
	c.print("%s %s/%d@%d %s %s%s %s", row.Time, d.Topic, d.Partition, d.Offset, d.Key, d.Schema, row.Error, text)
	return nil
}

func (c *command) alerts() *cobra.Command {
	var follow bool
	var since time.Duration
	cmd := &cobra.Command{Use: "alerts", Short: "Print the alerts", Args: exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.look(cmd.Context(), func(p *place) error {
				o := streams.ReadOptions{Topics: []string{schemas.AlertsTopic.Name}, Follow: follow}
				if since > 0 {
					o.Since = time.Now().Add(-since)
				}
				n := 0
				err := streams.Read(cmd.Context(), p.kafka, p.serde, o, func(d streams.Delivery) error {
					a, ok := d.Value.(*schemas.Alert)
					if !ok {
						return nil
					}
					n++
					return c.either(a, func() { c.printAlert(a) })
				})
				if cmd.Context().Err() != nil {
					return nil
				}
				if err == nil && n == 0 {
					c.say("no alerts")
				}
				return err
			})
		}}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new alerts")
	cmd.Flags().DurationVar(&since, "since", 0, "only alerts whose cause was ingested within this time")
	return cmd
}

// schemasCheck registers every schema at the registry in a dry run.
func (c *command) schemasCheck(cmd *cobra.Command, _ []string) error {
	return c.look(cmd.Context(), func(p *place) error {
		return c.either(map[string]any{"ok": true, "schemas": len(schemas.Names())}, func() {
			c.print("%d schemas are registered and compatible with all their versions", len(schemas.Names()))
		})
	})
}
