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

// WriteFile replaces a file: it has the old content or all of the new, whatever happens meanwhile. The new is written beside
// it, as PATH.tmp; what a crash has left there is written over. Only one may write a file at a time.
func WriteFile(path string, content []byte, perm os.FileMode) (err error) {
	part := path + ".tmp"
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) { // it may be read-only
		return err
	}
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part))
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(perm), f.Sync(), f.Close()); err != nil {
		return err
	}
	return Rename(part, path)
}

// Rename renames a file within its directory.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
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
