package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// A Payload is the value of a record: a pointer to one of the generated types.
type Payload interface {
	// SchemaName is the Avro name without its namespace.
	SchemaName() string
}

// An Event is a fact that a collector saw. It enters once, on an ingest topic.
type Event interface {
	Payload
	// Env is the event's own envelope, to be read or filled.
	Env() *Envelope
}

// A Derived payload was computed from events. Its provenance is filled by the engine when it is emitted.
type Derived interface {
	Payload
	// Prov is the record's own provenance, to be read or filled.
	Prov() *Provenance
}

// EventID is the identity of a collected event: tenant, host, boot, collector, stream and sequence. A slash or percent
// sign inside a part is percent-encoded, so that different identities never give the same text.
func (e *Envelope) EventID() string {
	b := make([]byte, 0, 96)
	for _, s := range [...]string{e.Tenant, e.Host, e.Boot, e.Collector, e.Stream} {
		b = appendPart(b, s)
		b = append(b, '/')
	}
	return string(strconv.AppendInt(b, e.Sequence, 10))
}

// StreamID is the identity of the sequence space that the event belongs to: EventID without the sequence.
func (e *Envelope) StreamID() string {
	b := make([]byte, 0, 80)
	for i, s := range [...]string{e.Tenant, e.Host, e.Boot, e.Collector, e.Stream} {
		if i > 0 {
			b = append(b, '/')
		}
		b = appendPart(b, s)
	}
	return string(b)
}

func appendPart(b []byte, s string) []byte {
	if !strings.ContainsAny(s, "/%") {
		return append(b, s...)
	}
	return append(b, strings.NewReplacer("%", "%25", "/", "%2F").Replace(s)...)
}

// Key is the record key of the event: tenant/host, the entity whose order matters.
func (e *Envelope) Key() string { return HostKey(e.Tenant, e.Host) }

// HostKey is the record key of all facts about one host.
func HostKey(tenant, host string) string {
	return string(appendPart(append(appendPart(make([]byte, 0, len(tenant)+len(host)+1), tenant), '/'), host))
}

// ProcessUID is the entity id of a process: the first 16 bytes, in hex, of a SHA-256 over host, boot, pid and start time.
// A pid alone is reused; with its start time it is not.
func ProcessUID(host, boot string, pid, createdTime int64) string {
	b := make([]byte, 0, 128)
	b = append(appendPart(b, host), '/')
	b = append(appendPart(b, boot), '/')
	b = append(strconv.AppendInt(b, pid, 10), '/')
	b = strconv.AppendInt(b, createdTime, 10)
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}

// TraceID is the W3C trace id (32 hex digits) of everything that follows from one event: derived from the event's id, so
// that a replay gives the same.
func TraceID(eventID string) string {
	h := sha256.Sum256([]byte(eventID))
	return hex.EncodeToString(h[:16])
}

// Compare orders two origins of one partition number: by ingest time, then topic, then offset. It is the order in which
// a stage takes records that come from several topics.
func (o *Origin) Compare(p *Origin) int {
	switch {
	case o.IngestTime != p.IngestTime:
		return sign(o.IngestTime < p.IngestTime)
	case o.Topic != p.Topic:
		return sign(o.Topic < p.Topic)
	case o.Offset != p.Offset:
		return sign(o.Offset < p.Offset)
	}
	return 0
}

func sign(less bool) int {
	if less {
		return -1
	}
	return 1
}
