package streams_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/franz-go/pkg/kfake"
)

func TestKafkaValidate(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	ok := []string{"localhost:9092"}
	for name, c := range map[string]struct {
		k    streams.Kafka
		keys []string // that are reported
	}{
		"good":            {streams.Kafka{Brokers: ok, Compression: "zstd", Linger: time.Millisecond}, nil},
		"nothing":         {streams.Kafka{}, []string{"kafka.brokers"}},
		"addresses":       {streams.Kafka{Brokers: []string{"a:1", "b", ":2", "c:0", "d:70000", "e:x"}}, []string{"kafka.brokers[1]", "kafka.brokers[2]", "kafka.brokers[3]", "kafka.brokers[4]", "kafka.brokers[5]"}},
		"codec, linger":   {streams.Kafka{Brokers: ok, Compression: "rar", Linger: -1}, []string{"kafka.compression", "kafka.linger"}},
		"no ca":           {streams.Kafka{Brokers: ok, TLS: streams.TLS{CAFile: "/nowhere"}}, []string{"kafka.tls.ca_file"}},
		"empty ca":        {streams.Kafka{Brokers: ok, TLS: streams.TLS{CAFile: empty}}, []string{"kafka.tls.ca_file"}},
		"half a pair":     {streams.Kafka{Brokers: ok, TLS: streams.TLS{CertFile: empty}}, []string{"kafka.tls.key_file"}},
		"bad pair":        {streams.Kafka{Brokers: ok, TLS: streams.TLS{CertFile: empty, KeyFile: empty}}, []string{"kafka.tls.cert_file"}},
		"plain, no tls":   {streams.Kafka{Brokers: ok, SASL: streams.SASL{Mechanism: "plain", User: "u", Password: "env:PATH"}}, []string{"kafka.sasl.mechanism"}},
		"plain, tls":      {streams.Kafka{Brokers: ok, TLS: streams.TLS{Enabled: true}, SASL: streams.SASL{Mechanism: "plain", User: "u", Password: "env:PATH"}}, nil},
		"mechanism":       {streams.Kafka{Brokers: ok, SASL: streams.SASL{Mechanism: "gssapi", User: "u", Password: "env:PATH"}}, []string{"kafka.sasl.mechanism"}},
		"no mechanism":    {streams.Kafka{Brokers: ok, SASL: streams.SASL{User: "u"}}, []string{"kafka.sasl.mechanism"}},
		"no user":         {streams.Kafka{Brokers: ok, SASL: streams.SASL{Mechanism: "scram-sha-512", Password: "env:PATH"}}, []string{"kafka.sasl.user"}},
		"password itself": {streams.Kafka{Brokers: ok, SASL: streams.SASL{Mechanism: "scram-sha-256", User: "u", Password: "hunter2"}}, []string{"kafka.sasl.password"}},
		"password file":   {streams.Kafka{Brokers: ok, SASL: streams.SASL{Mechanism: "scram-sha-256", User: "u", Password: "file:/nowhere"}}, []string{"kafka.sasl.password"}},
		"password env":    {streams.Kafka{Brokers: ok, SASL: streams.SASL{Mechanism: "scram-sha-256", User: "u", Password: "env:NO_SUCH_VARIABLE_HERE"}}, []string{"kafka.sasl.password"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.k.Validate()
			var got []string
			if err != nil {
				for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
					var s *streams.SettingError
					if !errors.As(e, &s) || s.Want == "" {
						t.Fatalf("got %v", e)
					}
					got = append(got, s.Key)
				}
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error shows the password: %v", err)
				}
			}
			if strings.Join(got, "; ") != strings.Join(c.keys, "; ") {
				t.Errorf("got %q, want %q", got, c.keys)
			}
			if opts, err := c.k.Options(); (err == nil) != (c.keys == nil) || (err == nil && len(opts) == 0) {
				t.Errorf("Options: got %d, %v", len(opts), err)
			}
		})
	}
}

func TestSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("s3cret\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AMOSKYS_TEST_SECRET", "other")
	for s, want := range map[streams.Secret]string{streams.Secret("file:" + path): "s3cret", "env:AMOSKYS_TEST_SECRET": "other"} {
		if got, err := s.Read(); err != nil || got != want {
			t.Errorf("%s: got %q, %v", s, got, err)
		}
	}
	k := streams.Kafka{SASL: streams.SASL{Password: "hunter2"}}
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("settings", "password", k.SASL.Password, "kafka", k)
	text, err := json.Marshal(k.SASL)
	if err != nil {
		t.Fatal(err)
	}
	if all := b.String() + string(text); strings.Contains(all, "hunter2") || !strings.Contains(all, "not shown") {
		t.Errorf("got %s", all)
	}
	if streams.Secret("env:X").String() != "env:X" {
		t.Error("a reference is to be shown")
	}
}

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", nil)
	return a
}

// sign makes NAME.pem and NAME.key in the authority's directory.
func (a *authority) sign(name string, hosts []net.IP) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: hosts, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IsCA: a.cert == nil, BasicConstraintsValid: true}
	parent, signer := c, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for path, b := range map[string]*pem.Block{a.path(name + ".pem"): {Type: "CERTIFICATE", Bytes: der}, a.path(name + ".key"): {Type: "PRIVATE KEY", Bytes: priv}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func TestMutualTLSAndSCRAM(t *testing.T) {
	a := newAuthority(t)
	a.sign("broker", []net.IP{net.IPv4(127, 0, 0, 1)})
	a.sign("client", nil)
	pair, err := tls.LoadX509KeyPair(a.path("broker.pem"), a.path("broker.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "amoskys", "s3cret"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := os.WriteFile(a.path("password"), []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := streams.Kafka{Brokers: c.ListenAddrs(), TLS: streams.TLS{CAFile: a.path("ca.pem"), CertFile: a.path("client.pem"), KeyFile: a.path("client.key")},
		SASL: streams.SASL{Mechanism: "scram-sha-512", User: "amoskys", Password: streams.Secret("file:" + a.path("password"))}}
	topics := []*schemas.Topic{schemas.AlertsTopic}
	if created, err := streams.EnsureTopics(t.Context(), good, topics, 1, 1); err != nil || len(created) != 1 {
		t.Fatalf("got %v, %v", created, err)
	}
	other := newAuthority(t)
	strange := good
	strange.TLS.CAFile = other.path("ca.pem")
	wrong := good
	wrong.SASL.Password = "env:AMOSKYS_TEST_WRONG"
	t.Setenv("AMOSKYS_TEST_WRONG", "x")
	for name, k := range map[string]streams.Kafka{"unknown authority": strange, "wrong password": wrong} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // this broker only hangs up on a wrong password
		defer cancel()
		began := time.Now()
		_, err := streams.EnsureTopics(ctx, k, topics, 1, 1)
		if err == nil || !strings.Contains(err.Error(), "reach brokers "+c.ListenAddrs()[0]) {
			t.Errorf("%s: got %v", name, err)
		}
		if k.TLS != good.TLS && time.Since(began) > time.Second {
			t.Errorf("%s: tried again for %s", name, time.Since(began))
		}
	}
}
