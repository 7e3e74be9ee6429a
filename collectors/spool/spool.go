package spool

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Limits bound what a spool holds.
type Limits struct {
	// MaxBytes is the size of all logs together, bytes.
	MaxBytes int64 `yaml:"max_bytes"`
	// MaxAge is how old a segment may become before it is dropped.
	MaxAge time.Duration `yaml:"max_age"`
}

// DefaultLimits are 1 GiB and 24 h.
func DefaultLimits() Limits { return Limits{MaxBytes: 1 << 30, MaxAge: 24 * time.Hour} }

// Validate reports everything that is wrong, each as a streams.SettingError.
func (l Limits) Validate() error {
	var errs []error
	if l.MaxBytes < 2*segmentSize || l.MaxBytes > 1<<42 {
		errs = append(errs, &streams.SettingError{Key: "spool.max_bytes", Value: fmt.Sprint(l.MaxBytes), Want: fmt.Sprintf("a number from %d on", 2*segmentSize)})
	}
	if l.MaxAge < time.Minute {
		errs = append(errs, &streams.SettingError{Key: "spool.max_age", Value: l.MaxAge.String(), Want: "a duration from 1m on"})
	}
	return errors.Join(errs...)
}

// Identity is what a spool fills into envelopes that leave it empty.
type Identity struct {
	Tenant, Host, Boot, Hostname, Platform string
	Collector                              string
	Version                                string // of the program
}

// Config are the settings of a Spool.
type Config struct {
	Dir      string
	Topic    *schemas.Topic // ingest topic of the collector
	Identity Identity
	Limits   Limits
}

// The logs: one for each priority, of which 0 is dropped last, and one for events that come with an identity of their own.
// Those keep it, in the order in which they came: recorded events are of many hosts, and reading them again gives the same.
const (
	priorities = 3
	own        = 3
	logCount   = 4
)

// Counts are totals since the spool was opened.
type Counts struct {
	Appended, Shipped, Dropped, Damaged int64
	Bytes                               int64 // held now
}

// A Spool is an open spool directory. It is a streams.Appender, safe for concurrent use.
type Spool struct {
	c           Config
	incarnation string
	now         func() time.Time

	mu      sync.Mutex
	logs    [logCount]*log
	cursor  [logCount]int64 // next sequence number to ship
	counts  Counts
	synced  time.Time
	arrived chan struct{} // closed and replaced when something was appended
	closed  bool
}

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("spool is closed")

// Open opens a spool directory, or makes it.
func Open(c Config) (*Spool, error) {
	if err := c.Limits.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s := &Spool{c: c, now: time.Now, arrived: make(chan struct{})}
	damaged := false
	for i := range s.logs {
		l, err := openLog(filepath.Join(c.Dir, streamName(i)))
		if err != nil {
			return nil, err
		}
		s.logs[i] = l
		damaged = damaged || l.damaged
		s.counts.Damaged += l.lost
		if s.cursor[i], err = readCursor(s.cursorPath(i)); err != nil {
			return nil, err
		}
		l.next = max(l.next, s.cursor[i])
	}
	// Damage may have cost the numbers of records that were shipped: they must not be given again.
	var err error
	s.incarnation, err = incarnation(c.Dir, damaged)
	return s, err
}

func streamName(i int) string {
	if i == own {
		return "own"
	}
	return fmt.Sprintf("p%d", i)
}

// incarnation is the name of this directory's sequence spaces: made with it, and made anew after damage.
func incarnation(dir string, renew bool) (string, error) {
	path := filepath.Join(dir, "incarnation")
	if !renew {
		if text, err := os.ReadFile(path); err == nil && len(text) >= 8 {
			return strings.TrimSpace(string(text)), nil
		}
	}
	b := make([]byte, 4)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	name := hex.EncodeToString(b)
	if err := errors.Join(writeSynced(path, name), syncDir(dir)); err != nil {
		return "", fmt.Errorf("open spool: %w", err)
	}
	return name, nil
}

// Append implements streams.Appender.
func (s *Spool) Append(_ context.Context, events ...schemas.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.write(events); err != nil {
		return err
	}
	if err := s.limit(); err != nil {
		return fmt.Errorf("spool %s: %w", s.c.Dir, err)
	}
	return nil
}

// write encodes events into their logs. Numbers are given here, so that those of what was not written are free again.
func (s *Spool) write(events []schemas.Event) error {
	var batch [logCount][]Record
	for _, e := range events {
		v := e.Env()
		p := own
		if whole := v.Boot != "" && v.Collector != "" && v.Stream != "" && v.Sequence > 0; !whole {
			p = min(max(int(v.Priority), 0), priorities-1)
			v.Sequence = 0
		}
		s.fill(v, p == own)
		index := s.logs[p].next + int64(len(batch[p]))
		if p != own {
			v.Stream, v.Sequence = streamName(p), index
		}
		sch, ok := schemas.Lookup(e.SchemaName())
		if !ok {
			return fmt.Errorf("append to spool: %s is not an event of the vocabulary", e.SchemaName())
		}
		body, err := sch.AppendBody(nil, e)
		if err != nil {
			return fmt.Errorf("append to spool: %w", err)
		}
		batch[p] = append(batch[p], Record{index, s.c.Topic.Name, e.SchemaName(), v.Key(), body})
	}
	for p, rs := range batch {
		if len(rs) == 0 {
			continue
		}
		if err := s.logs[p].append(rs); err != nil {
			s.counts.Dropped += int64(len(rs))
			return fmt.Errorf("append %d events to spool %s: %w", len(rs), s.logs[p].dir, err)
		}
		s.counts.Appended += int64(len(rs))
	}
	close(s.arrived) // shippers wait for it
	s.arrived = make(chan struct{})
	return s.sync()
}

