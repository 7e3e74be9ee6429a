package paths

import "strings"

// maxTemplate bounds a template, bytes.
const maxTemplate = 512

// Template is the path with its variable parts replaced, so that two paths which differ only in a process id, a version, a
// user or a random name are the same:
//
//   - a user's directory name, and a random-looking name, by *
//   - a run of digits by #, unless it is one or two digits within a word (system32, python3)
//   - eight or more hex digits by {hex}, or five where digits and letters alternate; a GUID by {guid}, the SID of an
//     account by {sid}
//
// What looks random depends on the place: in temporary directories, and behind a ~, six characters that mix letters and digits
// or cases are enough. It works on registry keys as well. Taking instance details out of entities before counting them follows
// NoDoze (Hassan et al., NDSS 2019); the classes of names are those that real recordings show.
func Template(p string) string {
	var space [maxTemplate]byte
	b := space[:0]
	temp, user := false, false
	for index, rest := 0, p; ; {
		n := 0
		for n < len(rest) && rest[n] != '/' && rest[n] != '\\' {
			n++
		}
		part := rest[:n]
		switch {
		case user && n > 0 && !sharedUser(part):
			b = append(b, '*')
		case !plain(part, temp):
			b = appendPart(b, part, temp)
		default:
			b = append(b, part...)
		}
		user = index <= 3 && (strings.EqualFold(part, "home") || strings.EqualFold(part, "users"))
		temp = temp || temporary(part)
		if n > 0 {
			index++
		}
		if n == len(rest) || len(b) >= maxTemplate {
			break
		}
		b = append(b, rest[n])
		rest = rest[n+1:]
	}
	if len(b) > maxTemplate {
		return Cut(string(b), maxTemplate)
	}
	if string(b) == p {
		return p
	}
	return string(b)
}

// sharedUser says whether a directory beside those of users belongs to no person.
func sharedUser(s string) bool {
	return strings.EqualFold(s, "public") || strings.EqualFold(s, "shared") || strings.EqualFold(s, "default") || strings.EqualFold(s, "linuxbrew")
}

func temporary(s string) bool {
	return strings.EqualFold(s, "tmp") || strings.EqualFold(s, "temp") || strings.EqualFold(s, "shm")
}

// plain says at a glance that a part has nothing to replace.
func plain(s string, temp bool) bool {
	for i := range len(s) {
		if c := s[i]; '0' <= c && c <= '9' || temp && 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

func appendPart(b []byte, s string, temp bool) []byte {
	switch rest, known := cutSID(s); {
	case known:
		b, s = append(b, s[:len(s)-len(rest)]...), rest
	case len(rest) < len(s):
		b, s = append(b, "{sid}"...), rest
	}
	for i := 0; i < len(s); {
		if n := guid(s[i:]); n > 0 {
			b, i = append(b, "{guid}"...), i+n
			continue
		}
		n := i
		for n < len(s) && alnum(s[n]) {
			n++
		}
		if n == i {
			b = append(b, s[i])
			i++
			continue
		}
		b = appendRun(b, s[i:n], temp || i > 0 && s[i-1] == '~')
		i = n
	}
	return b
}

// run is what there is to know about a run of letters and digits.
type run struct {
	digits, upper, lower, others int // others: letters beyond f
	changes                      int // between letter and digit
	humps                        int // from lower to upper case
}

func look(s string) (r run) {
	for i := range len(s) {
		c := s[i]
		digit := c <= '9'
		switch {
		case digit:
			r.digits++
		case c >= 'a':
			r.lower++
		default:
			r.upper++
		}
		if !digit && c|0x20 > 'f' {
			r.others++
		}
		if i == 0 {
			continue
		}
		if last := s[i-1] <= '9'; last != digit {
			r.changes++
		}
		if s[i-1] >= 'a' && 'A' <= c && c <= 'Z' {
			r.humps++
		}
	}
	return r
}

func appendRun(b []byte, s string, temp bool) []byte {
	r := look(s)
	switch letters := r.upper + r.lower; {
	case letters == 0 && len(s) < 16:
		return append(b, '#')
	case r.others == 0 && len(s) >= 8 && (r.digits > 0 || len(s) >= 16), r.others == 0 && len(s) >= 5 && r.changes >= 2:
		return append(b, "{hex}"...)
	case letters == 0:
		return append(b, '#')
	case temp && len(s) >= 6 && (r.changes > 1 || r.humps > 0 && r.upper > 1):
		return append(b, '*')
	case len(s) >= 10 && r.changes >= 4, len(s) >= 20 && r.digits >= 4:
		return append(b, '*')
	}
	for i := 0; i < len(s); {
		if s[i] > '9' {
			b = append(b, s[i])
			i++
			continue
		}
		n := i
		for n < len(s) && s[n] <= '9' {
			n++
		}
		if n-i <= 2 && i > 0 && !temp {
			b = append(b, s[i:n]...)
		} else {
			b = append(b, '#')
		}
		i = n
	}
	return b
}

func alnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// guid is the length of the GUID that s begins with, with its braces; 0 for none.
func guid(s string) int {
	brace := 0
	if strings.HasPrefix(s, "{") {
		brace = 1
	}
	if len(s) < 36+2*brace {
		return 0
	}
	for i := range 36 {
		c := s[brace+i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return 0
			}
		default:
			if !hex(c) {
				return 0
			}
		}
	}
	if brace == 1 && s[37] != '}' {
		return 0
	}
	return 36 + 2*brace
}

// cutSID cuts a security identifier off the beginning, and says whether it is a well-known one, such as S-1-5-18, that is
// the same on every machine, and not that of an account (S-1-5-21-…, S-1-12-1-…).
func cutSID(s string) (rest string, known bool) {
	const any = "s-1-"
	if len(s) < len(any) || !strings.EqualFold(s[:len(any)], any) {
		return s, false
	}
	i := len(any)
	for i < len(s) && (s[i] == '-' || '0' <= s[i] && s[i] <= '9') {
		i++
	}
	return s[i:], i <= len("s-1-5-80")
}
