package integration

import (
	"context"

	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/internal/testbroker"
	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// put writes bytes to the partition of a host on the ingest topic.
func (v *view) put(t testing.TB, host string, value []byte) {
	t.Helper()
	cl, err := kgo.NewClient(append(v.opts[:len(v.opts):len(v.opts)], kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	r := &kgo.Record{Topic: schemas.EndpointTopic.Name, Key: []byte(schemas.HostKey("default", host)), Value: value}
	if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// framed is a body behind the header of the Confluent wire format.
func framed(id int32, body []byte) []byte {
	return append([]byte{0, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}, body...)
}

// deadLetters are what `dlq list` prints.
func deadLetters(t testing.TB, c *testbroker.Cluster) (out []deadLetter) {
	t.Helper()
	for text := range strings.Lines(must(t, environ(t, c, "analyst"), "dlq", "list", "--output", "json")) {
		var d deadLetter
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		out = append(out, d)
	}
	return out
}

type deadLetter struct {
	At, Topic, Stage, Processor, Error, Key string
	Offset                                  int64
}

// awaitDead waits until there are so many dead letters.
func awaitDead(t testing.TB, c *testbroker.Cluster, n int) (out []deadLetter) {
	t.Helper()
	eventually(t, 30*time.Second, "dead letters", func(context.Context) error {
		if out = deadLetters(t, c); len(out) < n {
			return fmt.Errorf("%d of %d are there", len(out), n)
		}
		return nil
	})
	return out
}

// TestBadRecords puts records on the ingest topic that cannot be taken. Each is told, with its cause, and what comes
// behind it is processed; once its cause is gone it can be given again.
func TestBadRecords(t *testing.T) {
	c := testbroker.StartEmbedded(t, testbroker.Options{})
	must(t, environ(t, c, "topics"), "topics", "create")
	v := see(t, c)
	begin(t, environ(t, c, "chain"), "process")
	now := time.Now().UnixNano()
	v.send(t, attack("h1", 1, now))
	v.settle(t, chainGroup, time.Minute) // the chain has registered its schemas now

	last, err := v.reg.Register(t.Context(), "probe-value", `{"type":"record","name":"Probe","fields":[]}`)
	if err != nil {
		t.Fatal(err)
	}
	unknown := last + 1
	s, _ := schemas.Lookup("ProcessExec")
	body, err := s.AppendBody(nil, attack("h1", 3, now+1e9))
	if err != nil {
		t.Fatal(err)
	}
	v.put(t, "h1", framed(unknown, body))
	v.put(t, "h1", []byte("no record of ours"))
	v.put(t, "h1", nil)
	v.put(t, "h1", framed(v.serde.ID("ProcessExec"), body[:len(body)/2]))
	future := attack("h2", 5, time.Now().AddDate(10, 0, 0).UnixNano())
	v.send(t, future, attack("h2", 7, now+2e9), attack("h1", 9, now+3e9))

	dead := awaitDead(t, c, 3)
	for _, d := range dead {
		t.Logf("%s@%d %s: %s", d.Topic, d.Offset, d.Stage, d.Error)
		if d.Error == "" || d.Stage != "chain" || d.Key != "default/h1" && d.Key != "ZGVmYXVsdC9oMQ==" {
			t.Errorf("dead letter does not say what it is: %+v", d)
		}
	}
	got := map[string]bool{}
	for _, a := range v.mustEqual(t, "bad records", v.settle(t, chainGroup, time.Minute), 30*time.Second) {
		got[a.Provenance.Causes[0]] = true
	}
	for _, e := range []schemas.Event{attack("h1", 1, now), attack("h2", 7, now+2e9), attack("h1", 9, now+3e9)} {
		if id := e.Env().EventID(); !got[id] {
			t.Errorf("no alert of %s, which came with or behind bad records", id)
		}
	}
	t.Logf("the record of ten years ahead gave an alert: %v", got[future.Env().EventID()])

	// The cause of the first goes: somebody registers its schema.
	id, err := v.reg.Register(t.Context(), s.Subject(), strings.Replace(s.Text, `"doc":"`, `"doc":"Newer. `, 1))
	if err != nil || id != unknown {
		t.Fatalf("the schema has id %d, want %d: %v", id, unknown, err)
	}
	at := ""
	for _, d := range dead {
		if strings.Contains(d.Error, strconv.Itoa(int(unknown))) {
			at = d.At
		}
	}
	t.Log(strings.TrimSpace(must(t, environ(t, c, "topics"), "dlq", "redrive", at)))
	// A reference over the whole log would read that schema where it was not known yet: only the new alert is looked for.
	found := false
	for _, a := range v.before(t, v.settle(t, chainGroup, time.Minute)) {
		found = found || a.Provenance.Causes[0] == attack("h1", 3, now+1e9).Env().EventID()
	}
	if !found {
		t.Errorf("no alert of the record that was given again; dead letters: %+v", deadLetters(t, c))
	}
}

// TestTenYearsAhead puts a record on the ingest topic whose time is ten years ahead. What the same host tells afterwards is
// neither late nor waited for: its rules fire and its windows close as if that record had not been.
func TestTenYearsAhead(t *testing.T) {
	c := testbroker.StartEmbedded(t, testbroker.Options{})
	must(t, environ(t, c, "topics"), "topics", "create")
	v := see(t, c)
	begin(t, environ(t, c, "chain"), "process")
	now := time.Now()
	past := func(n int64, ago time.Duration) *schemas.ProcessExec {
		return attack("h1", n, now.Add(-ago).UnixNano())
	}
	usual := []schemas.Event{past(1, 10*time.Minute), past(5, 8*time.Minute), past(7, 5*time.Minute), past(9, time.Minute)}
	future := attack("h1", 3, now.AddDate(10, 0, 0).UnixNano())
	v.send(t, usual[0], future)
	v.send(t, usual[1:]...)
	limit := v.settle(t, chainGroup, time.Minute)
	got := map[string]bool{}
	for _, a := range v.mustEqual(t, "a record from the future", limit, 30*time.Second) {
		got[a.Provenance.Causes[0]] = true
	}
	for _, e := range append(usual, future) {
		if id := e.Env().EventID(); !got[id] {
			t.Errorf("no alert of %s", id)
		}
	}
	closed := func(at int64) error {
		for _, rs := range readAll(t, v.opts, schemas.FeaturesTopic.Name, true) {
			for _, r := range rs {
				x, err := v.serde.Decode(t.Context(), r.Value)
				if err != nil {
					t.Fatal(err)
				}
				if f, ok := x.(*schemas.FeatureVector); ok && f.EntityType == "host" && f.WindowStart <= at && at < f.WindowEnd {
					return nil
				}
			}
		}
		return fmt.Errorf("the window around %s is not closed", time.Unix(0, at))
	}
	for _, e := range usual[:3] { // that of the last may go on
		eventually(t, 30*time.Second, "features of the host", func(context.Context) error { return closed(e.Env().Time) })
	}
	for _, rs := range readAll(t, v.opts, schemas.LateTopic.Name, true) {
		for _, r := range rs {
			t.Errorf("%d bytes of %s are late", len(r.Value), r.Key)
		}
	}
}

// TestTooLarge collects events that no broker takes, and one that is not even read: of 5 and of 50 MB. Each loss is told
// and counted once, and what follows is sent.
func TestTooLarge(t *testing.T) {
	c := testbroker.StartEmbedded(t, testbroker.Options{})
	must(t, environ(t, c, "topics"), "topics", "create")
	v := see(t, c)
	path := filepath.Join(t.TempDir(), "recording.jsonl")
	var text []byte
	for i := range int64(5) {
		e := attack("h1", 1, 1_700_000_000_000_000_000+i*1e9)
		e.Envelope.Stream, e.Envelope.Sequence = "sensor", i+1 // as a sensor numbers what it sees: a stream's first number begins its count
		switch e.Envelope.Sequence {
		case 2:
			e.Args = append(e.Args, strings.Repeat("x", 5<<20))
		case 4:
			e.Args = append(e.Args, strings.Repeat("x", 50<<20))
		}
		text = append(text, line(t, e)...)
	}
	if err := os.WriteFile(path, append(text, "{broken\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	p := begin(t, environ(t, c, "collector"), "collect", "file", "--paths", path)
	v.collected(t, 1)
	eventually(t, 30*time.Second, "loss event", func(context.Context) error {
		for _, e := range v.events(t) {
			if s, ok := e.(*schemas.CollectorStatus); ok && s.LostStream == "sensor" && s.LostFrom == 2 && s.LostTo == 2 {
				t.Log(s.Message)
				return nil
			}
		}
		return errors.New("the event of 5 MB is not told to be lost")
	})
	if code := p.stop(t); code != 0 {
		t.Errorf("collect ended with %d", code)
	}
	if talk := p.talk.String(); !strings.Contains(talk, path) || !strings.Contains(talk, "passed over") {
		t.Errorf("the line of 50 MB is not told:\n%s", tail(talk, 10))
	}
	if counts := v.counts(t); counts.Lost != 2 {
		t.Errorf("the gate counts %d lost events, want 2", counts.Lost)
	}
	var came []int64
	for _, e := range v.events(t) {
		if x, ok := e.(*schemas.ProcessExec); ok {
			came = append(came, x.Envelope.Sequence)
		}
	}
	if !slices.Equal(came, []int64{1, 3, 5}) {
		t.Errorf("events %d came, want 1, 3 and 5", came)
	}
}

// TestBrokerAway takes the broker away for twenty seconds (a minute in long runs) while events are processed: kfake is
// closed and opened again, Apache Kafka is stopped in mid-breath.
func TestBrokerAway(t *testing.T) {
	t.Run("kfake", func(t *testing.T) {
		c := testbroker.StartEmbedded(t, testbroker.Options{})
		brokerAway(t, c, c.Stop, c.Restart)
	})
	t.Run("kafka", func(t *testing.T) {
		if testing.Short() {
			t.Skip("a real broker takes seconds to start")
		}
		c := testbroker.Start(t, testbroker.Options{})
		if !c.Killable() {
			t.Skipf("a broker of the kind %s cannot be stopped", c.Kind())
		}
		brokerAway(t, c, c.Freeze, c.Thaw)
	})
}

func brokerAway(t *testing.T, c *testbroker.Cluster, leave, back func(int) error) {
	must(t, environ(t, c, "topics"), "topics", "create")
	v := see(t, c)
	p := begin(t, environ(t, c, "chain"), "process")
	load := v.start(t, newMixture(6, time.Now(), 400, 100), 400)
	eventually(t, time.Minute, "alerts", func(context.Context) error {
		if len(alertsOn(t, v.opts, v.serde)) == 0 {
			return errors.New("none yet")
		}
		return nil
	})
	if err := leave(0); err != nil {
		t.Fatal(err)
	}
	lasts := 20 * time.Second // the time without a broker is what is tested
	if long() {
		lasts = time.Minute
	}
	select {
	case <-time.After(lasts):
	case <-p.exited:
		t.Fatalf("the chain ended without a broker:\n%s", tail(p.talk.String(), 20))
	}
	if err := back(0); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	load.stop(t)
	limit := v.settle(t, chainGroup, time.Minute)
	t.Logf("caught up %s after the broker came back", time.Since(began).Round(time.Millisecond))
	v.mustEqual(t, "a broker that was away", limit, time.Minute)
}

// TestUpRefuses starts `up` where it cannot run.
func TestUpRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	env := func(dir string, more ...string) []string {
		return append([]string{"AMOSKYS_DATA_DIR=" + dir, "AMOSKYS_LISTEN=", "AMOSKYS_BROKER_LISTEN=127.0.0.1:0", "AMOSKYS_REGISTRY_LISTEN=127.0.0.1:0", "AMOSKYS_COLLECTORS_PROC_ENABLED=false"}, more...)
	}
	for variable, key := range map[string]string{"AMOSKYS_LISTEN": "listen", "AMOSKYS_BROKER_LISTEN": "broker.listen", "AMOSKYS_REGISTRY_LISTEN": "registry.listen"} {
		_, talk, code := amoskys(t, env(t.TempDir(), variable+"="+taken), "up")
		if code != 1 || !strings.Contains(talk, taken) || !strings.Contains(talk, "key "+key) {
			t.Errorf("%s=%s: exit code %d, want 1 and address and key:\n%s", variable, taken, code, talk)
		}
	}
	_, talk, code := amoskys(t, env(t.TempDir(), "AMOSKYS_ENGINE_WORKERS=many", "AMOSKYS_LOG_LEVEL=loud", "AMOSKYS_TOPICS_PARTITIONS=0"), "up")
	for _, want := range []string{"engine.workers", "many", "log.level", "loud", "topics.partitions"} {
		if code != 78 || !strings.Contains(talk, want) {
			t.Errorf("bad configuration: exit code %d, want 78 and %q:\n%s", code, want, talk)
		}
	}
	dir := t.TempDir()
	first := begin(t, env(dir), "up")
	seeUp(t, dir, first)
	_, talk, code = amoskys(t, env(dir), "up")
	if pid := strconv.Itoa(first.cmd.Process.Pid); code != 1 || !strings.Contains(talk, pid) {
		t.Errorf("a second up: exit code %d, want 1 and pid %s:\n%s", code, pid, talk)
	}
	if code := first.stop(t); code != 0 {
		t.Errorf("up ended with %d after it was asked to", code)
	}
}
