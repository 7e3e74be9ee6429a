package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/internal/record"
	"github.com/amoskys/amoskys/streams"
	"github.com/gowebpki/jcs"
)

// A line is one record of the archive. Its hash is SHA-256 over its bytes without the line feed.
type line struct {
	Sequence  int64  `json:"sequence"` // from 1, without gaps
	Previous  string `json:"previous"` // hash of the line before
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Timestamp int64  `json:"timestamp"` // of the record, milliseconds
	Key       string `json:"key"`
	Schema    string `json:"schema"`
	Mark      string `json:"mark"` // record.Mark, hex
	Record    *facts `json:"record,omitempty"`
	Value     []byte `json:"value,omitempty"` // instead of record: what could not be decoded, as on the topic
	Error     string `json:"error,omitempty"` // and why

	hash string // of a line that was read
}

// facts are an audit record in JSON. Time is a text: nanoseconds are more than a number of RFC 8785 can hold.
type facts struct {
	ID         string `json:"id"`
	Time       string `json:"time"` // RFC 3339, UTC
	Actor      string `json:"actor"`
	Action     string `json:"action"`
	Object     string `json:"object"`
	Outcome    string `json:"outcome"`
	Version    string `json:"version"`
	ConfigHash string `json:"config_hash"`
	Detail     string `json:"detail"` // canonical JSON, as a text
}

// zero is the hash before the first line.
var zero = strings.Repeat("0", 2*sha256.Size)

func hashOf(text []byte) string {
	h := sha256.Sum256(text)
	return hex.EncodeToString(h[:])
}

func markOf(d *streams.Delivery) string {
	m := record.Mark(d)
	return hex.EncodeToString(m[:])
}

// encode is the line of a record, without the line feed.
func encode(d *streams.Delivery, sequence int64, previous string) ([]byte, error) {
	l := line{Sequence: sequence, Previous: previous, Topic: d.Topic, Partition: d.Partition, Offset: d.Offset, Timestamp: d.Timestamp, Key: d.Key,
		Schema: d.Schema, Mark: markOf(d)}
	switch r, ok := d.Value.(*schemas.AuditRecord); {
	case ok:
		l.Record = &facts{r.ID, schemas.Time(r.Time), r.Actor, r.Action, r.Object, r.Outcome, r.Version, r.ConfigHash, r.Detail}
	case d.Err != nil:
		l.Value, l.Error = d.Raw, d.Err.Error()
	default:
		l.Value, l.Error = d.Raw, "not an audit record"
	}
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	return jcs.Transform(text)
}

// A head is what the archive ends with.
type head struct {
	Sequence int64  `json:"sequence"` // 0: no record yet
	Offset   int64  `json:"offset"`
	Hash     string `json:"hash"`
}

const (
	headFile = "head.json"
	lockName = ".lock"
)

func (h head) encode() ([]byte, error) {
	text, err := json.Marshal(h)
	if err == nil {
		text, err = jcs.Transform(text)
	}
	return append(text, '\n'), err
}

var errHead = errors.New("is not as it was written")

func readHead(dir string) (h head, err error) {
	path := filepath.Join(dir, headFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return h, fmt.Errorf("%s %w", path, errHead)
	}
	if again, err := h.encode(); err != nil || string(again) != string(text) {
		return h, fmt.Errorf("%s %w", path, errHead)
	}
	return h, nil
}

var segmentForm = regexp.MustCompile(`^(\d{20})\.jsonl$`)

// segments are the sequences that the segments of an archive begin with, ascending.
func segments(dir string) (firsts []int64, err error) {
	es, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	for _, e := range es {
		m := segmentForm.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is no sequence", filepath.Join(dir, e.Name()))
		}
		firsts = append(firsts, n)
	}
	return firsts, nil
}

func segmentPath(dir string, first int64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d.jsonl", first))
}
