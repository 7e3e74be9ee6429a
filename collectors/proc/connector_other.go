//go:build !linux

package proc

import (
	"context"
	"errors"
)

// kernelEvent is an event of the process connector, which only Linux has.
type kernelEvent struct{ pid, parent int64 }

func connectorProbe() error { return errors.New("not on Linux") }

func (c *Collector) connect(context.Context) (<-chan kernelEvent, func(), error) {
	return nil, nil, nil
}

func (c *Collector) kernelEvents(context.Context, kernelEvent, <-chan kernelEvent) error { return nil }
