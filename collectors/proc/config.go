package proc

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/amoskys/amoskys/streams"
)

// Config are the settings. The zero value is not usable: see Defaults.
type Config struct {
	Enabled bool `yaml:"enabled"`
	// Root is where the proc file system to read is mounted: another place in a container that sees its host's.
	Root string `yaml:"root"`
	// Connector uses the kernel's process connector where it can be had.
	Connector bool `yaml:"connector"`
	// Interval and MaxInterval bound the time between two scans for processes while there is no process connector: the
	// first holds when something has happened, the second when nothing has for a while.
	Interval    time.Duration `yaml:"interval"`
	MaxInterval time.Duration `yaml:"max_interval"`
	// Sockets tells of sockets, SocketInterval is the time between two scans for them.
	Sockets        bool          `yaml:"sockets"`
	SocketInterval time.Duration `yaml:"socket_interval"`
	// MaxArgs is where an argument vector is cut, bytes.
	MaxArgs int `yaml:"max_args"`
	// Hashes computes the SHA-256 of executables of at most HashLimit bytes, reading at most HashRate bytes a second.
	Hashes    bool  `yaml:"hashes"`
	HashLimit int64 `yaml:"hash_limit"`
	HashRate  int64 `yaml:"hash_rate"`
	// Mask removes secrets from arguments: those that DefaultMasks find or, if there are any, Masks instead. A mask is a
	// regular expression (RE2) over an argument vector joined with NUL bytes; what its first group matches is masked.
	Mask  bool     `yaml:"mask"`
	Masks []string `yaml:"masks"`
}

// Defaults are the settings that hold where none are given.
func Defaults() Config {
	return Config{Enabled: true, Root: "/proc", Connector: true, Interval: 250 * time.Millisecond, MaxInterval: time.Second, Sockets: true,
		SocketInterval: 2 * time.Second, MaxArgs: 4096, Hashes: true, HashLimit: 64 << 20, HashRate: 2 << 20, Mask: true}
}

// Validate reports everything that is wrong, each as a streams.SettingError.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, value, want string) {
		errs = append(errs, &streams.SettingError{Key: "proc." + key, Value: value, Want: want})
	}
	within := func(key string, d, lo, hi time.Duration) {
		if d < lo || d > hi {
			bad(key, d.String(), fmt.Sprintf("a duration of %s to %s", words(lo), words(hi)))
		}
	}
	sized := func(key string, n, lo, hi int64) {
		if n < lo || n > hi {
			bad(key, strconv.FormatInt(n, 10), fmt.Sprintf("a number of bytes from %d to %d", lo, hi))
		}
	}
	if !filepath.IsAbs(c.Root) {
		bad("root", c.Root, "an absolute path")
	}
	within("interval", c.Interval, 50*time.Millisecond, time.Minute)
	within("max_interval", c.MaxInterval, max(c.Interval, 50*time.Millisecond), 10*time.Minute)
	within("socket_interval", c.SocketInterval, 50*time.Millisecond, time.Hour)
	sized("max_args", int64(c.MaxArgs), 64, 128<<10)
	sized("hash_limit", c.HashLimit, 1, 1<<40)
	sized("hash_rate", c.HashRate, 64<<10, 1<<40)
	for _, p := range c.Masks {
		if re, err := regexp.Compile(p); err != nil || re.NumSubexp() < 1 {
			bad("masks", p, "regular expressions (RE2), each with a group around the secret")
		}
	}
	return errors.Join(errs...)
}

// words writes a duration as a person does: 1m, not 1m0s.
func words(d time.Duration) string {
	return strings.NewReplacer("m0s", "m", "h0m0s", "h", "h0m", "h").Replace(d.String())
}
