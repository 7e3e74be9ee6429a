// Package audit seals the audit topic into an append-only, hash-chained archive of read-only segments (package chain), and
// checks it: a flipped, cut, missing or moved record is found and named.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/internal/chain"
	"github.com/amoskys/amoskys/streams"
	"github.com/gowebpki/jcs"
)

// segmentRecords is how many records a segment has.
const segmentRecords = 1000

// A Sink seals audit records. It implements streams.Resumer.
type Sink struct{ log *chain.Log }

// New opens the archive of a folder, or begins one.
func New(dir string) (*Sink, error) {
	l, err := chain.Open(dir, chain.Options{MaxRecords: segmentRecords})
	if err != nil {
		return nil, err
	}
	return &Sink{l}, nil
}

// Resume implements streams.Resumer. The audit topic has one partition.
func (s *Sink) Resume(string, int32) (int64, bool, error) {
	next, ok := s.log.Next()
	return next, ok, nil
}

// Deliver implements streams.Sink.
func (s *Sink) Deliver(_ context.Context, batch []streams.Delivery) error {
	lines := make([]chain.Line, 0, len(batch))
	for _, d := range batch {
		v, err := json.Marshal(d.Value)
		if d.Value == nil {
			v, err = json.Marshal(d.Raw)
		}
		if err != nil {
			return streams.Permanent(err)
		}
		lines = append(lines, chain.Line{Key: d.Key, Offset: d.Offset, Schema: d.Schema, Value: v})
	}
	return s.log.Append(lines)
}

// Close implements streams.Sink.
func (s *Sink) Close() error { return s.log.Close() }

// Report is what Verify found.
type Report = chain.Report

// Verify checks an archive from its first record; head is a hash that was kept elsewhere, or empty.
func Verify(dir, head string) (*Report, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("verify audit archive: %w", err)
	}
	return chain.Verify(dir, head)
}

// NewRecord makes an audit record. Its id is the hash of its content. detail must be what encoding/json can write.
func NewRecord(action, object, outcome, version, configHash string, detail any, at time.Time) (*schemas.AuditRecord, error) {
	r := &schemas.AuditRecord{Time: at.UnixNano(), Actor: actor(), Action: action, Object: object, Outcome: outcome, Version: version, ConfigHash: configHash}
	text, err := json.Marshal(detail)
	if err == nil && detail != nil {
		text, err = jcs.Transform(text)
	}
	if err != nil {
		return nil, fmt.Errorf("write audit detail of %s: %w", action, err)
	}
	if detail != nil {
		r.Detail = string(text)
	}
	whole, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	h := sha256.Sum256(whole)
	r.ID = hex.EncodeToString(h[:16])
	return r, nil
}

// actor is who runs the program: user@host.
func actor() string {
	name := "uid " + fmt.Sprint(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return name + "@" + host
}
