package file

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/amoskys/amoskys/schemas"
)

const (
	// name is the collector's name in the identity of its events.
	name = "file"
	// stream is its only sequence space.
	stream = "p0"
	// version of the mappings, in the status events: it changes when the same recording gives other events.
	version = "1"
)

// A Progress is how far the reading of a recording has come.
type Progress struct {
	File   string
	Done   int64 // bytes taken from the disk
	Total  int64 // bytes on the disk
	Events int64
}

// A Reader gives the events of one recording. It is used by one goroutine.
type Reader struct {
	cfg     Config
	dec     decoder
	boot    string
	hosts   map[string]*host
	order   []*host // as they appeared
	nowhere host    // what belongs to no host
	ending  []schemas.Event
	ended   bool
	calls   int64
	sum     Summary
}

// decoder reads records. next returns an event, nil for a record that gives none, a *BadLine for one that cannot be read
// (reading goes on after it), io.EOF at the end, or the error that ends the reading. It leaves tenant, boot, collector,
// stream and sequence to the reader.
type decoder interface {
	next() (schemas.Event, error)
	records() int64 // read so far
	progress() (done, total int64)
	close()
}

// skipFunc counts a record that gives no event. Of the envelope host, hostname, platform and time are read; it is nil for
// what belongs to no host.
type skipFunc func(env *schemas.Envelope, s skip)

// Open opens one recording. Of cfg it takes the tenant, the format, and what is to be called with broken lines and
// progress. It reads the recording once, to find its identity and what the mapping must know beforehand. An error names the
// file.
func Open(path string, cfg Config) (*Reader, error) {
	cfg.defaults()
	f, path, err := resolve(path, cfg.Format)
	if err != nil {
		return nil, err
	}
	r := &Reader{cfg: cfg, hosts: map[string]*host{}}
	dec, d, err := f.open(path, r.skip)
	if err != nil {
		return nil, err
	}
	r.dec, r.boot = dec, d.boot()
	r.sum = Summary{File: path, Format: f.name, SHA256: d.sum}
	return r, nil
}

// Next returns the next event, which belongs to the caller. After the last one come a status event for each host, which
// says what of the recording gave no event, and then io.EOF. Any other error ends the reading and names the file.
func (r *Reader) Next() (schemas.Event, error) {
	for !r.ended {
		e, err := r.dec.next()
		var bad *BadLine
		switch {
		case err == nil && e == nil:
		case err == nil:
			r.identify(e)
		case errors.As(err, &bad):
			r.sum.Bad++
			if r.cfg.OnBad != nil {
				r.cfg.OnBad(*bad)
			}
		case err == io.EOF:
			r.end()
			continue
		default:
			return nil, fmt.Errorf("read recording %s: %w", r.sum.File, err)
		}
		if r.calls++; r.calls%4096 == 0 {
			r.report()
		}
		if e != nil {
			return e, nil
		}
	}
	if len(r.ending) == 0 {
		return nil, io.EOF
	}
	e := r.ending[0]
	r.ending = r.ending[1:]
	return e, nil
}

// identify gives the event its identity. One of our own events that was recorded with its whole identity keeps it, except
// for the tenant: what is read back from a log is the same event.
func (r *Reader) identify(e schemas.Event) {
	env := e.Env()
	h := r.host(env)
	env.Tenant = r.cfg.Tenant
	if env.Boot == "" || env.Collector == "" || env.Stream == "" || env.Sequence == 0 {
		h.sequence++
		env.Boot, env.Collector, env.Stream, env.Sequence = r.boot, name, stream, h.sequence
	}
	r.sum.add(h, env.Time)
}

func (r *Reader) host(env *schemas.Envelope) *host {
	h := r.hosts[env.Host]
	if h == nil {
		h = &host{name: env.Host}
		r.hosts[env.Host] = h
		r.order = append(r.order, h)
	}
	if h.platform == "" {
		h.hostname, h.platform = env.Hostname, env.Platform
	}
	return h
}

func (r *Reader) skip(env *schemas.Envelope, s skip) {
	if env == nil {
		r.nowhere.skip(s, 1)
		return
	}
	h := r.host(env)
	h.skip(s, 1)
	h.last = max(h.last, env.Time)
}

// end makes the status events. What belongs to no host is told with the first one.
func (r *Reader) end() {
	r.ended = true
	for i, h := range r.order {
		var bad int64
		if i == 0 {
			bad = r.sum.Bad
			for s, n := range r.nowhere.skipped {
				h.skip(s, n)
			}
			clear(r.nowhere.skipped)
		}
		e := h.status(&r.sum, bad)
		h.sequence++
		e.Envelope.Tenant, e.Envelope.Boot, e.Envelope.Collector, e.Envelope.Stream, e.Envelope.Sequence = r.cfg.Tenant, r.boot, name, stream, h.sequence
		r.ending = append(r.ending, e)
	}
	r.report()
}

func (r *Reader) report() {
	if r.cfg.OnProgress != nil {
		done, total := r.dec.progress()
		r.cfg.OnProgress(Progress{r.sum.File, done, total, r.sum.Events})
	}
}

// Summary is what became of the recording up to here. It is complete when Next has returned io.EOF.
func (r *Reader) Summary() Summary {
	s := r.sum
	s.Lines = r.dec.records()
	for _, h := range r.order {
		s.Hosts = append(s.Hosts, h.name)
	}
	s.fold(append(slices.Clip(r.order), &r.nowhere))
	return s
}

// Close closes the recording.
func (r *Reader) Close() { r.dec.close() }
