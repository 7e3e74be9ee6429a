package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type inner struct {
	Path  string        `yaml:"path"`
	Every time.Duration `yaml:"every"`
}

type sample struct {
	Name   string   `yaml:"name"`
	Count  int      `yaml:"count"`
	Big    int64    `yaml:"big"`
	Share  float64  `yaml:"share"`
	On     bool     `yaml:"on"`
	List   []string `yaml:"list"`
	Inner  inner    `yaml:"inner"`
	Hidden string   `yaml:"-"`
}

func write(t *testing.T, text string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFileThenEnvironment(t *testing.T) {
	v := sample{Name: "default", Count: 1}
	f := write(t, "name: file\ncount: 2\nbig: 9000000000\nshare: 0.5\non: true\nlist: [a, b]\ninner:\n  path: /x\n  every: 90s\n")
	sources, ps := Load(&v, f, Environment{Prefix: "X_", Aliases: []Alias{{"X_NAME_SHORT", "name"}},
		Environ: []string{"X_COUNT=3", "X_LIST=c, d,", "X_INNER_EVERY=2m", "X_NAME_SHORT=alias", "OTHER=1"}})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	if v.Name != "alias" || v.Count != 3 || v.Big != 9e9 || v.Share != 0.5 || !v.On || !slices.Equal(v.List, []string{"c", "d"}) || v.Inner.Every != 2*time.Minute || v.Inner.Path != "/x" {
		t.Errorf("got %+v", v)
	}
	if sources["count"] != "variable X_COUNT" || !strings.HasSuffix(sources["inner.path"], "c.yaml line 8") {
		t.Errorf("sources %v", sources)
	}
}

func TestEveryProblemAtOnce(t *testing.T) {
	v := sample{}
	f := write(t, "nmae: x\ncount: many\ninner:\n  every: soon\n  colour: red\nlist: 3x\n")
	_, ps := Load(&v, f, Environment{Prefix: "X_", Environ: []string{"X_BIG=1e3", "X_ON=perhaps", "X_SHARE=half", "X_INNER_EVERY=5"}})
	want := map[string]string{"nmae": "did you mean name?", "count": "a whole number", "inner.every": "a duration", "inner.colour": "path, every",
		"big": "a whole number", "on": "true or false", "share": "a number"}
	text := ps.Error()
	for key, accepted := range want {
		found := false
		for _, p := range ps {
			found = found || p.Key == key && strings.Contains(p.Accepted, accepted) && p.Source != ""
		}
		if !found {
			t.Errorf("no problem names %s and says %q:\n%s", key, accepted, text)
		}
	}
}

func TestBadFiles(t *testing.T) {
	for name, f := range map[string]string{"missing": filepath.Join(t.TempDir(), "no.yaml"), "not YAML": write(t, "a: [1,\nb"), "folder": t.TempDir()} {
		var v sample
		if _, ps := Load(&v, f, Environment{Prefix: "X_"}); len(ps) != 1 {
			t.Errorf("%s: got %v, want one problem", name, ps)
		}
	}
	var v sample
	if _, ps := Load(&v, write(t, ""), Environment{Prefix: "X_"}); len(ps) != 0 {
		t.Errorf("an empty file is a problem: %v", ps)
	}
}

func TestSetAndValue(t *testing.T) {
	var v sample
	for key, value := range map[string]string{"name": "n", "count": "7", "list": "a,b", "inner.every": "1m0s", "on": "true", "share": "0.25"} {
		if ps := Set(&v, key, value, "flag"); len(ps) > 0 {
			t.Errorf("set %s: %v", key, ps)
		}
		if got := Value(&v, key); got != value {
			t.Errorf("value of %s is %q, want %q", key, got, value)
		}
	}
	if ps := Set(&v, "nothing", "1", "flag"); len(ps) != 1 {
		t.Errorf("an unknown key was set: %v", ps)
	}
	if ps := Set(&v, "count", "x", "flag"); len(ps) != 1 || ps[0].Source != "flag" {
		t.Errorf("a bad value was set: %v", ps)
	}
	if got := Keys(&v); !slices.Equal(got, []string{"name", "count", "big", "share", "on", "list", "inner.path", "inner.every"}) {
		t.Errorf("keys %v", got)
	}
}

// TestFileGoesOn: no problem of a file hides another, and what is good beside it is set.
func TestFileGoesOn(t *testing.T) {
	v := sample{Share: 0.5, List: []string{"kept"}}
	f := write(t, "name: &n one\nname: two\ninner: 5\nlist: [a, {b: c}]\nshare:\ncount: 3\nbig: [1]\non: *n\n---\nname: three\n")
	_, ps := Load(&v, f, Environment{Prefix: "X_"})
	want := map[string]string{"name": "set in line 1 already", "inner": "a group of keys: path, every", "list": "a list", "big": "a whole number", "on": "true or false", f: "one YAML document"}
	for _, p := range ps {
		if w, ok := want[p.Key]; !ok || !strings.Contains(p.Accepted, w) {
			t.Errorf("unexpected: %v", p)
		}
		delete(want, p.Key)
	}
	if len(want) > 0 || v.Name != "one" || v.Count != 3 || v.Share != 0.5 || !slices.Equal(v.List, []string{"kept"}) {
		t.Errorf("not reported: %v; read: %+v", want, v)
	}
	for text, accepted := range map[string]string{"just words": "a group of keys: name", "- a\n- b": "a group of keys: name"} {
		if _, ps := Load(&v, write(t, text), Environment{}); len(ps) != 1 || !strings.Contains(ps[0].Accepted, accepted) {
			t.Errorf("%q: %v", text, ps)
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	v := sample{}
	_, ps := Load(&v, "", Environment{Prefix: "X_", Foreign: []string{"X_THEIRS", "X_TEST_*"}, Environ: []string{"X_COUTN=hunter2", "X_INNER_PAHT=/x", "X_COLOUR=red", "X_THEIRS=1",
		"X_TEST_ANYTHING=1", "X_NAME=env:X_SECRET", "X_SECRET=hunter2", "Y_COUNT=1", "X_LIST_SERVICE_HOST=10.0.0.1", "X_LIST_PORT=tcp://10.0.0.1:1", "X_LIST_PORT_1_TCP_ADDR=10.0.0.1"}})
	want := map[string]string{"X_COUTN": "did you mean X_COUNT (key count)?", "X_INNER_PAHT": "did you mean X_INNER_PATH (key inner.path)?", "X_COLOUR": "a variable of a setting"}
	for _, p := range ps {
		if w, ok := want[p.Key]; !ok || !strings.Contains(p.Accepted, w) || p.Source != "variable "+p.Key {
			t.Errorf("unexpected: %v", p)
		}
		delete(want, p.Key)
	}
	if len(want) > 0 || strings.Contains(ps.Error(), "hunter2") {
		t.Errorf("not reported: %v, or a value is shown:\n%v", want, ps)
	}
}

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"plain text, with a comma":       "plain text, with a comma",
		"http://host:1/path":             "http://host:1/path",
		"https://me:pa55@h/p":            "https://(not shown)@h/p",
		"https://me:p/a@55@h":            "https://(not shown)@h",
		"https://h/p?token=pa55":         "https://h/p?(not shown)",
		"https://h/p#pa55":               "https://h/p#(not shown)",
		"https://u:pa,55@h/":             "https://(not shown)@h/",
		"https://u:pa,55@h/?to=http://x": "https://(not shown)@h/?(not shown)",
		"http://a:b@h,http://c:d@i":      "http://(not shown)@h,http://(not shown)@i",
		"://":                            "://",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
	}
}

func FuzzFile(f *testing.F) {
	for _, s := range []string{"name: x\ninner: {path: /x, every: 1s}\n", "a: &a [*a]\n", "inner: &i\n  path: *i\n", "<<: {name: x}\n", "? [a]\n: b\n", "---\n---\n", "list: [1, !!binary x]\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var v sample
		_, ps := Load(&v, path, Environment{Prefix: "X_"})
		for _, p := range ps {
			if p.Accepted == "" || p.Key == "" && text != "" && p.Source == "" {
				t.Errorf("%q: nothing is said: %+v", text, p)
			}
		}
	})
}
