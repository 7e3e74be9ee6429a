package streams_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A run that stopped goes on where it was, from the changelog; and says so in its metrics.
func TestRunRestores(t *testing.T) {
	w := newWorld(t, 2, fused)
	reg := prometheus.NewRegistry()
	for range 3 {
		r := w.start(fused, func(a *streams.App) { a.Metrics = reg })
		w.load(300)
		w.passed(time.Minute, w.tick(), fused, r)
		if n := metric(t, reg, "amoskys_streams_records_in_total", "counter"); n == 0 {
			t.Error("no records are counted")
		}
		if n := metric(t, reg, "amoskys_streams_transactions_total", "committed"); n == 0 {
			t.Error("no transactions are counted")
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
	if ms, _ := reg.Gather(); len(ms) != 0 {
		t.Errorf("%d metrics are left registered", len(ms))
	}
	w.same(fused)
}

// metric is the sum of a metric over all label sets that have the value.
func metric(t *testing.T, reg *prometheus.Registry, name, value string) (sum float64) {
	t.Helper()
	ms, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		if m.GetName() != name {
			continue
		}
		for _, x := range m.GetMetric() {
			for _, l := range x.GetLabel() {
				if l.GetValue() == value {
					sum += x.GetCounter().GetValue() + x.GetGauge().GetValue()
				}
			}
		}
	}
	return sum
}

func TestRunTwiceOnOneRegistry(t *testing.T) {
	w := newWorld(t, 1, fused)
	reg := prometheus.NewRegistry()
	r := w.start(fused, func(a *streams.App) { a.Metrics = reg })
	w.load(5)
	w.passed(time.Minute, w.tick(), fused, r)
	a := w.app(fused)
	a.Metrics = reg
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "register metrics") {
		t.Errorf("got %v", err)
	}
}

// State and group that do not belong together stop the run, whoever was changed.
func TestRunStateMismatch(t *testing.T) {
	w := newWorld(t, 1, fused)
	w.load(100)
	r := w.start(fused, nil)
	w.passed(time.Minute, w.tick(), fused, r)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	var os kadm.Offsets
	os.AddOffset(schemas.EndpointTopic.Name, 0, 7, -1)
	w.eventually(20*time.Second, func() (bool, string) { // until the group is empty
		err := w.admin().CommitAllOffsets(t.Context(), streams.GroupID("test", "fused"), os)
		return err == nil, fmt.Sprint(err)
	})
	r = w.start(fused, func(a *streams.App) { a.RestoreTimeout = time.Second })
	select {
	case err := <-r.done:
		r.done <- err
		wantErr(t, err, streams.ErrStateMismatch, "state at 101", "at 7", "amoskys reset")
	case <-time.After(30 * time.Second):
		t.Fatal("Run goes on")
	}
}

// A group whose positions have expired is no contradiction.
func TestRunGroupExpired(t *testing.T) {
	w := newWorld(t, 2, fused)
	w.load(200)
	r := w.start(fused, nil)
	w.passed(time.Minute, w.tick(), fused, r)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.eventually(20*time.Second, func() (bool, string) {
		_, err := w.admin().DeleteGroup(t.Context(), streams.GroupID("test", "fused"))
		return err == nil, fmt.Sprint(err)
	})
	w.load(200)
	r = w.start(fused, nil)
	w.passed(time.Minute, w.tick(), fused, r)
	r.stop()
	w.same(fused)
}

// What retention deletes before a stage has processed it is counted, and the gap is a loss in the coverage.
func TestRunTellsWhatRetentionDeleted(t *testing.T) {
	w := newWorld(t, 1, fused)
	reg := prometheus.NewRegistry()
	w.load(50)
	r := w.start(fused, func(a *streams.App) { a.Metrics = reg })
	done := w.tick()[0] + 1
	w.passed(time.Minute, map[int32]int64{0: done - 1}, fused, r)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.load(50)
	var os kadm.Offsets
	os.AddOffset(schemas.EndpointTopic.Name, 0, done+20, -1)
	if rs, err := w.admin().DeleteRecords(t.Context(), os); err != nil || rs.Error() != nil {
		t.Fatal(err, rs.Error())
	}
	r = w.start(fused, func(a *streams.App) { a.Metrics = reg })
	done = w.tick()[0] + 1
	w.passed(time.Minute, map[int32]int64{0: done - 1}, fused, r)
	if n := metric(t, reg, "amoskys_streams_expired_records_total", schemas.EndpointTopic.Name); n != 20 {
		t.Errorf("%v records are counted as expired, want 20", n)
	}
	lost := 0
	for _, line := range w.values(schemas.LineageTopic.Name) {
		if l, ok := line.(*schemas.LineageRecord); ok && l.Kind == "lost" {
			lost += int(l.ProcessConnects - l.ProcessFiles + 1)
		}
	}
	if lost < 20 {
		t.Errorf("%d events are lost in the coverage, want 20 and the gaps of the load", lost)
	}
}

