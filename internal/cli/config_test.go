package cli

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/internal/config"
)

type badConfig struct {
	yaml, environ     string
	flags             []string
	key, value, wants string
}

// bad are configurations that are not accepted: a YAML text, variables or flags, and what the report must say of it.
var bad = []badConfig{
	{yaml: "tenant: ''", key: "tenant", value: "", wants: "a name without spaces"},
	{yaml: "tenant: a b", key: "tenant", value: "a b", wants: "a name without spaces"},
	{yaml: "data_dir: here", key: "data_dir", value: "here", wants: "an absolute path"},
	{yaml: "listen: nowhere", key: "listen", value: "nowhere", wants: "host:port"},
	{yaml: "registry: {listen: ''}", key: "registry.listen", value: "", wants: "host:port"},
	{yaml: "registry: {url: 'ftp://x/'}", key: "registry.url", value: "ftp://x/", wants: "an http or https URL"},
	{yaml: "broker: {listen: '127.0.0.1'}", key: "broker.listen", value: "127.0.0.1", wants: "host:port"},
	{yaml: "broker: {max_bytes: 5}", key: "broker.max_bytes", value: "5", wants: "a number from 67108864"},
	{yaml: "broker: {max_bytes: lots}", key: "broker.max_bytes", value: "lots", wants: "a whole number"},
	{yaml: "topics: {partitions: 0}", key: "topics.partitions", value: "0", wants: "a number from 1 to 1024"},
	{yaml: "topics: {replication: 99}", key: "topics.replication", value: "99", wants: "a number from 1 to 9"},
	{yaml: "engine: {workers: 0}", key: "engine.workers", value: "0", wants: "a number from 1 to 256"},
	{yaml: "engine: {commit_interval: 1ms}", key: "engine.commit_interval", value: "1ms", wants: "a duration from 10ms on"},
	{yaml: "engine: {commit_interval: soon}", key: "engine.commit_interval", value: "soon", wants: "a duration such as"},
	{yaml: "engine: {txn_timeout: 1s}", key: "engine.txn_timeout", value: "1s", wants: "a duration from 5s on"},
	{yaml: "engine: {snapshot_every: 0s}", key: "engine.snapshot_every", value: "0s", wants: "a duration from 10ms on"},
	{yaml: "log: {level: loud}", key: "log.level", value: "loud", wants: "debug, info, warn or error"},
	{yaml: "log: {format: xml}", key: "log.format", value: "xml", wants: "text or json"},
	{yaml: "log: loud", key: "log", value: "loud", wants: "a group of keys"},
	{yaml: "kafka: {brokers: [x]}", key: "kafka.brokers[0]", value: "x", wants: "host:port"},
	{yaml: "kafka: {brokers: ['h:1'], compression: rar}", key: "kafka.compression", value: "rar", wants: "none, gzip, snappy, lz4"},
	{yaml: "kafka: {brokers: ['h:1'], sasl: {mechanism: magic}}", key: "kafka.sasl.mechanism", value: "magic", wants: "scram"},
	{yaml: "kafka: {brokers: ['h:1'], tls: {ca_file: /does/not/exist}}", key: "kafka.tls.ca_file", value: "/does/not/exist", wants: "PEM"},
	{yaml: "collectors: {proc: {enabled: maybe}}", key: "collectors.proc.enabled", value: "maybe", wants: "true or false"},
	{yaml: "collectors: {proc: {interval: 1ms}}", key: "collectors.proc.interval", value: "1ms", wants: "a duration of 50ms to 1m"},
	{yaml: "collectors: {proc: {root: proc}}", key: "collectors.proc.root", value: "proc", wants: "an absolute path"},
	{yaml: "collectors: {proc: {masks: ['(']}}", key: "collectors.proc.masks", value: "(", wants: "regular expressions"},
	{yaml: "collectors: {file: {paths: [x], format: csv}}", key: "collectors.file.format", value: "csv", wants: "auto"},
	{yaml: "collectors: {file: {paths: [x], pace: -1}}", key: "collectors.file.pace", value: "-1", wants: "a number of 0"},
	{yaml: "processors: {rarity: {warmup: -1h}}", key: "processors.rarity.warmup", value: "-1h0m0s", wants: "a duration of 0 to 720h"},
	{yaml: "processors: {rarity: {min_units: 3}}", key: "processors.rarity.min_units", value: "3", wants: "a number from 20"},
	{yaml: "processors: {ensemble: {alpha: 1}}", key: "processors.ensemble.alpha", value: "1", wants: "a number over 0, up to 0.05"},
	{yaml: "processors: {ensemble: {half_life: 1s}}", key: "processors.ensemble.half_life", value: "1s", wants: "a duration of 1m to 720h"},
	{yaml: "sinks: {file: {format: csv}}", key: "sinks.file.format", value: "csv", wants: "jsonl or avro"},
	{yaml: "sinks: {webhook: {url: 'mailto:me'}}", key: "sinks.webhook.url", value: "(not shown)", wants: "an http or https URL"},
	{yaml: "sinks: {webhook: {timeout: 1ms}}", key: "sinks.webhook.timeout", value: "1ms", wants: "a duration of 100ms to 5m"},
	{yaml: "sinks: {pager: {}}", key: "sinks.pager", value: "pager", wants: "one of the keys file, webhook, audit"},
	{yaml: "tennant: x", key: "tennant", value: "tennant", wants: "did you mean tenant?"},
	{yaml: "a: [", key: "amoskys.yaml", value: "yaml: line 1: did not find", wants: "YAML"},
	{yaml: "processors: {lineage: {repeats: -1}}", key: "processors.lineage.repeats", value: "-1", wants: "a number from 1 to 14"},
	{yaml: "processors: {lineage: {max_facts: 5}}", key: "processors.lineage.max_facts", value: "5", wants: "a number from 100 on"},
	{yaml: "processors: {signature: {disable: [nothing]}}", key: "processors.signature.disable[0]", value: "nothing", wants: "one of the rules"},
	{yaml: "tenant: a\ntenant: b", key: "tenant", value: "b", wants: "set in line 1 already"},
	{yaml: "tenant: [a]", key: "tenant", value: "(a list)", wants: "a text"},
	{yaml: "kafka: {brokers: 5}", key: "kafka.brokers", value: "5", wants: "a list"},
	{yaml: "just a text", key: "amoskys.yaml", value: "just a text", wants: "a group of keys: tenant"},
	{yaml: "tenant: a\n---\ntenant: b", key: "amoskys.yaml", value: "more than one document", wants: "one YAML document"},
	{yaml: "engine: {comit_interval: 1s}", key: "engine.comit_interval", value: "comit_interval", wants: "did you mean commit_interval?"},
	{yaml: "registry: {url: 'ftp://me:pa55@x/?k=pa55'}", key: "registry.url", value: "ftp://(not shown)@x/?(not shown)", wants: "an http or https URL"},
	{yaml: "kafka: {brokers: ['h:1'], tls: {cert_file: /does/not/exist}}", key: "kafka.tls.key_file", value: "", wants: "which is set"},
	{yaml: "kafka: {brokers: ['h:1'], tls: {key_file: /does/not/exist}}", key: "kafka.tls.cert_file", value: "", wants: "a certificate"},
	{yaml: "kafka: {brokers: ['h:1'], tls: {cert_file: /no/cert, key_file: /no/key}}", key: "kafka.tls.cert_file", value: "/no/cert", wants: "no such file"},
	{yaml: "kafka: {brokers: ['h:1'], sasl: {mechanism: plain, user: me, password: 'env:PATH'}}", key: "kafka.sasl.mechanism", value: "plain", wants: "kafka.tls.enabled"},
	{yaml: "kafka: {brokers: ['h:1'], sasl: {mechanism: scram-sha-512, user: me, password: 'file:/no/secret'}}", key: "kafka.sasl.password", value: "file:/no/secret", wants: "that can be read"},
	{yaml: "kafka: {brokers: ['h:1'], sasl: {mechanism: scram-sha-512, user: me, password: pa55}}", key: "kafka.sasl.password", value: "(not shown)", wants: "file:PATH or env:NAME"},
	{yaml: "kafka: {brokers: ['h:1'], linger: 1h}", key: "kafka.linger", value: "1h0m0s", wants: "a duration of 0 to 10s"},
	{yaml: "sinks: {webhook: {url: 'https://me:pa55@x/'}}", key: "sinks.webhook.url", value: "x", wants: "see authorization"},
	{yaml: "sinks: {webhook: {secret: pa55}}", key: "sinks.webhook.secret", value: "(not shown)", wants: "file:PATH or env:NAME"},
	{yaml: "sinks: {webhook: {authorization: 'env:AMOSKYS_TEST_NOT_THERE'}}", key: "sinks.webhook.authorization", value: "env:AMOSKYS_TEST_NOT_THERE", wants: "is not set"},
	{yaml: "sinks: {webhook: {topics: [nothing]}}", key: "sinks.webhook.topics[0]", value: "nothing", wants: "a topic of ours"},
	{yaml: "sinks: {audit: {dir: here}}", key: "sinks.audit.dir", value: "here", wants: "an absolute path"},
	{yaml: "collectors: {spool: {max_bytes: 1}}", key: "collectors.spool.max_bytes", value: "1", wants: "a number from"},
	{yaml: "collectors: {spool: {max_age: 1s}}", key: "collectors.spool.max_age", value: "1s", wants: "a duration from 1m on"},
	{environ: "AMOSKYS_ENGINE_WORKERS=many", key: "engine.workers", value: "many", wants: "a whole number"},
	{environ: "AMOSKYS_ENGINE_WORKERS=", key: "engine.workers", value: "", wants: "a whole number"},
	{environ: "AMOSKYS_BROKER_MAX_BYTES=4GiB", key: "broker.max_bytes", value: "4GiB", wants: "a whole number"},
	{environ: "AMOSKYS_ENGINE_SNAPSHOT_EVERY=1d", key: "engine.snapshot_every", value: "1d", wants: "a duration such as"},
	{environ: "AMOSKYS_COLLECTORS_PROC_ENABLED=maybe", key: "collectors.proc.enabled", value: "maybe", wants: "true or false"},
	{environ: "AMOSKYS_COLLECTORS_FILE_PACE=fast", key: "collectors.file.pace", value: "fast", wants: "a number"},
	{environ: "AMOSKYS_BROKERS=localhost", key: "kafka.brokers[0]", value: "localhost", wants: "host:port"},
	{environ: "AMOSKYS_ENGINE_WORKER=2", key: "AMOSKYS_ENGINE_WORKER", value: "(not shown)", wants: "did you mean AMOSKYS_ENGINE_WORKERS (key engine.workers)?"},
	{environ: "AMOSKYS_KAFKA_PASSWORT=pa55", key: "AMOSKYS_KAFKA_PASSWORT", value: "(not shown)", wants: "a variable of a setting"},
	{flags: []string{"--log-level", "loud"}, key: "log.level", value: "loud", wants: "debug, info, warn or error"},
	{flags: []string{"--listen", "nowhere"}, key: "listen", value: "nowhere", wants: "host:port"},
	{flags: []string{"--listen", "127.0.0.1:http"}, key: "listen", value: "127.0.0.1:http", wants: "host:port"},
	{flags: []string{"--listen", "127.0.0.1:99999"}, key: "listen", value: "127.0.0.1:99999", wants: "host:port"},
	{flags: []string{"--brokers", "a:1,b:0"}, key: "kafka.brokers[1]", value: "b:0", wants: "a port of 1 to 65535"},
	{flags: []string{"--registry-url", "host:8081"}, key: "registry.url", value: "host:8081", wants: "an http or https URL"},
	{flags: []string{"--data-dir", "here"}, key: "data_dir", value: "here", wants: "an absolute path"},
	{flags: []string{"--config", "/no/such/file.yaml"}, key: "--config", value: "/no/such/file.yaml", wants: "a readable YAML file"},
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "amoskys.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBadConfig starts an `up` with each bad configuration, on ports that are taken: it must end with the report before it
// has tried one, and leave nothing. What is written where a secret belongs is never shown.
func TestBadConfig(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	used := l.Addr().String()
	for _, b := range bad {
		dir := filepath.Join(t.TempDir(), "data")
		args := []string{"up", "--data-dir", dir}
		environ := []string{"AMOSKYS_LISTEN=" + used}
		if b.yaml != "" {
			args = append(args, "--config", writeConfig(t, b.yaml))
		}
		if b.environ != "" {
			environ = append(environ, b.environ)
		}
		if b.key == "listen" || b.key == "data_dir" { // the value under test must not be covered
			environ = nil
			args = slices.DeleteFunc(args, func(s string) bool { return b.key == "data_dir" && (s == "--data-dir" || s == dir) })
		}
		r := run(t, environ, append(args, b.flags...)...)
		if r.code != exitConfig || r.out != "" || strings.Contains(r.err, "listen on") || strings.Contains(r.err, "pa55") {
			t.Errorf("%+v: exit code %d\n%s%s", b, r.code, r.out, r.err)
		}
		if !slices.ContainsFunc(strings.Split(r.err, "\n"), b.names) {
			t.Errorf("%+v: report lacks key, value or what is accepted:\n%s", b, r.err)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%+v: data directory was made: %v", b, err)
		}
	}
	if len(bad) < 60 {
		t.Errorf("only %d bad configurations", len(bad))
	}
}

func (b badConfig) names(line string) bool {
	key, rest, ok := strings.Cut(strings.TrimSpace(line), ": ")
	return ok && (key == b.key || strings.HasSuffix(key, "/"+b.key)) && strings.Contains(rest, strconv.Quote(b.value)[:len(b.value)+1]) && strings.Contains(rest, b.wants)
}

// TestBadConfigAllAtOnce puts all that can stand beside each other into one configuration: one report has everything, each
// with the place where it was set, and nothing twice.
func TestBadConfigAllAtOnce(t *testing.T) {
	yaml := `tenant: a b
log: {level: loud, format: xml, colour: red}
registry: {url: 'ftp://x/', listen: ''}
broker: {listen: '127.0.0.1', max_bytes: 5}
topics: {partitions: 0, replication: 99, create: maybe}
engine: {commit_interval: soon, txn_timeout: 1s, snapshot_every: 0s}
kafka: {compression: rar, sasl: {mechanism: magic, user: me, password: pa55}, tls: {ca_file: /no/ca, key_file: /no/key}}
collectors: {proc: {interval: 1ms, root: proc, masks: ['(']}, file: {paths: [x], format: csv, pace: -1}, spool: {max_bytes: 1}}
processors: {rarity: {warmup: -1h, min_units: 3}, ensemble: {alpha: 2, window: 1, half_life: 1s}, lineage: {repeats: -1}, signature: {disable: [nothing]}}
sinks: {file: {format: csv}, webhook: {url: 'mailto:me', timeout: 1ms, secret: pa55}, pager: {}}
tenant: c
`
	keys := strings.Fields(`AMOSKYS_ENGINE_WORKER broker.listen broker.max_bytes collectors.file.format collectors.file.pace collectors.proc.interval collectors.proc.masks
		collectors.proc.root collectors.spool.max_bytes data_dir engine.commit_interval engine.snapshot_every engine.txn_timeout engine.workers kafka.brokers[0] kafka.compression
		kafka.sasl.mechanism kafka.sasl.password kafka.tls.ca_file kafka.tls.cert_file listen log.colour log.format log.level processors.ensemble.alpha processors.ensemble.half_life
		processors.ensemble.window processors.lineage.repeats processors.rarity.min_units processors.rarity.warmup processors.signature.disable[0] registry.listen registry.url
		sinks.file.format sinks.pager sinks.webhook.secret sinks.webhook.timeout sinks.webhook.url tenant tenant topics.create topics.partitions topics.replication`)
	path := writeConfig(t, yaml)
	r := run(t, []string{"AMOSKYS_ENGINE_WORKERS=many", "AMOSKYS_ENGINE_WORKER=2", "AMOSKYS_BROKERS=h"}, "up", "--config", path, "--listen", "nowhere", "--data-dir", "here")
	if r.code != exitConfig {
		t.Fatalf("exit code %d\n%s", r.code, r.err)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(r.err), "\n")[1:] {
		key, _, _ := strings.Cut(strings.TrimSpace(line), ": ")
		got = append(got, key)
		if !strings.Contains(line, "("+path+" line ") && !strings.Contains(line, "(variable AMOSKYS_") && !strings.Contains(line, "(flag)") {
			if key != "kafka.tls.cert_file" { // it is missing
				t.Errorf("not told where it was set: %s", line)
			}
		}
	}
	if !slices.Equal(got, keys) {
		t.Errorf("reported are\n%v, want\n%v\n%s", got, keys, r.err)
	}
	if !strings.HasPrefix(r.err, "amoskys: configuration has "+strconv.Itoa(len(keys))+" problems:") || strings.Contains(r.err, "pa55") {
		t.Errorf("report:\n%s", r.err)
	}
}

// TestSettingsDocumented: docs/configuration.md has every setting once, with its default, and no other.
func TestSettingsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\| (.*?) ?\\| \\S.* \\|$").FindAllStringSubmatch(string(text), -1) {
		if _, ok := documented[m[1]]; ok {
			t.Errorf("%s is documented twice", m[1])
		}
		documented[m[1]] = strings.Trim(m[2], "`")
	}
	c := defaults()
	for _, key := range config.Keys(&c) {
		have, ok := documented[key]
		want := config.Value(&c, key)
		if key == "data_dir" || key == "engine.workers" { // those of the machine
			want = ""
		}
		if !ok || have != want {
			t.Errorf("%s: documented %v with default %q, want %q", key, ok, have, want)
		}
		delete(documented, key)
	}
	if len(documented) > 0 {
		t.Errorf("documented, but no settings: %v", documented)
	}
}

