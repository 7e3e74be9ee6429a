package spool

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// shipped moves the cursor past what was acknowledged, and removes segments that are shipped whole.
func (s *Spool) shipped(i int, upTo, acked int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Shipped += acked
	s.cursor[i] = max(s.cursor[i], upTo+1)
	l := s.logs[i]
	for len(l.segments) > 1 && l.segments[1].first <= s.cursor[i] {
		if _, _, err := l.drop(); err != nil {
			break // it is tried again at the next acknowledgement
		}
	}
	close(s.moved)
	s.moved = make(chan struct{})
}

// refused tells that the brokers, or we, will never take a record.
func (s *Spool) refused(i int, r Record, cause error) {
	e := s.lost(i, r.Sequence, r.Sequence, cause.Error())
	if i == own {
		s.lostOwn(e, r, cause)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Dropped++
	s.tell(e)
	s.c.Logger.Error("event is dropped: it cannot be shipped", "spool", s.c.Dir, "stream", e.LostStream, "sequence", e.LostFrom, "err", cause)
}

// damaged tells that numbers cannot be read any more.
func (s *Spool) damaged(i int, g gap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Damaged += g.to - g.from + 1
	s.tell(s.lost(i, g.from, g.to, "the spool is damaged"))
	s.c.Logger.Error("events are lost: the spool is damaged", "spool", s.c.Dir, "stream", streamNames[i], "from", g.from, "to", g.to)
}

// tell writes a word about a loss, now or later.
func (s *Spool) tell(e *schemas.CollectorStatus) {
	s.owe(e)
	if !s.closed {
		s.payOwed()
		s.wake()
	}
}

// Drain waits until everything spooled is shipped, at most so long.
func (s *Spool) Drain(most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	for {
		s.mu.Lock()
		done, moved := true, s.moved
		for i, l := range s.logs {
			done = done && s.cursor[i] >= l.next
		}
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-moved:
		case <-t.C:
			return
		}
	}
}

func (s *Spool) cursorPath(i int) string {
	return filepath.Join(s.c.Dir, streamNames[i], "cursor")
}

// keepCursor writes a cursor down. It is not synced: one that is lost only sends again.
func (s *Spool) keepCursor(i int, seq int64) error {
	path := s.cursorPath(i)
	if err := os.WriteFile(path+".part", []byte(strconv.FormatInt(seq, 10)), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}
