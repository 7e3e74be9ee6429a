package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/amoskys/amoskys/collectors"
	"github.com/amoskys/amoskys/internal/config"
	"github.com/amoskys/amoskys/processors"
	"github.com/amoskys/amoskys/sinks"
	"github.com/amoskys/amoskys/streams"
)

const envPrefix = "AMOSKYS_"

// aliases are the short names of the settings that every deployment sets.
var aliases = []config.Alias{{Variable: "AMOSKYS_BROKERS", Key: "kafka.brokers"}}

// foreign are variables with our prefix that are no settings: of the build and its containers, and of the tests.
var foreign = []string{
	"AMOSKYS_IMAGE", "AMOSKYS_DEMO_IMAGE", "AMOSKYS_NET", // docker-compose.yml
	"AMOSKYS_KAFKA_LIBS", "AMOSKYS_REQUIRE_KAFKA", // where Apache Kafka lies for tests, and that it has to be there
	"AMOSKYS_DATA", "AMOSKYS_CHAOS", "AMOSKYS_BIN", "AMOSKYS_BUDGET", "AMOSKYS_BUDGET_PROFILE", "AMOSKYS_PROC_MEASURED", "AMOSKYS_SPOOL_VICTIM", "AMOSKYS_TEST_*",
}

// printed is a setting as it may be shown: no secret, not where one lies, and of URLs no part that may be one.
func (c *Config) printed(key string) string {
	value := config.Value(c, key)
	switch {
	case value == "":
		return ""
	case slices.Contains(config.KeysOf[streams.Secret](c), key):
		return "(set)"
	case key == "sinks.webhook.url": // paths of webhooks are secrets more often than not
		if u, err := url.Parse(value); err == nil && u.Host != "" {
			return u.Scheme + "://" + u.Host + "/(not shown)"
		}
		return "(set)"
	}
	return config.Redact(value)
}

// Config are all settings. The zero value is not usable: see defaults.
type Config struct {
	Tenant     string            `yaml:"tenant"`
	DataDir    string            `yaml:"data_dir"`
	Listen     string            `yaml:"listen"`
	Kafka      streams.Kafka     `yaml:"kafka"`
	Registry   RegistryConfig    `yaml:"registry"`
	Broker     BrokerConfig      `yaml:"broker"`
	Topics     TopicsConfig      `yaml:"topics"`
	Engine     EngineConfig      `yaml:"engine"`
	Log        LogConfig         `yaml:"log"`
	Collectors collectors.Config `yaml:"collectors"`
	Processors processors.Config `yaml:"processors"`
	Sinks      sinks.Config      `yaml:"sinks"`
}

// RegistryConfig says which schema registry is used, and where the embedded one listens.
type RegistryConfig struct {
	URL    string `yaml:"url"`
	Listen string `yaml:"listen"`
}

// BrokerConfig are the settings of the embedded broker.
type BrokerConfig struct {
	Listen   string `yaml:"listen"`
	MaxBytes int64  `yaml:"max_bytes"` // of the log, bytes
}

// TopicsConfig says how topics are created. The number of partitions belongs to a run's identity.
type TopicsConfig struct {
	Partitions  int `yaml:"partitions"`
	Replication int `yaml:"replication"`
	// Create lets roles create topics that are missing. Without it they refuse to start: a topic that is gone has lost its
	// records, and one that is made anew without a word would hide it.
	Create bool `yaml:"create"`
}

// EngineConfig are the settings of stages.
type EngineConfig struct {
	Workers        int           `yaml:"workers"` // per stage
	CommitInterval time.Duration `yaml:"commit_interval"`
	TxnTimeout     time.Duration `yaml:"txn_timeout"`
	SnapshotEvery  time.Duration `yaml:"snapshot_every"`
}

// LogConfig says what is logged, and how.
type LogConfig struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