// TestForeignVariables: every variable with our prefix that anything in the tree names is a setting, or known as another's.
func TestForeignVariables(t *testing.T) {
	name := regexp.MustCompile(`\bAMOSKYS_[A-Z][A-Z_]*[A-Z]\b`)
	seen := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", ".cache", "bin"}, d.Name()):
			return fs.SkipDir
		case d.IsDir() || strings.HasPrefix(path, "../../internal/cli/"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, n := range name.FindAllString(string(text), -1) {
			seen[n] = true
		}
		return err
	})
	if err != nil || len(seen) < 20 {
		t.Fatalf("%d variables found: %v", len(seen), err)
	}
	var c Config
	for n := range seen {
		_, ps := config.Load(&c, "", config.Environment{Prefix: envPrefix, Environ: []string{n + "=1"}, Aliases: aliases, Foreign: foreign})
		if slices.ContainsFunc(ps, func(p config.Problem) bool { return p.Key == n }) {
			t.Errorf("%s is named in the tree, but is no setting and not in foreign", n)
		}
	}
}

// TestBadConfigOpensNothing checks that no role opens anything, and leaves nothing, while its configuration is bad.
func TestBadConfigOpensNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	l, err := net.Listen("tcp", "127.0.0.1:0") // the port is taken: who tries to listen would say so
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, args := range [][]string{{"up"}, {"process"}, {"collect", "proc"}, {"sink", "file"}, {"registry"}, {"demo", "--yes"}, {"analyze", "x"}, {"bench", "chain"}, {"tail", "finding"}} {
		r := must(t, exitConfig, append(args, "--data-dir", dir, "--log-level", "loud", "--listen", l.Addr().String())...)
		if strings.Contains(r.err, "listen on") {
			t.Errorf("%v tried to listen:\n%s", args, r.err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("data directory was made: %v", err)
	}
	must(t, exitConfig, "config", "check", "--config", filepath.Join(dir, "none.yaml"))
}

func TestConfigPrint(t *testing.T) {
	path := writeConfig(t, "tenant: acme\nkafka:\n  sasl:\n    password: env:KAFKA_PASSWORD\nsinks:\n  webhook:\n    url: https://example.com/hook\n    secret: env:HOOK\n")
	t.Setenv("HOOK", "hunter2")
	t.Setenv("KAFKA_PASSWORD", "hunter3")
	environ := []string{"AMOSKYS_BROKERS=k1:9092,k2:9092", "AMOSKYS_TOPICS_PARTITIONS=8", "AMOSKYS_KAFKA_SASL_MECHANISM=scram-sha-512", "AMOSKYS_KAFKA_SASL_USER=me"}
	args := []string{"config", "print", "--config", path, "--log-level", "debug"}
	text := run(t, environ, args...)
	if text.code != exitDone {
		t.Fatalf("exit code %d\n%s", text.code, text.err)
	}
	rows := map[string][2]any{}
	for _, m := range objects(t, run(t, environ, append(args, "--output", "json")...).out) {
		rows[m["key"].(string)] = [2]any{m["value"], m["source"]}
	}
	for key, want := range map[string][2]any{
		"tenant":               {"acme", path + " line 1"},
		"kafka.brokers":        {"k1:9092,k2:9092", "variable AMOSKYS_BROKERS"},
		"topics.partitions":    {"8", "variable AMOSKYS_TOPICS_PARTITIONS"},
		"log.level":            {"debug", "flag"},
		"log.format":           {"text", "default"},
		"kafka.sasl.password":  {"(set)", path + " line 4"},
		"sinks.webhook.secret": {"(set)", path + " line 8"},
		"engine.txn_timeout":   {"15s", "default"},
	} {
		if rows[key] != want {
			t.Errorf("%s: %v, want %v", key, rows[key], want)
		}
	}
	for _, secret := range []string{"hunter2", "hunter3", "env:HOOK"} {
		if strings.Contains(text.out+text.err, secret) {
			t.Errorf("secret %s is shown", secret)
		}
	}
	if n := strings.Count(text.out, "\n"); n != len(rows) {
		t.Errorf("text has %d settings, JSON %d", n, len(rows))
	}
}

// TestConfigHash: the hash follows settings, not secrets and not where they come from.
func TestConfigHash(t *testing.T) {
	hash := func(environ ...string) string {
		r := run(t, environ, "config", "check", "--output", "json")
		if r.code != exitDone {
			t.Fatal(r.err)
		}
		return objects(t, r.out)[0]["config_hash"].(string)
	}
	t.Setenv("A", "1")
	t.Setenv("B", "2")
	a := hash("AMOSKYS_SINKS_WEBHOOK_SECRET=env:A")
	if b := hash("AMOSKYS_SINKS_WEBHOOK_SECRET=env:B"); a != b {
		t.Error("hash depends on a secret")
	}
	if b := hash("AMOSKYS_TENANT=other"); a == b {
		t.Error("hash does not depend on a setting")
	}
	if !strings.Contains(must(t, exitDone, "config", "check").out, "configuration is good") {
		t.Error("check says nothing")
	}
}
