package file

import (
	"strings"

	"github.com/amoskys/amoskys/schemas"
)

// maxKnown bounds the processes that are remembered of one host; past it the memory starts anew.
const maxKnown = 200_000

// winHost is what a recording has told about one host so far.
type winHost struct {
	name, hostname string // lower case and as recorded
	boot           string
	sysmon         bool // the recording has Sysmon's process starts of this host
	guids          map[string]*winProcess
	pids           map[int64]*winProcess
}

// winProcess is a process that was mentioned.
type winProcess struct {
	uid     string // empty: neither a GUID nor the start was recorded
	created int64  // nanoseconds; of a process that was not seen starting, what its GUID says: whole seconds
	path    string
}

func newWinHost(name, boot string) *winHost {
	return &winHost{name: strings.ToLower(name), hostname: name, boot: boot, guids: map[string]*winProcess{}, pids: map[int64]*winProcess{}}
}

// byGUID is the process that a Sysmon record names by GUID and pid; nil for the null GUID.
func (h *winHost) byGUID(raw []byte, pid int64) *winProcess {
	p, ok := h.guids[string(raw)]
	if !ok {
		if len(h.guids) >= maxKnown {
			clear(h.guids)
		}
		if uid := guid(raw); uid != "" {
			p = &winProcess{uid: uid, created: guidStart(uid)}
		}
		h.guids[string(raw)] = p
	}
	if p != nil && pid != 0 {
		h.remember(pid, p)
	}
	return p
}

func (h *winHost) remember(pid int64, p *winProcess) {
	if len(h.pids) >= maxKnown {
		clear(h.pids)
	}
	h.pids[pid] = p
}

// byPID is the process that a record names by its pid alone, with the path if the record gives it. A pid is used again:
// where the base names differ it is another process, whose start nobody reported. Such a process has no uid: one made of the
// pid would be that of every later process with the pid. Who follows the processes of the host can tell them apart.
func (h *winHost) byPID(pid int64, path string) *winProcess {
	p := h.pids[pid]
	if p != nil && (path == "" || p.path == "" || strings.EqualFold(base(p.path), base(path))) {
		if p.path == "" {
			p.path = path
		}
		return p
	}
	p = &winProcess{path: path}
	h.remember(pid, p)
	return p
}

// start is a process whose start is reported by its pid alone.
func (h *winHost) start(pid, created int64, path string) *winProcess {
	p := &winProcess{uid: schemas.ProcessUID(h.name, h.boot, pid, created), created: created, path: path}
	h.remember(pid, p)
	return p
}

// fill sets what is known of the process where the record does not say it, or says it worse.
func (p *winProcess) fill(v *schemas.Process) {
	if p == nil {
		return
	}
	if v.UID, v.CreatedTime = p.uid, p.created; p.uid == "" {
		v.Lacks("created_time", schemas.Unrecorded)
	}
	switch {
	case v.Path == "" || device(v.Path) && p.path != "" && !device(p.path):
		v.Path = p.path
	case p.path == "" || device(p.path):
		p.path = v.Path
	}
}

// device says that a path begins with a device, as the filtering platform writes it, and not with a drive.
func device(path string) bool { return path[0] == '\\' }

// base is the last part of a Windows or Unix path.
func base(path string) string { return path[strings.LastIndexAny(path, `\/`)+1:] }

// guid is a process GUID in one form, lower case in braces, since shippers differ; empty for the null GUID.
func guid(raw []byte) string {
	s := strings.ToLower(strings.Trim(text(raw), "{}"))
	if strings.Trim(s, "0-") == "" {
		return ""
	}
	return "{" + s + "}"
}

// guidStart is the start time, in nanoseconds, that a Sysmon process GUID carries: its third and second part are the high
// and low half of the seconds since 1970. It is 0 for anything else.
//
// Sysmon does not document this; in the recordings of OTRF Security-Datasets it holds for each of 1,408 process starts.
func guidStart(guid string) int64 {
	if len(guid) != 38 || guid[9] != '-' || guid[14] != '-' || guid[19] != '-' {
		return 0
	}
	var s uint64
	for _, c := range []byte(guid[15:19] + guid[10:14]) {
		d := digit(c)
		if d > 15 {
			return 0
		}
		s = s<<4 | d
	}
	const y2000, y2100 = 946684800, 4102444800
	if s < y2000 || s >= y2100 {
		return 0
	}
	return int64(s) * 1e9
}
