package streams_test

import (
	"context"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkTask measures a task alone, per event: decode, gate, a stateful processor, a window, a merge, and the encoding
// of what they emit; a transaction every 5,000 events.
func BenchmarkTask(b *testing.B) {
	ctx := context.Background()
	serde, err := schemas.NewSerde(ctx, &schemas.LocalRegistry{})
	if err != nil {
		b.Fatal(err)
	}
	plan, err := streams.NewPlan(ctx, "bench", fused[0], fused[0].Processors, serde)
	if err != nil {
		b.Fatal(err)
	}
	task := streams.NewTask(plan, 0)
	names := []string{"a", "b", "c", "d"}
	var recs []*kgo.Record
	for i := range 200_000 {
		e := exec("host", names[i%4], t0.Add(time.Duration(i)*time.Millisecond))
		e.Envelope = schemas.Envelope{Tenant: "default", Host: "3f2a9c1b", Boot: "b7e1c4d2", Collector: "proc", Stream: "p0", Sequence: int64(i) + 1, Time: t0.UnixNano() + int64(i)*1e6}
		e.Args = []string{"a", "--flag", "value"}
		v, err := serde.Append(nil, e)
		if err != nil {
			b.Fatal(err)
		}
		recs = append(recs, &kgo.Record{Topic: schemas.EndpointTopic.Name, Key: []byte("default/3f2a9c1b"), Value: v, Timestamp: t0})
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i == len(recs) {
			b.StopTimer()
			task, i = streams.NewTask(plan, 0), 0
			b.StartTimer()
		}
		r := *recs[i]
		r.Offset = int64(i)
		if err := task.Offer(ctx, &r); err != nil {
			b.Fatal(err)
		}
		if i++; i%5000 == 0 {
			task.Take()
			if _, err := task.Flush(); err != nil {
				b.Fatal(err)
			}
			task.Commit()
		}
	}
}
