package file

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/linkedin/goavro/v2"
)

// containers is one Avro object container for each schema in a segment, and one, the index, with a row for each record.
// They are written with goavro: values that our own codec encoded are read by another implementation before they are kept.
type containers struct {
	codec  string // of blocks: null or snappy
	index  *goavro.Codec
	codecs map[string]*goavro.Codec // of values, by schema name
}

// indexSchema is what records have besides their values. The row of a record whose value is in no container has it as it
// was on the topic.
const indexSchema = `{"type":"record","name":"ArchiveIndex","namespace":"amoskys","doc":"Records of a segment, in order.","fields":[
{"name":"offset","type":"long","doc":"Offset."},
{"name":"timestamp","type":"long","doc":"Record timestamp, milliseconds since the Unix epoch: the ingest time."},
{"name":"key","type":"bytes","doc":"Record key."},
{"name":"schema","type":"string","doc":"Which container has the value; the values are there in this order. Empty: value."},
{"name":"trace","type":"string","doc":"W3C trace id."},
{"name":"size","type":"long","doc":"Bytes of key and value, as on the topic."},
{"name":"mark","type":"bytes","doc":"First 8 bytes of SHA-256 over length of key, key and value."},
{"name":"error","type":"string","doc":"Why the value is in no container."},
{"name":"value","type":"bytes","doc":"The value as on the topic, when it is in no container."}]}`

func newContainers(compression string) (*containers, error) {
	c, err := goavro.NewCodec(indexSchema)
	if err != nil {
		return nil, fmt.Errorf("parse index schema: %w", err)
	}
	x := &containers{codec: goavro.CompressionNullLabel, index: c, codecs: map[string]*goavro.Codec{}}
	if compression == "snappy" {
		x.codec = goavro.CompressionSnappyLabel
	}
	return x, nil
}

func (*containers) name() string { return formatAvro }

func (x *containers) valueCodec(schema string) (*goavro.Codec, error) {
	if c := x.codecs[schema]; c != nil {
		return c, nil
	}
	s, ok := schemas.Lookup(schema)
	if !ok {
		return nil, fmt.Errorf("schema %s is not known", schema)
	}
	c, err := goavro.NewCodec(s.Text)
	if err != nil {
		return nil, fmt.Errorf("parse schema %s: %w", schema, err)
	}
	x.codecs[schema] = c
	return c, nil
}

// body is the value in our newest version of its schema, whatever version was on the topic.
func (x *containers) body(v schemas.Payload, err error) ([]byte, error) {
	if v == nil {
		if err == nil {
			err = errors.New("no value")
		}
		return nil, err
	}
	c, err := x.valueCodec(v.SchemaName())
	if err != nil {
		return nil, err
	}
	s, _ := schemas.Lookup(v.SchemaName())
	b, err := s.AppendBody(nil, v)
	if err != nil {
		return nil, err
	}
	if _, rest, err := c.NativeFromBinary(b); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("read %s again: %d bytes left: %w", v.SchemaName(), len(rest), err)
	}
	return b, nil
}

// A record of the open segment is a frame: length of the payload (4 bytes, little-endian), its CRC-32C, and the payload: the
// row of the index and the body of the value.
const (
	frameHeader = 8
	maxFrame    = 1 << 28 // bytes; more than any broker takes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (x *containers) append(dst []byte, d *streams.Delivery, e entry) []byte {
	row := map[string]any{"offset": d.Offset, "timestamp": d.Timestamp, "key": []byte(d.Key), "schema": "", "trace": d.Trace, "size": e.size,
		"mark": e.mark[:], "error": "", "value": []byte(nil)}
	body, err := x.body(d.Value, d.Err)
	if err == nil {
		row["schema"] = d.Value.SchemaName()
	} else {
		row["error"], row["value"] = err.Error(), d.Raw
	}
	start := len(dst)
	dst = append(dst, make([]byte, frameHeader)...)
	dst, _ = x.index.BinaryFromNative(dst, row) // all fields are there in their types: cannot fail
	dst = append(dst, body...)
	payload := dst[start+frameHeader:]
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(payload, castagnoli))
	return dst
}

// A frame is one record of an open segment.
type frame struct {
	row  map[string]any
	body []byte
	entry
}

func (x *containers) next(r *bufio.Reader) (entry, int64, error) {
	f, n, err := x.frame(r)
	return f.entry, n, err
}

func (x *containers) frame(r *bufio.Reader) (f frame, n int64, err error) {
	var head [frameHeader]byte
	switch _, err := io.ReadFull(r, head[:]); {
	case errors.Is(err, io.EOF):
		return f, 0, io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		return f, 0, errTorn
	case err != nil:
		return f, 0, err
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size > maxFrame {
		return f, 0, errTorn
	}
	// Read as it comes: a torn length must not allocate more than there is.
	payload, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return f, 0, err
	}
	if len(payload) < int(size) || crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return f, 0, errTorn
	}
	native, rest, err := x.index.NativeFromBinary(payload)
	if err != nil {
		return f, 0, errTorn
	}
	f.row, f.body = native.(map[string]any), rest
	if f.entry, err = rowEntry(f.row); err != nil {
		return f, 0, err
	}
	return f, frameHeader + int64(size), nil
}

func rowEntry(row map[string]any) (e entry, err error) {
	m := row["mark"].([]byte)
	if len(m) != len(e.mark) {
		return e, errTorn
	}
	return entry{row["offset"].(int64), row["size"].(int64), mark(m)}, nil
}

func (x *containers) seal(part, dir string, at place, s span, step func(string) error) ([]manifestFile, error) {
	src, err := os.Open(part)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	set := &containerSet{x: x, dir: dir, at: at, span: s, open: map[string]*container{}}
	defer set.abandon()
	r := bufio.NewReaderSize(src, 1<<16)
	for {
		f, _, err := x.frame(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", part, err)
		}
		if err := set.add(f); err != nil {
			return nil, err
		}
	}
	if err := step("built"); err != nil {
		return nil, err
	}
	return set.finish(step)
}

func (x *containers) marks(dir string, m *manifest) (map[int64]mark, error) {
	marks := make(map[int64]mark, m.Records)
	i := slices.IndexFunc(m.Files, func(f manifestFile) bool { return f.Schema == "" })
	if i < 0 {
		return nil, fmt.Errorf("segment %s has no index", m.span())
	}
	if err := m.Files[i].check(dir); err != nil {
		return nil, err
	}
	err := readContainer(filepath.Join(dir, m.Files[i].Name), func(v any) error {
		row, ok := v.(map[string]any)
		if !ok {
			return errTorn
		}
		e, err := rowEntry(row)
		marks[e.offset] = e.mark
		return err
	})
	return marks, err
}

// readContainer calls f with each value of a container.
func readContainer(path string, f func(any) error) error {
	r, err := os.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	ocf, err := goavro.NewOCFReader(bufio.NewReader(r))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	for ocf.Scan() {
		v, err := ocf.Read()
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if err := f(v); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	return ocf.Err()
}

func (x *containers) firstBad(path string) (int, string) {
	n := 0
	err := readContainer(path, func(any) error { n++; return nil })
	if err != nil {
		return n + 1, "the block of the record cannot be read"
	}
	return 0, ""
}
