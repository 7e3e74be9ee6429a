package streams

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Kafka are the settings with which brokers are reached. It holds no secret, only where secrets are: it can be printed.
type Kafka struct {
	// Brokers are some of the brokers, host:port; the others are found through them.
	Brokers []string `yaml:"brokers"`
	// ClientID is what brokers call this client in logs and quotas. Default: amoskys.
	ClientID string `yaml:"client_id"`
	TLS      TLS    `yaml:"tls"`
	SASL     SASL   `yaml:"sasl"`
	// Compression of what is produced: none, gzip, snappy, lz4 or zstd. Default: snappy, which costs the least CPU.
	Compression string `yaml:"compression"`
	// Linger is how long a record may wait for others to share its batch. The end of a transaction does not wait for it.
	// Default: 50 ms; many small batches slow loaded brokers down.
	Linger time.Duration `yaml:"linger"`
	// Dial replaces the network: the embedded broker in memory, or a test that cuts connections. TLS is not used then.
	Dial func(ctx context.Context, network, address string) (net.Conn, error) `yaml:"-"`
}

// TLS are the settings of encryption and of the client's certificate. It is on when Enabled, or when a file is named.
type TLS struct {
	Enabled bool `yaml:"enabled"`
	// CAFile holds the certificates that sign the brokers' (PEM). Default: those of the system.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the client's certificate and key (PEM), read again at each connection: they can be renewed
	// while the program runs.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName is the name that brokers' certificates must bear. Default: the host that is dialed.
	ServerName string `yaml:"server_name"`
}

// SASL are the settings of authentication by name and password.
type SASL struct {
	// Mechanism is plain, scram-sha-256 or scram-sha-512; empty for none.
	Mechanism string `yaml:"mechanism"`
	User      string `yaml:"user"`
	Password  Secret `yaml:"password"`
}

// A Secret says where a secret is: file:PATH or env:NAME. The secret itself is read when it is used, so that it can be
// changed while the program runs, and it is never kept, printed or logged.
type Secret string

// Read returns the secret: the content of the file without a final line end, or the value of the variable.
func (s Secret) Read() (string, error) {
	kind, name, _ := strings.Cut(string(s), ":")
	switch kind {
	case "file":
		b, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read secret: %w", err)
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	case "env":
		v, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("read secret: variable %s is not set", name)
		}
		return v, nil
	}
	return "", errors.New("read secret: want file:PATH or env:NAME")
}

// String is the reference. What is no reference may be a secret that was written in its place, and is not shown.
func (s Secret) String() string {
	if s == "" || strings.HasPrefix(string(s), "file:") || strings.HasPrefix(string(s), "env:") {
		return string(s)
	}
	return "(not shown)"
}

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A SettingError is one thing that is wrong with the settings.
type SettingError struct {
	Key   string // as in the configuration file, e.g. kafka.tls.ca_file
	Value string // what it is; never a secret
	Want  string // what is accepted
}

// Error names key, value and what is accepted.
func (e *SettingError) Error() string {
	return fmt.Sprintf("%s: %q is not accepted: want %s", e.Key, e.Value, e.Want)
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// Validate returns everything that is wrong, each as a *SettingError.
func (k Kafka) Validate() error {
	var errs []error
	bad := func(key, value, want string) { errs = append(errs, &SettingError{"kafka." + key, value, want}) }
	if len(k.Brokers) == 0 {
		bad("brokers", "", "at least one host:port")
	}
	for i, b := range k.Brokers {
		host, port, err := net.SplitHostPort(b)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || host == "" || perr != nil || n == 0 {
			bad(fmt.Sprintf("brokers[%d]", i), b, "host:port with a port of 1 to 65535")
		}
	}
	if _, ok := codecs[k.Compression]; !ok && k.Compression != "" {
		bad("compression", k.Compression, "none, gzip, snappy, lz4 or zstd")
	}
	if k.Linger < 0 || k.Linger > 10*time.Second {
		bad("linger", k.Linger.String(), "a duration of 0 to 10s")
	}
	k.TLS.validate(bad)
	k.SASL.validate(k.TLS.on(), bad)
	return errors.Join(errs...)
}

func (t TLS) on() bool { return t.Enabled || t.CAFile != "" || t.CertFile != "" || t.KeyFile != "" }

func (t TLS) validate(bad func(key, value, want string)) {
	if t.CAFile != "" {
		if _, err := t.pool(); err != nil {
			bad("tls.ca_file", t.CAFile, "a readable PEM file with certificates: "+err.Error())
		}
	}
	switch {
	case t.CertFile == "" && t.KeyFile != "":
		bad("tls.cert_file", "", "a certificate (PEM), since tls.key_file is set")
	case t.CertFile != "" && t.KeyFile == "":
		bad("tls.key_file", "", "the key (PEM) of tls.cert_file, which is set")
	case t.CertFile != "":
		if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
			bad("tls.cert_file", t.CertFile, "a certificate that fits the key (PEM) of tls.key_file: "+err.Error())
		}
	}
}

