package spool

import (
	"fmt"
	"slices"
	"strings"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// StartEvents are the events that a collector begins with: that it starts, and what it can and cannot see.
func (s *Spool) StartEvents(cs []streams.Capability) []schemas.Event {
	out := []schemas.Event{s.StatusEvent(streams.StatusStart, "started")}
	for _, c := range cs {
		e := s.status(streams.StatusCapability, c.Reason)
		e.Capability, e.Variant = c.Name, c.Variant
		out = append(out, e)
	}
	return out
}

// StatusEvent is a word of the collector about itself, with the counts of its spool and others, sorted by name.
func (s *Spool) StatusEvent(activity int32, message string, others ...schemas.Counter) schemas.Event {
	c := s.Counts()
	e := s.status(activity, message)
	e.Counters = append([]schemas.Counter{{Name: "appended", Count: c.Appended}, {Name: "damaged", Count: c.Damaged}, {Name: "dropped", Count: c.Dropped},
		{Name: "refused", Count: c.Refused}, {Name: "shipped", Count: c.Shipped}, {Name: "spool_bytes", Count: c.Bytes}}, others...)
	slices.SortFunc(e.Counters, func(a, b schemas.Counter) int { return strings.Compare(a.Name, b.Name) })
	return e
}

// lost tells that numbers of a stream will never come.
func (s *Spool) lost(i int, from, to int64, why string) *schemas.CollectorStatus {
	e := s.status(streams.StatusLost, fmt.Sprintf("events %d to %d of stream %s are lost: %s", from, to, streamNames[i], why))
	e.LostStream, e.LostFrom, e.LostTo = streamNames[i], from, to
	e.Counters = []schemas.Counter{{Name: "lost", Count: to - from + 1}}
	return e
}

// lostOwn tells of the loss of an event with an identity of its own by that identity, which the ingest log knows it by: the
// spool's number of it says nothing to anybody else. What could not be brought to the present schema, whose name has its
// mark still, keeps the spool's number.
func (s *Spool) lostOwn(e *schemas.CollectorStatus, r Record, cause error) {
	sch, ok := schemas.Lookup(r.Schema)
	v, isEvent := schemas.New(r.Schema).(schemas.Event)
	if !ok || !isEvent || sch.DecodeBody(r.Body, v) != nil {
		return
	}
	id := v.Env()
	e.LostStream, e.LostFrom, e.LostTo = id.Stream, id.Sequence, id.Sequence
	e.Message = fmt.Sprintf("event %s is lost: %v", id.EventID(), cause)
}

// torn tells that the end of a log was cut off, which had nobody knows how many records.
func (s *Spool) torn(i int, bytes int64) *schemas.CollectorStatus {
	e := s.status(streams.StatusLost, fmt.Sprintf("the end of stream %s was cut off: %d bytes that are no whole record", streamNames[i], bytes))
	e.LostStream, e.Counters = streamNames[i], []schemas.Counter{{Name: "torn_bytes", Count: bytes}}
	return e
}

// tooLarge tells of an event that never got a number.
func (s *Spool) tooLarge(v schemas.Event, cause error) *schemas.CollectorStatus {
	e := s.status(streams.StatusSuppressed, fmt.Sprintf("an event of kind %s was dropped: %v", v.SchemaName(), cause))
	e.Counters = []schemas.Counter{{Name: "too_large", Count: 1}}
	return e
}

func (s *Spool) status(activity int32, message string) *schemas.CollectorStatus {
	now := s.now().UnixNano()
	return &schemas.CollectorStatus{Envelope: schemas.Envelope{Time: now, ClassUID: streams.StatusClass, ActivityID: activity}, Version: s.c.Identity.Version,
		Message: message, WindowEnd: now}
}
