package file

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// skip is a kind of record that gave no event of its own.
type skip struct{ reason, log, id string }

// A Skipped is how many records of one kind gave no event, and why.
type Skipped struct {
	Log    string // channel of the event log, or the format
	ID     string // event id or type
	Reason string // e.g. "not mapped", "covered by sysmon"
	Count  int64
}

// A Summary is what became of one recording. Nothing in it is estimated: Lines = Events from lines + Skipped + Bad for the
// formats that have one record a line.
type Summary struct {
	File   string
	Format string
	SHA256 string // of the content, decompressed, hex
	Hosts  []string
	Lines  int64 // records read
	Events int64 // events made, without those that report the end
	Bad    int64 // lines that could not be read
	First  int64 // earliest event time, nanoseconds
	Last   int64 // latest event time
	// OutOfOrder counts the events that are earlier than one before them of the same host; Back is by how much at most.
	// They are delivered in the order of the recording all the same.
	OutOfOrder int64
	Back       time.Duration
	Skipped    []Skipped // by log, id and reason
}

// host is what a reader keeps of each host.
type host struct {
	name, hostname, platform string
	sequence                 int64
	events                   int64
	last                     int64 // latest time of an event or of a record that gave none
	highest                  int64 // latest time of an event
	skipped                  map[skip]int64
}

func (h *host) skip(s skip, n int64) {
	if h.skipped == nil {
		h.skipped = map[skip]int64{}
	}
	h.skipped[s] += n
}

// add counts an event of h.
func (s *Summary) add(h *host, t int64) {
	s.Events++
	h.events++
	if s.First == 0 || t < s.First {
		s.First = t
	}
	s.Last = max(s.Last, t)
	if t < h.highest {
		s.OutOfOrder++
		s.Back = max(s.Back, time.Duration(h.highest-t))
	}
	h.highest = max(h.highest, t)
	h.last = max(h.last, t)
}

// fold adds up what was skipped over all hosts.
func (s *Summary) fold(hosts []*host) {
	sum := map[Skipped]int64{}
	for _, h := range hosts {
		for k, n := range h.skipped {
			sum[Skipped{Log: k.log, ID: k.id, Reason: k.reason}] += n
		}
	}
	s.Skipped = s.Skipped[:0]
	for k, n := range sum {
		k.Count = n
		s.Skipped = append(s.Skipped, k)
	}
	slices.SortFunc(s.Skipped, func(a, b Skipped) int {
		return cmp.Or(cmp.Compare(a.Log, b.Log), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Reason, b.Reason))
	})
}

// status is the last event of a host: that the recording has ended, and what of it gave no event.
func (h *host) status(s *Summary, bad int64) *schemas.CollectorStatus {
	e := &schemas.CollectorStatus{Version: version, WindowStart: s.First, WindowEnd: s.Last, Capability: "recording", Variant: s.Format}
	e.Envelope = schemas.Envelope{Host: h.name, Hostname: h.hostname, Platform: h.platform, Time: h.last, ClassUID: streams.StatusClass, ActivityID: streams.StatusStop}
	e.Counters = append(e.Counters, schemas.Counter{Name: "events", Count: h.events})
	if bad > 0 {
		e.Counters = append(e.Counters, schemas.Counter{Name: "bad_lines", Count: bad})
	}
	var skipped int64
	for k, n := range h.skipped {
		e.Counters = append(e.Counters, schemas.Counter{Name: fmt.Sprintf("%s: %s/%s", k.reason, k.log, k.id), Count: n})
		skipped += n
	}
	slices.SortFunc(e.Counters, func(a, b schemas.Counter) int { return cmp.Compare(a.Name, b.Name) })
	e.Message = fmt.Sprintf("recording ended: %d events, %d records that are no event of ours, %d lines that could not be read", h.events, skipped, bad)
	return e
}
