package sinks

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/sinks/internal/sinktest"
	"github.com/amoskys/amoskys/streams"
)

func TestSuite(t *testing.T) {
	if !slices.IsSortedFunc(Suite, func(a, b Spec) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the list is not sorted by name")
	}
	c := Defaults()
	c.Webhook.URL = "http://127.0.0.1:1/hook"
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var out bytes.Buffer
	env := Env{Out: &out, AlertsDir: filepath.Join(dir, "alerts"), AuditDir: filepath.Join(dir, "audit")}
	for _, s := range Suite {
		found, err := Find(s.Name)
		if err != nil || found.Name != s.Name || s.Doc == "" {
			t.Errorf("%s: %v", s.Name, err)
		}
		for _, name := range s.Topics(c) {
			if _, ok := schemas.TopicByName(name); !ok {
				t.Errorf("%s: topic %s is not declared", s.Name, name)
			}
		}
		x, err := s.New(c, env)
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != "webhook" {
			b := sinktest.Batch(schemas.AlertsTopic, 0, 0, 2, sinktest.Alert)
			if err := x.Deliver(t.Context(), b); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
		}
		if err := x.Close(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	if !strings.Contains(out.String(), "alert 0") {
		t.Errorf("stdout printed %q", out.String())
	}
	if _, err := Find("fax"); err == nil || !strings.Contains(err.Error(), "audit, file, stdout, webhook") {
		t.Errorf("got %v, want the known ones", err)
	}
}

func TestEveryProblemHasItsKey(t *testing.T) {
	c := Defaults()
	c.File.Format, c.File.SegmentRecords, c.Webhook.URL, c.Webhook.Timeout, c.Audit.Dir = "xml", 0, "ftp://x", 0, "relative"
	var keys []string
	var collect func(error)
	collect = func(err error) {
		if j, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range j.Unwrap() {
				collect(e)
			}
			return
		}
		se := (*streams.SettingError)(nil)
		if !errors.As(err, &se) {
			t.Errorf("%v is no setting error", err)
			return
		}
		keys = append(keys, se.Key)
	}
	collect(c.Validate())
	if want := []string{"file.format", "file.segment_records", "webhook.url", "webhook.timeout", "audit.dir"}; !slices.Equal(keys, want) {
		t.Errorf("got %v, want %v", keys, want)
	}
	for _, s := range Suite {
		if s.Name == "stdout" {
			continue
		}
		se := (*streams.SettingError)(nil)
		if _, err := s.New(Config{}, Env{}); !errors.As(err, &se) || !strings.HasPrefix(se.Key, s.Name+".") {
			t.Errorf("%s without settings: %v", s.Name, err)
		}
	}
}
