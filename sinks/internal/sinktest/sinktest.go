// Package sinktest checks that a sink keeps the contract of streams.Sink: order, redelivery, errors that pass, resuming,
// what cannot be decoded, and closing. Every sink runs it.
package sinktest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/internal/record"
	"github.com/amoskys/amoskys/streams"
)

// A Destination is what one sink delivers to. It outlives the sink.
type Destination struct {
	// Open opens the sink, again after Close or when the one before was dropped as by a crash.
	Open func() (streams.Sink, error)
	// Held is what the destination has, by Features.Key, in its order.
	Held func() ([]string, error)
	// Break makes deliveries fail until mend is called. Nil if they cannot fail.
	Break func() (mend func())
}

// Features say what may be asked of a sink besides the contract.
type Features struct {
	// Topic the records are of; Make makes the i-th value. Default: alerts.
	Topic *schemas.Topic
	Make  func(i int) schemas.Payload
	// Key tells records apart. Default: record.Key, which is the identity that destinations get.
	Key func(*streams.Delivery) string
	// Partitions is how many partitions the sink takes. Default: 2.
	Partitions int32
	// Remembers: what comes again after a new start is known to be there.
	Remembers bool
	// KeepsUndecoded: what cannot be decoded is kept as it is. Otherwise it is passed over, or a permanent error.
	KeepsUndecoded bool
}

// TestSink runs the suite; open makes a fresh destination for each test.
func TestSink(t *testing.T, open func(t *testing.T) *Destination, f Features) {
	if f.Topic == nil {
		f.Topic, f.Make = schemas.AlertsTopic, Alert
	}
	if f.Partitions == 0 {
		f.Partitions = 2
	}
	if f.Key == nil {
		f.Key = record.Key
	}
	for name, test := range map[string]func(*suite){
		"order": (*suite).order, "redelivery": (*suite).redelivery, "redelivery of a part": (*suite).overlap, "new start": (*suite).restart,
		"error then retry": (*suite).retry, "resume": (*suite).resume, "undecodable": (*suite).undecodable, "cancelled": (*suite).cancelled,
		"nothing": (*suite).nothing, "close": (*suite).close,
	} {
		t.Run(name, func(t *testing.T) {
			s := &suite{T: t, f: f, d: open(t)}
			s.open()
			defer func() { s.sink.Close() }()
			test(s)
		})
	}
}

type suite struct {
	*testing.T
	f    Features
	d    *Destination
	sink streams.Sink
}

func (s *suite) open() {
	s.Helper()
	x, err := s.d.Open()
	if err != nil {
		s.Fatal(err)
	}
	s.sink = x
}

func (s *suite) deliver(batch []streams.Delivery) {
	s.Helper()
	if err := s.sink.Deliver(s.Context(), batch); err != nil {
		s.Fatal(err)
	}
}

// batch makes records number from to to-1 of a partition.
func (s *suite) batch(partition int32, from, to int) []streams.Delivery {
	return Batch(s.f.Topic, partition, from, to, s.f.Make)
}

// want checks that the destination has records of each partition in order, each once, and nothing else.
func (s *suite) want(batches ...[]streams.Delivery) {
	s.Helper()
	held, err := s.d.Held()
	if err != nil {
		s.Fatal(err)
	}
	total := 0
	for _, b := range batches {
		var want []string
		for i := range b {
			want = append(want, s.f.Key(&b[i]))
		}
		total += len(want)
		got := slices.DeleteFunc(slices.Clone(held), func(k string) bool { return !slices.Contains(want, k) })
		if !slices.Equal(got, want) {
			s.Errorf("destination has %v\nwant %v", got, want)
		}
	}
	if len(held) != total {
		s.Errorf("destination has %d records, want %d", len(held), total)
	}
}

func (s *suite) order() {
	var all [][]streams.Delivery
	for p := range s.f.Partitions {
		all = append(all, s.batch(p, 0, 60))
	}
	for from := 0; from < 60; from += 20 {
		for _, b := range all {
			s.deliver(slices.Clone(b[from : from+20]))
		}
	}
	s.want(all...)
}

