package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// readAll reads a topic from its start to the end of the moment, by partition. committed hides what aborted transactions
// wrote, and waits until no transaction is open: EndTxn returns before its markers are written.
func readAll(t testing.TB, opts []kgo.Opt, topic string, committed bool) map[int32][]*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	level := kgo.ReadUncommitted()
	if committed {
		level = kgo.ReadCommitted()
	}
	cl, err := kgo.NewClient(append(slices.Clone(opts), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(level), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	end := endOffsets(ctx, t, adm, topic)
	out, left := map[int32][]*kgo.Record{}, 0
	next := map[int32]int64{}
	start := patiently(t, "first offsets of "+topic, func(ctx context.Context) (kadm.ListedOffsets, error) { return listed(adm.ListStartOffsets(ctx, topic)) })
	for p, o := range end {
		s, _ := start.Lookup(topic, p)
		if next[p] = s.Offset; s.Offset < o {
			left++
		}
	}
	for left > 0 {
		fs := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("read %s: %d partitions not at their end: %v", topic, left, err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if next[r.Partition] >= end[r.Partition] {
				return
			}
			if !r.Attrs.IsControl() {
				out[r.Partition] = append(out[r.Partition], r)
			}
			if next[r.Partition] = r.Offset + 1; next[r.Partition] >= end[r.Partition] {
				left--
			}
		})
	}
	return out
}

// listed joins the errors of an answer about offsets: that of the request, and those of its partitions.
func listed(os kadm.ListedOffsets, err error) (kadm.ListedOffsets, error) {
	return os, errors.Join(err, os.Error())
}

// endOffsets are the high watermarks of a topic once they equal the last stable offsets.
func endOffsets(ctx context.Context, t testing.TB, adm *kadm.Client, topic string) map[int32]int64 {
	t.Helper()
	for {
		stable := patiently(t, "last stable offsets of "+topic, func(ctx context.Context) (kadm.ListedOffsets, error) {
			return listed(adm.ListCommittedOffsets(ctx, topic))
		})
		high := patiently(t, "end offsets of "+topic, func(ctx context.Context) (kadm.ListedOffsets, error) { return listed(adm.ListEndOffsets(ctx, topic)) })
		out, same := map[int32]int64{}, true
		high.Each(func(o kadm.ListedOffset) {
			s, ok := stable.Lookup(topic, o.Partition)
			same = same && ok && s.Offset == o.Offset
			out[o.Partition] = o.Offset
		})
		if same {
			return out
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("a transaction on %s stays open", topic)
		}
	}
}

// alertsOn are the alerts that a read-committed reader sees.
func alertsOn(t testing.TB, opts []kgo.Opt, serde *schemas.Serde) []*schemas.Alert {
	t.Helper()
	var out []*schemas.Alert
	for _, rs := range readAll(t, opts, schemas.AlertsTopic.Name, true) {
		out = append(out, decodeAlerts(t, rs, serde)...)
	}
	return out
}

func decodeAlerts(t testing.TB, rs []*kgo.Record, serde *schemas.Serde) (out []*schemas.Alert) {
	t.Helper()
	for _, r := range rs {
		v, err := serde.Decode(t.Context(), r.Value)
		if err != nil {
			t.Fatalf("decode alert %d@%d: %v", r.Partition, r.Offset, err)
		}
		if a, ok := v.(*schemas.Alert); ok {
			out = append(out, a)
		}
	}
	return out
}

// referenceBefore is what one undisturbed task per partition makes of the ingest log, up to some offsets by partition; nil
// for all of it: what every run over the same log must equal, whatever happened to it.
func referenceBefore(t testing.TB, opts []kgo.Opt, suite []*streams.Processor, serde *schemas.Serde, limit map[int32]int64) []*schemas.Alert {
	t.Helper()
	plan, err := streams.NewPlan(t.Context(), "reference", streams.Stage{Name: "reference", Processors: suite}, suite, serde)
	if err != nil {
		t.Fatal(err)
	}
	var out []*schemas.Alert
	for p, rs := range readAll(t, opts, schemas.EndpointTopic.Name, true) {
		task := streams.NewTask(plan, p)
		for _, r := range rs {
			if limit != nil && r.Offset >= limit[p] {
				break
			}
			if err := task.Offer(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		made := slices.DeleteFunc(task.Take(), func(r *kgo.Record) bool { return r.Topic != schemas.AlertsTopic.Name })
		out = append(out, decodeAlerts(t, made, serde)...)
	}
	return out
}

// sameAlerts fails unless two sets of alerts have one digest, and neither is empty: a check over nothing is no check.
func sameAlerts(t testing.TB, what string, want, got []*schemas.Alert) {
	t.Helper()
	if len(want) == 0 {
		t.Fatalf("%s: the reference has no alerts, so nothing is shown", what)
	}
	w, err := schemas.Digest(want)
	if err != nil {
		t.Fatal(err)
	}
	g, err := schemas.Digest(got)
	if err != nil {
		t.Fatal(err)
	}
	if w != g {
		t.Errorf("%s: digest %.16s of %d alerts, want %.16s of %d%s", what, g, len(got), w, len(want), difference(want, got))
	}
}

func difference(want, got []*schemas.Alert) string {
	count := map[string]int{}
	for _, a := range want {
		c, _ := a.Canonical()
		count[string(c)]++
	}
	for _, a := range got {
		c, _ := a.Canonical()
		count[string(c)]--
	}
	var text string
	n := 0
	for c, k := range count {
		if k != 0 && n < 4 {
			text += fmt.Sprintf("\n%+d %.600s", -k, c)
			n++
		}
	}
	return text
}
