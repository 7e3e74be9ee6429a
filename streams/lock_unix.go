//go:build unix

package streams

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockNow locks an open file for as long as it is open, or returns ErrFileLocked.
func lockNow(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrFileLocked
	}
	return err
}
