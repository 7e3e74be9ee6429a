package file

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/amoskys/amoskys/streams"
)

// defaultTenant owns the events where nothing else is said.
const defaultTenant = "default"

// A Config says which recordings are read, and how.
type Config struct {
	// Tenant owns the events; a recording never chooses its tenant. Empty: default.
	Tenant string `yaml:"tenant"`
	// Paths of the recordings, read one after the other: files, or folders that hold an event graph.
	Paths []string `yaml:"paths"`
	// Format of all of them, one of Formats. Empty: auto.
	Format string `yaml:"format"`
	// Pace is how fast the recorded time passes: 1 as recorded, 60 a minute in each second, 0 as fast as can be read.
	Pace float64 `yaml:"pace"`
	// Restamp moves all times of a recording so that its first event happens when the reading begins. With a pace, times
	// are drawn together as much as the pace makes the reading faster, so that an event happens when it is delivered.
	Restamp bool `yaml:"restamp"`

	// OnBad is called with each line that cannot be read; it is counted and reading goes on. OnProgress is called every 4096
	// records or so and at the end, OnSummary after each recording. All are called from Next or Collect. Nil for none.
	OnBad      func(BadLine)  `yaml:"-"`
	OnProgress func(Progress) `yaml:"-"`
	OnSummary  func(Summary)  `yaml:"-"`
}

// maxPace bounds the pace; more than a day in each second is full speed in all but name.
const maxPace = 86400

// Validate returns everything that is wrong, each as a *streams.SettingError with the key relative to the collector's.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, value, want string) {
		errs = append(errs, &streams.SettingError{Key: key, Value: value, Want: want})
	}
	if len(c.Paths) == 0 {
		bad("paths", "", "at least one recording")
	}
	for i, p := range c.Paths {
		if strings.TrimSpace(p) == "" {
			bad(fmt.Sprintf("paths[%d]", i), p, "the path of a file or folder")
		}
	}
	if c.Format != "" && !slices.Contains(Formats, c.Format) {
		bad("format", c.Format, strings.Join(Formats, ", "))
	}
	if !(c.Pace >= 0 && c.Pace <= maxPace) || math.IsInf(c.Pace, 0) {
		bad("pace", strconv.FormatFloat(c.Pace, 'g', -1, 64), fmt.Sprintf("a number of 0 (full speed) to %d", maxPace))
	}
	return errors.Join(errs...)
}

func (c *Config) defaults() {
	if c.Tenant == "" {
		c.Tenant = defaultTenant
	}
	if c.Format == "" {
		c.Format = Auto
	}
}
