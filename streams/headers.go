package streams

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/amoskys/amoskys/schemas"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The headers of records, see docs/formats/headers.md.
const (
	// HeaderOrigin is on every derived record: where in the ingest log it comes from, who emitted it, and its emit index.
	HeaderOrigin = "amoskys-origin"
	// HeaderTrace is the W3C trace context: one trace id from the collected event to the sink.
	HeaderTrace = "traceparent"
	// HeaderRedrive names the processor (or, for what could not be decoded, the stage) a dead letter is given to again.
	HeaderRedrive = "amoskys-redrive"
	// HeaderRedriveOf is topic/partition@offset of the dead letter.
	HeaderRedriveOf = "amoskys-redrive-of"
	// HeaderRedriveTopic is the topic that the processor had read the dead letter from.
	HeaderRedriveTopic = "amoskys-redrive-topic"
	// HeaderDelay is on late records: how far behind the watermark they were, as a Go duration.
	HeaderDelay = "amoskys-delay"
)

var errHeader = errors.New("amoskys-origin header is malformed")

// position is what orders a derived record: its origin, the processor that emitted it, and its emit index.
type position struct {
	origin   schemas.Origin
	producer string
	emit     int32
}

func (p *position) append(b []byte) []byte {
	b = binary.AppendVarint(b, p.origin.IngestTime)
	b = binary.AppendVarint(b, p.origin.Offset)
	b = binary.AppendVarint(b, int64(p.origin.Partition))
	b = binary.AppendVarint(b, int64(p.emit))
	b = append(binary.AppendUvarint(b, uint64(len(p.producer))), p.producer...)
	return append(binary.AppendUvarint(b, uint64(len(p.origin.Topic))), p.origin.Topic...)
}

func parsePosition(b []byte) (p position, err error) {
	var partition, emit int64
	for _, v := range [...]*int64{&p.origin.IngestTime, &p.origin.Offset, &partition, &emit} {
		x, n := binary.Varint(b)
		if n <= 0 {
			return p, errHeader
		}
		*v, b = x, b[n:]
	}
	p.origin.Partition, p.emit = int32(partition), int32(emit)
	for _, s := range [...]*string{&p.producer, &p.origin.Topic} {
		x, n := binary.Uvarint(b)
		if n <= 0 || x > uint64(len(b)-n) {
			return p, errHeader
		}
		*s, b = string(b[n:n+int(x)]), b[n+int(x):]
	}
	if len(b) != 0 {
		return p, errHeader
	}
	return p, nil
}

func header(r *kgo.Record, key string) ([]byte, bool) {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

func toHeaders(hs []kgo.RecordHeader) []schemas.Header {
	out := make([]schemas.Header, 0, len(hs))
	for _, h := range hs {
		out = append(out, schemas.Header{Key: h.Key, Value: h.Value})
	}
	return out
}

// traceparent writes a trace id in the form of the W3C header. The parent id is a part of the trace id: spans are
// derived like everything else.
func traceparent(trace string) []byte {
	return []byte("00-" + trace + "-" + trace[:16] + "-01")
}

// parseTrace takes the trace id out of a traceparent header; empty when it is malformed.
func parseTrace(b []byte) string {
	if len(b) < 36 || b[2] != '-' || b[35] != '-' {
		return ""
	}
	for _, c := range b[3:35] {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return ""
		}
	}
	return string(b[3:35])
}

func malformed(r *kgo.Record, err error) error {
	return fmt.Errorf("read record %s/%d@%d: %w", r.Topic, r.Partition, r.Offset, err)
}
