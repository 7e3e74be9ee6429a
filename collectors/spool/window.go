package spool

import (
	"sort"
	"sync"
	"time"

	"github.com/amoskys/amoskys/streams"
)

// window is what was sent of a stream and not acknowledged.
type window struct {
	answered chan struct{} // signalled by each answer

	mu      sync.Mutex
	pending []pending // in the order of their numbers
	acked   int64     // since the cursor moved last
	failed  error     // the first answer that means: send again
	heard   time.Time // when an answer came last, or the first record without one was sent
}

type pending struct {
	seq  int64
	done bool
}

// reserve makes room for one more record. An error is that of a record that must be sent again first.
func (w *window) reserve(seq int64) (room bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil || len(w.pending) >= inFlight {
		return false, w.failed
	}
	if len(w.pending) == 0 {
		w.heard = time.Now()
	}
	w.pending = append(w.pending, pending{seq: seq})
	return true, nil
}

// answer notes what became of a record. Of one that is not waited for any more only a failure is of interest.
func (w *window) answer(seq int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = time.Now()
	if err == nil {
		w.acked++
	}
	if err != nil && !streams.IsPermanent(err) {
		if w.failed == nil {
			w.failed = err
		}
		return
	}
	if i := sort.Search(len(w.pending), func(i int) bool { return w.pending[i].seq >= seq }); i < len(w.pending) && w.pending[i].seq == seq {
		w.pending[i].done = true
	}
}

// pass counts a number that cannot be sent as done.
func (w *window) pass(seq int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, pending{seq, true})
}

// advance takes off what is done without a gap. It returns the last number of it, 0 for none, and how many records were
// acknowledged since the last time.
func (w *window) advance() (upTo, acked int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(w.pending) && w.pending[n].done {
		upTo = w.pending[n].seq
		n++
	}
	if n > 0 {
		w.pending = w.pending[n:]
		acked, w.acked = w.acked, 0
	}
	return upTo, acked
}

func (w *window) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

func (w *window) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed, w.pending = nil, nil
}

// silence says whether answers are waited for, and since when none came.
func (w *window) silence() (waiting bool, since time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending) > 0 && w.failed == nil, time.Since(w.heard)
}
