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
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/sr"
)

// client is a registry somewhere else.
type client struct{ c *sr.Client }

// NewClient returns the registry at a URL. User and password may be in the URL.
func NewClient(url string, opts ...sr.ClientOpt) (schemas.Registry, error) {
	c, err := sr.NewClient(append([]sr.ClientOpt{sr.URLs(url), sr.HTTPClient(&http.Client{Timeout: 10 * time.Second})}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("open schema registry %s: %w", url, err)
	}
	return &client{c}, nil
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
			return 0, fmt.Errorf("register %s: %w", subject, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, fmt.Errorf("register %s: %w", subject, errors.Join(ctx.Err(), err))
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
	return "", err
}
