package rarity

import (
	"time"

	"github.com/amoskys/amoskys/streams"
)

// processes are what is remembered of processes that are running, if there is anything to remember.
type processes struct {
	rows *streams.Table[processRow]
	room *room
}

// processRow is a process. Its key is that of the host and its uid.
type processRow struct {
	Chain   float64 `avro:"chain"`   // surprise of its start and those that led to it, bits
	Started int64   `avro:"started"` // event time
	Touches int64   `avro:"touches"` // first touches since Since
	Since   int64   `avro:"since"`
	Seen    int64   `avro:"seen"`
}

const (
	young  = int64(time.Hour) // how long the surprise of a start is handed on to children, and touches are counted together
	noted  = 10.0             // bits of surprise from which on a start is worth remembering
	handed = 0.5              // of the parent's surprise
)

func newProcesses(b *streams.Builder, r *room) *processes {
	p := &processes{streams.NewTable[processRow](b, "process"), r}
	r.kinds['p'] = lodger{func(key string) int64 { x, _ := p.rows.Get(key); return x.Seen }, p.rows.Delete}
	return p
}

func processKey(host, uid string) string { return host + "\x00" + uid }

// chain is the surprise of a start with what its parent hands on.
func (p *processes) chain(host, parent string, bits float64, at int64) float64 {
	if x, ok := p.rows.Get(processKey(host, parent)); ok && at-x.Started < young {
		bits += float64(handed * x.Chain)
	}
	return bits
}

// started remembers the start of a process, and forgets one that ran under its uid before.
func (p *processes) started(host, uid string, chain float64, at int64) {
	place := p.rows.Row(processKey(host, uid))
	x, known := place.Get()
	if chain < noted && !known {
		return
	}
	p.put(host, &place, known, processRow{chain, at, x.Touches, x.Since, at})
}

// touched counts a first touch, and returns how many there were lately, this one included.
func (p *processes) touched(host, uid string, at int64) int64 {
	place := p.rows.Row(processKey(host, uid))
	x, known := place.Get()
	if at-x.Since >= young {
		x.Touches, x.Since = 0, at
	}
	x.Touches++
	x.Seen = at
	p.put(host, &place, known, x)
	return x.Touches
}

func (p *processes) put(host string, place *streams.Row[processRow], known bool, x processRow) {
	if !known {
		p.room.take(host, 'p', place.Key())
	}
	place.Put(x)
}

// ended forgets a process.
func (p *processes) ended(host, uid string) { p.rows.Delete(processKey(host, uid)) }
