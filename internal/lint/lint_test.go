package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/amoskys/amoskys"

// source is a parsed Go file.
type source struct {
	path    string // from the root, with slashes
	dir     string
	test    bool
	made    bool // generated
	file    *ast.File
	fset    *token.FileSet
	imports []string
	lines   int
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
	}
}

func sources(t *testing.T) (out []source) {
	t.Helper()
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, path)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if base := d.Name(); rel != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		s := source{path: rel, dir: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(rel, "_test.go"), file: f, fset: fset, lines: strings.Count(string(text), "\n"),
			made: ast.IsGenerated(f)}
		for _, i := range f.Imports {
			s.imports = append(s.imports, strings.Trim(i.Path.Value, `"`))
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("only %d sources found: the rules would hold for nothing", len(out))
	}
	return out
}

// under says whether a path is a folder or lies below it.
func under(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

// part is the first two elements of a folder: processors/lineage.
func part(dir string) string {
	e := strings.SplitN(dir, "/", 3)
	return strings.Join(e[:min(2, len(e))], "/")
}

func TestDependenciesPointOneWay(t *testing.T) {
	families := []string{"collectors", "processors", "sinks"}
	for _, s := range sources(t) {
		if s.test {
			continue // tests may drive what they test with anything
		}
		for _, i := range s.imports {
			in, ours := strings.CutPrefix(i, module+"/")
			if !ours {
				continue
			}
			bad := func(why string) { t.Errorf("%s imports %s: %s", s.path, in, why) }
			switch {
			case under(s.dir, "schemas"):
				bad("schemas is a leaf: everything imports it, so it imports nothing of ours")
			case under(s.dir, "streams"):
				if !under(in, "schemas") && !under(in, "streams") {
					bad("streams knows schemas and nothing else")
				}
			case slices.ContainsFunc(families, func(f string) bool { return under(s.dir, f) }):
				family := strings.SplitN(s.dir, "/", 2)[0]
				switch {
				case under(in, "schemas"), under(in, "streams"):
				case s.dir == family && under(in, family): // the list of the family
				case under(in, family+"/internal"), part(in) == part(s.dir): // what the family shares, or the plug-in's own
				default:
					bad("a plug-in knows streams, schemas and its family's internal packages; siblings never import each other")
				}
				if under(in, "streams/streamstest") {
					bad("the test driver is for tests")
				}
			case under(s.dir, "cmd"):
				if in != "internal/cli" {
					bad("main is wiring only: it calls internal/cli")
				}
			}
		}
	}
}

// kafka are the packages that may know the Kafka client, besides those under streams.
var kafka = map[string]string{
	"internal/testbroker": "starts and asks real brokers for tests",
}

func TestOnlyStreamsKnowsKafka(t *testing.T) {
	for _, s := range sources(t) {
		if under(s.dir, "streams") || under(s.dir, "integration") || s.test || kafka[s.dir] != "" {
			continue
		}
		for _, i := range s.imports {
			if strings.HasPrefix(i, "github.com/twmb/franz-go") {
				t.Errorf("%s imports %s: only packages under streams talk to brokers", s.path, i)
			}
		}
	}
}

func TestProcessorsReadNoClockAndNoRandomness(t *testing.T) {
	forbidden := []string{"math/rand", "math/rand/v2", "crypto/rand", "net", "net/http", "os", "os/exec", "io/fs", "sync", "sync/atomic"}
	for _, s := range sources(t) {
		if s.test || !under(s.dir, "processors") {
			continue
		}
		for _, i := range s.imports {
			if slices.Contains(forbidden, i) {
				t.Errorf("%s imports %s: replay must give the same bytes", s.path, i)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: a handler is called from one at a time", s.fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "Tick", "Sleep"}, n.Sel.Name) {
					t.Errorf("%s reads the clock (time.%s): time is the event's", s.fset.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestPackagesAreDocumented(t *testing.T) {
	doc, seen := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		seen[s.dir] = true
		doc[s.dir] = doc[s.dir] || s.file.Doc != nil
	}
	for dir := range seen {
		if !doc[dir] {
			t.Errorf("package %s has no package comment", dir)
		}
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "models", "pkg"}, filepath.Base(dir)) {
			t.Errorf("package %s is named for nothing", dir)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.made || under(s.dir, "internal") || under(s.dir, "integration") || under(s.dir, "cmd") {
			continue
		}
		for _, d := range s.file.Decls {
			for _, n := range undocumented(d) {
				t.Errorf("%s: %s has no comment", s.fset.Position(n.Pos()), n.Name)
			}
		}
	}
}

func undocumented(d ast.Decl) (out []*ast.Ident) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			out = append(out, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					out = append(out, s.Name)
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						out = append(out, n)
					}
				}
			}
		}
	}
	return out
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	x := d.Recv.List[0].Type
	for {
		switch v := x.(type) {
		case *ast.StarExpr:
			x = v.X
		case *ast.IndexExpr:
			x = v.X
		case *ast.IndexListExpr:
			x = v.X
		case *ast.Ident:
			return v.IsExported()
		default:
			return false
		}
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.made {
			continue
		}
		if s.lines > 600 {
			t.Errorf("%s has %d lines: is it still one idea?", s.path, s.lines)
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				if n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line; n > 120 {
					t.Errorf("%s: %s has %d lines", s.path, f.Name.Name, n)
				}
			}
		}
		if under(s.dir, "cmd") && s.lines > 40 {
			t.Errorf("%s has %d lines: main is wiring only", s.path, s.lines)
		}
	}
}

func TestNoHiddenWork(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.made {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function: lists are explicit", s.path)
			}
		}
		for _, i := range s.imports {
			if strings.Contains(i, "stretchr/testify") {
				t.Errorf("%s imports testify: plain testing", s.path)
			}
		}
	}
}

// topicName is a name of one of our topics: they are declared in one file.
var topicName = regexp.MustCompile(`"amoskys\.[a-z]+\.[a-z]+\.v[0-9]+"`)

// unfinished and workplace are words that do not belong in the tree.
var (
	unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	workplace  = regexp.MustCompile(`(/wo` + `rk/|/tm` + `p/wt|/ro` + `ot/[a-z.])`)
)

func TestWords(t *testing.T) {
	top := root(t)
	for _, s := range sources(t) {
		text, err := os.ReadFile(filepath.Join(top, s.path))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if topicName.MatchString(line) && !strings.HasPrefix(strings.TrimSpace(line), "//") && s.path != "schemas/topics.go" && !s.test {
				t.Errorf("%s:%d names a topic: topics are declared in schemas/topics.go", s.path, i+1)
			}
			if unfinished.MatchString(line) {
				t.Errorf("%s:%d is unfinished by its own words", s.path, i+1)
			}
			if workplace.MatchString(line) {
				t.Errorf("%s:%d names a folder of somebody's machine", s.path, i+1)
			}
		}
	}
}
