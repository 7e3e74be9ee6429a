package rarity

import (
	"errors"
	"fmt"
	"time"

	"github.com/amoskys/amoskys/streams"
)

// Config are the settings. The zero value is not valid, see Defaults.
type Config struct {
	// Warmup is the event time after a host's first record during which nothing is emitted.
	Warmup time.Duration `yaml:"warmup" json:"warmup"`
	// MinUnits is the least number of units that a detector has judged on a host before it emits anything.
	MinUnits int `yaml:"min_units" json:"min_units"`
	// Window is how many scores a p-value is calibrated against.
	Window int `yaml:"window" json:"window"`
	// MaxNames bounds the names that are counted for a host, and for a tenant in a partition. Those that were not seen for
	// long make room.
	MaxNames int `yaml:"max_names" json:"max_names"`
}

// Defaults are the settings that hold where none are given.
func Defaults() Config {
	return Config{Warmup: time.Hour, MinUnits: 500, Window: 2000, MaxNames: 50_000}
}

// Validate reports everything that is wrong, each as a streams.SettingError.
func (c Config) Validate() error {
	var errs []error
	bad := func(key string, value any, want string) {
		errs = append(errs, &streams.SettingError{Key: "rarity." + key, Value: fmt.Sprint(value), Want: want})
	}
	if c.Warmup < 0 || c.Warmup > 30*24*time.Hour {
		bad("warmup", c.Warmup, "a duration of 0 to 720h")
	}
	if c.MinUnits < 20 || c.MinUnits > c.Window {
		bad("min_units", c.MinUnits, "a number from 20 to rarity.window")
	}
	if c.Window < 64 || c.Window > 60_000 {
		bad("window", c.Window, "a number from 64 to 60000")
	}
	if c.MaxNames < 100 || c.MaxNames > 10_000_000 {
		bad("max_names", c.MaxNames, "a number from 100 to 10000000")
	}
	return errors.Join(errs...)
}
