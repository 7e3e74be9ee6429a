package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/durable"
)

// errClosed is returned for what comes after Close.
var errClosed = errors.New("file sink is closed")

// A Sink archives records in files. It implements streams.Resumer.
type Sink struct {
	cfg  Config
	form form

	mu    sync.Mutex
	lock  io.Closer // nil: closed
	open  map[place]*partition
	probe func(step string) error // tests stop the sink here, as a crash would; nil otherwise
}

// A place is one partition of a topic.
type place struct {
	topic  string
	number int32
}

func (p place) dir(root string) string {
	return filepath.Join(root, p.topic, strconv.Itoa(int(p.number)))
}

// lockName is the file that says who has the archive.
const lockName = ".lock"

// New opens an archive, making the directory where there is none. Another process that has it is an error that wraps
// streams.ErrFileLocked; what lies in a partition is looked at when the partition is first used.
func New(c Config) (*Sink, error) {
	if c.Dir == "" {
		return nil, &streams.SettingError{Key: "dir", Want: "an absolute path"}
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	f, err := newForm(c.Format, c.Compression)
	if err != nil {
		return nil, err
	}
	if err := durable.MakeDirs(c.Dir); err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	lock, err := streams.LockFile(filepath.Join(c.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	return &Sink{cfg: c, form: f, lock: lock, open: map[place]*partition{}}, nil
}

// Deliver implements streams.Sink. When it returns nil, the records are on the disk.
func (s *Sink) Deliver(ctx context.Context, batch []streams.Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(batch) > 0 {
		at, n := place{batch[0].Topic, batch[0].Partition}, 1
		for n < len(batch) && batch[n].Topic == at.topic && batch[n].Partition == at.number {
			n++
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := s.partition(at)
		if err != nil {
			return err
		}
		if err := p.deliver(batch[:n]); err != nil {
			return fmt.Errorf("archive %s/%d: %w", at.topic, at.number, err)
		}
		batch = batch[n:]
	}
	return nil
}

// Resume implements streams.Resumer: it tells what lies on the disk, whatever was known before.
func (s *Sink) Resume(topic string, number int32) (int64, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{topic, number}
	if err := s.forget(at); err != nil {
		return 0, false, err
	}
	p, err := s.partition(at)
	if err != nil {
		return 0, false, err
	}
	last, ok := p.last()
	return last + 1, ok, nil
}

// Close implements streams.Sink. Everything is on the disk before.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	var errs []error
	for at := range s.open {
		errs = append(errs, s.forget(at))
	}
	errs = append(errs, s.lock.Close())
	s.lock = nil
	return errors.Join(errs...)
}

func (s *Sink) partition(at place) (*partition, error) {
	if s.lock == nil {
		return nil, errClosed
	}
	if p := s.open[at]; p != nil {
		return p, nil
	}
	p, err := openPartition(s.cfg, s.form, at, s.probe)
	if err != nil {
		return nil, fmt.Errorf("open archive of %s/%d: %w", at.topic, at.number, err)
	}
	s.open[at] = p
	return p, nil
}

func (s *Sink) forget(at place) error {
	p := s.open[at]
	if p == nil {
		return nil
	}
	delete(s.open, at)
	return p.close()
}
