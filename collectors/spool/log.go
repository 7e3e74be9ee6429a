package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/amoskys/amoskys/streams/durable"
)

// log is the log of one stream: segments, the last of which is written to. It is not safe for concurrent use.
type log struct {
	dir      string
	segments []segment
	file     *os.File // the last segment; nil: there is none, or it is not open
	next     int64    // sequence number of the next record
	dirty    int64    // bytes written since the last sync
	torn     int64    // bytes that were cut off at open
	failed   error    // of making safe what was written: it is in the log, but may not survive a power cut
}

type segment struct {
	first    int64 // sequence number of its first record
	size     int64
	modified time.Time
}

const (
	segmentSize = 16 << 20
	suffix      = ".seg"
	nextFile    = "next" // next sequence number, written whenever the log is emptied
)

func (l *log) path(first int64) string {
	return filepath.Join(l.dir, fmt.Sprintf("%020d%s", first, suffix))
}

// openLog opens the log of a folder and cuts a torn tail.
func openLog(dir string) (*log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := &log{dir: dir, next: max(1, readNumber(filepath.Join(dir, nextFile)))}
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		text, ok := strings.CutSuffix(e.Name(), suffix)
		first, err := strconv.ParseInt(text, 10, 64)
		if !ok || err != nil {
			continue // not a segment
		}
		i, err := e.Info()
		if err != nil {
			return nil, err
		}
		l.segments = append(l.segments, segment{first, i.Size(), i.ModTime()})
	}
	if len(l.segments) == 0 {
		return l, nil
	}
	return l, l.recover()
}

// recover reads the last segment to find the next number, and cuts off what is behind the last whole record.
func (l *log) recover() error {
	last := &l.segments[len(l.segments)-1]
	b, err := os.ReadFile(l.path(last.first))
	if err != nil {
		return err
	}
	size, seq := 0, last.first
	for at := 0; at < len(b); {
		r, n, err := readRecord(b[at:])
		if err != nil { // a record in the middle may be damaged and others follow
			skip, ok := resync(b[at+1:], seq, 1<<62)
			if !ok {
				break
			}
			at += 1 + skip
			continue
		}
		at += n
		size, seq = at, r.Sequence+1
	}
	l.next = max(l.next, seq)
	f, err := os.OpenFile(l.path(last.first), os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	l.torn, last.size, l.file = int64(len(b)-size), int64(size), f
	return l.reset(l.mark())
}

// append writes records, encoded one after the other. Either all of them are in the log or none is.
func (l *log) append(b []byte, records int64) error {
	if l.file == nil || l.segments[len(l.segments)-1].size >= segmentSize {
		if err := l.roll(); err != nil {
			return err
		}
	}
	if _, err := l.file.Write(b); err != nil {
		return errors.Join(err, l.reset(l.mark())) // a part may be there
	}
	last := &l.segments[len(l.segments)-1]
	last.size += int64(len(b))
	last.modified = time.Now()
	l.dirty += int64(len(b))
	l.next += records
	return nil
}

// mark is a state of a log that it can be put back to, as long as nothing was dropped.
type mark struct {
	last segment
	next int64
}

func (l *log) mark() (m mark) {
	if len(l.segments) > 0 {
		m.last = l.segments[len(l.segments)-1]
	}
	m.next = l.next
	return m
}

// reset puts the log back to a mark. A segment that was begun since stays, empty.
func (l *log) reset(m mark) error {
	s := &l.segments[len(l.segments)-1]
	if s.first != m.last.first {
		m.last.size = 0
	}
	s.size, l.next = m.last.size, m.next
	_, err := l.file.Seek(s.size, io.SeekStart)
	return errors.Join(l.file.Truncate(s.size), err)
}

// roll begins a new segment. What goes wrong with the old one fails nothing: its records are written.
func (l *log) roll() error {
	f, err := os.OpenFile(l.path(l.next), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	var failed error
	if l.file != nil {
		failed = errors.Join(l.file.Sync(), l.file.Close())
	}
	l.file = f
	if n := len(l.segments); n > 0 && l.segments[n-1].first == l.next { // an empty one
		l.segments = l.segments[:n-1]
	}
	l.segments = append(l.segments, segment{first: l.next, modified: time.Now()})
	l.failed = errors.Join(l.failed, failed, durable.SyncDir(l.dir))
	return nil
}

// drop removes the oldest segment and returns the numbers that were in it. When it is the last one, the log goes on in a new
// one.
func (l *log) drop() (from, to int64, err error) {
	s := l.segments[0]
	from, to = s.first, l.next-1
	if len(l.segments) > 1 {
		to = l.segments[1].first - 1
	} else {
		if err := l.keepNext(); err != nil {
			return 0, 0, err
		}
		if l.file != nil {
			l.file.Close() // its content is not wanted any more
		}
		l.file, l.dirty = nil, 0
	}
	if err := os.Remove(l.path(s.first)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, 0, err
	}
	l.segments = slices.Delete(l.segments, 0, 1)
	return from, to, nil
}

// keepNext writes the next number down, so that an emptied log goes on with it.
func (l *log) keepNext() error {
	return durable.WriteFile(filepath.Join(l.dir, nextFile), strconv.AppendInt(nil, l.next, 10), 0o600)
}

func (l *log) size() (n int64) {
	for _, s := range l.segments {
		n += s.size
	}
	return n
}

func (l *log) close() error {
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file, l.dirty = nil, 0
	return err
}

// readNumber reads a number from a file; 0 if there is none.
func readNumber(path string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
