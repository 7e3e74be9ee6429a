package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// metrics are the collectors of one App. They are registered on the App's registerer with its name as a label, so that two
// of them can live in one process.
type metrics struct {
	in, out, dead, late *prometheus.CounterVec // stage, processor
	repeats, lost       *prometheus.CounterVec // stage
	transactions        *prometheus.CounterVec // stage, result
	end                 *prometheus.HistogramVec
	lag                 *prometheus.GaugeVec   // stage, topic, partition
	held                *prometheus.GaugeVec   // stage, partition
	waiting             *prometheus.GaugeVec   // stage, what for
	sessions            *prometheus.CounterVec // stage
	rebalances          *prometheus.CounterVec // stage, event
	restores            *prometheus.CounterVec // stage, result
	restoreRows         *prometheus.CounterVec // stage
	restoreLeft         *prometheus.GaugeVec   // stage, partition
	expired             *prometheus.CounterVec // stage, topic
	ticks               *prometheus.CounterVec // topic
	snapshots           *prometheus.CounterVec // stage, result
	connections         *prometheus.CounterVec // result
	traffic             *prometheus.CounterVec // direction, form

	all []prometheus.Collector
}

func newMetrics() *metrics {
	m := &metrics{}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "amoskys", Subsystem: "streams", Name: name, Help: help}, labels)
		m.all = append(m.all, c)
		return c
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "amoskys", Subsystem: "streams", Name: name, Help: help}, labels)
		m.all = append(m.all, g)
		return g
	}
	m.in = counter("records_in_total", "Records that a processor has taken, in transactions that committed.", "stage", "processor")
	m.out = counter("records_out_total", "Records that a processor has emitted, in transactions that committed.", "stage", "processor")
	m.dead = counter("records_dead_total", "Records in the dead-letter topic; the processor is empty for what could not be decoded.", "stage", "processor")
	m.late = counter("records_late_total", "Records that came after the lateness of a window.", "stage", "processor")
	m.repeats = counter("events_repeated_total", "Collected events that were on the log twice, and dropped.", "stage")
	m.lost = counter("events_lost_total", "Collected events that are missing, by their sequence numbers.", "stage")
	m.transactions = counter("transactions_total", "Transactions with records, by result: committed, aborted or unknown.", "stage", "result")
	m.end = prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "amoskys", Subsystem: "streams", Name: "transaction_end_seconds",
		Help: "From the last record of a transaction to its end.", Buckets: prometheus.ExponentialBuckets(0.004, 2, 13)}, []string{"stage"})
	m.all = append(m.all, m.end)
	m.lag = gauge("lag_records", "Records of an input between the position that is processed and its end, at the last fetch.", "stage", "topic", "partition")
	m.held = gauge("held_records", "Records that wait for those of another input.", "stage", "partition")
	m.waiting = gauge("waiting_tasks", "Tasks that do not process: they wait for their restore, or for the schema registry.", "stage", "for")
	m.sessions = counter("sessions_total", "Sessions that a worker has opened.", "stage")
	m.rebalances = counter("rebalances_total", "Events of the consumer group: assigned, revoked or lost.", "stage", "event")
	m.restores = counter("restores_total", "Tasks restored from the changelog, by result: done or given_up.", "stage", "result")
	m.restoreRows = counter("restored_records_total", "Changelog records read in restores.", "stage")
	m.restoreLeft = gauge("restore_left_records", "Changelog records that a restore has still to read.", "stage", "partition")
	m.expired = counter("expired_records_total", "Input records that retention deleted before they were processed.", "stage", "topic")
	m.ticks = counter("ticks_total", "Ticks written to quiet ingest partitions.", "topic")
	m.snapshots = counter("snapshots_total", "Snapshots of task state, by result: written or failed.", "stage", "result")
	m.connections = counter("broker_connections_total", "Connections to brokers, by result: opened or failed.", "result")
	m.traffic = counter("broker_bytes_total", "Bytes of record batches, by direction (produce, fetch) and form (plain, compressed).", "direction", "form")
	return m
}

