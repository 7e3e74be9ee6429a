package file

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/linkedin/goavro/v2"
)

// A block of a container ends at a number of values, or of their bytes before compression: like the cuts of segments a
// function of the log alone.
const (
	blockValues = 500
	blockBytes  = 1 << 20
)

// A containerSet is the containers of one segment while they are made.
type containerSet struct {
	x    *containers
	dir  string
	at   place
	span span
	open map[string]*container // by schema; the index under the empty name
}

// A container is one Avro object container while it is made, under a temporary name.
type container struct {
	f      *os.File
	w      *goavro.OCFWriter
	block  []any
	bytes  int // in block
	values int64
}

func (s *containerSet) add(f frame) error {
	if schema := f.row["schema"].(string); schema != "" {
		codec, err := s.x.valueCodec(schema)
		if err != nil {
			return err
		}
		v, _, err := codec.NativeFromBinary(f.body)
		if err != nil {
			return fmt.Errorf("read value at offset %d: %w", f.offset, err)
		}
		if err := s.put(schema, codec, v, len(f.body)); err != nil {
			return err
		}
	}
	return s.put("", s.x.index, f.row, len(f.row["value"].([]byte))+64)
}

func (s *containerSet) put(schema string, codec *goavro.Codec, v any, size int) error {
	c := s.open[schema]
	if c == nil {
		var err error
		if c, err = s.create(s.file(schema), codec); err != nil {
			return err
		}
		s.open[schema] = c
	}
	c.block, c.bytes, c.values = append(c.block, v), c.bytes+size, c.values+1
	if len(c.block) >= blockValues || c.bytes >= blockBytes {
		return c.flush()
	}
	return nil
}

func (c *container) flush() error {
	if len(c.block) == 0 {
		return nil
	}
	err := c.w.Append(c.block)
	c.block, c.bytes = c.block[:0], 0
	return err
}

func (s *containerSet) file(schema string) string {
	if schema == "" {
		schema = "index"
	}
	return s.span.String() + "." + schema + ".avro"
}

func (s *containerSet) create(file string, codec *goavro.Codec) (*container, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, file+".tmp"), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	c := &container{f: f}
	if _, err = f.Write(s.header(file, codec)); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err == nil {
		c.w, err = goavro.NewOCFWriter(goavro.OCFConfig{W: f}) // goes on behind the header
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin %s: %w", file, err), f.Close())
	}
	return c, nil
}

// header is the header of a container (Avro 1.12, Object Container Files). goavro would write the metadata in the order of a
// Go map and draw the sync marker by chance; here both are the same for the same segment.
func (s *containerSet) header(file string, codec *goavro.Codec) []byte {
	meta := [][2]string{{"avro.codec", s.x.codec}, {"avro.schema", codec.Schema()}}
	b := binary.AppendVarint([]byte("Obj\x01"), int64(len(meta)))
	for _, kv := range meta {
		for _, text := range kv {
			b = append(binary.AppendVarint(b, int64(len(text))), text...)
		}
	}
	b = append(b, 0)
	sync := sha256.Sum256(fmt.Appendf(nil, "%s/%d/%s", s.at.topic, s.at.number, file))
	return append(b, sync[:16]...)
}

// finish makes the containers durable and gives them their names: those of values sorted, then the index.
func (s *containerSet) finish(step func(string) error) ([]manifestFile, error) {
	names := slices.Sorted(maps.Keys(s.open))
	names = append(names[1:], names[0]) // the index has the empty name
	var files []manifestFile
	for _, schema := range names {
		c := s.open[schema]
		if err := errors.Join(c.flush(), c.f.Sync(), c.f.Close()); err != nil {
			return nil, err
		}
		delete(s.open, schema)
		m := manifestFile{Name: s.file(schema), Schema: schema, Records: c.values}
		var err error
		if m.Bytes, m.SHA256, err = settle(filepath.Join(s.dir, m.Name+".tmp"), filepath.Join(s.dir, m.Name)); err != nil {
			return nil, err
		}
		files = append(files, m)
		if err := step("named"); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// abandon closes what finish did not; the temporary files are removed when the partition is opened again, or overwritten.
func (s *containerSet) abandon() {
	for _, c := range s.open {
		c.f.Close()
	}
}
