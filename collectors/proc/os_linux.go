package proc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/amoskys/amoskys/schemas"
	"golang.org/x/sys/unix"
)

// supported says whether this system has what the collector reads.
const supported = true

// instant is one moment on the clocks that processes are timed with, ns.
type instant struct {
	wall int64 // since the Unix epoch
	mono int64 // since the boot, without the time that the machine slept: the connector's
	boot int64 // since the boot: that of start times
	cpu  int64 // time that the running thread has worked
}

func now() instant {
	read := func(clock int32) int64 {
		var t unix.Timespec
		if unix.ClockGettime(clock, &t) != nil { // cannot fail for these clocks
			return 0
		}
		return t.Nano()
	}
	return instant{read(unix.CLOCK_REALTIME), read(unix.CLOCK_MONOTONIC), read(unix.CLOCK_BOOTTIME), read(unix.CLOCK_THREAD_CPUTIME_ID)}
}

// readSome reads a file from its beginning until buf is full or the file ends. Files of /proc are made when they are read:
// there is no use for the poller and the finalizer of an os.File.
func readSome(path string, buf []byte) (int, error) { return readAt(unix.AT_FDCWD, path, buf) }

func readAt(dir int, path string, buf []byte) (n int, err error) {
	fd, err := openAt(dir, path, unix.O_RDONLY)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return n, &os.PathError{Op: "read", Path: path, Err: err}
		case m == 0:
			return n, nil
		}
		n += m
	}
	return n, nil
}

func open(path string, flags int) (int, error) { return openAt(unix.AT_FDCWD, path, flags) }

func openAt(dir int, path string, flags int) (fd int, err error) {
	for {
		fd, err = unix.Openat(dir, path, flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// processDir is the open folder of one process. What is read through it is of that process or fails, also when the process
// has ended and another one has its pid.
type processDir int

func openProcess(root string, pid int64) (processDir, error) {
	path := folder(root, pid)
	fd, err := open(path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return processDir(fd), nil
}

func (d processDir) close() { unix.Close(int(d)) }

func (d processDir) read(name string, buf []byte) (int, error) { return readAt(int(d), name, buf) }

// readlink reads where a link leads to, as far as buf has room.
func (d processDir) readlink(name string, buf []byte) (string, error) {
	n, err := unix.Readlinkat(int(d), name, buf)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(buf[:n]), nil
}

// stat says which file a link leads to.
func (d processDir) stat(name string) (fileInfo, error) {
	var s unix.Stat_t
	if err := unix.Fstatat(int(d), name, &s, 0); err != nil {
		return fileInfo{}, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return infoOf(&s), nil
}

// behind counts the bytes of a file behind a position, up to a bound.
func (d processDir) behind(name string, from, most int64) (n int64) {
	fd, err := openAt(int(d), name, unix.O_RDONLY)
	if err != nil {
		return 0
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return 0
	}
	n, _ = io.Copy(io.Discard, io.LimitReader(f, most))
	return n
}

// whyUnread is the reason for which a fact about a process could not be read.
func whyUnread(err error) string {
	switch {
	case errors.Is(err, os.ErrPermission):
		return schemas.Denied
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ESRCH):
		return schemas.Ended
	}
	return schemas.Failed
}

// entry is a numbered entry of a folder: a process, or a file descriptor. The inode number of a process is drawn when it is
// first looked at, and stays until the process has ended or memory ran short: the same number means the same process.
type entry struct {
	number int64 // pid, or number of the descriptor
	inode  uint64
}

// lister lists the numbered entries of a folder.
type lister struct {
	fd  int
	buf []byte
}

func openLister(root string) (*lister, error) {
	fd, err := open(root, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", &os.PathError{Op: "open", Path: root, Err: err})
	}
	return &lister{fd, make([]byte, 32<<10)}, nil
}

func (l *lister) close() { unix.Close(l.fd) }

// list appends all of them, in the order of the kernel.
func (l *lister) list(dst []entry) ([]entry, error) {
	if _, err := unix.Seek(l.fd, 0, io.SeekStart); err != nil {
		return dst, fmt.Errorf("list processes: %w", err)
	}
	for {
		n, err := unix.ReadDirent(l.fd, l.buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return dst, fmt.Errorf("list processes: %w", err)
		case n == 0:
			return dst, nil
		}
		dst = appendEntries(dst, l.buf[:n])
	}
}

// appendEntries reads struct linux_dirent64: inode u64, offset u64, length of the record u16, type u8, name, 0.
func appendEntries(dst []entry, b []byte) []entry {
	const name = 19
	for len(b) > name {
		n := int(binary.NativeEndian.Uint16(b[16:]))
		if n <= name || n > len(b) {
			return dst
		}
		if number, ok := entryNumber(b[name:n]); ok {
			dst = append(dst, entry{number, binary.NativeEndian.Uint64(b)})
		}
		b = b[n:]
	}
	return dst
}

// entryNumber reads a name that is a number and ends with a NUL byte.
func entryNumber(name []byte) (n int64, ok bool) {
	for i, c := range name {
		if c == 0 {
			return n, i > 0
		}
		if c < '0' || c > '9' || n > 1<<31 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return 0, false
}

// fileID is what a file and its content are known by.
type fileID struct {
	dev, ino     uint64
	mtime, ctime int64 // ns
	size         int64
}

// fileInfo is a file that a link leads to.
type fileInfo struct {
	id      fileID
	links   uint64 // 0: it has no name any more
	regular bool
}

func infoOf(s *unix.Stat_t) fileInfo {
	return fileInfo{fileID{uint64(s.Dev), s.Ino, s.Mtim.Nano(), s.Ctim.Nano(), s.Size}, uint64(s.Nlink), s.Mode&unix.S_IFMT == unix.S_IFREG}
}

// openExecutable opens the file that an executable link leads to, and says which it is.
func openExecutable(path string) (*os.File, fileInfo, error) {
	fd, err := open(path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, fileInfo{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil {
		unix.Close(fd)
		return nil, fileInfo{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), infoOf(&s), nil
}

// linkNumber returns the number of a link as the kernel makes them for what has no path: kind:[number].
func linkNumber(path, kind string) (uint64, bool) {
	var buf [64]byte
	n, err := unix.Readlink(path, buf[:])
	if err != nil {
		return 0, false
	}
	return parseLink(string(buf[:n]), kind)
}

// folder is the folder of a process.
func folder(root string, pid int64) string { return root + "/" + strconv.FormatInt(pid, 10) }
