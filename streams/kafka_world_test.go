package streams_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// world is a broker over real sockets with the topics of the test chain, and what was written to it.
type world struct {
	t       *testing.T
	cluster *kfake.Cluster
	kafka   streams.Kafka
	reg     *registry
	serde   *schemas.Serde
	client  *kgo.Client
	parts   int32
	seq     map[string]int64
	at      time.Time
	rand    *rand.Rand
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
}

// registry is a schema registry that can be taken away.
type registry struct {
	schemas.LocalRegistry
	down atomic.Bool
	asks atomic.Int64
}

func (r *registry) Schema(ctx context.Context, id int32) (string, error) {
	r.asks.Add(1)
	if r.down.Load() {
		return "", fmt.Errorf("dial registry: %w", schemas.ErrRegistryUnavailable)
	}
	return r.LocalRegistry.Schema(ctx, id)
}

var fast = map[string]string{"group.consumer.heartbeat.interval.ms": "100", "group.consumer.session.timeout.ms": "2000"}

func newWorld(t *testing.T, parts int32, stages []streams.Stage, opts ...kfake.Opt) *world {
	t.Helper()
	return openWorld(t, parts, stages, (&net.Dialer{}).DialContext, opts...)
}

// virtualWorld is a world for a synctest bubble: its network is in memory, and its time is the bubble's.
func virtualWorld(t *testing.T, parts int32, stages []streams.Stage) *world {
	t.Helper()
	var vn kfake.VirtualNetwork
	w := openWorld(t, parts, stages, vn.DialContext, kfake.Ports(9092), kfake.ListenFn(vn.Listen))
	w.at = time.Now()
	return w
}

func openWorld(t *testing.T, parts int32, stages []streams.Stage, dial func(ctx context.Context, network, addr string) (net.Conn, error), opts ...kfake.Opt) *world {
	t.Helper()
	opts = append([]kfake.Opt{kfake.NumBrokers(1), kfake.BrokerConfigs(fast)}, opts...)
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := &world{t: t, cluster: c, kafka: streams.Kafka{Brokers: c.ListenAddrs(), Dial: dial}, dial: dial, reg: &registry{}, parts: parts, seq: map[string]int64{},
		at: t0, rand: rand.New(rand.NewPCG(1, 2))}
	if w.serde, err = schemas.NewSerde(t.Context(), w.reg); err != nil {
		t.Fatal(err)
	}
	w.create(stages)
	if w.client, err = kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.Dialer(dial), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	return w
}

func (w *world) create(stages []streams.Stage) {
	w.t.Helper()
	topics := schemas.Topics()
	for _, s := range stages {
		topics = append(topics, schemas.ChangelogTopic("test", s.Name))
	}
	if _, err := streams.EnsureTopics(w.t.Context(), w.kafka, topics, int(w.parts), 1); err != nil {
		w.t.Fatal(err)
	}
}

// load writes n events of a seeded mix to the ingest topic.
func (w *world) load(n int) {
	w.t.Helper()
	var rs []*kgo.Record
	for range n {
		w.at = w.at.Add(time.Duration(w.rand.IntN(500)) * time.Millisecond)
		host := fmt.Sprintf("h%d", w.rand.IntN(int(w.parts)*3))
		e := exec(host, []string{"a", "b", "refused", "panics", "c"}[w.rand.IntN(5)], w.at.Add(-time.Duration(w.rand.IntN(90))*time.Second))
		w.seq[host]++
		if w.rand.IntN(50) == 0 {
			w.seq[host]++
		}
		e.Envelope.Tenant, e.Envelope.Boot, e.Envelope.Collector, e.Envelope.Stream, e.Envelope.Sequence = "t", "b", "test", "p0", w.seq[host]
		v, err := w.serde.Append(nil, e)
		if err != nil {
			w.t.Fatal(err)
		}
		var part int32
		for _, b := range []byte(host) {
			part = (part*31 + int32(b)) % w.parts
		}
		rs = append(rs, &kgo.Record{Topic: schemas.EndpointTopic.Name, Partition: part, Key: []byte(e.Envelope.Key()), Value: v, Timestamp: w.at})
	}
	w.write(rs...)
}

