package lineage

import (
	"cmp"
	"slices"
	"strings"

	"github.com/amoskys/amoskys/streams"
)

// host is the index over the rows of one host.
type host struct {
	h       *handler
	key     string
	procs   map[string]*proc // by uid
	pids    map[int64]*proc  // the newest; the others follow in proc.older
	waiting map[string]int   // children of processes that have no row, by uid
	ended   []endedAt        // those that ended first come first
	facts   map[fact]int64   // the row's number
	next    int64            // number of the next fact
}

// proc is a process with its rows. The rows here are those of the tables: every change is put.
type proc struct {
	home     streams.Row[processRow]
	acts     streams.Row[activityRow]
	row      processRow
	act      activityRow
	exe      string // template of its executable
	parent   *proc  // what ParentUID names, once found
	older    *proc  // the process that had its pid before
	children int    // rows that name it as their parent
	gone     bool
}

func newHost(h *handler, key string) *host {
	return &host{h: h, key: key, procs: map[string]*proc{}, pids: map[int64]*proc{}, waiting: map[string]int{}, facts: map[fact]int64{}}
}

func (p *proc) uid() string { return p.row.Process.UID }

// at makes the places of a process the ones under a key.
func (h *handler) at(p *proc, key string) {
	p.home, p.acts = h.processes.Row(key), h.activities.Row(key)
}

func (p *proc) put() { p.home.Put(p.row) }

func (p *proc) putActivity() { p.acts.Put(p.act) }

// add makes a process of a row. The caller puts it.
func (hs *host) add(row processRow) *proc {
	p := &proc{row: row}
	hs.h.at(p, hs.key+"/"+row.Process.UID)
	hs.index(p)
	if n := hs.waiting[p.uid()]; n > 0 {
		p.children, p.act.Children = n, int64(n)
		p.putActivity()
		delete(hs.waiting, p.uid())
	}
	return p
}

func (hs *host) index(p *proc) {
	hs.procs[p.uid()] = p
	hs.identify(p)
	if p.row.Process.PID == 0 {
		return
	}
	at := hs.pids[p.row.Process.PID]
	if at == nil || before(at, p) {
		p.older, hs.pids[p.row.Process.PID] = at, p
		return
	}
	for at.older != nil && before(p, at.older) {
		at = at.older
	}
	p.older, at.older = at.older, p
}

// before orders processes by their start.
func before(a, b *proc) bool {
	if a.row.Since != b.row.Since {
		return a.row.Since < b.row.Since
	}
	return a.uid() < b.uid()
}

// unindexPID takes a process out of the chain of its pid.
func (hs *host) unindexPID(p *proc) {
	pid := p.row.Process.PID
	at := hs.pids[pid]
	switch {
	case at == nil:
	case at == p && p.older == nil:
		delete(hs.pids, pid)
	case at == p:
		hs.pids[pid] = p.older
	default:
		for at.older != nil && at.older != p {
			at = at.older
		}
		if at.older == p {
			at.older = p.older
		}
	}
	p.older = nil
}

// byPID finds the process that had a pid at a time: the last one that had started by then or, if it was started right
// after, the first one that could be. One that had ended longer ago than events may be late is not it, nor is one that
// runs another program than the one named; an empty name is any.
func (hs *host) byPID(pid, at int64, name string) *proc {
	var p *proc
	for q := hs.pids[pid]; q != nil; q = q.older {
		if x := q.row.Process.Name; name != "" && x != "" && x != name || q.row.Since > at+skew {
			continue
		}
		p = q
		if q.row.Since <= at {
			break
		}
	}
	if p == nil || p.row.Ended != 0 && at > p.row.Ended+linger {
		return nil
	}
	return p
}

// parentOf is the process that p's row names as its parent, if it has a row.
func (hs *host) parentOf(p *proc) *proc {
	if p.row.ParentUID == "" {
		return nil
	}
	if p.parent == nil || p.parent.gone || p.parent.uid() != p.row.ParentUID {
		p.parent = hs.procs[p.row.ParentUID]
	}
	return p.parent
}

// end notes when a process ended.
func (hs *host) end(p *proc, at int64) {
	if p.row.Ended == 0 {
		p.row.Ended = max(at, 1)
		x := endedAt{p.row.Ended, p}
		i, _ := slices.BinarySearchFunc(hs.ended, x, endedAt.compare) // nearly always at the end
		hs.ended = slices.Insert(hs.ended, i, x)
	}
	p.put()
}