func (s SASL) validate(encrypted bool, bad func(key, value, want string)) {
	switch s.Mechanism {
	case "":
		if s.User != "" || s.Password != "" {
			bad("sasl.mechanism", "", "plain, scram-sha-256 or scram-sha-512, since a user or password is set")
		}
		return
	case "plain":
		if !encrypted {
			bad("sasl.mechanism", s.Mechanism, "kafka.tls.enabled with plain, which sends the password as it is; or scram-sha-512")
		}
	case "scram-sha-256", "scram-sha-512":
	default:
		bad("sasl.mechanism", s.Mechanism, "plain, scram-sha-256 or scram-sha-512")
	}
	if s.User == "" {
		bad("sasl.user", "", "a name")
	}
	if _, err := s.Password.Read(); err != nil {
		bad("sasl.password", s.Password.String(), "file:PATH or env:NAME that can be read: "+err.Error())
	}
}

// Options are the client options of the settings, to which each client adds its own.
func (k Kafka) Options() ([]kgo.Opt, error) {
	if err := k.Validate(); err != nil {
		return nil, err
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(k.Brokers...),
		kgo.ClientID(k.clientID()),
		// A transaction that comes right after another is retried only at a metadata update: at the default of 5 s between
		// two, that is seconds of stall for nothing.
		kgo.MetadataMinAge(metadataMinAge),
		kgo.DisableClientMetrics(), // KIP-714: the engine has metrics of its own
	}
	switch {
	case k.Dial != nil:
		opts = append(opts, kgo.Dialer(k.Dial))
	case k.TLS.on():
		c, err := k.TLS.config()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(c))
	}
	if m := k.SASL.mechanism(); m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

const metadataMinAge = 100 * time.Millisecond

func (k Kafka) clientID() string {
	if k.ClientID == "" {
		return "amoskys"
	}
	return k.ClientID
}

func (k Kafka) codec() kgo.CompressionCodec {
	if c, ok := codecs[k.Compression]; ok {
		return c
	}
	return kgo.SnappyCompression()
}

func (k Kafka) linger() time.Duration {
	if k.Linger == 0 {
		return 50 * time.Millisecond
	}
	return k.Linger
}

func (t TLS) pool() (*x509.CertPool, error) {
	b, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(b) {
		return nil, errors.New("no certificate in it")
	}
	return p, nil
}

func (t TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		p, err := t.pool()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", t.CAFile, err)
		}
		c.RootCAs = p
	}
	if t.CertFile != "" {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("read client certificate: %w", err)
			}
			return &pair, nil
		}
	}
	return c, nil
}

func (s SASL) mechanism() sasl.Mechanism {
	hash := func(context.Context) (scram.Auth, error) {
		p, err := s.Password.Read()
		return scram.Auth{User: s.User, Pass: p}, err
	}
	switch s.Mechanism {
	case "plain":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			p, err := s.Password.Read()
			return plain.Auth{User: s.User, Pass: p}, err
		})
	case "scram-sha-256":
		return scram.Sha256(hash)
	case "scram-sha-512":
		return scram.Sha512(hash)
	}
	return nil
}
