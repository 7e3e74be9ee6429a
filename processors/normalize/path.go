package normalize

import (
	"strings"

	"github.com/amoskys/amoskys/schemas"
)

// unixPath cleans an absolute path; anything else (a socket, a pipe, a relative path) stays, but for the mark of a removed
// file.
func unixPath(p *string) {
	s := strings.TrimSuffix(*p, " (deleted)")
	if strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "/memfd:") && !clean(s, '/') {
		s = join(s, '/', "/")
	}
	*p = s
}

// windowsPath brings a Windows path into canonical form.
func windowsPath(p string) string {
	s := strings.ToLower(p)
	if strings.IndexByte(s, '/') >= 0 {
		s = strings.ReplaceAll(s, "/", `\`)
	}
	for {
		t := unprefixed(s)
		if t == s {
			break
		}
		s = t
	}
	root := ""
	switch {
	case strings.HasPrefix(s, `\\.\`):
		root, s = s[:4], s[4:]
	case strings.HasPrefix(s, `\\`):
		root, s = `\\`, strings.TrimLeft(s, `\`)
	case strings.HasPrefix(s, `\`):
		root, s = `\`, s[1:]
	case len(s) > 2 && s[1] == ':' && s[2] == '\\':
		root, s = s[:3], s[3:]
	default:
		return s
	}
	if clean(`\`+s, '\\') {
		return root + s
	}
	return join(s, '\\', root)
}

// unprefixed takes one prefix of the object manager, or of the system directory, off a path. What is not below a drive, a
// share or a device, such as a pipe, keeps its place as \\.\pipe\….
func unprefixed(s string) string {
	if len(s) > 4 && (s[:4] == `\\?\` || s[:4] == `\\.\` || s[:4] == `\??\`) {
		rest := s[4:]
		switch {
		case strings.HasPrefix(rest, `unc\`):
			return `\\` + rest[len(`unc\`):]
		case strings.HasPrefix(rest, `globalroot\`):
			return rest[len(`globalroot`):]
		case rest[0] == '\\' || len(rest) > 1 && rest[1] == ':':
			return rest
		}
		return `\\.\` + rest
	}
	for _, root := range [...]string{`\systemroot\`, `%systemroot%\`, `%windir%\`} {
		if rest, ok := strings.CutPrefix(s, root); ok {
			return `c:\windows\` + rest
		}
	}
	return s
}

// clean says whether a path that begins with its separator has no empty, . or .. element. A separator at the end is fine.
func clean(s string, sep byte) bool {
	for i := range len(s) {
		if s[i] != sep {
			continue
		}
		rest := s[i+1:]
		switch {
		case rest == "":
		case rest[0] == sep, rest == ".", rest == "..":
			return false
		case rest[0] == '.' && (len(rest) > 1 && rest[1] == sep || strings.HasPrefix(rest, "..") && len(rest) > 2 && rest[2] == sep):
			return false
		}
	}
	return true
}

// join puts the elements of a path behind its root, without empty and . ones, and with .. resolved.
func join(s string, sep byte, root string) string {
	var parts []string
	for _, e := range strings.Split(s, string(sep)) {
		switch e {
		case "", ".":
		case "..":
			parts = parts[:max(0, len(parts)-1)]
		default:
			parts = append(parts, e)
		}
	}
	return root + strings.Join(parts, string(sep))
}

var hives = []struct{ long, short string }{
	{`\registry\machine`, "hklm"}, {`\registry\user`, "hku"},
	{"hkey_local_machine", "hklm"}, {"hkey_users", "hku"}, {"hkey_current_user", "hkcu"},
	{"hkey_classes_root", "hkcr"}, {"hkey_current_config", "hkcc"},
}

// registry brings a registry key into canonical form.
func registry(key *string) {
	valid(key)
	s := strings.ToLower(*key)
	for _, h := range hives {
		if rest, ok := strings.CutPrefix(s, h.long); ok && (rest == "" || rest[0] == '\\') {
			s = h.short + rest
			break
		}
	}
	const set = `hklm\system\controlset`
	if n := len(set) + 3; len(s) >= n && strings.HasPrefix(s, set) && digits(s[len(set):n]) && (len(s) == n || s[n] == '\\') {
		s = `hklm\system\currentcontrolset` + s[n:]
	}
	*key = s
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// valid writes bytes that are not UTF-8 as \xNN.
func valid(s *string) { *s = schemas.Text(*s) }
