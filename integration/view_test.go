package integration

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/amoskys/amoskys/internal/testbroker"
	"github.com/amoskys/amoskys/processors"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/registry"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The groups of the stages that read the ingest topic.
var (
	chainGroup   = streams.GroupID("amoskys", "chain")
	lineageGroup = streams.GroupID("amoskys", "lineage")
)

// A view looks at a cluster from outside, with all rights.
type view struct {
	kafka streams.Kafka
	opts  []kgo.Opt
	reg   schemas.Registry
	serde *schemas.Serde
	adm   *kadm.Client
	suite []*streams.Processor

	pouring *streams.Producer // see pour
}

// see opens a view. The topics must be there.
func see(t testing.TB, c *testbroker.Cluster) *view {
	t.Helper()
	v := &view{kafka: streams.Kafka{Brokers: c.Addrs()}, opts: options(t, c)}
	var err error
	if v.kafka.TLS.CAFile, v.kafka.TLS.CertFile, v.kafka.TLS.KeyFile, err = c.Files(testbroker.Admin); err != nil {
		t.Fatal(err)
	}
	s, err := registry.NewServer(t.Context(), v.kafka, registry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	v.reg = s
	v.open(t)
	return v
}

func (v *view) open(t testing.TB) {
	t.Helper()
	var err error
	if v.serde, err = schemas.NewSerde(t.Context(), v.reg); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(v.opts...)
	if err != nil {
		t.Fatal(err)
	}
	v.adm = kadm.NewClient(cl)
	t.Cleanup(v.adm.Close)
	v.suite = processors.Suite(processors.Defaults())
}

// ends are the offsets behind the ingest log of the moment.
func (v *view) ends(t testing.TB) map[int32]int64 {
	t.Helper()
	os := patiently(t, "ends of the ingest log", func(ctx context.Context) (kadm.ListedOffsets, error) {
		return listed(v.adm.ListEndOffsets(ctx, schemas.EndpointTopic.Name))
	})
	out := map[int32]int64{}
	os.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out
}

// settle waits until a group has processed the ingest log of the moment, and returns the offsets behind it.
func (v *view) settle(t testing.TB, group string, within time.Duration) map[int32]int64 {
	t.Helper()
	ends := v.ends(t)
	eventually(t, within, "processing the log", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // so that the last error says more than that time is over
		defer cancel()
		rs, err := v.adm.FetchOffsets(ctx, group)
		if err != nil {
			return err
		}
		for p, end := range ends {
			if o, ok := rs.Lookup(schemas.EndpointTopic.Name, p); end > 0 && (!ok || o.At < end) {
				return fmt.Errorf("partition %d is processed to %d of %d", p, o.At, end)
			}
		}
		return nil
	})
	return ends
}

// before are the alerts that come from the ingest log before some offsets.
func (v *view) before(t testing.TB, limit map[int32]int64) []*schemas.Alert {
	t.Helper()
	return slices.DeleteFunc(alertsOn(t, v.opts, v.serde), func(a *schemas.Alert) bool {
		return a.Provenance.Origin.Offset >= limit[a.Provenance.Origin.Partition]
	})
}

// mustEqual compares the alerts of a run with the reference over the same part of the log, as soon as there are as many.
func (v *view) mustEqual(t testing.TB, what string, limit map[int32]int64, within time.Duration) []*schemas.Alert {
	t.Helper()
	want := referenceBefore(t, v.opts, v.suite, v.serde, limit)
	var got []*schemas.Alert
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(within); ; <-tick.C {
		if got = v.before(t, limit); len(got) >= len(want) || time.Now().After(until) {
			break
		}
	}
	sameAlerts(t, what, want, got)
	if d, err := schemas.Digest(got); err == nil {
		n := int64(0)
		for _, o := range limit {
			n += o
		}
		t.Logf("%s: %d alerts of %d ingest records, digest %.16s", what, len(got), n, d)
	}
	return got
}

// count is how many records a read-committed reader sees of a schema on a topic.
func (v *view) count(t testing.TB, topic *schemas.Topic, schema string) (n int) {
	t.Helper()
	for _, rs := range readAll(t, v.opts, topic.Name, true) {
		for _, r := range rs {
			if name, err := v.serde.Name(t.Context(), r.Value); err == nil && name == schema {
				n++
			}
		}
	}
	return n
}

// events are the events of the ingest log, by partition and in order, without ticks.
func (v *view) events(t testing.TB) (out []schemas.Event) {
	t.Helper()
	for _, rs := range readAll(t, v.opts, schemas.EndpointTopic.Name, true) {
		for _, r := range rs {
			x, err := v.serde.Decode(t.Context(), r.Value)
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := x.(schemas.Event); ok {
				out = append(out, e)
			}
		}
	}
	return out
}
