package lint

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "example.org/m"

// Each rule finds what it is there for, and nothing in what is right.
func TestRules(t *testing.T) {
	kept := panicsAllowed
	panicsAllowed = map[string]struct {
		n   int
		why string
	}{"streams/allowed.go": {1, "for the test"}}
	t.Cleanup(func() { panicsAllowed = kept })
	for _, c := range []struct {
		rule, path, src string
		want            []string // parts of the findings, in order; none if it is right
	}{
		{"dependencies", "schemas/x.go", `package schemas; import "example.org/m/streams"`, []string{"schemas is a leaf"}},
		{"dependencies", "schemas/x.go", `package schemas; import "example.org/m/schemas/internal/y"`, nil},
		{"dependencies", "streams/x.go", `package streams; import ("example.org/m/schemas"; "example.org/m/streams/registry")`, nil},
		{"dependencies", "streams/x.go", `package streams; import "example.org/m/sinks/file"`, []string{"streams imports schemas"}},
		{"dependencies", "streams/x.go", `package streams; import "example.org/m/internal/testbroker"`, []string{"streams imports schemas"}},
		{"dependencies", "streams/x_test.go", `package streams; import "example.org/m/internal/testbroker"`, nil},
		{"dependencies", "sinks/a/x.go", `package a; import ("example.org/m/streams"; "example.org/m/schemas"; "example.org/m/sinks/a/internal/y"; "example.org/m/sinks/internal/z")`, nil},
		{"dependencies", "sinks/a/x.go", `package a; import "example.org/m/sinks/b"`, []string{"do not know each other"}},
		{"dependencies", "sinks/a/x_test.go", `package a; import "example.org/m/sinks/b"`, []string{"do not know each other"}},
		{"dependencies", "sinks/a/deep/x.go", `package deep; import "example.org/m/sinks/a"`, nil},
		{"dependencies", "sinks/internal/z/x.go", `package z; import "example.org/m/sinks/a"`, []string{"do not know each other"}},
		{"dependencies", "sinks/sinks.go", `package sinks; import "example.org/m/sinks/a"`, nil},
		{"dependencies", "sinks/sinks.go", `package sinks; import "example.org/m/collectors/a"`, []string{"wired by internal/cli"}},
		{"dependencies", "sinks/x_test.go", `package sinks; import ("example.org/m/collectors/a"; "example.org/m/internal/loadgen")`, nil},
		{"dependencies", "sinks/a/x_test.go", `package a; import ("example.org/m/collectors/a"; "example.org/m/internal/loadgen")`, []string{"wired by internal/cli", "imports streams, schemas and its own"}},
		{"dependencies", "processors/a/x.go", `package a; import "example.org/m/internal/config"`, []string{"imports streams, schemas and its own"}},
		{"dependencies", "cmd/m/main.go", `package main; import ("example.org/m/internal/cli"; "example.org/m/streams")`, []string{"cmd imports internal/cli and nothing else"}},
		{"dependencies", "internal/x/x.go", `package x; import ("example.org/m/internal/cli"; "example.org/m/cmd/m")`, []string{"only cmd", "nothing imports"}},
		{"dependencies", "internal/cli/x.go", `package cli; import ("example.org/m/sinks"; "example.org/m/collectors/proc"; "example.org/m/internal/config")`, nil},
		{"dependencies", "integration/x_test.go", `package integration; import ("example.org/m/internal/cli"; "example.org/m/sinks/file")`, nil},
		{"dependencies", "tools/x.go", `package tools; import "example.org/m/sinks/file"`, []string{"wired by internal/cli"}},

		{"kafka", "sinks/a/x.go", `package a; import "github.com/twmb/franz-go/pkg/kgo"`, []string{"imports github.com/twmb"}},
		{"kafka", "internal/cli/x.go", `package cli; import "github.com/twmb/franz-go/pkg/kadm"`, []string{"imports"}},
		{"kafka", "streams/embedded/x.go", `package embedded; import "github.com/twmb/franz-go/pkg/kfake"`, nil},
		{"kafka", "schemas/x.go", `package schemas; import "github.com/twmb/avro"`, nil},

		{"test packages", "sinks/a/x.go", `package a; import ("testing"; "example.org/m/streams/streamstest")`, []string{"imports testing", "imports example.org/m/streams/streamstest"}},
		{"test packages", "sinks/a/x_test.go", `package a; import ("testing"; "example.org/m/streams/streamstest")`, nil},
		{"test packages", "streams/streamstest/x.go", `package streamstest; import "testing"`, nil},
		{"banned imports", "sinks/a/x_test.go", `package a; import "github.com/stretchr/testify/require"`, []string{"testify"}},

		{"pure processors", "processors/a/x.go", "package a\nimport (\"math/rand/v2\"; \"net\"; \"net/netip\"; \"os\"; \"time\")\nfunc f() { go f(); _ = time.Now(); var now = time.Since; _ = now; _ = time.Second }",
			[]string{"imports math/rand/v2", "imports net", "imports os", "starts a goroutine", "time.Now", "time.Since"}},
		{"pure processors", "processors/a/x_test.go", `package a; import "os"`, nil},
		{"pure processors", "collectors/a/x.go", `package a; import "os"`, nil},

		{"main", "cmd/m/main.go", "package main\n" + strings.Repeat("\n", 40), []string{"has 41 lines"}},
		{"main", "cmd/m/main.go", "package main\n" + strings.Repeat("\n", 39), nil},
		{"package comment", "sinks/a/x.go", "package a", []string{"no package comment"}},
		{"package comment", "sinks/a/x.go", "// A package.\npackage a", []string{"no package comment"}},
		{"package comment", "sinks/a/x.go", "// Package a is one.\npackage a", nil},
		{"package comment", "cmd/m/main.go", "// Command m is one.\npackage main", nil},
		{"package name", "sinks/util/x.go", "package util", []string{"package util"}},
		{"package name", "sinks/a/x_test.go", "package a_test", nil},
		{"no init", "sinks/a/x.go", "package a; func init() {}; func (t T) init() {}", []string{"func init"}},
		{"panic", "sinks/a/x.go", "package a; func f() { panic(1) }; var g = func() { panic(2) }; func MustF() { panic(3) }", []string{"panics", "panics"}},
		{"panic", "streams/allowed.go", "package streams; func f() { panic(1) }", nil},
		{"panic", "streams/allowed.go", "package streams; func f() { panic(1); panic(2) }", []string{"panics"}},
		{"panic", "sinks/a/x_test.go", "package a; func f() { panic(1) }", nil},

		{"documented", "sinks/a/x.go", "package a\nfunc F() {}\nfunc g() {}\ntype T struct{}\nfunc (t *T) M() {}\nfunc (t *T) Error() string {}\ntype u struct{}\nfunc (u) M() {}\nvar V, w = 1, 2\nconst (\n\tC = 1\n)\ntype G[A any] struct{}\nfunc (G[A]) N() {}",
			[]string{"F has no doc", "type T has no doc", "M has no doc", "V has no doc", "C has no doc", "type G has no doc", "N has no doc"}},
		{"documented", "sinks/a/x.go", "package a\n// F does.\nfunc F() {}\n// Names.\nconst (\n\tC = 1\n\tD = 2 // one\n)\n// A T is.\ntype T struct{}\ntype (\n\t// A U is.\n\tU int\n)", nil},
		{"documented", "sinks/a/x.go", "package a\n// Types.\ntype (\n\tU int\n)", []string{"type U"}},
		{"documented", "sinks/a/x.go", "package a\n// An I is.\ntype I interface {\n\t// F does.\n\tF()\n\tG() // does\n\tH()\n\tio.Reader\n\ti()\n}\n// A J does J.\ntype J interface{ J() }\ntype k interface{ A(); B() }", []string{"I.H has no doc"}},
		{"documented", "internal/a/x.go", "package a\nfunc F() {}", nil},

		{"file length", "sinks/a/x.go", "package a\n" + strings.Repeat("\n", 600), []string{"has 601 lines"}},
		{"file length", "sinks/a/x_test.go", "package a\n" + strings.Repeat("\n", 600), nil},
		{"file length", "sinks/a/x.go", "// Code generated by x. DO NOT EDIT.\n\npackage a\n" + strings.Repeat("\n", 600), nil},
		{"function length", "sinks/a/x.go", "package a\nfunc f() {" + strings.Repeat("\n", 120) + "}", []string{"f has 121 lines"}},
		{"function length", "sinks/a/x.go", "package a\nfunc f() {" + strings.Repeat("\n", 119) + "}", nil},
		{"error texts", "sinks/a/x.go", "package a\nvar _ = []error{errors.New(\"failed to open\"), fmt.Errorf(\"open: unable to read %w\", e), errors.New(\"ends.\"), errors.New(text), fmt.Errorf(\"open failed: %w\", e)}",
			[]string{"failed to open", "unable to read", "ends."}},
		{"no sleep in tests", "sinks/a/x_test.go", "package a\nimport \"time\"\nfunc f() { time.Sleep(1); for { time.Sleep(1) } }", []string{"time.Sleep"}},
		{"no sleep in tests", "sinks/a/x_test.go", "package a\nimport (\"testing/synctest\"; \"time\")\nfunc f() { time.Sleep(1) }", nil},

		{"unfinished", "sinks/a/x.go", "package a\n// TO" + "DO: more\nvar todo = `a TO" + "DO in a text`", []string{"says TO" + "DO"}},
		{"unfinished", "docs/x.md", "done\nFIX" + "ME later\n", []string{"says FIX" + "ME"}},
		{"unfinished", "sinks/testdata/x.md", "TO" + "DO", nil},
		{"paths in documents", "docs/x.md", "[here](x.md#part) `docs/x.md`, `docs/{x,y}.md` `docs/*.md` `docs/*.txt` [there](../README.md) <https://example.org/x.md> [out](https://example.org/x.md)\n`other/x.md` `application/json`\n`docs/new.go`:\n",
			[]string{"links to ../README.md", "names docs/y.md", "names docs/*.txt"}},
		{"paths in documents", "docs/x.md", "| `docs/x.md`, `z.md`, `plain` | see `no.md` |\n", []string{"names docs/z.md"}},
		{"paths in documents", "docs/x.txt", "[there](../README.md)", nil},
		{"topic names", "sinks/a/x.go", "package a\nvar t = \"amoskys.alerts.finding.v1\"\nvar u = `see amoskys.alerts.finding.v1`", []string{"amoskys.alerts.finding.v1", "amoskys.alerts.finding.v1"}},
		{"topic names", "schemas/topics.go", "package schemas\nvar t = \"amoskys.alerts.finding.v1\"", nil},
		{"topic names", "sinks/a/x.go", "package a\nvar t = \"amoskys.changelog.app\" // amoskys.alerts.finding.v1", nil},
	} {
		i := slices.IndexFunc(Rules, func(r Rule) bool { return r.Name == c.rule })
		if i < 0 {
			t.Errorf("no rule %s", c.rule)
			continue
		}
		tree, err := parse(module, map[string]string{c.path: c.src})
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
			continue
		}
		got := Rules[i].Check(tree)
		ok := len(got) == len(c.want)
		for n := 0; ok && n < len(got); n++ {
			ok = strings.Contains(got[n].What, c.want[n]) && in(c.path, strings.TrimSuffix(got[n].Path, "/"))
		}
		if !ok {
			t.Errorf("%s: %q: got %v, want %q", c.rule, c.src, got, c.want)
		}
	}
}

