package collectors_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/collectors"
	"github.com/amoskys/amoskys/streams"
)

func TestSuite(t *testing.T) {
	c := collectors.Defaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	c.File.Paths = []string{"recording.jsonl"}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	last := ""
	for _, s := range collectors.Suite {
		if s.Name <= last || s.Doc == "" || s.Topic == nil {
			t.Errorf("collector %q is not declared in full, or not in order", s.Name)
		}
		last = s.Name
		if !s.Enabled(c) || s.Enabled(collectors.Config{}) {
			t.Errorf("collector %s: settings do not turn it on and off", s.Name)
		}
		found, err := collectors.Find(s.Name)
		if err != nil || found.Name != s.Name {
			t.Errorf("find %s: %v", s.Name, err)
		}
		x, err := s.New(c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("new %s: %v", s.Name, err)
		}
		if x.Name() != s.Name || len(x.Capabilities()) == 0 {
			t.Errorf("collector %s calls itself %s, with %d capabilities", s.Name, x.Name(), len(x.Capabilities()))
		}
	}
	if _, err := collectors.Find("nothing"); err == nil || !strings.Contains(err.Error(), "file, proc") {
		t.Errorf("find nothing: %v", err)
	}
}

func TestValidate(t *testing.T) {
	c := collectors.Config{}
	c.File.Paths, c.File.Format, c.File.Pace = []string{"x"}, "csv", -1
	var keys []string
	for _, e := range streams.SettingErrors(c.Validate()) {
		keys = append(keys, e.Key)
	}
	for _, want := range []string{"proc.interval", "proc.root", "file.format", "file.pace", "spool.max_bytes"} {
		if !slices.Contains(keys, want) {
			t.Errorf("%s is not reported: %v", want, keys)
		}
	}
}
