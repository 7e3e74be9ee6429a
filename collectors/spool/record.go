package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Record is one spooled event.
type Record struct {
	Sequence int64
	Topic    string
	Schema   string
	Key      string
	Body     []byte // Avro, without a schema id: ids are given when it is shipped
}

const (
	headerLen = 8
	maxRecord = 16 << 20 // bytes; a length beyond it is damage, not a record
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	// ErrDamaged is returned when a record's length or checksum is wrong.
	ErrDamaged = errors.New("spool record is damaged")
)

func (r *Record) append(b []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, headerLen)...)
	b = binary.AppendVarint(b, r.Sequence)
	for _, s := range [...]string{r.Topic, r.Schema, r.Key} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = append(b, r.Body...)
	payload := b[at+headerLen:]
	binary.LittleEndian.PutUint32(b[at:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(payload, castagnoli))
	return b
}

// parse reads a record's payload. The record's body is a part of b.
func parse(b []byte) (r Record, err error) {
	n := 0
	if r.Sequence, n = binary.Varint(b); n <= 0 {
		return r, ErrDamaged
	}
	b = b[n:]
	for _, s := range [...]*string{&r.Topic, &r.Schema, &r.Key} {
		l, n := binary.Uvarint(b)
		if n <= 0 || l > uint64(len(b)-n) {
			return r, ErrDamaged
		}
		*s, b = string(b[n:n+int(l)]), b[n+int(l):]
	}
	r.Body = b
	return r, nil
}

// next reads one record, into a buffer of its own, and returns how many bytes it took. io.EOF: nothing is there;
// io.ErrUnexpectedEOF: only a part of it is; ErrDamaged: it is not a record.
func next(r io.Reader) (rec Record, size int64, err error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return rec, 0, err
	}
	n := binary.LittleEndian.Uint32(h[:])
	if n == 0 || n > maxRecord {
		return rec, 0, fmt.Errorf("length %d: %w", n, ErrDamaged)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return rec, 0, err
	}
	if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(h[4:]) {
		return rec, 0, fmt.Errorf("checksum: %w", ErrDamaged)
	}
	rec, err = parse(b)
	return rec, headerLen + int64(n), err
}
