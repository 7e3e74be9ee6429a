package integration

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/amoskys/amoskys/internal/testbroker"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/registry"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestUpKilled kills `amoskys up` again and again while it collects. What it says in the end is what an undisturbed run
// makes of the same log.
func TestUpKilled(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 5
	}
	path := recording(t, newMixture(4, time.Now(), 300, 50), 2400) // eight seconds
	dir := t.TempDir()
	env := []string{"AMOSKYS_DATA_DIR=" + dir, "AMOSKYS_LISTEN=", "AMOSKYS_BROKER_LISTEN=127.0.0.1:0", "AMOSKYS_REGISTRY_LISTEN=127.0.0.1:0", "AMOSKYS_COLLECTORS_PROC_ENABLED=false"}
	collecting := append(env[:len(env):len(env)], "AMOSKYS_COLLECTORS_FILE_PATHS="+path, "AMOSKYS_COLLECTORS_FILE_PACE=1", "AMOSKYS_COLLECTORS_FILE_RESTAMP=true")
	r := rand.New(rand.NewPCG(4, 4))
	began := time.Now()
	for range kills {
		p := begin(t, collecting, "up")
		select {
		case <-time.After(time.Duration(100+r.IntN(3000)) * time.Millisecond): // the moment
		case <-p.exited:
			t.Fatalf("up ended by itself:\n%s", tail(p.talk.String(), 30))
		}
		p.kill()
	}
	t.Logf("%d kills in %s", kills, time.Since(began).Round(time.Millisecond))
	p := begin(t, collecting, "up")
	v := seeUp(t, dir, p)
	v.collected(t, 8)
	limit := v.settle(t, chainGroup, time.Minute)
	alerts := v.mustEqual(t, "up after kills", limit, time.Minute)
	if code := p.stop(t); code != 0 {
		t.Fatalf("up ended with %d after it was asked to", code)
	}
	p = begin(t, env, "up")
	v = seeUp(t, dir, p)
	sameAlerts(t, "up, started again", alerts, v.before(t, limit))
	if code := p.stop(t); code != 0 {
		t.Fatalf("up ended with %d after it was asked to", code)
	}
	lines := archived(t, filepath.Join(dir, "alerts"))
	for _, a := range alerts {
		if n := lines[a.ID+".0"]; a.Revision == 0 && n != 1 {
			t.Errorf("alert %s is in the archive %d times", a.ID, n)
		}
	}
}

// seeUp opens a view of a running `up`.
func seeUp(t *testing.T, dir string, p *program) *view {
	t.Helper()
	var at struct {
		PID      int
		Brokers  []string
		Registry string
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(dir, "running.json"))
		if err == nil {
			err = json.Unmarshal(text, &at)
		}
		if err == nil && at.PID == p.cmd.Process.Pid { // else it is what a killed one left behind
			break
		}
		select {
		case <-p.exited:
			t.Fatalf("up ended by itself:\n%s", tail(p.talk.String(), 30))
		default:
		}
		if time.Now().After(until) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("up does not say where it runs: %v", err)
		}
	}
	v := &view{kafka: streams.Kafka{Brokers: at.Brokers}, opts: []kgo.Opt{kgo.SeedBrokers(at.Brokers...)}}
	var err error
	if v.reg, err = registry.NewClient(at.Registry); err != nil {
		t.Fatal(err)
	}
	v.open(t)
	return v
}

// TestCollectorKilled kills a collector between sending and acknowledgement. The ingest topic may have events twice then;
// behind the gate of the first stage each is there once, and no number is missing that nobody tells of.
func TestCollectorKilled(t *testing.T) {
	c := testbroker.StartEmbedded(t, testbroker.Options{})
	must(t, environ(t, c, "topics"), "topics", "create")
	v := see(t, c)
	const events = 12_000
	path := recording(t, newMixture(5, time.Now().Add(-10*time.Second), 2000, 500), events) // six seconds
	env := environ(t, c, "collector", "AMOSKYS_COLLECTORS_FILE_PACE=1")
	r := rand.New(rand.NewPCG(5, 5))
	for range 8 {
		p := begin(t, env, "collect", "file", "--paths", path)
		select {
		case <-time.After(time.Duration(400+r.IntN(2500)) * time.Millisecond): // the moment
		case <-p.exited:
			t.Fatalf("%s ended by itself:\n%s", p.name, tail(p.talk.String(), 30))
		}
		p.kill()
	}
	p := begin(t, env, "collect", "file", "--paths", path)
	v.collected(t, 8)
	if code := p.stop(t); code != 0 {
		t.Errorf("collect ended with %d after it was asked to", code)
	}

	ids := map[string]bool{}
	last := map[string]int64{}
	content := map[string]int{}
	gaps := 0
	sent := v.events(t)
	for _, e := range sent {
		env := e.Env()
		if ids[env.EventID()] {
			continue // the gate drops it
		}
		ids[env.EventID()] = true
		if s := env.StreamID(); env.Sequence != last[s]+1 {
			gaps++
		}
		last[env.StreamID()] = env.Sequence
		if _, ok := e.(*schemas.CollectorStatus); ok {
			continue
		}
		env.Boot, env.Stream, env.Sequence = "", "", 0
		content[string(line(t, e))]++
	}
	counts := v.counts(t)
	t.Logf("%d records sent, %d of them once more after a kill; gate: %+v", len(sent), len(sent)-len(ids), counts)
	if gaps > 0 {
		t.Errorf("%d events do not follow the one before them in their stream", gaps)
	}
	if counts.Lost != 0 {
		t.Errorf("%d events are lost", counts.Lost)
	}
	if counts.Repeats == 0 {
		t.Error("no kill fell between sending and acknowledgement: nothing is shown")
	}
	if len(content) != events {
		t.Errorf("%d different events arrived, the recording has %d", len(content), events)
	}
	twice := 0
	for _, n := range content {
		if n > 1 {
			twice++
		}
	}
	if twice > 0 {
		t.Errorf("%d events of the recording are in the log under two ids or more", twice)
	}
}

// counts are what the gate of the first stage finds in the ingest log.
func (v *view) counts(t testing.TB) (sum streams.Counts) {
	t.Helper()
	plan, err := streams.NewPlan(t.Context(), "count", streams.Stage{Name: "count", Processors: v.suite}, v.suite, v.serde)
	if err != nil {
		t.Fatal(err)
	}
	for p, rs := range readAll(t, v.opts, schemas.EndpointTopic.Name, true) {
		task := streams.NewTask(plan, p)
		for _, r := range rs {
			if err := task.Offer(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		c := task.Counts()
		sum.Lost, sum.Repeats = sum.Lost+c.Lost, sum.Repeats+c.Repeats
	}
	return sum
}
