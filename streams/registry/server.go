package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Server is our registry over the _schemas topic. Several can run over one topic: the topic decides. It is a
// schemas.Registry and an http.Handler, safe for concurrent use.
type Server struct {
	kafka  streams.Kafka
	log    *slog.Logger
	client *kgo.Client // produces
	mux    *http.ServeMux
	stop   context.CancelFunc
	done   chan struct{}

	write sync.Mutex // one registration at a time
	mu    sync.Mutex
	moved chan struct{} // closed and replaced whenever something was read
	read  int64         // offset after the last record read
	state state
}

// Config are the settings of a Server.
type Config struct{ Logger *slog.Logger }

// state is what the topic says.
type state struct {
	subjects map[string][]*version // by version number, from 1
	byID     map[int32]*version
	byText   map[string]int32
	levels   map[string]string // compatibility level by subject; "" is the default
	last     int32
}

type version struct {
	Subject string `json:"subject"`
	Version int    `json:"version"`
	ID      int32  `json:"id"`
	Schema  string `json:"schema"`
	Deleted bool   `json:"deleted"`
	parsed  *avro.Schema
}

// DefaultCompatibility is the level of a subject that has none of its own: a new version reads what any version wrote.
const DefaultCompatibility = "BACKWARD_TRANSITIVE"

// ErrIncompatible is returned for a schema that does not read what an earlier version of its subject wrote.
var ErrIncompatible = errors.New("schema is incompatible with an earlier version")

