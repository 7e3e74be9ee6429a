package streams

import (
	"context"

	"github.com/amoskys/amoskys/schemas"
)

// A Sink delivers records to one outside system.
type Sink interface {
	// Deliver takes a batch of records of one topic partition, in order, all after those of earlier batches. When it
	// returns nil the batch is delivered and its positions are committed; after an error the same records come again. So
	// a sink is idempotent: by (id, revision) for alerts, by position for files.
	Deliver(ctx context.Context, batch []Delivery) error
	// Close releases what the sink holds. Nothing is delivered afterwards.
	Close() error
}

// A Resumer is a Sink that knows how far it has come, and overrides the committed position of a partition.
type Resumer interface {
	Sink
	// Resume returns the next offset the sink wants of a partition; false when it does not know.
	Resume(topic string, partition int32) (int64, bool, error)
}

// A Delivery is one record for a sink.
type Delivery struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       string
	Timestamp int64           // ingest time of the trigger, milliseconds
	Schema    string          // its name, as of the writer; empty if it is not known
	Value     schemas.Payload // decoded; belongs to the sink
	Raw       []byte          // value as on the topic
	Trace     string          // W3C trace id
	Err       error           // why Value is nil, if it could not be decoded
}
