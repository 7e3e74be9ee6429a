package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amoskys/amoskys/internal/loadgen"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// A mixture gives what ordinary hosts do, and now and then something that a certain rule fires on.
type mixture struct {
	ordinary *loadgen.Generator
	every    int // one attack after so many events
	n        int
	attacks  int64
	last     schemas.Envelope
}

func newMixture(seed uint64, start time.Time, rate float64, every int) *mixture {
	return &mixture{ordinary: loadgen.New(loadgen.Config{Seed: seed, Start: start, Rate: rate, Hosts: 8, Processes: 50}), every: every}
}

// next is valid until the following call.
func (m *mixture) next() schemas.Event {
	if m.n++; m.n%m.every == 0 {
		m.attacks++
		return attack(m.last.Host, m.attacks, m.last.Time+1)
	}
	e := m.ordinary.Next()
	m.last = *e.Env()
	return e
}

// attack is an execution from memory (odd numbers) or a shell under a web server (even numbers).
func attack(host string, n, at int64) *schemas.ProcessExec {
	uid := func(pid int64) string { return schemas.ProcessUID(host, "attack", pid, at) }
	e := &schemas.ProcessExec{
		Envelope: schemas.Envelope{Tenant: "default", Host: host, Boot: "attack", Collector: "attack", Stream: fmt.Sprintf("s%d", n), Sequence: 1, Time: at,
			ClassUID: 1007, ActivityID: 1, Hostname: host, Platform: "linux"},
		Process: schemas.Process{UID: uid(1e6 + n), PID: 1e6 + n, ParentPID: 999_999, CreatedTime: at, Name: "payload", Path: "/memfd:payload"},
		Parent:  schemas.Process{UID: uid(999_999), PID: 999_999, Name: "bash", Path: "/usr/bin/bash", CreatedTime: at - 1e6},
		Args:    []string{"payload", fmt.Sprint(n)}, Memfd: true,
	}
	if n%2 == 0 {
		e.Process.Name, e.Process.Path, e.Memfd = "dash", "/usr/bin/dash", false
		e.Parent.Name, e.Parent.Path = "nginx", "/usr/sbin/nginx"
		e.Args = []string{"sh", "-c", "id; uname -a"}
	}
	return e
}

// line is an event as `amoskys` JSON lines have it.
func line(t testing.TB, e schemas.Event) []byte {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return append(append(fmt.Appendf(nil, `{"type":%q,`, e.SchemaName()), bytes.TrimPrefix(text, []byte("{"))...), '\n')
}

// recording writes n events of a mixture to a file.
func recording(t testing.TB, m *mixture, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recording.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for range n {
		_, _ = w.Write(line(t, m.next())) // Flush tells
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// send writes events to the ingest topic and waits until they are acknowledged.
func (v *view) send(t testing.TB, events ...schemas.Event) {
	t.Helper()
	p, err := streams.NewProducer(t.Context(), v.kafka, streams.ProducerOptions{Serde: v.serde})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	answers := make(chan error, len(events))
	for _, e := range events {
		b, err := v.serde.Append(nil, e)
		if err != nil {
			t.Fatal(err)
		}
		p.Produce(t.Context(), streams.Outgoing{Topic: schemas.EndpointTopic, Key: e.Env().Key(), Value: b}, func(err error) { answers <- err })
	}
	for range events {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
}

// A load produces in the background until it is stopped.
type load struct {
	sent   atomic.Int64
	cancel context.CancelFunc
	done   sync.WaitGroup
	err    error
}

// start begins to produce so many events a second.
func (v *view) start(t testing.TB, m *mixture, perSecond int) *load {
	t.Helper()
	p, err := streams.NewProducer(t.Context(), v.kafka, streams.ProducerOptions{Serde: v.serde})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel}
	var failed atomic.Pointer[error]
	l.done.Go(func() {
		defer func() {
			if err := p.Close(); l.err == nil {
				l.err = err
			}
			if err := failed.Load(); err != nil {
				l.err = *err
			}
		}()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			for range perSecond / 20 {
				e := m.next()
				b, err := v.serde.Append(nil, e)
				if err != nil {
					l.err = err
					return
				}
				p.Produce(context.WithoutCancel(ctx), streams.Outgoing{Topic: schemas.EndpointTopic, Key: e.Env().Key(), Value: b}, func(err error) {
					if err != nil {
						failed.Store(&err)
					}
				})
				l.sent.Add(1)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(func() { cancel(); l.done.Wait() })
	return l
}

// stop ends the load; everything is acknowledged then.
func (l *load) stop(t testing.TB) {
	t.Helper()
	l.cancel()
	l.done.Wait()
	if l.err != nil {
		t.Fatal(l.err)
	}
}
