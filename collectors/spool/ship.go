package spool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// A Producer takes records to the brokers. done is told once, from any goroutine: nil when all in-sync replicas have the
// record; an error that streams.IsPermanent holds for when they never will; else it is sent again.
type Producer interface {
	Ship(ctx context.Context, r Record, done func(error))
}

const (
	inFlight    = 10_000 // records of a stream without an answer
	cursorEvery = 500 * time.Millisecond
)

// Ship sends what is spooled, and what is appended meanwhile, until ctx ends (nil). Order within a stream is kept. The
// cursor only moves over what was acknowledged: after a crash records come again, and the pipeline drops them by their
// numbers.
func (s *Spool) Ship(ctx context.Context, p Producer) error {
	var wg sync.WaitGroup
	errs := make([]error, logCount)
	for i := range logCount {
		wg.Go(func() { errs[i] = s.shipStream(ctx, p, i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// shipment is one stream on its way.
type shipment struct {
	s        *Spool
	stream   int
	r        *reader
	mu       sync.Mutex
	pending  []pending // sent, in order
	failed   error     // the first answer that means: send again
	answered chan struct{}
	kept     time.Time
}

type pending struct {
	seq  int64
	done bool
}

func (s *Spool) shipStream(ctx context.Context, p Producer, stream int) error {
	x := &shipment{s: s, stream: stream, answered: make(chan struct{}, 1)}
	defer func() { x.close() }()
	wait := 200 * time.Millisecond
	for ctx.Err() == nil {
		if err := x.failure(); err != nil {
			x.rewind()
			if !sleep(ctx, wait) {
				break
			}
			wait = min(2*wait, 10*time.Second)
			continue
		}
		rec, arrived, err := x.read()
		switch {
		case err != nil:
			return fmt.Errorf("read spool %s: %w", s.c.Dir, err)
		case arrived != nil:
			x.wait(ctx, arrived)
			continue
		}
		if !x.reserve(ctx, rec.Sequence) {
			continue
		}
		wait = 200 * time.Millisecond
		p.Ship(ctx, rec, func(err error) { x.answer(rec.Sequence, err) })
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// read returns the next record, or a channel that is closed when there may be one.
func (x *shipment) read() (Record, <-chan struct{}, error) {
	s := x.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.r == nil || x.r.seq < s.cursor[x.stream] { // the start, or what was to come was dropped
		if x.r != nil {
			x.r.close()
		}
		x.r = &reader{log: s.logs[x.stream], seq: s.cursor[x.stream]}
	}
	rec, ok, skipped, err := x.r.next()
	if skipped > 0 {
		s.counts.Damaged += skipped
		if werr := s.write([]schemas.Event{s.lostEvent(x.stream, x.r.seq-skipped, x.r.seq-1, "the spool is damaged")}); werr != nil {
			err = errors.Join(err, werr)
		}
	}
	if ok || err != nil {
		return rec, nil, err
	}
	return rec, s.arrived, nil
}

// wait waits for new records or answers.
func (x *shipment) wait(ctx context.Context, arrived <-chan struct{}) {
	x.keep(true)
	select {
	case <-arrived:
	case <-x.answered:
	case <-ctx.Done():
	}
}

// reserve makes room for one more record in flight.
func (x *shipment) reserve(ctx context.Context, seq int64) bool {
	for {
		x.mu.Lock()
		if x.failed != nil {
			x.mu.Unlock()
			return false
		}
		if len(x.pending) < inFlight {
			x.pending = append(x.pending, pending{seq: seq})
			x.mu.Unlock()
			return true
		}
		x.mu.Unlock()
		select {
		case <-x.answered:
		case <-ctx.Done():
			return false
		}
	}
}

func (x *shipment) answer(seq int64, err error) {
	x.mu.Lock()
	permanent := streams.IsPermanent(err)
	if err != nil && !permanent {
		if x.failed == nil {
			x.failed = err
		}
	} else {
		for i := range x.pending {
			if x.pending[i].seq == seq {
				x.pending[i].done = true
				break
			}
		}
	}
	upTo, n := int64(0), 0
	for n < len(x.pending) && x.pending[n].done {
		upTo = x.pending[n].seq
		n++
	}
	x.pending = x.pending[n:]
	x.mu.Unlock()
	if n > 0 {
		x.s.shipped(x.stream, upTo, int64(n))
	}
	if permanent {
		x.s.refused(x.stream, seq, err)
	}
	x.keep(false)
	select {
	case x.answered <- struct{}{}:
	default:
	}
}

func (x *shipment) failure() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed
}

// rewind goes back to what was acknowledged. Answers to what was sent before may still come: they only move the cursor on.
func (x *shipment) rewind() {
	x.mu.Lock()
	x.failed, x.pending = nil, nil
	x.mu.Unlock()
	if x.r != nil {
		x.r.close()
		x.r = nil
	}
}

// keep writes the cursor down, now and then.
func (x *shipment) keep(now bool) {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	if !now && time.Since(x.kept) < cursorEvery {
		return
	}
	x.kept = time.Now()
	_ = x.s.keepCursor(x.stream) // it is written again at the next answer; a lost cursor only sends again
}

func (x *shipment) close() {
	if x.r != nil {
		x.r.close()
	}
	x.keep(true)
}

// shipped moves the cursor past what was acknowledged, and removes segments that are shipped whole.
func (s *Spool) shipped(stream int, upTo, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Shipped += n
	s.cursor[stream] = max(s.cursor[stream], upTo+1)
	l := s.logs[stream]
	for len(l.segments) > 1 && l.segments[1].first <= s.cursor[stream] {
		if _, _, err := l.drop(); err != nil {
			return // it is tried again at the next acknowledgement
		}
	}
}

func (s *Spool) refused(stream int, seq int64, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Dropped++
	_ = s.write([]schemas.Event{s.lostEvent(stream, seq, seq, cause.Error())}) // the gap in the numbers tells it, too
}

func (s *Spool) cursorPath(stream int) string {
	return filepath.Join(s.c.Dir, streamName(stream), "cursor")
}

func (s *Spool) keepCursor(stream int) error {
	path := s.cursorPath(stream)
	if err := os.WriteFile(path+".part", []byte(strconv.FormatInt(s.cursor[stream], 10)), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

func readCursor(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n < 1 {
		return 1, nil // a torn cursor only sends again
	}
	return n, nil
}

// reader reads a log from a number on, and follows it while it is written.
type reader struct {
	log  *log
	seq  int64 // number of the next record
	file *os.File
	buf  *bufio.Reader
	seg  int64 // first number of the open segment
	at   int64 // bytes read of it
}

// next returns the next record, if there is one, and how many numbers were skipped before it for damage.
func (r *reader) next() (rec Record, ok bool, skipped int64, err error) {
	for {
		seg, size, found := r.segment()
		if !found {
			return rec, false, 0, nil
		}
		if r.file == nil || r.seg != seg {
			if err := r.open(seg); err != nil {
				return rec, false, 0, err
			}
		}
		if r.at >= size {
			if r.last() {
				return rec, false, skipped, nil
			}
			if r.log.segments[0].first > r.seg { // dropped meanwhile
				continue
			}
			r.step()
			continue
		}
		x, n, err := next(r.buf)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrDamaged) {
			return rec, false, skipped, err
		}
		if err != nil { // damage: the rest of the segment is lost
			to := r.log.next
			if !r.last() {
				to = r.after()
			}
			skipped += to - r.seq
			r.seq, r.at = to, size
			if r.last() {
				return rec, false, skipped, nil
			}
			continue
		}
		r.at += n
		if x.Sequence < r.seq {
			continue // shipped before
		}
		r.seq = x.Sequence + 1
		return x, true, skipped, nil
	}
}

// segment is the one that the next number lies in.
func (r *reader) segment() (first, size int64, ok bool) {
	for _, s := range r.log.segments {
		if s.first <= r.seq {
			first, size, ok = s.first, s.size, true
		}
	}
	if !ok && len(r.log.segments) > 0 { // older ones were dropped
		s := r.log.segments[0]
		r.seq = s.first
		return s.first, s.size, true
	}
	return first, size, ok
}

func (r *reader) last() bool {
	return len(r.log.segments) == 0 || r.log.segments[len(r.log.segments)-1].first == r.seg
}

// after is the first number of the segment behind the open one.
func (r *reader) after() int64 {
	for _, s := range r.log.segments {
		if s.first > r.seg {
			return s.first
		}
	}
	return r.log.next
}

func (r *reader) step() { r.seq = max(r.seq, r.after()) }

func (r *reader) open(first int64) error {
	r.close()
	f, err := os.Open(r.log.path(first))
	if err != nil {
		return err
	}
	r.file, r.seg, r.at = f, first, 0
	r.buf = bufio.NewReaderSize(f, 256<<10)
	return nil
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}
