package paths

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"
)

func TestTemplate(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"/":                                "/",
		"/usr/bin/bash":                    "/usr/bin/bash",
		"/usr/bin/python3.11":              "/usr/bin/python3.#",
		"/proc/4711/maps":                  "/proc/#/maps",
		"/home/alice/.ssh/id_rsa":          "/home/*/.ssh/id_rsa",
		"/home/linuxbrew/bin/x":            "/home/linuxbrew/bin/x",
		"/Users/Shared/x":                  "/Users/Shared/x",
		`c:\users\bob\appdata\local\a.exe`: `c:\users\*\appdata\local\a.exe`,
		`c:\users\public\a.exe`:            `c:\users\public\a.exe`,
		`c:\windows\system32\svchost.exe`:  `c:\windows\system32\svchost.exe`,
		"/tmp/go-build3821/b001/exe/main":  "/tmp/go-build#/b#/exe/main",
		"/tmp/tmp.XyAbCdEfGh/run":          "/tmp/tmp.*/run",
		"/tmp/tmpab3f9x/run":               "/tmp/*/run",
		"/tmp/README":                      "/tmp/README",
		"/tmp/Makefile":                    "/tmp/Makefile",
		"/var/cache/0a1b2c3d4e5f/x":        "/var/cache/{hex}/x",
		"/sys/deadbeef":                    "/sys/deadbeef", // a word as long as it has no digit
		"/run/abcdefabcdefabcd1/x":         "/run/{hex}/x",
		"/run/4444444444444444/x":          "/run/{hex}/x", // sixteen digits are a hex id that happens to have no letter
		`hku\s-1-5-21-1-2-3-1001\software\{11111111-2222-3333-4444-555555555555}\x`: `hku\{sid}\software\{guid}\x`,
		`hku\s-1-5-21-1-2-3-1001_classes\x`:                                         `hku\{sid}_classes\x`,
		`hku\s-1-12-1-1-2-3-4\x`:                                                    `hku\{sid}\x`,
		`hku\s-1-5-18\x`:                                                            `hku\s-1-5-18\x`,
		"/a/11111111-2222-3333-4444-555555555555.log":                               "/a/{guid}.log",
		`c:\apps\91750d7e.slack_8she8kybcnzg4\slack.exe`:                            `c:\apps\{hex}.slack_*\slack.exe`,
		"/var/log/app-2026-01-02.log":                                               "/var/log/app-#-#-#.log",
		`c:\a\preferences~rf63b1a.tmp`:                                              `c:\a\preferences~*.tmp`,
		`hklm\services\cbdhsvc_bbd2b`:                                               `hklm\services\cbdhsvc_{hex}`,
		"/home/a/.ssh/id_ed25519.pub":                                               "/home/*/.ssh/id_ed#.pub",
		"/var/log/app123.log":                                                       "/var/log/app#.log",
	} {
		if got := Template(in); got != want {
			t.Errorf("Template(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTemplateIsBounded(t *testing.T) {
	if got := Template("/" + strings.Repeat("a/9", 4000)); len(got) > maxTemplate {
		t.Errorf("template has %d bytes, want at most %d", len(got), maxTemplate)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"/tmp/x1", `c:\a\{`, "s-1-5-21-", "{11111111-2222-3333-4444-555555555555}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if got := Template(p); len(got) > maxTemplate {
			t.Errorf("template of %q has %d bytes", p, len(got))
		}
		if b := Base(p); len(b) > len(p) {
			t.Errorf("base of %q is longer: %q", p, b)
		}
		if System(p) && WorldWritable(p) {
			t.Errorf("%q is both", p)
		}
	})
}

func TestDirectories(t *testing.T) {
	for _, x := range []struct {
		path           string
		world, systems bool
	}{
		{"/tmp/x", true, false},
		{"/tmpx/x", false, false},
		{"/dev/shm/x", true, false},
		{"/usr/bin/x", false, true},
		{"/home/a/x", false, false},
		{`c:\windows\temp\x.exe`, true, false},
		{`c:\windows\system32\x.exe`, false, true},
		{`c:\programdata\x.exe`, true, false},
		{`c:\programdata\vendor\x.exe`, false, false},
		{`\device\harddiskvolume3\windows\system32\x.exe`, false, false},
		{"", false, false},
	} {
		if got := WorldWritable(x.path); got != x.world {
			t.Errorf("WorldWritable(%q) = %v", x.path, got)
		}
		if got := System(x.path); got != x.systems {
			t.Errorf("System(%q) = %v", x.path, got)
		}
	}
}

func TestBase(t *testing.T) {
	for in, want := range map[string]string{"/usr/bin/ls": "ls", `c:\a\b.exe`: "b.exe", "ls": "ls", "/a/": "", "": ""} {
		if got := Base(in); got != want {
			t.Errorf("Base(%q) = %q, want %q", in, got, want)
		}
	}
}

func BenchmarkTemplate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Template(`c:\users\bob\appdata\local\packages\91750d7e.slack_8she8kybcnzg4\localcache\roaming\slack\cache\cache_data\f_00012f`)
	}
}

func TestCut(t *testing.T) {
	for _, x := range []struct {
		in   string
		n    int
		want string
	}{{"abc", 5, "abc"}, {"abc", 2, "ab"}, {"\u00e9\u00e9", 3, "\u00e9"}, {"\u00e9", 1, ""}, {"\x80\x80", 1, ""}} {
		if got := Cut(x.in, x.n); got != x.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", x.in, x.n, got, x.want)
		}
	}
}

// TestTemplateIsText cuts long paths anywhere: what is left must still be text, or no other reader of the topic takes it.
func TestTemplateIsText(t *testing.T) {
	for n := range 8 {
		p := "/" + strings.Repeat("x", n) + strings.Repeat("é漢", 400)
		if got := Template(p); !utf8.ValidString(got) || len(got) > maxTemplate {
			t.Errorf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
	}
}

// TestCache: it gives what Template gives, keeps nothing of what the path was cut from, and is bounded.
func TestCache(t *testing.T) {
	var c Cache
	long := "/" + strings.Repeat("x", maxCached)
	for range 2 {
		for _, p := range []string{"", "/usr/bin/dash", "/tmp/go-build123456/b001/x.test", `c:\windows\temp\a1b2c3d4e5f6.exe`, long} {
			if got, want := c.Template(p), Template(p); got != want {
				t.Errorf("%q: %q, want %q", p, got, want)
			}
		}
	}
	if len(c.m) != 3 {
		t.Errorf("%d paths are kept, want all but the empty and the long one", len(c.m))
	}
	buffer := strings.Repeat("/usr/bin/dash ", 1000)
	p := buffer[14:27]
	c.m = nil
	c.Template(p)
	for k := range c.m {
		if unsafe.StringData(k) == unsafe.StringData(p) {
			t.Error("the path keeps its buffer")
		}
	}
	for i := range maxCache + 10 {
		c.Template("/" + strconv.Itoa(i))
	}
	if len(c.m) > maxCache {
		t.Errorf("%d entries", len(c.m))
	}
}
