package record

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

func TestKey(t *testing.T) {
	for _, c := range []struct {
		value schemas.Payload
		want  string
	}{
		{&schemas.Alert{ID: "a", Revision: 2}, "a.2"},
		{&schemas.Incident{ID: "i", Revision: 1}, "i.1"},
		{&schemas.AuditRecord{ID: "r"}, "r.0"},
		{&schemas.ProcessExec{Envelope: schemas.Envelope{Tenant: "t", Host: "h", Boot: "b", Collector: "c", Stream: "s", Sequence: 7}}, "t/h/b/c/s/7.0"},
		{&schemas.FeatureVector{}, "topic/3@9.0"},
		{nil, "topic/3@9.0"},
	} {
		if got := Key(&streams.Delivery{Topic: "topic", Partition: 3, Offset: 9, Value: c.value}); got != c.want {
			t.Errorf("%T: got %s, want %s", c.value, got, c.want)
		}
	}
}

func TestMark(t *testing.T) {
	seen := map[[32]byte]string{}
	for _, d := range []streams.Delivery{{}, {Key: "a"}, {Raw: []byte("a")}, {Key: "a", Raw: []byte("b")}, {Key: "ab"}, {Raw: []byte("ab")}} {
		name := fmt.Sprintf("%q %q", d.Key, d.Raw)
		if was, ok := seen[Mark(&d)]; ok {
			t.Errorf("%s and %s have one mark", name, was)
		}
		seen[Mark(&d)] = name
		d.Offset, d.Timestamp = 5, 6
		if _, ok := seen[Mark(&d)]; !ok {
			t.Errorf("%s: the mark depends on the position", name)
		}
	}
}

func TestJSON(t *testing.T) {
	b, err := JSON(&schemas.Alert{ID: "x", Title: "a\xffb"})
	if err != nil || !json.Valid(b) || !strings.Contains(string(b), `"techniques":[]`) {
		t.Errorf("got %s, %v", b, err)
	}
	if _, err := JSON(&schemas.Alert{Risk: math.NaN()}); err == nil || !strings.Contains(err.Error(), "Alert") {
		t.Errorf("got %v, want an error that names the schema", err)
	}
}

func TestRecent(t *testing.T) {
	r := NewRecent(3)
	for _, s := range []string{"a", "b", "c", "a", "d"} {
		r.Add(s)
	}
	for s, want := range map[string]bool{"a": false, "b": true, "c": true, "d": true, "": false} {
		if r.Has(s) != want {
			t.Errorf("Has(%q) = %v, want %v", s, !want, want)
		}
	}
	var none Recent
	none.Add("a")
	if none.Has("a") {
		t.Error("the zero value remembers")
	}
}
