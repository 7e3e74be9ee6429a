//go:build !linux

package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

const supported = false

var errUnsupported = fmt.Errorf("/proc is a thing of Linux: %w", errors.ErrUnsupported)

type instant struct{ wall, mono, boot, cpu int64 }

func now() instant { t := time.Now().UnixNano(); return instant{t, t, t, t} }

func readSome(string, []byte) (int, error) { return 0, errUnsupported }

type entry struct {
	number int64
	inode  uint64
}

type lister struct{}

func openLister(string) (*lister, error)            { return nil, errUnsupported }
func (*lister) close()                              {}
func (*lister) list(dst []entry) ([]entry, error)   { return dst, errUnsupported }
func linkNumber(string, string) (uint64, bool)      { return 0, false }
func folder(root string, pid int64) string          { return filepath.Join(root, fmt.Sprint(pid)) }
func openConnector() (*connector, error)            { return nil, errUnsupported }
func (*connector) receive(chan<- kernelBatch) error { return errUnsupported }
func (*connector) close()                           {}

func openExecutable(string) (*os.File, fileInfo, error) { return nil, fileInfo{}, errUnsupported }

type processDir int

func openProcess(string, int64) (processDir, error)        { return 0, errUnsupported }
func (processDir) close()                                  {}
func (processDir) read(string, []byte) (int, error)        { return 0, errUnsupported }
func (processDir) readlink(string, []byte) (string, error) { return "", errUnsupported }
func (processDir) stat(string) (fileInfo, error)           { return fileInfo{}, errUnsupported }
func (processDir) behind(string, int64, int64) int64       { return 0 }
func whyUnread(error) string                               { return schemas.Failed }

type connector struct{}

type fileID struct {
	dev, ino     uint64
	mtime, ctime int64
	size         int64
}

type fileInfo struct {
	id      fileID
	links   uint64
	regular bool
}
