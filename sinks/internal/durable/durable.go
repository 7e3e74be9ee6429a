// Package durable writes files so that a crash at any point, of the process or of the machine, leaves what was there
// before or what was meant to be, and for a file that grows at most a torn end. What a function has returned nil for is on
// the disk: file contents are synced, and so are the directories that names were made or changed in.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrLocked is returned by Lock for a directory that another process holds.
var ErrLocked = errors.New("another process has it")

// lockName is the file that is locked; it stays behind, empty.
const lockName = ".lock"

// MakeDirs makes a directory and its parents, each for its owner only.
func MakeDirs(path string) error {
	switch info, err := os.Stat(path); {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &os.PathError{Op: "mkdir", Path: path, Err: errors.New("is not a directory")}
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := MakeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// WriteFile replaces a file: it has the old content or all of the new, whatever happens meanwhile.
func WriteFile(path string, content []byte, perm os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return Rename(f.Name(), path)
}

// Rename renames a file within its directory.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// Lock takes a directory for this process until the returned file is closed or the process ends, however it ends.
func Lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// A Log is a file that only grows. After an error of Append the file may hold a part of what was to be appended; the next
// Append cuts that off first. It belongs to one goroutine.
type Log struct {
	f    *os.File
	size int64 // what is on the disk and whole
	torn bool  // there may be more behind size
}

// OpenLog opens a log, or makes an empty one. size is how much of it is sound: what lies behind is cut off.
func OpenLog(path string, size int64) (*Log, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	l := &Log{f: f, size: size, torn: true}
	if err := errors.Join(l.mend(), SyncDir(filepath.Dir(path))); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// Size is the length of the log, bytes.
func (l *Log) Size() int64 { return l.size }

// Append writes b behind what is there.
func (l *Log) Append(b []byte) error {
	if err := l.mend(); err != nil {
		return err
	}
	l.torn = true
	if _, err := l.f.WriteAt(b, l.size); err != nil {
		return err
	}
	// After a failed sync the kernel may take pages for clean that never reached the disk: they are written again.
	if err := l.f.Sync(); err != nil {
		return err
	}
	l.size += int64(len(b))
	l.torn = false
	return nil
}

func (l *Log) mend() error {
	if !l.torn {
		return nil
	}
	info, err := l.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < l.size {
		return fmt.Errorf("%s has %d bytes, want %d: it was cut by somebody else", l.f.Name(), info.Size(), l.size)
	}
	if err := l.f.Truncate(l.size); err != nil {
		return err
	}
	l.torn = false
	return l.f.Sync()
}

// Close closes the file.
func (l *Log) Close() error { return l.f.Close() }
