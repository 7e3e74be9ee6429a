package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/durable"
)

// A Config says where the archive lies.
type Config struct {
	// Dir is the archive's directory, an absolute path. It belongs to one process.
	Dir string `yaml:"dir"`
	// Immutable gives full segments the immutable attribute, so that not even their owner changes or removes them. It needs
	// Linux, a file system that has the attribute, and CAP_LINUX_IMMUTABLE.
	Immutable bool `yaml:"immutable"`
}

// Validate returns everything that is wrong, each as a *streams.SettingError with the key relative to the sink's.
func (c Config) Validate() error {
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		return &streams.SettingError{Key: "dir", Value: c.Dir, Want: "an absolute path"}
	}
	return nil
}

// segmentRecords is how many records a segment has. An archive may have segments of other lengths, from other versions.
const segmentRecords = 1000

// errAnew is part of errors about records that are not those of the archive.
var errAnew = errors.New("the topic was made anew, or the archive is of another log: seal it in another directory")

// A Sink seals audit records. It implements streams.Resumer.
type Sink struct {
	cfg    Config
	length int // of a segment, records

	mu    sync.Mutex
	lock  io.Closer // nil: closed
	place *place    // what the archive is of; nil while it is empty
	head  head      // of what is on the disk
	told  head      // as the head file has it
	log   *durable.Log
	open  []mark                  // of the open segment
	past  []mark                  // of the full segment that was last looked into
	probe func(step string) error // tests stop the sink here, as a crash would; nil otherwise
}

type place struct {
	topic  string
	number int32
}

type mark struct {
	offset int64
	text   string
}

// New opens an archive, or begins one, and mends what a crash left. An archive that has lost records is an error.
func New(c Config) (*Sink, error) { return newSink(c, segmentRecords, nil) }

