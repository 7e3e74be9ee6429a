package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/amoskys/amoskys/schemas"
)

// edge is one row of edges.csv.
type edge struct {
	time     int64 // nanoseconds
	src, dst *node
	kind     string
	actor    *node // the process that acted: one of the two
}

// forth says that the edge leads away from the actor.
func (e *edge) forth() bool { return e.actor == e.src }

// other is the node at the end that is not the actor's.
func (e *edge) other() *node {
	if e.forth() {
		return e.dst
	}
	return e.src
}

// again says whether e, which follows p, tells of the same activity.
//
// The sensor's record of a connection or of access to a process is two edges next to each other, forth and back. A record
// about a file is one edge for each of the actions in it, such as create and write, and one back when the file was opened
// for reading as well; two records that follow at once on the same file can be told apart only after an edge back. All
// other kinds have one edge for each record.
func (e *edge) again(p *edge) bool {
	if e.time != p.time || e.kind != p.kind || e.actor != p.actor || e.other() != p.other() {
		return false
	}
	switch e.kind {
	case "netconn", "crossproc":
		return !e.forth()
	case "filemod":
		return p.forth() || !e.forth()
	}
	return false
}

var edgeColumns = []string{"ts_us", "src", "dst", "type", "actor_process_node"}

// edgeRows reads edges.csv, row by row, in the order of the file.
type edgeRows struct {
	*lines
	path  string
	cols  []int
	nodes map[int64]*node
	parts [][]byte
}

// newEdgeRows reads the header.
func newEdgeRows(path string, r io.Reader, nodes map[int64]*node) (*edgeRows, error) {
	e := &edgeRows{lines: newLines(r), path: path, nodes: nodes}
	line, err := e.lines.next()
	if err == io.EOF {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	var header []string
	for _, c := range bytes.Split(line, []byte(",")) {
		header = append(header, string(c))
	}
	e.cols, err = columns(header, edgeColumns)
	return e, err
}

// next returns the next edge, a *BadLine for a row that is none, io.EOF at the end.
func (r *edgeRows) next() (edge, error) {
	for {
		line, err := r.lines.next()
		if err == nil && len(line) == 0 {
			continue
		}
		var e edge
		if err == nil {
			if e, err = r.parse(line); err == nil {
				return e, nil
			}
		} else if !errors.As(err, new(longError)) {
			return e, err
		}
		return e, &BadLine{File: r.path, Line: r.n, Offset: r.at, Err: err, Raw: cut(line)}
	}
}

func (r *edgeRows) parse(line []byte) (e edge, err error) {
	r.parts = r.parts[:0]
	for rest, more := line, true; more; {
		var p []byte
		p, rest, more = bytes.Cut(rest, []byte(","))
		r.parts = append(r.parts, p)
	}
	if n := slices.Max(r.cols) + 1; len(r.parts) < n {
		return e, fmt.Errorf("row has %d columns, %d are needed", len(r.parts), n)
	}
	col := func(i int) []byte { return r.parts[r.cols[i]] }
	if e.time, err = micros(string(col(0))); err != nil {
		return e, err
	}
	if e.src, err = r.node(col(1)); err != nil {
		return e, err
	}
	if e.dst, err = r.node(col(2)); err != nil {
		return e, err
	}
	if e.kind = edgeKind(col(3)); e.kind == "" {
		return e, fmt.Errorf("edge type %q is not known", col(3))
	}
	if e.actor, err = r.node(col(4)); err != nil {
		return e, err
	}
	if e.actor != e.src && e.actor != e.dst {
		return e, fmt.Errorf("actor %d is at neither end", e.actor.id)
	}
	if e.actor.kind != "process" {
		return e, fmt.Errorf("actor %d is a %s, not a process", e.actor.id, e.actor.kind)
	}
	return e, nil
}

func (r *edgeRows) node(b []byte) (*node, error) {
	id, err := strconv.ParseInt(string(b), 10, 64)
	if n := r.nodes[id]; err == nil && n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("node %q is not in %s", b, nodesFile)
}

// edgeKind is the kind as a constant, so that no row keeps a text of its own.
func edgeKind(b []byte) string {
	switch string(b) {
	case "procstart":
		return "procstart"
	case "procend":
		return "procend"
	case "filemod":
		return "filemod"
	case "regmod":
		return "regmod"
	case "netconn":
		return "netconn"
	case "moduleload":
		return "moduleload"
	case "scriptload":
		return "scriptload"
	case "crossproc":
		return "crossproc"
	}
	return ""
}

// event is what the activity is among our events; nil for procstart, which tells of the actor's parent only.
func (e *edge) event(env func(class, activity int32) schemas.Envelope) schemas.Event {
	p, o := e.actor.process(), e.other()
	switch e.kind {
	case "procend":
		return &schemas.ProcessExit{Envelope: env(processClass, processTerminate), Process: p}
	case "filemod":
		return &schemas.FileActivity{Envelope: env(fileClass, fileUpdate), Process: p, Path: o.name}
	case "regmod":
		return &schemas.RegistryActivity{Envelope: env(keyClass, keyModify), Process: p, Key: o.name}
	case "netconn":
		return &schemas.NetworkActivity{Envelope: env(networkClass, networkOpen), Process: p, Dst: o.endpoint()}
	case "moduleload", "scriptload":
		return &schemas.ModuleActivity{Envelope: env(moduleClass, moduleLoad), Process: p, Path: o.name}
	case "crossproc":
		return &schemas.ProcessAccess{Envelope: env(processClass, processOpen), Process: p, Target: o.process(), Technique: "open"}
	}
	return nil
}