// NewServer opens the registry and reads the topic, which must exist, to its end.
func NewServer(ctx context.Context, k streams.Kafka, c Config) (*Server, error) {
	s := &Server{kafka: k, log: c.Logger, moved: make(chan struct{}), done: make(chan struct{}),
		state: state{subjects: map[string][]*version{}, byID: map[int32]*version{}, byText: map[string]int32{}, levels: map[string]string{}}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	opts, err := k.Options()
	if err != nil {
		return nil, err
	}
	s.client, err = kgo.NewClient(append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{schemas.SchemasTopic.Name: {0: kgo.NewOffset().AtStart()}}),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go s.follow(run)
	ends, err := streams.EndOffsets(ctx, k, schemas.SchemasTopic.Name)
	if err == nil {
		err = s.until(ctx, ends[0])
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", schemas.SchemasTopic.Name, err), s.Close())
	}
	s.routes()
	return s, nil
}

// Close stops the registry.
func (s *Server) Close() error {
	s.stop()
	<-s.done
	s.client.Close()
	return nil
}

// follow reads the topic for as long as the registry is open: it is the only writer of the state.
func (s *Server) follow(ctx context.Context) {
	defer close(s.done)
	for {
		fs := s.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		fs.EachError(func(t string, p int32, err error) {
			s.log.Warn("schemas cannot be read", "topic", t, "partition", p, "err", err)
		})
		s.mu.Lock()
		fs.EachRecord(func(r *kgo.Record) {
			if err := s.state.apply(r.Key, r.Value); err != nil {
				s.log.Warn("record of schemas is passed over", "offset", r.Offset, "err", err)
			}
			s.read = r.Offset + 1
		})
		close(s.moved)
		s.moved = make(chan struct{})
		s.mu.Unlock()
	}
}

// until waits until the topic is read up to an offset.
func (s *Server) until(ctx context.Context, offset int64) error {
	for {
		s.mu.Lock()
		read, moved := s.read, s.moved
		s.mu.Unlock()
		if read >= offset {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type recordKey struct {
	Type    string `json:"keytype"`
	Subject string `json:"subject,omitempty"`
	Version int    `json:"version,omitempty"`
	Magic   int    `json:"magic"`
}

// maxSchema bounds a schema's text, bytes.
const maxSchema = 1 << 20

// apply takes one record of the topic. The first record of a subject's version wins, and the first text of an id: so
// every registry over the topic has the same state, whoever wrote at the same time.
func (st *state) apply(key, value []byte) error {
	var k recordKey
	if err := json.Unmarshal(key, &k); err != nil {
		return fmt.Errorf("read key: %w", err)
	}
	switch k.Type {
	case "SCHEMA":
		if len(value) == 0 {
			return nil
		}
		v := &version{}
		if err := json.Unmarshal(value, v); err != nil {
			return fmt.Errorf("read schema of %s: %w", k.Subject, err)
		}
		return st.add(v)
	case "CONFIG":
		var c struct {
			Level string `json:"compatibilityLevel"`
		}
		if len(value) == 0 {
			delete(st.levels, k.Subject)
			return nil
		}
		if err := json.Unmarshal(value, &c); err != nil {
			return fmt.Errorf("read configuration of %q: %w", k.Subject, err)
		}
		st.levels[k.Subject] = c.Level
	}
	return nil // others are Confluent's own: NOOP, MODE, DELETE_SUBJECT
}

func (st *state) add(v *version) error {
	if v.Deleted {
		return nil
	}
	vs := st.subjects[v.Subject]
	if v.Version != len(vs)+1 || v.ID < 1 {
		return fmt.Errorf("version %d of %s (id %d): another one was first", v.Version, v.Subject, v.ID)
	}
	if have := st.byID[v.ID]; have != nil && have.Schema != v.Schema {
		return fmt.Errorf("version %d of %s: id %d is taken", v.Version, v.Subject, v.ID)
	}
	p, err := avro.Parse(v.Schema)
	if err != nil {
		return fmt.Errorf("parse version %d of %s: %w", v.Version, v.Subject, err)
	}
	v.parsed = p
	st.subjects[v.Subject] = append(vs, v)
	if st.byID[v.ID] == nil {
		st.byID[v.ID] = v
	}
	if _, ok := st.byText[v.Schema]; !ok {
		st.byText[v.Schema] = v.ID
	}
	st.last = max(st.last, v.ID)
	return nil
}

func (st *state) find(subject, text string) *version {
	for _, v := range st.subjects[subject] {
		if v.Schema == text {
			return v
		}
	}
	return nil
}

// compatible checks a schema against the versions of a subject by the subject's level.
func (st *state) compatible(subject string, s *avro.Schema) error {
	level := st.level(subject)
	vs := st.subjects[subject]
	if !strings.HasSuffix(level, "_TRANSITIVE") && len(vs) > 0 {
		vs = vs[len(vs)-1:]
	}
	for _, v := range vs {
		var err error
		if strings.HasPrefix(level, "BACKWARD") || strings.HasPrefix(level, "FULL") {
			err = avro.CheckCompatibility(v.parsed, s)
		}
		if err == nil && (strings.HasPrefix(level, "FORWARD") || strings.HasPrefix(level, "FULL")) {
			err = avro.CheckCompatibility(s, v.parsed)
		}
		if err != nil {
			return fmt.Errorf("%w: %s version %d: %w", ErrIncompatible, subject, v.Version, err)
		}
	}
	return nil
}

func (st *state) level(subject string) string {
	for _, k := range []string{subject, ""} {
		if l := st.levels[k]; l != "" {
			return l
		}
	}
	return DefaultCompatibility
}

// normal is the one text of a schema: JSON without white space, keys sorted. So the same schema has the same id.
func normal(text string) (string, *avro.Schema, error) {
	if len(text) > maxSchema {
		return "", nil, fmt.Errorf("schema of %d bytes is over %d", len(text), maxSchema)
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		if !slices.Contains([]string{"string", "long", "int", "bytes", "boolean", "float", "double", "null"}, text) {
			return "", nil, fmt.Errorf("schema is no JSON: %w", err)
		}
		v = text
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "", nil, err
	}
	s, err := avro.Parse(string(b))
	return string(b), s, err
}

// Register implements schemas.Registry.
func (s *Server) Register(ctx context.Context, subject, text string) (int32, error) {
	text, parsed, err := normal(text)
	if err != nil {
		return 0, fmt.Errorf("register %s: %w", subject, err)
	}
	s.write.Lock()
	defer s.write.Unlock()
	for {
		v, have, err := s.propose(subject, text, parsed)
		if have != nil || err != nil {
			if err != nil {
				return 0, err
			}
			return have.ID, nil
		}
		// The record may lose against one that another registry wrote first: then the next round sees that one.
		if err := s.append(ctx, recordKey{Type: "SCHEMA", Subject: subject, Version: v.Version, Magic: 1}, v); err != nil {
			return 0, fmt.Errorf("register %s: %w", subject, err)
		}
	}
}

// propose returns the version that has the schema, or the next one to write.
func (s *Server) propose(subject, text string, parsed *avro.Schema) (next, have *version, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.state.find(subject, text); v != nil {
		return nil, v, nil
	}
	if err := s.state.compatible(subject, parsed); err != nil {
		return nil, nil, err
	}
	id, ok := s.state.byText[text]
	if !ok {
		id = s.state.last + 1
	}
	return &version{Subject: subject, Version: len(s.state.subjects[subject]) + 1, ID: id, Schema: text}, nil, nil
}

// append writes a record and waits until it was read.
func (s *Server) append(ctx context.Context, k recordKey, v any) error {
	key, err := json.Marshal(k)
	if err != nil {
		return err
	}
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := s.client.ProduceSync(ctx, &kgo.Record{Topic: schemas.SchemasTopic.Name, Key: key, Value: value, Timestamp: time.Now()}).First()
	if err != nil {
		return fmt.Errorf("write to %s: %w", schemas.SchemasTopic.Name, err)
	}
	return s.until(ctx, r.Offset+1)
}

// Schema implements schemas.Registry.
func (s *Server) Schema(_ context.Context, id int32) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.state.byID[id]; v != nil {
		return v.Schema, nil
	}
	return "", schemas.ErrUnknownSchema
}
