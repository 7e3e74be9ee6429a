package lineage

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
)

// activity is what the events of all kinds that touch an object have in common.
type activity struct {
	process   *schemas.Process
	kind      int
	object    string
	port      int32
	template  string
	direction string
	technique string
	access    string
}

// activity takes an event that touches an object. What is written and what is only counted: see the package comment.
func (s *step) activity(a *activity) error {
	bound(a.process)
	p := s.actor(a.process)
	f := s.h.fact(byte(a.kind), s.env.ActivityID, p.exe, a.template)
	first := s.host.see(f)
	item := binary.LittleEndian.Uint64(f[:])
	if a.kind == kindNetwork {
		item = spread(item, a.object, a.port)
	}
	n := p.act.Objects.add(item)
	k := p.act.kinds()[a.kind]
	k.Count++
	if !first && n > s.h.cfg.Repeats && s.at-k.Written < pulse {
		k.Held++
		p.putActivity()
		return nil
	}
	held := k.Held
	k.Held, k.Written = 0, max(k.Written, s.at)
	p.putActivity()

	r := s.record(p, kindNames[a.kind])
	if p.uid() == "" {
		r.Process = *a.process
	}
	r.Object, r.ObjectPort, r.Template = a.object, a.port, a.template
	r.Direction, r.Technique, r.Access = a.direction, a.technique, a.access
	r.FirstObject, r.Repeats = first, held
	r.OutOfOrder = s.at < p.row.Since || p.row.Ended != 0 && s.at > p.row.Ended
	return s.c.Emit(schemas.LineageTopic, r)
}

// spread is the hash of an item of which a template is not enough (FNV-1a).
func spread(h uint64, object string, port int32) uint64 {
	const prime = 1099511628211
	for i := range len(object) {
		h = (h ^ uint64(object[i])) * prime
	}
	h = (h ^ uint64(uint32(port))) * prime
	return h ^ h>>29
}

// describe says of an event who did what to which object.
func (s *step) describe(e schemas.Event, a *activity) {
	switch e := e.(type) {
	case *schemas.FileActivity:
		a.process, a.kind, a.object = &e.Process, kindFile, paths.Cut(e.Path, maxPath)
		a.template = s.h.templates.Template(a.object)
	case *schemas.ModuleActivity:
		a.process, a.kind, a.object = &e.Process, kindModule, paths.Cut(e.Path, maxPath)
		a.template = s.h.templates.Template(a.object)
	case *schemas.RegistryActivity:
		a.process, a.kind, a.object = &e.Process, kindRegistry, paths.Cut(e.Key, maxPath)
		a.template = s.h.templates.Template(a.object)
	case *schemas.MemoryActivity:
		a.process, a.kind, a.object = &e.Process, kindMemory, paths.Cut(e.Backing, maxPath)
		a.access = protection(e.RequestedPermissions)
		a.template = words(a.access, s.h.templates.Template(cmp.Or(a.object, "anonymous")))
	case *schemas.DNSActivity:
		a.process, a.kind, a.object, a.template = &e.Process, kindDNS, paths.Cut(e.Query, maxText), zone(paths.Cut(e.Query, maxText))
	case *schemas.ProcessAccess:
		s.access(e, a)
	case *schemas.NetworkActivity:
		network(e, a)
	}
}

func (s *step) access(e *schemas.ProcessAccess, a *activity) {
	bound(&e.Target)
	a.process, a.kind = &e.Process, kindAccess
	a.technique, a.access = paths.Cut(e.Technique, maxText), paths.Cut(e.Access, maxText)
	a.object = e.Target.Path
	if a.object == "" {
		if q := s.find(&e.Target); q != nil {
			a.object = q.row.Process.Path
		}
	}
	if a.object == "" {
		a.object = e.Target.Name
	}
	a.template = words(a.technique, a.access, s.h.templates.Template(a.object))
}

// words joins those that are not empty.
func words(ws ...string) string {
	b := make([]byte, 0, 64)
	for _, w := range ws {
		if w == "" {
			continue
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(b, w...)
	}
	return string(b)
}

// listen is OCSF's activity_id of a socket that is being listened on (Network Activity 4001).
const listen = 7

func network(e *schemas.NetworkActivity, a *activity) {
	a.process, a.kind, a.direction = &e.Process, kindNetwork, paths.Cut(e.Direction, maxText)
	remote := &e.Dst
	a.port = e.Dst.Port
	what := a.direction
	switch {
	case e.Envelope.ActivityID == listen:
		what = "listen"
		if e.Src.Port != 0 {
			remote, a.port = &e.Src, e.Src.Port
		}
	case a.direction == "inbound":
		remote = &e.Src
	}
	a.object = paths.Cut(remote.IP, maxText)
	if a.object == "" {
		a.object = paths.Cut(remote.Hostname, maxText)
	}
	port := "high"
	if a.port < ephemeral {
		port = strconv.Itoa(int(a.port))
	}
	a.template = words(cmp.Or(what, "unknown"), paths.Cut(e.Protocol, maxText), port, scope(a.object))
}

// ephemeral is where the ports begin that mean nothing: Linux gives them from 32768 on, IANA from 49152 on (RFC 6335 §6).
const ephemeral = 32768

// scope says where an address leads.
func scope(ip string) string {
	a, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return "name"
	case a.IsLoopback():
		return "loopback"
	case a.IsUnspecified():
		return "any"
	case a.IsPrivate():
		return "private"
	case a.IsLinkLocalUnicast():
		return "link"
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "multicast"
	}
	return "public"
}

// zone is the domain that a name belongs to: its last two labels, or three where the last is a country and the one before
// it as short as those under which countries register (co.uk), behind *. There is no list of public suffixes in it.
func zone(name string) string {
	last := strings.LastIndexByte(name, '.')
	if last < 0 {
		return name
	}
	at := strings.LastIndexByte(name[:last], '.')
	if at >= 0 && len(name)-last-1 == 2 && last-at-1 <= 3 {
		at = strings.LastIndexByte(name[:at], '.')
	}
	if at < 0 {
		return name
	}
	return "*" + name[at:]
}

// protection writes the bits of mprotect(2) as /proc/PID/maps does.
func protection(bits int32) string {
	b := []byte("---")
	for i, c := range "rwx" {
		if bits&(1<<i) != 0 {
			b[i] = byte(c)
		}
	}
	return string(b)
}