// values are the committed records of a topic, decoded.
func (w *world) values(topic string) (out []schemas.Payload) {
	w.t.Helper()
	for _, rs := range w.read(topic) {
		for _, r := range rs {
			v, err := w.serde.Decode(w.t.Context(), r.Value)
			if err != nil {
				w.t.Fatal(err)
			}
			out = append(out, v)
		}
	}
	return out
}

// A task waits for a transaction that somebody has left open in its changelog, and is restored when it is over.
func TestRunWaitsForOpenTransaction(t *testing.T) {
	w := newWorld(t, 1, fused)
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.Brokers...), kgo.TransactionalID("zombie"), kgo.TransactionTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	key := append([]byte("counter.seen"), 0, 'k')
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: schemas.ChangelogTopic("test", "fused").Name, Key: key, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	w.load(50)
	r := w.start(fused, func(a *streams.App) { a.Metrics, a.RestoreTimeout = reg, 300*time.Millisecond })
	w.eventually(20*time.Second, func() (bool, string) {
		return metric(t, reg, "amoskys_streams_restores_total", "given_up") >= 1, "nobody has given up"
	})
	if n := metric(t, reg, "amoskys_streams_restores_total", "done"); n != 0 {
		t.Errorf("%v tasks are restored with a transaction open", n)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	w.passed(time.Minute, w.tick(), fused, r)
	r.stop()
	w.same(fused)
}

// The schema registry goes away when an unknown schema comes: its partition waits, the others go on, nothing is lost.
func TestRunRegistryDown(t *testing.T) {
	w := newWorld(t, 2, fused)
	reg := prometheus.NewRegistry()
	r := w.start(fused, func(a *streams.App) { a.Metrics = reg })
	w.load(100)
	w.passed(time.Minute, w.tick(), fused, r)
	x, _ := schemas.Lookup("ProcessExec")
	id, err := w.reg.Register(t.Context(), x.Subject(), strings.Replace(x.Text, `"doc":"`, `"doc":"Another version. `, 1))
	if err != nil {
		t.Fatal(err)
	}
	w.reg.down.Store(true)
	e := exec("other", "a", w.at)
	e.Envelope.Tenant, e.Envelope.Boot, e.Envelope.Collector, e.Envelope.Stream, e.Envelope.Sequence = "t", "b", "test", "p0", 1
	v, err := w.serde.Append(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(v[1:], uint32(id))
	w.write(&kgo.Record{Topic: schemas.EndpointTopic.Name, Partition: 1, Key: []byte("t/other"), Value: v, Timestamp: w.at})
	before := w.reg.asks.Load()
	w.load(100)
	end := w.tick()
	w.passed(time.Minute, map[int32]int64{0: end[0]}, fused, r)
	w.eventually(20*time.Second, func() (bool, string) { return w.reg.asks.Load() >= before+3, "the registry is not asked again" })
	r.mu.Lock()
	at := r.at["fused"][1]
	r.mu.Unlock()
	if at >= end[1] {
		t.Fatalf("partition 1 is at %d", at)
	}
	w.eventually(20*time.Second, func() (bool, string) {
		n := metric(t, reg, "amoskys_streams_waiting_tasks", "registry")
		return n == 1, fmt.Sprintf("%v tasks wait for the registry", n)
	})
	w.reg.down.Store(false)
	w.passed(time.Minute, end, fused, r)
	r.stop()
	w.same(fused)
}

type pile struct {
	Names string `avro:"names"`
}

// hoarder keeps all it sees in one row, which grows over what the changelog takes.
var hoarder = &streams.Processor{
	Name: "hoarder", Doc: "Keeps every name of a host in one row.", Version: "1", Inputs: []*schemas.Topic{schemas.EndpointTopic}, Accepts: []string{"ProcessExec"},
	Outputs: []*schemas.Topic{schemas.LineageTopic},
	New: func(b *streams.Builder) streams.Handler {
		seen := streams.NewTable[pile](b, "pile")
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error {
			e := r.Value.(*schemas.ProcessExec)
			p, _ := seen.Get(r.Key)
			p.Names += e.Process.Name
			seen.Put(r.Key, p)
			return c.Emit(schemas.LineageTopic, &schemas.LineageRecord{Kind: "exec", ProcessChildren: int64(len(p.Names))})
		})
	},
}

