package stdout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/internal/record"
	"github.com/amoskys/amoskys/streams"
)

// Options say how alerts are printed.
type Options struct {
	JSON   bool // one object a line, instead of cards
	Colour bool // in cards; for terminals only
}

// remembered is how many records are known when they come again: more than two deliveries of a runner.
const remembered = 2048

// A Sink prints to a writer.
type Sink struct {
	mu     sync.Mutex
	w      io.Writer // nil: closed
	o      Options
	recent *record.Recent
}

// New returns a sink that prints to w, which stays the caller's.
func New(w io.Writer, o Options) *Sink {
	return &Sink{w: w, o: o, recent: record.NewRecent(remembered)}
}

// Deliver implements streams.Sink. Each record is one write, so that lines of two sinks do not mix.
func (s *Sink) Deliver(ctx context.Context, batch []streams.Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w == nil {
		return errors.New("stdout sink is closed")
	}
	for i := range batch {
		d := &batch[i]
		key := record.Key(d)
		if s.recent.Has(key) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		text, err := s.text(d)
		if err != nil {
			return streams.Permanent(err)
		}
		if _, err := s.w.Write(text); err != nil {
			return fmt.Errorf("print %s: %w", record.Position(d), err)
		}
		s.recent.Add(key)
	}
	return nil
}

func (s *Sink) text(d *streams.Delivery) ([]byte, error) {
	if d.Value == nil {
		return s.undecoded(d)
	}
	if a, ok := d.Value.(*schemas.Alert); ok && !s.o.JSON {
		return []byte(Card(a, s.o.Colour)), nil
	}
	b, err := record.JSON(d.Value)
	return append(b, '\n'), err
}

// undecoded says that there is a record that cannot be shown: nothing is passed over in silence.
func (s *Sink) undecoded(d *streams.Delivery) ([]byte, error) {
	why := "no value"
	if d.Err != nil {
		why = d.Err.Error()
	}
	if !s.o.JSON {
		return fmt.Appendf(nil, "record %s cannot be shown: %s\n", record.Position(d), plain(why)), nil
	}
	var b bytes.Buffer
	err := json.NewEncoder(&b).Encode(map[string]any{"topic": d.Topic, "partition": d.Partition, "offset": d.Offset, "error": why, "value": d.Raw})
	return b.Bytes(), err
}

// Close implements streams.Sink. The writer is not the sink's to close.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = nil
	return nil
}
