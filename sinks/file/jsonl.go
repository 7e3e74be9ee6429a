package file

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/internal/record"
	"github.com/amoskys/amoskys/streams"
)

// jsonLines is one JSON object a line: the value's own fields, so that the lines of an alert archive are alerts as SOC
// teams know them, and as the last one _record, with where and what the record was.
type jsonLines struct{}

// recordFacts is _record, see docs/formats/archive.md. After it comes check: SHA-256 over all bytes of the line before it,
// first 16 hex digits. So a torn line is told from a sound one, and a changed line can be named.
type recordFacts struct {
	Offset    int64  `json:"offset"`
	Timestamp int64  `json:"timestamp"`
	Key       string `json:"key"`
	Schema    string `json:"schema,omitempty"`
	Trace     string `json:"trace,omitempty"`
	Error     string `json:"error,omitempty"` // why there are no fields
	Value     []byte `json:"value,omitempty"` // as on the topic, in base64, when there are no fields
	Size      int64  `json:"size"`
	Mark      string `json:"mark"`
}

const (
	checkOpen  = `,"check":"`
	checkClose = "\"}}\n"
	checkLen   = 16
	checkTail  = len(checkOpen) + checkLen + len(checkClose)
)

func (jsonLines) name() string { return formatJSONL }

func (jsonLines) append(dst []byte, d *streams.Delivery, e entry) []byte {
	f := recordFacts{Offset: d.Offset, Timestamp: d.Timestamp, Key: d.Key, Schema: d.Schema, Trace: d.Trace, Size: e.size, Mark: hex.EncodeToString(e.mark[:])}
	value, err := fields(d.Value, d.Err)
	if err != nil {
		f.Error, f.Value = err.Error(), d.Raw
	}
	facts, _ := json.Marshal(f) // numbers, texts and bytes: cannot fail
	start := len(dst)
	dst = append(dst, value...)
	if len(value) > 1 {
		dst = append(dst, ',')
	}
	dst = append(dst, `"_record":`...)
	dst = append(dst, facts[:len(facts)-1]...)
	sum := sha256.Sum256(dst[start:])
	dst = append(dst, checkOpen...)
	dst = hex.AppendEncode(dst, sum[:checkLen/2])
	return append(dst, checkClose...)
}

// fields is the JSON object of a value without its closing brace.
func fields(v schemas.Payload, err error) ([]byte, error) {
	if v == nil {
		if err == nil {
			err = errors.New("no value")
		}
		return []byte{'{'}, err
	}
	b, err := record.JSON(v)
	if err != nil {
		return []byte{'{'}, err
	}
	return b[:len(b)-1], nil
}

func (jsonLines) next(r *bufio.Reader) (entry, int64, error) {
	line, err := r.ReadBytes('\n')
	switch {
	case errors.Is(err, io.EOF) && len(line) == 0:
		return entry{}, 0, io.EOF
	case errors.Is(err, io.EOF):
		return entry{}, 0, errTorn
	case err != nil:
		return entry{}, 0, err
	}
	e, err := parseLine(line)
	return e, int64(len(line)), err
}

func parseLine(line []byte) (e entry, err error) {
	n := len(line) - checkTail
	if n < 0 || !bytes.HasPrefix(line[n:], []byte(checkOpen)) || !bytes.HasSuffix(line, []byte(checkClose)) {
		return e, errTorn
	}
	sum := sha256.Sum256(line[:n])
	if hex.EncodeToString(sum[:checkLen/2]) != string(line[n+len(checkOpen):n+len(checkOpen)+checkLen]) {
		return e, errTorn
	}
	var l struct {
		Record recordFacts `json:"_record"`
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return e, errTorn
	}
	m, err := hex.DecodeString(l.Record.Mark)
	if err != nil || len(m) != len(e.mark) {
		return e, errTorn
	}
	return entry{l.Record.Offset, l.Record.Size, mark(m)}, nil
}

func (jsonLines) seal(part, dir string, _ place, s span, step func(string) error) ([]manifestFile, error) {
	f := manifestFile{Name: s.String() + "." + formatJSONL}
	es, _, err := scan(jsonLines{}, part)
	if err != nil {
		return nil, err
	}
	f.Records = int64(len(es))
	f.Bytes, f.SHA256, err = settle(part, filepath.Join(dir, f.Name))
	if err != nil {
		return nil, err
	}
	return []manifestFile{f}, step("named")
}

func (jsonLines) marks(dir string, m *manifest) (map[int64]mark, error) {
	marks := make(map[int64]mark, m.Records)
	for _, f := range m.Files {
		if err := f.check(dir); err != nil {
			return nil, err
		}
		es, _, err := scan(jsonLines{}, filepath.Join(dir, f.Name))
		if err != nil {
			return nil, err
		}
		for _, e := range es {
			marks[e.offset] = e.mark
		}
	}
	return marks, nil
}

func (jsonLines) firstBad(path string) (int, string) {
	f, err := os.Open(path)
	if err != nil {
		return 0, ""
	}
	defer f.Close()
	r, last := bufio.NewReader(f), int64(-1)
	for n := 1; ; n++ {
		e, _, err := jsonLines{}.next(r)
		switch {
		case errors.Is(err, io.EOF):
			return 0, ""
		case err != nil:
			return n, "the line is not as it was written"
		case e.offset <= last:
			return n, fmt.Sprintf("offset %d does not follow %d", e.offset, last)
		}
		last = e.offset
	}
}
