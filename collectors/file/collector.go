package file

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// A Collector reads recordings into a log. It is used by one goroutine.
type Collector struct{ cfg Config }

var _ streams.Collector = (*Collector)(nil)

// New returns a collector, or everything that is wrong with its configuration. It opens nothing yet.
func New(cfg Config) (*Collector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.defaults()
	return &Collector{cfg}, nil
}

// Name is "file".
func (c *Collector) Name() string { return name }

// Capabilities says of each recording whether it can be read and in which format.
func (c *Collector) Capabilities() []streams.Capability {
	var list []streams.Capability
	for _, p := range c.cfg.Paths {
		one := streams.Capability{Name: "recording " + filepath.Base(p)}
		if f, _, err := resolve(p, c.cfg.Format); err != nil {
			one.Reason = err.Error()
		} else {
			one.Variant = f.name
		}
		list = append(list, one)
	}
	return list
}

// batch is how many events are appended at once.
const batch = 256

// Collect delivers all recordings, one after the other, and returns nil at the end of the last one or when ctx is done. A
// recording that cannot be read, or not to its end, is an error that names it; what was read before is delivered.
func (c *Collector) Collect(ctx context.Context, out streams.Appender) error {
	for _, p := range c.cfg.Paths {
		if err := c.recording(ctx, p, out); err != nil || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

func (c *Collector) recording(ctx context.Context, path string, out streams.Appender) error {
	r, err := Open(path, c.cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	p := pacer{pace: c.cfg.Pace, restamp: c.cfg.Restamp}
	var events []schemas.Event
	flush := func() error {
		if len(events) == 0 {
			return nil
		}
		if err := out.Append(ctx, events...); err != nil {
			if ctx.Err() != nil {
				return nil // the end that was asked for
			}
			return fmt.Errorf("append events of recording %s: %w", path, err)
		}
		clear(events)
		events = events[:0]
		return nil
	}
	for ctx.Err() == nil {
		e, err := r.Next()
		if err != nil {
			if ferr := flush(); ferr != nil {
				return ferr
			}
			if err != io.EOF {
				return err
			}
			break
		}
		if d := p.wait(e.Env().Time); d > 0 {
			if err := flush(); err != nil {
				return err
			}
			if !sleep(ctx, d) {
				return nil
			}
		}
		p.stamp(e)
		if events = append(events, e); len(events) == batch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if c.cfg.OnSummary != nil {
		c.cfg.OnSummary(r.Summary())
	}
	return nil
}
