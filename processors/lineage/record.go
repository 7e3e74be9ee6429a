package lineage

import (
	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
)

// The bounds of what a record repeats of other processes.
const (
	maxAncestry      = 8
	maxDepth         = 64
	maxParentCmdLine = 1 << 10
	maxAncestorLine  = 256
)

// record begins the record of an activity: who acted, and who its ancestors are.
func (s *step) record(p *proc, kind string) *schemas.LineageRecord {
	r := &schemas.LineageRecord{
		Kind: kind, ActivityID: s.env.ActivityID, Process: p.row.Process,
		Deleted: p.row.Deleted, Memfd: p.row.Memfd, Snapshot: p.row.Snapshot,
		ProcessConnects: p.act.Network.Count, ProcessFiles: p.act.File.Count, ProcessChildren: p.act.Children,
		Platform: s.env.Platform, Hostname: paths.Cut(s.env.Hostname, maxText),
	}
	q := s.host.parentOf(p)
	if q != nil {
		r.Parent = q.row.Process
		r.Parent.CmdLine = paths.Cut(r.Parent.CmdLine, maxParentCmdLine)
		r.Orphan = !q.row.seen()
	} else {
		r.Parent = schemas.Process{UID: p.row.ParentUID, PID: p.row.Process.ParentPID}
		r.Orphan = p.uid() != "" && !root(&p.row.Process)
	}
	s.ancestry(r, p, q)
	return r
}

// root says whether a process has no parent: the first ones of a kernel do not (Linux 1 and 2, Windows 4).
func root(p *schemas.Process) bool { return p.ParentPID == 0 && 0 < p.PID && p.PID <= 4 }

func (s *step) ancestry(r *schemas.LineageRecord, p, q *proc) {
	var line [maxDepth]*proc
	n := 0
	for ; q != nil && q != p && n < maxDepth; q = s.host.parentOf(q) {
		line[n] = q
		n++
	}
	r.Depth = int32(n)
	if n == 0 {
		return
	}
	r.Ancestry = make([]schemas.Ancestor, min(n, maxAncestry))
	for i := range r.Ancestry {
		x := &line[i].row.Process
		r.Ancestry[i] = schemas.Ancestor{UID: x.UID, PID: x.PID, Name: x.Name, Path: x.Path, CmdLine: paths.Cut(x.CmdLine, maxAncestorLine), UserName: x.UserName}
	}
}
