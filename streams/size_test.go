package streams

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// onWire is the size of a batch that has one record, uncompressed.
func onWire(r *kgo.Record) int {
	k := kmsg.NewRecord()
	k.Key, k.Value, k.Length = r.Key, r.Value, int32(len(r.Value))
	k.TimestampDelta64, k.OffsetDelta = 1<<40, 1<<30 // more than they ever are in a batch of one
	for _, h := range r.Headers {
		k.Headers = append(k.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
	}
	return 61 + len(k.AppendTo(nil))
}

// Whatever a record, what becomes of it is a record that the topics take: one emitted, a late one, a dead letter. A key and
// headers count like the value. Else the transaction fails as a whole, and the record is kept from all processors.
func TestNothingIsLargerThanTopicsTake(t *testing.T) {
	const most = 2000
	serde, err := schemas.NewSerde(t.Context(), &schemas.LocalRegistry{})
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	echo := &Processor{Name: "echo", Doc: "For a test.", Version: "1", Inputs: []*schemas.Topic{schemas.EndpointTopic}, Outputs: []*schemas.Topic{schemas.ScoresTopic},
		New: func(b *Builder) Handler {
			w := NewWindow(b, WindowSpec[gapRow]{Name: "w", Size: time.Minute, Lateness: time.Minute})
			return HandlerFunc(func(c *Context, r *Record) error {
				e := r.Value.(*schemas.ProcessExec)
				switch e.Process.Name {
				case "late":
					w.Update(c, r.Key, -1e18, nil)
					return nil
				case "refuse":
					return errors.New("refused " + strings.Join(e.Args, ""))
				}
				return c.Emit(schemas.ScoresTopic, &schemas.DetectorScore{Title: strings.Join(e.Args, "")})
			})
		}}
	plan, err := NewPlan(t.Context(), "test", Stage{Name: "echo", Processors: []*Processor{echo}}, []*Processor{echo}, serde)
	if err != nil {
		t.Fatal(err)
	}
	plan.MaxRecordBytes = most
	task := NewTask(plan, 0)
	trace := kgo.RecordHeader{Key: HeaderTrace, Value: traceparent(strings.Repeat("a", 32))}
	var offset int64
	for _, host := range []string{"h", strings.Repeat("h", 300)} {
		for _, name := range []string{"emit", "late", "refuse"} {
			for n := 800; n < most; n++ {
				e := &schemas.ProcessExec{Envelope: schemas.Envelope{Tenant: "t", Host: host, Boot: "b", Collector: "c", Stream: "s", Sequence: offset + 1, Time: 1},
					Process: schemas.Process{Name: name}, Args: []string{strings.Repeat("x", n)}}
				b, err := serde.Append(nil, e)
				if err != nil {
					t.Fatal(err)
				}
				r := &kgo.Record{Topic: schemas.EndpointTopic.Name, Offset: offset, Timestamp: time.UnixMilli(1e12), Key: []byte(e.Envelope.Key()), Value: b, Headers: []kgo.RecordHeader{trace}}
				offset++
				if onWire(r) > most+batchOverhead { // nobody could have written it
					break
				}
				if err := task.Offer(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				for _, r := range task.Take() {
					counts[r.Topic]++
					if size := onWire(r); size > most+batchOverhead {
						t.Fatalf("%s, host of %d bytes, argument of %d: record of %d bytes on %s, the topic takes %d", name, len(host), n, size, r.Topic, most+batchOverhead)
					}
				}
			}
		}
	}
	r := &kgo.Record{Topic: schemas.EndpointTopic.Name, Offset: offset, Key: []byte("t/h"), Value: []byte{0}, Headers: []kgo.RecordHeader{
		{Key: HeaderRedrive, Value: []byte("echo")}, {Key: HeaderRedriveTopic, Value: bytes.Repeat([]byte{0xff}, most/2)}}}
	if err := task.Offer(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for _, r := range task.Take() {
		v, err := serde.Decode(t.Context(), r.Value)
		if d, ok := v.(*schemas.DeadLetter); err != nil || !ok || d.Topic != schemas.EndpointTopic.Name || onWire(r) > most+batchOverhead {
			t.Errorf("what names a topic that there is not: %v, %v", v, err)
		}
	}
	for _, topic := range []*schemas.Topic{schemas.ScoresTopic, schemas.LateTopic, schemas.DeadLetterTopic} {
		if counts[topic.Name] == 0 {
			t.Errorf("nothing was written to %s", topic.Name)
		}
	}
}
