package lineage

import (
	"github.com/amoskys/amoskys/schemas"
)

// processRow is what is known of a process: written when it starts, ends, or more is learnt of it. Its key is that of the
// host, a slash, and the uid.
type processRow struct {
	Process   schemas.Process `avro:"process"`
	ParentUID string          `avro:"parent_uid"`
	Since     int64           `avro:"since"`     // start time; where that is not known, time of first sight
	Executed  int64           `avro:"executed"`  // event time of its last exec
	Ended     int64           `avro:"ended"`     // 0: runs
	Started   bool            `avro:"started"`   // an exec or a scan showed it
	Forked    bool            `avro:"forked"`    // a fork showed it
	Exited    bool            `avro:"exited"`    // its exit was seen; Ended may also follow from the reuse of its pid
	Anonymous bool            `avro:"anonymous"` // only its pid is known: the uid is made from first sight
	Deleted   bool            `avro:"deleted"`
	Memfd     bool            `avro:"memfd"`
	Snapshot  bool            `avro:"snapshot"`
}

// seen says whether the process itself was seen starting or running, not only named by others.
func (r *processRow) seen() bool { return r.Started || r.Forked }

// activityRow is what a process did. It changes with each activity, so it is kept apart from processRow and small.
type activityRow struct {
	Children int64   `avro:"children"`
	Held     int64   `avro:"held"` // execs that were told again
	File     kindRow `avro:"file"`
	Network  kindRow `avro:"network"`
	DNS      kindRow `avro:"dns"`
	Module   kindRow `avro:"module"`
	Registry kindRow `avro:"registry"`
	Access   kindRow `avro:"access"`
	Memory   kindRow `avro:"memory"`
	Objects  sketch  `avro:"objects"`
}

// kindRow counts the activities of one kind.
type kindRow struct {
	Count   int64 `avro:"count"`
	Held    int64 `avro:"held"`    // not written since the last that was
	Written int64 `avro:"written"` // event time of the last that was written
}

// The kinds of activities.
const (
	kindFile = iota
	kindNetwork
	kindDNS
	kindModule
	kindRegistry
	kindAccess
	kindMemory
)

var kindNames = [...]string{"file", "network", "dns", "module", "registry", "access", "memory"}

func (a *activityRow) kinds() [len(kindNames)]*kindRow {
	return [...]*kindRow{&a.File, &a.Network, &a.DNS, &a.Module, &a.Registry, &a.Access, &a.Memory}
}

// acted says whether the process did anything.
func (a *activityRow) acted() bool {
	for _, k := range a.kinds() {
		if k.Count > 0 {
			return true
		}
	}
	return false
}

// held is how many activities were counted and not written yet.
func (a *activityRow) held() int64 {
	n := a.Held
	for _, k := range a.kinds() {
		n += k.Held
	}
	return n
}

// factRow is a first-seen fact: a number that orders the facts of a host by their last use. Its key is that of the host, a
// slash, and the fact in hex.
type factRow struct {
	N int64 `avro:"n"`
}

// lossRow counts what a host had to forget. Its key is that of the host.
type lossRow struct {
	Processes int64 `avro:"processes"` // removed because there were too many
	Facts     int64 `avro:"facts"`
}

const (
	sketchWidth = 64
	maxCell     = 15
)

// sketch is a count-min sketch of two rows of four-bit cells with conservative update.
type sketch [sketchWidth]byte

// add counts an item by its hash and returns how many times it was counted, at least; at most maxCell.
func (s *sketch) add(h uint64) int {
	i, j := h%sketchWidth, sketchWidth+h/sketchWidth%sketchWidth
	a, b := s.cell(i), s.cell(j)
	n := min(a, b)
	if n == maxCell {
		return maxCell
	}
	if a == n {
		s.increment(i)
	}
	if b == n {
		s.increment(j)
	}
	return n + 1
}

func (s *sketch) cell(i uint64) int { return int(s[i/2] >> (4 * (i % 2)) & 15) }

func (s *sketch) increment(i uint64) { s[i/2] += 1 << (4 * (i % 2)) }
