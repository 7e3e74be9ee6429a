package file

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// A Config says what is archived where, in which form.
type Config struct {
	// Dir is where the archive lies, an absolute path. A directory belongs to one process.
	Dir string `yaml:"dir"`
	// Topics are the topics to archive.
	Topics []string `yaml:"topics"`
	// Format is jsonl or avro.
	Format string `yaml:"format"`
	// Compression of Avro containers: none or snappy. JSON lines are not compressed.
	Compression string `yaml:"compression"`
	// SegmentRecords is how many records a segment has at most.
	SegmentRecords int `yaml:"segment_records"`
	// SegmentBytes is how many bytes of keys and values a segment has at most, unless a single record has more.
	SegmentBytes int64 `yaml:"segment_bytes"`
}

// Defaults archives alerts and incidents as JSON lines.
func Defaults() Config {
	return Config{Topics: []string{schemas.AlertsTopic.Name, schemas.IncidentsTopic.Name}, Format: formatJSONL, Compression: "none",
		SegmentRecords: 10_000, SegmentBytes: 16 << 20}
}

const (
	formatJSONL = "jsonl"
	formatAvro  = "avro"
)

// Validate returns everything that is wrong, each as a *streams.SettingError with the key relative to the sink's.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, value, want string) {
		errs = append(errs, &streams.SettingError{Key: key, Value: value, Want: want})
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		bad("dir", c.Dir, "an absolute path")
	}
	if len(c.Topics) == 0 {
		bad("topics", "", "at least one topic")
	}
	for i, name := range c.Topics {
		if _, ok := schemas.TopicByName(name); !ok {
			bad(fmt.Sprintf("topics[%d]", i), name, "a topic of ours, see amoskys topics")
		}
	}
	if c.Format != formatJSONL && c.Format != formatAvro {
		bad("format", c.Format, "jsonl or avro")
	}
	if c.Compression != "none" && c.Compression != "snappy" {
		bad("compression", c.Compression, "none or snappy")
	}
	if c.Compression == "snappy" && c.Format == formatJSONL {
		bad("compression", c.Compression, "none with format jsonl")
	}
	if c.SegmentRecords < 1 || c.SegmentRecords > 1e6 {
		bad("segment_records", strconv.Itoa(c.SegmentRecords), "a number of 1 to 1000000")
	}
	if c.SegmentBytes < 1<<10 || c.SegmentBytes > 1<<30 {
		bad("segment_bytes", strconv.FormatInt(c.SegmentBytes, 10), "a number of 1024 (1 KiB) to 1073741824 (1 GiB)")
	}
	return errors.Join(errs...)
}
