package audit

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fsImmutable is FS_IMMUTABLE_FL of linux/fs.h.
const fsImmutable = 0x10

// setImmutable sets or clears the attribute that chattr +i sets (ioctl_iflags(2)).
func setImmutable(path string, on bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return fmt.Errorf("read attributes of %s: %w", path, err)
	}
	flags &^= fsImmutable
	if on {
		flags |= fsImmutable
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags); err != nil {
		return fmt.Errorf("set attributes of %s: %w", path, err)
	}
	return nil
}

// tryImmutable finds out whether the attribute can be set here, so that a sink that cannot keep the promise does not start.
func tryImmutable(dir string) error {
	f, err := os.CreateTemp(dir, "immutable.*.tmp")
	if err != nil {
		return err
	}
	name := f.Name()
	err = errors.Join(f.Close(), setImmutable(name, true), setImmutable(name, false))
	return errors.Join(err, os.Remove(name))
}
