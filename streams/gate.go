package streams

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/amoskys/amoskys/schemas"
)

// StatusClass is the class_uid of a collector's words about itself: a class of ours, outside the ranges of OCSF.
const StatusClass = 1000001

// The activities of a CollectorStatus.
const (
	StatusStart      = 1
	StatusCapability = 2
	StatusLost       = 3
	StatusHeartbeat  = 4
	StatusStop       = 5
	StatusSuppressed = 6
)

// gate is where collected events enter a stage. It drops repeats, which an idempotent producer cannot do over a restart of
// its process, turns gaps in the sequence numbers into loss events, and keeps the coverage of each host.
type gate struct {
	t        *Task
	streams  *Table[streamRow]
	coverage *Table[schemas.Coverage]
	places   map[streamKey]*Row[streamRow] // by the parts of StreamID, to build the text once
	hosts    map[string]*Row[schemas.Coverage]
	buf      []byte
}

// streamRow is how far the sequence of one stream has come.
type streamRow struct {
	Last int64 `avro:"last"`
}

type streamKey struct{ tenant, host, boot, collector, stream string }

func (g *gate) init(t *Task, b *Builder) {
	g.t = t
	g.streams = NewTable[streamRow](b, "stream")
	g.coverage = NewTable[schemas.Coverage](b, "coverage")
	g.places, g.hosts = map[streamKey]*Row[streamRow]{}, map[string]*Row[schemas.Coverage]{}
}

// pass says whether the event is new, sets the record's causes and coverage, and returns a loss event if numbers are
// missing before it. The first event seen of a stream begins its count, whatever its number: what came before may have
// left the log.
func (g *gate) pass(e *schemas.Envelope, r *Record) (lost *schemas.CollectorStatus, fresh bool) {
	place, host := g.place(e), g.host(r.Key)
	cov, _ := host.Get()
	if cov.Since == 0 {
		cov.Since = e.Time
	}
	row, seen := place.Get()
	if seen && e.Sequence <= row.Last {
		cov.Repeats++
		host.Put(cov)
		g.t.counts.Repeats++
		return nil, false
	}
	if seen && e.Sequence > row.Last+1 {
		n := e.Sequence - row.Last - 1
		cov.Lost += n
		g.t.counts.Lost += n
		lost = lossOf(e, row.Last+1, e.Sequence-1)
	}
	cov.Received++
	place.Put(streamRow{e.Sequence})
	r.Causes, r.Coverage = []string{g.eventID(place.Key(), e.Sequence)}, cov
	if s, ok := r.Value.(*schemas.CollectorStatus); ok && e.ActivityID == StatusSuppressed {
		for _, c := range s.Counters {
			cov.Suppressed += c.Count
		}
		r.Coverage = cov
	}
	host.Put(cov)
	return lost, true
}

// eventID is the id of an event: that of its stream and its number.
func (g *gate) eventID(stream string, sequence int64) string {
	g.buf = append(append(g.buf[:0], stream...), '/')
	g.buf = strconv.AppendInt(g.buf, sequence, 10)
	return string(g.buf)
}

// place returns the row of the event's stream.
func (g *gate) place(e *schemas.Envelope) *Row[streamRow] {
	k := streamKey{e.Tenant, e.Host, e.Boot, e.Collector, e.Stream}
	r := g.places[k]
	if r == nil {
		x := g.streams.Row(e.StreamID())
		r = &x
		g.places[k] = r
	}
	return r
}

// host returns the row of the coverage of a record key.
func (g *gate) host(key string) *Row[schemas.Coverage] {
	r := g.hosts[key]
	if r == nil {
		x := g.coverage.Row(strings.Clone(key))
		r = &x
		g.hosts[x.Key()] = r
	}
	return r
}

func lossOf(e *schemas.Envelope, from, to int64) *schemas.CollectorStatus {
	s := &schemas.CollectorStatus{Envelope: *e, LostStream: e.Stream, LostFrom: from, LostTo: to, WindowEnd: e.Time,
		Message:  fmt.Sprintf("events %d to %d of stream %s are missing", from, to, e.Stream),
		Counters: []schemas.Counter{{Name: "lost", Count: to - from + 1}}}
	s.Envelope.ClassUID, s.Envelope.ActivityID = StatusClass, StatusLost
	return s
}
