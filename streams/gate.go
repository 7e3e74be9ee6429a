package streams

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
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
	coverage *Table[coverageRow]
	gaps     *Table[gapRow]                // by stream, like streams
	places   map[streamKey]*Row[streamRow] // by the parts of StreamID, to build the text once
	hosts    map[string]*Row[coverageRow]
	buf      []byte
	nStreams int // rows of streams
	nHosts   int // rows of coverage
}

// streamRow is how far the sequence of one stream has come.
type streamRow struct {
	Last int64 `avro:"last"`
	Seen int64 `avro:"seen,default=0"` // ingest time of its last event that was new, ms
}

// coverageRow is the coverage of one record key.
type coverageRow struct {
	schemas.Coverage `avro:",inline"`
	Seen             int64 `avro:"seen,default=0"` // ingest time of its last event, ms
}

// gapRow are the numbers of a stream that were passed over: what cannot be decoded leaves them too, and may be re-driven.
type gapRow struct {
	Gaps []gap `avro:"gaps"`
}

// gap is a range of numbers, both inclusive.
type gap struct {
	From int64 `avro:"from"`
	To   int64 `avro:"to"`
	Told bool  `avro:"told"` // counted as lost; what came before the first event seen is not
}

// maxGaps bounds the gaps kept of a stream; the oldest are forgotten, and what would fill them is a repeat.
const maxGaps = 32

type streamKey struct{ tenant, host, boot, collector, stream string }

func (g *gate) init(t *Task, b *Builder) {
	g.t = t
	g.streams = NewTable[streamRow](b, "stream")
	g.coverage = NewTable[coverageRow](b, "coverage")
	g.gaps = NewTable[gapRow](b, "gap")
	g.places, g.hosts = map[streamKey]*Row[streamRow]{}, map[string]*Row[coverageRow]{}
	b.OnRestore(func() { g.nStreams, g.nHosts = g.streams.Len(), g.coverage.Len() })
}

// pass says whether the event is new, sets the record's causes and coverage, and returns a loss event if numbers are
// missing before it. The first event seen of a stream begins its count, whatever its number: what came before may have
// left the log.
func (g *gate) pass(e *schemas.Envelope, r *Record) (lost *schemas.CollectorStatus, fresh bool) {
	place, host := g.place(e), g.host(r.Key)
	known, _ := host.Get()
	cov := known.Coverage
	if cov.Since == 0 {
		cov.Since = e.Time
	}
	row, seen := place.Get()
	if seen && e.Sequence <= row.Last {
		cov.Repeats++
		g.put(host, cov)
		g.t.counts.Repeats++
		return nil, false
	}
	if seen && e.Sequence > row.Last+1 {
		n := numbers(row.Last+1, e.Sequence-1)
		cov.Lost = plus(cov.Lost, n)
		g.t.counts.Lost = plus(g.t.counts.Lost, n)
		lost = lossOf(e, row.Last+1, e.Sequence-1)
	}
	if e.Sequence > row.Last+1 {
		g.open(place.Key(), gap{row.Last + 1, e.Sequence - 1, seen})
	}
	cov.Received++
	if !seen && g.nStreams >= maxStreams {
		g.forgetStreams()
	}
	if !seen {
		g.nStreams++
	}
	place.Put(streamRow{e.Sequence, g.t.origin.IngestTime})
	r.Causes, r.Coverage = []string{g.eventID(place.Key(), e.Sequence)}, cov
	if s, ok := r.Value.(*schemas.CollectorStatus); ok && e.ActivityID == StatusSuppressed {
		for _, c := range s.Counters {
			cov.Suppressed = plus(cov.Suppressed, max(0, c.Count))
		}
		r.Coverage = cov
	}
	g.put(host, cov)
	return lost, true
}

// put sets the coverage of a record key.
func (g *gate) put(host *Row[coverageRow], cov schemas.Coverage) {
	if !host.Has() {
		if g.nHosts >= maxStreams {
			g.forgetHosts()
		}
		g.nHosts++
	}
	host.Put(coverageRow{cov, g.t.origin.IngestTime})
}

// maxStreams bounds the streams and the record keys that a partition knows: their names come from outside. Of those seen
// longest ago by ingest time, and then by name, a quarter is forgotten at once, so that a replay forgets the same. A stream
// that comes back begins its count like a new one; the coverage of a key that comes back says by its Since from when on it
// counts.
const maxStreams = 1 << 16

