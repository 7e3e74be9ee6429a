package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// log is the log of one stream: segments, the last of which is written to. It is not safe for concurrent use.
type log struct {
	dir      string
	segments []segment
	file     *os.File // the last segment
	next     int64    // sequence number of the next record
	dirty    int64    // bytes written since the last sync
	buf      []byte
	lost     int64 // bytes that were cut off at open
	damaged  bool  // something was
}

type segment struct {
	first    int64 // sequence number of its first record
	size     int64
	modified time.Time
}

const (
	segmentSize = 16 << 20
	syncBytes   = 4 << 20
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
	l := &log{dir: dir, next: 1}
	if text, err := os.ReadFile(filepath.Join(dir, nextFile)); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			l.next = n
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		first, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(name), suffix), 10, 64)
		if err != nil {
			continue // not ours
		}
		i, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		l.segments = append(l.segments, segment{first, i.Size(), i.ModTime()})
	}
	if len(l.segments) > 0 {
		if err := l.recover(); err != nil {
			return nil, fmt.Errorf("open spool %s: %w", dir, err)
		}
	}
	return l, nil
}

// recover reads the last segment to find the next number, and cuts off what is no whole record.
func (l *log) recover() error {
	last := &l.segments[len(l.segments)-1]
	f, err := os.OpenFile(l.path(last.first), os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	r := bufio.NewReaderSize(f, 1<<20)
	size, seq := int64(0), last.first-1
	for {
		rec, n, err := next(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil { // torn or damaged: from here on nothing can be trusted
			break
		}
		size, seq = size+n, rec.Sequence
	}
	if size < last.size {
		l.lost, l.damaged = last.size-size, true
		if err := f.Truncate(size); err != nil {
			f.Close()
			return err
		}
	}
	if _, err := f.Seek(size, io.SeekStart); err != nil {
		f.Close()
		return err
	}
	last.size = size
	l.file, l.next = f, max(l.next, seq+1)
	return nil
}

// append writes records, whose numbers it has given. Either all of them are written or none is.
func (l *log) append(rs []Record) error {
	if l.file == nil || l.segments[len(l.segments)-1].size >= segmentSize {
		if err := l.roll(); err != nil {
			return err
		}
	}
	l.buf = l.buf[:0]
	for i := range rs {
		l.buf = rs[i].append(l.buf)
	}
	last := &l.segments[len(l.segments)-1]
	if _, err := l.file.Write(l.buf); err != nil {
		// A part may be there: cut it, so that the next append begins at a whole record.
		return errors.Join(err, l.file.Truncate(last.size), seekTo(l.file, last.size))
	}
	last.size += int64(len(l.buf))
	last.modified = time.Now()
	l.dirty += int64(len(l.buf))
	l.next += int64(len(rs))
	if l.dirty >= syncBytes {
		return l.sync()
	}
	return nil
}

func seekTo(f *os.File, at int64) error {
	_, err := f.Seek(at, io.SeekStart)
	return err
}

func (l *log) roll() error {
	if l.file != nil {
		if err := errors.Join(l.sync(), l.file.Close()); err != nil {
			return err
		}
		l.file = nil
	}
	f, err := os.OpenFile(l.path(l.next), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	l.file = f
	l.segments = append(l.segments, segment{first: l.next, modified: time.Now()})
	return syncDir(l.dir)
}

func (l *log) sync() error {
	if l.file == nil || l.dirty == 0 {
		return nil
	}
	l.dirty = 0
	return l.file.Sync()
}

// drop removes the oldest segment and returns how many records were in it. The last one is closed first: the log goes on
// in a new one.
func (l *log) drop() (from, to int64, err error) {
	s := l.segments[0]
	from, to = s.first, l.next-1
	if len(l.segments) > 1 {
		to = l.segments[1].first - 1
	} else if err := errors.Join(l.keepNext(), l.file.Close()); err != nil {
		return 0, 0, err
	} else {
		l.file, l.dirty = nil, 0
	}
	if err := os.Remove(l.path(s.first)); err != nil {
		return 0, 0, err
	}
	l.segments = slices.Delete(l.segments, 0, 1)
	return from, to, nil
}

// keepNext writes the next number down, so that an emptied log goes on with it.
func (l *log) keepNext() error {
	part := filepath.Join(l.dir, nextFile+".part")
	if err := writeSynced(part, strconv.FormatInt(l.next, 10)); err != nil {
		return err
	}
	return errors.Join(os.Rename(part, filepath.Join(l.dir, nextFile)), syncDir(l.dir))
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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
	err := errors.Join(l.sync(), l.file.Close())
	l.file = nil
	return err
}
