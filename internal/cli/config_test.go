package cli

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bad are configurations that are not accepted: a YAML text, and what the report must say of it.
var bad = []struct {
	yaml              string
	key, value, wants string
}{
	{"tenant: ''", "tenant", "", "a name without spaces"},
	{"tenant: a b", "tenant", "a b", "a name without spaces"},
	{"data_dir: here", "data_dir", "here", "an absolute path"},
	{"listen: nowhere", "listen", "nowhere", "host:port"},
	{"registry: {listen: ''}", "registry.listen", "", "host:port"},
	{"registry: {url: 'ftp://x/'}", "registry.url", "ftp://x/", "an http or https URL"},
	{"broker: {listen: '127.0.0.1'}", "broker.listen", "127.0.0.1", "host:port"},
	{"broker: {max_bytes: 5}", "broker.max_bytes", "5", "a number from 67108864"},
	{"broker: {max_bytes: lots}", "broker.max_bytes", "lots", "a whole number"},
	{"topics: {partitions: 0}", "topics.partitions", "0", "a number from 1 to 1024"},
	{"topics: {replication: 99}", "topics.replication", "99", "a number from 1 to 9"},
	{"engine: {workers: 0}", "engine.workers", "0", "a number from 1 to 256"},
	{"engine: {commit_interval: 1ms}", "engine.commit_interval", "1ms", "a duration from 10ms on"},
	{"engine: {commit_interval: soon}", "engine.commit_interval", "soon", "a duration such as"},
	{"engine: {txn_timeout: 1s}", "engine.txn_timeout", "1s", "a duration from 5s on"},
	{"engine: {snapshot_every: 0s}", "engine.snapshot_every", "0s", "a duration from 10ms on"},
	{"log: {level: loud}", "log.level", "loud", "debug, info, warn or error"},
	{"log: {format: xml}", "log.format", "xml", "text or json"},
	{"log: loud", "log", "loud", "a group of keys"},
	{"kafka: {brokers: [x]}", "kafka.brokers", "x", "host:port"},
	{"kafka: {brokers: ['h:1'], compression: rar}", "kafka.compression", "rar", "none, gzip, snappy, lz4"},
	{"kafka: {brokers: ['h:1'], sasl: {mechanism: magic}}", "kafka.sasl.mechanism", "magic", "scram"},
	{"kafka: {brokers: ['h:1'], tls: {ca_file: /does/not/exist}}", "kafka.tls.ca_file", "/does/not/exist", "PEM"},
	{"collectors: {proc: {enabled: maybe}}", "collectors.proc.enabled", "maybe", "true or false"},
	{"collectors: {proc: {interval: 1ms}}", "collectors.proc.interval", "1ms", "a duration of 50ms to 1m"},
	{"collectors: {proc: {root: proc}}", "collectors.proc.root", "proc", "an absolute path"},
	{"collectors: {proc: {masks: ['(']}}", "collectors.proc.masks", "(", "regular expressions"},
	{"collectors: {file: {paths: [x], format: csv}}", "collectors.file.format", "csv", "auto"},
	{"collectors: {file: {paths: [x], pace: -1}}", "collectors.file.pace", "-1", "a number of 0"},
	{"processors: {rarity: {warmup: -1h}}", "processors.rarity.warmup", "-1h0m0s", "a duration of 0 to 720h"},
	{"processors: {rarity: {min_units: 3}}", "processors.rarity.min_units", "3", "a number from 20"},
	{"processors: {ensemble: {alpha: 1}}", "processors.ensemble.alpha", "1", "a number over 0, up to 0.05"},
	{"processors: {ensemble: {half_life: 1s}}", "processors.ensemble.half_life", "1s", "a duration of 1m to 720h"},
	{"processors: {lineage: {repeats: -1}}", "processors.lineage", "-1", "bounds"},
	{"processors: {signature: {disable: [nothing]}}", "processors.signature", "nothing", "bounds"},
	{"sinks: {file: {format: csv}}", "sinks.file.format", "csv", "jsonl or avro"},
	{"sinks: {webhook: {url: 'mailto:me'}}", "sinks.webhook.url", "(not shown)", "an http or https URL"},
	{"sinks: {webhook: {timeout: 1ms}}", "sinks.webhook.timeout", "1ms", "a duration of 100ms to 5m"},
	{"sinks: {pager: {}}", "sinks.pager", "pager", "one of the keys file, webhook, audit"},
	{"tennant: x", "tennant", "tennant", "one of the keys tenant"},
	{"a: [", "", "", "YAML"},
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "amoskys.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBadConfig(t *testing.T) {
	for _, b := range bad {
		r := must(t, exitConfig, "config", "check", "--config", writeConfig(t, b.yaml))
		line := ""
		for _, l := range strings.Split(r.err, "\n") {
			if strings.Contains(l, "is not accepted") && strings.Contains(l, b.key) {
				line = l
			}
		}
		for _, want := range []string{b.key, b.value, b.wants} {
			if !strings.Contains(line, want) {
				t.Errorf("%s: report lacks %q:\n%s", b.yaml, want, r.err)
			}
		}
		if r.out != "" {
			t.Errorf("%s: printed %q", b.yaml, r.out)
		}
	}
}

func TestBadConfigAllAtOnce(t *testing.T) {
	path := writeConfig(t, "tenant: a b\nlog: {level: loud}\nsinks: {file: {format: csv}}\nprocessors: {ensemble: {alpha: 2, window: 1}}\n")
	r := run(t, []string{"AMOSKYS_ENGINE_WORKERS=many"}, "config", "check", "--config", path, "--listen", "nowhere")
	if r.code != exitConfig {
		t.Fatalf("exit code %d\n%s", r.code, r.err)
	}
	for _, want := range []string{"7 problem(s)", path + " line 1", path + " line 2", "sinks.file.format", "processors.ensemble.alpha", "processors.ensemble.window", "variable AMOSKYS_ENGINE_WORKERS", "(flag)"} {
		if !strings.Contains(r.err, want) {
			t.Errorf("report lacks %q:\n%s", want, r.err)
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
