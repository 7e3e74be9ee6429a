package testbroker_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/amoskys/amoskys/internal/testbroker"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func client(t *testing.T, c *testbroker.Cluster, role string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	conf, err := c.TLS(role)
	if err != nil {
		t.Fatal(err)
	}
	opts = append(opts, kgo.SeedBrokers(c.Addrs()...), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.RequestTimeoutOverhead(3*time.Second), kgo.ProduceRequestTimeout(3*time.Second)) // a frozen broker is given up sooner
	if conf != nil {
		opts = append(opts, kgo.DialTLSConfig(conf))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func createTopic(t *testing.T, c *testbroker.Cluster, name string) {
	t.Helper()
	// A broker that has just come answers before the controller places topics on it.
	ctx := within(t, 30*time.Second)
	adm := kadm.NewClient(client(t, c, testbroker.Admin))
	for {
		_, err := adm.CreateTopic(ctx, 2, int16(len(c.Addrs())), nil, name)
		if err == nil {
			return
		}
		if !errors.Is(err, kerr.InvalidReplicationFactor) || ctx.Err() != nil {
			t.Fatalf("create topic %s: %v", name, err)
		}
	}
}

// transact writes n records in one transaction and ends it.
func transact(t *testing.T, cl *kgo.Client, topic, prefix string, n int, end kgo.TransactionEndTry) {
	t.Helper()
	ctx := within(t, time.Minute)
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	var recs []*kgo.Record
	for i := range n {
		recs = append(recs, &kgo.Record{Topic: topic, Key: []byte{byte(i)}, Value: fmt.Appendf(nil, "%s%d", prefix, i)})
	}
	if err := cl.ProduceSync(ctx, recs...).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
	if err := cl.EndTransaction(ctx, end); err != nil {
		t.Fatalf("end transaction: %v", err)
	}
}

// committed reads until it has seen want records, and returns how often it saw each value.
func committed(t *testing.T, cl *kgo.Client, want int) map[string]int {
	t.Helper()
	ctx := within(t, time.Minute)
	seen := map[string]int{}
	for n := 0; n < want; {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records after a minute", n, want)
		}
		fs.EachError(func(topic string, p int32, err error) { t.Fatalf("fetch %s/%d: %v", topic, p, err) })
		fs.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++; n++ })
	}
	return seen
}

