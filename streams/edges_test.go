package streams_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// edge is a broker with the declared topics, and a codec.
type edge struct {
	k       streams.Kafka
	serde   *schemas.Serde
	metrics prometheus.Registerer
}

func newEdge(t *testing.T) edge {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	k := streams.Kafka{Brokers: c.ListenAddrs()}
	if _, err := streams.EnsureTopics(t.Context(), k, schemas.Topics(), 2, 1); err != nil {
		t.Fatal(err)
	}
	serde, err := schemas.NewSerde(t.Context(), &schemas.LocalRegistry{})
	if err != nil {
		t.Fatal(err)
	}
	return edge{k: k, serde: serde}
}

func (e edge) produce(t *testing.T, n int) {
	t.Helper()
	p, err := streams.NewProducer(t.Context(), e.k, streams.ProducerOptions{Serde: e.serde})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var failed error
	for i := range n {
		a := &schemas.Alert{ID: fmt.Sprint(i)}
		v, err := e.serde.Append(nil, a)
		if err != nil {
			t.Fatal(err)
		}
		p.Produce(t.Context(), streams.Outgoing{Topic: schemas.AlertsTopic, Key: fmt.Sprintf("t/h%d", i%3), Value: v, Trace: schemas.TraceID(a.ID)}, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
	}
	if err := errors.Join(p.Close(), failed); err != nil {
		t.Fatal(err)
	}
}

func TestReadToTheEnd(t *testing.T) {
	e := newEdge(t)
	e.produce(t, 100)
	last := map[int32]int64{}
	n := 0
	err := streams.Read(t.Context(), e.k, e.serde, streams.ReadOptions{Topics: []string{schemas.AlertsTopic.Name}}, func(d streams.Delivery) error {
		if at, ok := last[d.Partition]; ok && d.Offset != at+1 {
			t.Errorf("offset %d after %d", d.Offset, at)
		}
		last[d.Partition] = d.Offset
		a, ok := d.Value.(*schemas.Alert)
		if !ok || d.Err != nil || d.Schema != "Alert" || d.Trace != schemas.TraceID(a.ID) {
			t.Errorf("delivery %+v", d)
		}
		n++
		return nil
	})
	if err != nil || n != 100 {
		t.Errorf("read %d records, want 100: %v", n, err)
	}
	stop := errors.New("stop")
	if err := streams.Read(t.Context(), e.k, e.serde, streams.ReadOptions{Topics: []string{schemas.AlertsTopic.Name}}, func(streams.Delivery) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error of the function is lost: %v", err)
	}
	if err := streams.Read(t.Context(), e.k, e.serde, streams.ReadOptions{Topics: []string{schemas.ScoresTopic.Name}}, func(streams.Delivery) error { return stop }); err != nil {
		t.Errorf("an empty topic: %v", err)
	}
}

// memory is a sink that remembers what it was given, and fails on demand.
type memory struct {
	mu     sync.Mutex
	got    []string
	fail   func(id string) error
	closed bool
	next   map[int32]int64 // what Resume answers
}

func (m *memory) Deliver(_ context.Context, batch []streams.Delivery) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for _, d := range batch {
		id := d.Value.(*schemas.Alert).ID
		if m.fail != nil {
			if err := m.fail(id); err != nil {
				return err
			}
		}
		ids = append(ids, id)
	}
	m.got = append(m.got, ids...)
	return nil
}

func (m *memory) Close() error { m.closed = true; return nil }

func (m *memory) ids() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.got)
}

type resuming struct{ memory }

func (r *resuming) Resume(_ string, p int32) (int64, bool, error) {
	n, ok := r.next[p]
	return n, ok, nil
}

