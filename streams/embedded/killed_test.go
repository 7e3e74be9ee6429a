package embedded

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestKilledWithinATransaction: a broker that is killed while a task writes leaves rows without a marker at the end of the
// changelog. The task is restored without them.
func TestKilledWithinATransaction(t *testing.T) {
	stage := streams.Stage{Name: "only", Processors: []*streams.Processor{{
		Name: "copier", Version: "1", Doc: "Writes nothing.", Inputs: []*schemas.Topic{schemas.EndpointTopic},
		New: func(*streams.Builder) streams.Handler {
			return streams.HandlerFunc(func(*streams.Context, *streams.Record) error { return nil })
		},
	}}}
	changelog := schemas.ChangelogTopic("test", stage.Name)
	dir := t.TempDir()
	b := start(t, Config{Dir: dir})
	if _, err := streams.EnsureTopics(t.Context(), streams.Kafka{Brokers: b.Brokers()}, append(schemas.Topics(), changelog), 1, 1); err != nil {
		t.Fatal(err)
	}
	dead := client(t, b, kgo.TransactionalID("dead"), kgo.DefaultProduceTopic(changelog.Name))
	if err := dead.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := dead.ProduceSync(t.Context(), kgo.KeyStringRecord("row", "never committed")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	crashed := filepath.Join(t.TempDir(), "copy") // what the disk holds when the process is killed
	if err := copyTree(dir, crashed, copyFile); err != nil {
		t.Fatal(err)
	}
	again := start(t, Config{Dir: crashed})
	passed := make(chan struct{}, 1)
	app := &streams.App{Name: "test", Stages: []streams.Stage{stage}, Kafka: streams.Kafka{Brokers: again.Brokers()}, Registry: &schemas.LocalRegistry{}, FreshIDs: true, Ticks: true,
		OnCommit: func(string, int32, schemas.Origin) {
			select {
			case passed <- struct{}{}:
			default:
			}
		}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx) }()
	select {
	case <-passed:
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Error("the task is not restored")
	}
	cancel()
	if err := <-ended; err != nil && ctx.Err() == nil {
		t.Error(err)
	}
}
