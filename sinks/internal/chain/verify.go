package chain

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A Report is what Verify found.
type Report struct {
	Dir      string   `json:"dir"`
	Segments int      `json:"segments"` // closed ones
	Records  int64    `json:"records"`
	Head     string   `json:"head"` // hash of the last line
	Problems []string `json:"problems"`
}

// Verify reads a chain from its first line and checks every link: within segments, between them, and at the head. head,
// if not empty, is a hash that was kept elsewhere: the last line must have it, or one of the lines must, if the chain has
// grown since. Without it, somebody who rewrites everything, head included, is not found.
func Verify(dir, head string) (*Report, error) {
	r := &Report{Dir: dir, Head: Zero}
	segs, err := segments(dir)
	if err != nil {
		return nil, err
	}
	v := &verifier{r: r, prev: Zero, last: -1, want: head, found: head == "" || head == Zero}
	for _, s := range segs {
		first, last, err := v.file(filepath.Join(dir, s.name), false)
		if err != nil {
			return nil, err
		}
		r.Segments++
		if first != s.first || last != s.last {
			v.problem("%s holds offsets %d to %d, not those of its name", s.name, first, last)
		}
	}
	if _, _, err := v.file(filepath.Join(dir, partFile), true); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	r.Head = v.prev
	v.head(dir)
	if !v.found {
		v.problem("no record has the hash %s that was kept elsewhere: records were cut off or replaced", head)
	}
	return r, nil
}

type verifier struct {
	r     *Report
	prev  string
	last  int64
	want  string
	found bool
}

func (v *verifier) problem(f string, a ...any) {
	v.r.Problems = append(v.r.Problems, fmt.Sprintf(f, a...))
}

// file checks one file of lines. In the open one the last line may be torn.
func (v *verifier) file(path string, open bool) (first, last int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	name := filepath.Base(path)
	r := bufio.NewReaderSize(f, 1<<20)
	first, last = -1, -1
	for n := 1; ; n++ {
		text, err := readLine(r)
		if errors.Is(err, io.EOF) {
			if !open && r.Buffered() > 0 {
				v.problem("%s line %d is cut", name, n)
			}
			return first, last, v.tail(f, name, open)
		}
		if err != nil {
			return first, last, err
		}
		var x Line
		if err := json.Unmarshal(text, &x); err != nil {
			v.problem("%s line %d is no record: it was changed", name, n)
		}
		if x.Prev != v.prev {
			v.problem("%s line %d (offset %d) does not follow the line before it: one of the two was changed, or records between them are missing", name, n, x.Offset)
		}
		if x.Offset <= v.last {
			v.problem("%s line %d: offset %d after %d", name, n, x.Offset, v.last)
		}
		v.prev, v.last = hashOf(text), x.Offset
		if first < 0 {
			first = x.Offset
		}
		last = x.Offset
		v.found = v.found || v.prev == v.want
		v.r.Records++
	}
}

// tail checks that a closed file ends with a whole line.
func (v *verifier) tail(f *os.File, name string, open bool) error {
	i, err := f.Stat()
	if err != nil || i.Size() == 0 {
		return err
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, i.Size()-1); err != nil {
		return err
	}
	if b[0] != '\n' && !open {
		v.problem("%s ends in the middle of a line: it was cut", name)
	}
	return nil
}

// head compares the end of the chain with the head file.
func (v *verifier) head(dir string) {
	text, err := os.ReadFile(filepath.Join(dir, headFile))
	if err != nil {
		if v.r.Records > 0 {
			v.problem("head is missing: %v", err)
		}
		return
	}
	var offset int64
	var hash string
	if _, err := fmt.Sscanf(string(text), "%d %s", &offset, &hash); err != nil || len(hash) != 64 {
		v.problem("head is not readable: it was changed")
		return
	}
	if offset > v.last || offset == v.last && hash != v.prev {
		v.problem("head says offset %d with hash %.16s…, the last record is offset %d with hash %.16s…: records were cut off or changed", offset, hash, v.last, v.prev)
	}
}

// Lines calls f for each record of a closed segment.
func Lines(path string, f func(Line) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	s.Buffer(make([]byte, 1<<20), maxLine)
	for s.Scan() {
		var x Line
		if err := json.Unmarshal(s.Bytes(), &x); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if err := f(x); err != nil {
			return err
		}
	}
	return s.Err()
}
