package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A Report is what Verify found.
type Report struct {
	Dir      string   `json:"dir"`
	Segments int      `json:"segments"` // files with records
	Records  int64    `json:"records"`
	Head     string   `json:"head"` // hash of the last record: keep it elsewhere
	Torn     int64    `json:"torn_bytes"`
	Problems []string `json:"problems"`
}

// Verify reads an archive from its first record on and checks every link, in segments, between them, and at the head. What
// is wrong is in the report's Problems, each naming file and record; an error means that the archive could not be read.
//
// expectedHead is the hash of a record as it was kept elsewhere, or empty: that record must be there, and as it was, though
// more may have come since. An archive that is being written may be verified: what is behind the head is checked too, and
// a torn last line behind it is what a crash leaves.
func Verify(dir, expectedHead string) (*Report, error) {
	v := &verifier{r: &Report{Dir: dir, Head: zero, Problems: []string{}}, want: expectedHead, found: expectedHead == "" || expectedHead == zero, offset: -1}
	var err error
	v.told, err = readHead(dir) // before the records: they only grow
	switch {
	case errors.Is(err, errHead), errors.Is(err, os.ErrNotExist):
		v.problem("%v", err)
	case err != nil:
		return nil, fmt.Errorf("verify audit archive: %w", err)
	}
	firsts, err := segments(dir)
	if err != nil {
		return nil, fmt.Errorf("verify audit archive: %w", err)
	}
	for i, first := range firsts {
		if err := v.segment(segmentPath(dir, first), first, i == len(firsts)-1); err != nil {
			return nil, fmt.Errorf("verify audit archive: %w", err)
		}
	}
	v.end()
	return v.r, nil
}

type verifier struct {
	r        *Report
	told     head // by the head file; no hash: it cannot be read
	sequence int64
	offset   int64 // both of the last record
	want     string
	found    bool
}

func (v *verifier) problem(f string, args ...any) {
	v.r.Problems = append(v.r.Problems, fmt.Sprintf(f, args...))
}

func (v *verifier) segment(path string, first int64, last bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	name := filepath.Base(path)
	if first != v.sequence+1 {
		v.problem("%s: records %d to %d are missing before it", name, v.sequence+1, first-1)
	}
	if len(text) > 0 {
		v.r.Segments++
	} else if !last {
		v.problem("%s is empty", name)
	}
	for n := 1; len(text) > 0; n++ {
		l, rest, whole := bytes.Cut(text, []byte{'\n'})
		if !whole && last {
			v.r.Torn = int64(len(l)) // the head tells whether it was ever whole
			return nil
		}
		if !whole {
			v.problem("%s: line %d is cut", name, n)
		}
		v.line(fmt.Sprintf("%s: line %d", name, n), l)
		text = rest
	}
	return nil
}

func (v *verifier) line(where string, text []byte) {
	var l line
	err := json.Unmarshal(text, &l)
	switch {
	case err != nil:
		v.problem("%s is no record: it was changed", where)
		l.Sequence, l.Offset = v.sequence+1, v.offset
	case l.Sequence > v.sequence+1:
		v.problem("%s: records %d to %d are missing before it", where, v.sequence+1, l.Sequence-1)
	case l.Sequence <= v.sequence:
		v.problem("%s is record %d, but comes after record %d: it was moved, added or changed", where, l.Sequence, v.sequence)
	case l.Previous != v.r.Head:
		v.problem("%s: record %d does not follow record %d: that one, or this link to it, was changed", where, l.Sequence, v.sequence)
	case l.Offset <= v.offset:
		v.problem("%s: record %d has offset %d after %d", where, l.Sequence, l.Offset, v.offset)
	}
	v.sequence, v.offset, v.r.Head = l.Sequence, l.Offset, hashOf(text)
	if now := (head{v.sequence, v.offset, v.r.Head}); v.sequence == v.told.Sequence && now != v.told {
		v.problem("%s: record %d is not the one that %s names: one of the two was changed", where, v.sequence, headFile)
	}
	v.found = v.found || v.r.Head == v.want
	v.r.Records++
}

// end compares the end of the chain with the head file, and with the head that was kept elsewhere.
func (v *verifier) end() {
	switch {
	case v.told.Sequence > v.sequence:
		v.problem("%s names record %d, but the last one is %d: records were cut off", headFile, v.told.Sequence, v.sequence)
	case v.told.Sequence <= 0 && v.told.Hash != "" && v.told != (head{Hash: zero}):
		v.problem("%s was changed", headFile)
	}
	if !v.found {
		v.problem("no record has the hash %s that was kept elsewhere: records were cut off or made anew", v.want)
	}
}
