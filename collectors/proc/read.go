package proc

import (
	"bytes"
	"hash/maphash"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// image is what a process runs, as it was read at one moment.
type image struct {
	stat
	args     []string // masked
	argsCut  int64    // bytes that were cut off
	argsHash uint64   // of the unmasked ones
	path     string
	deleted  bool
	memfd    bool
	script   bool
	cwd      string
	uid      string
	user     string
	netns    uint64
	box      string // container id
	file     fileID // zero where it could not be read
	readAt   int64  // ns on the monotonic clock, before reading
	age      int64  // ns since the process started, then
}

// reader reads process folders.
type reader struct {
	root    string
	maxArgs int
	mask    mask
	users   users
	buf     []byte
	seed    maphash.Seed
}

func newReader(c *Config, m mask) *reader {
	return &reader{root: c.Root, maxArgs: c.MaxArgs, mask: m, users: users{path: "/etc/passwd"}, buf: make([]byte, max(8<<10, c.MaxArgs)), seed: maphash.MakeSeed()}
}

// stat reads only the state of a process. The error is of the file.
func (r *reader) stat(pid int64) (stat, error) {
	n, err := readSome(folder(r.root, pid)+"/stat", r.buf)
	if err != nil {
		return stat{}, err
	}
	return parseStat(r.buf[:n])
}

// image reads all of a process. What may not be read, or is gone by then, is left empty; the error is that of its state.
func (r *reader) image(pid int64) (i image, err error) {
	dir := folder(r.root, pid)
	at := now()
	i.readAt = at.mono
	if i.stat, err = r.stat(pid); err != nil {
		return i, err
	}
	i.age = max(0, at.boot-int64(i.start)*tick)
	if i.kernel() || i.ended() {
		return i, nil
	}
	r.readArgs(&i, dir)
	r.readExecutable(&i, dir+"/exe")
	i.cwd, _ = os.Readlink(dir + "/cwd")
	if n, err := readSome(dir+"/cgroup", r.buf); err == nil {
		i.box = containerID(r.buf[:n])
	}
	if n, err := readSome(dir+"/status", r.buf); err == nil {
		i.uid, _ = parseUID(r.buf[:n])
	}
	if i.box == "" || i.uid == "0" { // other users of a container are not those of the host
		i.user = r.users.name(i.uid, time.Unix(0, at.wall))
	}
	i.netns, _ = linkNumber(dir+"/ns/net", "net")
	i.script = isScript(&i)
	return i, nil
}

// readArgs reads the argument vector, up to the bound, and counts the rest.
func (r *reader) readArgs(i *image, dir string) {
	n, err := readSome(dir+"/cmdline", r.buf[:r.maxArgs])
	if err != nil || n == 0 {
		return
	}
	text := r.buf[:n]
	if n == r.maxArgs {
		i.argsCut = bytesBehind(dir+"/cmdline", int64(n))
	}
	i.argsHash = maphash.Bytes(r.seed, text)
	text = bytes.TrimRight(text, "\x00")
	i.args = strings.Split(r.mask.apply(string(text)), "\x00")
}

// bytesBehind counts the bytes of a file behind a position. An argument vector has no more than a quarter of the stack's limit.
func bytesBehind(path string, from int64) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return 0
	}
	n, _ := io.Copy(io.Discard, io.LimitReader(f, 16<<20))
	return n
}

// argsHash reads only what tells whether the arguments have changed.
func (r *reader) argsHash(pid int64) uint64 {
	n, err := readSome(folder(r.root, pid)+"/cmdline", r.buf[:r.maxArgs])
	if err != nil || n == 0 {
		return 0
	}
	return maphash.Bytes(r.seed, r.buf[:n])
}

const (
	deletedSuffix = " (deleted)"
	memfdPrefix   = "/memfd:"
)

func (r *reader) readExecutable(i *image, link string) {
	p, err := os.Readlink(link)
	if err != nil {
		return
	}
	if p == "/" { // where it lies is mounted nowhere that can be seen
		p = ""
	}
	info, err := statFile(link)
	if err == nil && info.regular {
		i.file = info.id
	}
	// A file may really be called "x (deleted)"; then it has a name.
	if cut, ok := strings.CutSuffix(p, deletedSuffix); ok && (err != nil || info.links == 0) {
		p, i.deleted = cut, true
	}
	if i.memfd = strings.HasPrefix(p, memfdPrefix) && i.deleted; i.memfd {
		i.deleted = false
	}
	i.path = p
}

// commLen is the length to which the kernel cuts names of processes (TASK_COMM_LEN without its end).
const commLen = 15

// isScript says whether an interpreter was started for a script: the kernel then calls the process by the script.
func isScript(i *image) bool {
	cut := func(p string) string {
		p = path.Base(p)
		return p[:min(len(p), commLen)]
	}
	if i.path == "" || i.comm == "" || cut(i.path) == i.comm {
		return false
	}
	for _, a := range i.args[min(1, len(i.args)):min(3, len(i.args))] {
		if cut(a) == i.comm {
			return true
		}
	}
	return false
}

// describe fills what an image tells of a process.
func (i *image) describe(p *schemas.Process) {
	p.Path, p.Name = i.path, i.comm
	if i.path != "" {
		p.Name = path.Base(i.path)
	}
	p.WorkingDirectory, p.UserUID, p.UserName, p.ContainerUID = i.cwd, i.uid, i.user, i.box
}
