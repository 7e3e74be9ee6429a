package lint

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Tree is the sources of a module.
type Tree struct {
	Root   string // absolute; empty for a tree that is not on disk
	Module string // its path
	Go     []*File
	Text   []Text // everything that is text, Go files too
}

// A File is one Go file.
type File struct {
	Path      string // slash-separated, from the root
	Dir       string // of its package; "." for the root
	AST       *ast.File
	Test      bool
	Generated bool
	Lines     int
	Imports   []Import

	fset *token.FileSet
}

// An Import is one import of a file.
type Import struct {
	Path string
	Line int
}

// A Text is one text file.
type Text struct {
	Path    string
	Content string
}

// A Finding is one place where a rule does not hold.
type Finding struct {
	Path string
	Line int // 0: the whole file
	What string
}

func (f Finding) String() string {
	if f.Line == 0 {
		return f.Path + ": " + f.What
	}
	return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.What)
}

// skipped directories hold nothing of ours: results, downloads, and what tests read as data.
var skipped = []string{".git", ".cache", "bin", "data", "node_modules", "vendor"}

// maxText bounds what is taken for a text; larger files are data.
const maxText = 1 << 20

// Load reads the tree of a module from its root.
func Load(root string) (*Tree, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("find module: %w", err)
	}
	files := map[string]string{}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && errors.Is(err, fs.ErrNotExist): // somebody works in the tree
			return nil
		case err != nil:
			return err
		case d.IsDir() && name != root && slices.Contains(skipped, d.Name()):
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if info, err := d.Info(); err != nil || info.Size() > maxText {
			return nil
		}
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.IndexByte(b, 0) < 0 && utf8.Valid(b) {
			files[filepath.ToSlash(rel)] = string(b)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", root, err)
	}
	t, err := parse(modulePath(string(mod)), files)
	if err != nil {
		return nil, err
	}
	t.Root = root
	return t, nil
}

func modulePath(mod string) string {
	for line := range strings.Lines(mod) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			return strings.TrimSpace(p)
		}
	}
	return ""
}

// parse makes a tree of files by their paths.
func parse(module string, files map[string]string) (*Tree, error) {
	t := &Tree{Module: module}
	var errs []error
	for name, content := range files {
		t.Text = append(t.Text, Text{name, content})
		if !strings.HasSuffix(name, ".go") || slices.Contains(strings.Split(name, "/"), "testdata") {
			continue
		}
		f, err := parseFile(name, content)
		errs = append(errs, err)
		if err == nil {
			t.Go = append(t.Go, f)
		}
	}
	slices.SortFunc(t.Go, func(a, b *File) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(t.Text, func(a, b Text) int { return cmp.Compare(a.Path, b.Path) })
	return t, errors.Join(errs...)
}

func parseFile(name, content string) (*File, error) {
	fset := token.NewFileSet()
	a, err := parser.ParseFile(fset, name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &File{Path: name, Dir: path.Dir(name), AST: a, Test: strings.HasSuffix(name, "_test.go"), Generated: ast.IsGenerated(a),
		Lines: strings.Count(content, "\n"), fset: fset}
	for _, i := range a.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, err
		}
		f.Imports = append(f.Imports, Import{p, f.Line(i)})
	}
	return f, nil
}

// Line is the line a node begins in.
func (f *File) Line(n ast.Node) int { return f.fset.Position(n.Pos()).Line }

func (f *File) lastLine(n ast.Node) int { return f.fset.Position(n.End()).Line }

func (f *File) at(n ast.Node, what string, args ...any) Finding {
	return Finding{f.Path, f.Line(n), fmt.Sprintf(what, args...)}
}

// in says whether a path is a directory or below it.
func in(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// inAny says whether a path is below one of some directories.
func inAny(p string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return in(p, d) })
}
