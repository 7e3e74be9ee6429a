package proc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// hasher computes the SHA-256 of executables in the background, at a bounded rate, each file once.
type hasher struct {
	maxBytes int64
	rate     int64        // bytes a second
	urgent   chan hashJob // of what was just started
	jobs     chan hashJob
	results  chan hashResult
	// sums has what is known: the newer half, and the older one, which is forgotten when the newer is full.
	newer, older map[fileID]string
	waiting      map[fileID]bool // asked for, and without a result
}

type hashJob struct {
	file    *os.File
	id      fileID
	process schemas.Process // that runs it
}

type hashResult struct {
	hashJob
	sum string // empty: it could not be read
}

const (
	hashQueue = 256     // open files that wait
	hashCache = 4096    // sums in each half
	hashBurst = 8 << 20 // bytes that may be read at once after a pause
)

func newHasher(c *Config) *hasher {
	return &hasher{maxBytes: c.HashLimit, rate: c.HashRate, urgent: make(chan hashJob, hashQueue), jobs: make(chan hashJob, hashQueue), results: make(chan hashResult, hashQueue),
		newer: map[fileID]string{}, waiting: map[fileID]bool{}}
}

// sum returns what is known of a file.
func (h *hasher) sum(id fileID) (string, bool) {
	if s, ok := h.newer[id]; ok {
		return s, true
	}
	s, ok := h.older[id]
	if ok {
		h.put(id, s)
	}
	return s, ok
}

func (h *hasher) put(id fileID, sum string) {
	if len(h.newer) >= hashCache {
		h.older, h.newer = h.newer, map[fileID]string{}
	}
	h.newer[id] = sum
}

// want asks for the sum of the executable that a link leads to. If too many wait it is not asked for; the next process that
// runs it does.
func (h *hasher) want(link string, id fileID, p *schemas.Process, urgent bool) {
	if id == (fileID{}) || id.size > h.maxBytes || h.waiting[id] || len(h.waiting) >= hashQueue {
		return
	}
	f, info, err := openExecutable(link)
	if err != nil {
		return
	}
	if info.id != id || !info.regular { // another one by now
		f.Close()
		return
	}
	h.waiting[id] = true
	queue := h.jobs
	if urgent {
		queue = h.urgent
	}
	queue <- hashJob{f, id, *p} // has room: no more wait than it holds
}

// done notes a result.
func (h *hasher) done(r *hashResult) {
	delete(h.waiting, r.id)
	if r.sum != "" {
		h.put(r.id, r.sum)
	}
}

// run hashes what is asked for until ctx ends. It has the files. What was just started goes before what was found running,
// also while a large file is being read.
func (h *hasher) run(ctx context.Context) {
	defer h.discard()
	b := &budget{rate: h.rate, burst: hashBurst, left: hashBurst, at: time.Now()}
	urgent := h.worker(ctx, b, func() {})
	others := h.worker(ctx, b, func() {
		for {
			select {
			case j := <-h.urgent:
				urgent(j)
			default:
				return
			}
		}
	})
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-h.urgent:
			urgent(j)
		case j := <-h.jobs:
			others(j)
		}
	}
}

// worker returns what does a job, and calls between after each piece that it reads.
func (h *hasher) worker(ctx context.Context, b *budget, between func()) func(hashJob) {
	buf := make([]byte, 64<<10)
	return func(j hashJob) {
		sum, err := sumOf(j.file, j.id.size, buf, func(n int) error {
			between()
			return b.take(ctx, int64(n))
		})
		j.file.Close()
		if err != nil {
			sum = ""
		}
		h.results <- hashResult{j, sum} // has room for all that wait
	}
}

func (h *hasher) discard() {
	for {
		select {
		case j := <-h.urgent:
			j.file.Close()
		case j := <-h.jobs:
			j.file.Close()
		default:
			return
		}
	}
}

var errChanged = errors.New("file changed while it was read")

// sumOf hashes a file of a known size, and calls after for each piece that was read.
func sumOf(r io.Reader, size int64, buf []byte, after func(n int) error) (string, error) {
	d := sha256.New()
	n := int64(0)
	for {
		m, err := r.Read(buf)
		d.Write(buf[:m])
		if n += int64(m); n > size {
			return "", errChanged
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		if err := after(m); err != nil {
			return "", err
		}
	}
	if n != size {
		return "", errChanged
	}
	return hex.EncodeToString(d.Sum(nil)), nil
}

// budget is a token bucket.
type budget struct {
	rate, burst int64 // bytes a second, bytes
	left        int64 // bytes; less than nothing while waiting
	at          time.Time
}

// take takes n bytes off the budget and waits until it is not overdrawn.
func (b *budget) take(ctx context.Context, n int64) error {
	t := time.Now()
	b.left = min(b.burst, b.left+int64(t.Sub(b.at).Seconds()*float64(b.rate)))
	b.at = t
	if b.left -= n; b.left >= 0 {
		return ctx.Err()
	}
	pause := time.NewTimer(time.Duration(float64(-b.left) / float64(b.rate) * float64(time.Second)))
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-pause.C:
		return nil
	}
}
