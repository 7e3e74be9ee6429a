package proc

import (
	"bytes"
	"hash/maphash"
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
	box      string          // container id
	file     fileID          // zero where it could not be read
	lacks    schemas.Process // only Incomplete: what could not be read
	readAt   int64           // ns on the monotonic clock, before reading
	age      int64           // ns since the process started, then
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

// image reads all of a process. What may not be read, or is gone by then, is left empty and noted in lacks; the error is that
// of its state.
func (r *reader) image(pid int64) (i image, err error) {
	at := now()
	i.readAt = at.mono
	dir, err := openProcess(r.root, pid)
	if err != nil {
		return i, err
	}
	defer dir.close()
	n, err := dir.read("stat", r.buf)
	if err != nil {
		return i, err
	}
	if i.stat, err = parseStat(r.buf[:n]); err != nil {
		return i, err
	}
	i.age = max(0, at.boot-int64(i.start)*tick)
	if i.kernel() {
		return i, nil
	}
	if !i.ended() {
		r.readProgram(&i, dir)
	}
	r.readOwner(&i, dir, at)
	return i, nil
}

// lack notes that a fact could not be read.
func (i *image) lack(fact string, err error) { i.lacks.Lacks(fact, whyUnread(err)) }

// readProgram reads what a process runs, which nothing can be known of any more once it has ended.
func (r *reader) readProgram(i *image, dir processDir) {
	r.readArgs(i, dir)
	r.readExecutable(i, dir)
	if why, ok := i.lacks.Lacking("path"); ok && why == schemas.Ended && len(i.args) == 0 {
		i.lacks.Lacks("args", why) // they read as none when the memory they lay in is gone
	}
	var err error
	if i.cwd, err = dir.readlink("cwd", r.buf); err != nil {
		i.lack("working_directory", err)
	}
	var link [64]byte
	if text, err := dir.readlink("ns/net", link[:]); err == nil {
		i.netns, _ = parseLink(text, "net")
	}
	i.script = isScript(i)
}

// readOwner reads whose process it is: that can be known until it is reaped.
func (r *reader) readOwner(i *image, dir processDir, at instant) {
	n, err := dir.read("cgroup", r.buf)
	if err != nil {
		i.lack("container_uid", err)
	} else {
		i.box = containerID(r.buf[:n])
	}
	if n, err = dir.read("status", r.buf); err != nil {
		i.lack("user_uid", err)
	} else {
		i.uid, _ = parseUID(r.buf[:n])
	}
	if i.box == "" || i.uid == "0" { // other users of a container are not those of the host
		i.user = r.users.name(i.uid, time.Unix(0, at.wall))
	}
}

// maxArgVector bounds the bytes of an argument vector that are counted: the kernel takes no more than 6 MiB.
const maxArgVector = 16 << 20

// readArgs reads the argument vector, up to the bound, and counts the rest. A process may have none.
func (r *reader) readArgs(i *image, dir processDir) {
	n, err := dir.read("cmdline", r.buf[:r.maxArgs])
	if err != nil {
		i.lack("args", err)
	}
	if err != nil || n == 0 {
		return
	}
	text := r.buf[:n]
	if n == r.maxArgs {
		i.argsCut = dir.behind("cmdline", int64(n), maxArgVector)
	}
	i.argsHash = maphash.Bytes(r.seed, text)
	text = bytes.TrimRight(text, "\x00")
	i.args = strings.Split(r.mask.apply(string(text)), "\x00")
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

func (r *reader) readExecutable(i *image, dir processDir) {
	p, err := dir.readlink("exe", r.buf)
	if err != nil {
		i.lack("path", err)
		return
	}
	if p == "/" { // where it lies is mounted nowhere that can be seen
		p = ""
		i.lacks.Lacks("path", schemas.Failed)
	}
	info, err := dir.stat("exe")
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
	p.WorkingDirectory, p.UserUID, p.UserName, p.ContainerUID, p.Incomplete = i.cwd, i.uid, i.user, i.box, i.lacks.Incomplete
}
