package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amoskys/amoskys/internal/testbroker"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// roles starts what a split deployment has, each in a process of its own: registry, stages and file sink. It returns the
// folder of the sink's archive.
func roles(t *testing.T, c *testbroker.Cluster) (archive string) {
	t.Helper()
	begin(t, environ(t, c, "registry", "AMOSKYS_REGISTRY_LISTEN=127.0.0.1:0"), "registry")
	for _, stage := range []string{"lineage", "features", "scoring"} {
		begin(t, environ(t, c, stage), "process", "--stage", stage)
	}
	archive = t.TempDir()
	begin(t, environ(t, c, "sink", "AMOSKYS_SINKS_FILE_DIR="+archive), "sink", "file")
	return archive
}

// TestEndToEnd takes a recording through roles in processes of their own, from the collector to the archive.
func TestEndToEnd(t *testing.T) {
	testbroker.Each(t, func(t *testing.T, c *testbroker.Cluster) {
		must(t, environ(t, c, "topics"), "topics", "create")
		v := see(t, c)
		archive := roles(t, c)
		path := recording(t, newMixture(2, time.Now().Add(-time.Minute), 100, 200), 5000)
		collect := begin(t, environ(t, c, "collector"), "collect", "file", "--paths", path)
		v.collected(t, 8) // hosts
		v.finish(t, archive, 5000)
		if code := collect.stop(t); code != 0 {
			t.Errorf("collect ended with %d after it was asked to", code)
		}
		must(t, environ(t, c, "topics"), "topics", "verify")
	})
}

// collected waits until a recording was shipped: its last events are the reports of its hosts.
func (v *view) collected(t *testing.T, hosts int) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		n := 0
		for _, e := range v.events(t) {
			if s, ok := e.(*schemas.CollectorStatus); ok && strings.HasPrefix(s.Message, "recording ended") {
				n++
			}
		}
		if n >= hosts {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("the recording is not shipped: %d of %d hosts have ended", n, hosts)
		}
	}
}

// finish waits until the stages have processed what is on the ingest topic, and compares everything that came of it.
func (v *view) finish(t *testing.T, archive string, events int) {
	t.Helper()
	limit := v.settle(t, lineageGroup, time.Minute)
	alerts := v.mustEqual(t, "roles in processes of their own", limit, time.Minute)
	if n := len(v.events(t)); n < events {
		t.Errorf("%d events on %s, want %d at least", n, schemas.EndpointTopic.Name, events)
	}
	for topic, schema := range map[*schemas.Topic]string{schemas.LineageTopic: "LineageRecord", schemas.FeaturesTopic: "FeatureVector", schemas.ScoresTopic: "DetectorScore",
		schemas.AlertsTopic: "Alert", schemas.AuditTopic: "AuditRecord"} {
		n := v.count(t, topic, schema)
		for until := time.Now().Add(time.Minute); n == 0 && time.Now().Before(until); n = v.count(t, topic, schema) {
			time.Sleep(200 * time.Millisecond) // windows close at the next tick
		}
		t.Logf("%-34s %d %s", topic.Name, n, schema)
		if n == 0 {
			t.Errorf("no %s on %s", schema, topic.Name)
		}
	}
	var lines map[string]int
	for until := time.Now().Add(time.Minute); len(lines) < len(alerts) && time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		lines = archived(t, archive)
	}
	for _, a := range alerts {
		if n := lines[fmt.Sprintf("%s.%d", a.ID, a.Revision)]; n != 1 {
			t.Errorf("alert %s revision %d is in the archive %d times", a.ID, a.Revision, n)
		}
	}
}

// archived counts the alerts in an archive by id and revision.
func archived(t testing.TB, dir string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, pattern := range []string{"*.jsonl", "*.jsonl.part"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*", "*", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				continue // closed and renamed meanwhile: it is there the next time
			}
			s := bufio.NewScanner(bytes.NewReader(text))
			s.Buffer(nil, 64<<20)
			for s.Scan() {
				var x struct {
					ID       string
					Revision int
					Record   struct{ Schema string } `json:"_record"`
				}
				if json.Unmarshal(s.Bytes(), &x) == nil && x.Record.Schema == "Alert" { // the last line may be half written
					out[fmt.Sprintf("%s.%d", x.ID, x.Revision)]++
				}
			}
		}
	}
	return out
}

// TestTrace follows one trace id from an event to the request that the webhook sink makes.
func TestTrace(t *testing.T) {
	c := testbroker.StartEmbedded(t, testbroker.Options{})
	must(t, environ(t, c, "topics"), "topics", "create")
	v := see(t, c)
	var mu sync.Mutex
	requests := map[string][]string{} // alert id -> traceparent
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		requests[r.Header.Get("X-Amoskys-Id")] = append(requests[r.Header.Get("X-Amoskys-Id")], r.Header.Get("Traceparent"))
	}))
	defer hook.Close()
	for _, stage := range []string{"lineage", "features", "scoring"} {
		begin(t, environ(t, c, stage), "process", "--stage", stage)
	}
	begin(t, environ(t, c, "sink", "AMOSKYS_SINKS_WEBHOOK_URL="+hook.URL), "sink", "webhook")
	e := attack("h1", 1, time.Now().UnixNano())
	v.send(t, e)
	trace := schemas.TraceID(e.Env().EventID())
	alerts := v.mustEqual(t, "one event", v.settle(t, lineageGroup, time.Minute), time.Minute)
	if len(alerts) != 1 {
		t.Fatalf("%d alerts of one event", len(alerts))
	}
	for _, topic := range []*schemas.Topic{schemas.LineageTopic, schemas.ScoresTopic, schemas.AlertsTopic} {
		found := 0
		for _, rs := range readAll(t, v.opts, topic.Name, true) {
			for _, r := range rs {
				for _, h := range r.Headers {
					if h.Key == streams.HeaderTrace && strings.Contains(string(h.Value), trace) {
						found++
					}
				}
			}
		}
		if found == 0 {
			t.Errorf("no record with trace %s on %s", trace, topic.Name)
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		mu.Lock()
		got := requests[alerts[0].ID]
		mu.Unlock()
		if len(got) > 0 {
			if len(got) != 1 || !strings.HasPrefix(got[0], "00-"+trace+"-") {
				t.Errorf("requests carry %q, want one with trace %s", got, trace)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the webhook was not called for alert %s", alerts[0].ID)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if out := must(t, environ(t, c, "analyst"), "tail", "lineage", "--output", "json"); !strings.Contains(out, trace) {
		t.Errorf("tail does not show the trace %s:\n%s", trace, tail(out, 5))
	}
}