func (g *gate) forgetStreams() {
	for _, id := range oldest(g.streams, g.nStreams/4, func(r *streamRow) int64 { return r.Seen }) {
		g.streams.Delete(id)
		g.gaps.Delete(id)
		g.nStreams--
	}
	maps.DeleteFunc(g.places, func(_ streamKey, r *Row[streamRow]) bool { return !r.Has() })
}

func (g *gate) forgetHosts() {
	for _, key := range oldest(g.coverage, g.nHosts/4, func(r *coverageRow) int64 { return r.Seen }) {
		g.coverage.Delete(key)
		g.nHosts--
	}
	maps.DeleteFunc(g.hosts, func(_ string, r *Row[coverageRow]) bool { return !r.Has() })
}

// oldest are the keys of the n rows seen longest ago.
func oldest[V any](t *Table[V], n int, seen func(*V) int64) (keys []string) {
	rows := slices.DeleteFunc(t.sorted(), func(r *row[V]) bool { return !r.has })
	slices.SortStableFunc(rows, func(a, b *row[V]) int { return cmp.Compare(seen(&a.v), seen(&b.v)) })
	for _, r := range rows[:n] {
		keys = append(keys, r.key)
	}
	return keys
}

func (g *gate) open(id string, x gap) {
	row, _ := g.gaps.Get(id)
	g.gaps.Put(id, gapRow{latest(append(slices.Clone(row.Gaps), x))})
}

func latest(gaps []gap) []gap { return gaps[max(0, len(gaps)-maxGaps):] }

// numbers is how many there are from one to another, both inclusive. They come from outside, and may be further apart than
// can be counted.
func numbers(from, to int64) int64 { return int64(min(uint64(to)-uint64(from)+1, math.MaxInt64)) }

// plus adds to a total, which stops at the most that it can be.
func plus(total, n int64) int64 {
	if total > math.MaxInt64-n {
		return math.MaxInt64
	}
	return total + n
}

// refill lets an event that is re-driven into its gap: it is new, and not lost after all. It says whether there is one.
func (g *gate) refill(e *schemas.Envelope, r *Record) bool {
	id := g.place(e).Key()
	row, _ := g.gaps.Get(id)
	i := slices.IndexFunc(row.Gaps, func(x gap) bool { return x.From <= e.Sequence && e.Sequence <= x.To })
	if i < 0 {
		return false
	}
	x := row.Gaps[i]
	var left []gap
	for _, y := range []gap{{x.From, e.Sequence - 1, x.Told}, {e.Sequence + 1, x.To, x.Told}} {
		if y.From <= y.To {
			left = append(left, y)
		}
	}
	if row.Gaps = latest(slices.Concat(row.Gaps[:i], left, row.Gaps[i+1:])); len(row.Gaps) > 0 {
		g.gaps.Put(id, row)
	} else {
		g.gaps.Delete(id)
	}
	host := g.host(r.Key)
	known, _ := host.Get()
	cov := known.Coverage
	cov.Received++
	if x.Told && cov.Lost > 0 { // the key's count may have begun anew since
		cov.Lost--
	}
	g.put(host, cov)
	r.Causes, r.Coverage = []string{g.eventID(id, e.Sequence)}, cov
	return true
}

// eventID is the id of an event: that of its stream and its number.
func (g *gate) eventID(stream string, sequence int64) string {
	g.buf = append(append(g.buf[:0], stream...), '/')
	g.buf = strconv.AppendInt(g.buf, sequence, 10)
	return string(g.buf)
}

// known returns the coverage of a record key.
func (g *gate) known(key string) schemas.Coverage {
	row, _ := g.coverage.Get(key)
	return row.Coverage
}

// place returns the row of the event's stream.
func (g *gate) place(e *schemas.Envelope) *Row[streamRow] {
	k := streamKey{e.Tenant, e.Host, e.Boot, e.Collector, e.Stream}
	r := g.places[k]
	if r == nil {
		x := g.streams.Row(e.StreamID())
		r = &x
		for _, s := range []*string{&k.tenant, &k.host, &k.boot, &k.collector, &k.stream} {
			*s = strings.Clone(*s) // not to keep the rest of the event
		}
		g.places[k] = r
	}
	return r
}

// host returns the row of the coverage of a record key.
func (g *gate) host(key string) *Row[coverageRow] {
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
		Counters: []schemas.Counter{{Name: "lost", Count: numbers(from, to)}}}
	s.Envelope.ClassUID, s.Envelope.ActivityID = StatusClass, StatusLost
	s.Envelope.Stream, s.Envelope.Sequence = "", 0 // it was not collected: with the number of e one of them would be a repeat when both are replayed
	return s
}