// The one record that makes a row too large goes to the dead letters; those before and after it do not.
func TestRunRowTooLarge(t *testing.T) {
	stages := []streams.Stage{{Name: "hoard", Processors: []*streams.Processor{hoarder}}}
	w := newWorld(t, 1, stages)
	v := "20000"
	if _, err := w.admin().AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &v}},
		schemas.ChangelogTopic("test", "hoard").Name); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		e := exec("h", strings.Repeat("x", 100), w.at)
		if i == 23 {
			e.Process.Name = strings.Repeat("y", 19_000)
		}
		e.Envelope.Tenant, e.Envelope.Stream, e.Envelope.Sequence = "t", "p0", int64(i+1)
		b, err := w.serde.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		w.write(&kgo.Record{Topic: schemas.EndpointTopic.Name, Key: []byte("t/h"), Value: b, Timestamp: w.at})
	}
	r := w.start(stages, nil)
	w.passed(time.Minute, w.tick(), stages, r)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	var dead []string
	for _, r := range w.read(schemas.DeadLetterTopic.Name)[0] {
		p, err := w.serde.Decode(t.Context(), r.Value)
		if err != nil {
			t.Fatal(err)
		}
		d := p.(*schemas.DeadLetter)
		dead = append(dead, fmt.Sprintf("%d: %s", d.Offset, d.Error))
	}
	if len(dead) != 1 || !strings.HasPrefix(dead[0], "23: ") || !strings.Contains(dead[0], "MESSAGE_TOO_LARGE") {
		t.Errorf("dead letters are %q", dead)
	}
	if n := len(w.lines(w.read(schemas.LineageTopic.Name)[0])); n != 39 {
		t.Errorf("%d records came out, want 39", n)
	}
}

// Barrier waits for open transactions, and nothing is committed while its function runs.
func TestBarrier(t *testing.T) {
	w := newWorld(t, 2, fused)
	var commits atomic.Int64
	r := w.start(fused, func(a *streams.App) {
		a.Workers = 2
		f := a.OnCommit
		a.OnCommit = func(s string, p int32, o schemas.Origin) { commits.Add(1); f(s, p, o) }
	})
	w.load(100)
	w.passed(time.Minute, w.tick(), fused, r)
	boom := errors.New("boom")
	for range 3 {
		err := r.app.Barrier(t.Context(), func() error {
			before := commits.Load()
			w.load(50)
			ts, err := w.admin().ListTransactions(t.Context(), nil, []string{"Ongoing"})
			if err != nil {
				return err
			}
			if n := len(ts.TransactionalIDs()); n > 0 || commits.Load() != before {
				t.Errorf("%d transactions are open, %d were committed", n, commits.Load()-before)
			}
			return boom
		})
		if err != boom {
			t.Fatalf("got %v", err)
		}
		w.passed(time.Minute, w.tick(), fused, r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	held := make(chan struct{})
	go r.app.Barrier(t.Context(), func() error { <-held; return nil })
	w.eventually(10*time.Second, func() (bool, string) {
		err := r.app.Barrier(ctx, func() error { return nil })
		return errors.Is(err, context.Canceled), fmt.Sprint(err)
	})
	close(held)
	w.load(50)
	w.passed(time.Minute, w.tick(), fused, r)
	r.stop()
	w.same(fused)
}

func TestSlots(t *testing.T) {
	w := newWorld(t, 2, fused)
	dir := t.TempDir()
	mod := func(a *streams.App) { a.FreshIDs, a.LockDir, a.Instance = false, dir, "here" }
	a, b := w.start(fused, mod), w.start(fused, mod)
	w.load(10)
	w.passed(time.Minute, w.tick(), fused, a, b)
	w.eventually(20*time.Second, func() (bool, string) {
		ts, err := w.admin().ListTransactions(t.Context(), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids := ts.TransactionalIDs()
		return len(ids) == 2 && ids[0] == "test.fused.here.0" && ids[1] == "test.fused.here.1", fmt.Sprint(ids)
	})
	a.stop()
	b.stop()
	c := w.app(fused)
	c.FreshIDs, c.LockDir = false, "/dev/null/x"
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "lock a worker slot") {
		t.Errorf("got %v", err)
	}
}

// Records as large as the topic takes, which nobody can decode: the dead letters about them are not larger.
func TestRunLargestRecords(t *testing.T) {
	w := newWorld(t, 1, fused)
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(1<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const most = 1<<20 - 200
	for _, c := range [][2]int{{1, most}, {1, most - 300}, {most - 1, 1}, {most / 2, most / 2}, {most / 3, most / 2}} {
		r := &kgo.Record{Topic: schemas.EndpointTopic.Name, Key: make([]byte, c[0]), Value: make([]byte, c[1]), Timestamp: w.at}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	w.load(20)
	r := w.start(fused, nil)
	w.passed(time.Minute, w.tick(), fused, r)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range w.read(schemas.DeadLetterTopic.Name)[0] {
		p, err := w.serde.Decode(t.Context(), r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if p.(*schemas.DeadLetter).Offset < 5 {
			n++
		}
	}
	if n != 5 {
		t.Errorf("%d dead letters about 5 records", n)
	}
}
