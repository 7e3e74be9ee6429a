package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A block is a run of statements, named as in a profile: file:from,to.
type block struct {
	statements int
	hit        bool
}

// share counts statements.
type share struct{ hit, all int }

func (s share) percent() float64 {
	if s.all == 0 {
		return 100
	}
	return 100 * float64(s.hit) / float64(s.all)
}

func cover(args []string, _ io.Reader, out io.Writer, flags *flag.FlagSet) error {
	least := flags.Float64("min", 80, "least share of statements in percent")
	root := flags.String("root", ".", "folder of go.mod, to tell generated files")
	if flags.Parse(args) != nil {
		return errUsage
	}
	blocks := map[string]*block{}
	for _, p := range flags.Args() {
		if err := readProfile(p, blocks); err != nil {
			return err
		}
	}
	if len(blocks) == 0 {
		return errors.New("the profiles are empty")
	}
	module, err := moduleName(*root)
	if err != nil {
		return err
	}
	packages := map[string]*share{}
	var total share
	counted := map[string]bool{} // by file
	for name, b := range blocks {
		file, _, _ := strings.Cut(name, ".go:")
		file = strings.TrimPrefix(file+".go", module+"/")
		if _, known := counted[file]; !known {
			counted[file] = matters(*root, file)
		}
		if !counted[file] {
			continue
		}
		s := packages[path.Dir(file)]
		if s == nil {
			s = &share{}
			packages[path.Dir(file)] = s
		}
		s.all, total.all = s.all+b.statements, total.all+b.statements
		if b.hit {
			s.hit, total.hit = s.hit+b.statements, total.hit+b.statements
		}
	}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		s := packages[name]
		fmt.Fprintf(out, "coverage %5.1f %% of %5d statements  %s\n", s.percent(), s.all, name)
	}
	fmt.Fprintf(out, "coverage %5.1f %% of %5d statements in all, at least %.0f %% wanted\n", total.percent(), total.all, *least)
	if total.percent() < *least {
		return errBroken
	}
	return nil
}

// readProfile adds a profile of go test -coverprofile to blocks. A block that several test programs report is covered when
// one of them ran it.
func readProfile(file string, blocks map[string]*block) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		if strings.HasPrefix(s.Text(), "mode:") {
			continue
		}
		cols := strings.Fields(s.Text()) // name.go:1.2,3.4 STATEMENTS COUNT
		if len(cols) != 3 {
			return fmt.Errorf("read %s, line %d: %q is no line of a coverage profile", file, n, s.Text())
		}
		statements, err1 := strconv.Atoi(cols[1])
		count, err2 := strconv.ParseUint(cols[2], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("read %s, line %d: %w", file, n, err)
		}
		b := blocks[cols[0]]
		if b == nil {
			b = &block{statements: statements}
			blocks[cols[0]] = b
		}
		b.hit = b.hit || count > 0
	}
	return s.Err()
}

// generated is the line by which Go tells generated files (go help generate).
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// matters reports whether a file counts for coverage: not generated code, test data, nor what only tests and generators
// run. The main package of a command is wiring of a few lines and is tried by the tests that run the program.
func matters(root, file string) bool {
	for _, out := range []string{"cmd/", "internal/testbroker/", "internal/gate/main.go", "schemas/internal/"} {
		if strings.HasPrefix(file, out) {
			return false
		}
	}
	if strings.Contains("/"+file, "/testdata/") {
		return false
	}
	src, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	if errors.Is(err, fs.ErrNotExist) {
		return false // of a generator's output that is gone
	}
	return err != nil || !generated.Match(src)
}

var moduleLine = regexp.MustCompile(`(?m)^module (\S+)$`)

func moduleName(root string) (string, error) {
	b, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", err
	}
	m := moduleLine.FindSubmatch(b)
	if m == nil {
		return "", errors.New("read go.mod: no module line")
	}
	return string(m[1]), nil
}
