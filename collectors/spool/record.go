package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// Record is one spooled event.
type Record struct {
	Sequence int64 // in its log
	Topic    string
	Schema   string
	Key      string
	Body     []byte // Avro, without a schema id: ids are given when it is shipped
}

const (
	headerLen = 8
	maxRecord = 16 << 20 // bytes of payload; a length beyond it is damage, not a record
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	// ErrDamaged is returned when a record's length or checksum is wrong.
	ErrDamaged = errors.New("spool record is damaged")
	// ErrTooLarge is returned for an event that makes a record of more than 16 MiB.
	ErrTooLarge = errors.New("event is too large for the spool")

	// errShort is returned when there is only a part of a record.
	errShort = fmt.Errorf("%w: it is cut off", ErrDamaged)
)

// appendRecord appends a record, whose body is appended by the function. If that fails dst is returned as it was.
func appendRecord(dst []byte, r Record, body func([]byte) ([]byte, error)) ([]byte, error) {
	at := len(dst)
	b := append(dst, make([]byte, headerLen)...)
	b = binary.AppendVarint(b, r.Sequence)
	for _, s := range [...]string{r.Topic, r.Schema, r.Key} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b, err := body(b)
	if err != nil {
		return dst, err
	}
	payload := b[at+headerLen:]
	if len(payload) > maxRecord {
		return dst, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(payload))
	}
	binary.LittleEndian.PutUint32(b[at:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(payload, castagnoli))
	return b, nil
}

// readRecord reads the record that b begins with and says how many bytes it takes: also if only a part of it is there
// (errShort), but at least the header. The record's body is a part of b.
func readRecord(b []byte) (r Record, size int, err error) {
	if len(b) < headerLen {
		return r, headerLen, errShort
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > maxRecord {
		return r, 0, fmt.Errorf("%w: length %d", ErrDamaged, n)
	}
	size = headerLen + int(n)
	if len(b) < size {
		return r, size, errShort
	}
	payload := b[headerLen:size:size]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return r, 0, fmt.Errorf("%w: checksum", ErrDamaged)
	}
	r, err = parsePayload(payload)
	return r, size, err
}

func parsePayload(b []byte) (r Record, err error) {
	n := 0
	if r.Sequence, n = binary.Varint(b); n <= 0 {
		return r, fmt.Errorf("%w: sequence", ErrDamaged)
	}
	b = b[n:]
	for _, s := range [...]*string{&r.Topic, &r.Schema, &r.Key} {
		l, n := binary.Uvarint(b)
		if n <= 0 || l > uint64(len(b)-n) {
			return r, fmt.Errorf("%w: length of a text", ErrDamaged)
		}
		*s, b = string(b[n:n+int(l)]), b[n+int(l):]
	}
	r.Body = b
	return r, nil
}

// resync finds the next whole record behind damage: one whose number lies in [from, to), which is looked at first since a
// checksum of what only looks like a length may cost megabytes.
func resync(b []byte, from, to int64) (at int, ok bool) {
	for at = 0; at+headerLen < len(b); at++ {
		if n := binary.LittleEndian.Uint32(b[at:]); n == 0 || n > maxRecord || int(n) > len(b)-at-headerLen {
			continue
		}
		if seq, n := binary.Varint(b[at+headerLen:]); n <= 0 || seq < from || seq >= to {
			continue
		}
		if r, _, err := readRecord(b[at:]); err == nil && r.Sequence >= from && r.Sequence < to {
			return at, true
		}
	}
	return 0, false
}

// splitSchema takes apart the name of a schema in a record: it has a mark of its version, since a spool may be shipped by a
// later version of the program.
func splitSchema(s string) (name, mark string) {
	name, mark, _ = strings.Cut(s, "@")
	return name, mark
}
