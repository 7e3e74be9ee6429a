package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// callOf is the package and name of a called function, as written: ("time", "Now"); the package is empty for a plain name.
func callOf(n ast.Node) (pkg, name string) {
	c, ok := n.(*ast.CallExpr)
	if !ok {
		return "", ""
	}
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return "", f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name, f.Sel.Name
		}
	}
	return "", ""
}

// clock are the functions of package time that depend on when they are called.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTicker", "NewTimer"}

// impure are packages with which results can depend on more than the input; net/netip only parses.
var impure = []string{"math/rand", "crypto/rand", "net", "os", "io/ioutil", "syscall", "golang.org/x/sys", "runtime", "plugin"}

func pureProcessors(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		if f.Test || !in(f.Dir, "processors") {
			continue
		}
		for _, i := range f.Imports {
			if inAny(i.Path, impure...) && i.Path != "net/netip" {
				fs = append(fs, Finding{f.Path, i.Line, "imports " + i.Path})
			}
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				fs = append(fs, f.at(g, "starts a goroutine"))
			}
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, s.Sel.Name) {
					fs = append(fs, f.at(s, "uses time.%s", s.Sel.Name))
				}
			}
			return true
		})
	}
	return fs
}

const mainLines = 40

func mainIsSmall(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		if in(f.Dir, "cmd") && !f.Test && f.Lines > mainLines {
			fs = append(fs, Finding{f.Path, 0, fmt.Sprintf("has %d lines, want at most %d", f.Lines, mainLines)})
		}
	}
	return fs
}

func packageComments(t *Tree) (fs []Finding) {
	has := map[string]bool{}
	var dirs []string
	for _, f := range t.Go {
		if f.Test {
			continue
		}
		if !slices.Contains(dirs, f.Dir) {
			dirs = append(dirs, f.Dir)
		}
		want := "Package " + f.AST.Name.Name + " "
		if f.AST.Name.Name == "main" {
			want = "Command "
		}
		has[f.Dir] = has[f.Dir] || f.AST.Doc != nil && strings.HasPrefix(f.AST.Doc.Text(), want)
	}
	for _, d := range dirs {
		if !has[d] {
			fs = append(fs, Finding{d, 0, "has no package comment that begins with Package and its name, or Command"})
		}
	}
	return fs
}

var drawers = []string{"util", "utils", "common", "helper", "helpers", "types", "models", "misc", "base", "shared", "pkg", "lib"}

func packageNames(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		if slices.Contains(drawers, strings.TrimSuffix(f.AST.Name.Name, "_test")) {
			fs = append(fs, f.at(f.AST.Name, "package %s", f.AST.Name.Name))
		}
	}
	return fs
}

func noInit(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				fs = append(fs, f.at(fn, "func init"))
			}
		}
	}
	return fs
}

func panics(t *Tree) (fs []Finding) {
	left := map[string]int{}
	for path, a := range panicsAllowed {
		left[path] = a.n
	}
	for _, f := range t.Go {
		if f.Test || inAny(f.Dir, testOnly...) {
			continue
		}
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(fn.Name.Name, "Must") {
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if pkg, name := callOf(n); pkg == "" && name == "panic" {
					if left[f.Path]--; left[f.Path] < 0 {
						fs = append(fs, f.at(n, "panics, and is not in the list of allowed places"))
					}
				}
				return true
			})
		}
	}
	return fs
}

// documentedDirs are where names are for others.
var documentedDirs = append([]string{"schemas", "streams"}, families...)

func documented(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		if f.Test || !inAny(f.Dir, documentedDirs...) || f.AST.Name.Name == "main" {
			continue
		}
		for _, d := range f.AST.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) && d.Doc == nil && !obvious(d) {
					fs = append(fs, f.at(d, "%s has no doc comment", d.Name.Name))
				}
			case *ast.GenDecl:
				fs = append(fs, undocumented(f, d)...)
			}
		}
	}
	return fs
}

func undocumented(f *File, d *ast.GenDecl) (fs []Finding) {
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
				fs = append(fs, f.at(s, "type %s has no doc comment", s.Name.Name))
			}
			if i, ok := s.Type.(*ast.InterfaceType); ok && s.Name.IsExported() {
				fs = append(fs, undocumentedMethods(f, s.Name.Name, i)...)
			}
		case *ast.ValueSpec:
			// A comment above a group, or beside a value, is for the values of it.
			if n := slices.IndexFunc(s.Names, (*ast.Ident).IsExported); n >= 0 && s.Doc == nil && s.Comment == nil && d.Doc == nil {
				fs = append(fs, f.at(s, "%s has no doc comment", s.Names[n].Name))
			}
		}
	}
	return fs
}

// undocumentedMethods finds what an implementer or caller of an interface is not told. One of a single method can say it all
// above the type.
func undocumentedMethods(f *File, name string, i *ast.InterfaceType) (fs []Finding) {
	if i.Methods.NumFields() < 2 {
		return nil
	}
	for _, m := range i.Methods.List {
		if len(m.Names) == 1 && m.Names[0].IsExported() && m.Doc == nil && m.Comment == nil {
			fs = append(fs, f.at(m, "%s.%s has no doc comment", name, m.Names[0].Name))
		}
	}
	return fs
}

// exportedReceiver is true for functions, and for methods of exported types.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// obvious methods have one meaning everywhere.
func obvious(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "String", "Unwrap", "Len", "Less", "Swap"}, d.Name.Name)
}

const (
	maxFileLines = 600
	maxFuncLines = 120
)

func fileLength(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		if !f.Test && !f.Generated && f.Lines > maxFileLines {
			fs = append(fs, Finding{f.Path, 0, fmt.Sprintf("has %d lines, want at most %d", f.Lines, maxFileLines)})
		}
	}
	return fs
}

func functionLength(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		if f.Generated {
			continue
		}
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				if n := f.lastLine(fn) - f.Line(fn) + 1; n > maxFuncLines {
					fs = append(fs, f.at(fn, "%s has %d lines, want at most %d", fn.Name.Name, n, maxFuncLines))
				}
			}
		}
	}
	return fs
}

var badError = regexp.MustCompile(`^(failed|unable|could not|error)\b|\b(failed to|unable to)\b|[.\n]$`)

func errorTexts(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		if f.Test {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			pkg, name := callOf(n)
			if pkg+"."+name != "errors.New" && pkg+"."+name != "fmt.Errorf" {
				return true
			}
			if lit, ok := n.(*ast.CallExpr).Args[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && badError.MatchString(text) {
					fs = append(fs, f.at(n, "error text %q", text))
				}
			}
			return true
		})
	}
	return fs
}

func sleeps(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		if !f.Test || slices.ContainsFunc(f.Imports, func(i Import) bool { return i.Path == "testing/synctest" }) { // virtual time
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if pkg, name := callOf(n); pkg == "time" && name == "Sleep" && !polls(f, n) {
				fs = append(fs, f.at(n, "calls time.Sleep"))
			}
			return true
		})
	}
	return fs
}

// polls says whether a sleep is the pause between two looks: it is in a loop.
func polls(f *File, sleep ast.Node) bool {
	found := false
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.ForStmt:
			found = found || n.Pos() < sleep.Pos() && sleep.End() < n.End()
		}
		return !found
	})
	return found
}
