package lint

import (
	"fmt"
	"slices"
	"strings"
)

// dependencies checks who imports whom within the module.
func dependencies(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		for _, i := range f.Imports {
			to, ours := strings.CutPrefix(i.Path, t.Module+"/")
			if !ours {
				continue
			}
			if why := forbidden(f.Dir, to, f.Test); why != "" {
				fs = append(fs, Finding{f.Path, i.Line, fmt.Sprintf("imports %s: %s", to, why)})
			}
		}
	}
	return fs
}

// forbidden says why a package must not import another; empty if it may.
func forbidden(from, to string, test bool) string {
	switch {
	case in(to, "cmd"), in(to, "integration"):
		return "nothing imports a program or the integration tests"
	case in(from, "integration"), in(from, to): // its own parent, as tests of a sub-package do
		return ""
	case in(to, "internal/cli") && !in(from, "cmd"):
		return "only cmd imports the command line"
	case in(from, "cmd") && !in(to, "internal/cli"):
		return "cmd imports internal/cli and nothing else"
	case in(from, "schemas") && !in(to, "schemas"):
		return "schemas is a leaf"
	case in(from, "streams") && !inAny(to, "streams", "schemas"):
		if test && in(to, "internal/testbroker") {
			return ""
		}
		return "streams imports schemas and nothing else of ours"
	}
	for _, family := range families {
		switch {
		case in(from, family):
			return forbiddenInFamily(family, from, to, test)
		case in(to, family) && !in(from, "internal") && !(test && slices.Contains(families, from)):
			return "plug-ins are wired by internal/cli"
		}
	}
	return ""
}

// forbiddenInFamily holds for what is below one family.
func forbiddenInFamily(family, from, to string, test bool) string {
	switch {
	case inAny(to, "streams", "schemas"):
		return ""
	case from == family && in(to, family): // its list
		return ""
	case in(to, family+"/internal"):
		return ""
	case test && in(to, "internal/testbroker"):
		return ""
	case test && from == family && !in(to, "internal/cli"): // tests of a whole family take their input where it comes from
		return ""
	}
	if plugin := plugin(from); plugin != "" && in(to, plugin) {
		return ""
	}
	if in(to, family) {
		return "plug-ins of a family do not know each other"
	}
	return "a plug-in imports streams, schemas and its own packages"
}

// plugin is the directory of the plug-in that a package belongs to; empty for the list of a family.
func plugin(dir string) string {
	parts := strings.Split(dir, "/")
	if len(parts) < 2 {
		return ""
	}
	return strings.Join(parts[:2], "/")
}

func kafka(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		if inAny(f.Dir, "streams", "integration", "internal/testbroker") { // the engine; and tests that look at brokers from outside
			continue
		}
		for _, i := range f.Imports {
			if in(i.Path, "github.com/twmb/franz-go") {
				fs = append(fs, Finding{f.Path, i.Line, "imports " + i.Path})
			}
		}
	}
	return fs
}

// testOnly are packages that are imported by tests alone, and by what is made for tests itself.
var testOnly = []string{"streams/streamstest", "internal/testbroker", "internal/lint", "sinks/internal/sinktest"}

func testPackages(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		if f.Test || inAny(f.Dir, append([]string{"integration"}, testOnly...)...) {
			continue
		}
		for _, i := range f.Imports {
			to := strings.TrimPrefix(i.Path, t.Module+"/")
			if inAny(to, testOnly...) || slices.Contains([]string{"testing", "net/http/httptest", "testing/fstest"}, i.Path) {
				fs = append(fs, Finding{f.Path, i.Line, "imports " + i.Path + ", and is no test"})
			}
		}
	}
	return fs
}

func bannedImports(t *Tree) (fs []Finding) {
	for _, f := range t.Go {
		for _, i := range f.Imports {
			if in(i.Path, "github.com/stretchr/testify") {
				fs = append(fs, Finding{f.Path, i.Line, "imports " + i.Path})
			}
		}
	}
	return fs
}