func newSink(c Config, length int, probe func(string) error) (_ *Sink, err error) {
	if c.Dir == "" {
		return nil, &streams.SettingError{Key: "dir", Want: "an absolute path"}
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := durable.MakeDirs(c.Dir); err != nil {
		return nil, fmt.Errorf("open audit archive: %w", err)
	}
	s := &Sink{cfg: c, length: length, probe: probe}
	if s.lock, err = streams.LockFile(filepath.Join(c.Dir, lockName)); err != nil {
		return nil, fmt.Errorf("open audit archive: %w", err)
	}
	if c.Immutable {
		if err = tryImmutable(c.Dir); err != nil {
			err = fmt.Errorf("%w: unset immutable, or see its needs", err)
		}
	}
	if err == nil {
		err = s.recover()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open audit archive %s: %w", c.Dir, err), s.Close())
	}
	return s, nil
}

// Resume implements streams.Resumer.
func (s *Sink) Resume(topic string, number int32) (int64, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place == nil || *s.place != (place{topic, number}) {
		return 0, false, nil
	}
	return s.head.Offset + 1, true, nil
}

// Deliver implements streams.Sink. An archive has one chain and so takes one partition: that of its first record.
func (s *Sink) Deliver(ctx context.Context, batch []streams.Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return errors.New("audit sink is closed")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.deliver(batch); err != nil {
		return fmt.Errorf("seal audit records: %w", err)
	}
	return nil
}

func (s *Sink) deliver(batch []streams.Delivery) error {
	for len(batch) > 0 {
		n, err := s.append(batch)
		if err != nil {
			return err
		}
		batch = batch[n:]
	}
	return s.writeHead()
}

// append takes as many records as the open segment has room for, and says how many.
func (s *Sink) append(batch []streams.Delivery) (int, error) {
	if len(s.open) >= s.length {
		if err := s.seal(); err != nil {
			return 0, err
		}
	}
	var text []byte
	var fresh []mark
	h := s.head
	n := 0
	for ; n < len(batch) && len(s.open)+len(fresh) < s.length; n++ {
		d := &batch[n]
		switch known, err := s.knows(d, h, fresh); {
		case err != nil:
			return 0, err
		case known:
			continue
		}
		l, err := encode(d, h.Sequence+1, h.Hash)
		if err != nil {
			return 0, err
		}
		h = head{h.Sequence + 1, d.Offset, hashOf(l)}
		text, fresh = append(append(text, l...), '\n'), append(fresh, mark{d.Offset, markOf(d)})
	}
	return n, s.write(text, fresh, h, place{batch[0].Topic, batch[0].Partition})
}

// write puts lines behind the open segment, or begins one.
func (s *Sink) write(text []byte, fresh []mark, h head, at place) (err error) {
	if len(fresh) == 0 {
		return nil
	}
	if err := s.step("write"); err != nil {
		return err
	}
	if s.log == nil {
		if s.log, err = durable.OpenLog(segmentPath(s.cfg.Dir, s.head.Sequence+1), 0); err != nil {
			return err
		}
	}
	if err := s.log.Append(text); err != nil {
		return err
	}
	s.open, s.head, s.place = append(s.open, fresh...), h, &at
	return s.step("written")
}

// knows says whether the archive has a record already. One that should be in it, but is another, is an error.
func (s *Sink) knows(d *streams.Delivery, h head, fresh []mark) (bool, error) {
	at := place{d.Topic, d.Partition}
	if s.place != nil && *s.place != at {
		return false, fmt.Errorf("archive is of %s/%d, not of %s/%d", s.place.topic, s.place.number, at.topic, at.number)
	}
	if h.Sequence == 0 || d.Offset > h.Offset {
		return false, nil
	}
	was, err := s.find(d.Offset, fresh)
	switch {
	case err != nil:
		return false, err
	case was == "":
		return false, fmt.Errorf("offset %d comes after later ones, but is not in the archive: %w", d.Offset, errAnew)
	case was != markOf(d):
		return false, fmt.Errorf("offset %d is another record than the one in the archive: %w", d.Offset, errAnew)
	}
	return true, nil
}

// find returns the mark of the record at an offset; empty when there is none.
func (s *Sink) find(offset int64, fresh []mark) (string, error) {
	for _, ms := range [][]mark{fresh, s.open, s.past} {
		if m := markAt(ms, offset); m != "" {
			return m, nil
		}
	}
	firsts, err := segments(s.cfg.Dir)
	if err != nil {
		return "", err
	}
	for _, first := range slices.Backward(firsts) {
		ls, _, err := readSegment(segmentPath(s.cfg.Dir, first))
		if err != nil {
			return "", err
		}
		if len(ls) == 0 || ls[0].Offset > offset {
			continue
		}
		s.past = nil
		for _, l := range ls {
			s.past = append(s.past, mark{l.Offset, l.Mark})
		}
		return markAt(s.past, offset), nil
	}
	return "", nil
}

func markAt(ms []mark, offset int64) string {
	i, ok := slices.BinarySearchFunc(ms, offset, func(m mark, o int64) int { return int(min(max(m.offset-o, -1), 1)) })
	if !ok {
		return ""
	}
	return ms[i].text
}

// seal closes the open segment, which is full.
func (s *Sink) seal() error {
	if s.log != nil {
		if err := s.log.Close(); err != nil {
			return err
		}
		s.log = nil
	}
	if err := s.step("seal"); err != nil {
		return err
	}
	first := s.head.Sequence - int64(len(s.open)) + 1
	if err := s.protect(segmentPath(s.cfg.Dir, first)); err != nil {
		return fmt.Errorf("close segment: %w", err)
	}
	s.open = nil
	return s.step("sealed")
}

// protect makes a full segment read-only. It may be so already.
func (s *Sink) protect(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm() != sealedMode {
		if err := os.Chmod(path, sealedMode); err != nil {
			return err
		}
	}
	if s.cfg.Immutable {
		return setImmutable(path, true)
	}
	return nil
}

// sealedMode is for everybody to read: what was done is no secret to who may enter the directory, and nobody's to change.
const sealedMode = 0o444

func (s *Sink) writeHead() error {
	if s.told == s.head {
		return nil
	}
	text, err := s.head.encode()
	if err != nil {
		return err
	}
	if err := s.step("head"); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(s.cfg.Dir, headFile), text, 0o600); err != nil {
		return err
	}
	s.told = s.head
	return s.step("told")
}

func (s *Sink) step(name string) error {
	if s.probe == nil {
		return nil
	}
	return s.probe(name)
}

// Close implements streams.Sink.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	var err error
	if s.log != nil {
		err = s.log.Close()
	}
	err = errors.Join(err, s.lock.Close())
	s.log, s.lock = nil, nil
	return err
}

// readSegment reads the whole lines of a segment; size is where they end.
func readSegment(path string) (ls []line, size int64, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	for {
		i := bytes.IndexByte(text[size:], '\n')
		if i < 0 {
			return ls, size, nil
		}
		var l line
		if err := json.Unmarshal(text[size:size+int64(i)], &l); err != nil {
			return nil, 0, fmt.Errorf("%s: line %d is no record", path, len(ls)+1)
		}
		l.hash = hashOf(text[size : size+int64(i)])
		ls, size = append(ls, l), size+int64(i)+1
	}
}
