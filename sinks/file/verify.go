package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// A Report says what Verify has looked at.
type Report struct {
	Partitions []PartitionReport `json:"partitions"`
	Segments   int64             `json:"segments"`
	Records    int64             `json:"records"` // in segments and in open segments
	Bytes      int64             `json:"bytes"`   // of the files of segments
}

// A PartitionReport is what Verify found of one partition.
type PartitionReport struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Segments  int64  `json:"segments"`
	Records   int64  `json:"records"`
	Last      int64  `json:"last_offset"`    // of the newest record; -1 for none
	Head      string `json:"head,omitempty"` // hash of the newest manifest: keep it elsewhere
	Open      int64  `json:"open_records"`   // records of the open segment
	Torn      int64  `json:"torn_bytes"`     // behind its last sound record: what a crash left
}

// A Damage is something in an archive that is not as it was written.
type Damage struct {
	File    string
	Record  int // in the file, from 1; 0: not known
	Problem string
}

// Error names the file and the record.
func (d *Damage) Error() string {
	if d.Record > 0 {
		return fmt.Sprintf("%s: record %d: %s", d.File, d.Record, d.Problem)
	}
	return d.File + ": " + d.Problem
}

// Verify reads an archive and checks every hash and the chain of manifests. The error joins the first *Damage of each
// partition. An archive that is being written may be verified: what is not sealed yet is counted as far as it is sound.
func Verify(dir string) (Report, error) {
	var r Report
	var errs []error
	places, err := findPlaces(dir)
	if err != nil {
		return r, err
	}
	for _, at := range places {
		p := PartitionReport{Topic: at.topic, Partition: at.number, Last: -1}
		bytes, err := verifyPartition(at, at.dir(dir), &p)
		errs = append(errs, err)
		r.Partitions = append(r.Partitions, p)
		r.Segments, r.Records, r.Bytes = r.Segments+p.Segments, r.Records+p.Records, r.Bytes+bytes
	}
	return r, errors.Join(errs...)
}

// findPlaces finds the partitions of an archive by its directories, TOPIC/PARTITION.
func findPlaces(dir string) (places []place, err error) {
	topics, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, t := range topics {
		if !t.IsDir() {
			continue
		}
		numbers, err := os.ReadDir(filepath.Join(dir, t.Name()))
		if err != nil {
			return nil, err
		}
		for _, n := range numbers {
			number, err := strconv.ParseInt(n.Name(), 10, 32)
			if err != nil || !n.IsDir() {
				return nil, &Damage{File: filepath.Join(dir, t.Name(), n.Name()), Problem: "is no partition"}
			}
			places = append(places, place{t.Name(), int32(number)})
		}
	}
	return places, nil
}

func verifyPartition(at place, dir string, r *PartitionReport) (bytes int64, err error) {
	names, err := list(dir)
	if err != nil {
		return 0, err
	}
	listed := map[string]bool{}
	for _, n := range names {
		if n.kind != manifestName {
			continue
		}
		m, hash, err := readManifest(dir, at, n.span)
		if err != nil {
			return bytes, err
		}
		if err := follows(filepath.Join(dir, n.file), m, r); err != nil {
			return bytes, err
		}
		b, err := verifySegment(dir, m, listed)
		if err != nil {
			return bytes, err
		}
		r.Segments, r.Records, r.Last, r.Head = r.Segments+1, r.Records+m.Records, m.Last, hash
		bytes += b
	}
	for _, n := range names {
		switch path := filepath.Join(dir, n.file); {
		case n.kind == dataName && !listed[n.file] && n.last <= r.Last, n.kind == otherName:
			return bytes, &Damage{File: path, Problem: "belongs to no manifest"}
		case n.kind == partName && n.first > r.Last:
			if err := verifyPart(n, path, r); err != nil {
				return bytes, err
			}
		}
	}
	return bytes, nil
}

// follows checks that a segment comes right behind the one before.
func follows(path string, m *manifest, r *PartitionReport) error {
	switch {
	case r.Segments == 0 && m.Previous != "":
		return &Damage{File: path, Problem: "is not the first of its chain: segments before it are missing"}
	case m.Previous != r.Head:
		return &Damage{File: path, Problem: fmt.Sprintf("does not follow the manifest up to offset %d: segments between them are missing, or were changed", r.Last)}
	case m.First <= r.Last:
		return &Damage{File: path, Problem: fmt.Sprintf("overlaps with the segment up to offset %d", r.Last)}
	}
	return nil
}

func verifySegment(dir string, m *manifest, listed map[string]bool) (bytes int64, err error) {
	f, err := newForm(m.Format, "none")
	if err != nil {
		return 0, &Damage{File: filepath.Join(dir, m.name()), Problem: err.Error()}
	}
	for _, x := range m.Files {
		if err := x.check(dir); err != nil {
			if d := (*Damage)(nil); errors.As(err, &d) {
				if n, problem := f.firstBad(d.File); n > 0 {
					d.Record, d.Problem = n, problem+"; the file "+d.Problem
				}
			}
			return bytes, err
		}
		listed[x.Name] = true
		bytes += x.Bytes
	}
	if !slices.ContainsFunc(m.Files, func(x manifestFile) bool { return x.Records == m.Records }) {
		return bytes, &Damage{File: filepath.Join(dir, m.name()), Problem: "does not add up"}
	}
	return bytes, nil
}

func verifyPart(n name, path string, r *PartitionReport) error {
	f, err := newForm(n.format, "none")
	if err != nil {
		return err
	}
	es, size, err := scan(f, path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	r.Open, r.Torn = int64(len(es)), info.Size()-size
	r.Records += r.Open
	if len(es) > 0 {
		r.Last = es[len(es)-1].offset
	}
	return nil
}
