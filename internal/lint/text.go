package lint

import (
	"go/ast"
	"go/token"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// notes are the marks of unfinished work; the letters are apart so that this file has none.
var notes = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HACK)\b`)

func unfinished(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		for _, g := range f.AST.Comments {
			for _, c := range g.List {
				if m := notes.FindString(c.Text); m != "" {
					fs = append(fs, f.at(c, "says %s", m))
				}
			}
		}
	}
	for _, x := range t.Text {
		if !slices.Contains([]string{".md", ".yml", ".yaml", ".sh", ".py", ".service", ".avsc"}, path.Ext(x.Path)) && path.Base(x.Path) != "Makefile" {
			continue
		}
		if inData(x.Path) {
			continue
		}
		fs = append(fs, matches(x, notes, "says ")...)
	}
	return fs
}

func inData(p string) bool { return slices.Contains(strings.Split(p, "/"), "testdata") }

func matches(x Text, r *regexp.Regexp, what string) (fs []Finding) {
	n := 0
	for line := range strings.Lines(x.Content) {
		n++
		if m := r.FindString(line); m != "" {
			fs = append(fs, Finding{x.Path, n, what + strings.TrimSpace(m)})
		}
	}
	return fs
}

var topicName = regexp.MustCompile(`\bamoskys\.[a-z]+\.[a-z]+\.v\d+\b`)

func topicNames(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		if f.Test || f.Path == "schemas/topics.go" {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(lit.Value); err == nil {
				if m := topicName.FindString(text); m != "" {
					fs = append(fs, f.at(lit, "names topic %s itself, and not by its declaration in schemas", m))
				}
			}
			return true
		})
	}
	return fs
}

// ordinary are directories of every machine: a checkout may lie in one, and sources may name it.
var ordinary = []string{"/tmp", "/var/tmp", "/home", "/root", "/usr", "/usr/src", "/opt", "/srv", "/mnt", "/src"}

// ownPaths finds the absolute path of this very checkout, and of what lies beside it.
func ownPaths(t *Tree) (fs []Finding) {
	if t.Root == "" {
		return nil
	}
	root := filepath.ToSlash(t.Root)
	dirs := []string{regexp.QuoteMeta(root)}
	if parent := path.Dir(root); len(parent) > 1 && !slices.Contains(ordinary, parent) {
		dirs = append(dirs, regexp.QuoteMeta(parent)+"/")
	}
	r := regexp.MustCompile(`(^|[^\w.~/-])(` + strings.Join(dirs, "|") + `)`)
	for _, x := range t.Text {
		fs = append(fs, matches(x, r, "has a path of this machine: ")...)
	}
	return fs
}
