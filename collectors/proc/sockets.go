package proc

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
)

// socket is a line of /proc/net/{tcp,tcp6,udp,udp6}, see proc_net(5).
type socket struct {
	local, remote netip.AddrPort
	state         uint8
	uid           string
	inode         uint64
}

// States of sockets, include/net/tcp_states.h. Those of UDP are the first and the last.
const (
	stateEstablished = 1
	stateClosed      = 7 // of UDP: without a peer
	stateListen      = 10
)

// parseSocket reads one line. It is false for the heading, and for what is no line of the file.
func parseSocket(line []byte) (s socket, ok bool) {
	nextWord(&line) // number
	local, remote, state := nextWord(&line), nextWord(&line), nextWord(&line)
	for range 3 { // queues, timer, retransmissions
		nextWord(&line)
	}
	uid := nextWord(&line)
	nextWord(&line) // timeouts
	inode := nextWord(&line)
	n, err := strconv.ParseUint(string(state), 16, 8)
	if err != nil {
		return s, false
	}
	s.state = uint8(n)
	if s.inode, err = unsigned(inode); err != nil {
		return s, false
	}
	if _, err := strconv.ParseUint(string(uid), 10, 32); err != nil {
		return s, false
	}
	s.uid = string(uid)
	var lok, rok bool
	s.local, lok = parseEndpoint(local)
	s.remote, rok = parseEndpoint(remote)
	return s, lok && rok
}

// parseEndpoint reads an address and a port in hex. The address is printed in words of 32 bits in the byte order of the
// machine, the port as a number. An IPv4 address in an IPv6 one is given as what it is.
func parseEndpoint(b []byte) (netip.AddrPort, bool) {
	addr, port, ok := bytes.Cut(b, []byte(":"))
	if !ok || len(addr) != 8 && len(addr) != 32 {
		return netip.AddrPort{}, false
	}
	n, err := strconv.ParseUint(string(port), 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	var raw [16]byte
	if _, err := hex.Decode(raw[:], addr); err != nil {
		return netip.AddrPort{}, false
	}
	size := len(addr) / 2
	for i := 0; i < size; i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	a, _ := netip.AddrFromSlice(raw[:size])
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), true
}

// listens says whether a socket waits for anyone. A UDP socket without a peer does.
func (s *socket) listens(protocol string) bool {
	return s.state == stateListen || protocol == "udp" && s.state == stateClosed
}

// worth says whether a socket is a fact: it has a peer, or waits for one. What has no inode has no process any more.
func (s *socket) worth(protocol string) bool {
	return s.inode != 0 && (s.listens(protocol) || s.state != stateClosed && s.remote.Port() != 0)
}

// activity is what changes when a TCP connection is made or a TCP socket comes or goes.
type activity struct {
	active, passive uint64 // connections that were made from here, and to here, since the namespace exists
	use             uint64 // sockets
}

// addOpens reads /proc/net/snmp: two lines for each protocol, of names and of values.
func (a *activity) addOpens(b []byte) bool {
	names, ok := lineOf(b, "Tcp: ")
	if !ok {
		return false
	}
	values, ok := lineOf(b[bytes.Index(b, names)+len(names):], "Tcp: ")
	found := 0
	for ok {
		name, value := nextWord(&names), nextWord(&values)
		if len(name) == 0 || len(value) == 0 {
			break
		}
		n, err := unsigned(value)
		switch string(name) {
		case "ActiveOpens":
			a.active = n
		case "PassiveOpens":
			a.passive = n
		default:
			continue
		}
		if err == nil {
			found++
		}
	}
	return found == 2
}

// addUse reads /proc/net/sockstat or sockstat6.
func (a *activity) addUse(b []byte) {
	for _, protocol := range [...]string{"TCP: inuse ", "TCP6: inuse "} {
		if line, ok := lineOf(b, protocol); ok {
			if n, err := unsigned(nextWord(&line)); err == nil {
				a.use += n
			}
		}
	}
}

// parseLink reads the text of a link that leads to no path: kind:[number].
func parseLink(s, kind string) (uint64, bool) {
	s, ok := strings.CutPrefix(s, kind+":[")
	if !ok {
		return 0, false
	}
	s, ok = strings.CutSuffix(s, "]")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}
