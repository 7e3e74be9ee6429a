package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// An event is one line of go test -json (go doc test2json).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output and build-fail
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string // on the fail of a package: its build failed
}

// counts are the results of tests, subtests included. What failed without a test of its own, a build or a crash of the
// test program, is one failure.
type counts struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.Passed, c.Failed, c.Skipped)
}

// slowest is how many of the slowest tests are named at the end.
const slowest = 5

// A report prints a run as it goes on: the lines of packages, and all that failing tests said.
type report struct {
	out     io.Writer
	n       counts
	said    map[string][]string // by package and test: its output so far
	skips   []string
	slow    []event
	pending map[string]int // by package: tests that failed
}

func tests(args []string, in io.Reader, out io.Writer, flags *flag.FlagSet) error {
	file := flags.String("counts", "", "where the counts go, for gate sum")
	if flags.Parse(args) != nil {
		return errUsage
	}
	r := &report{out: out, said: map[string][]string{}, pending: map[string]int{}}
	if err := r.read(in); err != nil {
		return err
	}
	r.close()
	if *file != "" {
		b, err := json.Marshal(r.n)
		if err == nil {
			err = os.WriteFile(*file, b, 0o644)
		}
		if err != nil {
			return fmt.Errorf("write counts: %w", err)
		}
	}
	if r.n.Passed == 0 && r.n.Failed == 0 {
		fmt.Fprintln(out, "no test ran")
		return errBroken
	}
	if r.n.Failed > 0 {
		return errBroken
	}
	return nil
}

func (r *report) read(in io.Reader) error {
	b := bufio.NewReader(in)
	for {
		line, err := b.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprintf(r.out, "%s", line) // the go command's own words
			} else {
				r.take(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read test results: %w", err)
		}
	}
}

func (r *report) take(e event) {
	id := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		if e.Test == "" && packageLine(e.Output) {
			fmt.Fprint(r.out, e.Output)
			return
		}
		r.said[id] = append(r.said[id], e.Output)
	case "pass", "fail", "skip":
		r.end(e, id)
		delete(r.said, id)
	}
}

// packageLine tells the lines with a package's result from what its tests print.
func packageLine(s string) bool {
	for _, p := range []string{"ok  \t", "FAIL\t", "?   \t", "---\t", "\t"} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

func (r *report) end(e event, id string) {
	if e.Test == "" {
		r.endPackage(e, id)
		return
	}
	r.slow = append(r.slow, e)
	switch e.Action {
	case "pass":
		r.n.Passed++
	case "skip":
		r.n.Skipped++
		r.skips = append(r.skips, e.Package+" "+e.Test+": "+reason(r.said[id]))
	case "fail":
		r.n.Failed++
		r.pending[e.Package]++
		fmt.Fprintf(r.out, "FAILED %s %s (%.1f s)\n%s", e.Package, e.Test, e.Elapsed, strings.Join(r.said[id], ""))
	}
}

func (r *report) endPackage(e event, id string) {
	if e.Action != "fail" || r.pending[e.Package] > 0 {
		return
	}
	r.n.Failed++
	if e.FailedBuild == "" { // else the compiler has spoken
		fmt.Fprint(r.out, r.crash(e.Package))
	}
	fmt.Fprintf(r.out, "FAILED %s: no test of its own says why\n%s", e.Package, strings.Join(r.said[id], ""))
}

// crash returns what the tests that never ended had said: one of them took the test program down.
func (r *report) crash(pkg string) string {
	var b strings.Builder
	for id, lines := range r.said {
		if strings.HasPrefix(id, pkg+" ") && id != pkg+" " {
			fmt.Fprintf(&b, "%s did not end\n%s", id, strings.Join(lines, ""))
		}
	}
	return b.String()
}

// reason finds why a test was skipped: the last line that it logged.
func reason(lines []string) string {
	for _, l := range slices.Backward(lines) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "---") || strings.HasPrefix(l, "===") {
			continue
		}
		if _, text, ok := strings.Cut(l, ".go:"); ok {
			if _, text, ok := strings.Cut(text, ": "); ok {
				return text
			}
		}
		return l
	}
	return "no reason given"
}

func (r *report) close() {
	slices.Sort(r.skips)
	for _, s := range r.skips {
		fmt.Fprintf(r.out, "skipped %s\n", s)
	}
	slices.SortStableFunc(r.slow, func(a, b event) int { return cmp.Compare(b.Elapsed, a.Elapsed) })
	for _, e := range r.slow[:min(slowest, len(r.slow))] {
		if e.Elapsed >= 1 {
			fmt.Fprintf(r.out, "slow %s %s: %.1f s\n", e.Package, e.Test, e.Elapsed)
		}
	}
	fmt.Fprintln(r.out, r.n)
}

func sum(args []string, _ io.Reader, out io.Writer, flags *flag.FlagSet) error {
	if flags.Parse(args) != nil {
		return errUsage
	}
	var n counts
	for _, path := range flags.Args() {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var c counts
		if err := json.Unmarshal(b, &c); err != nil {
			return fmt.Errorf("read counts of %s: %w", path, err)
		}
		n.Passed, n.Failed, n.Skipped = n.Passed+c.Passed, n.Failed+c.Failed, n.Skipped+c.Skipped
	}
	fmt.Fprintln(out, n)
	if n.Failed > 0 || n.Passed == 0 {
		return errBroken
	}
	return nil
}
