package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// The logs: one for each priority, of which 0 is dropped last, and one for events that come with an identity of their own.
// Those keep it, in the order in which they came: recorded events are of many hosts, and reading them again gives the same.
const (
	priorities = 3
	own        = 3
	logCount   = 4
)

var streamNames = [logCount]string{"p0", "p1", "p2", "own"}

// dropOrder is the order in which logs are dropped from.
var dropOrder = [logCount]int{2, 1, own, 0}

// A Spool is an open spool directory. It is a streams.Appender, safe for concurrent use.
type Spool struct {
	c    Config
	boot string // what the directory adds to the boot of every envelope
	lock io.Closer
	now  func() time.Time

	mu      sync.Mutex
	logs    [logCount]*log
	cursor  [logCount]int64 // sequence number of the first record that is not acknowledged
	bufs    [logCount][]byte
	given   []*schemas.Envelope // of the events that are being written, those whose numbers are this spool's
	names   map[string]string   // of schemas in records, by their own
	owed    []schemas.Event     // words about losses that could not be written yet
	counts  Counts
	arrived chan struct{} // closed and replaced when something was appended
	moved   chan struct{} // closed and replaced when a cursor moved
	closed  bool

	unsafe  chan struct{} // something was written that is not safe yet
	hurry   chan struct{} // so much that it must be made safe at once
	stop    chan struct{}
	stopped chan struct{}
}

var _ streams.Appender = (*Spool)(nil)

// ErrClosed is returned by Append after Close.
var ErrClosed = errors.New("spool is closed")

