package file

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds one line, or one record that is spread over several. An event record is a few kilobytes, a script block
// up to some hundred; what is larger is no event.
const maxLine = 16 << 20

// maxRaw bounds what is kept of a broken line for whoever looks into it.
const maxRaw = 4 << 10

// A BadLine is a line of a recording that could not be read. It is an error.
type BadLine struct {
	File   string
	Line   int64 // from 1
	Offset int64 // byte where the line begins, after decompression
	Err    error
	Raw    []byte // beginning of the line, at most 4 KiB
}

// Error names file, line, byte and cause.
func (b BadLine) Error() string {
	return fmt.Sprintf("read %s: line %d (byte %d): %v", b.File, b.Line, b.Offset, b.Err)
}

// Unwrap returns the cause.
func (b BadLine) Unwrap() error { return b.Err }

// lines cuts a stream into lines and knows where each begins.
type lines struct {
	r      *bufio.Reader
	long   []byte // a line that does not fit into the reader's buffer
	n      int64  // number of the current line, from 1; of a record that is spread over several, of its first
	at     int64  // byte where it begins
	count  int64  // lines read
	end    int64  // bytes read
	pretty bool   // records are spread over several lines, each closed by a line that is only "}"
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 256<<10)} }

var bom = []byte("\xef\xbb\xbf")

// next returns the next line without its end, or the next record; it is valid until the next call. One of more than
// maxLine bytes is passed over and gives a longError. At the end next returns io.EOF.
func (l *lines) next() ([]byte, error) {
	l.n, l.at = l.count+1, l.end
	line, err := l.line()
	if !l.pretty || err != nil || len(line) == 0 {
		return line, err
	}
	return l.record(line)
}

// record collects the lines of the record that begins with line. A record that the end of the input cuts off is returned
// as far as it goes, and is then found to be broken.
func (l *lines) record(line []byte) ([]byte, error) {
	rec, size := bytes.Clone(line), int64(len(line))
	for string(line) != "}" {
		var err error
		if line, err = l.line(); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		if size += int64(len(line)) + 1; size <= maxLine {
			rec = append(append(rec, '\n'), line...)
		}
	}
	if size > maxLine {
		return nil, longError{size}
	}
	return rec, nil
}

func (l *lines) line() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	size := int64(len(line))
	if errors.Is(err, bufio.ErrBufferFull) {
		l.long = append(l.long[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = l.r.ReadSlice('\n')
			size += int64(len(line))
			if len(l.long)+len(line) <= maxLine {
				l.long = append(l.long, line...)
			}
		}
		line = l.long
	}
	first := l.end == 0
	l.end += size
	l.count++
	switch {
	case err != nil && (err != io.EOF || size == 0):
		return nil, err
	case size > maxLine:
		return nil, longError{size}
	case first:
		line = bytes.TrimPrefix(line, bom)
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// longError says how long a line is that was passed over.
type longError struct{ size int64 }

func (e longError) Error() string {
	return fmt.Sprintf("line has %d bytes, more than the %d that are read; passed over", e.size, int64(maxLine))
}

// cut bounds what is kept of a line.
func cut(line []byte) []byte { return bytes.Clone(line[:min(len(line), maxRaw)]) }
