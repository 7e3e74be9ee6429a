package streams_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

// ledger does what each event tells it to, with places that it keeps from one record to the next; the same by key, in
// another table. It refuses a record where the two differ, and writes what it finds.
type ledger struct {
	kept  map[string]*streams.Row[count]
	rows  *streams.Table[count]
	plain *streams.Table[count]
}

func newLedger(b *streams.Builder) streams.Handler {
	l := &ledger{kept: map[string]*streams.Row[count]{}, rows: streams.NewTable[count](b, "rows"), plain: streams.NewTable[count](b, "plain")}
	return streams.HandlerFunc(l.process)
}

var ledgers = &streams.Processor{
	Name: "ledger", Doc: "Adds, deletes and refuses.", Version: "1", Inputs: []*schemas.Topic{schemas.EndpointTopic},
	Accepts: []string{"ProcessExec"}, Outputs: []*schemas.Topic{schemas.LineageTopic}, New: newLedger,
}

func (l *ledger) process(c *streams.Context, r *streams.Record) error {
	e := r.Value.(*schemas.ProcessExec)
	for _, key := range e.Args {
		h := l.kept[key]
		if h == nil { // never looked up again in this task, whatever becomes of the row
			x := l.rows.Row(key)
			h = &x
			l.kept[key] = h
		}
		if err := l.step(h, key, e.Process.Name); err != nil {
			return err
		}
	}
	if e.Process.Name == "refuse" {
		return errors.New("refused")
	}
	return c.Emit(schemas.LineageTopic, &schemas.LineageRecord{Kind: "exec", Object: l.text()})
}

func (l *ledger) step(h *streams.Row[count], key, do string) error {
	switch do {
	case "delete":
		h.Delete()
		l.plain.Delete(key)
	default:
		v, _ := h.Get()
		h.Put(count{v.N + 1})
		v, _ = h.Get()
		h.Put(count{v.N + 1}) // twice in one record
		w, _ := l.plain.Get(key)
		l.plain.Put(key, count{w.N + 2})
	}
	v, ok := h.Get()
	w, known := l.plain.Get(key)
	if v != w || ok != known || h.Has() != known || h.Key() != key {
		return fmt.Errorf("row %s is %v %v by its place, %v %v by its key", key, v, ok, w, known)
	}
	return nil
}

// text is all of both tables.
func (l *ledger) text() (s string) {
	for _, t := range []*streams.Table[count]{l.rows, l.plain} {
		t.All(func(key string, v count) bool {
			s += fmt.Sprintf("%s=%d ", key, v.N)
			return true
		})
		s += "| "
	}
	return s
}

func do(d *streamstest.Driver, what string, at int, keys ...string) {
	when := t0.Add(time.Duration(at) * time.Second)
	d.Ingest(&schemas.ProcessExec{Envelope: schemas.Envelope{Time: when.UnixNano()}, Process: schemas.Process{Name: what}, Args: keys}, when)
}

func TestRowIsTheKey(t *testing.T) {
	d := streamstest.New(t, streams.Stage{Name: "ledger", Processors: []*streams.Processor{ledgers}})
	do(d, "add", 0, "a", "b")
	do(d, "refuse", 1, "a", "new")
	do(d, "add", 2, "a", "new")
	do(d, "delete", 3, "b")
	do(d, "refuse", 4, "b", "a")
	do(d, "add", 5, "b")
	do(d, "delete", 6, "a", "new", "never")
	do(d, "add", 7, "c")
	want := []string{
		"a=2 b=2 | a=2 b=2 | ",
		"a=4 b=2 new=2 | a=4 b=2 new=2 | ",
		"a=4 new=2 | a=4 new=2 | ",
		"a=4 b=2 new=2 | a=4 b=2 new=2 | ",
		"b=2 | b=2 | ",
		"b=2 c=2 | b=2 c=2 | ",
	}
	for i, v := range d.Out(schemas.LineageTopic) {
		if got := v.(*schemas.LineageRecord).Object; i >= len(want) || got != want[i] {
			t.Errorf("record %d: %q", i, got)
		}
	}
	if n := len(d.Out(schemas.DeadLetterTopic)); n != 2 {
		t.Errorf("%d dead letters, want the two that were refused", n)
	}
	d.Fuzz(50)
}

// Rows come and go over many transactions, aborts, refused records and restores; a place that is kept stays the key's.
func TestRowUnderTorment(t *testing.T) {
	d := streamstest.New(t, streams.Stage{Name: "ledger", Processors: []*streams.Processor{ledgers}})
	x := uint64(1)
	for i := range 400 {
		x = x*6364136223846793005 + 1442695040888963407
		what := []string{"add", "add", "delete", "refuse"}[x>>62]
		do(d, what, i, fmt.Sprintf("k%d", x>>40%7), fmt.Sprintf("k%d", x>>30%7))
	}
	for _, v := range d.Out(schemas.DeadLetterTopic) {
		if l := v.(*schemas.DeadLetter); l.Error != "refused" {
			t.Fatal(l.Error)
		}
	}
	d.Fuzz(20)
}

// What the engine itself has noted of a record, such as its number in its stream, is not undone with what a processor did.
func TestRefusedEventIsNotLost(t *testing.T) {
	d := streamstest.New(t, fused...)
	for i, name := range []string{"a", "refused", "a", "refused", "a"} {
		d.Ingest(exec("h", name, t0.Add(time.Duration(i)*time.Second)), t0.Add(time.Duration(i)*time.Second))
	}
	out := d.Out(schemas.LineageTopic)
	if len(out) != 3 {
		t.Fatalf("got %d records, want 3: nothing was lost", len(out))
	}
	if c := out[2].(*schemas.LineageRecord).Provenance.Coverage; c.Received != 5 || c.Lost != 0 {
		t.Errorf("coverage %+v, want 5 received and none lost", c)
	}
	d.Fuzz(10)
}
