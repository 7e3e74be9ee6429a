// Package file writes topics to files: JSON lines in append-only, hash-chained, read-only segments (package chain), and, on
// request, each closed segment once more as Avro container files, one for each schema in it.
//
// It is exactly once by construction: a record is in the archive once, by its offset, whatever is delivered again. Names and
// bytes of segments are functions of the topic alone.
package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/internal/chain"
	"github.com/amoskys/amoskys/streams"
	"github.com/linkedin/goavro/v2"
)

// Config are the settings.
type Config struct {
	Dir        string `yaml:"dir"`         // folder; empty: alerts in the data directory
	Format     string `yaml:"format"`      // jsonl, or jsonl+avro
	MaxRecords int    `yaml:"max_records"` // of a segment
	MaxBytes   int64  `yaml:"max_bytes"`   // of a segment's lines
}

// Defaults are the settings that hold where none are given.
func Defaults() Config { return Config{Format: "jsonl", MaxRecords: 10_000, MaxBytes: 64 << 20} }

// Validate reports everything that is wrong, each as a streams.SettingError.
func (c Config) Validate() error {
	var errs []error
	bad := func(key string, value any, want string) {
		errs = append(errs, &streams.SettingError{Key: "file." + key, Value: fmt.Sprint(value), Want: want})
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		bad("dir", c.Dir, "an absolute path, or nothing")
	}
	if c.Format != "jsonl" && c.Format != "jsonl+avro" {
		bad("format", c.Format, "jsonl or jsonl+avro")
	}
	if c.MaxRecords < 1 {
		bad("max_records", c.MaxRecords, "a number from 1 on")
	}
	if c.MaxBytes < 1<<10 {
		bad("max_bytes", c.MaxBytes, "a number from 1024 on")
	}
	return errors.Join(errs...)
}

// A Sink writes one folder. It implements streams.Resumer.
type Sink struct {
	c    Config
	logs map[string]*chain.Log // by folder
}

// New returns a sink.
func New(c Config) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	return &Sink{c, map[string]*chain.Log{}}, nil
}

// Dir is the folder of a topic partition.
func (c Config) dir(topic string, partition int32) string {
	return filepath.Join(c.Dir, topic, strconv.Itoa(int(partition)))
}

func (s *Sink) log(topic string, partition int32) (*chain.Log, error) {
	dir := s.c.dir(topic, partition)
	if l := s.logs[dir]; l != nil {
		return l, nil
	}
	o := chain.Options{MaxRecords: s.c.MaxRecords, MaxBytes: s.c.MaxBytes}
	if s.c.Format == "jsonl+avro" {
		o.Sealed = containers
	}
	l, err := chain.Open(dir, o)
	if err == nil {
		s.logs[dir] = l
	}
	return l, err
}

// Resume implements streams.Resumer.
func (s *Sink) Resume(topic string, partition int32) (int64, bool, error) {
	l, err := s.log(topic, partition)
	if err != nil {
		return 0, false, err
	}
	next, ok := l.Next()
	return next, ok, nil
}

// Deliver implements streams.Sink.
func (s *Sink) Deliver(_ context.Context, batch []streams.Delivery) error {
	if len(batch) == 0 {
		return nil
	}
	l, err := s.log(batch[0].Topic, batch[0].Partition)
	if err != nil {
		return err
	}
	lines := make([]chain.Line, 0, len(batch))
	for _, d := range batch {
		x := chain.Line{Key: d.Key, Offset: d.Offset, Schema: d.Schema}
		if d.Value == nil { // it cannot be decoded: its bytes are kept
			x.Schema = "bytes"
			x.Value, err = json.Marshal(d.Raw)
		} else {
			x.Value, err = json.Marshal(d.Value)
		}
		if err != nil {
			return streams.Permanent(fmt.Errorf("write %s/%d@%d as JSON: %w", d.Topic, d.Partition, d.Offset, err))
		}
		lines = append(lines, x)
	}
	if err := l.Append(lines); err != nil {
		delete(s.logs, s.c.dir(batch[0].Topic, batch[0].Partition)) // opened anew, from what is on disk
		return errors.Join(err, l.Close())
	}
	return nil
}

// Close implements streams.Sink.
func (s *Sink) Close() error {
	var errs []error
	for _, l := range s.logs {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Verify checks every chain below a folder.
func Verify(dir string) (reports []*chain.Report, err error) {
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if _, err := os.Stat(filepath.Join(path, "open.part")); err != nil {
			return nil
		}
		r, err := chain.Verify(path, "")
		reports = append(reports, r)
		return err
	})
	return reports, err
}

// containers writes the records of a closed segment as Avro container files, one for each schema: <segment>.<schema>.avro.
func containers(segment string) error {
	bySchema := map[string][]any{}
	err := chain.Lines(segment, func(x chain.Line) error {
		if x.Schema == "bytes" {
			return nil
		}
		v := schemas.New(x.Schema)
		if v == nil {
			return nil
		}
		if err := unmarshal(x, v); err != nil {
			return fmt.Errorf("offset %d of %s: %w", x.Offset, segment, err)
		}
		native, err := native(v)
		bySchema[x.Schema] = append(bySchema[x.Schema], native)
		return err
	})
	if err != nil {
		return err
	}
	for name, values := range bySchema {
		path := strings.TrimSuffix(segment, ".jsonl") + "." + name + ".avro"
		if err := container(path, name, values); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	return nil
}

// unmarshal reads a value from a line. Alerts have a JSON form of their own, which is read back by it.
func unmarshal(x chain.Line, v schemas.Payload) error { return json.Unmarshal(x.Value, v) }

// native turns a payload into what goavro encodes: through Avro, so that the two codecs check each other.
func native(v schemas.Payload) (any, error) {
	s, _ := schemas.Lookup(v.SchemaName())
	body, err := s.AppendBody(nil, v)
	if err != nil {
		return nil, err
	}
	codec, err := goavro.NewCodec(s.Text)
	if err != nil {
		return nil, err
	}
	n, rest, err := codec.NativeFromBinary(body)
	if err == nil && len(rest) > 0 {
		err = errors.New("the two Avro codecs do not agree")
	}
	return n, err
}

// container writes a container file whose bytes depend on its content alone: the sync marker, random by the library, is
// replaced by the beginning of the schema's and the values' own hash.
func container(path, schema string, values []any) error {
	s, _ := schemas.Lookup(schema)
	var b bytes.Buffer
	w, err := goavro.NewOCFWriter(goavro.OCFConfig{W: &b, Schema: s.Text, CompressionName: goavro.CompressionDeflateLabel})
	if err != nil {
		return err
	}
	header := b.Len()
	if err := w.Append(values); err != nil {
		return err
	}
	text := b.Bytes()
	random := slices.Clone(text[header-16 : header])
	marker := []byte("amoskys-segment\n") // 16 bytes
	text = bytes.ReplaceAll(text, random, marker)
	part := path + ".part"
	if err := os.WriteFile(part, text, 0o444); err != nil {
		return err
	}
	return os.Rename(part, path)
}
