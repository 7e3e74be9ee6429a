package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/amoskys/amoskys/schemas"
)

// The formats of recordings.
const (
	Auto    = "auto"    // found out from the content
	Amoskys = "amoskys" // our own events, one JSON object a line
	Sysmon  = "sysmon"  // Windows event logs, one JSON object a line: Sysmon, Security and whatever is with them
	EDR     = "edr"     // a folder with an event graph: nodes.csv and edges.csv
)

// Formats are all formats that Open and Config accept.
var Formats = []string{Auto, Amoskys, Sysmon, EDR}

type format struct {
	name string
	open func(path string, skip skipFunc) (decoder, digest, error)
}

var formats = map[string]format{
	Amoskys: {Amoskys, openOwn},
	Sysmon:  {Sysmon, openWindows},
	EDR:     {EDR, openGraph},
}

// resolve finds the format of a recording and, for a graph named by one of its files, its folder.
func resolve(path, name string) (format, string, error) {
	if f, ok := formats[name]; ok {
		return f, path, nil
	}
	if name != Auto {
		return format{}, "", fmt.Errorf("format %q is not known; known: %s", name, strings.Join(Formats, ", "))
	}
	info, err := os.Stat(path)
	if err != nil {
		return format{}, "", fmt.Errorf("open recording: %w", err)
	}
	if info.IsDir() {
		return formats[EDR], path, nil
	}
	name, err = sniff(path)
	if err != nil {
		return format{}, "", fmt.Errorf("recognise recording %s: %w", path, err)
	}
	if name == EDR {
		path = filepath.Dir(path)
	}
	return formats[name], path, nil
}

// sniffed is how many lines may be broken before a format is given up.
const sniffed = 20

// sniff finds the format by the first line that is of one.
func sniff(path string) (string, error) {
	s, err := openSource(path)
	if err != nil {
		return "", err
	}
	defer s.Close()
	l := newLines(s)
	if l.pretty, err = isPretty(l); err != nil {
		return "", err
	}
	first := ""
	for n := 0; n < sniffed; n++ {
		line, err := l.next()
		if err == io.EOF {
			break
		} else if err != nil && !errors.As(err, new(longError)) {
			return "", err
		}
		switch name := formatOf(line); {
		case name != "":
			return name, nil
		case first == "" && len(line) > 0:
			first = string(line[:min(len(line), 60)])
		}
	}
	switch {
	case first == "":
		return "", errors.New("nothing is in it")
	case first[0] == '[':
		return "", errors.New("it begins with a JSON array; one object a line is read")
	}
	return "", fmt.Errorf("it begins with %q, which is none of: %s", first, strings.Join(Formats[1:], ", "))
}

// isPretty says whether the records are spread over several lines, the first of which holds the opening brace alone.
func isPretty(l *lines) (bool, error) {
	head, err := l.r.Peek(64)
	if err != nil && err != io.EOF {
		return false, err
	}
	if bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")) {
		return false, errors.New("it is UTF-16; UTF-8 is read")
	}
	line, _, more := bytes.Cut(bytes.TrimLeft(bytes.TrimPrefix(head, bom), "\r\n"), []byte("\n"))
	return more && string(bytes.TrimSpace(line)) == "{", nil
}

// formatOf is the format that one line is of, or nothing.
func formatOf(line []byte) string {
	if bytes.HasPrefix(line, []byte("ts_us,")) || bytes.HasPrefix(line, []byte("node,type,")) {
		return EDR
	}
	var w winRecord
	if w.parse(line) == nil {
		return Sysmon
	}
	for m := objectOf(line); m.next(); {
		if k := string(m.key); k == "type" || k == "schema" {
			if schemas.New(text(m.value)) != nil {
				return Amoskys
			}
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lineDecoder reads a file that has one record a line.
type lineDecoder struct {
	*lines
	src  *source
	line func([]byte) (schemas.Event, error)
	seen int64
}

func openOwn(path string, skip skipFunc) (decoder, digest, error) {
	d, err := hashed([]string{path}, func(int, io.Reader) error { return nil })
	if err != nil {
		return nil, d, err
	}
	return openLines(path, d, (&own{skip}).decode)
}

func openWindows(path string, skip skipFunc) (decoder, digest, error) {
	w := &windows{skip: skip}
	d, err := hashed([]string{path}, func(_ int, r io.Reader) (err error) {
		l := newLines(r)
		if l.pretty, err = isPretty(l); err != nil {
			return err
		}
		return w.scan(l)
	})
	if err != nil {
		return nil, d, err
	}
	w.begin(d.boot())
	return openLines(path, d, w.decode)
}

// openLines opens the file for the second pass, and only as much of it as the first pass has read: the identity is that of
// this content, though somebody may be writing on.
func openLines(path string, d digest, decode func([]byte) (schemas.Event, error)) (decoder, digest, error) {
	s, err := openSource(path)
	if err != nil {
		return nil, d, err
	}
	l := newLines(io.LimitReader(s, d.bytes))
	if l.pretty, err = isPretty(l); err != nil {
		s.Close()
		return nil, d, fmt.Errorf("read recording %s: %w", path, err)
	}
	return &lineDecoder{lines: l, src: s, line: decode}, d, nil
}

func (d *lineDecoder) next() (schemas.Event, error) {
	for {
		line, err := d.lines.next()
		if err == nil && len(bytes.TrimSpace(line)) == 0 {
			continue
		} else if err == io.EOF {
			return nil, io.EOF
		}
		d.seen++
		var e schemas.Event
		switch long := (longError{}); {
		case err == nil:
			if e, err = d.line(line); err == nil {
				return e, nil
			}
		case !errors.As(err, &long):
			return nil, err
		}
		return nil, &BadLine{File: d.src.path, Line: d.n, Offset: d.at, Err: err, Raw: cut(line)}
	}
}

func (d *lineDecoder) records() int64                { return d.seen }
func (d *lineDecoder) progress() (done, total int64) { return d.src.done, d.src.size }
func (d *lineDecoder) close()                        { d.src.Close() }
