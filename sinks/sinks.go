// Package sinks lists the sinks: where records leave the platform. Nothing registers itself; a sink is a value in Suite.
package sinks

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/audit"
	"github.com/amoskys/amoskys/sinks/file"
	"github.com/amoskys/amoskys/sinks/stdout"
	"github.com/amoskys/amoskys/sinks/webhook"
	"github.com/amoskys/amoskys/streams"
)

// Config are the settings of all sinks.
type Config struct {
	File    file.Config    `yaml:"file"`
	Webhook webhook.Config `yaml:"webhook"`
	Audit   audit.Config   `yaml:"audit"`
}

// Defaults are the settings that hold where none are given.
func Defaults() Config { return Config{File: file.Defaults(), Webhook: webhook.Defaults()} }

// Validate returns everything that is wrong, each as a *streams.SettingError with the key relative to the sinks'.
func (c Config) Validate() error {
	return errors.Join(under("file", c.File.Validate()), under("webhook", c.Webhook.Validate()), under("audit", c.Audit.Validate()))
}

// under puts the name of a sink before the keys of its setting errors.
func under(name string, err error) error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range j.Unwrap() {
			errs = append(errs, under(name, e))
		}
		return errors.Join(errs...)
	}
	if se := (*streams.SettingError)(nil); errors.As(err, &se) {
		return &streams.SettingError{Key: name + "." + se.Key, Value: se.Value, Want: se.Want}
	}
	return err
}

// Env is what sinks are made with besides their settings.
type Env struct {
	Out          io.Writer // of stdout
	JSON, Colour bool      // of stdout
	AlertsDir    string    // of file, where no directory is set
	AuditDir     string    // of audit, where no directory is set
}

// A Spec declares a sink.
type Spec struct {
	Name string
	Doc  string // one line
	// Topics are what the sink is to be given.
	Topics func(Config) []string
	// New makes the sink. What is wrong with a setting is a *streams.SettingError, with the key as in Config.Validate.
	New func(Config, Env) (streams.Sink, error)
}

// Suite are all sinks, by name.
var Suite = []Spec{
	{"audit", "seals the audit topic in a hash-chained archive", func(Config) []string { return []string{schemas.AuditTopic.Name} }, newAudit},
	{"file", "archives alerts, or any topics, in hash-chained files", func(c Config) []string { return c.File.Topics }, newFile},
	{"stdout", "prints alerts", func(Config) []string { return []string{schemas.AlertsTopic.Name} }, newStdout},
	{"webhook", "posts alerts to an HTTP endpoint", func(c Config) []string { return c.Webhook.Topics }, newWebhook},
}

func newAudit(c Config, e Env) (streams.Sink, error) {
	if c.Audit.Dir == "" {
		c.Audit.Dir = e.AuditDir
	}
	s, err := audit.New(c.Audit)
	if err != nil {
		return nil, under("audit", err)
	}
	return s, nil
}

func newFile(c Config, e Env) (streams.Sink, error) {
	if c.File.Dir == "" {
		c.File.Dir = e.AlertsDir
	}
	s, err := file.New(c.File)
	if err != nil {
		return nil, under("file", err)
	}
	return s, nil
}

func newStdout(_ Config, e Env) (streams.Sink, error) {
	return stdout.New(e.Out, stdout.Options{JSON: e.JSON, Colour: e.Colour}), nil
}

func newWebhook(c Config, _ Env) (streams.Sink, error) {
	s, err := webhook.New(c.Webhook)
	if err != nil {
		return nil, under("webhook", err)
	}
	return s, nil
}

// Find finds a sink by its name.
func Find(name string) (Spec, error) {
	var names []string
	for _, s := range Suite {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Spec{}, fmt.Errorf("sink %q is not known; known: %s", name, strings.Join(names, ", "))
}
