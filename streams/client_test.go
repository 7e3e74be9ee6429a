package streams

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestClientLog(t *testing.T) {
	var b bytes.Buffer
	quiet := clientLog{slog.New(slog.NewTextHandler(&b, nil))}
	loud := clientLog{slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if quiet.Level() != kgo.LogLevelNone || loud.Level() != kgo.LogLevelInfo {
		t.Errorf("levels are %v, %v", quiet.Level(), loud.Level())
	}
	loud.Log(kgo.LogLevelWarn, "hello", "topic", "x")
	if s := b.String(); !strings.Contains(s, "kafka client: hello") || !strings.Contains(s, "topic=x") || !strings.Contains(s, "level=DEBUG") {
		t.Errorf("got %s", s)
	}
}

// What cannot be reached is told, but not each time it is tried; and a tick that cannot be written is no more than that.
func TestComplaints(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	e := &engine{app: &App{Kafka: Kafka{Brokers: []string{"nowhere"}}}, log: log, m: newMetrics()}
	e.wire = &wire{m: e.m, log: log, last: map[string]time.Time{}}
	serde, err := schemas.NewSerde(t.Context(), &schemas.LocalRegistry{})
	if err != nil {
		t.Fatal(err)
	}
	tick := newTicker(e, serde)
	for range 3 {
		tick.send("some.topic", 4, time.Now())
		e.wire.OnBrokerConnect(kgo.BrokerMetadata{Host: "here", Port: 1}, 0, nil, kgo.ErrClientClosed)
	}
	tick.close()
	s := b.String()
	if strings.Count(s, "tick cannot be written") != 1 || !strings.Contains(s, "some.topic") || !strings.Contains(s, "kafka.brokers[0]") {
		t.Errorf("ticks: %s", s)
	}
	if strings.Count(s, "broker cannot be reached") != 1 || !strings.Contains(s, "here:1") {
		t.Errorf("brokers: %s", s)
	}
}

// Retention may delete the rest of what is read to its end: the reading ends at the first record behind it.
func TestReadingEndsPastItsEnd(t *testing.T) {
	a, b := topicPart{"t", 0}, topicPart{"t", 1}
	m := &remaining{end: map[topicPart]int64{a: 5, b: 5}, n: 2}
	for _, c := range []struct {
		part   int32
		offset int64
		in     bool
		left   int
	}{{0, 3, true, 2}, {0, 7, false, 1}, {0, 8, false, 1}, {1, 4, true, 0}, {1, 5, false, 0}, {2, 0, false, 0}} {
		if in := m.take(&kgo.Record{Topic: "t", Partition: c.part, Offset: c.offset}); in != c.in || m.n != c.left {
			t.Errorf("record %d of partition %d: in %v, %d partitions left; want %v, %d", c.offset, c.part, in, m.n, c.in, c.left)
		}
	}
}
