// Package record holds what the sinks say alike about a record: who it is, what marks its content, and its JSON form.
package record

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// ID is the identity by which a destination can tell that it has a record already: the id and revision of an alert or
// incident, the id of an audit record or collected event, and for all others the position.
func ID(d *streams.Delivery) (id string, revision int32) {
	switch v := d.Value.(type) {
	case *schemas.Alert:
		return v.ID, v.Revision
	case *schemas.Incident:
		return v.ID, v.Revision
	case *schemas.AuditRecord:
		return v.ID, 0
	case schemas.Event:
		return v.Env().EventID(), 0
	}
	return Position(d), 0
}

// Key is the identity as one text: id.revision.
func Key(d *streams.Delivery) string {
	id, revision := ID(d)
	return fmt.Sprintf("%s.%d", id, revision)
}

// Position names where a record lies.
func Position(d *streams.Delivery) string {
	return fmt.Sprintf("%s/%d@%d", d.Topic, d.Partition, d.Offset)
}

// Mark is SHA-256 over the length of the key (8 bytes, big-endian), the key and the value as on the topic. It tells
// whether a record that comes again is the one that came before: a topic that was made anew has other records at the same
// offsets.
func Mark(d *streams.Delivery) [sha256.Size]byte {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(d.Key)))
	h.Write(n[:])
	h.Write([]byte(d.Key))
	h.Write(d.Raw)
	return [sha256.Size]byte(h.Sum(nil))
}

// JSON is the value as one JSON object, alerts in the form that is promised to SOC teams. A number that JSON does not have
// (NaN, infinities) is an error; bytes that are no UTF-8 become U+FFFD.
func JSON(v schemas.Payload) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write %s as JSON: %w", v.SchemaName(), err)
	}
	return b, nil
}

// Recent is a set of texts that forgets the oldest when it is full. The zero value is empty and remembers nothing.
type Recent struct {
	ring []string
	next int
	has  map[string]bool
}

// NewRecent makes a set of at most n texts.
func NewRecent(n int) *Recent { return &Recent{ring: make([]string, n), has: make(map[string]bool, n)} }

// Has says whether s is remembered.
func (r *Recent) Has(s string) bool { return r.has[s] }

// Add remembers s.
func (r *Recent) Add(s string) {
	if len(r.ring) == 0 || r.has[s] {
		return
	}
	delete(r.has, r.ring[r.next])
	r.ring[r.next], r.has[s] = s, true
	r.next = (r.next + 1) % len(r.ring)
}
