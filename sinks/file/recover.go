package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/amoskys/amoskys/streams/durable"
)

// openPartition finds out what is in an archive, and mends what a crash left.
func openPartition(c Config, f form, at place, probe func(string) error) (*partition, error) {
	p := &partition{cfg: c, form: f, at: at, dir: at.dir(c.Dir), probe: probe}
	if err := durable.MakeDirs(p.dir); err != nil {
		return nil, err
	}
	names, err := list(p.dir)
	if err != nil {
		return nil, err
	}
	if err := p.openSealed(names); err != nil {
		return nil, err
	}
	parts, err := p.tidy(names)
	if err != nil {
		return nil, err
	}
	switch {
	case len(parts) > 1:
		return nil, fmt.Errorf("%s and %s are both open segments", parts[0].file, parts[1].file)
	case len(parts) == 1:
		return p, p.openPart(parts[0])
	}
	return p, nil
}

// openSealed reads which segments there are. Of their content only the newest manifest is looked at: Verify does the rest.
func (p *partition) openSealed(names []name) error {
	for _, n := range names {
		if n.kind != manifestName {
			continue
		}
		if k := len(p.sealed); k > 0 && p.sealed[k-1].last >= n.first {
			return &Damage{File: filepath.Join(p.dir, n.file), Problem: "overlaps with segment " + p.sealed[k-1].String()}
		}
		p.sealed = append(p.sealed, n.span)
	}
	if len(p.sealed) == 0 {
		return nil
	}
	m, hash, err := readManifest(p.dir, p.at, p.sealed[len(p.sealed)-1])
	if err != nil {
		return err
	}
	for _, f := range m.Files {
		if _, err := os.Stat(filepath.Join(p.dir, f.Name)); err != nil {
			return fmt.Errorf("segment %s: %w", m.span(), err)
		}
	}
	p.head = hash
	return nil
}

// tidy brings a seal that a crash interrupted back to its start, or to its end: the manifest decides. It returns the open
// segments.
func (p *partition) tidy(names []name) ([]name, error) {
	var parts []name
	byFirst := map[int64]bool{}
	sealed := map[span]bool{}
	for _, s := range p.sealed {
		sealed[s] = true
	}
	for _, n := range names {
		path := filepath.Join(p.dir, n.file)
		switch {
		case n.kind == tempName:
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		case n.kind == partName && p.isSealed(n.first): // its segment has a manifest
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		case n.kind == partName:
			parts, byFirst[n.first] = append(parts, n), true
		}
	}
	for _, n := range names {
		if n.kind != dataName || sealed[n.span] {
			continue
		}
		path := filepath.Join(p.dir, n.file)
		switch {
		case byFirst[n.first]: // can be made again
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		case n.format == formatJSONL && !p.isSealed(n.first) && len(parts) == 0:
			part := name{kind: partName, file: fmt.Sprintf("%020d.%s.part", n.first, formatJSONL), span: span{n.first, -1}, format: formatJSONL}
			if err := durable.Rename(path, filepath.Join(p.dir, part.file)); err != nil {
				return nil, err
			}
			parts = append(parts, part)
		default:
			return nil, &Damage{File: path, Problem: "has no manifest"}
		}
	}
	return parts, durable.SyncDir(p.dir)
}

func (p *partition) isSealed(first int64) bool {
	for _, s := range p.sealed {
		if s.first == first {
			return true
		}
	}
	return false
}

func (p *partition) openPart(n name) error {
	path := filepath.Join(p.dir, n.file)
	if n.format != p.form.name() {
		return fmt.Errorf("%s is an open segment in format %s: archive in that format, or to another directory", path, n.format)
	}
	es, size, err := scan(p.form, path)
	if err != nil {
		return err
	}
	if len(es) > 0 && es[0].offset != n.first {
		return &Damage{File: path, Record: 1, Problem: fmt.Sprintf("has offset %d", es[0].offset)}
	}
	if last, ok := p.last(); ok && last >= n.first {
		return &Damage{File: path, Problem: "overlaps with segment " + p.sealed[len(p.sealed)-1].String()}
	}
	if err := keepTorn(path, size); err != nil {
		return err
	}
	if len(es) == 0 { // the next record may have another offset than the name says
		return errors.Join(os.Remove(path), durable.SyncDir(p.dir))
	}
	if err := p.openLog(path, size); err != nil {
		return err
	}
	p.take(es)
	return nil
}
