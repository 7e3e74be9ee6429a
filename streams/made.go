package streams

import "github.com/twmb/franz-go/pkg/kgo"

// made is the memory of the records that a task makes, taken in blocks: a record is a few small pieces that live and die
// together with its neighbours, and to allocate each piece by itself costs more than to encode it. A block is not used
// again: it is free when the last of its records is.
type made struct {
	block   []byte
	records []kgo.Record
}

const (
	blockBytes   = 64 << 10
	blockRecords = 128
	ownBytes     = blockBytes / 8 // from this size on a piece has an allocation of its own
)

// take returns n bytes, to be written by the caller.
func (m *made) take(n int) []byte {
	if n >= ownBytes {
		return make([]byte, n)
	}
	if len(m.block) < n {
		m.block = make([]byte, blockBytes)
	}
	b := m.block[:n:n]
	m.block = m.block[n:]
	return b
}

// bytes copies b; nil stays nil.
func (m *made) bytes(b []byte) []byte {
	if b == nil {
		return nil
	}
	c := m.take(len(b))
	copy(c, b)
	return c
}

// text copies s.
func (m *made) text(s string) []byte {
	c := m.take(len(s))
	copy(c, s)
	return c
}

// rowKey is the key of a changelog record: the name of the table, a zero byte, and the key of the row.
func (m *made) rowKey(table, key string) []byte {
	b := m.take(len(table) + 1 + len(key))
	copy(b, table)
	b[len(table)] = 0
	copy(b[len(table)+1:], key)
	return b
}

// record returns an empty record.
func (m *made) record() *kgo.Record {
	if len(m.records) == 0 {
		m.records = make([]kgo.Record, blockRecords)
	}
	r := &m.records[0]
	m.records = m.records[1:]
	return r
}