// Open opens a spool directory, or makes it. Nobody else can open it until Close. Damage is no error: what is whole is
// kept, and the rest is told by an event.
func Open(c Config) (*Spool, error) {
	if err := c.Limits.Validate(); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	lock, err := streams.LockFile(filepath.Join(c.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s := &Spool{c: c, lock: lock, now: time.Now, names: map[string]string{}, arrived: make(chan struct{}), moved: make(chan struct{}),
		unsafe: make(chan struct{}, 1), hurry: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	if err := s.openLogs(); err != nil {
		return nil, errors.Join(fmt.Errorf("open spool %s: %w", c.Dir, err), s.closeLogs(), lock.Close())
	}
	go s.keepSafe()
	return s, nil
}

func (s *Spool) openLogs() error {
	torn := false
	for i := range s.logs {
		l, err := openLog(filepath.Join(s.c.Dir, streamNames[i]))
		s.logs[i] = l
		if err != nil {
			return err
		}
		s.cursor[i] = max(1, readNumber(s.cursorPath(i)))
		l.next = max(l.next, s.cursor[i])
		if l.torn > 0 {
			torn = true
			s.owe(s.torn(i, l.torn))
			s.c.Logger.Warn("spool was cut off at its last whole record", "dir", l.dir, "bytes", l.torn)
		}
	}
	name, err := incarnation(s.c.Dir, s.c.Identity.Boot, torn)
	s.boot = "." + name
	return err
}

// Append implements streams.Appender. An error means that none of the events is in the spool.
func (s *Spool) Append(_ context.Context, events ...schemas.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.write(events); err != nil {
		s.counts.Refused += int64(len(events))
		return fmt.Errorf("append %d events to spool %s: %w", len(events), s.c.Dir, err)
	}
	s.limit()
	s.payOwed()
	s.wake()
	return nil
}

func (s *Spool) wake() {
	close(s.arrived)
	s.arrived = make(chan struct{})
}

// payOwed writes the words about losses. Where they cannot be written they are kept; the gap in the numbers tells of the
// loss as well.
func (s *Spool) payOwed() {
	if len(s.owed) > 0 && s.write(s.owed) == nil {
		s.owed = nil
	}
}

const (
	maxOwed    = 1000    // words that are kept
	keepBuffer = 1 << 20 // bytes of a buffer that is used again
)

func (s *Spool) owe(e schemas.Event) {
	if len(s.owed) < maxOwed {
		s.owed = append(s.owed, e)
	}
}

// write gives events their numbers and writes them. Either all of them are in the logs then or none is, and its numbers are
// free again.
func (s *Spool) write(events []schemas.Event) error {
	var added [logCount]int64
	clear(s.given)
	s.given = s.given[:0]
	for i, b := range s.bufs {
		if s.bufs[i] = b[:0]; cap(b) > keepBuffer {
			s.bufs[i] = nil
		}
	}
	for _, e := range events {
		v := e.Env()
		i := s.assign(v, &added)
		err := s.encode(i, s.logs[i].next+added[i], v, e)
		switch {
		case err == nil:
			added[i]++
		case errors.Is(err, ErrTooLarge): // it would never be taken: it must not hold up the others
			s.counts.Dropped++
			s.c.Logger.Error("event is dropped", "collector", v.Collector, "schema", e.SchemaName(), "err", err)
			s.owe(s.tooLarge(e, err))
		default:
			s.takeBack()
			return err
		}
	}
	if err := s.commit(added); err != nil {
		s.takeBack()
		return err
	}
	return nil
}

// assign fills the envelope, gives the event its number, and says in which log it goes. An event that comes with a whole
// identity keeps it, also one that was recorded from this very spool.
func (s *Spool) assign(v *schemas.Envelope, added *[logCount]int64) int {
	whole := v.Boot != "" && v.Collector != "" && v.Stream != "" && v.Sequence > 0
	id := &s.c.Identity
	orDefault(&v.Tenant, id.Tenant)
	orDefault(&v.Host, id.Host)
	orDefault(&v.Collector, id.Collector)
	orDefault(&v.Hostname, id.Hostname)
	orDefault(&v.Platform, id.Platform)
	orDefault(&v.Boot, id.Boot)
	if whole {
		return own
	}
	s.given = append(s.given, v)
	v.Boot += s.boot
	p := min(max(int(v.Priority), 0), priorities-1)
	v.Stream, v.Sequence = streamNames[p], s.logs[p].next+added[p]
	return p
}

// takeBack takes the numbers out of events that were not written: when they are appended again they get new ones.
func (s *Spool) takeBack() {
	for _, v := range s.given {
		v.Boot, v.Stream, v.Sequence = strings.TrimSuffix(v.Boot, s.boot), "", 0
	}
}

func orDefault(p *string, v string) {
	if *p == "" {
		*p = v
	}
}

// encode appends the record of an event to the buffer of its log.
func (s *Spool) encode(i int, seq int64, v *schemas.Envelope, e schemas.Event) (err error) {
	sch, ok := schemas.Lookup(e.SchemaName())
	if !ok {
		return fmt.Errorf("%s is not an event of the vocabulary", e.SchemaName())
	}
	name, ok := s.names[sch.Name]
	if !ok {
		if name, err = keepSchema(s.c.Dir, sch); err != nil {
			return err
		}
		s.names[sch.Name] = name
	}
	r := Record{Sequence: seq, Topic: s.c.Topic.Name, Schema: name, Key: v.Key()}
	s.bufs[i], err = appendRecord(s.bufs[i], r, func(b []byte) ([]byte, error) { return sch.AppendBody(b, e) })
	return err
}

// commit writes the buffers to the logs.
func (s *Spool) commit(added [logCount]int64) error {
	var marks [logCount]mark
	for i, n := range added {
		if n == 0 {
			continue
		}
		marks[i] = s.logs[i].mark()
		err := s.logs[i].append(s.bufs[i], n)
		if err == nil {
			continue
		}
		for j := range i {
			if added[j] > 0 {
				err = errors.Join(err, s.logs[j].reset(marks[j]))
			}
		}
		return err
	}
	for _, n := range added {
		s.counts.Appended += n
	}
	s.alarm()
	return nil
}

// limit drops segments until the spool is within its limits, and tells what was dropped.
func (s *Spool) limit() {
	for {
		i := s.victim()
		if i < 0 {
			return
		}
		from, to, err := s.logs[i].drop()
		if err != nil {
			s.c.Logger.Error("spool is over its limits and nothing can be dropped", "dir", s.logs[i].dir, "err", err)
			return
		}
		if from = max(from, s.cursor[i]); from > to {
			continue // all of it was shipped
		}
		s.cursor[i] = to + 1
		s.counts.Dropped += to - from + 1
		s.owe(s.lost(i, from, to, "the spool is over its limits"))
	}
}

// victim is the log whose oldest segment is to be dropped; -1 for none. Of the highest priority the segment that is written
// to always stays.
func (s *Spool) victim() int {
	total := int64(0)
	for _, l := range s.logs {
		total += l.size()
	}
	for _, i := range dropOrder {
		l := s.logs[i]
		if len(l.segments) == 0 || len(l.segments) == 1 && i == 0 {
			continue
		}
		if total > s.c.Limits.MaxBytes || len(l.segments) > 1 && s.now().Sub(l.segments[0].modified) > s.c.Limits.MaxAge {
			return i
		}
	}
	return -1
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

// Close makes everything safe and closes the spool. Ship must have ended.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.payOwed()
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.stopped
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for i, l := range s.logs {
		errs = append(errs, l.keepNext(), s.keepCursor(i, s.cursor[i]))
	}
	errs = append(errs, s.closeLogs())
	if err := errors.Join(errs...); err != nil {
		return errors.Join(fmt.Errorf("close spool %s: %w", s.c.Dir, err), s.lock.Close()) // still marked as open
	}
	return errors.Join(os.Remove(filepath.Join(s.c.Dir, openName)), s.lock.Close())
}

func (s *Spool) closeLogs() error {
	var errs []error
	for _, l := range s.logs {
		if l != nil {
			errs = append(errs, l.close())
		}
	}
	return errors.Join(errs...)
}
