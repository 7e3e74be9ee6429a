package proc

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/amoskys/amoskys/schemas"
)

// The OCSF activities of Network Activity that are told.
const (
	activityOpen   = 1
	activityListen = 7
)

// scanSockets tells of sockets that were not there at the last scan.
func (c *Collector) scanSockets(ctx context.Context) error {
	type found struct {
		socket
		protocol string
	}
	fresh, seen := map[uint64]found{}, map[uint64]bool{}
	listening := map[uint16]bool{}
	for _, f := range []struct{ file, protocol string }{{"tcp", "tcp"}, {"tcp6", "tcp"}, {"udp", "udp"}, {"udp6", "udp"}} {
		b, err := os.ReadFile(filepath.Join(c.m.root, "net", f.file))
		if err != nil {
			continue // IPv6 may be off
		}
		ss, _ := parseSockets(b)
		for _, s := range ss {
			if s.state == stateListen && f.protocol == "tcp" {
				listening[s.local.Port()] = true
			}
			if s.inode == 0 || !told(s, f.protocol) {
				continue
			}
			seen[s.inode] = true
			if !c.sockets[s.inode] {
				fresh[s.inode] = found{s, f.protocol}
			}
		}
	}
	c.sockets = seen
	if len(fresh) == 0 {
		return nil
	}
	inodes := make([]uint64, 0, len(fresh))
	for i := range fresh {
		inodes = append(inodes, i)
	}
	slices.Sort(inodes)
	owners := c.owners(inodes)
	if len(owners) < len(inodes) { // a process that is new itself
		if err := c.scan(ctx, false); err != nil {
			return err
		}
		owners = c.owners(inodes)
	}
	for _, i := range inodes {
		if owners[i] == int64(os.Getpid()) {
			continue // our own traffic to the brokers
		}
		c.network(fresh[i].socket, fresh[i].protocol, owners[i], listening)
	}
	return c.flush(ctx)
}

// told says whether a socket is a fact of its own: a connection, one being made, or a port that is listened on.
func told(s socket, protocol string) bool {
	connected := s.remote.Port() != 0 && !s.remote.Addr().IsUnspecified()
	if protocol == "udp" {
		return connected
	}
	return s.state == stateListen || connected && (s.state == stateEstablished || s.state == stateSynSent)
}

// owners finds the processes that hold sockets, newest processes first, until all are found.
func (c *Collector) owners(inodes []uint64) map[uint64]int64 {
	want := make(map[uint64]bool, len(inodes))
	for _, i := range inodes {
		want[i] = true
	}
	out := map[uint64]int64{}
	pids := sortedKeys(c.known)
	slices.SortStableFunc(pids, func(a, b int64) int { return int(min(max(c.known[b].start-c.known[a].start, -1), 1)) })
	for _, pid := range pids {
		if len(out) == len(want) {
			break
		}
		dir := c.m.file(pid, "fd")
		d, err := os.Open(dir)
		if err != nil {
			continue // another user's, or ended
		}
		names, _ := d.Readdirnames(-1)
		d.Close()
		for _, n := range names {
			link, err := os.Readlink(filepath.Join(dir, n))
			if err != nil {
				continue
			}
			if i, ok := parseInode(link); ok && want[i] {
				if _, have := out[i]; !have {
					out[i] = pid
				}
			}
		}
	}
	return out
}

func (c *Collector) network(s socket, protocol string, pid int64, listening map[uint16]bool) {
	e := &schemas.NetworkActivity{Envelope: envelope(c.now().UnixNano(), 4001, activityOpen, 1), Protocol: protocol}
	if k, ok := c.known[pid]; ok && pid != 0 {
		e.Process = k.proc
	}
	local, remote := endpoint(s.local), endpoint(s.remote)
	switch {
	case s.state == stateListen && protocol == "tcp":
		e.Envelope.ActivityID = activityListen
		e.Dst = local
	case listening[s.local.Port()]:
		e.Direction, e.Src, e.Dst = "inbound", remote, local
	default:
		e.Direction, e.Src, e.Dst = "outbound", local, remote
	}
	c.events = append(c.events, e)
}

func endpoint(a netip.AddrPort) schemas.Endpoint {
	return schemas.Endpoint{IP: a.Addr().String(), Port: int32(a.Port())}
}
