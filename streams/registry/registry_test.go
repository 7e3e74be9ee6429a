package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/sr"
)

func broker(t *testing.T) streams.Kafka {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	k := streams.Kafka{Brokers: c.ListenAddrs()}
	if _, err := streams.EnsureTopics(t.Context(), k, []*schemas.Topic{schemas.SchemasTopic}, 1, 1); err != nil {
		t.Fatal(err)
	}
	return k
}

func server(t *testing.T, k streams.Kafka) *Server {
	t.Helper()
	s, err := NewServer(t.Context(), k, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

const (
	v1  = `{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}`
	v2  = `{"type":"record","name":"R","fields":[{"name":"a","type":"long"},{"name":"b","type":"string","default":""}]}`
	bad = `{"type":"record","name":"R","fields":[{"name":"a","type":"long"},{"name":"c","type":"string"}]}`
)

func TestIDsAreStable(t *testing.T) {
	k := broker(t)
	s := server(t, k)
	a, err := s.Register(t.Context(), "r", v1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Register(t.Context(), "r", v2)
	if err != nil || b == a {
		t.Fatalf("second version has id %d, first %d: %v", b, a, err)
	}
	if again, err := s.Register(t.Context(), "r", " "+strings.ReplaceAll(v1, ",", " ,")); err != nil || again != a {
		t.Errorf("the same schema in other white space has id %d, want %d: %v", again, a, err)
	}
	if other, err := s.Register(t.Context(), "elsewhere", v1); err != nil || other != a {
		t.Errorf("the same schema under another subject has id %d, want %d: %v", other, a, err)
	}
	if _, err := s.Register(t.Context(), "r", bad); !errors.Is(err, ErrIncompatible) {
		t.Errorf("a new field without default was taken: %v", err)
	}
	if _, err := s.Register(t.Context(), "r", "{nonsense"); err == nil {
		t.Error("nonsense was registered")
	}
	// Another registry over the same topic, and one that starts later, say the same.
	two := server(t, k)
	if text, err := two.Schema(t.Context(), b); err != nil || !strings.Contains(text, `"b"`) {
		t.Errorf("schema %d at another registry: %q, %v", b, text, err)
	}
	if _, err := two.Schema(t.Context(), 99); !errors.Is(err, schemas.ErrUnknownSchema) {
		t.Errorf("an unknown id: %v", err)
	}
}

func TestTwoRegistriesAtOnce(t *testing.T) {
	k := broker(t)
	rs := []*Server{server(t, k), server(t, k)}
	var wg sync.WaitGroup
	ids := make([][]int32, 2)
	for i, r := range rs {
		wg.Go(func() {
			for n := range 20 {
				id, err := r.Register(context.Background(), fmt.Sprintf("s%d", n), fmt.Sprintf(`{"type":"record","name":"R%d","fields":[]}`, n))
				if err != nil {
					t.Error(err)
				}
				ids[i] = append(ids[i], id)
			}
		})
	}
	wg.Wait()
	if fmt.Sprint(ids[0]) != fmt.Sprint(ids[1]) {
		t.Errorf("two registries gave different ids:\n%v\n%v", ids[0], ids[1])
	}
}

func TestHTTPLikeConfluent(t *testing.T) {
	s := server(t, broker(t))
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c, err := sr.NewClient(sr.URLs(h.URL))
	if err != nil {
		t.Fatal(err)
	}
	ss, err := c.CreateSchema(t.Context(), "r", sr.Schema{Schema: v1})
	if err != nil || ss.Version != 1 {
		t.Fatalf("%+v, %v", ss, err)
	}
	if _, err := c.CreateSchema(t.Context(), "r", sr.Schema{Schema: v2}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.SchemaByVersion(t.Context(), "r", -1); err != nil || got.Version != 2 {
		t.Errorf("latest version %+v, %v", got, err)
	}
	if vs, err := c.SubjectVersions(t.Context(), "r"); err != nil || len(vs) != 2 {
		t.Errorf("versions %v, %v", vs, err)
	}
	if x, err := c.CheckCompatibility(t.Context(), "r", -1, sr.Schema{Schema: bad}); err != nil || x.Is {
		t.Errorf("incompatible schema is said to be compatible: %+v, %v", x, err)
	}
	for _, x := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/schemas/ids/1", "", 200, `"schema":"{\"fields\"`},
		{"GET", "/schemas/ids/1/versions", "", 200, `[{"subject":"r","version":1}]`},
		{"GET", "/schemas/ids/77", "", 404, `"error_code":40403`},
		{"GET", "/subjects", "", 200, `["r"]`},
		{"GET", "/subjects/none/versions", "", 404, `"error_code":40401`},
		{"GET", "/subjects/r/versions/9", "", 404, `"error_code":40402`},
		{"GET", "/subjects/r/versions/x", "", 422, `"error_code":42202`},
		{"POST", "/subjects/r", `{"schema":` + quote(v2) + `}`, 200, `"version":2`},
		{"POST", "/subjects/r", `{"schema":` + quote(bad) + `}`, 404, `"error_code":40403`},
		{"POST", "/subjects/r/versions", `{"schema":` + quote(bad) + `}`, 409, `"error_code":409`},
		{"POST", "/subjects/r/versions", `{"schema":"{"}`, 422, `"error_code":42201`},
		{"POST", "/subjects/r/versions", `{"schema":"x","schemaType":"PROTOBUF"}`, 422, `not supported`},
		{"POST", "/subjects/r/versions", `not json`, 422, `"error_code":42201`},
		{"POST", "/subjects/r/versions", `{"schema":"` + strings.Repeat("x", 3<<20) + `"}`, 422, `too large`},
		{"GET", "/config", "", 200, `BACKWARD_TRANSITIVE`},
		{"PUT", "/config/r", `{"compatibility":"NONE"}`, 200, `NONE`},
		{"GET", "/config/r", "", 200, `NONE`},
		{"PUT", "/config", `{"compatibility":"SOMETIMES"}`, 422, `"error_code":42203`},
		{"POST", "/subjects/r/versions", `{"schema":` + quote(bad) + `}`, 200, `"id":3`},
		{"GET", "/mode", "", 200, `READWRITE`},
		{"GET", "/schemas/types", "", 200, `AVRO`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), x.method, h.URL+x.path, strings.NewReader(x.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != x.status || !strings.Contains(string(b), x.want) || resp.Header.Get("Content-Type") != contentType {
			t.Errorf("%s %s: %d %s, want %d with %s", x.method, x.path, resp.StatusCode, b, x.status, x.want)
		}
	}
}

func quote(s string) string { b, _ := json.Marshal(s); return string(b) }

func TestClient(t *testing.T) {
	s := server(t, broker(t))
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c, err := NewClient(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schemas.NewSerde(t.Context(), c); err != nil {
		t.Fatalf("our own schemas are not taken: %v", err)
	}
	id, err := c.Register(t.Context(), "r", v1)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := c.Schema(t.Context(), id); err != nil || !strings.Contains(text, `"R"`) {
		t.Errorf("schema %q, %v", text, err)
	}
	if _, err := c.Schema(t.Context(), 12345); !errors.Is(err, schemas.ErrUnknownSchema) {
		t.Errorf("an unknown id: %v", err)
	}
	if _, err := c.Register(t.Context(), "r", bad); err == nil {
		t.Error("an incompatible schema was registered")
	}
	h.Close()
	if _, err := c.Schema(t.Context(), id); err == nil || errors.Is(err, schemas.ErrUnknownSchema) {
		t.Errorf("a registry that is down: %v, want an error that is not final", err)
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte(`{"keytype":"SCHEMA","subject":"r","version":1,"magic":1}`), []byte(`{"subject":"r","version":1,"id":1,"schema":"\"long\""}`))
	f.Add([]byte(`{"keytype":"CONFIG"}`), []byte(`{"compatibilityLevel":"FULL"}`))
	f.Add([]byte(`{"keytype":"NOOP","magic":0}`), []byte(nil))
	f.Fuzz(func(t *testing.T, k, v []byte) {
		st := state{subjects: map[string][]*version{}, byID: map[int32]*version{}, byText: map[string]int32{}, levels: map[string]string{}}
		_ = st.apply(k, v)
		for id, x := range st.byID {
			if x.ID != id || x.parsed == nil {
				t.Fatalf("state %+v", x)
			}
		}
	})
}

// TestClientHidesURL: errors of a registry that does not answer name the host, not what is secret in its URL.
func TestClientHidesURL(t *testing.T) {
	nonsense := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{")) }))
	defer nonsense.Close()
	for name, host := range map[string]string{"ask schema registry": "127.0.0.1:1", "read answer": strings.TrimPrefix(nonsense.URL, "http://")} {
		c, err := NewClient("http://me:pa55@" + host + "/?token=pa55")
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Schema(t.Context(), 1)
		if err == nil || !strings.Contains(err.Error(), host) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "pa55") || strings.Contains(err.Error(), "me:") {
			t.Errorf("error is %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err = c.Register(ctx, "s", "{}"); err == nil || strings.Contains(err.Error(), "pa55") {
			t.Errorf("error is %v", err)
		}
	}
	if _, err := NewClient("http://me:pa55@[/"); err == nil || strings.Contains(err.Error(), "pa55") {
		t.Errorf("error is %v", err)
	}
}
