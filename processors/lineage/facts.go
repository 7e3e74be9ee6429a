package lineage

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// fact is a first-seen fact, by the first half of a SHA-256 over its parts: nobody can make one that passes for another.
type fact [16]byte

// The kinds of facts besides those of activities, which begin with their kind.
const (
	factExec = 'x'
	factEdge = 'e'
)

func (h *handler) fact(kind byte, activity int32, a, b string) fact {
	h.buf = append(h.buf[:0], kind, byte(activity))
	h.buf = append(append(h.buf, a...), 0)
	h.buf = append(h.buf, b...)
	sum := sha256.Sum256(h.buf)
	return fact(sum[:16])
}

// see notes a fact and says whether the host had never seen it.
func (hs *host) see(f fact) bool {
	n, known := hs.facts[f]
	if known && hs.next-n <= int64(hs.h.cfg.MaxFacts/2) {
		return false
	}
	hs.facts[f] = hs.next
	hs.h.facts.Put(hs.factKey(f), factRow{hs.next})
	hs.next++
	if len(hs.facts) > hs.h.cfg.MaxFacts {
		hs.forget()
	}
	return !known
}

// forget removes a sixteenth of the facts, those that were not used for longest.
func (hs *host) forget() {
	type aged struct {
		f fact
		n int64
	}
	all := make([]aged, 0, len(hs.facts))
	for f, n := range hs.facts {
		all = append(all, aged{f, n})
	}
	slices.SortFunc(all, func(a, b aged) int { return cmp.Compare(a.n, b.n) })
	all = all[:len(all)/16]
	for _, x := range all {
		delete(hs.facts, x.f)
		hs.h.facts.Delete(hs.factKey(x.f))
	}
	loss, _ := hs.h.losses.Get(hs.key)
	loss.Facts += int64(len(all))
	hs.h.losses.Put(hs.key, loss)
}

func (hs *host) factKey(f fact) string {
	return string(hex.AppendEncode(append(append(make([]byte, 0, len(hs.key)+1+2*len(f)), hs.key...), '/'), f[:]))
}

func parseFact(key string) (f fact) {
	hex.Decode(f[:], []byte(key[len(key)-2*len(f):]))
	return f
}
