// Package registry gives schemas their ids: a client for any Confluent-compatible schema registry, and a small registry of
// our own over the compacted _schemas topic, in the topic layout and with the HTTP interface of the Confluent Schema
// Registry, so that any consumer outside resolves the ids of our records, and another registry can take the topic over.
//
// What ours leaves out: schema references, modes other than READWRITE, deletion, and formats other than Avro.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/sr"
)

// client is a registry somewhere else.
type client struct {
	c    *sr.Client
	host string // for errors
}

// NewClient returns the registry at a URL. User and password may be in the URL.
func NewClient(at string, opts ...sr.ClientOpt) (schemas.Registry, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, errors.New("open schema registry: its URL is not usable")
	}
	c, err := sr.NewClient(append([]sr.ClientOpt{sr.URLs(at), sr.HTTPClient(&http.Client{Timeout: 10 * time.Second})}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("open schema registry at %s: %w", u.Host, err)
	}
	return &client{c, u.Host}, nil
}

// failure is an error of a request without its URL, in which there may be a password.
func (c *client) failure(err error) error {
	var re *sr.ResponseError
	var ue *url.Error
	switch {
	case err == nil, errors.As(err, &re):
		return err
	case errors.As(err, &ue):
		return fmt.Errorf("ask schema registry at %s: %w", c.host, ue.Err)
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner // the outer ones name the URL
	}
	return fmt.Errorf("read answer of schema registry at %s: %w", c.host, err)
}

// startPatience is for how long a registration waits for a registry that does not answer: roles start in any order.
const startPatience = 30 * time.Second

// Register implements schemas.Registry.
func (c *client) Register(ctx context.Context, subject, text string) (int32, error) {
	until := time.Now().Add(startPatience)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		s, err := c.c.CreateSchema(ctx, subject, sr.Schema{Schema: text})
		if err == nil {
			return int32(s.ID), nil
		}
		var re *sr.ResponseError
		if errors.As(err, &re) && re.StatusCode < 500 || time.Now().After(until) {
			return 0, fmt.Errorf("register %s: %w", subject, c.failure(err))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, fmt.Errorf("register %s: %w", subject, errors.Join(ctx.Err(), c.failure(err)))
		}
	}
}

// Schema implements schemas.Registry.
func (c *client) Schema(ctx context.Context, id int32) (string, error) {
	s, err := c.c.SchemaByID(ctx, int(id))
	var re *sr.ResponseError
	switch {
	case err == nil:
		return s.Schema, nil
	case errors.As(err, &re) && re.StatusCode == http.StatusNotFound:
		return "", schemas.ErrUnknownSchema
	}
	return "", c.failure(err)
}