// tick writes a tick to each partition and returns their offsets.
func (w *world) tick() map[int32]int64 {
	w.t.Helper()
	w.at = w.at.Add(time.Minute)
	var rs []*kgo.Record
	for part := range w.parts {
		v, err := w.serde.Append(nil, &schemas.Tick{Time: w.at.UnixNano()})
		if err != nil {
			w.t.Fatal(err)
		}
		rs = append(rs, &kgo.Record{Topic: schemas.EndpointTopic.Name, Partition: part, Value: v, Timestamp: w.at})
	}
	w.write(rs...)
	at := map[int32]int64{}
	for _, r := range rs {
		at[r.Partition] = r.Offset
	}
	return at
}

func (w *world) write(rs ...*kgo.Record) {
	w.t.Helper()
	if err := w.client.ProduceSync(w.t.Context(), rs...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// run is an App that runs, and how far its stages have come.
type run struct {
	t      *testing.T
	app    *streams.App
	cancel context.CancelFunc
	done   chan error
	dialer *dialer
	mu     sync.Mutex
	at     map[string]map[int32]int64 // stage -> partition -> ingest offset
}

// dialer is the network of one App: cut, it is as if the process was killed.
type dialer struct {
	dialer func(ctx context.Context, network, addr string) (net.Conn, error)
	mu     sync.Mutex
	conns  []net.Conn
	dead   bool
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, errors.New("network is cut")
	}
	c, err := d.dialer(ctx, network, addr)
	if err == nil {
		d.conns = append(d.conns, c)
	}
	return c, err
}

func (d *dialer) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	for _, c := range d.conns {
		c.Close()
	}
}

func (d *dialer) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = false
}

func (w *world) start(stages []streams.Stage, mod func(*streams.App)) *run {
	w.t.Helper()
	var suite []*streams.Processor
	for _, s := range stages {
		suite = append(suite, s.Processors...)
	}
	r := &run{t: w.t, done: make(chan error, 1), dialer: &dialer{dialer: w.dial}, at: map[string]map[int32]int64{}}
	k := w.kafka
	k.Dial = r.dialer.dial
	r.app = &streams.App{Name: "test", Stages: stages, Suite: suite, Kafka: k, Registry: w.reg, FreshIDs: true, CommitInterval: 20 * time.Millisecond,
		TxnTimeout: 4 * time.Second, Logger: logger(w.t), OnCommit: r.commit}
	if mod != nil {
		mod(r.app)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- r.app.Run(ctx) }()
	w.t.Cleanup(func() { r.stop() })
	return r
}

func logger(t *testing.T) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	level := slog.LevelInfo
	if os.Getenv("STREAMS_TEST_DEBUG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("test", t.Name())
}

func (r *run) commit(stage string, part int32, o schemas.Origin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at[stage] == nil {
		r.at[stage] = map[int32]int64{}
	}
	r.at[stage][part] = o.Offset
}

// stop ends the run and returns what Run returned.
func (r *run) stop() error {
	r.cancel()
	err := <-r.done
	r.done <- err
	return err
}

// kill ends the run as SIGKILL would: nothing more gets out.
func (r *run) kill() {
	r.dialer.cut()
	r.cancel()
}

// passed waits until the runs together have committed all stages past the offsets.
func (w *world) passed(within time.Duration, offsets map[int32]int64, stages []streams.Stage, runs ...*run) {
	w.t.Helper()
	w.eventually(within, func() (bool, string) {
		for _, s := range stages {
			for part, want := range offsets {
				at := int64(-1)
				for _, r := range runs {
					r.mu.Lock()
					if o, ok := r.at[s.Name][part]; ok {
						at = max(at, o)
					}
					r.mu.Unlock()
				}
				if at < want {
					return false, fmt.Sprintf("stage %s partition %d is at %d, want %d", s.Name, part, at, want)
				}
			}
		}
		return true, ""
	})
}

func (w *world) eventually(within time.Duration, f func() (bool, string)) {
	w.t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, why := f()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %s: %s", within, why)
		}
		<-tick.C
	}
}

