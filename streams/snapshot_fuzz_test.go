package streams

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/klauspost/compress/s2"
)

// frames makes a file of frames with correct lengths and sums, so that the fuzzer gets behind them.
func frames(fs ...[]byte) []byte {
	b := []byte(snapshotMagic)
	for _, f := range fs {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(f, castagnoli))
		b = append(b, f...)
	}
	return b
}

func FuzzReadSnapshot(f *testing.F) {
	rows := append([]byte{'r'}, s2.Encode(nil, []byte{1, 'k', 1, 'v', 0, 0})...)
	f.Add([]byte(`h{"app":"a","positions":{"t":1}}`), rows, []byte{'e', 2}, []byte(nil))
	f.Add([]byte(`h{}`), []byte{'r', 0xff, 0xff, 0xff, 0xff, 0x0f}, []byte{'e', 0}, []byte{0})
	f.Add([]byte(`hnull`), []byte{'r'}, []byte{'e'}, []byte("x"))
	f.Fuzz(func(t *testing.T, head, rows, end, rest []byte) {
		for _, b := range [][]byte{rest, frames(head, rows, end), append(frames(head, rows), rest...)} {
			s, err := readSnapshot(bytes.NewReader(b))
			if (s == nil) == (err == nil) {
				t.Fatalf("got %v, %v", s, err)
			}
			if err != nil && !errors.Is(err, ErrSnapshot) {
				t.Fatalf("got %v", err)
			}
		}
	})
}
