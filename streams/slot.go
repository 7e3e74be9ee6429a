package streams

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// slot is a worker's place on this machine. While it is held nobody else has its transactional id; the lock goes with the
// process, however it ends.
type slot struct {
	name string
	lock io.Closer // nil: each session has an id of its own
}

// maxSlots bounds the workers of one stage on one machine.
const maxSlots = 1000

func (e *engine) takeSlot(s *stageRun) (*slot, error) {
	base := e.app.Name + "." + s.plan.Stage() + "." + e.instance
	if e.app.FreshIDs {
		return &slot{name: base}, nil
	}
	if err := os.MkdirAll(e.app.LockDir, 0o700); err != nil {
		return nil, fmt.Errorf("lock a worker slot: %w", err)
	}
	for n := range maxSlots {
		path := filepath.Join(e.app.LockDir, fmt.Sprintf("%s.%s.%d.lock", e.app.Name, s.plan.Stage(), n))
		f, err := LockFile(path)
		if errors.Is(err, ErrFileLocked) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("lock a worker slot: %w", err)
		}
		return &slot{name: fmt.Sprintf("%s.%d", base, n), lock: f}, nil
	}
	return nil, fmt.Errorf("%w: %d are taken in %s", ErrLocked, maxSlots, e.app.LockDir)
}

// id is the transactional id of the next session.
func (s *slot) id() string {
	if s.lock != nil {
		return s.name
	}
	var b [8]byte
	rand.Read(b[:]) // never fails
	return s.name + "." + hex.EncodeToString(b[:])
}

func (s *slot) release() {
	if s.lock != nil {
		s.lock.Close() // and with it the lock
	}
}
