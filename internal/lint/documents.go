package lint

import (
	"path"
	"regexp"
	"strings"
)

var (
	markdownLink = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	quotedPath   = regexp.MustCompile("`([\\w./{},*-]+)`")
	quotedFile   = regexp.MustCompile("^`[^`]+`:$") // the name of the block below it
)

// documentPaths finds links of Markdown files, and paths in them that are quoted as code, which lead nowhere. A path counts
// if it begins with a directory of the tree; in tables also one that follows another in the same cell and is a name only,
// which then lies beside it.
func documentPaths(t *Tree) (fs []Finding) {
	there := known(t)
	for _, x := range t.Text {
		if path.Ext(x.Path) != ".md" || inData(x.Path) {
			continue
		}
		n := 0
		for line := range strings.Lines(x.Content) {
			n++
			for _, m := range markdownLink.FindAllStringSubmatch(line, -1) {
				to, _, _ := strings.Cut(m[1], "#")
				if to != "" && !strings.Contains(to, ":") && !there[path.Join(path.Dir(x.Path), to)] {
					fs = append(fs, Finding{x.Path, n, "links to " + to + ", which is not there"})
				}
			}
			if quotedFile.MatchString(strings.TrimSpace(line)) {
				continue
			}
			for _, p := range quoted(t, line, there) {
				fs = append(fs, Finding{x.Path, n, "names " + p + ", which is not there"})
			}
		}
	}
	return fs
}

// quoted are the paths that a line names and that are not there.
func quoted(t *Tree, line string, there map[string]bool) (missing []string) {
	cell := line
	if strings.HasPrefix(line, "|") {
		cell, _, _ = strings.Cut(line[1:], "|")
	}
	dir := "" // of the path before, within the first cell
	for _, m := range quotedPath.FindAllStringSubmatchIndex(line, -1) {
		p := line[m[2]:m[3]]
		inCell := len(cell) < len(line) && m[3] <= len(cell)+1
		switch first, _, _ := strings.Cut(p, "/"); {
		case strings.Contains(p, "/") && there[first]:
			if dir = path.Dir(p); strings.HasSuffix(p, "/") { // what follows a directory is no file beside it
				dir = ""
			}
		case dir != "" && inCell && !strings.Contains(p, "/") && strings.Contains(p, "."):
			p = path.Join(dir, p)
		default:
			continue
		}
		for _, one := range alternatives(strings.TrimSuffix(p, "/")) {
			if !there[one] && !matchesAny(one, t) {
				missing = append(missing, one)
			}
		}
	}
	return missing
}

// known are all files and directories of the tree.
func known(t *Tree) map[string]bool {
	there := map[string]bool{}
	for _, x := range t.Text {
		for p := x.Path; p != "."; p = path.Dir(p) {
			there[p] = true
		}
	}
	return there
}

// alternatives writes out what is in braces.
func alternatives(p string) []string {
	before, rest, ok := strings.Cut(p, "{")
	inside, after, closed := strings.Cut(rest, "}")
	if !ok || !closed {
		return []string{p}
	}
	var all []string
	for one := range strings.SplitSeq(inside, ",") {
		all = append(all, before+one+after)
	}
	return all
}

func matchesAny(pattern string, t *Tree) bool {
	if !strings.Contains(pattern, "*") {
		return false
	}
	for _, x := range t.Text {
		if ok, err := path.Match(pattern, x.Path); ok && err == nil {
			return true
		}
	}
	return false
}