func (s *suite) redelivery() {
	b := s.batch(0, 0, 30)
	for range 3 {
		s.deliver(slices.Clone(b))
	}
	s.want(b)
}

func (s *suite) overlap() {
	b := s.batch(0, 0, 30)
	s.deliver(slices.Clone(b[:20]))
	s.deliver(slices.Clone(b[10:30]))
	s.deliver(slices.Clone(b[5:6]))
	s.want(b)
}

func (s *suite) restart() {
	if !s.f.Remembers {
		s.Skip("the destination itself tells what it has by id and revision")
	}
	b := s.batch(0, 0, 45)
	for n := 15; n <= 45; n += 15 {
		s.deliver(slices.Clone(b[:n]))
		if err := s.sink.Close(); err != nil {
			s.Fatal(err)
		}
		s.open()
		s.deliver(slices.Clone(b[:n]))
	}
	s.want(b)
}

func (s *suite) retry() {
	if s.d.Break == nil {
		s.Skip("deliveries do not fail")
	}
	b := s.batch(0, 0, 30)
	s.deliver(slices.Clone(b[:10]))
	mend := s.d.Break()
	for range 2 {
		if err := s.sink.Deliver(s.Context(), slices.Clone(b[10:20])); err == nil {
			s.Error("a delivery to a broken destination gave no error")
		} else if streams.IsPermanent(err) {
			s.Errorf("an error that passes is called permanent: %v", err)
		}
	}
	mend()
	s.deliver(slices.Clone(b[10:20]))
	s.deliver(slices.Clone(b[20:]))
	s.want(b)
}

func (s *suite) resume() {
	r, ok := s.sink.(streams.Resumer)
	if !ok {
		s.Skip("the consumer group knows how far it has come")
	}
	at := func(want int64, known bool) {
		s.Helper()
		next, ok, err := r.Resume(s.f.Topic.Name, 0)
		if err != nil || ok != known || known && next != want {
			s.Errorf("Resume gave %d, %v, %v; want %d, %v", next, ok, err, want, known)
		}
	}
	at(0, false)
	b := s.batch(0, 0, 30)
	s.deliver(slices.Clone(b))
	last := b[len(b)-1].Offset
	at(last+1, true)
	if err := s.sink.Close(); err != nil {
		s.Fatal(err)
	}
	s.open()
	r = s.sink.(streams.Resumer)
	at(last+1, true)
}

func (s *suite) undecodable() {
	b := s.batch(0, 0, 3)
	b[1].Value, b[1].Err = nil, fmt.Errorf("decode: %w", schemas.ErrNotFramed)
	b[1].Schema = ""
	err := s.sink.Deliver(s.Context(), slices.Clone(b))
	switch {
	case s.f.KeepsUndecoded && err != nil:
		s.Errorf("got %v, want the record kept", err)
	case s.f.KeepsUndecoded:
		s.want(b)
	case err != nil && !streams.IsPermanent(err):
		s.Errorf("got %v, want nil or a permanent error: it can never be decoded", err)
	}
}

func (s *suite) cancelled() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	done := make(chan error, 1)
	go func() { done <- s.sink.Deliver(ctx, s.batch(0, 0, 5)) }()
	select {
	case err := <-done:
		if streams.IsPermanent(err) {
			s.Errorf("the end of the context is called permanent: %v", err)
		}
	case <-time.After(20 * time.Second):
		s.Error("Deliver does not end with its context")
	}
}

func (s *suite) nothing() {
	s.deliver(nil)
	s.want()
}

func (s *suite) close() {
	b := s.batch(0, 0, 5)
	s.deliver(slices.Clone(b))
	for range 2 {
		if err := s.sink.Close(); err != nil {
			s.Errorf("close: %v", err)
		}
	}
	s.want(b)
	if err := s.sink.Deliver(s.Context(), s.batch(0, 5, 6)); err == nil {
		s.Error("a closed sink takes records")
	}
}
