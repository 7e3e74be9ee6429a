package streams

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// lockNow locks an open file for as long as it is open, or returns ErrFileLocked. The locked byte is far behind the end, so
// that others can read who has the lock.
func lockNow(f *os.File) error {
	const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, &windows.Overlapped{OffsetHigh: math.MaxInt32})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrFileLocked
	}
	return err
}
