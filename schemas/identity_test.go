package schemas_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

// awkward are parts of identities that could run into each other.
var awkward = []string{"", "a", "/", "%", "a/", "/a", "a/b", "%2F", "%25", "%252F", "a%2Fb", "é", "\x00", "1", "-1"}

// Different identities never give the same text: every combination of awkward parts, side by side.
func TestIdentitiesAreUnique(t *testing.T) {
	seen := map[string]string{}
	unique := func(kind, text string, parts ...any) {
		t.Helper()
		was, ok := seen[kind+" "+text]
		if now := fmt.Sprintf("%q", parts); ok && was != now {
			t.Errorf("%s: %s and %s are both %q", kind, was, now, text)
		} else {
			seen[kind+" "+text] = now
		}
	}
	for _, a := range awkward {
		for _, b := range awkward {
			unique("host key", schemas.HostKey(a, b), a, b)
			for _, c := range awkward {
				e := schemas.Envelope{Tenant: a, Host: b, Boot: c, Collector: "c", Stream: "s", Sequence: 1}
				unique("event", e.EventID(), a, b, c)
				unique("stream", e.StreamID(), a, b, c)
				unique("process", schemas.ProcessUID(a, b+c, 1, 2), a, b+c)
				unique("alert", schemas.AlertID(a, b, c, 0, "x"), a, b, c)
				if e.Key() != schemas.HostKey(a, b) {
					t.Errorf("key of %+v is %q", e, e.Key())
				}
			}
		}
	}
	for _, c := range awkward {
		for _, s := range awkward {
			e := schemas.Envelope{Tenant: "t", Host: "h", Boot: "b", Collector: c, Stream: s, Sequence: -1}
			unique("event", e.EventID(), "-", c, s)
			if e.EventID() != e.StreamID()+"/-1" {
				t.Errorf("event %q is not of stream %q", e.EventID(), e.StreamID())
			}
			if strings.Count(e.EventID(), "/") != 5 {
				t.Errorf("event %q has not six parts", e.EventID())
			}
		}
	}
}

func FuzzEventID(f *testing.F) {
	f.Add("a/b", "", "%2F", "c", "s", int64(1), "a", "b/", "%2F", "c", "s", int64(1))
	f.Fuzz(func(t *testing.T, a1, a2, a3, a4, a5 string, n int64, b1, b2, b3, b4, b5 string, m int64) {
		a := schemas.Envelope{Tenant: a1, Host: a2, Boot: a3, Collector: a4, Stream: a5, Sequence: n}
		b := schemas.Envelope{Tenant: b1, Host: b2, Boot: b3, Collector: b4, Stream: b5, Sequence: m}
		if (a.EventID() == b.EventID()) != (a == b) {
			t.Errorf("%+v and %+v: %q, %q", a, b, a.EventID(), b.EventID())
		}
	})
}

// What ids depend on, and that they do not change between versions of the program: these texts are in people's systems.
func TestIdentitiesAreStable(t *testing.T) {
	e := schemas.Envelope{Tenant: "acme", Host: "web/1", Boot: "b-0", Collector: "proc", Stream: "exec", Sequence: 42, Time: 7}
	for got, want := range map[string]string{
		e.EventID():  "acme/web%2F1/b-0/proc/exec/42",
		e.StreamID(): "acme/web%2F1/b-0/proc/exec",
		e.Key():      "acme/web%2F1",
		schemas.ProcessUID("h", "b", 4711, 1_790_000_000_000_000_000):                       "f95b01172760e6651cfe29f9d213ad61",
		schemas.TraceID("acme/h/b/proc/exec/1"):                                             "9b1cdaf9b60979d7f3711e88ba6b8916",
		schemas.AlertID("acme", "rarity", "uid", 1_790_000_000_000_000_000, "acme/h/…/1"):   "c49de8a731875685f9faecfabe567c54",
		schemas.AlertID("acme", "signature.shell_under_server", "uid", 0, "acme/h/b/p/e/1"): "13fc794b24e24f8700b4500085ccb7b6",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if schemas.AlertID("t", "d", "e", 5, "a") != schemas.AlertID("t", "d", "e", 5, "b") {
		t.Error("the cause changes the id of an alert with a window")
	}
	if schemas.AlertID("t", "d", "e", 0, "a") == schemas.AlertID("t", "d", "e", 0, "b") {
		t.Error("the cause does not change the id of an alert without a window")
	}
}

func TestTime(t *testing.T) {
	for ns, want := range map[int64]string{0: "", 1: "1970-01-01T00:00:00.000000001Z", 1_790_000_000_000_000_000: "2026-09-21T14:13:20Z", -1: "1969-12-31T23:59:59.999999999Z"} {
		if got := schemas.Time(ns); got != want {
			t.Errorf("Time(%d) = %q, want %q", ns, got, want)
		}
	}
}

// Compare is a total order: of every two origins, one comes first, or they are equal; and it can be chained.
func TestOriginOrder(t *testing.T) {
	var all []schemas.Origin
	for _, at := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64} {
		for _, topic := range []string{"", "a", "b"} {
			for _, offset := range []int64{0, 1, math.MaxInt64} {
				all = append(all, schemas.Origin{IngestTime: at, Topic: topic, Offset: offset})
			}
		}
	}
	for i := range all {
		for j := range all {
			got := all[i].Compare(&all[j])
			if got != cmp.Compare(i, j) { // they were made in order
				t.Errorf("%+v and %+v: got %d, want %d", all[i], all[j], got, cmp.Compare(i, j))
			}
			if got != -all[j].Compare(&all[i]) {
				t.Errorf("%+v and %+v: not the same from the other side", all[i], all[j])
			}
		}
	}
	a, b := schemas.Origin{Partition: 1}, schemas.Origin{Partition: 2}
	if a.Compare(&b) != 0 {
		t.Error("the partition takes part: a task has one partition number")
	}
	shuffled := slices.Clone(all)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, func(a, b schemas.Origin) int { return a.Compare(&b) })
	if !slices.Equal(shuffled, all) {
		t.Error("sorting does not give the order")
	}
}