// sync makes what was appended survive a power cut, at most once a second.
func (s *Spool) sync() error {
	if s.now().Sub(s.synced) < time.Second {
		return nil
	}
	s.synced = s.now()
	var errs []error
	for _, l := range s.logs {
		errs = append(errs, l.sync())
	}
	return errors.Join(errs...)
}

func (s *Spool) fill(e *schemas.Envelope, whole bool) {
	id := &s.c.Identity
	for _, f := range [...]struct {
		p   *string
		def string
	}{{&e.Tenant, id.Tenant}, {&e.Host, id.Host}, {&e.Collector, id.Collector}, {&e.Hostname, id.Hostname}, {&e.Platform, id.Platform}, {&e.Boot, id.Boot}} {
		if *f.p == "" {
			*f.p = f.def
		}
	}
	if !whole && !strings.HasSuffix(e.Boot, "."+s.incarnation) {
		e.Boot += "." + s.incarnation
	}
}

// limit drops segments until the spool is within its limits, and tells what was dropped.
func (s *Spool) limit() error {
	for {
		p := s.victim()
		if p < 0 {
			return nil
		}
		from, to, err := s.logs[p].drop()
		if err != nil {
			return err
		}
		if from = max(from, s.cursor[p]); from > to {
			continue // all of it was shipped
		}
		s.cursor[p] = to + 1
		s.counts.Dropped += to - from + 1
		if err := s.write([]schemas.Event{s.lostEvent(p, from, to, "the spool is over its limits")}); err != nil {
			return err
		}
	}
}

// victim is the log whose oldest segment is to be dropped; -1 for none. Of the highest priority the segment that is written
// to always stays.
func (s *Spool) victim() int {
	total := int64(0)
	for _, l := range s.logs {
		total += l.size()
	}
	for _, p := range [...]int{2, 1, own, 0} {
		l := s.logs[p]
		if len(l.segments) == 0 || len(l.segments) == 1 && p == 0 {
			continue
		}
		if total > s.c.Limits.MaxBytes || len(l.segments) > 1 && s.now().Sub(l.segments[0].modified) > s.c.Limits.MaxAge {
			return p
		}
	}
	return -1
}

func (s *Spool) lostEvent(p int, from, to int64, why string) *schemas.CollectorStatus {
	e := s.status(streams.StatusLost, fmt.Sprintf("events %d to %d of stream %s are lost: %s", from, to, streamName(p), why))
	e.LostStream, e.LostFrom, e.LostTo = streamName(p), from, to
	e.Counters = []schemas.Counter{{Name: "lost", Count: to - from + 1}}
	return e
}

func (s *Spool) status(activity int32, message string) *schemas.CollectorStatus {
	now := s.now().UnixNano()
	return &schemas.CollectorStatus{Envelope: schemas.Envelope{Time: now, ClassUID: streams.StatusClass, ActivityID: activity}, Version: s.c.Identity.Version,
		Message: message, WindowEnd: now}
}

// Counts are the spool's totals.
func (s *Spool) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	for _, l := range s.logs {
		c.Bytes += l.size()
	}
	return c
}

// Close makes everything safe and closes the spool.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for i, l := range s.logs {
		errs = append(errs, l.keepNext(), l.close(), s.keepCursor(i))
	}
	return errors.Join(errs...)
}

// StartEvents are the events that a collector begins with: that it starts, and what it can and cannot see.
func (s *Spool) StartEvents(cs []streams.Capability) []schemas.Event {
	out := []schemas.Event{s.StatusEvent(streams.StatusStart, "started")}
	for _, c := range cs {
		e := s.status(streams.StatusCapability, c.Reason)
		e.Capability, e.Variant = c.Name, c.Variant
		out = append(out, e)
	}
	return out
}

// StatusEvent is a word of the collector about itself, with its counts.
func (s *Spool) StatusEvent(activity int32, message string) schemas.Event {
	c := s.Counts()
	e := s.status(activity, message)
	e.Counters = []schemas.Counter{{Name: "appended", Count: c.Appended}, {Name: "damaged", Count: c.Damaged}, {Name: "dropped", Count: c.Dropped},
		{Name: "shipped", Count: c.Shipped}, {Name: "spool_bytes", Count: c.Bytes}}
	return e
}

// Drain waits until everything spooled is shipped, at most so long.
func (s *Spool) Drain(most time.Duration) {
	for until := s.now().Add(most); s.now().Before(until); {
		s.mu.Lock()
		done := true
		for p, l := range s.logs {
			done = done && s.cursor[p] >= l.next
		}
		s.mu.Unlock()
		if done {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
