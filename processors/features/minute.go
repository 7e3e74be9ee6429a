package features

import (
	"slices"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
)

const (
	maxDistinct = 64
	maxCauses   = 4
	maxCmdLine  = 256 // bytes of a command line that a process's vector repeats
)

// counts are the activities of both entities, by kind.
type counts struct {
	Connections int64 `avro:"connections"`
	Queries     int64 `avro:"queries"`
	Files       int64 `avro:"files"`
	Registry    int64 `avro:"registry"`
	Modules     int64 `avro:"modules"`
	Accesses    int64 `avro:"accesses"`
	Memory      int64 `avro:"memory"`
}

// hostMinute is what was counted of a host in a minute.
type hostMinute struct {
	counts

	Execs         int64    `avro:"execs"`
	FirstExecs    int64    `avro:"first_execs"`
	FirstEdges    int64    `avro:"first_edges"`
	FirstObjects  int64    `avro:"first_objects"`
	Exits         int64    `avro:"exits"`
	Orphans       int64    `avro:"orphans"`
	WorldWritable int64    `avro:"world_writable"`
	Fileless      int64    `avro:"fileless"`
	OutOfOrder    int64    `avro:"out_of_order"`
	ChildrenMax   int64    `avro:"children_max"`
	DepthMax      int64    `avro:"depth_max"`
	Executables   []int64  `avro:"executables"`
	Users         []int64  `avro:"users"`
	Processes     []int64  `avro:"processes"`
	Destinations  []int64  `avro:"destinations"`
	Ports         []int64  `avro:"ports"`
	Domains       []int64  `avro:"domains"`
	Causes        []string `avro:"causes"`
}

// processMinute is what was counted of a process in a minute.
type processMinute struct {
	counts

	FirstObjects int64           `avro:"first_objects"`
	Children     int64           `avro:"children"`
	Destinations []int64         `avro:"destinations"`
	Ports        []int64         `avro:"ports"`
	Objects      []int64         `avro:"objects"`
	Causes       []string        `avro:"causes"`
	Process      schemas.Process `avro:"process"`
}

func (v *hostMinute) add(l *schemas.LineageRecord, causes []string) {
	v.ChildrenMax = max(v.ChildrenMax, l.ProcessChildren)
	v.OutOfOrder += one(l.OutOfOrder)
	v.Causes = cause(v.Causes, causes, l)
	switch l.Kind {
	case "exec":
		v.exec(l)
		return
	case "exit":
		v.Exits++
		return
	}
	v.FirstObjects += one(l.FirstObject)
	v.counts.add(l)
	v.Processes = distinct(v.Processes, l.Process.UID)
	switch l.Kind {
	case "network":
		v.Destinations, v.Ports = distinct(v.Destinations, l.Object), distinctPort(v.Ports, l.ObjectPort)
	case "dns":
		v.Domains = distinct(v.Domains, l.Template)
	}
}

func (v *hostMinute) exec(l *schemas.LineageRecord) {
	if l.Snapshot {
		return
	}
	v.Execs++
	v.FirstExecs += one(l.FirstExec)
	v.FirstEdges += one(l.FirstEdge)
	v.Orphans += one(l.Orphan)
	v.WorldWritable += one(paths.WorldWritable(l.Process.Path))
	v.Fileless += one(l.Deleted || l.Memfd)
	v.DepthMax = max(v.DepthMax, int64(l.Depth))
	v.Executables = distinct(v.Executables, l.Template)
	user := l.Process.UserUID
	if user == "" {
		user = l.Process.UserName
	}
	v.Users = distinct(v.Users, user)
}

func (v *processMinute) add(l *schemas.LineageRecord, causes []string) {
	if v.Process.UID == "" || v.Process.Path == "" && l.Process.Path != "" {
		v.Process = l.Process
		v.Process.WorkingDirectory = ""
		v.Process.CmdLine = paths.Cut(l.Process.CmdLine, maxCmdLine)
	}
	v.Children = max(v.Children, l.ProcessChildren)
	v.FirstObjects += one(l.FirstObject)
	v.Causes = cause(v.Causes, causes, l)
	v.counts.add(l)
	if l.Kind == "network" {
		v.Destinations, v.Ports = distinct(v.Destinations, l.Object), distinctPort(v.Ports, l.ObjectPort)
		return
	}
	v.Objects = distinct(v.Objects, l.Template)
}

func (v *processMinute) activities() int64 {
	return v.Connections + v.Queries + v.Files + v.Registry + v.Modules + v.Accesses + v.Memory
}

func (v *counts) add(l *schemas.LineageRecord) {
	n := 1 + l.Repeats
	switch l.Kind {
	case "network":
		v.Connections += n
	case "dns":
		v.Queries += n
	case "file":
		v.Files += n
	case "registry":
		v.Registry += n
	case "module":
		v.Modules += n
	case "access":
		v.Accesses += n
	case "memory":
		v.Memory += n
	}
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// cause keeps the first event, and then those that were new on the host.
func cause(have, more []string, l *schemas.LineageRecord) []string {
	first := !l.Snapshot && (l.FirstExec || l.FirstEdge || l.FirstObject)
	if len(more) == 0 || len(have) == maxCauses || len(have) > 0 && !first {
		return have
	}
	return append(have, more[0])
}

// distinct adds a text to a set of hashes, which it keeps in the order they came.
func distinct(set []int64, s string) []int64 {
	if s == "" {
		return set
	}
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return insert(set, int64(h))
}

func distinctPort(set []int64, port int32) []int64 {
	if port == 0 {
		return set
	}
	return insert(set, int64(port))
}

func insert(set []int64, x int64) []int64 {
	if len(set) >= maxDistinct || slices.Contains(set, x) {
		return set
	}
	return append(set, x)
}
