package webhook

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/internal/sinktest"
	"github.com/amoskys/amoskys/streams"
)

// A receiver is an endpoint as a user would write it: it checks signatures, drops what it has by the idempotency key, and
// keeps the rest in order. How it answers is the test's to say.
type receiver struct {
	*httptest.Server
	secret string // "": signatures are not checked

	mu       sync.Mutex
	answer   func(n int, w http.ResponseWriter, r *http.Request) bool // false: it has answered
	requests []*http.Request
	bodies   [][]byte
	seen     map[string]bool
	held     []string
	t        testing.TB
}

func newReceiver(t testing.TB, start func(http.Handler) *httptest.Server) *receiver {
	x := &receiver{seen: map[string]bool{}, t: t}
	x.Server = start(x)
	t.Cleanup(x.Close)
	return x
}

func (x *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.requests, x.bodies = append(x.requests, r), append(x.bodies, body)
	if x.answer != nil && !x.answer(len(x.requests), w, r) {
		return
	}
	if x.secret != "" {
		if err := Verify(x.secret, r.Header.Get(SignatureHeader), body, time.Now(), time.Minute); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
	}
	key := r.Header.Get("Idempotency-Key")
	if key == "" || x.seen[key] {
		return
	}
	x.seen[key] = true
	x.held = append(x.held, keysOf(x.t, body)...)
}

// keysOf are id.revision of the alerts in a body.
func keysOf(t testing.TB, body []byte) (keys []string) {
	var many []struct {
		ID       string `json:"id"`
		Revision int    `json:"revision"`
	}
	if body[0] != '[' {
		body = slices.Concat([]byte{'['}, body, []byte{']'})
	}
	if err := json.Unmarshal(body, &many); err != nil {
		t.Errorf("body is no JSON: %v", err)
	}
	for _, a := range many {
		keys = append(keys, a.ID+"."+strconv.Itoa(a.Revision))
	}
	return keys
}

// answers makes the receiver answer for itself.
func (x *receiver) answers(f func(n int, w http.ResponseWriter, r *http.Request) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answer, x.requests, x.bodies = f, nil, nil
}

func (x *receiver) got() (held []string, requests []*http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.held), slices.Clone(x.requests)
}

// A clock is the sink's time in tests: it moves when the sink sleeps.
type clock struct {
	mu    sync.Mutex
	at    time.Time
	waits []time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = append(c.waits, d)
	c.at = c.at.Add(d)
	return ctx.Err()
}

func sink(t testing.TB, c Config) (*Sink, *clock) {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	k := &clock{at: time.Now()}
	s.now, s.sleep = k.now, k.sleep
	return s, k
}

func config(x *receiver) Config {
	c := Defaults()
	c.URL = x.URL + "/hook/s3cret-path"
	return c
}

func batch(from, to int) []streams.Delivery {
	return sinktest.Batch(schemas.AlertsTopic, 0, from, to, sinktest.Alert)
}

func refuse(code int) func(int, http.ResponseWriter, *http.Request) bool {
	return func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "no", code)
		return false
	}
}
