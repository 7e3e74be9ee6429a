package streams

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// aheadWorker is a worker, of a client that reaches nobody, whose task of partition 0 holds four records of lineage and waits
// for features: as much as throttle lets it hold.
func aheadWorker(t *testing.T) (*worker, *Task) {
	t.Helper()
	serde, err := schemas.NewSerde(t.Context(), &schemas.LocalRegistry{})
	if err != nil {
		t.Fatal(err)
	}
	proc := func(name string, in, out *schemas.Topic, more ...*schemas.Topic) *Processor {
		return &Processor{Name: name, Doc: "For a test.", Version: "1", Inputs: append(more, in), Outputs: []*schemas.Topic{out},
			New: func(*Builder) Handler { return HandlerFunc(func(*Context, *Record) error { return nil }) }}
	}
	last := proc("last", schemas.LineageTopic, schemas.ScoresTopic, schemas.FeaturesTopic)
	suite := []*Processor{proc("first", schemas.EndpointTopic, schemas.LineageTopic), proc("second", schemas.EndpointTopic, schemas.FeaturesTopic), last}
	plan, err := NewPlan(t.Context(), "test", Stage{Name: "last", Processors: []*Processor{last}}, suite, serde)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{app: &App{}, log: slog.New(slog.DiscardHandler), m: newMetrics(), maxPoll: 1}
	w := newWorker(e, &stageRun{plan: plan}, &shape{partitions: 1, maxRecord: 1 << 20}, "x")
	w.client, err = kgo.NewGroupTransactSession(kgo.SeedBrokers("127.0.0.1:1"), kgo.TransactionalID("x"), kgo.ConsumerGroup("x"), kgo.ConsumeTopics(w.inputs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	task := NewTask(w.plan, 0)
	for i := range int64(heldPolls) {
		offer(t, task, schemas.LineageTopic, "first", i, i)
	}
	if n := task.Held(); n != heldPolls {
		t.Fatalf("task holds %d records, want %d", n, heldPolls)
	}
	w.tasks[0] = task
	return w, task
}

// offer gives the task a record that a producer has made of the ingest record at an offset.
func offer(t *testing.T, task *Task, topic *schemas.Topic, producer string, offset, origin int64) {
	t.Helper()
	if err := task.Offer(t.Context(), derivedRecord(t, task, topic, producer, offset, origin)); err != nil {
		t.Fatal(err)
	}
}

func derivedRecord(t *testing.T, task *Task, topic *schemas.Topic, producer string, offset, origin int64) *kgo.Record {
	t.Helper()
	v, err := task.plan.serde.Append(nil, &schemas.FeatureVector{Entity: "e"})
	if err != nil {
		t.Fatal(err)
	}
	p := position{schemas.Origin{Topic: schemas.EndpointTopic.Name, Offset: origin, IngestTime: 1000}, producer, 0}
	return &kgo.Record{Topic: topic.Name, Offset: offset, Key: []byte("t/h"), Value: v, Headers: []kgo.RecordHeader{{Key: HeaderOrigin, Value: p.append(nil)}}}
}

// stopped says whether the client does not read a topic's partition 0.
func stopped(w *worker, topic *schemas.Topic) bool {
	return len(w.client.Client().PauseFetchPartitions(nil)[topic.Name]) > 0
}

func TestThrottleStopsAndStarts(t *testing.T) {
	w, task := aheadWorker(t)
	w.throttle()
	if !stopped(w, schemas.LineageTopic) || stopped(w, schemas.FeaturesTopic) {
		t.Fatal("the input that is ahead is read, or the other one is not")
	}
	offer(t, task, schemas.FeaturesTopic, "second", 0, 9)
	w.throttle()
	if task.Held() > heldPolls/2 || stopped(w, schemas.LineageTopic) {
		t.Errorf("%d records are held, and the input is still not read", task.Held())
	}
}

// A task that comes back from waiting for the schema registry still holds what it held, and may be throttled before its next
// record. What is stopped then must not be forgotten: nobody would start it again, and the partition would stand still.
func TestThrottledAfterStall(t *testing.T) {
	w, task := aheadWorker(t)
	w.stall(task, errors.New("no answer"))
	w.throttle()
	if !stopped(w, schemas.LineageTopic) || !stopped(w, schemas.FeaturesTopic) {
		t.Fatal("inputs of a task that waits for the registry are read")
	}
	w.stalled[0].until = w.stalled[0].until.Add(-maxBackoff)
	w.resume()
	w.tasks[0] = w.fresh[0]
	delete(w.fresh, 0)
	w.throttle()
	if !stopped(w, schemas.LineageTopic) {
		t.Fatal("the input that is ahead is read")
	}
	offer(t, task, schemas.FeaturesTopic, "second", 0, 9)
	delete(w.stalled, 0) // as when a record was taken
	w.throttle()
	if stopped(w, schemas.LineageTopic) {
		t.Error("the input is never read again")
	}
}

// What a task that is full holds waits for no input: to stop the inputs would be to wait for ever.
func TestFullTaskWaitsForNoInput(t *testing.T) {
	w, task := aheadWorker(t)
	task.most = 1
	offer(t, task, schemas.FeaturesTopic, "second", 0, 9)
	task.Commit()
	w.e.maxPoll = 0
	w.throttle()
	if stopped(w, schemas.LineageTopic) || stopped(w, schemas.FeaturesTopic) || task.Held() == 0 {
		t.Errorf("with %d records held, all of which can be processed, inputs are not read", task.Held())
	}
}

// A partition that goes elsewhere while an input of it is stopped is read when it comes back.
func TestThrottledPartitionLeaves(t *testing.T) {
	w, _ := aheadWorker(t)
	w.throttle()
	w.discard(0)
	if stopped(w, schemas.LineageTopic) {
		t.Error("the input stays stopped for the next task")
	}
}
