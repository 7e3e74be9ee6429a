// Package processors lists the processors of the chain.
package processors

import (
	"errors"

	"github.com/amoskys/amoskys/processors/ensemble"
	"github.com/amoskys/amoskys/processors/features"
	"github.com/amoskys/amoskys/processors/lineage"
	"github.com/amoskys/amoskys/processors/normalize"
	"github.com/amoskys/amoskys/processors/rarity"
	"github.com/amoskys/amoskys/processors/signature"
	"github.com/amoskys/amoskys/streams"
)

// Config are the settings of all processors.
type Config struct {
	Lineage   LineageConfig   `yaml:"lineage"`
	Signature SignatureConfig `yaml:"signature"`
	Rarity    rarity.Config   `yaml:"rarity"`
	Ensemble  ensemble.Config `yaml:"ensemble"`
}

// LineageConfig are the settings of lineage, see lineage.Config.
type LineageConfig struct {
	Repeats      int `yaml:"repeats"`
	MaxProcesses int `yaml:"max_processes"`
	MaxFacts     int `yaml:"max_facts"`
}

// SignatureConfig are the settings of signature, see signature.Config.
type SignatureConfig struct {
	Disable []string `yaml:"disable"`
}

// Defaults are the settings that hold where none are given.
func Defaults() Config {
	return Config{Lineage: LineageConfig{Repeats: 8, MaxProcesses: 50_000, MaxFacts: 65_536}, Rarity: rarity.Defaults(), Ensemble: ensemble.Defaults()}
}

// Validate reports everything that is wrong, each as a streams.SettingError.
func (c Config) Validate() error {
	return errors.Join(c.lineage().Validate(), c.signature().Validate(), c.Rarity.Validate(), c.Ensemble.Validate())
}

func (c Config) lineage() lineage.Config {
	return lineage.Config{Repeats: c.Lineage.Repeats, MaxProcesses: c.Lineage.MaxProcesses, MaxFacts: c.Lineage.MaxFacts}
}

func (c Config) signature() signature.Config { return signature.Config{Disable: c.Signature.Disable} }

// Suite are all processors, producers before consumers.
func Suite(c Config) []*streams.Processor {
	return []*streams.Processor{normalize.Processor, lineage.New(c.lineage()), features.Processor, signature.New(c.signature()), rarity.New(c.Rarity), ensemble.New(c.Ensemble)}
}
