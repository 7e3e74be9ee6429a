package audit

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/amoskys/amoskys/streams/durable"
)

// recover finds the end of the chain. The records before the last segment are not read: Verify does that.
func (s *Sink) recover() error {
	firsts, err := segments(s.cfg.Dir)
	if err != nil {
		return err
	}
	s.told, err = readHead(s.cfg.Dir)
	switch {
	case errors.Is(err, os.ErrNotExist) && len(firsts) == 0:
		s.told, s.head = head{Sequence: -1}, head{Hash: zero} // begun: it has a head from its first moment on
		return s.writeHead()
	case err != nil:
		return err
	}
	s.head = head{Hash: zero}
	if err := s.openLast(firsts); err != nil {
		return err
	}
	if s.head.Sequence < s.told.Sequence || s.head.Sequence == s.told.Sequence && s.head != s.told {
		return fmt.Errorf("the last record is %d with hash %.16s…, but %s says %d with hash %.16s…: records were lost or changed; see amoskys audit verify",
			s.head.Sequence, s.head.Hash, headFile, s.told.Sequence, s.told.Hash)
	}
	return s.writeHead()
}

// openLast reads the last segments until one with a record, and goes on behind it.
func (s *Sink) openLast(firsts []int64) error {
	for _, first := range slices.Backward(firsts) {
		path := segmentPath(s.cfg.Dir, first)
		ls, size, err := readSegment(path)
		if err != nil {
			return err
		}
		if len(ls) == 0 { // a crash before its first record
			if err := errors.Join(os.Remove(path), durable.SyncDir(s.cfg.Dir)); err != nil {
				return err
			}
			continue
		}
		for i, l := range ls {
			if l.Sequence != first+int64(i) || i > 0 && l.Previous != ls[i-1].hash {
				return fmt.Errorf("%s: record %d does not follow the one before it", path, l.Sequence)
			}
			s.open = append(s.open, mark{l.Offset, l.Mark})
		}
		last := ls[len(ls)-1]
		s.head, s.place = head{last.Sequence, last.Offset, last.hash}, &place{last.Topic, last.Partition}
		if len(ls) >= s.length {
			return nil // full: sealed before the next record
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm() == sealedMode {
			s.open = nil // full, by the measure of another version
			return nil
		}
		s.log, err = durable.OpenLog(path, size)
		return err
	}
	return nil
}
