package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// A Config says where records are posted, and how.
type Config struct {
	// URL is the endpoint, https, or http on this machine. Empty: the sink is off.
	URL string `yaml:"url"`
	// Plaintext allows http to other machines: everybody between here and there reads the alerts.
	Plaintext bool `yaml:"plaintext"`
	// Topics are the topics to post.
	Topics []string `yaml:"topics"`
	// Secret signs requests; PreviousSecret signs them too while receivers change over. Read for each request.
	Secret         streams.Secret `yaml:"secret"`
	PreviousSecret streams.Secret `yaml:"previous_secret"`
	// Authorization is the value of the header of that name, e.g. "Bearer …". Read for each request.
	Authorization streams.Secret `yaml:"authorization"`
	// CAFile holds the certificates that sign the endpoint's (PEM). Default: those of the system.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the client's certificate and key (PEM), read again for each connection.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// Timeout is for one request with its answer.
	Timeout time.Duration `yaml:"timeout"`
	// RetryFor is how long one delivery is tried again by the sink itself, before the runner takes over.
	RetryFor time.Duration `yaml:"retry_for"`
	// Array is how many records are posted in one array; 0: each alone, as an object.
	Array int `yaml:"array"`
	// MaxBodyBytes bounds a request's body. A record that has more goes to the dead letters.
	MaxBodyBytes int `yaml:"max_body_bytes"`
}

// Defaults posts alerts, one by one.
func Defaults() Config {
	return Config{Topics: []string{schemas.AlertsTopic.Name}, Timeout: 10 * time.Second, RetryFor: 30 * time.Second, MaxBodyBytes: 1 << 20}
}

// Validate returns everything that is wrong, each as a *streams.SettingError with the key relative to the sink's.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, value, want string) {
		errs = append(errs, &streams.SettingError{Key: key, Value: value, Want: want})
	}
	c.validateURL(bad)
	c.validateSecrets(bad)
	c.validateTLS(bad)
	if len(c.Topics) == 0 {
		bad("topics", "", "at least one topic")
	}
	for i, name := range c.Topics {
		if _, ok := schemas.TopicByName(name); !ok {
			bad(fmt.Sprintf("topics[%d]", i), name, "a topic of ours, see amoskys topics")
		}
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > 5*time.Minute {
		bad("timeout", c.Timeout.String(), "a duration of 100ms to 5m")
	}
	if c.RetryFor < 0 || c.RetryFor > time.Hour {
		bad("retry_for", c.RetryFor.String(), "a duration of 0 to 1h")
	}
	if c.Array < 0 || c.Array > 1000 {
		bad("array", strconv.Itoa(c.Array), "a number of 0 (no arrays) to 1000")
	}
	if c.MaxBodyBytes < 4<<10 || c.MaxBodyBytes > 64<<20 {
		bad("max_body_bytes", strconv.Itoa(c.MaxBodyBytes), "a number of 4096 (4 KiB) to 67108864 (64 MiB)")
	}
	return errors.Join(errs...)
}

func (c Config) validateURL(bad func(key, value, want string)) {
	if c.URL == "" {
		return
	}
	// Paths and queries of webhooks are often secrets: they are not shown.
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		bad("url", "(not shown)", "an http or https URL, or nothing")
	case u.User != nil:
		bad("url", u.Host, "a URL without user and password: see authorization")
	case u.Scheme == "http" && !c.Plaintext && !loopback(u.Hostname()):
		bad("url", "http://"+u.Host, "https, or plaintext: true")
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c Config) validateSecrets(bad func(key, value, want string)) {
	for _, s := range []struct {
		key   string
		value streams.Secret
	}{{"secret", c.Secret}, {"previous_secret", c.PreviousSecret}, {"authorization", c.Authorization}} {
		if s.value == "" {
			continue
		}
		if _, err := s.value.Read(); err != nil {
			bad(s.key, s.value.String(), "file:PATH or env:NAME that can be read: "+err.Error())
		}
	}
	if c.PreviousSecret != "" && c.Secret == "" {
		bad("secret", "", "a secret, since there is a previous one")
	}
}

func (c Config) validateTLS(bad func(key, value, want string)) {
	if c.CAFile != "" {
		if _, err := pool(c.CAFile); err != nil {
			bad("ca_file", c.CAFile, "a readable PEM file with certificates: "+err.Error())
		}
	}
	switch {
	case c.CertFile == "" && c.KeyFile != "":
		bad("cert_file", "", "a certificate (PEM), since key_file is set")
	case c.CertFile != "" && c.KeyFile == "":
		bad("key_file", "", "the key (PEM) of cert_file, which is set")
	case c.CertFile != "":
		if _, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile); err != nil {
			bad("cert_file", c.CertFile, "a certificate that fits the key (PEM) of key_file: "+err.Error())
		}
	}
}

func pool(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificate in it")
	}
	return p, nil
}

// transport is that of the standard library, with the certificates of the settings.
func (c Config) transport() (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		p, err := pool(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", c.CAFile, err)
		}
		t.TLSClientConfig.RootCAs = p
	}
	if c.CertFile != "" {
		t.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("read client certificate: %w", err)
			}
			return &pair, nil
		}
	}
	return t, nil
}
