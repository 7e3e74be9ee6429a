package file

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/amoskys/amoskys/schemas"
)

const (
	nodesFile = "nodes.csv"
	edgesFile = "edges.csv"
)

// graphDecoder delivers an event graph in the order of its edges.
//
// What the edges mean was found in the graph carbanak-h3 (429,711 edges of one workstation, Carbon Black Cloud). Of a
// procstart edge the second end, the actor, is not a new process but one that just started another, which the graph does
// not name; the first end is the actor's own parent. So there are 247 procstart edges from explorer.exe to one
// msedge.exe; 2,340 of the 2,452 lie within a second of the start of some process, and processes that start none have
// no such edge. The starts themselves are in the process GUIDs, and parents are on procend edges as well. Hence:
//
//   - Each process gives one ProcessExec: at its start by its GUID, between the edges, when that lies within the
//     recording; else, as a snapshot, before the first edge that mentions it.
//   - procstart and procend edges of the whole recording, which is read beforehand, tell the parents. The graph drops the
//     parent that each record of the sensor names from all others, so this restores what was known at the time.
//   - A procstart edge gives no event beyond that, and is counted.
//
// The clock of the edges is not that of the GUIDs, which is UTC: in that graph it is five hours ahead, local time taken for
// UTC and shifted the wrong way. The difference is found from the nodes, and start times are given in the clock of the
// edges, since event times are left as recorded.
type graphDecoder struct {
	*graph
	rows   *edgeRows
	src    *source
	skip   skipFunc
	bad    []*BadLine      // of nodes.csv; delivered first
	ready  []schemas.Event // delivered before the next edge is read
	starts []*node         // processes that start within the recording and are not delivered, by start
	from   int64           // time of the first edge
	last   edge
	edges  int64
}

func openGraph(dir string, skip skipFunc) (decoder, digest, error) {
	paths := []string{graphFile(dir, nodesFile), graphFile(dir, edgesFile)}
	d := &graphDecoder{skip: skip}
	sum, err := hashed(paths, func(i int, r io.Reader) (err error) {
		if i == 0 {
			d.graph, err = readNodes(paths[0], r, func(b *BadLine) { d.bad = append(d.bad, b) })
			return err
		}
		return d.scan(paths[1], r)
	})
	if err != nil {
		return nil, sum, err
	}
	if d.graph.host == "" {
		d.graph.host = strings.ToLower(filepath.Base(filepath.Clean(dir)))
	}
	if d.src, err = openSource(paths[1]); err != nil {
		return nil, sum, err
	}
	if d.rows, err = newEdgeRows(paths[1], d.src, d.nodes); err != nil {
		d.src.Close()
		return nil, sum, fmt.Errorf("read recording %s: %w", paths[1], err)
	}
	return d, sum, nil
}

// graphFile is the path of one file of the folder, which may be compressed.
func graphFile(dir, file string) string {
	for _, ext := range []string{"", ".gz", ".zst"} {
		if p := filepath.Join(dir, file+ext); exists(p) {
			return p
		}
	}
	return filepath.Join(dir, file)
}

// scan is the first pass over the edges: it finds the parents, which processes there are, and when the recording begins.
func (d *graphDecoder) scan(path string, r io.Reader) error {
	rows, err := newEdgeRows(path, r, d.nodes)
	if err != nil {
		return err
	}
	for {
		e, err := rows.next()
		if errors.As(err, new(*BadLine)) {
			continue // the second pass reports it
		} else if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if d.from == 0 {
			d.from = e.time
		}
		for _, n := range [2]*node{e.src, e.dst} {
			if !n.mentioned { // the clock of the edges ticks every 15.6 ms, that of the ids does not
				n.mentioned, n.start = true, min(n.start, e.time)
			}
		}
		if (e.kind == "procstart" || e.kind == "procend") && e.actor == e.dst && e.actor.parent == nil && e.src != e.dst {
			e.actor.parent = e.src
		}
	}
	for _, n := range d.nodes {
		if n.mentioned && n.kind == "process" && n.start >= d.from {
			d.starts = append(d.starts, n)
		}
	}
	slices.SortFunc(d.starts, func(a, b *node) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.id, b.id)) })
	return nil
}

