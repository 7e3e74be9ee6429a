package proc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

var errFormat = errors.New("format is not known")

// stat is what is used of /proc/PID/stat, see proc_pid_stat(5).
type stat struct {
	pid, ppid, session int64
	comm               string
	state              byte
	tty                int64
	start              int64 // clock ticks since boot
	cpu                int64 // clock ticks of user and system time
}

// parseStat reads /proc/PID/stat. The name may hold anything, parentheses and line feeds included: it ends at the last one.
func parseStat(b []byte) (s stat, err error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 2 || end < open {
		return s, errFormat
	}
	if s.pid, err = strconv.ParseInt(string(bytes.TrimSpace(b[:open])), 10, 64); err != nil {
		return s, errFormat
	}
	s.comm = string(b[open+1 : end])
	f := bytes.Fields(b[end+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return s, errFormat
	}
	s.state = f[0][0]
	var utime, stime int64
	for i, v := range map[int]*int64{1: &s.ppid, 3: &s.session, 4: &s.tty, 11: &utime, 12: &stime, 19: &s.start} {
		if *v, err = strconv.ParseInt(string(f[i]), 10, 64); err != nil {
			return s, errFormat
		}
	}
	s.cpu = utime + stime
	return s, nil
}

// parseUID reads the real user id from /proc/PID/status.
func parseUID(b []byte) (string, error) {
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("Uid:")); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				return string(f[0]), nil
			}
		}
	}
	return "", errFormat
}

// parseArgs splits /proc/PID/cmdline at its zero bytes.
func parseArgs(b []byte) []string {
	b = bytes.TrimRight(b, "\x00")
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(b), "\x00")
}

// containerForm finds a container id of 64 hex digits in a cgroup path: docker, containerd, cri-o and podman name their
// groups by it, alone or in a scope or with a prefix.
var containerForm = regexp.MustCompile(`(?:^|[/:_-])([0-9a-f]{64})(?:\.scope)?(?:/|$)`)

// parseContainer finds the container id in /proc/PID/cgroup, of the unified hierarchy or of any of version 1.
func parseContainer(b []byte) string {
	for line := range bytes.Lines(b) {
		f := bytes.SplitN(bytes.TrimSpace(line), []byte(":"), 3)
		if len(f) != 3 {
			continue
		}
		if m := containerForm.FindSubmatch(f[2]); m != nil {
			return string(m[1])
		}
	}
	return ""
}

// parseBootTime reads the time of the boot, seconds since the epoch, from /proc/stat.
func parseBootTime(b []byte) (int64, error) {
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			return strconv.ParseInt(string(bytes.TrimSpace(rest)), 10, 64)
		}
	}
	return 0, errFormat
}

// socket is a line of /proc/net/{tcp,udp}{,6}.
type socket struct {
	local, remote netip.AddrPort
	state         int
	inode         uint64
}

// The states of sockets, include/net/tcp_states.h.
const (
	stateEstablished = 1
	stateSynSent     = 2
	stateListen      = 10
)

// parseSockets reads /proc/net/{tcp,udp}{,6}; a line it cannot read is counted.
func parseSockets(b []byte) (ss []socket, bad int) {
	first := true
	for line := range bytes.Lines(b) {
		if first { // the headings
			first = false
			continue
		}
		s, err := parseSocket(line)
		if err != nil {
			bad++
			continue
		}
		ss = append(ss, s)
	}
	return ss, bad
}

func parseSocket(line []byte) (s socket, err error) {
	f := bytes.Fields(line)
	if len(f) < 10 {
		return s, errFormat
	}
	if s.local, err = parseAddress(f[1]); err != nil {
		return s, err
	}
	if s.remote, err = parseAddress(f[2]); err != nil {
		return s, err
	}
	state, err := strconv.ParseUint(string(f[3]), 16, 8)
	if err != nil {
		return s, errFormat
	}
	s.state = int(state)
	if s.inode, err = strconv.ParseUint(string(f[9]), 10, 64); err != nil {
		return s, errFormat
	}
	return s, nil
}

// parseAddress reads an address as the kernel prints it: 32-bit words in host byte order, which is little endian on
// everything we build for.
func parseAddress(b []byte) (netip.AddrPort, error) {
	addr, port, ok := bytes.Cut(b, []byte(":"))
	if !ok || len(addr) != 8 && len(addr) != 32 {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", b, errFormat)
	}
	raw := make([]byte, len(addr)/2)
	if _, err := hex.Decode(raw, addr); err != nil {
		return netip.AddrPort{}, errFormat
	}
	for i := 0; i < len(raw); i += 4 {
		raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
	}
	p, err := strconv.ParseUint(string(port), 16, 16)
	if err != nil {
		return netip.AddrPort{}, errFormat
	}
	a, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), nil
}

// parseInode reads the inode of a socket from the target of a /proc/PID/fd link.
func parseInode(link string) (uint64, bool) {
	rest, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(rest, "]"), 10, 64)
	return n, err == nil
}
