package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// reader reads a log from a number on and follows it while it is written. It belongs to one goroutine; it takes the lock of
// the spool only to see how far it may read.
type reader struct {
	s    *Spool
	log  int
	seq  int64 // number of the next record
	file *os.File
	seg  int64 // first number of the open segment
	at   int64 // bytes read of it
}

// batch is what was read at once.
type batch struct {
	gaps    []gap // numbers before the records that cannot be read any more
	records []Record
	arrived <-chan struct{} // nothing was there: closed when there is
}

type gap struct{ from, to int64 }

// view is how far a reader may read, as of one moment.
type view struct {
	first, size int64 // of the segment
	after       int64 // number of the first record behind it
	last        bool  // it is still written
}

// readBytes are read at once; a larger record is read whole.
const readBytes = 256 << 10

// next returns what there is, up to a bound.
func (r *reader) next() (b batch, err error) {
	v, arrived, ok := r.look()
	if !ok {
		return batch{arrived: arrived}, nil
	}
	if r.file == nil || r.seg != v.first {
		if err := r.open(v.first); errors.Is(err, os.ErrNotExist) {
			return b, nil // dropped meanwhile: the next look sees it
		} else if err != nil {
			return b, err
		}
	}
	if r.at < v.size {
		if err := r.read(&b, v); err != nil {
			return b, fmt.Errorf("read %s: %w", r.file.Name(), err)
		}
	}
	switch {
	case r.at < v.size:
	case !v.last: // on to the next segment
		r.skipTo(&b, v.after)
	case len(b.records) == 0 && len(b.gaps) == 0:
		b.arrived = arrived
	}
	return b, nil
}

// look finds the segment that the next number lies in.
func (r *reader) look() (v view, arrived <-chan struct{}, ok bool) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.logs[r.log]
	if c := s.cursor[r.log]; r.seq < c { // the start, or what was to come was dropped
		r.seq = c
		r.close()
	}
	for i, x := range l.segments {
		if ok && x.first > r.seq {
			break
		}
		v, ok = view{x.first, x.size, l.next, true}, true
		if i+1 < len(l.segments) {
			v.after, v.last = l.segments[i+1].first, false
		}
	}
	return v, s.arrived, ok
}

// read reads some records of the open segment.
func (r *reader) read(b *batch, v view) error {
	data, err := r.load(min(readBytes, v.size-r.at))
	if err != nil {
		return err
	}
	for len(data) > 0 {
		x, n, err := readRecord(data)
		switch {
		case errors.Is(err, errShort) && r.at+int64(n) <= v.size: // the rest of it was not read
			if len(b.records) > 0 {
				return nil
			}
			if data, err = r.load(int64(n)); err != nil {
				return err
			}
		case err != nil:
			return r.pass(v)
		case x.Sequence < r.seq: // shipped before
			data, r.at = data[n:], r.at+int64(n)
		case !r.skipTo(b, x.Sequence):
			return nil
		default:
			data, r.at = data[n:], r.at+int64(n)
			r.seq++
			b.records = append(b.records, x)
		}
	}
	return nil
}

func (r *reader) load(n int64) ([]byte, error) {
	data := make([]byte, n)
	if _, err := r.file.ReadAt(data, r.at); errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF // somebody else has cut it
	} else if err != nil {
		return nil, err
	}
	return data, nil
}

// pass passes over damage: to the next whole record of the segment, or to its end.
func (r *reader) pass(v view) error {
	data, err := r.load(v.size - r.at)
	if err != nil {
		return err
	}
	if skip, ok := resync(data[1:], r.seq, v.after); ok {
		r.at += int64(skip) + 1
		return nil
	}
	r.at = v.size
	return nil
}

// skipTo notes that the numbers up to one are missing. It is false if records were read before them: what is missing comes
// first in a batch.
func (r *reader) skipTo(b *batch, seq int64) bool {
	if seq <= r.seq {
		return true
	}
	if len(b.records) > 0 {
		return false
	}
	b.gaps = append(b.gaps, gap{r.seq, seq - 1})
	r.seq = seq
	return true
}

func (r *reader) open(first int64) error {
	r.close()
	f, err := os.Open(r.s.logs[r.log].path(first)) // the folder of a log never changes
	if err != nil {
		return err
	}
	r.file, r.seg, r.at = f, first, 0
	return nil
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}
