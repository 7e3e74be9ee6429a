package normalize

import (
	"net/netip"
	"strings"

	"github.com/amoskys/amoskys/schemas"
)

// cmdLine is one line from which a POSIX shell would make the same arguments.
func cmdLine(args []string) string {
	n := 0
	for _, a := range args {
		n += len(a) + 3
	}
	b := make([]byte, 0, n)
	for i, a := range args {
		if i > 0 {
			b = append(b, ' ')
		}
		if a != "" && !strings.ContainsFunc(a, special) {
			b = append(b, a...)
			continue
		}
		b = append(b, '\'')
		b = append(b, strings.ReplaceAll(a, "'", `'\''`)...)
		b = append(b, '\'')
	}
	return string(b)
}

// special says whether a character means something to a POSIX shell (POSIX.1-2024 XCU §2.2).
func special(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune("|&;<>()$`\\\"'*?[]#~!{}^", r)
}

func endpoint(e *schemas.Endpoint) {
	address(&e.IP)
	host(&e.Hostname)
}

// address brings an IP address into canonical form; a text that is none stays.
func address(s *string) {
	blank(s)
	if *s == "" {
		return
	}
	a, err := netip.ParseAddr(*s)
	if err != nil {
		valid(s)
		return
	}
	var space [64]byte
	if b := a.Unmap().WithZone("").AppendTo(space[:0]); string(b) != *s {
		*s = string(b)
	}
}

// host brings a host or domain name into canonical form.
func host(s *string) {
	valid(s)
	blank(s)
	*s = strings.ToLower(*s)
	if len(*s) > 1 {
		*s = strings.TrimSuffix(*s, ".")
	}
}

func dns(e *schemas.DNSActivity) {
	host(&e.Query)
	e.QueryType = strings.ToUpper(e.QueryType)
	for i := range e.Answers {
		if a := &e.Answers[i]; strings.ContainsAny(*a, " ") { // a text of several words, e.g. of a TXT record
			valid(a)
		} else if address(a); !isAddress(*a) {
			host(a)
		}
	}
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
