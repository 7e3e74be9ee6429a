package streams

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Builder collects the tables and windows of one processor in one task.
type Builder struct {
	t    *Task
	proc string
	self *handler
}

func (b *Builder) add(s store, schema *schemas.Schema, set func(schemas.Encoder)) {
	for _, x := range b.t.stores {
		if x.name() == s.name() {
			panic("two tables are named " + s.name()) // a bug in the processor, found by every test
		}
	}
	b.t.stores = append(b.t.stores, s)
	if schema == nil {
		return
	}
	b.t.schemas = append(b.t.schemas, schema)
	if b.t.Partition >= 0 { // else the plan is only asking which schemas there are
		e, err := b.t.plan.serde.Encoder(schema.Name)
		if err != nil {
			panic(err) // the plan bound all of them
		}
		set(e)
	}
}

// OnRestore calls f whenever the task's tables were restored or rolled back, so that a handler can rebuild what it
// derives from them in memory. It is not called for an empty start.
func (b *Builder) OnRestore(f func()) { b.t.restored = append(b.t.restored, f) }

// A Context is what a handler may do while it processes one record, or closes a window.
type Context struct {
	t   *Task
	h   *handler
	rec *Record // nil while a tick closes a window
	key string  // record key
	at  int64   // event time for what is emitted
}

// Emit hands v over to topic t under the key of the record being processed. v must not be touched afterwards. For a
// schemas.Derived the engine fills what is empty in its provenance: tenant and host (from the key), time (of the
// trigger), causes and coverage; origin always. An error is a bug in the processor, or a record over the size bound;
// return it.
func (c *Context) Emit(t *schemas.Topic, v schemas.Payload) error {
	o := c.h.p.outputs[t.Name]
	if o == nil {
		return fmt.Errorf("emit to %s: not an output of processor %s", t.Name, c.h.p.Name)
	}
	r := Record{Topic: t.Name, Key: c.key, Value: v, Time: c.at, Origin: c.t.origin, producer: c.h.p.Name, emit: c.h.emit, raw: raw{offset: -1}}
	switch v := v.(type) {
	case schemas.Derived:
		c.provenance(v.Prov())
		r.Time, r.Causes, r.Coverage = v.Prov().Time, v.Prov().Causes, v.Prov().Coverage
	case schemas.Event:
		if c.rec != nil {
			r.Causes, r.Coverage = c.rec.Causes, c.rec.Coverage
		}
		r.Time = v.Env().Time
	}
	if c.rec != nil {
		r.trace = c.rec.trace
	}
	if o.produced {
		if err := c.write(t, &r); err != nil {
			return err
		}
	}
	c.h.emit++
	for _, x := range o.inside {
		if x.accepts == nil || x.accepts[v.SchemaName()] {
			h := c.t.handlers[x.index]
			h.inbox = append(h.inbox, r)
		}
	}
	return nil
}

func (c *Context) provenance(p *schemas.Provenance) {
	if p.Tenant == "" && p.Host == "" {
		p.Tenant, p.Host = splitKey(c.key)
	}
	if p.Time == 0 {
		p.Time = c.at
	}
	if c.rec != nil {
		if p.Causes == nil {
			p.Causes = c.rec.Causes
		}
		if p.Coverage == (schemas.Coverage{}) {
			p.Coverage = c.rec.Coverage
		}
	}
	if k := c.h.keys; k != nil {
		if e := k.rows[c.key]; e != nil {
			if p.Coverage == (schemas.Coverage{}) {
				p.Coverage = e.v.Coverage
			}
			p.Coverage.Late += e.v.Late
		}
	}
	p.Origin = c.t.origin
}

// splitKey undoes schemas.HostKey.
func splitKey(key string) (tenant, host string) {
	tenant, host, _ = strings.Cut(key, "/")
	if strings.Contains(key, "%") {
		r := strings.NewReplacer("%2F", "/", "%25", "%")
		tenant, host = r.Replace(tenant), r.Replace(host)
	}
	return tenant, host
}

func (c *Context) write(t *schemas.Topic, r *Record) error {
	e, err := c.t.encoder(r.Value.SchemaName())
	if err != nil {
		return fmt.Errorf("emit to %s: %w", t.Name, err)
	}
	b, err := e.Append(c.t.buf[:0], r.Value)
	if err != nil {
		return fmt.Errorf("emit to %s: %w", t.Name, err)
	}
	c.t.buf = b
	hs := []kgo.RecordHeader{c.h.position(c.t.origin, c.h.emit)}
	if tr := r.TraceID(); tr != "" {
		hs = append(hs, kgo.RecordHeader{Key: HeaderTrace, Value: traceparent(tr)})
	}
	if n := size(len(r.Key), b, hs); !c.t.plan.fits(n) {
		return fmt.Errorf("emit to %s: record of %d bytes is over the bound of %d", t.Name, n, c.t.plan.MaxRecordBytes)
	}
	c.t.produce(t.Name, c.t.made.text(r.Key), c.t.made.bytes(b), hs)
	return nil
}

// Watermark is how far event time has come for the key of the record being processed, nanoseconds: the highest
// min(event, ingest) so far, or the last tick less the delay of the key's last event. It needs TrackTime.
func (c *Context) Watermark() int64 {
	if c.h.keys == nil {
		return 0
	}
	return c.h.keys.watermark(c.key)
}

// Key is the record key: tenant/host.
func (c *Context) Key() string { return c.key }

var errLateSize = errors.New("record came after its lateness, and is too large for the late topic")

// late writes the record being processed to the late topic and counts it.
func (c *Context) late(by time.Duration) {
	c.t.counts.Late++
	c.h.counts.Late++
	if c.h.keys != nil {
		c.h.keys.touch(c.key).Late++
	}
	if c.rec == nil {
		return
	}
	value := c.rec.raw.value
	if value == nil { // handed over in memory
		if e, err := c.t.encoder(c.rec.Value.SchemaName()); err == nil {
			value, _ = e.Append(nil, c.rec.Value)
		}
	}
	hs := []kgo.RecordHeader{c.h.position(c.t.origin, -1), {Key: HeaderDelay, Value: []byte(by.String())}}
	if !c.t.plan.fits(size(len(c.key), value, hs)) {
		c.h.counts.Dead++
		c.t.refuse(c.h.p.Name, c.rec, errLateSize)
		return
	}
	c.t.produce(schemas.LateTopic.Name, []byte(c.key), value, hs)
}

// TraceID is the W3C trace id that the record belongs to, 32 hex digits: the one it carries, or the one that follows
// from its first cause.
func (r *Record) TraceID() string {
	if r.trace == "" && len(r.Causes) > 0 {
		r.trace = schemas.TraceID(r.Causes[0])
	}
	return r.trace
}
