package file

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// A span is the offsets of the first and last record of a segment.
type span struct{ first, last int64 }

func (s span) String() string { return fmt.Sprintf("%020d-%020d", s.first, s.last) }

// A manifest describes one segment. The hash of its file, SHA-256 over all bytes, is the Previous of the next one.
type manifest struct {
	Version   int            `json:"version"` // of this layout: 1
	Topic     string         `json:"topic"`
	Partition int32          `json:"partition"`
	Format    string         `json:"format"`
	First     int64          `json:"first_offset"`
	Last      int64          `json:"last_offset"`
	Records   int64          `json:"records"`
	Bytes     int64          `json:"bytes"`    // of keys and values, as on the topic
	Previous  string         `json:"previous"` // hash of the manifest before, hex; empty for the first
	Files     []manifestFile `json:"files"`
}

type manifestFile struct {
	Name    string `json:"name"`
	Schema  string `json:"schema,omitempty"` // of an Avro container of values
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"` // length of the file
	SHA256  string `json:"sha256"`
}

const (
	manifestVersion = 1
	manifestSuffix  = ".sha256.json"
	// Archives are personal data: for the owner and the group of a shipper, and for nobody to change.
	sealedMode = 0o440
)

func (m *manifest) span() span   { return span{m.First, m.Last} }
func (m *manifest) name() string { return m.span().String() + manifestSuffix }

func (m *manifest) encode() ([]byte, error) {
	b, err := json.Marshal(m)
	return append(b, '\n'), err
}

func hashOf(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }

// readManifest returns a manifest and its hash. Its name, place and span are checked, the files are not.
func readManifest(dir string, at place, s span) (*manifest, string, error) {
	path := filepath.Join(dir, s.String()+manifestSuffix)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	m := new(manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, "", &Damage{File: path, Problem: "is no manifest: " + err.Error()}
	}
	again, err := m.encode()
	switch {
	case err != nil:
		return nil, "", err
	case string(again) != string(b):
		return nil, "", &Damage{File: path, Problem: "is not as it was written"}
	case m.Version != manifestVersion:
		return nil, "", &Damage{File: path, Problem: fmt.Sprintf("has version %d, want %d", m.Version, manifestVersion)}
	case m.span() != s:
		return nil, "", &Damage{File: path, Problem: "is about offsets " + m.span().String()}
	case m.Topic != at.topic || m.Partition != at.number:
		return nil, "", &Damage{File: path, Problem: fmt.Sprintf("is about %s/%d", m.Topic, m.Partition)}
	}
	return m, hashOf(b), nil
}

// check compares a file with what the manifest says of it.
func (f *manifestFile) check(dir string) error {
	path := filepath.Join(dir, f.Name)
	size, sum, err := hashFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &Damage{File: path, Problem: "is missing"}
	case err != nil:
		return err
	case size != f.Bytes:
		return &Damage{File: path, Problem: fmt.Sprintf("has %d bytes, want %d", size, f.Bytes)}
	case sum != f.SHA256:
		return &Damage{File: path, Problem: "has another content: SHA-256 " + sum + ", want " + f.SHA256}
	}
	return nil
}

func hashFile(path string) (size int64, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		return 0, "", err
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}

// What a name in the directory of a partition is.
type nameKind int

const (
	otherName    nameKind = iota
	manifestName          // FIRST-LAST.sha256.json
	dataName              // FIRST-LAST.jsonl, FIRST-LAST.NAME.avro
	partName              // FIRST.jsonl.part, FIRST.avro.part
	tempName              // on its way to another name
	tornName              // kept aside, see partition.keepTorn
)

var (
	segmentForm = regexp.MustCompile(`^(\d{20})-(\d{20})\.(sha256\.json|jsonl|[A-Za-z_.]+\.avro)$`)
	partForm    = regexp.MustCompile(`^(\d{20})\.(jsonl|avro)\.part$`)
	tempForm    = regexp.MustCompile(`\.tmp$`)
	tornForm    = regexp.MustCompile(`\.torn$`)
)

// A name is one parsed name; a part has no last.
type name struct {
	kind nameKind
	file string
	span
	format string // of data and parts
}

func parseName(file string) name {
	n := name{file: file}
	switch {
	case tempForm.MatchString(file):
		n.kind = tempName
		return n
	case tornForm.MatchString(file):
		n.kind = tornName
		return n
	}
	if m := partForm.FindStringSubmatch(file); m != nil {
		first, err := strconv.ParseInt(m[1], 10, 64)
		if err == nil {
			n.kind, n.span, n.format = partName, span{first, -1}, m[2]
		}
		return n
	}
	m := segmentForm.FindStringSubmatch(file)
	if m == nil {
		return n
	}
	first, err1 := strconv.ParseInt(m[1], 10, 64)
	last, err2 := strconv.ParseInt(m[2], 10, 64)
	if err1 != nil || err2 != nil || last < first {
		return n
	}
	n.kind, n.span, n.format = dataName, span{first, last}, formatAvro
	switch m[3] {
	case "sha256.json":
		n.kind, n.format = manifestName, ""
	case formatJSONL:
		n.format = formatJSONL
	}
	return n
}

// list reads the directory of a partition, sorted by offsets.
func list(dir string) ([]name, error) {
	es, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	ns := make([]name, 0, len(es))
	for _, e := range es {
		ns = append(ns, parseName(e.Name()))
	}
	slices.SortStableFunc(ns, func(a, b name) int { return cmp.Compare(a.first, b.first) })
	return ns, nil
}