// read returns the committed records of a topic by partition.
func (w *world) read(topic string) map[int32][]*kgo.Record {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.Brokers...), kgo.Dialer(w.dial), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ends, err := adm.ListCommittedOffsets(w.t.Context(), topic)
	if err != nil {
		w.t.Fatal(err)
	}
	out, left := map[int32][]*kgo.Record{}, map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			w.t.Fatalf("read %s: not at the end of %v in time", topic, left)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out[r.Partition] = append(out[r.Partition], r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return out
}

// lines are what a reader of a topic sees, without what only moves time.
func (w *world) lines(rs []*kgo.Record) (out []string) {
	w.t.Helper()
	for _, r := range rs {
		name, err := w.serde.Name(w.t.Context(), r.Value)
		if err != nil {
			w.t.Fatal(err)
		}
		if name != "Progress" {
			out = append(out, fmt.Sprintf("%s %s %d %x", name, r.Key, r.Timestamp.UnixMilli(), r.Value))
		}
	}
	return out
}

// reference plays the ingest log through undisturbed tasks, without a broker.
func (w *world) reference(stages []streams.Stage) map[string]map[int32][]string {
	w.t.Helper()
	var suite []*streams.Processor
	for _, s := range stages {
		suite = append(suite, s.Processors...)
	}
	log := map[string]map[int32][]*kgo.Record{schemas.EndpointTopic.Name: w.read(schemas.EndpointTopic.Name)}
	for _, s := range stages {
		p, err := streams.NewPlan(w.t.Context(), "test", s, suite, w.serde)
		if err != nil {
			w.t.Fatal(err)
		}
		for part := range w.parts {
			task := streams.NewTask(p, part)
			var out []*kgo.Record
			for _, in := range p.Inputs() {
				for _, r := range log[in.Name][part] {
					if err := task.Offer(w.t.Context(), r); err != nil {
						w.t.Fatal(err)
					}
					out = append(out, task.Take()...)
				}
			}
			rest, err := task.Flush()
			if err != nil {
				w.t.Fatal(err)
			}
			for _, r := range append(out, rest...) {
				if log[r.Topic] == nil {
					log[r.Topic] = map[int32][]*kgo.Record{}
				}
				r.Offset = int64(len(log[r.Topic][part]))
				log[r.Topic][part] = append(log[r.Topic][part], r)
			}
		}
	}
	out := map[string]map[int32][]string{}
	for topic, parts := range log {
		out[topic] = map[int32][]string{}
		for part, rs := range parts {
			if topic != schemas.EndpointTopic.Name && topic != schemas.ActivationsTopic.Name && !isChangelog(topic, stages) {
				out[topic][part] = w.lines(rs)
			}
		}
	}
	return out
}

func isChangelog(topic string, stages []streams.Stage) bool {
	return slices.ContainsFunc(stages, func(s streams.Stage) bool { return topic == schemas.ChangelogTopic("test", s.Name).Name })
}

// same compares what is on the broker with the reference, record by record, and returns how many records that were.
func (w *world) same(stages []streams.Stage) (n int) {
	w.t.Helper()
	want := w.reference(stages)
	for _, topic := range slices.Sorted(maps.Keys(want)) {
		if len(want[topic]) == 0 {
			continue
		}
		got := w.read(topic)
		for part := range w.parts {
			a, b := want[topic][part], w.lines(got[part])
			if topic == schemas.LateTopic.Name || topic == schemas.DeadLetterTopic.Name { // written by several stages
				slices.Sort(a)
				slices.Sort(b)
			}
			n += len(a)
			for i := range max(len(a), len(b)) {
				switch {
				case i >= len(a):
					w.t.Fatalf("%s/%d: %d records, want %d; too many: %.300s", topic, part, len(b), len(a), b[i])
				case i >= len(b):
					w.t.Fatalf("%s/%d: %d records, want %d; missing: %.300s", topic, part, len(b), len(a), a[i])
				case a[i] != b[i]:
					w.t.Fatalf("%s/%d: record %d of %d is\n%.300s\nwant\n%.300s", topic, part, i, len(a), b[i], a[i])
				}
			}
		}
	}
	if n == 0 {
		w.t.Fatal("nothing was compared")
	}
	return n
}
