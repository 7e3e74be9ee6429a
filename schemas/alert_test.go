package schemas_test

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/gowebpki/jcs"
)

func alert(t testing.TB) *schemas.Alert {
	t.Helper()
	a := filled(t, "Alert").(*schemas.Alert)
	// Times as they are: what JSON gives as RFC 3339 has four digits for the year.
	a.Provenance.Time, a.Provenance.Coverage.Since, a.Process.CreatedTime = 1_790_000_000_123_456_789, 1_789_000_000_000_000_001, 1_788_000_000_000_000_000
	return a
}

// The fields that are promised to SOC teams are there, whatever is known.
func TestAlertJSON(t *testing.T) {
	promised := []string{"id", "revision", "time", "tenant", "host", "title", "severity", "severity_id", "risk", "techniques", "tactics", "entity", "process", "lineage",
		"detectors", "features", "causes", "coverage", "held_back", "fused_p", "confidence"}
	for what, a := range map[string]*schemas.Alert{"filled": alert(t), "empty": {}} {
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		for _, k := range promised {
			if v, ok := m[k]; !ok || v == nil {
				t.Errorf("%s alert has no %s: %s", what, k, b)
			}
		}
		if bytes.Contains(b, []byte("null")) {
			t.Errorf("%s alert says null: %s", what, b)
		}
	}
	var m struct {
		Time      string
		Detectors []map[string]any
		Inputs    []map[string]any
		Features  []map[string]any
		Coverage  map[string]any
	}
	a := alert(t)
	a.Inputs, a.Features, a.Detectors = []schemas.Origin{{Topic: "x"}}, []schemas.Feature{{Name: "x"}}, []schemas.Member{{Name: "x", Version: "1"}} // 0 is said too
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if m.Time != "2026-09-21T14:13:20.123456789Z" {
		t.Errorf("time is %s", m.Time)
	}
	for _, c := range []struct {
		got  map[string]any
		want []string
	}{{m.Detectors[0], []string{"name", "version", "score", "p_value"}}, {m.Inputs[0], []string{"topic", "partition", "offset"}}, {m.Features[0], []string{"name", "value"}}, {m.Coverage, []string{"received", "lost", "suppressed", "late", "repeats", "since"}}} {
		for _, k := range c.want {
			if _, ok := c.got[k]; !ok {
				t.Errorf("%v has no %s", c.got, k)
			}
		}
	}
}

// Reading what was written gives the alert, apart from its origin: a locator, which is not in the JSON.
func TestAlertJSONBack(t *testing.T) {
	for what, a := range map[string]*schemas.Alert{"filled": alert(t), "empty": {}} {
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back schemas.Alert
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(&back)
		if err != nil || string(again) != string(b) {
			t.Errorf("%s alert: %v\ngot  %s\nwant %s", what, err, again, b)
		}
		if what == "filled" {
			back.Provenance.Origin = a.Provenance.Origin
			if !reflect.DeepEqual(&back, a) {
				t.Errorf("got %+v\nwant %+v", &back, a)
			}
		}
	}
	var a schemas.Alert
	for _, text := range []string{`{"id":"x","time":"yesterday"}`, `{"revision":"x"}`, `{"coverage":{"since":"1"}}`} {
		if err := json.Unmarshal([]byte(text), &a); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

func TestCanonical(t *testing.T) {
	a := alert(t)
	c, err := a.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := jcs.Transform(c); err != nil || string(again) != string(c) {
		t.Errorf("not canonical: %v", err)
	}
	if bytes.Contains(c, []byte(`"inputs"`)) {
		t.Error("locators are in it")
	}
	if _, err := (&schemas.Alert{Risk: math.NaN()}).Canonical(); err == nil {
		t.Error("NaN has a canonical form")
	}
	if _, err := schemas.Digest([]*schemas.Alert{{ID: "broken", Risk: math.Inf(1)}}); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("got %v, want an error that names the alert", err)
	}
}

// The digest is of the set: neither order nor locators change it, and every fact does.
func TestDigest(t *testing.T) {
	digest := func(as ...*schemas.Alert) string {
		t.Helper()
		d, err := schemas.Digest(as)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a, b := alert(t), alert(t)
	b.ID = "other"
	want := digest(a, b)
	if digest(b, a) != want {
		t.Error("the order changes the digest")
	}
	moved := alert(t)
	moved.Provenance.Origin, moved.Inputs = schemas.Origin{Topic: "elsewhere", Offset: 1}, nil
	if digest(moved, b) != want {
		t.Error("locators change the digest")
	}
	if digest(a) == want || digest(a, b, b) == want || digest() == want {
		t.Error("another set has the same digest")
	}
	if got := digest(); got != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("the digest of nothing is %s, want SHA-256 of nothing", got)
	}

	// Every field takes part but the locators.
	locators := []string{"inputs", "origin"}
	walk(reflect.ValueOf(alert(t)).Elem(), "", func(path string) {
		if slices.ContainsFunc(locators, func(l string) bool { return strings.Contains(path, l) }) {
			return
		}
		changed := alert(t)
		touch(reflect.ValueOf(changed).Elem(), path)
		if digest(changed, b) == want {
			t.Errorf("%s does not change the digest", path)
		}
	})
}

// walk calls f with the path of every scalar field.
func walk(v reflect.Value, path string, f func(string)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			walk(v.Field(i), path+"."+v.Type().Field(i).Tag.Get("avro"), f)
		}
	case reflect.Slice:
		walk(v.Index(0), path+".0", f)
	default:
		f(path)
	}
}

// touch changes the field at a path.
func touch(v reflect.Value, path string) {
	for _, p := range strings.Split(path[1:], ".") {
		if v.Kind() == reflect.Slice {
			v = v.Index(0)
			continue
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("avro") == p {
				v = v.Field(i)
				break
			}
		}
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "!")
	case reflect.Int32, reflect.Int64:
		v.SetInt(v.Int() - 4096) // more than a double rounds away
	case reflect.Float64:
		v.SetFloat(v.Float() / 2)
	}
}
