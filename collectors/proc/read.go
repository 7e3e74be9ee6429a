package proc

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// machine is what does not change while the machine runs.
type machine struct {
	root   string // of the proc file system
	host   string
	boot   string
	btime  int64             // ns since the epoch
	users  map[string]string // names by id
	hashes *hashes
	mask   masker
}

// tick is the length of a clock tick in /proc: USER_HZ is 100 on every architecture that Go runs on.
const tick = int64(10 * time.Millisecond)

// process is what /proc says of one process.
type process struct {
	stat
	schemas.Process
	args         []string
	truncated    int64
	deleted, mem bool
	kernel       bool // a thread of the kernel: it has no program
	gone         bool // it ended while it was read
}

func (m *machine) file(pid int64, name string) string {
	return filepath.Join(m.root, strconv.FormatInt(pid, 10), name)
}

func (m *machine) stat(pid int64) (stat, error) {
	b, err := os.ReadFile(m.file(pid, "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// uid is the entity id of a process: over ticks since boot, which do not move when the clock is set.
func (m *machine) uid(pid, start int64) string { return schemas.ProcessUID(m.host, m.boot, pid, start) }

const maxArgs = 64 << 10 // bytes of a command line that are kept

// read collects what /proc says of a process. What another user may not read stays empty.
func (m *machine) read(s stat) process {
	p := process{stat: s}
	p.Process = schemas.Process{UID: m.uid(s.pid, s.start), PID: s.pid, ParentPID: s.ppid, Name: s.comm, CreatedTime: m.btime + s.start*tick}
	if b, err := os.ReadFile(m.file(s.pid, "cmdline")); err == nil {
		if len(b) > maxArgs {
			p.truncated = int64(len(b) - maxArgs)
			b = b[:maxArgs]
		}
		p.args = m.mask.args(parseArgs(b))
	}
	if b, err := os.ReadFile(m.file(s.pid, "status")); err == nil {
		p.UserUID, _ = parseUID(b)
		p.UserName = m.users[p.UserUID]
	}
	if b, err := os.ReadFile(m.file(s.pid, "cgroup")); err == nil {
		p.ContainerUID = parseContainer(b)
	}
	p.WorkingDirectory, _ = os.Readlink(m.file(s.pid, "cwd"))
	exe, err := os.Readlink(m.file(s.pid, "exe"))
	p.kernel = err != nil && len(p.args) == 0 && (s.pid == 2 || s.ppid == 2)
	if err == nil {
		p.Path, p.deleted, p.mem = imagePath(exe)
		p.Name = filepath.Base(p.Path)
		p.SHA256 = m.hashes.of(m.file(s.pid, "exe"))
	}
	if again, err := m.stat(s.pid); err != nil || again.start != s.start {
		p.gone = true // what was read may be of another process
	}
	return p
}

// imagePath takes apart the target of an exe link: the kernel appends " (deleted)" when the file has no name any more.
func imagePath(link string) (path string, deleted, memfd bool) {
	path, deleted = strings.CutSuffix(link, " (deleted)")
	if strings.HasPrefix(path, "/memfd:") {
		return path, false, true
	}
	return path, deleted, false
}

// pids lists the processes.
func (m *machine) pids() ([]int64, error) {
	d, err := os.Open(m.root)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	out := make([]int64, 0, len(names))
	for _, n := range names {
		if n[0] < '0' || n[0] > '9' {
			continue
		}
		if pid, err := strconv.ParseInt(n, 10, 64); err == nil {
			out = append(out, pid)
		}
	}
	return out, nil
}

// users reads names by id from a passwd file; network directories are not asked.
func readUsers(path string) map[string]string {
	out := map[string]string{}
	b, err := os.ReadFile(path)
	if err != nil {
		return out
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(line, ":"); len(f) > 3 {
			if _, ok := out[f[2]]; !ok {
				out[f[2]] = f[0]
			}
		}
	}
	return out
}

// hashes are the SHA-256 of executables by the identity of their inode. A new one is hashed at once if it is small;
// otherwise it is left to the next time, within a budget, so that a scan is never held up.
type hashes struct {
	known  map[inode]string
	budget float64 // bytes that may be hashed now
	at     time.Time
	now    func() time.Time
}

type inode struct {
	dev, ino uint64
	size     int64
	mtime    int64
}

const (
	hashAtOnce = 8 << 20  // bytes: about 20 ms
	hashLimit  = 64 << 20 // bytes: larger files are not hashed
	hashRate   = 16 << 20 // bytes a second, on average
	hashKeep   = 10_000   // identities
)

func newHashes() *hashes {
	return &hashes{known: map[inode]string{}, now: time.Now, budget: 4 * hashRate}
}

// of is the hash of the file, or empty if it is too large, cannot be read, or is over the budget.
func (h *hashes) of(path string) string {
	i, err := os.Stat(path)
	if err != nil {
		return ""
	}
	s, ok := i.Sys().(*syscall.Stat_t)
	if !ok || !i.Mode().IsRegular() || i.Size() > hashLimit {
		return ""
	}
	id := inode{uint64(s.Dev), s.Ino, i.Size(), i.ModTime().UnixNano()}
	if sum, ok := h.known[id]; ok {
		return sum
	}
	if !h.afford(i.Size()) {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(f, hashLimit)); err != nil {
		return ""
	}
	if len(h.known) >= hashKeep {
		clear(h.known)
	}
	h.known[id] = hex.EncodeToString(sum.Sum(nil))
	return h.known[id]
}

// afford takes bytes from the budget, which fills with time.
func (h *hashes) afford(size int64) bool {
	now := h.now()
	if !h.at.IsZero() {
		h.budget = min(4*hashRate, h.budget+hashRate*now.Sub(h.at).Seconds())
	}
	h.at = now
	if float64(size) > h.budget || size > hashAtOnce && h.budget < 2*hashRate {
		return false
	}
	h.budget -= float64(size)
	return true
}
