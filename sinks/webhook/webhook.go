// Package webhook posts alerts to an HTTP endpoint, one request for each, signed.
//
// Headers of a request: X-Amoskys-Id and X-Amoskys-Revision, Idempotency-Key (id.revision, so that a receiver drops what
// comes twice), traceparent, and with a secret X-Amoskys-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 over "t.body">, the
// form that Stripe's webhooks have. Verify checks it.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// Config are the settings.
type Config struct {
	URL     string         `yaml:"url"` // empty: off
	Secret  streams.Secret `yaml:"secret"`
	CAFile  string         `yaml:"ca_file"`
	Timeout time.Duration  `yaml:"timeout"` // of one request
}

// Defaults are the settings that hold where none are given.
func Defaults() Config { return Config{Timeout: 10 * time.Second} }

// Validate reports everything that is wrong, each as a streams.SettingError.
func (c Config) Validate() error {
	var errs []error
	bad := func(key string, value any, want string) {
		errs = append(errs, &streams.SettingError{Key: "webhook." + key, Value: fmt.Sprint(value), Want: want})
	}
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		bad("url", c.URL, "an http or https URL, or nothing")
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > 5*time.Minute {
		bad("timeout", c.Timeout, "a duration of 100ms to 5m")
	}
	if c.Secret != "" {
		if _, err := c.Secret.Read(); err != nil {
			bad("secret", c.Secret.String(), "file:PATH or env:NAME that can be read: "+err.Error())
		}
	}
	if c.CAFile != "" {
		if _, err := pool(c.CAFile); err != nil {
			bad("ca_file", c.CAFile, "a readable PEM file: "+err.Error())
		}
	}
	return errors.Join(errs...)
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

// A Sink posts alerts.
type Sink struct {
	c      Config
	client *http.Client
	secret []byte
	now    func() time.Time
}

// New returns a sink.
func New(c Config) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Sink{c: c, now: time.Now}
	if c.Secret != "" {
		secret, err := c.Secret.Read()
		if err != nil {
			return nil, err
		}
		s.secret = []byte(secret)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	if c.CAFile != "" {
		p, err := pool(c.CAFile)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = &tls.Config{RootCAs: p, MinVersion: tls.VersionTLS12}
	}
	s.client = &http.Client{Timeout: c.Timeout, Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if r.URL.Host != via[0].URL.Host || len(via) > 5 {
			return errors.New("redirect to another host is not followed: alerts go where they were sent")
		}
		return nil
	}}
	return s, nil
}

// Deliver implements streams.Sink.
func (s *Sink) Deliver(ctx context.Context, batch []streams.Delivery) error {
	for _, d := range batch {
		a, ok := d.Value.(*schemas.Alert)
		if !ok {
			continue
		}
		if err := s.post(ctx, a, d.Trace); err != nil {
			return fmt.Errorf("post alert %s revision %d: %w", a.ID, a.Revision, err)
		}
	}
	return nil
}

func (s *Sink) post(ctx context.Context, a *schemas.Alert, trace string) error {
	body, err := json.Marshal(a)
	if err != nil {
		return streams.Permanent(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.c.URL, bytes.NewReader(body))
	if err != nil {
		return streams.Permanent(err)
	}
	rev := strconv.Itoa(int(a.Revision))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Amoskys-Id", a.ID)
	r.Header.Set("X-Amoskys-Revision", rev)
	r.Header.Set("Idempotency-Key", a.ID+"."+rev)
	if trace != "" {
		r.Header.Set("Traceparent", "00-"+trace+"-"+trace[:16]+"-01")
	}
	if s.secret != nil {
		r.Header.Set("X-Amoskys-Signature", Sign(s.secret, s.now(), body))
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	return judge(resp, answer)
}

// judge says what an answer means: 2xx delivered; time-outs, too many requests and server errors come again; every other
// refusal is for good.
func judge(resp *http.Response, answer []byte) error {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	err := fmt.Errorf("answer %s: %q", resp.Status, answer)
	switch {
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout, resp.StatusCode >= 500:
		return err
	}
	return streams.Permanent(err)
}

// Close implements streams.Sink.
func (s *Sink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Sign is the signature header of a body.
func Sign(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(t + "."))
	m.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

// Verify checks a signature header: that it is of this body, and not older or newer than the tolerance. For receivers.
func Verify(secret []byte, header string, body []byte, now time.Time, tolerance time.Duration) error {
	t, _, ok := strings.Cut(strings.TrimPrefix(header, "t="), ",")
	n, err := strconv.ParseInt(t, 10, 64)
	if !ok || err != nil {
		return errors.New("signature is malformed")
	}
	at := time.Unix(n, 0)
	if d := now.Sub(at); d > tolerance || d < -tolerance {
		return fmt.Errorf("signature is %s old", d)
	}
	if subtle.ConstantTimeCompare([]byte(Sign(secret, at, body)), []byte(header)) != 1 {
		return errors.New("signature is wrong")
	}
	return nil
}
