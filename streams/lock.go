package streams

import (
	"errors"
	"fmt"
	"io"
)

// ErrFileLocked is returned by LockFile while another process, or another part of this one, has the lock.
var ErrFileLocked = errors.New("locked by another process")

// LockFile locks a file, which it makes if it is not there, until the lock is closed or the process ends.
func LockFile(path string) (io.Closer, error) {
	f, err := lockFile(path)
	if errors.Is(err, errHeld) {
		err = ErrFileLocked
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