// reap removes processes whose time after their end is over, unless they have children.
func (hs *host) reap(watermark int64) {
	n := 0
	for n < len(hs.ended) && hs.ended[n].at+linger <= watermark {
		if p := hs.ended[n].p; !p.gone && p.children == 0 {
			hs.remove(p, watermark)
		}
		hs.ended[n] = endedAt{}
		n++
	}
	hs.ended = hs.ended[n:]
}

// remove forgets a process, and its ended ancestors that were kept for it.
func (hs *host) remove(p *proc, watermark int64) {
	for p != nil && !p.gone {
		p.gone = true
		delete(hs.procs, p.uid())
		hs.unindexPID(p)
		p.home.Delete()
		p.acts.Delete()
		if p.children > 0 {
			hs.waiting[p.uid()] = p.children
		}
		p = hs.orphaned(p, watermark)
	}
}

// orphaned takes a child off its parent, and returns the parent if it was kept only for its children.
func (hs *host) orphaned(p *proc, watermark int64) *proc {
	uid := p.row.ParentUID
	if uid == "" {
		return nil
	}
	q := hs.procs[uid]
	if q == nil {
		if hs.waiting[uid]--; hs.waiting[uid] <= 0 {
			delete(hs.waiting, uid)
		}
		return nil
	}
	q.children--
	if q.children == 0 && q.row.Ended != 0 && q.row.Ended+linger <= watermark {
		return q
	}
	return nil
}

// evict removes a sixteenth of the processes when there are too many: first those that ended first, then those that
// started first.
func (hs *host) evict(watermark int64) {
	bound := hs.h.cfg.MaxProcesses
	if len(hs.procs) <= bound {
		return
	}
	all := make([]*proc, 0, len(hs.procs))
	for _, p := range hs.procs {
		if p.uid() != "" {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *proc) int {
		if x, y := a.row.Ended != 0, b.row.Ended != 0; x != y {
			return cmp.Compare(boolInt(y), boolInt(x))
		}
		return cmp.Or(cmp.Compare(a.row.Ended, b.row.Ended), cmp.Compare(a.row.Since, b.row.Since), strings.Compare(a.uid(), b.uid()))
	})
	n := len(hs.procs)
	for _, p := range all {
		if len(hs.procs) <= bound-bound/16 {
			break
		}
		hs.remove(p, watermark)
	}
	loss, _ := hs.h.losses.Get(hs.key)
	loss.Processes += int64(n - len(hs.procs))
	hs.h.losses.Put(hs.key, loss)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// endedAt is a process that ended, under the time of its end.
type endedAt struct {
	at int64
	p  *proc
}

func (a endedAt) compare(b endedAt) int {
	if a.at != b.at {
		return cmp.Compare(a.at, b.at)
	}
	return strings.Compare(a.p.uid(), b.p.uid())
}

// rebuild makes the index anew from the tables.
func (h *handler) rebuild() {
	clear(h.hosts)
	h.open = false
	h.processes.All(func(key string, row processRow) bool {
		p := &proc{row: row}
		h.at(p, key)
		p.act, _ = p.acts.Get()
		h.host(hostOf(key)).index(p)
		return true
	})
	for _, hs := range h.hosts {
		for _, p := range hs.procs {
			if p.row.Ended != 0 {
				hs.ended = append(hs.ended, endedAt{p.row.Ended, p})
			}
			if uid := p.row.ParentUID; uid != "" {
				if q := hs.procs[uid]; q != nil {
					q.children++
				} else {
					hs.waiting[uid]++
				}
			}
		}
		slices.SortFunc(hs.ended, endedAt.compare)
	}
	h.facts.All(func(key string, row factRow) bool {
		hs := h.host(hostOf(key))
		hs.facts[parseFact(key)] = row.N
		hs.next = max(hs.next, row.N+1)
		return true
	})
}

// hostOf cuts the key of the host, which has exactly one slash, out of the key of a row.
func hostOf(key string) string {
	i := strings.IndexByte(key, '/') + 1
	return key[:i+strings.IndexByte(key[i:], '/')]
}
