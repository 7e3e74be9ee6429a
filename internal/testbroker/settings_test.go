package testbroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestProperties(t *testing.T) {
	places := []place{
		{bind: "0.0.0.0", host: "kafka0", client: 20001, broker: 9093, controller: 9094},
		{bind: "0.0.0.0", host: "kafka1", client: 20002, broker: 9093, controller: 9094},
		{bind: "0.0.0.0", host: "kafka2", client: 20003, broker: 9093, controller: 9094},
	}
	for name, tc := range map[string]struct {
		o      Options
		places []place
		want   map[string]string
	}{
		"three brokers survive one": {Options{Brokers: 3}, places, map[string]string{
			"node.id":                              "2",
			"controller.quorum.voters":             "1@kafka0:9094,2@kafka1:9094,3@kafka2:9094",
			"listeners":                            "CLIENT://0.0.0.0:20002,BROKER://0.0.0.0:9093,CONTROLLER://0.0.0.0:9094",
			"advertised.listeners":                 "CLIENT://127.0.0.1:20002,BROKER://kafka1:9093",
			"default.replication.factor":           "3",
			"min.insync.replicas":                  "2",
			"transaction.state.log.min.isr":        "2",
			"group.consumer.session.timeout.ms":    "6000",
			"group.consumer.heartbeat.interval.ms": "1000",
			"broker.session.timeout.ms":            "9000",
			"broker.heartbeat.interval.ms":         "1500",
			"listener.security.protocol.map":       "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
			"authorizer.class.name":                "",
		}},
		"one broker is content with itself": {Options{}, places[:2][1:], map[string]string{
			"controller.quorum.voters": "1@kafka1:9094", "default.replication.factor": "1", "min.insync.replicas": "1",
		}},
		"settings of the test win": {Options{GroupSession: time.Minute, Settings: map[string]string{"num.partitions": "12"}}, places[:1], map[string]string{
			"num.partitions": "12", "group.consumer.session.timeout.ms": "60000",
		}},
		"TLS is mutual and only roles with grants pass": {Options{TLS: true}, places[:1], map[string]string{
			"listener.security.protocol.map": "CLIENT:SSL,BROKER:SSL,CONTROLLER:SSL", "ssl.client.auth": "required",
			"ssl.keystore.location": "node.pem", "super.users": "User:broker;User:admin",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.o.Dir = "d"
			if err := tc.o.complete(); err != nil {
				t.Fatal(err)
			}
			got := tc.o.properties(min(1, len(tc.places)-1), tc.places, "data", brokerFiles{ca: "ca.pem", node: "node.pem"})
			for k, want := range tc.want {
				if got[k] != want {
					t.Errorf("%s is %q, want %q", k, got[k], want)
				}
			}
		})
	}
}

func TestPropertiesFileEscapes(t *testing.T) {
	got := propertiesFile(map[string]string{"b.c": `RULE:\d`, "a": "1"})
	if want := "a=1\nb.c=RULE:\\\\d\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEnvironment(t *testing.T) {
	got := environment(map[string]string{"log.dirs": "/d", "some_key.with-dash": "x"})
	for k, want := range map[string]string{"KAFKA_LOG_DIRS": "/d", "KAFKA_SOME__KEY_WITH___DASH": "x", "CLUSTER_ID": clusterID} {
		if got[k] != want {
			t.Errorf("%s is %q, want %q", k, got[k], want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{Brokers: 2, Dir: "d"}, {}} {
		if _, err := New(context.Background(), o); err == nil {
			t.Errorf("options %+v were accepted", o)
		}
	}
}

func TestFreePortsAreFree(t *testing.T) {
	ports, err := freePorts(5)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil || seen[p] {
			t.Errorf("port %d: %v, given twice: %v", p, err, seen[p])
			continue
		}
		seen[p] = true
		defer l.Close()
	}
}

func TestJavaVersion(t *testing.T) {
	for out, want := range map[string]int{
		`openjdk version "17.0.15" 2025-04-15`: 17, `openjdk version "25" 2025-09-16`: 25, `java version "1.8.0_402"`: 1, "command not found": 0,
	} {
		if got := javaVersion(out); got != want {
			t.Errorf("version in %q is %d, want %d", out, got, want)
		}
	}
}

func TestWorthShowsWarningsAndTheEnd(t *testing.T) {
	var b strings.Builder
	b.WriteString("12:00:00.000 [main] INFO kafka - fine\n12:00:01.000 [main] ERROR kafka - disk is full\n\tat kafka.Log\nCaused by: x\n")
	for i := range 100 {
		fmt.Fprintf(&b, "12:00:02.000 [main] INFO kafka - line %d\n", i)
	}
	got := worth(b.String())
	for _, want := range []string{"disk is full", "at kafka.Log", "Caused by: x", "line 99"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not shown", want)
		}
	}
	for _, not := range []string{"fine", "line 5\n"} {
		if strings.Contains(got, not) {
			t.Errorf("%q is shown", not)
		}
	}
}