// Every rule is tried, and says why it is there.
func TestEveryRuleHasAReason(t *testing.T) {
	names := map[string]bool{}
	for _, r := range Rules {
		if r.Reason == "" || r.Check == nil || names[r.Name] {
			t.Errorf("rule %q has no reason or no check, or is there twice", r.Name)
		}
		names[r.Name] = true
	}
	for path, a := range panicsAllowed {
		if a.n < 1 || a.why == "" {
			t.Errorf("panics in %s are allowed without a reason", path)
		}
	}
}

func TestLoad(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "// a module\nmodule " + module + "\n\ngo 1.26\n", "sinks/a/x.go": "package a\n", "sinks/a/testdata/x.go": "no Go", "README.md": "in " + root + "/x\n",
		".cache/y.go": "no Go", "bin/z.go": "no Go", "sinks/a/data.bin": "\x00\x01", "docs/other.md": "beside: " + filepath.Dir(root) + "/other, but not a" + root + "\n", ".ci/run": "text",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, x := range tree.Text {
		texts = append(texts, x.Path)
	}
	want := []string{".ci/run", "README.md", "docs/other.md", "go.mod", "sinks/a/testdata/x.go", "sinks/a/x.go"}
	if len(tree.Go) != 1 || tree.Go[0].Dir != "sinks/a" || tree.Module != module || !slices.Equal(texts, want) {
		t.Errorf("module %s, %d Go files, texts %q", tree.Module, len(tree.Go), texts)
	}
	found := ownPaths(tree)
	if len(found) != 2 || found[0].Path != "README.md" || found[1].Path != "docs/other.md" || found[0].Line != 1 {
		t.Errorf("paths of this machine: %v", found)
	}
	if s := found[0].String(); !strings.HasPrefix(s, "README.md:1: ") {
		t.Error(s)
	}
	if s := (Finding{Path: "x", What: "y"}).String(); s != "x: y" {
		t.Error(s)
	}

	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a directory without a module was loaded")
	}
	if err := os.WriteFile(filepath.Join(root, "broken.go"), []byte("package"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(root); err == nil || !strings.Contains(err.Error(), "broken.go") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}
