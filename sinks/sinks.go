// Package sinks lists the sinks: where records leave the platform.
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
	Audit   AuditConfig    `yaml:"audit"`
}

// AuditConfig are the settings of the audit archive.
type AuditConfig struct {
	Dir string `yaml:"dir"` // folder; empty: audit in the data directory
}

// Defaults are the settings that hold where none are given.
func Defaults() Config { return Config{File: file.Defaults(), Webhook: webhook.Defaults()} }

// Validate reports everything that is wrong, each as a streams.SettingError.
func (c Config) Validate() error { return errors.Join(c.File.Validate(), c.Webhook.Validate()) }

// Env is what sinks are made with besides their settings.
type Env struct {
	Out          io.Writer // of stdout
	JSON, Colour bool
	AlertsDir    string // of file, where no folder is set
	AuditDir     string // of audit, where no folder is set
}

// A Spec declares a sink.
type Spec struct {
	Name   string
	Doc    string
	Topics []string
	New    func(Config, Env) (streams.Sink, error)
}

// Suite are all sinks, by name.
var Suite = []Spec{
	{"audit", "seals the audit topic into a hash-chained archive", []string{schemas.AuditTopic.Name}, func(c Config, e Env) (streams.Sink, error) {
		if c.Audit.Dir == "" {
			c.Audit.Dir = e.AuditDir
		}
		return audit.New(c.Audit.Dir)
	}},
	{"file", "writes alerts to hash-chained files", []string{schemas.AlertsTopic.Name}, func(c Config, e Env) (streams.Sink, error) {
		if c.File.Dir == "" {
			c.File.Dir = e.AlertsDir
		}
		return file.New(c.File)
	}},
	{"stdout", "prints alerts", []string{schemas.AlertsTopic.Name}, func(_ Config, e Env) (streams.Sink, error) {
		return &stdout.Sink{W: e.Out, JSON: e.JSON, Colour: e.Colour}, nil
	}},
	{"webhook", "posts alerts to an HTTP endpoint", []string{schemas.AlertsTopic.Name}, func(c Config, _ Env) (streams.Sink, error) {
		if c.Webhook.URL == "" {
			return nil, &streams.SettingError{Key: "sinks.webhook.url", Want: "an http or https URL"}
		}
		return webhook.New(c.Webhook)
	}},
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
