package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/amoskys/amoskys/streams"
	"github.com/spf13/cobra"
)

func (c *command) dlq() *cobra.Command {
	var filter streams.DeadLetterFilter
	var since time.Duration
	list := &cobra.Command{Use: "list", Short: "The records that could not be taken, with their causes", Args: exactly(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		if since > 0 {
			filter.Since = time.Now().Add(-since)
		}
		return c.look(cmd.Context(), func(p *place) error {
			n := 0
			err := streams.DeadLetters(cmd.Context(), p.kafka, p.serde, filter, func(d streams.DeadLetter) error {
				n++
				return c.either(d, func() { c.print("%s", d) })
			})
			if err == nil && n == 0 {
				c.say("no dead letters")
			}
			return err
		})
	}}
	list.Flags().StringVar(&filter.Stage, "stage", "", "only of this stage")
	list.Flags().StringVar(&filter.Processor, "processor", "", "only of this processor")
	list.Flags().StringVar(&filter.Topic, "topic", "", "only records of this topic")
	list.Flags().DurationVar(&since, "since", 0, "only within this time")
	redrive := &cobra.Command{Use: "redrive PARTITION@OFFSET…", Short: "Give dead letters to the processor that refused them again", Args: exactly(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.look(cmd.Context(), func(p *place) error {
				for _, a := range args {
					if err := c.redriveOne(cmd.Context(), p, a); err != nil {
						return err
					}
				}
				return nil
			})
		}}
	return parent("dlq", "List dead letters, and give them to their processor again", list, redrive)
}

func (c *command) redriveOne(ctx context.Context, p *place, at string) error {
	var partition int32
	var offset int64
	if _, err := fmt.Sscanf(at, "%d@%d", &partition, &offset); err != nil {
		return usageError{fmt.Errorf("dead letter %q is not of the form PARTITION@OFFSET", at)}
	}
	done, err := streams.Redrive(ctx, p.kafka, p.serde, partition, offset)
	if err != nil {
		return fmt.Errorf("re-drive %s: %w", at, err)
	}
	if err := c.auditOnce(ctx, p, "dlq.redrive", at, done); err != nil {
		return err
	}
	return c.either(done, func() {
		c.print("%s given to %s again at %s/%d@%d", at, done.Processor, done.Topic, done.Partition, done.Offset)
	})
}
