// Package chain keeps records of one partition in append-only segments of JSON lines, each line with the hash of the one
// before it: a flipped, cut, removed or moved record is found by Verify.
//
// A line is canonical JSON (RFC 8785): {"key":…,"offset":…,"prev":…,"schema":…,"value":…}. prev is the SHA-256, in hex, of
// the line before without its line feed; of the first line ever it is 64 zeros. A segment is closed by the number and size
// of its records, both functions of the log alone, renamed to its first and last offset, made read-only, and never touched
// again. What is not closed yet is in open.part. head holds offset and hash of the last line, so that a cut tail is found.
package chain

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
	"slices"
	"strings"

	"github.com/gowebpki/jcs"
)

// Line is a record.
type Line struct {
	Key    string          `json:"key"`
	Offset int64           `json:"offset"`
	Prev   string          `json:"prev"`
	Schema string          `json:"schema"`
	Value  json.RawMessage `json:"value"`
}

// Zero is the hash before the first line.
var Zero = strings.Repeat("0", 64)

const (
	partFile = "open.part"
	headFile = "head"
	suffix   = ".jsonl"
	maxLine  = 64 << 20 // bytes
)

// Options say when a segment is closed.
type Options struct {
	MaxRecords int   // default 10,000
	MaxBytes   int64 // of lines, default 64 MiB
	// Sealed, if set, is called with the path of each segment that was closed.
	Sealed func(path string) error
}

// A Log is one partition's chain. It is not safe for concurrent use.
type Log struct {
	dir     string
	o       Options
	file    *os.File
	first   int64 // offset of the first record of the open segment
	last    int64 // offset of the last record; -1 for none
	records int
	size    int64
	hash    string
}

// Open opens the chain of a folder, or begins one. A torn tail is cut.
func Open(dir string, o Options) (*Log, error) {
	if o.MaxRecords == 0 {
		o.MaxRecords = 10_000
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
	}
	l := &Log{dir: dir, o: o, last: -1, first: -1, hash: Zero}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := l.recover(); err != nil {
		return nil, fmt.Errorf("open archive %s: %w", dir, err)
	}
	return l, nil
}

// recover finds the end of the chain: of the last closed segment, then of the open one.
func (l *Log) recover() error {
	segs, err := segments(l.dir)
	if err != nil {
		return err
	}
	if len(segs) > 0 {
		text, err := os.ReadFile(filepath.Join(l.dir, segs[len(segs)-1].name))
		if err != nil {
			return err
		}
		lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
		l.hash, l.last = hashOf(lines[len(lines)-1]), segs[len(segs)-1].last
	}
	path := filepath.Join(l.dir, partFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		text, err := readLine(r)
		var line Line
		if err != nil || json.Unmarshal(text, &line) != nil || line.Prev != l.hash || line.Offset <= l.last && l.records > 0 {
			break // the end, or a torn tail: it comes again
		}
		if line.Offset <= l.last { // the segment was closed, but this file was not yet removed
			l.size = 0
			if err := f.Truncate(0); err != nil {
				return errors.Join(err, f.Close())
			}
			break
		}
		l.note(line.Offset, text)
	}
	if err := f.Truncate(l.size); err != nil {
		return errors.Join(err, f.Close())
	}
	if _, err := f.Seek(l.size, io.SeekStart); err != nil {
		return errors.Join(err, f.Close())
	}
	l.file = f
	return nil
}

// readLine reads a whole line, without its line feed.
func readLine(r *bufio.Reader) ([]byte, error) {
	text, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	return text[:len(text)-1], nil
}

func hashOf(line []byte) string {
	h := sha256.Sum256(line)
	return hex.EncodeToString(h[:])
}

func (l *Log) note(offset int64, line []byte) {
	if l.records == 0 {
		l.first = offset
	}
	l.last, l.hash = offset, hashOf(line)
	l.records++
	l.size += int64(len(line)) + 1
}

// Next is the offset after the last record; false when there is none.
func (l *Log) Next() (int64, bool) { return l.last + 1, l.last >= 0 }

// Head is the hash of the last line.
func (l *Log) Head() string { return l.hash }

// Append adds records; those at or before the last offset are passed over. When it returns nil they are safe on disk.
func (l *Log) Append(lines []Line) error {
	for _, x := range lines {
		if x.Offset <= l.last {
			continue
		}
		if err := l.add(x); err != nil {
			return fmt.Errorf("append offset %d to archive %s: %w", x.Offset, l.dir, err)
		}
		if l.records >= l.o.MaxRecords || l.size >= l.o.MaxBytes {
			if err := l.seal(); err != nil {
				return fmt.Errorf("close segment of archive %s: %w", l.dir, err)
			}
		}
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	return l.writeHead()
}

func (l *Log) add(x Line) error {
	x.Prev = l.hash
	text, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if text, err = jcs.Transform(text); err != nil {
		return err
	}
	if _, err := l.file.Write(append(text, '\n')); err != nil {
		// A part may be there: cut it, so that the next attempt begins at a whole line.
		_, serr := l.file.Seek(l.size, io.SeekStart)
		return errors.Join(err, l.file.Truncate(l.size), serr)
	}
	l.note(x.Offset, text)
	return nil
}

// seal closes the open segment: it gets its name and becomes read-only.
func (l *Log) seal() error {
	name := filepath.Join(l.dir, fmt.Sprintf("%020d-%020d%s", l.first, l.last, suffix))
	part := filepath.Join(l.dir, partFile)
	if err := errors.Join(l.file.Sync(), l.file.Chmod(0o444), l.file.Close()); err != nil {
		return err
	}
	if err := errors.Join(os.Rename(part, name), syncDir(l.dir)); err != nil {
		return err
	}
	if l.o.Sealed != nil {
		if err := l.o.Sealed(name); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	l.file, l.records, l.size = f, 0, 0
	return nil
}

func (l *Log) writeHead() error {
	path := filepath.Join(l.dir, headFile)
	if err := os.WriteFile(path+".new", fmt.Appendf(nil, "%d %s\n", l.last, l.hash), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close closes the chain. The open segment stays open for the next time.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file = nil
	return err
}

type segmentName struct {
	name        string
	first, last int64
}

// segments lists the closed segments in order.
func segments(dir string) (out []segmentName, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, n := range names {
		s := segmentName{name: filepath.Base(n)}
		if _, err := fmt.Sscanf(s.name, "%020d-%020d"+suffix, &s.first, &s.last); err == nil {
			out = append(out, s)
		}
	}
	return out, nil
}
