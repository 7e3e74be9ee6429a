package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/amoskys/amoskys/sinks/internal/record"
	"github.com/amoskys/amoskys/streams"
)

// A message is one request to be.
type message struct {
	what   string // for errors
	body   []byte
	header http.Header
}

// message makes a request of the first records, and says of how many.
func (s *Sink) message(ds []*streams.Delivery) (int, *message, error) {
	if s.cfg.Array == 0 {
		m, err := s.single(ds[0])
		return 1, m, err
	}
	body := []byte{'['}
	var keys []string
	for _, d := range ds[:min(len(ds), s.cfg.Array)] {
		text, err := s.text(d)
		switch {
		case err != nil && len(keys) == 0:
			return 0, nil, err
		case err != nil, len(keys) > 0 && len(body)+len(text)+1 > s.cfg.MaxBodyBytes:
			return len(keys), s.array(body, keys), nil // the rest is for the next request
		}
		if len(keys) > 0 {
			body = append(body, ',')
		}
		body, keys = append(body, text...), append(keys, record.Key(d))
	}
	return len(keys), s.array(body, keys), nil
}

func (s *Sink) single(d *streams.Delivery) (*message, error) {
	body, err := s.text(d)
	if err != nil {
		return nil, err
	}
	id, revision := record.ID(d)
	m := &message{what: fmt.Sprintf("%s %s revision %d", d.Value.SchemaName(), id, revision), body: body, header: http.Header{}}
	m.header.Set("Idempotency-Key", record.Key(d))
	m.header.Set("X-Amoskys-Id", id)
	m.header.Set("X-Amoskys-Revision", strconv.Itoa(int(revision)))
	m.header.Set("X-Amoskys-Schema", d.Value.SchemaName())
	if p := traceparent(d); p != "" {
		m.header.Set("Traceparent", p)
	}
	return m, nil
}

// array is a request of several records. Its key is a hash of theirs; each record is told by its id and revision.
func (s *Sink) array(body []byte, keys []string) *message {
	h := sha256.Sum256([]byte(strings.Join(keys, "\n")))
	m := &message{what: fmt.Sprintf("%d records from %s on", len(keys), keys[0]), body: append(body, ']'), header: http.Header{}}
	m.header.Set("Idempotency-Key", hex.EncodeToString(h[:16]))
	m.header.Set("X-Amoskys-Count", strconv.Itoa(len(keys)))
	return m
}

func (s *Sink) text(d *streams.Delivery) ([]byte, error) {
	if d.Value == nil {
		err := d.Err
		if err == nil {
			err = errors.New("no value")
		}
		return nil, streams.Permanent(fmt.Errorf("post %s: %w", record.Position(d), err))
	}
	b, err := record.JSON(d.Value)
	if err != nil {
		return nil, streams.Permanent(fmt.Errorf("post %s: %w", record.Position(d), err))
	}
	if len(b)+2 > s.cfg.MaxBodyBytes {
		return nil, streams.Permanent(fmt.Errorf("post %s: %d bytes are over max_body_bytes, %d", record.Position(d), len(b), s.cfg.MaxBodyBytes))
	}
	return b, nil
}

// traceparent is the W3C trace context of a record, with a span of its own that is the same when it is sent again.
func traceparent(d *streams.Delivery) string {
	if id, err := hex.DecodeString(d.Trace); err != nil || len(id) != 16 {
		return ""
	}
	h := sha256.Sum256([]byte(d.Trace + " webhook " + record.Key(d)))
	return "00-" + d.Trace + "-" + hex.EncodeToString(h[:8]) + "-01"
}

// post sends a message once.
func (s *Sink) post(ctx context.Context, m *message) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.URL, bytes.NewReader(m.body))
	if err != nil {
		return errors.New("make request: the URL is not usable")
	}
	r.Header = m.header.Clone()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "amoskys")
	if err := s.authenticate(r, m.body); err != nil {
		return err
	}
	resp, err := s.client.Do(r)
	if err != nil {
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err // it would show the URL, in which there may be a secret
		}
		return err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		s.after = s.now().Add(retryAfter(resp.Header.Get("Retry-After"), s.now()))
	}
	return judge(resp, answer[:min(len(answer), 200)])
}

func (s *Sink) authenticate(r *http.Request, body []byte) error {
	if s.cfg.Authorization != "" {
		v, err := s.cfg.Authorization.Read()
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", v)
	}
	var secrets []string
	for _, ref := range []streams.Secret{s.cfg.Secret, s.cfg.PreviousSecret} {
		if ref == "" {
			continue
		}
		v, err := ref.Read()
		if err != nil {
			return err
		}
		secrets = append(secrets, v)
	}
	if len(secrets) > 0 {
		r.Header.Set(SignatureHeader, Sign(s.now(), body, secrets...))
	}
	return nil
}

// retryAfter is how long the receiver asks to wait: seconds or a date (RFC 9110 §10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), longestPause)
}

// judge says what an answer means.
func judge(resp *http.Response, answer []byte) error {
	err := fmt.Errorf("answer %s: %q", resp.Status, answer)
	switch code := resp.StatusCode; {
	case code/100 == 2:
		return nil
	case code/100 == 3:
		at := ""
		if u, uerr := resp.Location(); uerr == nil {
			at = " to " + u.Host
		}
		return fmt.Errorf("answer %s: the redirect%s is not followed: set the URL that it leads to", resp.Status, at)
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests:
		return err // passes
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusProxyAuthRequired:
		return err // the credentials are refused, not the record: it waits until they are mended
	case code/100 == 4:
		return streams.Permanent(err)
	}
	return err
}
