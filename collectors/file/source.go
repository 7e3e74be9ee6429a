package file

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// source is one file of a recording, decompressed where it is compressed.
type source struct {
	io.Reader
	path  string
	size  int64 // bytes on disk
	done  int64 // bytes taken from the disk
	close []func()
}

// maxWindow bounds the memory that a zstd frame may ask for: 2^27 bytes, the most that zstd --long=27 makes.
const maxWindow = 1 << 27

func openSource(path string) (*source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err) // the cause names the file
	}
	s := &source{path: path, close: []func(){func() { f.Close() }}}
	if err := s.start(f); err != nil {
		s.Close()
		return nil, fmt.Errorf("open recording %s: %w", path, err)
	}
	return s, nil
}

func (s *source) start(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	// A recording is read twice, once for its identity, so a pipe will not do.
	if !info.Mode().IsRegular() {
		return errors.New("neither a regular file nor a folder with edges.csv and nodes.csv")
	}
	s.size = info.Size()
	b := bufio.NewReaderSize(&counted{f, &s.done}, 256<<10)
	switch magic, _ := b.Peek(4); {
	case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b: // RFC 1952 §2.3.1
		z, err := gzip.NewReader(b)
		if err != nil {
			return err
		}
		s.Reader = z
	case string(magic) == "\x28\xb5\x2f\xfd": // RFC 8878 §3.1.1
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		s.Reader, s.close = z, append(s.close, z.Close)
	default:
		s.Reader = b
	}
	return nil
}

// Close closes the file.
func (s *source) Close() {
	for _, f := range s.close {
		f()
	}
	s.close = nil
}

// counted counts the bytes that are taken from the disk.
type counted struct {
	r io.Reader
	n *int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

// digest is what the first pass over a recording finds: its identity.
type digest struct {
	sum   string // SHA-256 of the decompressed content, hex
	bytes int64  // length of it
}

// boot is the id under which the sequence numbers of a recording are valid: the same content gives the same id.
func (d digest) boot() string { return "rec-" + d.sum[:12] }

// hashed reads all of the files, in order, into a hash and hands each to look on the way.
func hashed(paths []string, look func(i int, r io.Reader) error) (digest, error) {
	h := sha256.New()
	var d digest
	for i, p := range paths {
		s, err := openSource(p)
		if err != nil {
			return d, err
		}
		t := &tee{r: s, w: h.Write}
		if err = look(i, t); err == nil {
			_, err = io.Copy(io.Discard, t) // what look left
		}
		s.Close()
		if err != nil {
			return d, fmt.Errorf("read recording %s: %w", p, err)
		}
		d.bytes += t.n
	}
	d.sum = hex.EncodeToString(h.Sum(nil))
	return d, nil
}

type tee struct {
	r io.Reader
	w func([]byte) (int, error)
	n int64
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n += int64(n)
	_, _ = t.w(p[:n]) // a hash never fails
	return n, err
}
