package proc

import (
	"bytes"
	"cmp"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// sockets is what is known of the sockets of all network namespaces.
type sockets struct {
	known map[uint64]knownSocket // by inode
	marks map[uint64]mark        // by namespace
	late  []fresh                // whose owners were not found at the last scan: they may have been too young to be known
	scans int
	buf   []byte
	list  []entry
}

type knownSocket struct {
	remote netip.AddrPort
	owner  int64 // pid; 0: not found
	table  table
	scan   int // number of the last scan that found it
}

// table is a list of sockets.
type table struct {
	namespace uint64 // 0: our own
	protocol  string
}

// namespace is a network namespace, and the folder that shows it.
type namespace struct {
	id  uint64 // 0: our own
	dir string
}

// mark is what the counters of a namespace were when its TCP sockets were listed. A list of TCP sockets costs milliseconds,
// however few there are: the kernel walks its whole hash table. Connections that are made count up, so it is read only when
// they have, when the number of sockets is another one, and now and then.
type mark struct {
	opens activity
	at    int64 // monotonic, ns
}

const markFor = int64(30 * time.Second)

// fresh is a socket that was not known, or has another peer than before.
type fresh struct {
	socket
	protocol string
	inbound  bool
	at       int64 // wall time of the first scan that found it, ns; 0: this one
}

func newSockets() *sockets {
	return &sockets{known: map[uint64]knownSocket{}, marks: map[uint64]mark{}, buf: make([]byte, 64<<10)}
}

// scanSockets tells of sockets that were not there at the last scan. Owners are looked for only if there are any.
func (s *session) scanSockets() {
	n := s.sockets
	n.scans++
	at := now()
	spaces := s.namespaces()
	unread := map[table]bool{}
	var list []fresh
	for _, ns := range spaces {
		for _, protocol := range [...]string{"udp", "tcp"} {
			if t := (table{ns.id, protocol}); protocol == "udp" || n.due(ns, at.mono) {
				list = n.scan(t, ns.dir, list)
			} else {
				unread[t] = true
			}
		}
	}
	maps.DeleteFunc(n.marks, func(id uint64, _ mark) bool {
		return !slices.ContainsFunc(spaces, func(ns namespace) bool { return ns.id == id })
	})
	holders := n.sweep(unread)
	list = append(n.late, list...)
	n.late = nil
	if len(list) == 0 {
		return
	}
	owners := s.owners(list, holders)
	for _, f := range list {
		owner := owners[f.inode]
		if f.at == 0 {
			f.at = at.wall
			if owner == nil {
				n.late = append(n.late, f)
				continue
			}
		}
		s.connection(&f, owner)
	}
}

// namespaces are our own network namespace and each that a visible process lives in.
func (s *session) namespaces() []namespace {
	own, _ := linkNumber(s.c.Root+"/self/ns/net", "net")
	members := map[uint64]int64{}
	for _, p := range s.table {
		if p.netns != 0 && p.netns != own && !p.ended && (members[p.netns] == 0 || p.pid < members[p.netns]) {
			members[p.netns] = p.pid
		}
	}
	list := []namespace{{0, s.c.Root + "/net"}}
	for id, pid := range members {
		list = append(list, namespace{id, folder(s.c.Root, pid) + "/net"})
	}
	slices.SortFunc(list, func(a, b namespace) int { return cmp.Compare(a.id, b.id) })
	return list
}

// due says whether the TCP sockets of a namespace are to be listed, and notes that they are.
func (n *sockets) due(ns namespace, at int64) bool {
	var opens activity
	ok := opens.addOpens(n.read(ns.dir + "/snmp"))
	opens.addUse(n.read(ns.dir + "/sockstat"))
	opens.addUse(n.read(ns.dir + "/sockstat6"))
	m, known := n.marks[ns.id]
	if ok && known && m.opens == opens && at-m.at < markFor {
		return false
	}
	n.marks[ns.id] = mark{opens, at}
	return true
}

// scan appends the sockets of one table that are new.
func (n *sockets) scan(t table, dir string, list []fresh) []fresh {
	listening := map[uint16]bool{}
	first := len(list)
	for _, version := range [...]string{"", "6"} {
		for line := range bytes.Lines(n.read(dir + "/" + t.protocol + version)) {
			x, ok := parseSocket(line)
			if !ok || !x.worth(t.protocol) {
				continue
			}
			if x.listens(t.protocol) {
				listening[x.local.Port()] = true
			}
			k, known := n.known[x.inode]
			if !known || k.remote != x.remote {
				list = append(list, fresh{socket: x, protocol: t.protocol})
				k.remote = x.remote
			}
			k.table, k.scan = t, n.scans
			n.known[x.inode] = k
		}
	}
	for i := range list[first:] {
		f := &list[first+i]
		f.inbound = listening[f.local.Port()] && !f.listens(t.protocol)
	}
	return list
}

// sweep forgets sockets that are gone, and returns the processes that hold or held sockets.
func (n *sockets) sweep(unread map[table]bool) (holders map[int64]bool) {
	holders = map[int64]bool{}
	for inode, k := range n.known {
		holders[k.owner] = true
		if k.scan != n.scans && !unread[k.table] {
			delete(n.known, inode)
		}
	}
	return holders
}

// read reads a file whole. Some namespaces have no IPv6.
func (n *sockets) read(path string) []byte {
	for {
		m, err := readSome(path, n.buf)
		if err != nil {
			return nil
		}
		if m < len(n.buf) || len(n.buf) >= maxSocketTable {
			return n.buf[:m]
		}
		n.buf = make([]byte, 4*len(n.buf))
	}
}

const maxSocketTable = 256 << 20 // bytes: more than a million sockets

// owners finds the processes that hold sockets. Where it is likely is looked first: in young processes, then in those that
// hold sockets already, and then in all others.
func (s *session) owners(list []fresh, holders map[int64]bool) map[uint64]*process {
	want := make(map[uint64]bool, len(list))
	for i := range list {
		want[list[i].inode] = true
	}
	ps := make([]*process, 0, len(s.table))
	for _, p := range s.table {
		if !p.kernel && !p.ended {
			ps = append(ps, p)
		}
	}
	young := now().mono - youngFor
	rank := func(p *process) int {
		switch {
		case p.seen > young:
			return 0
		case holders[p.pid]:
			return 1
		}
		return 2
	}
	slices.SortFunc(ps, func(a, b *process) int {
		if x, y := rank(a), rank(b); x != y {
			return x - y
		}
		return cmp.Compare(b.start, a.start)
	})
	owners := map[uint64]*process{}
	for _, p := range ps {
		if len(want) == 0 {
			break
		}
		s.ownedBy(p, want, owners)
	}
	return owners
}

// ownedBy moves the sockets that a process holds from want to owners. If another process has its pid by now, of whose start
// nobody has told yet, they are left for the next look.
func (s *session) ownedBy(p *process, want map[uint64]bool, owners map[uint64]*process) {
	dir := folder(s.c.Root, p.pid) + "/fd"
	l, err := openLister(dir)
	if err != nil {
		return // another user's, or gone
	}
	defer l.close()
	s.sockets.list, _ = l.list(s.sockets.list[:0])
	for _, e := range s.sockets.list {
		inode, ok := linkNumber(dir+"/"+strconv.FormatInt(e.number, 10), "socket")
		if !ok || !want[inode] {
			continue
		}
		if st, err := s.reader.stat(p.pid); err != nil || !p.is(st.start) {
			return
		}
		delete(want, inode)
		owners[inode] = p
		k := s.sockets.known[inode]
		k.owner = p.pid
		s.sockets.known[inode] = k
	}
}

// connection tells of a socket. One whose process may not be seen still has a user.
func (s *session) connection(f *fresh, owner *process) {
	if owner != nil && owner.pid == s.self {
		return
	}
	e := &schemas.NetworkActivity{Envelope: s.envelope(f.at, classNetwork, networkOpen, priorityDetail), Protocol: f.protocol, Src: endpoint(f.local), Dst: endpoint(f.remote),
		Direction: "outbound"}
	switch {
	case f.listens(f.protocol):
		e.Envelope.ActivityID, e.Src, e.Dst, e.Direction = networkListen, schemas.Endpoint{}, endpoint(f.local), ""
	case f.inbound:
		e.Src, e.Dst, e.Direction = e.Dst, e.Src, "inbound"
	}
	if owner != nil {
		s.announce(owner)
		e.Process = owner.info
	} else {
		e.Process.UserUID, e.Process.UserName = f.uid, s.reader.users.name(f.uid, time.Unix(0, f.at))
	}
	s.counts.connections.Add(1)
	s.out.add(e)
}

func endpoint(a netip.AddrPort) schemas.Endpoint {
	return schemas.Endpoint{IP: a.Addr().String(), Port: int32(a.Port())}
}

// ownPID is the collector's pid as the proc file system at root gives it; 0 if it does not know this process.
func ownPID(root string) int64 {
	link, err := os.Readlink(root + "/self")
	if err != nil {
		return 0
	}
	pid, _ := strconv.ParseInt(link, 10, 64)
	return pid
}