func TestGivenCluster(t *testing.T) {
	own := StartEmbedded(t, Options{})
	t.Setenv("AMOSKYS_BROKERS", own.Addrs()[0])
	c := Start(t, Options{})
	if c.Kind() != "given" || c.Addrs()[0] != own.Addrs()[0] {
		t.Errorf("cluster is %s at %v, want the given one at %v", c.Kind(), c.Addrs(), own.Addrs())
	}
	for _, f := range []func(int) error{c.Kill, c.Stop, c.Freeze, c.Thaw, c.Restart} {
		if err := f(0); !errors.Is(err, errNotHere) {
			t.Errorf("a given broker: %v, want %v", err, errNotHere)
		}
	}
	if _, err := New(t.Context(), Options{TLS: true, Dir: t.TempDir()}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("TLS on a given cluster: %v, want %v", err, ErrUnavailable)
	}
}

func TestEmbeddedCannotBeKilled(t *testing.T) {
	c := StartEmbedded(t, Options{Brokers: 3})
	if c.Killable() || len(c.Addrs()) != 3 {
		t.Errorf("kfake of %d brokers, killable: %v", len(c.Addrs()), c.Killable())
	}
	for _, f := range []func(int) error{c.Kill, c.Freeze, c.Thaw} {
		if err := f(0); !errors.Is(err, errNotHere) {
			t.Errorf("kfake: %v, want %v", err, errNotHere)
		}
	}
}

func TestNothingToRunABrokerWith(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	t.Setenv("AMOSKYS_BROKERS", "")
	t.Setenv("AMOSKYS_TEST_BROKER", "processes")
	_, err := New(t.Context(), Options{Dir: t.TempDir()})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "apt-get install") {
		t.Errorf("without java: %v, want %v with the remedy", err, ErrUnavailable)
	}
	t.Setenv("AMOSKYS_TEST_BROKER", "clouds")
	if _, err := New(t.Context(), Options{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "clouds") {
		t.Errorf("an unknown source: %v, want an error that names it", err)
	}
}

func TestABrokerThatDiesIsNotWaitedFor(t *testing.T) {
	if testing.Short() {
		t.Skip("a JVM takes seconds")
	}
	if _, err := javaCommand(t.Context()); err != nil {
		t.Skip(err)
	}
	t.Setenv("AMOSKYS_BROKERS", "")
	t.Setenv("AMOSKYS_TEST_BROKER", "processes")
	start := time.Now()
	_, err := New(t.Context(), Options{Dir: t.TempDir(), Settings: map[string]string{"num.network.threads": "0"}})
	if err == nil || !strings.Contains(err.Error(), "num.network.threads") {
		t.Errorf("a broker with a bad setting: %v, want an error with its words", err)
	}
	if d := time.Since(start); d > time.Minute {
		t.Errorf("it took %v to say so", d)
	}
}

func TestGrants(t *testing.T) {
	gs, err := Grants()
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]bool{}
	for _, g := range gs {
		roles[g.Role] = true
	}
	for _, want := range []string{"topics", "registry", "collector", "lineage", "features", "scoring", "sink"} {
		if !roles[want] {
			t.Errorf("role %s has no grants", want)
		}
	}
	for _, bad := range []string{"a\tRead\ttopic\tliteral", "a\tDance\ttopic\tliteral\tx", "a\tRead\tmoon\tliteral\tx", "a\tRead\ttopic\tround\tx", "\tRead\ttopic\tliteral\tx"} {
		if _, err := parseGrants(strings.NewReader(bad)); err == nil {
			t.Errorf("line %q was accepted", bad)
		}
	}
}

func TestModuleRoot(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if root, err := moduleRoot(); err == nil {
		t.Errorf("a module was found above %s: %s", dir, root)
	}
	if err := os.WriteFile("go.mod", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := moduleRoot(); err != nil {
		t.Error(err)
	}
}