func defaults() Config {
	return Config{
		Tenant: "default", DataDir: dataHome(), Listen: "127.0.0.1:9464",
		Registry: RegistryConfig{Listen: "127.0.0.1:8081"},
		Broker:   BrokerConfig{Listen: "127.0.0.1:9092", MaxBytes: 4 << 30},
		Topics:   TopicsConfig{Partitions: 4, Replication: 1},
		Engine:   EngineConfig{Workers: min(2, runtime.NumCPU()), CommitInterval: 200 * time.Millisecond, TxnTimeout: 15 * time.Second, SnapshotEvery: time.Hour},
		Log:      LogConfig{Level: "info", Format: "text"},

		Collectors: collectors.Defaults(), Processors: processors.Defaults(), Sinks: sinks.Defaults(),
	}
}

// dataHome is where data lies by default: XDG_DATA_HOME, or its default.
func dataHome() string {
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "amoskys")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir()
	}
	return filepath.Join(home, ".local", "share", "amoskys")
}

// validate checks what the types do not: it reports every problem.
func (c *Config) validate(sources map[string]string) (ps config.Problems) {
	bad := func(key, value, accepted string) {
		ps = append(ps, config.Problem{Key: key, Value: value, Accepted: accepted, Source: sources[key]})
	}
	if c.Tenant == "" || strings.ContainsAny(c.Tenant, " \t\n") {
		bad("tenant", c.Tenant, "a name without spaces")
	}
	if !filepath.IsAbs(c.DataDir) {
		bad("data_dir", c.DataDir, "an absolute path")
	}
	for key, a := range map[string]string{"listen": c.Listen, "registry.listen": c.Registry.Listen, "broker.listen": c.Broker.Listen} {
		if a == "" && key == "listen" {
			continue
		}
		_, port, err := net.SplitHostPort(a)
		if _, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil {
			bad(key, a, "host:port with a port of 0 (any) to 65535")
		}
	}
	if u, err := url.Parse(c.Registry.URL); c.Registry.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		bad("registry.url", config.Redact(c.Registry.URL), "an http or https URL")
	}
	within := func(key string, n, lo, hi int64) {
		if n < lo || n > hi {
			bad(key, fmt.Sprint(n), fmt.Sprintf("a number from %d to %d", lo, hi))
		}
	}
	within("broker.max_bytes", c.Broker.MaxBytes, 64<<20, 1<<40)
	within("topics.partitions", int64(c.Topics.Partitions), 1, 1024)
	within("topics.replication", int64(c.Topics.Replication), 1, 9)
	within("engine.workers", int64(c.Engine.Workers), 1, 256)
	for key, d := range map[string]time.Duration{"engine.commit_interval": c.Engine.CommitInterval, "engine.txn_timeout": c.Engine.TxnTimeout, "engine.snapshot_every": c.Engine.SnapshotEvery} {
		lo := 10 * time.Millisecond
		if key == "engine.txn_timeout" {
			lo = 5 * time.Second
		}
		if d < lo {
			bad(key, d.String(), "a duration from "+lo.String()+" on")
		}
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		bad("log.level", c.Log.Level, "debug, info, warn or error")
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format", c.Log.Format, "text or json")
	}
	if len(c.Kafka.Brokers) > 0 { // else the embedded broker
		ps = append(ps, problemsOf("", c.Kafka.Validate(), sources)...)
	}
	ps = append(ps, problemsOf("collectors", c.Collectors.Validate(), sources)...)
	ps = append(ps, problemsOf("processors", c.Processors.Validate(), sources)...)
	ps = append(ps, problemsOf("sinks", c.Sinks.Validate(), sources)...)
	return ps
}

// problemsOf turns the setting errors of a part into problems under its key.
func problemsOf(prefix string, err error, sources map[string]string) (ps config.Problems) {
	for _, e := range streams.SettingErrors(err) {
		key := strings.Trim(prefix+"."+e.Key, ".")
		whole, _, _ := strings.Cut(key, "[") // of an element of a list
		ps = append(ps, config.Problem{Key: key, Value: e.Value, Accepted: e.Want, Source: sources[whole]})
	}
	return ps
}

// hash identifies the effective configuration, without secrets: it is in every audit record.
func (c *Config) hash() string {
	h := sha256.New()
	for _, key := range config.Keys(c) {
		fmt.Fprintf(h, "%s=%s\n", key, c.printed(key))
	}
	return hex.EncodeToString(h.Sum(nil))
}
