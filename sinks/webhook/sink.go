package webhook

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/amoskys/amoskys/sinks/internal/record"
	"github.com/amoskys/amoskys/streams"
)

const (
	// remembered is how many records are known when they come again, e.g. because a later one of their batch was not
	// taken: more than two deliveries of a runner.
	remembered = 2048
	// The longest wait before the n-th new attempt is firstWait * 2^n, at most lastWait.
	firstWait = 250 * time.Millisecond
	lastWait  = 15 * time.Second
	// longestPause bounds what Retry-After can ask for.
	longestPause = 10 * time.Minute
)

// A Sink posts records.
type Sink struct {
	cfg    Config
	host   string // of the URL, for errors
	client *http.Client
	now    func() time.Time
	sleep  func(ctx context.Context, d time.Duration) error

	mu     sync.Mutex // held while something is posted: order is the promise
	closed bool
	recent *record.Recent
	after  time.Time // not before, as the receiver has asked
}

// New returns a sink. Nothing is sent before the first record.
func New(c Config) (*Sink, error) {
	if c.URL == "" {
		return nil, &streams.SettingError{Key: "url", Want: "an http or https URL"}
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("parse webhook URL")
	}
	t, err := c.transport()
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: c.Timeout, Transport: t, CheckRedirect: redirect}
	return &Sink{cfg: c, host: u.Host, client: client, now: time.Now, sleep: sleep, recent: record.NewRecent(remembered)}, nil
}

// redirect follows within one host and scheme, and only where the alert goes along: the client turns 301 to 303 into a GET.
func redirect(r *http.Request, via []*http.Request) error {
	from := via[0]
	if r.URL.Host != from.URL.Host || r.URL.Scheme != from.URL.Scheme || r.Method != from.Method || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Deliver implements streams.Sink. Records before the one that was not taken are not posted again when the batch comes
// again.
func (s *Sink) Deliver(ctx context.Context, batch []streams.Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("webhook sink is closed")
	}
	var fresh []*streams.Delivery
	for i := range batch {
		if !s.recent.Has(record.Key(&batch[i])) {
			fresh = append(fresh, &batch[i])
		}
	}
	give := s.now().Add(s.cfg.RetryFor)
	for len(fresh) > 0 {
		n, m, err := s.message(fresh)
		if err != nil {
			return err
		}
		if err := s.insist(ctx, m, give); err != nil {
			return fmt.Errorf("post %s to %s: %w", m.what, s.host, err)
		}
		for _, d := range fresh[:n] {
			s.recent.Add(record.Key(d))
		}
		fresh = fresh[n:]
	}
	return nil
}

// insist posts until the message is taken, refused for good, or the time to give up has come.
func (s *Sink) insist(ctx context.Context, m *message, give time.Time) error {
	for attempt := 0; ; attempt++ {
		if wait := s.after.Sub(s.now()); wait > 0 {
			if s.after.After(give) {
				return fmt.Errorf("the receiver asks to wait for %s", wait.Round(time.Second))
			}
			if err := s.sleep(ctx, wait); err != nil {
				return err
			}
		}
		err := s.post(ctx, m)
		if err == nil || ctx.Err() != nil || streams.IsPermanent(err) {
			return err
		}
		wait := rand.N(min(firstWait<<min(attempt, 10), lastWait)) // full jitter
		if s.now().Add(wait).After(give) {
			return err
		}
		if err := s.sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// Close implements streams.Sink.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.client.CloseIdleConnections()
	return nil
}
