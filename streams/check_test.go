package streams_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

func (w *world) admin() *kadm.Client { return kadm.NewClient(w.client) }

func (w *world) app(stages []streams.Stage) *streams.App {
	return &streams.App{Name: "test", Stages: stages, Kafka: w.kafka, Registry: w.reg, FreshIDs: true, Logger: logger(w.t)}
}

func wantErr(t *testing.T, err, is error, words ...string) {
	t.Helper()
	if !errors.Is(err, is) {
		t.Fatalf("got %v, want %v", err, is)
	}
	for _, x := range words {
		if !strings.Contains(err.Error(), x) {
			t.Errorf("got %q, want it to name %q", err, x)
		}
	}
}

func TestCheckMissingTopics(t *testing.T) {
	w := newWorld(t, 2, nil)
	err := w.app(fused).Check(t.Context())
	wantErr(t, err, streams.ErrTopicMissing, "amoskys.changelog.test.fused", "amoskys topics create")
	if err := w.app(fused).Run(t.Context()); !errors.Is(err, streams.ErrTopicMissing) {
		t.Errorf("Run: got %v", err)
	}
	w.create(fused)
	if err := w.app(fused).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestCheckPartitionCounts(t *testing.T) {
	w := newWorld(t, 2, fused)
	adm := w.admin()
	w.load(20)
	r := w.start(fused, nil)
	w.passed(time.Minute, w.tick(), fused, r)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	grow := func(topics ...string) {
		t.Helper()
		if _, err := adm.UpdatePartitions(t.Context(), 3, topics...); err != nil {
			t.Fatal(err)
		}
	}
	grow(schemas.EndpointTopic.Name)
	wantErr(t, w.app(fused).Check(t.Context()), streams.ErrPartitionCount, "telemetry.endpoint.v1 has 3 partitions", "has 2", "stop all stages")
	for _, topic := range schemas.Topics() {
		if topic.Partitions == 0 && topic != schemas.EndpointTopic && topic != schemas.LateTopic {
			grow(topic.Name)
		}
	}
	grow(schemas.ChangelogTopic("test", "fused").Name)
	wantErr(t, w.app(fused).Check(t.Context()), streams.ErrPartitionCount, "late.v1 has 2 partitions, want at least 3: add partitions")
	grow(schemas.LateTopic.Name)
	// All topics agree again; only the group remembers.
	err := w.app(fused).Run(t.Context())
	wantErr(t, err, streams.ErrPartitionCount, "it has run with 2 partitions", "have 3 now")
}

// A partition that comes up while the stages run is as much of a change.
func TestRunPartitionComesUp(t *testing.T) {
	w := newWorld(t, 2, fused)
	w.load(20)
	r := w.start(fused, nil)
	w.passed(time.Minute, w.tick(), fused, r)
	if _, err := w.admin().UpdatePartitions(t.Context(), 3, schemas.EndpointTopic.Name); err != nil {
		t.Fatal(err)
	}
	w.parts = 3
	w.client.ForceMetadataRefresh()
	w.eventually(20*time.Second, func() (bool, string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.client.ProduceSync(ctx, &kgo.Record{Topic: schemas.EndpointTopic.Name, Partition: 2, Value: []byte("x")}).FirstErr()
		return err == nil, "no partition 2"
	})
	select {
	case err := <-r.done:
		r.done <- err
		wantErr(t, err, streams.ErrPartitionCount, "run stage fused")
	case <-time.After(30 * time.Second):
		t.Fatal("Run goes on")
	}
}

func TestCheckChangelogPolicy(t *testing.T) {
	w := newWorld(t, 1, fused)
	v := "delete"
	topic := schemas.ChangelogTopic("test", "fused")
	if _, err := w.admin().AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &v}}, topic.Name); err != nil {
		t.Fatal(err)
	}
	if err := w.app(fused).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "state would be deleted") {
		t.Errorf("got %v", err)
	}
	ps, err := streams.VerifyTopics(t.Context(), w.kafka, append(schemas.Topics(), topic), 2)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range ps {
		got = append(got, p.String())
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{`cleanup.policy is "delete", want "compact"`, "kafka-configs.sh", "partitions is 1, want 2"} {
		if !strings.Contains(text, want) {
			t.Errorf("problems do not have %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "audit.v1: partitions") {
		t.Errorf("the audit topic has one partition by declaration:\n%s", text)
	}
}

func TestVerifyTopicsMissing(t *testing.T) {
	w := newWorld(t, 1, nil)
	ps, err := streams.VerifyTopics(t.Context(), w.kafka, []*schemas.Topic{schemas.ChangelogTopic("a", "b"), schemas.NormalizedTopic, schemas.AlertsTopic}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(ps) != 1 || ps[0].Setting != "topic" || ps[0].Have != "missing" || ps[0].Topic != "amoskys.changelog.a.b" {
		t.Errorf("got %v", ps)
	}
}

func TestEnsureTopics(t *testing.T) {
	w := newWorld(t, 1, nil)
	topics := []*schemas.Topic{schemas.ChangelogTopic("x", "y"), schemas.NormalizedTopic, schemas.AuditTopic}
	got, err := streams.EnsureTopics(t.Context(), w.kafka, topics, 3, 1)
	if err != nil || len(got) != 1 || got[0] != "amoskys.changelog.x.y" {
		t.Fatalf("got %v, %v", got, err)
	}
	if got, err = streams.EnsureTopics(t.Context(), w.kafka, topics, 3, 1); err != nil || len(got) != 0 {
		t.Fatalf("again: got %v, %v", got, err)
	}
	if ps, err := streams.VerifyTopics(t.Context(), w.kafka, topics, 3); err != nil || len(ps) != 0 {
		t.Fatalf("got %v, %v", ps, err)
	}
	_, err = streams.EnsureTopics(t.Context(), w.kafka, []*schemas.Topic{{Name: "three"}, {Name: "copies"}}, 1, 3)
	if err == nil || !strings.Contains(err.Error(), "create topic three") || !strings.Contains(err.Error(), "create topic copies") {
		t.Errorf("got %v", err)
	}
}

// Brokers without KIP-848 get classic groups, with the same results.
func TestRunClassicGroups(t *testing.T) {
	w := newWorld(t, 3, fused, kfake.MaxVersions(kversion.V3_7_0()))
	w.load(500)
	a := w.start(fused, nil)
	w.passed(time.Minute, w.tick(), fused, a)
	b := w.start(fused, nil)
	w.load(500)
	w.passed(time.Minute, w.tick(), fused, a, b)
	a.stop()
	w.load(500)
	w.passed(time.Minute, w.tick(), fused, a, b)
	b.stop()
	w.same(fused)
}

func TestCheckOldBroker(t *testing.T) {
	w := newWorld(t, 1, fused, kfake.MaxVersions(kversion.V2_4_0()))
	if err := w.app(fused).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "KIP-447") {
		t.Errorf("got %v", err)
	}
}

func TestAppSettings(t *testing.T) {
	a := &streams.App{Name: "Bad Name", Workers: -1, CommitInterval: -time.Second, Kafka: streams.Kafka{Brokers: []string{"nohost"}}}
	err := a.Check(t.Context())
	var s *streams.SettingError
	if !errors.As(err, &s) {
		t.Fatalf("got %v", err)
	}
	for _, key := range []string{"name:", "stages:", "registry:", "lock_dir:", "workers:", "commit_interval:", "kafka.brokers[0]:"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not reported in: %v", key, err)
		}
	}
}
