package file

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

// log is an Appender that remembers what it was given and when.
type log struct {
	events []schemas.Event
	at     []time.Time
	sizes  []int
	fail   error
	after  func()
}

func (l *log) Append(ctx context.Context, events ...schemas.Event) error {
	if l.fail != nil {
		return l.fail
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.sizes = append(l.sizes, len(events))
	for _, e := range events {
		l.events = append(l.events, e)
		l.at = append(l.at, time.Now())
	}
	if l.after != nil {
		l.after()
	}
	return nil
}

func collector(t testing.TB, cfg Config) *Collector {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCollect(t *testing.T) {
	var sums []Summary
	var bad int
	c := collector(t, Config{Paths: []string{"testdata/sysmon.jsonl", "testdata/graph"}, OnSummary: func(s Summary) { sums = append(sums, s) }, OnBad: func(BadLine) { bad++ }})
	if c.Name() != "file" {
		t.Errorf("name is %s", c.Name())
	}
	var out log
	if err := c.Collect(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if len(out.events) != 32+17 || len(sums) != 2 || bad != 9 {
		t.Errorf("%d events, %d summaries, %d bad lines; want 49, 2, 9", len(out.events), len(sums), bad)
	}
	if out.events[40].Env().Tenant != defaultTenant || out.events[40].Env().Host != "00ab12cd" {
		t.Errorf("event 40 is %s", out.events[40].Env().EventID())
	}
}

func TestCollectInBatches(t *testing.T) {
	path := write(t, "many.jsonl", []byte(strings.Repeat(goodLine+"\n", 2*batch+1)))
	var out log
	if err := collector(t, Config{Paths: []string{path}}).Collect(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(out.sizes, []int{batch, batch, 2}) {
		t.Errorf("appended %v", out.sizes)
	}
}

func TestCollectEnds(t *testing.T) {
	full := errors.New("disk is full")
	err := collector(t, Config{Paths: []string{"testdata/own.jsonl"}}).Collect(t.Context(), &log{fail: full})
	if !errors.Is(err, full) || !strings.Contains(err.Error(), "own.jsonl") {
		t.Errorf("a spool that fails: %v", err)
	}
	missing := filepath.Join(t.TempDir(), "missing.json")
	var out log
	err = collector(t, Config{Paths: []string{"testdata/own.jsonl", missing}}).Collect(t.Context(), &out)
	if err == nil || !strings.Contains(err.Error(), "missing.json") || len(out.events) != 6 {
		t.Errorf("a missing recording: %d events, %v", len(out.events), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	path := write(t, "many.jsonl", []byte(strings.Repeat(goodLine+"\n", 10*batch)))
	out = log{after: cancel}
	if err := collector(t, Config{Paths: []string{path, missing}}).Collect(ctx, &out); err != nil || len(out.events) != batch {
		t.Errorf("a cancelled context: %d events, %v; want %d and no error", len(out.events), err, batch)
	}
}

const second = int64(time.Second)

// paced collects the sample own.jsonl, whose events are 1 s, 1 s and, out of order, -1.5 s apart, in virtual time.
func paced(t *testing.T, cfg Config, check func(start time.Time, out *log)) {
	cfg.Paths = []string{"testdata/own.jsonl"}
	synctest.Test(t, func(t *testing.T) {
		var out log
		start := time.Now()
		if err := collector(t, cfg).Collect(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		if len(out.events) != 6 {
			t.Fatalf("%d events", len(out.events))
		}
		check(start, &out)
	})
}

func TestPace(t *testing.T) {
	paced(t, Config{Pace: 0.5}, func(start time.Time, out *log) {
		for i, want := range []time.Duration{0, 2 * time.Second, 4 * time.Second, 4 * time.Second} {
			if got := out.at[i].Sub(start); got != want {
				t.Errorf("event %d is delivered after %v, want %v", i, got, want)
			}
		}
		if got := out.events[2].Env().Time; got != 1700000002*second {
			t.Errorf("event time is %d though nothing is restamped", got)
		}
	})
}

func TestRestamp(t *testing.T) {
	paced(t, Config{Pace: 2, Restamp: true}, func(start time.Time, out *log) {
		for i, want := range []time.Duration{0, 500 * time.Millisecond, time.Second, 250 * time.Millisecond} {
			if got := time.Duration(out.events[i].Env().Time - start.UnixNano()); got != want {
				t.Errorf("event %d happens at %v, want %v", i, got, want)
			}
		}
	})
	paced(t, Config{Restamp: true}, func(start time.Time, out *log) {
		if got := time.Duration(out.events[2].Env().Time - start.UnixNano()); got != 2*time.Second || time.Now() != start {
			t.Errorf("at full speed event 2 happens at %v, want 2s, and no time passes", got)
		}
	})
}

func TestCancelWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		var out log
		err := collector(t, Config{Paths: []string{"testdata/own.jsonl"}, Pace: 1}).Collect(ctx, &out)
		if err != nil || len(out.events) != 2 {
			t.Errorf("%d events, %v; want 2 and no error", len(out.events), err)
		}
	})
}

// TestRestampMovesEveryTime fills every time that an event can have, by their names, and looks for one that stays.
func TestRestampMovesEveryTime(t *testing.T) {
	isTime := map[string]bool{"Time": true, "CreatedTime": true, "FirstTime": true, "StartTime": true, "EndTime": true, "WindowStart": true, "WindowEnd": true}
	var walk func(v reflect.Value, f func(name string, v reflect.Value))
	walk = func(v reflect.Value, f func(string, reflect.Value)) {
		for i := range v.NumField() {
			switch c := v.Field(i); c.Kind() {
			case reflect.Struct:
				walk(c, f)
			case reflect.Int64:
				if n := v.Type().Field(i).Name; isTime[n] {
					f(v.Type().Name()+"."+n, c)
				}
			}
		}
	}
	seen := 0
	for _, n := range schemas.Names() {
		e, ok := schemas.New(n).(schemas.Event)
		if !ok {
			continue
		}
		p := pacer{restamp: true, begun: true, first: 10, start: time.Unix(1, 0)}
		walk(reflect.ValueOf(e).Elem(), func(_ string, v reflect.Value) { v.SetInt(30) })
		p.stamp(e)
		walk(reflect.ValueOf(e).Elem(), func(name string, v reflect.Value) {
			if seen++; v.Int() != 1e9+20 {
				t.Errorf("%s: %s is %d, want 1000000020", n, name, v.Int())
			}
		})
	}
	if seen < 30 {
		t.Errorf("only %d times were found", seen)
	}
}

func TestCapabilities(t *testing.T) {
	c := collector(t, Config{Paths: []string{"testdata/sysmon.jsonl", "testdata/graph", "nowhere.json"}})
	got := c.Capabilities()
	want := []streams.Capability{{Name: "recording sysmon.jsonl", Variant: Sysmon}, {Name: "recording graph", Variant: EDR}, {Name: "recording nowhere.json"}}
	for i, w := range want {
		if got[i].Name != w.Name || got[i].Variant != w.Variant || (w.Variant == "") != (got[i].Reason != "") {
			t.Errorf("capability %d is %+v, want %+v", i, got[i], w)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		cfg  Config
		keys []string
	}{
		{Config{Paths: []string{"a"}, Format: EDR, Pace: 60}, nil},
		{Config{}, []string{"paths"}},
		{Config{Paths: []string{"a", " "}, Format: "zip", Pace: -1}, []string{"paths[1]", "format", "pace"}},
		{Config{Paths: []string{"a"}, Pace: math.NaN()}, []string{"pace"}},
		{Config{Paths: []string{"a"}, Pace: math.Inf(1)}, []string{"pace"}},
	} {
		_, err := New(tc.cfg)
		var keys []string
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range many.Unwrap() {
				var s *streams.SettingError
				if !errors.As(e, &s) || s.Want == "" {
					t.Fatalf("%v is no setting error", e)
				}
				keys = append(keys, s.Key)
			}
		}
		if !reflect.DeepEqual(keys, tc.keys) {
			t.Errorf("%+v: %v are wrong, want %v", tc.cfg, keys, tc.keys)
		}
	}
}