func (d *graphDecoder) next() (schemas.Event, error) {
	if len(d.bad) > 0 {
		b := d.bad[0]
		d.bad = d.bad[1:]
		return nil, b
	}
	if len(d.ready) == 0 {
		e, err := d.rows.next()
		if err != nil {
			return nil, err // every start is before an edge that mentions the process, so nothing is left over
		}
		d.edges++
		d.ready = d.take(&e, d.ready[:0])
		d.last = e
	}
	if len(d.ready) == 0 {
		return nil, nil
	}
	e := d.ready[0]
	d.ready = d.ready[1:]
	return e, nil
}

// take appends the events that an edge gives.
func (d *graphDecoder) take(e *edge, out []schemas.Event) []schemas.Event {
	for len(d.starts) > 0 && d.starts[0].start <= e.time {
		out = d.announce(d.starts[0], e.time, out)
		d.starts = d.starts[1:]
	}
	out = d.announce(e.src, e.time, out)
	out = d.announce(e.dst, e.time, out)
	switch {
	case e.kind == "procstart":
		return d.pass(e, "starts a process that is not named; starts come from the process ids", out)
	case e.again(&d.last):
		return d.pass(e, "belongs to the edge before", out)
	}
	return append(out, e.event(func(class, activity int32) schemas.Envelope { return d.envelope(e.actor, e.time, class, activity) }))
}

// pass counts an edge that gives no event of its own.
func (d *graphDecoder) pass(e *edge, reason string, out []schemas.Event) []schemas.Event {
	env := d.envelope(e.actor, e.time, 0, 0)
	d.skip(&env, skip{reason, EDR, e.kind})
	return out
}

// announce delivers the ProcessExec of a process that is not known yet, after those of its ancestors.
func (d *graphDecoder) announce(n *node, at int64, out []schemas.Event) []schemas.Event {
	var line []*node
	for ; n != nil && n.kind == "process" && !n.known && !d.placeholder(n); n = n.parent {
		n.known = true // before its ancestors, so that a circle ends
		line = append(line, n)
	}
	for _, n := range slices.Backward(line) {
		e := &schemas.ProcessExec{Process: n.process()}
		if n.parent != nil && !d.placeholder(n.parent) {
			e.Parent = n.parent.process()
		}
		t := min(n.start, at)
		if n.start < d.from { // before the recording, or never said
			t, e.Snapshot = at, true
		}
		e.Envelope = d.envelope(n, t, processClass, processLaunch)
		out = append(out, e)
	}
	return out
}

// placeholder says that a node only stands for a process that the sensor did not know: it has no id where others have.
func (d *graphDecoder) placeholder(n *node) bool { return d.identified && n.host == "" }

func (d *graphDecoder) hostOf(n *node) string {
	if n.host != "" {
		return n.host
	}
	return d.graph.host
}

func (d *graphDecoder) envelope(actor *node, t int64, class, activity int32) schemas.Envelope {
	h := d.hostOf(actor)
	return schemas.Envelope{Host: h, Hostname: h, Platform: d.platform, Time: t, ClassUID: class, ActivityID: activity}
}

func (d *graphDecoder) records() int64                { return d.edges }
func (d *graphDecoder) progress() (done, total int64) { return d.src.done, d.src.size }
func (d *graphDecoder) close()                        { d.src.Close() }

// process is what is known of a process node.
func (n *node) process() schemas.Process {
	p := schemas.Process{UID: n.uid, PID: n.pid, CreatedTime: n.start, Path: n.name, Name: base(n.name)}
	if n.parent != nil {
		p.ParentPID = n.parent.pid
	}
	return p
}

// endpoint is what a socket node names: address:port, IPv6 without brackets.
func (n *node) endpoint() schemas.Endpoint {
	i := strings.LastIndexByte(n.name, ':')
	if i < 0 {
		return schemas.Endpoint{IP: n.name}
	}
	p := schemas.Endpoint{IP: n.name[:i]}
	if number, err := strconv.ParseUint(n.name[i+1:], 10, 16); err == nil {
		p.Port = int32(number)
	}
	if a, err := netip.ParseAddr(p.IP); err == nil {
		p.IP = a.Unmap().String()
	}
	return p
}