// register registers the collectors under the application's name and returns how to take them away again.
func (m *metrics) register(reg prometheus.Registerer, app string) (unregister func(), err error) {
	if reg == nil {
		return func() {}, nil
	}
	reg = prometheus.WrapRegistererWith(prometheus.Labels{"app": app}, reg)
	for i, c := range m.all {
		if err := reg.Register(c); err != nil {
			for _, c := range m.all[:i] {
				reg.Unregister(c)
			}
			return nil, fmt.Errorf("register metrics of application %s: %w", app, err)
		}
	}
	return func() {
		for _, c := range m.all {
			reg.Unregister(c)
		}
	}, nil
}

// counted remembers what of a task's totals is in the metrics already: a task's totals include what was rolled back, so
// they are read after each commit and what an abort added is skipped.
type counted struct {
	Counts
	procs map[string]ProcessorCounts
}

func countsOf(t *Task) counted {
	c := counted{Counts: t.Counts(), procs: map[string]ProcessorCounts{}}
	for name, p := range c.Counts.Processors {
		c.procs[name] = *p
	}
	return c
}

// committed adds to the metrics what lies between two readings of a task's totals.
func (m *metrics) committed(stage string, was, is counted) {
	var dead int64
	for name, p := range is.procs {
		q := was.procs[name]
		add(m.in, p.In-q.In, stage, name)
		add(m.out, p.Out-q.Out, stage, name)
		add(m.dead, p.Dead-q.Dead, stage, name)
		add(m.late, p.Late-q.Late, stage, name)
		dead += p.Dead - q.Dead
	}
	add(m.dead, is.Dead-was.Dead-dead, stage, "")
	add(m.repeats, is.Repeats-was.Repeats, stage)
	add(m.lost, is.Lost-was.Lost, stage)
}

func add(c *prometheus.CounterVec, n int64, labels ...string) {
	if n > 0 {
		c.WithLabelValues(labels...).Add(float64(n))
	}
}

func label(partition int32) string { return strconv.Itoa(int(partition)) }

// wire watches the clients of an App: it counts connections and bytes, and says which broker cannot be reached, once in a
// while: clients try again many times a second.
type wire struct {
	m   *metrics
	log *slog.Logger

	mu   sync.Mutex
	last map[string]time.Time
}

var (
	_ kgo.HookBrokerConnect       = (*wire)(nil)
	_ kgo.HookProduceBatchWritten = (*wire)(nil)
	_ kgo.HookFetchBatchRead      = (*wire)(nil)
)

const complaintEvery = 10 * time.Second

func (w *wire) OnBrokerConnect(b kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil {
		w.m.connections.WithLabelValues("opened").Inc()
		return
	}
	if errors.Is(err, context.Canceled) {
		return // the client was closed meanwhile
	}
	w.m.connections.WithLabelValues("failed").Inc()
	at := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	w.mu.Lock()
	quiet := time.Since(w.last[at]) < complaintEvery
	if !quiet {
		w.last[at] = time.Now()
	}
	w.mu.Unlock()
	if !quiet {
		_, reason := classify(err)
		w.log.Warn("broker cannot be reached", "broker", at, "err", err, "reason", reason)
	}
}

func (w *wire) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, b kgo.ProduceBatchMetrics) {
	w.m.traffic.WithLabelValues("produce", "plain").Add(float64(b.UncompressedBytes))
	w.m.traffic.WithLabelValues("produce", "compressed").Add(float64(b.CompressedBytes))
}

func (w *wire) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, b kgo.FetchBatchMetrics) {
	w.m.traffic.WithLabelValues("fetch", "plain").Add(float64(b.UncompressedBytes))
	w.m.traffic.WithLabelValues("fetch", "compressed").Add(float64(b.CompressedBytes))
}

// clientLog hands the client library's own words to the log, at debug level: what matters is logged by the engine itself.
type clientLog struct{ log *slog.Logger }

func (l clientLog) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelNone
}

func (l clientLog) Log(level kgo.LogLevel, msg string, kv ...any) {
	l.log.Debug("kafka client: "+msg, append(kv, "client_level", level.String())...)
}
