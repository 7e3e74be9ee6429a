// Package collectors lists the collectors: where events come from.
package collectors

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/amoskys/amoskys/collectors/file"
	"github.com/amoskys/amoskys/collectors/proc"
	"github.com/amoskys/amoskys/collectors/spool"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Config are the settings of all collectors.
type Config struct {
	Proc  proc.Config  `yaml:"proc"`
	File  file.Config  `yaml:"file"`
	Spool spool.Limits `yaml:"spool"`
}

// Defaults are the settings that hold where none are given.
func Defaults() Config { return Config{Proc: proc.Defaults(), Spool: spool.DefaultLimits()} }

// Validate reports everything that is wrong, each as a streams.SettingError. Without paths the file collector is off.
func (c Config) Validate() error {
	errs := []error{c.Proc.Validate(), c.Spool.Validate()}
	if len(c.File.Paths) > 0 {
		errs = append(errs, streams.SettingsUnder("file", c.File.Validate()))
	}
	return errors.Join(errs...)
}

// A Spec declares a collector.
type Spec struct {
	Name  string
	Doc   string
	Topic *schemas.Topic // ingest topic of its events
	// Enabled says whether the settings turn it on.
	Enabled func(Config) bool
	New     func(Config, *slog.Logger) (streams.Collector, error)
}

// Suite are all collectors, by name.
var Suite = []Spec{
	{"file", "recorded events: own JSON lines, Sysmon and Security JSON lines, EDR graphs", schemas.EndpointTopic,
		func(c Config) bool { return len(c.File.Paths) > 0 },
		func(c Config, log *slog.Logger) (streams.Collector, error) {
			c.File.OnBad = func(b file.BadLine) { log.Warn("line cannot be read", "err", &b) }
			c.File.OnSummary = func(s file.Summary) { log.Info("recording read", "summary", fmt.Sprintf("%+v", s)) }
			return file.New(c.File)
		}},
	{"proc", "processes and sockets of this Linux machine, from /proc and the process connector", schemas.EndpointTopic,
		func(c Config) bool { return c.Proc.Enabled },
		func(c Config, log *slog.Logger) (streams.Collector, error) { return proc.New(c.Proc, log) }},
}

// Find finds a collector by its name.
func Find(name string) (Spec, error) {
	var names []string
	for _, s := range Suite {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Spec{}, fmt.Errorf("collector %q is not known; known: %s", name, strings.Join(names, ", "))
}
