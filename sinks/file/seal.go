package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/amoskys/amoskys/streams/durable"
)

// seal closes the open segment: its files get their names, then the manifest is written, and then the open segment is
// gone. A crash before the manifest brings the open segment back, see tidy.
func (p *partition) seal() error {
	s := span{p.open[0].offset, p.open[len(p.open)-1].offset}
	part := p.part(s.first)
	if err := p.close(); err != nil {
		return err
	}
	m, err := p.sealFiles(part, s)
	if err != nil {
		return errors.Join(fmt.Errorf("seal segment %s: %w", s, err), p.reopen(part))
	}
	p.sealed, p.head = append(p.sealed, s), m
	p.open, p.bytes, p.log = nil, 0, nil
	return nil
}

// reopen goes on with the open segment after a seal that failed. A segment whose files have their names already is brought
// back by opening the partition again.
func (p *partition) reopen(part string) error {
	if info, err := os.Stat(part); err == nil {
		return p.openLog(part, info.Size())
	}
	q, err := openPartition(p.cfg, p.form, p.at, p.probe)
	if err != nil {
		return err
	}
	*p = *q
	return nil
}

// sealFiles returns the hash of the manifest.
func (p *partition) sealFiles(part string, s span) (string, error) {
	if err := p.step("seal"); err != nil {
		return "", err
	}
	files, err := p.form.seal(part, p.dir, p.at, s, p.step)
	if err != nil {
		return "", err
	}
	m := &manifest{Version: manifestVersion, Topic: p.at.topic, Partition: p.at.number, Format: p.form.name(), First: s.first, Last: s.last,
		Records: int64(len(p.open)), Bytes: p.bytes, Previous: p.head, Files: files}
	b, err := m.encode()
	if err != nil {
		return "", err
	}
	if err := p.step("manifest"); err != nil {
		return "", err
	}
	if err := durable.WriteFile(filepath.Join(p.dir, m.name()), b, sealedMode); err != nil {
		return "", err
	}
	// The segment is sealed from here on: what fails now is mended when the partition is opened the next time.
	if p.step("sealed") == nil {
		_ = os.Remove(part)
	}
	return hashOf(b), nil
}

// settle gives a finished file its name. A file that has the name already is left if it is equal, and an error if not.
func settle(from, to string) (size int64, sum string, err error) {
	if size, sum, err = hashFile(from); err != nil {
		return 0, "", err
	}
	_, there, err := hashFile(to)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return size, sum, errors.Join(os.Chmod(from, sealedMode), durable.Rename(from, to))
	case err != nil:
		return 0, "", err
	case there != sum:
		return 0, "", &Damage{File: to, Problem: "is there already, with another content: SHA-256 " + there + ", want " + sum}
	}
	return size, sum, errors.Join(os.Remove(from), durable.SyncDir(filepath.Dir(to)))
}