// smoke writes two committed transactions around an aborted one, and reads them back as a group.
func smoke(t *testing.T, c *testbroker.Cluster) {
	t.Helper()
	const topic = "smoke"
	createTopic(t, c, topic)
	w := client(t, c, testbroker.Admin, kgo.TransactionalID("smoke"), kgo.ProducerLinger(0))
	transact(t, w, topic, "a", 50, kgo.TryCommit)
	transact(t, w, topic, "lost", 50, kgo.TryAbort)
	transact(t, w, topic, "b", 50, kgo.TryCommit)
	r := client(t, c, testbroker.Admin, kgo.ConsumerGroup("smokers"), kgo.ConsumeTopics(topic),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := committed(t, r, 100)
	for _, p := range []string{"a", "b"} {
		for i := range 50 {
			if v := fmt.Sprintf("%s%d", p, i); seen[v] != 1 {
				t.Errorf("record %s was read %d times, want once", v, seen[v])
			}
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d different records read, want 100", len(seen))
	}
}

func TestEach(t *testing.T) {
	testbroker.Each(t, smoke)
}

func TestThreeBrokers(t *testing.T) {
	if testing.Short() {
		t.Skip("three brokers take a quarter of a minute to start")
	}
	c := testbroker.Start(t, testbroker.Options{Brokers: 3})
	smoke(t, c)
	if !c.Killable() {
		t.Skipf("brokers of kind %s cannot be killed", c.Kind())
	}
	w := client(t, c, testbroker.Admin, kgo.TransactionalID("smoke"), kgo.ProducerLinger(0))
	for name, do := range map[string][2]func(int) error{
		"killed": {c.Kill, c.Restart},
		"frozen": {c.Freeze, c.Thaw},
	} {
		if err := do[0](1); err != nil {
			t.Fatal(err)
		}
		transact(t, w, "smoke", name, 50, kgo.TryCommit) // two of three in-sync replicas suffice
		if err := do[1](1); err != nil {
			t.Fatal(err)
		}
		transact(t, w, "smoke", name+"-after", 50, kgo.TryCommit)
	}
	r := client(t, c, testbroker.Admin, kgo.ConsumeTopics("smoke"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for v, n := range committed(t, r, 300) {
		if n != 1 {
			t.Errorf("record %s was read %d times, want once", v, n)
		}
	}
}

func TestRestartKeepsData(t *testing.T) {
	testbroker.Each(t, func(t *testing.T, c *testbroker.Cluster) {
		createTopic(t, c, "kept")
		transact(t, client(t, c, testbroker.Admin, kgo.TransactionalID("w")), "kept", "x", 20, kgo.TryCommit)
		if c.Kind() == "given" {
			t.Skip("a given broker is left alone")
		}
		if err := c.Restart(0); err != nil {
			t.Fatal(err)
		}
		r := client(t, c, testbroker.Admin, kgo.ConsumeTopics("kept"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if seen := committed(t, r, 20); len(seen) != 20 {
			t.Errorf("%d different records after the restart, want 20", len(seen))
		}
	})
}

func TestMutualTLSWithACLs(t *testing.T) {
	if testing.Short() {
		t.Skip("a real broker takes seconds to start")
	}
	c := testbroker.Start(t, testbroker.Options{TLS: true})
	smoke(t, c)

	grants, err := testbroker.Grants()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Grant(t.Context(), grants); err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"amoskys.telemetry.endpoint.v1", "amoskys.alerts.finding.v1", "amoskys.lineage.process.v1"} {
		createTopic(t, c, topic)
	}
	for _, tc := range []struct {
		role, topic string
		want        error
	}{
		{"collector", "amoskys.telemetry.endpoint.v1", nil},
		{"collector", "amoskys.alerts.finding.v1", kerr.TopicAuthorizationFailed},
		{"lineage", "amoskys.lineage.process.v1", nil},
		{"lineage", "amoskys.alerts.finding.v1", kerr.TopicAuthorizationFailed},
		{"scoring", "amoskys.alerts.finding.v1", nil},
		{"sink", "amoskys.alerts.finding.v1", kerr.TopicAuthorizationFailed},
		{"nobody", "amoskys.telemetry.endpoint.v1", kerr.TopicAuthorizationFailed},
	} {
		err := client(t, c, tc.role).ProduceSync(within(t, 20*time.Second), &kgo.Record{Topic: tc.topic, Value: []byte("v")}).FirstErr()
		if !errors.Is(err, tc.want) {
			t.Errorf("%s produces to %s: %v, want %v", tc.role, tc.topic, err, tc.want)
		}
	}

	conf, err := c.TLS("collector")
	if err != nil {
		t.Fatal(err)
	}
	conf.Certificates = nil
	anonymous, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...), kgo.DialTLSConfig(conf))
	if err != nil {
		t.Fatal(err)
	}
	defer anonymous.Close()
	if err := anonymous.Ping(within(t, 5*time.Second)); err == nil {
		t.Error("a client without a certificate was let in")
	}
}

func TestFiles(t *testing.T) {
	c := testbroker.StartEmbedded(t, testbroker.Options{TLS: true})
	ca, cert, key, err := c.Files("lineage")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		t.Errorf("certificate and key of a role: %v", err)
	}
	if b, err := os.ReadFile(ca); err != nil || !x509.NewCertPool().AppendCertsFromPEM(b) {
		t.Errorf("certificate of the authority: %v", err)
	}
	smoke(t, c)
}
