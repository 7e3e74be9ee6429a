package file

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/amoskys/amoskys/streams"
)

// errTorn is returned for what is not a whole, sound record: the end of the open segment, torn by a crash.
var errTorn = errors.New("not a whole record")

// A form is how records lie in segments.
type form interface {
	// name is jsonl or avro.
	name() string
	// append appends a record as it lies in the open segment. It takes every record: what cannot be decoded, or has no
	// form, is kept as the bytes that were on the topic.
	append(dst []byte, d *streams.Delivery, e entry) []byte
	// next reads a record of an open segment and says how long it is: io.EOF at the end, errTorn for what is not sound.
	next(r *bufio.Reader) (entry, int64, error)
	// seal makes the files of a segment of the open one, durable and with their names. part may be one of them.
	seal(part, dir string, at place, s span, step func(string) error) ([]manifestFile, error)
	// marks reads the marks of a segment's records.
	marks(dir string, m *manifest) (map[int64]mark, error)
	// firstBad finds the first record of a file that is not sound, counted from 1, and what is wrong; 0 for none.
	firstBad(path string) (int, string)
}

func newForm(format, compression string) (form, error) {
	switch format {
	case formatJSONL:
		return jsonLines{}, nil
	case formatAvro:
		return newContainers(compression)
	}
	return nil, fmt.Errorf("format %q is not known", format)
}