// deliver runs a sink until it has what done wants.
func (e edge) deliver(t *testing.T, s streams.Sink, name string, done func() bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	r := &streams.SinkRunner{Name: name, Sink: s, Topics: []string{schemas.AlertsTopic.Name}, Kafka: e.k, Serde: e.serde, Batch: 10, Metrics: e.metrics}
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	for !done() {
		select {
		case err := <-ended:
			t.Fatalf("sink ended: %v", err)
		case <-ctx.Done():
			t.Fatal("sink did not get what it was to get")
		case <-time.After(10 * time.Millisecond):
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestSinkGetsAllOnceAndGoesOn(t *testing.T) {
	e := newEdge(t)
	e.produce(t, 50)
	m := &memory{}
	e.deliver(t, m, "once", func() bool { return len(m.ids()) >= 50 })
	ids := m.ids()
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 50 || !m.closed {
		t.Errorf("got %d different records of 50, closed %v", n, m.closed)
	}
	e.produce(t, 3)
	again := &memory{}
	e.deliver(t, again, "once", func() bool { return len(again.ids()) >= 3 })
	if n := len(again.ids()); n != 3 {
		t.Errorf("a second run of the sink got %d records, want the 3 new ones", n)
	}
}

func TestSinkRetriesAndRefuses(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	e.produce(t, 20)
	tries := 0
	m := &memory{fail: func(id string) error {
		switch {
		case id == "7":
			return streams.Permanent(errors.New("never"))
		case id == "3" && tries < 2:
			tries++
			return errors.New("not now")
		}
		return nil
	}}
	e.deliver(t, m, "picky", func() bool {
		ids := m.ids()
		slices.Sort(ids)
		return len(slices.Compact(ids)) >= 19
	})
	if slices.Contains(m.ids(), "7") {
		t.Error("the refused record was delivered")
	}
	var dead []streams.DeadLetter
	err := streams.DeadLetters(t.Context(), e.k, e.serde, streams.DeadLetterFilter{Stage: "sink.picky"}, func(d streams.DeadLetter) error { dead = append(dead, d); return nil })
	if err != nil || len(dead) != 1 || !strings.Contains(dead[0].Error, "never") {
		t.Fatalf("dead letters %v, %v", dead, err)
	}
	if !strings.Contains(dead[0].String(), "refused by sink.picky") {
		t.Errorf("text of a dead letter: %s", dead[0])
	}
	var part int32
	var offset int64
	if _, err := fmt.Sscanf(dead[0].At, "%d@%d", &part, &offset); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.Redrive(t.Context(), e.k, e.serde, part, offset); !errors.Is(err, streams.ErrNotRedrivable) {
		t.Errorf("a sink's dead letter was re-driven into the chain: %v", err)
	}
	if _, err := streams.Redrive(t.Context(), e.k, e.serde, part, offset+1); err == nil || !strings.Contains(err.Error(), "no dead letter lies at") {
		t.Errorf("a dead letter that is not there: %v", err)
	}
}

func TestSinkResumesWhereItSays(t *testing.T) {
	e := newEdge(t)
	e.produce(t, 40)
	all := &memory{}
	e.deliver(t, all, "resume", func() bool { return len(all.ids()) >= 40 })
	back := &resuming{memory{next: map[int32]int64{0: 0, 1: 0}}} // it has lost everything: it gets everything again
	e.produce(t, 6)
	e.deliver(t, back, "resume", func() bool { return len(back.ids()) >= 46 })
	if n := len(back.ids()); n != 46 {
		t.Errorf("got %d records after going back, want 46", n)
	}
}

func TestProducerFramesAndBroadcasts(t *testing.T) {
	e := newEdge(t)
	p, err := streams.NewProducer(t.Context(), e.k, streams.ProducerOptions{Serde: e.serde})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, _ := schemas.Lookup("Tick")
	body, err := s.AppendBody(nil, &schemas.Tick{Time: 7})
	if err != nil {
		t.Fatal(err)
	}
	v, err := p.Frame("Tick", body)
	if err != nil {
		t.Fatal(err)
	}
	ends, err := p.Broadcast(t.Context(), schemas.EndpointTopic, v, time.Now())
	if err != nil || len(ends) != 2 || ends[0] != 1 || ends[1] != 1 {
		t.Fatalf("ends %v, %v", ends, err)
	}
	got, err := streams.EndOffsets(t.Context(), e.k, schemas.EndpointTopic.Name)
	if err != nil || got[0] != 1 || got[1] != 1 {
		t.Errorf("end offsets %v, %v", got, err)
	}
	told := make(chan error, 1)
	p.Produce(t.Context(), streams.Outgoing{Topic: schemas.EndpointTopic, Key: "k", Value: make([]byte, 50<<20)}, func(err error) { told <- err })
	if err := <-told; err == nil || !streams.IsPermanent(err) || !strings.Contains(err.Error(), schemas.EndpointTopic.Name) {
		t.Errorf("a record of 50 MB: %v, want a permanent error that names the topic", err)
	}
}

// A sink that has more than was committed gets none of it again, however many polls that takes.
func TestSinkAheadOfItsPosition(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	e.produce(t, 300)
	ends, err := streams.EndOffsets(t.Context(), e.k, schemas.AlertsTopic.Name)
	if err != nil {
		t.Fatal(err)
	}
	ahead := &resuming{memory{next: map[int32]int64{}}}
	for part, end := range ends {
		ahead.next[part] = end - min(end, 5)
	}
	want := 0
	for _, end := range ends {
		want += int(min(end, 5))
	}
	e.deliver(t, ahead, "ahead", func() bool { return len(ahead.ids()) >= want })
	if n := len(ahead.ids()); n != want {
		t.Errorf("got %d records, want the %d that the sink does not have", n, want)
	}
}

// A sink that has more than the topic holds belongs to another topic of that name: it gets everything.
func TestSinkOfATopicMadeAnew(t *testing.T) {
	e := newEdge(t)
	e.produce(t, 30)
	s := &resuming{memory{next: map[int32]int64{0: 1000, 1: 1000}}}
	e.deliver(t, s, "anew", func() bool { return len(s.ids()) >= 30 })
}

// What retention deletes before it was delivered is counted.
func TestSinkTellsWhatRetentionDeleted(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	e.produce(t, 40)
	m := &memory{}
	e.deliver(t, m, "short", func() bool { return len(m.ids()) >= 40 })
	ends, err := streams.EndOffsets(t.Context(), e.k, schemas.AlertsTopic.Name)
	if err != nil {
		t.Fatal(err)
	}
	e.produce(t, 60)
	cl, err := kgo.NewClient(kgo.SeedBrokers(e.k.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var os kadm.Offsets
	want := 0
	for part, end := range ends {
		if end > 0 {
			os.AddOffset(schemas.AlertsTopic.Name, part, end+7, -1)
			want += 7
		}
	}
	if rs, err := kadm.NewClient(cl).DeleteRecords(t.Context(), os); err != nil || rs.Error() != nil {
		t.Fatal(err, rs.Error())
	}
	reg := prometheus.NewRegistry()
	e.metrics = reg
	rest := &memory{}
	e.deliver(t, rest, "short", func() bool { return len(rest.ids()) >= 60-want })
	if n := metric(t, reg, "amoskys_sink_records_total", "expired"); int(n) != want {
		t.Errorf("%v records are counted as expired, want %d", n, want)
	}
}

// A record that is as large as the topic takes, and that the sink never takes, is in nobody's way: its dead letter says so
// without its bytes.
func TestSinkRefusesTheLargestRecord(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	v, err := e.serde.Append(nil, &schemas.Alert{ID: "huge", Title: strings.Repeat("x", 999_700)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := streams.NewProducer(t.Context(), e.k, streams.ProducerOptions{Serde: e.serde})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	told := make(chan error, 1)
	p.Produce(t.Context(), streams.Outgoing{Topic: schemas.AlertsTopic, Key: "t/h", Value: v}, func(err error) { told <- err })
	if err := <-told; err != nil {
		t.Fatal(err)
	}
	m := &memory{fail: func(id string) error {
		if id == "huge" {
			return streams.Permanent(errors.New("never: " + strings.Repeat("\xff", 2<<20)))
		}
		return nil
	}}
	e.produce(t, 20)
	e.deliver(t, m, "small", func() bool { return len(m.ids()) >= 20 })
	n := 0
	if err := streams.DeadLetters(t.Context(), e.k, e.serde, streams.DeadLetterFilter{Stage: "sink.small"}, func(d streams.DeadLetter) error {
		n++
		if d.Bytes != 0 || d.Key != "t/h" || !strings.HasPrefix(d.Error, "never") {
			t.Errorf("dead letter %s", d)
		}
		return nil
	}); err != nil || n != 1 {
		t.Errorf("%d dead letters, %v", n, err)
	}
}
