package file

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"

	"github.com/amoskys/amoskys/sinks/internal/record"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/durable"
)

// A mark tells a record's content apart: the first bytes of record.Mark.
type mark [8]byte

// An entry is what is kept in mind of a record of the open segment.
type entry struct {
	offset int64
	size   int64 // bytes of key and value, as on the topic
	mark   mark
}

func entryOf(d *streams.Delivery) entry {
	m := record.Mark(d)
	return entry{d.Offset, int64(len(d.Key) + len(d.Raw)), mark(m[:8])}
}

// A partition is the archive of one partition of a topic.
type partition struct {
	cfg   Config
	form  form
	at    place
	dir   string
	probe func(step string) error

	sealed []span       // of all segments, ascending
	head   string       // hash of the newest manifest
	log    *durable.Log // the open segment; nil while it has no record
	open   []entry      // its records
	bytes  int64        // their sizes
	known  sealedMarks  // of the sealed segment that was last looked into
}

type sealedMarks struct {
	span
	marks map[int64]mark
}

// last is the offset of the last record that is in the archive.
func (p *partition) last() (int64, bool) {
	switch {
	case len(p.open) > 0:
		return p.open[len(p.open)-1].offset, true
	case len(p.sealed) > 0:
		return p.sealed[len(p.sealed)-1].last, true
	}
	return -1, false
}

// step is a point where a crash is tried by tests.
func (p *partition) step(name string) error {
	if p.probe == nil {
		return nil
	}
	return p.probe(name)
}

// A run is what is about to be appended to the open segment.
type run struct {
	text    []byte
	entries []entry
	bytes   int64
}

// deliver archives records in order. Whatever it returns, what the partition knows is what is on the disk.
func (p *partition) deliver(batch []streams.Delivery) error {
	var r run
	for i := range batch {
		d := &batch[i]
		last, ok := p.last()
		if n := len(r.entries); n > 0 {
			last, ok = r.entries[n-1].offset, true
		}
		if ok && d.Offset <= last {
			if err := p.again(d, r.entries); err != nil {
				return errors.Join(err, p.write(&r))
			}
			continue
		}
		e := entryOf(d)
		if p.full(&r, e.size) {
			if err := p.write(&r); err != nil {
				return err
			}
			if err := p.seal(); err != nil {
				return err
			}
		}
		r.text, r.entries, r.bytes = p.form.append(r.text, d, e), append(r.entries, e), r.bytes+e.size
	}
	if err := p.write(&r); err != nil {
		return err
	}
	if len(p.open) >= p.cfg.SegmentRecords {
		return p.seal()
	}
	return nil
}

// full says whether the open segment, with the run, has no room for one more record of a size.
func (p *partition) full(r *run, size int64) bool {
	n := len(p.open) + len(r.entries)
	return n > 0 && (n >= p.cfg.SegmentRecords || p.bytes+r.bytes+size > p.cfg.SegmentBytes)
}

// write appends a run of records to the open segment, and empties the run.
func (p *partition) write(r *run) error {
	if len(r.entries) == 0 {
		return nil
	}
	if err := p.step("write"); err != nil {
		return err
	}
	if p.log == nil {
		if err := p.openLog(p.part(r.entries[0].offset), 0); err != nil {
			return err
		}
	}
	if err := p.log.Append(r.text); err != nil {
		return err
	}
	p.take(r.entries)
	*r = run{text: r.text[:0]}
	return p.step("written")
}

// openLog opens the open segment. An interrupted seal may have left it read-only.
func (p *partition) openLog(path string, size int64) (err error) {
	if err := os.Chmod(path, 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	p.log, err = durable.OpenLog(path, size)
	return err
}

func (p *partition) take(es []entry) {
	p.open = append(p.open, es...)
	for _, e := range es {
		p.bytes += e.size
	}
}

func (p *partition) part(first int64) string {
	return filepath.Join(p.dir, fmt.Sprintf("%020d.%s.part", first, p.form.name()))
}

// again looks at a record that is in the archive already, or should be.
func (p *partition) again(d *streams.Delivery, fresh []entry) error {
	was, ok, err := p.find(d.Offset, fresh)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("offset %d comes after later ones, but is not in the archive: %w", d.Offset, errAnew)
	case was != entryOf(d).mark:
		return fmt.Errorf("offset %d is another record than the one in the archive: %w", d.Offset, errAnew)
	}
	return nil
}

var errAnew = errors.New("the topic was made anew, or the archive is of another log: archive it to another directory")

func (p *partition) find(offset int64, fresh []entry) (mark, bool, error) {
	for _, es := range [][]entry{fresh, p.open} {
		i := sort.Search(len(es), func(i int) bool { return es[i].offset >= offset })
		if i < len(es) && es[i].offset == offset {
			return es[i].mark, true, nil
		}
	}
	i := sort.Search(len(p.sealed), func(i int) bool { return p.sealed[i].last >= offset })
	if i == len(p.sealed) || p.sealed[i].first > offset {
		return mark{}, false, nil
	}
	if s := p.sealed[i]; p.known.marks == nil || p.known.span != s {
		m, _, err := readManifest(p.dir, p.at, s)
		if err != nil {
			return mark{}, false, err
		}
		f, err := newForm(m.Format, "none")
		if err != nil {
			return mark{}, false, err
		}
		marks, err := f.marks(p.dir, m)
		if err != nil {
			return mark{}, false, fmt.Errorf("read segment %s: %w", s, err)
		}
		p.known = sealedMarks{s, marks}
	}
	was, ok := p.known.marks[offset]
	return was, ok, nil
}

func (p *partition) close() error {
	if p.log == nil {
		return nil
	}
	err := p.log.Close()
	p.log = nil
	return err
}

// scan reads an open segment as far as it is sound; size is where that ends.
func scan(f form, path string) (es []entry, size int64, err error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	b := bufio.NewReaderSize(r, 1<<16)
	for {
		e, n, err := f.next(b)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, errTorn):
			return es, size, nil
		case err != nil:
			return nil, 0, err
		case len(es) > 0 && e.offset <= es[len(es)-1].offset:
			return nil, 0, &Damage{File: path, Record: len(es) + 1, Problem: fmt.Sprintf("offset %d does not follow %d", e.offset, es[len(es)-1].offset)}
		}
		es, size = append(es, e), size+n
	}
}

// keepTorn puts what is about to be cut off aside, if there are whole lines in it: a crash of the machine may leave a hole
// before what it did write, but so does a failing disk, and then the log may not have the records any more.
func keepTorn(path string, from int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rest, err := io.ReadAll(io.NewSectionReader(f, from, 1<<40))
	if err != nil || !bytes.Contains(rest, []byte{'\n'}) {
		return err
	}
	return durable.WriteFile(fmt.Sprintf("%s.%d.torn", path, from), rest, sealedMode)
}
