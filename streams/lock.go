package streams

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// ErrFileLocked is returned by LockFile while another process, or another part of this one, has the lock.
var ErrFileLocked = errors.New("locked by another process")

// LockFile locks a file, which it makes if it is not there, until the lock is closed or the process ends, however it ends.
// The file holds the id of the process that has locked it last; the error for a held lock names it.
func LockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err = lockNow(f); err == nil {
		err = sign(f)
	} else if errors.Is(err, ErrFileLocked) {
		err = fmt.Errorf("%w: process %s", err, signature(f))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// signature is the process that holds the lock, as far as it can be read: it may be about to sign.
func signature(f *os.File) string {
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0)
	if pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:n]))); err == nil {
		return strconv.Itoa(pid)
	}
	return "unknown"
}
