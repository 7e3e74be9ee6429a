package streams

import (
	"context"

	"github.com/amoskys/amoskys/schemas"
)

// A Collector reads one outside source.
type Collector interface {
	// Name is lower_snake_case and part of every event's identity.
	Name() string
	// Capabilities says what this collector can and cannot see here and now, with the reason: the facts of a capability
	// status event. It may be called before Collect.
	Capabilities() []Capability
	// Collect blocks until ctx is done (nil) or the source ends (nil). It may move its own cursor past an event only after
	// Append of that event returned nil.
	Collect(ctx context.Context, out Appender) error
}

// A Capability is one thing a collector can or cannot see.
type Capability struct {
	Name    string // e.g. process.exec
	Variant string // how, e.g. netlink or procfs; empty: not at all
	Reason  string // why not, or why not better
}

// An Appender takes events. It assigns stream and sequence, fills what is empty in the envelope of tenant, host, boot,
// collector, hostname and platform, and makes the event survive a kill of the process.
type Appender interface {
	// Append returns nil once every event is in the spool. It does not wait for the broker. The events may be reused, but for
	// another event the identity that it was given must be emptied.
	Append(ctx context.Context, events ...schemas.Event) error
}
