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
	sources, ps := Load(&v, f, "X_", []string{"X_COUNT=3", "X_LIST=c, d,", "X_INNER_EVERY=2m", "X_NAME_SHORT=alias", "OTHER=1"}, Alias{"X_NAME_SHORT", "name"})
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
	_, ps := Load(&v, f, "X_", []string{"X_BIG=1e3", "X_ON=perhaps", "X_SHARE=half", "X_INNER_EVERY=5"})
	want := map[string]string{"nmae": "one of the keys name, count", "count": "a whole number", "inner.every": "a duration", "inner.colour": "path, every",
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
		if _, ps := Load(&v, f, "X_", nil); len(ps) != 1 {
			t.Errorf("%s: got %v, want one problem", name, ps)
		}
	}
	var v sample
	if _, ps := Load(&v, write(t, ""), "X_", nil); len(ps) != 0 {
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
