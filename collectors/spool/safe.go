package spool

import (
	"errors"
	"os"
	"time"
)

const (
	safeEvery  = time.Second // what is written survives a power cut after this time,
	safeBytes  = 4 << 20     // or when it has become so much
	limitEvery = time.Minute // what is too old is dropped, though nothing is appended
)

// alarm wakes the goroutine that makes safe what is written.
func (s *Spool) alarm() {
	dirty := int64(0)
	for _, l := range s.logs {
		dirty += l.dirty
	}
	signal(s.unsafe)
	if dirty >= safeBytes {
		signal(s.hurry)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// keepSafe syncs what was appended, and holds the limit of age, until stop.
func (s *Spool) keepSafe() {
	defer close(s.stopped)
	limits := time.NewTicker(limitEvery)
	defer limits.Stop()
	var failed error
	for {
		select {
		case <-s.stop:
			return
		case <-limits.C:
			s.mu.Lock()
			s.limit()
			s.payOwed()
			s.wake()
			s.mu.Unlock()
		case <-s.unsafe:
			s.pause()
			err := s.makeSafe()
			if err != nil && failed == nil {
				s.c.Logger.Error("spool cannot be synced: a power cut may lose the last events", "dir", s.c.Dir, "err", err)
			}
			failed = err
		}
	}
}

// pause waits, so that many appends cost one sync.
func (s *Spool) pause() {
	t := time.NewTimer(safeEvery)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.hurry:
	case <-s.stop:
	}
}

// makeSafe syncs without holding up Append.
func (s *Spool) makeSafe() error {
	var files []*os.File
	var errs []error
	s.mu.Lock()
	for _, l := range s.logs {
		if l.dirty > 0 && l.file != nil {
			files = append(files, l.file)
		}
		errs = append(errs, l.failed)
		l.dirty, l.failed = 0, nil
	}
	s.mu.Unlock()
	for _, f := range files {
		if err := f.Sync(); !errors.Is(err, os.ErrClosed) { // who closed it has synced it
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
