package file

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep arrays and objects may be nested in a line.
const maxDepth = 64

var (
	errCutOff  = errors.New("JSON ends in the middle of a value")
	errTooDeep = errors.New("JSON is nested too deep")
)

// members walks over the members of one JSON object without building anything: of the hundred fields of an event record a
// mapping reads a dozen, and the long ones (message, call trace) mostly not at all. What is passed over is checked for
// its structure only.
type members struct {
	b   []byte
	i   int  // next byte to look at
	any bool // a member was seen
	err error

	key   []byte // of the current member, without quotes, escapes as they are
	value []byte // of the current member, raw
}

// objectOf starts at the object that b begins with.
func objectOf(b []byte) members {
	m := members{b: b, i: space(b, 0)}
	if m.i >= len(b) || b[m.i] != '{' {
		m.err = errors.New("not a JSON object")
		return m
	}
	m.i++
	return m
}

// next moves to the next member. It returns false at the end of the object and after an error.
func (m *members) next() bool {
	if m.err != nil {
		return false
	}
	m.i = space(m.b, m.i)
	if m.i >= len(m.b) {
		m.err = errCutOff
		return false
	}
	if m.b[m.i] == '}' {
		m.i++
		return false
	}
	if m.any {
		if m.b[m.i] != ',' {
			return m.fail("a comma or the end of the object")
		}
		m.i = space(m.b, m.i+1)
	}
	m.any = true
	if m.i >= len(m.b) || m.b[m.i] != '"' {
		return m.fail("a name in quotes")
	}
	end := m.skip(m.i)
	if m.err != nil {
		return false
	}
	m.key = m.b[m.i+1 : end-1]
	m.i = space(m.b, end)
	if m.i >= len(m.b) || m.b[m.i] != ':' {
		return m.fail("a colon")
	}
	m.i = space(m.b, m.i+1)
	end = m.skip(m.i)
	m.value, m.i = m.b[m.i:end], end
	return m.err == nil
}

// end checks that nothing but white space follows the object.
func (m *members) end() error {
	if m.err == nil && space(m.b, m.i) < len(m.b) {
		m.err = fmt.Errorf("something follows the JSON object at byte %d", m.i)
	}
	return m.err
}

func (m *members) fail(want string) bool {
	if m.i >= len(m.b) {
		m.err = errCutOff
	} else {
		m.err = fmt.Errorf("byte %d is %q where JSON wants %s", m.i, m.b[m.i], want)
	}
	return false
}

// skip returns where the value at i ends.
func (m *members) skip(i int) int {
	end, err := skipValue(m.b, i)
	if err != nil {
		m.err = err
		return i
	}
	return end
}

func skipValue(b []byte, i int) (int, error) {
	if i >= len(b) {
		return i, errCutOff
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		return skipNested(b, i)
	}
	return skipLiteral(b, i)
}

func skipString(b []byte, i int) (int, error) {
	for i++; ; i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return i, errCutOff
		}
		i += n
		slashes := 0
		for j := i - 1; b[j] == '\\'; j-- { // the opening quote ends the loop
			slashes++
		}
		if slashes%2 == 0 {
			return i + 1, nil
		}
	}
}

func skipNested(b []byte, i int) (int, error) {
	var open [maxDepth]byte
	depth := 0
	for ; i < len(b); i++ {
		switch c := b[i]; c {
		case '"':
			end, err := skipString(b, i)
			if err != nil {
				return i, err
			}
			i = end - 1
		case '{', '[':
			if depth == maxDepth {
				return i, errTooDeep
			}
			open[depth] = c
			depth++
		case '}', ']':
			depth--
			if open[depth] != c-2 { // '{'+2 is '}', '['+2 is ']'
				return i, fmt.Errorf("byte %d is %q, which closes nothing that is open", i, c)
			}
			if depth == 0 {
				return i + 1, nil
			}
		}
	}
	return i, errCutOff
}

func skipLiteral(b []byte, i int) (int, error) {
	from := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && !isSpace(b[i]) {
		i++
	}
	switch s := b[from:i]; string(s) {
	case "true", "false", "null":
		return i, nil
	default:
		if !isNumber(s) {
			return i, fmt.Errorf("byte %d does not begin a JSON value", from)
		}
		return i, nil
	}
}

// isNumber follows RFC 8259 §6.
func isNumber(s []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n > 0
	}
	if len(s) > 0 && s[0] == '-' {
		s = s[1:]
	}
	if len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '9' || !digits() {
		return false
	}
	if len(s) > 0 && s[0] == '.' {
		if s = s[1:]; !digits() {
			return false
		}
	}
	if len(s) > 0 && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if len(s) > 0 && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(s) == 0
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func space(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

// text is a raw value as text: a string without quotes and escapes, a number or word as written, nothing for null.
func text(raw []byte) string {
	if len(raw) == 0 || raw[0] != '"' {
		if string(raw) == "null" {
			return ""
		}
		return string(raw)
	}
	raw = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw)
	}
	return string(unescape(make([]byte, 0, len(raw)), raw))
}

// unescape appends the text of a JSON string. What is not UTF-8, or half a surrogate pair, becomes the replacement
// character, as in encoding/json.
func unescape(dst, raw []byte) []byte {
	for len(raw) > 0 {
		c := raw[0]
		switch {
		case c == '\\' && len(raw) > 1:
			var n int
			dst, n = appendEscape(dst, raw)
			raw = raw[n:]
		case c < utf8.RuneSelf:
			dst, raw = append(dst, c), raw[1:]
		default:
			r, n := utf8.DecodeRune(raw)
			dst, raw = utf8.AppendRune(dst, r), raw[n:]
		}
	}
	return dst
}

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func appendEscape(dst, raw []byte) ([]byte, int) {
	if raw[1] != 'u' {
		if e := escapes[raw[1]]; e != 0 {
			return append(dst, e), 2
		}
		return append(dst, raw[1]), 2
	}
	r, ok := hex4(raw[2:])
	if !ok {
		return utf8.AppendRune(dst, utf8.RuneError), 2
	}
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(dst, r), 6
	}
	if len(raw) >= 12 && raw[6] == '\\' && raw[7] == 'u' {
		if low, ok := hex4(raw[8:]); ok {
			if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
				return utf8.AppendRune(dst, full), 12
			}
		}
	}
	return utf8.AppendRune(dst, utf8.RuneError), 6
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 32)
	return rune(n), err == nil
}

// number is a raw value as an integer: decimal, or hexadecimal with 0x as the Security log writes process ids; 0 where it
// is none or does not fit.
func number(raw []byte) int64 {
	if len(raw) >= 2 && raw[0] == '"' {
		raw = raw[1 : len(raw)-1]
	}
	base := uint64(10)
	if len(raw) > 2 && raw[0] == '0' && raw[1]|0x20 == 'x' {
		raw, base = raw[2:], 16
	}
	if len(raw) == 0 || len(raw) > 19 {
		return 0
	}
	var n uint64
	for _, c := range raw {
		d := digit(c)
		if d >= base || n > (math.MaxInt64-d)/base {
			return 0
		}
		n = n*base + d
	}
	return int64(n)
}

func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return uint64(c|0x20-'a') + 10
	}
	return math.MaxUint64
}
