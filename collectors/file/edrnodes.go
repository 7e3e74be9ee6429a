package file

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// graph is what is known of an event graph before its edges are delivered.
type graph struct {
	nodes    map[int64]*node
	host     string // of nodes that carry no device id
	platform string
	// identified says that processes carry GUIDs that can be read.
	identified bool
}

// node is one row of nodes.csv.
type node struct {
	id    int64
	kind  string // process, file, regkey, socket
	name  string
	first int64 // first_seen_us, in nanoseconds

	// Of processes:
	uid, host string
	pid       int64
	start     int64 // in the clock of the edges, nanoseconds; 0 where the GUID does not say
	parent    *node
	mentioned bool // by an edge
	known     bool // its ProcessExec was delivered
}

// nodeColumns are the columns of nodes.csv that are needed, in the order in which they are used.
var nodeColumns = []string{"node", "type", "name", "first_seen_us", "guid"}

// readNodes reads nodes.csv. What is wrong with a row goes to bad; an error ends the reading.
func readNodes(path string, r io.Reader, bad func(*BadLine)) (*graph, error) {
	c := csv.NewReader(r)
	c.ReuseRecord, c.FieldsPerRecord = true, -1
	header, err := c.Read()
	if err != nil {
		return nil, err
	}
	cols, err := columns(header, nodeColumns)
	if err != nil {
		return nil, err
	}
	g := &graph{nodes: map[int64]*node{}}
	for {
		at := c.InputOffset()
		row, err := c.Read()
		if err == io.EOF {
			break
		}
		var n *node
		var line int
		var pe *csv.ParseError
		switch {
		case errors.As(err, &pe):
			line, err = pe.StartLine, pe.Err
		case err != nil:
			return nil, err
		default:
			line, _ = c.FieldPos(0)
			n, err = newNode(row, cols)
		}
		if err == nil && g.nodes[n.id] != nil {
			err = fmt.Errorf("node %d is there twice", n.id)
		}
		if err != nil {
			bad(&BadLine{File: path, Line: int64(line), Offset: at, Err: err, Raw: cut([]byte(strings.Join(row, ",")))})
			continue
		}
		g.nodes[n.id] = n
	}
	g.settle()
	return g, nil
}

// columns finds where each of the wanted columns is.
func columns(header, want []string) ([]int, error) {
	var missing []string
	at := make([]int, len(want))
	header[0] = strings.TrimPrefix(header[0], string(bom)) // it sticks to the first name
	for i, w := range want {
		if at[i] = slices.Index(header, w); at[i] < 0 {
			missing = append(missing, w)
		}
	}
	if missing != nil {
		return nil, fmt.Errorf("header %q has no column %s", strings.Join(header, ","), strings.Join(missing, ", "))
	}
	return at, nil
}

func newNode(row []string, cols []int) (*node, error) {
	if len(row) <= slices.Max(cols) {
		return nil, fmt.Errorf("row has %d columns, %d are needed", len(row), slices.Max(cols)+1)
	}
	id, err := strconv.ParseInt(row[cols[0]], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("node %q is no number", row[cols[0]])
	}
	first, err := micros(row[cols[3]])
	if err != nil {
		return nil, err
	}
	n := &node{id: id, kind: strings.Clone(row[cols[1]]), name: strings.ToValidUTF8(strings.Clone(row[cols[2]]), "\ufffd"), first: first}
	if n.kind == "process" {
		n.identify(strings.Clone(row[cols[4]]))
	}
	return n, nil
}

// year2200 is the time, in seconds since 1970, up to which times are taken for times. It fits in nanoseconds.
const year2200 = 7258118400

// micros reads microseconds since 1970 and returns nanoseconds.
func micros(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > year2200*1e6 {
		return 0, fmt.Errorf("time %q is no number of microseconds since 1970", s)
	}
	return n * 1000, nil
}

// identify reads a process GUID of Carbon Black Cloud: ORG-DEVICE-PID-THREAD-START, the last four in hexadecimal, START in
// units of 100 ns since 1601 (FILETIME), UTC. Anything else is taken as an id without further meaning.
func (n *node) identify(guid string) {
	if n.uid = guid; guid == "" {
		n.uid = "node-" + strconv.FormatInt(n.id, 10)
	}
	p := strings.Split(guid, "-")
	if len(p) != 5 {
		return
	}
	pid, err1 := strconv.ParseInt(p[2], 16, 64)
	start, err2 := strconv.ParseInt(p[4], 16, 64)
	const unix1601 = 11644473600 // seconds from 1601 to 1970
	if err1 != nil || err2 != nil || start/1e7 < unix1601 || start/1e7 > unix1601+year2200 {
		return
	}
	n.host, n.pid, n.start = strings.ToLower(p[1]), pid, (start-unix1601*1e7)*100
}

// settle finds what only all nodes together tell: the usual host, the platform, and the clock.
func (g *graph) settle() {
	hosts, windows := map[string]int{}, false
	votes := map[int64]int{}
	for _, n := range g.nodes {
		windows = windows || n.kind == "regkey" || n.kind == "process" && strings.Contains(n.name, `\`)
		if n.host == "" {
			continue
		}
		hosts[n.host]++
		if d := n.first - n.start; abs(d-quarters(d)) < 1e9 {
			votes[quarters(d)]++
		}
	}
	g.host, g.identified = most(hosts), len(hosts) > 0
	shift := most(votes) // clock of the edges minus UTC
	if windows {
		g.platform = "windows"
	}
	for _, n := range g.nodes {
		if n.start != 0 {
			n.start += shift
		}
	}
}

// most is the key with the highest count, of several the least.
func most[K int64 | string](counts map[K]int) (best K) {
	n := 0
	for k, c := range counts {
		if c > n || c == n && k < best {
			best, n = k, c
		}
	}
	return best
}
