package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Limits bound what a spool holds.
type Limits struct {
	// MaxBytes is the size of all logs together, bytes.
	MaxBytes int64 `yaml:"max_bytes"`
	// MaxAge is how old a segment may become before it is dropped.
	MaxAge time.Duration `yaml:"max_age"`
}

// DefaultLimits are 1 GiB and 24 h.
func DefaultLimits() Limits { return Limits{MaxBytes: 1 << 30, MaxAge: 24 * time.Hour} }

// Validate reports everything that is wrong, each as a streams.SettingError.
func (l Limits) Validate() error {
	var errs []error
	if l.MaxBytes < 2*segmentSize || l.MaxBytes > 1<<42 {
		errs = append(errs, &streams.SettingError{Key: "spool.max_bytes", Value: fmt.Sprint(l.MaxBytes), Want: fmt.Sprintf("a number from %d to %d", 2*segmentSize, int64(1)<<42)})
	}
	if l.MaxAge < time.Minute {
		errs = append(errs, &streams.SettingError{Key: "spool.max_age", Value: l.MaxAge.String(), Want: "a duration from 1m on"})
	}
	return errors.Join(errs...)
}

// Identity is what a spool fills into envelopes that leave it empty.
type Identity struct {
	Tenant, Host, Boot, Hostname, Platform string
	Collector                              string
	Version                                string // of the program
}

// Config are the settings of a Spool.
type Config struct {
	Dir      string
	Topic    *schemas.Topic // ingest topic of the collector
	Identity Identity
	Limits   Limits
	Logger   *slog.Logger // told what goes wrong, once each time; nil: nobody is
}

// Counts are totals since the spool was opened, in events where nothing else is said.
type Counts struct {
	Appended int64
	Shipped  int64 // acknowledged by the brokers
	Dropped  int64 // over the limits, refused by the brokers, or too large
	Damaged  int64 // lost to damage of the files
	Refused  int64 // that Append did not take, as when the disk is full
	Bytes    int64 // held now
}
