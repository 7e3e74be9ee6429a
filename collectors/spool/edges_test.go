package spool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/twmb/avro"
)

// lines is a log that a test can read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func appendAll(t *testing.T, s *Spool, es ...schemas.Event) {
	t.Helper()
	if err := s.Append(t.Context(), es...); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyOneOpensADirectory(t *testing.T) {
	c := config(t.TempDir())
	s := open(t, c)
	if _, err := Open(c); !errors.Is(err, streams.ErrFileLocked) || !strings.Contains(err.Error(), c.Dir) {
		t.Errorf("second open: %v", err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	open(t, c)
}

// TestIncarnation: numbers are never given twice under one identity.
func TestIncarnation(t *testing.T) {
	c := config(t.TempDir())
	s := open(t, c)
	appendAll(t, s, event(1, 0))
	first := s.boot
	boot := func(dir, id string) string {
		t.Helper()
		c := config(dir)
		c.Identity.Boot = id
		s := open(t, c)
		defer s.Close()
		e := event(2, 0)
		appendAll(t, s, e)
		if e.Envelope.Boot != id+s.boot || e.Envelope.Sequence != 2 {
			t.Errorf("envelope %+v", e.Envelope)
		}
		return s.boot
	}
	if got := boot(killed(t, c.Dir), "b"); got != first {
		t.Error("a kill of the process, which loses nothing, gave a new incarnation")
	}
	if got := boot(killed(t, c.Dir), "b2"); got == first {
		t.Error("a crash of the machine, which may have taken the last records, gave no new incarnation")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := boot(c.Dir, "b3"); got != first {
		t.Error("a reboot after a clean close gave a new incarnation")
	}
}

func TestTornTailIsTold(t *testing.T) {
	c := config(t.TempDir())
	var log lines
	s := open(t, c)
	appendAll(t, s, event(1, 1), event(2, 1))
	dir := killed(t, c.Dir)
	seg := filepath.Join(dir, "p1", fmt.Sprintf("%020d%s", 1, suffix))
	f, err := os.OpenFile(seg, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("part of a record")); err != nil {
		t.Fatal(err)
	}
	f.Close()
	c = config(dir)
	c.Logger = log.logger()
	again := open(t, c)
	appendAll(t, again, event(3, 1))
	b := &broker{}
	ship(t, again, b, func() bool { return b.seen(3) && b.lost() == 1 })
	if pids, _ := b.stream(t, "p1"); len(pids) != 3 {
		t.Errorf("events %v, want 3: only the tail was torn", pids)
	}
	if log.count("cut off") != 1 {
		t.Error("it was not logged")
	}
	for _, e := range b.got {
		if x, ok := e.(*schemas.CollectorStatus); ok && (x.LostStream != "p1" || x.Counters[0] != schemas.Counter{Name: "torn_bytes", Count: 16}) {
			t.Errorf("status %+v", x)
		}
	}
}

// TestDamageBeforeOpen: a damaged record in the middle of the last segment costs only itself.
func TestDamageBeforeOpen(t *testing.T) {
	c := config(t.TempDir())
	s := open(t, c)
	for i := range int64(10) {
		appendAll(t, s, event(i, 0))
	}
	size := s.logs[0].segments[0].size / 10
	dir := killed(t, c.Dir)
	f, err := os.OpenFile(filepath.Join(dir, "p0", fmt.Sprintf("%020d%s", 1, suffix)), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 4*size+40); err != nil {
		t.Fatal(err)
	}
	f.Close()
	again := open(t, config(dir))
	if again.boot != s.boot {
		t.Error("no number is unknown, and yet there is a new incarnation")
	}
	b := &broker{}
	ship(t, again, b, func() bool { return b.lost() == 1 && again.Counts().Shipped == 10 })
	if k := again.Counts(); k.Damaged != 1 || b.seen(4) || !b.seen(3) || !b.seen(5) {
		t.Errorf("counts %+v", k)
	}
	n := len(b.got)
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	third := open(t, config(dir))
	appendAll(t, third, event(11, 0))
	ship(t, third, b, func() bool { return b.seen(11) })
	if len(b.got) != n+1 {
		t.Errorf("%d records came after a restart, want 1: what is lost was told again", len(b.got)-n)
	}
}

// TestNothingIsWrittenOfAFailedAppend: a failure in one stream takes back what was written to another, and the events may be
// appended again.
func TestNothingIsWrittenOfAFailedAppend(t *testing.T) {
	c := config(t.TempDir())
	s := open(t, c)
	appendAll(t, s, event(1, 0), event(1, 1), event(1, 2))
	broken, err := os.Open(os.DevNull) // cannot be written to
	if err != nil {
		t.Fatal(err)
	}
	good := s.logs[1].file
	s.mu.Lock()
	s.logs[1].file = broken
	s.mu.Unlock()
	kept := []schemas.Event{event(3, 0), event(3, 1), event(3, 2)}
	for range 3 {
		err := s.Append(t.Context(), kept...)
		if err == nil || !strings.Contains(err.Error(), c.Dir) {
			t.Fatalf("append to a broken log: %v", err)
		}
	}
	s.mu.Lock()
	s.logs[1].file = good
	s.mu.Unlock()
	broken.Close()
	if k := s.Counts(); k.Refused != 9 || k.Appended != 3 {
		t.Errorf("counts %+v", k)
	}
	appendAll(t, s, kept...)
	b := &broker{}
	ship(t, s, b, func() bool { return s.Counts().Shipped == 6 })
	for _, e := range b.got {
		if v, pid := e.Env(), e.(*schemas.ProcessExec).Process.PID; v.Sequence != (pid+1)/2 || v.Boot != "b"+s.boot {
			t.Errorf("event %d: %+v", pid, v)
		}
	}
}

func TestTooLargeHoldsNothingUp(t *testing.T) {
	var log lines
	c := config(t.TempDir())
	c.Logger = log.logger()
	s := open(t, c)
	huge := event(2, 1)
	huge.Process.CmdLine = strings.Repeat("x", maxRecord+1)
	appendAll(t, s, event(1, 1), huge, event(3, 1))
	b := &broker{}
	ship(t, s, b, func() bool { return s.Counts().Shipped == 3 })
	pids, _ := b.stream(t, "p1")
	if len(pids) != 2 || s.Counts().Dropped != 1 || log.count("too large") != 1 {
		t.Errorf("events %v, counts %+v", pids, s.Counts())
	}
	told := false
	for _, e := range b.got {
		if x, ok := e.(*schemas.CollectorStatus); ok {
			told = x.Envelope.ActivityID == streams.StatusSuppressed && x.Counters[0].Name == "too_large"
		}
	}
	if !told {
		t.Error("it was not told")
	}
	if appendAll(t, s, event(4, 1)); cap(s.bufs[1]) > keepBuffer {
		t.Error("the large buffer is kept")
	}
}

func TestUnknownKindIsRefused(t *testing.T) {
	s := open(t, config(t.TempDir()))
	if err := s.Append(t.Context(), stranger{event(1, 0)}); err == nil || !strings.Contains(err.Error(), "Stranger") {
		t.Errorf("append: %v", err)
	}
	if k := s.Counts(); k.Appended != 0 || k.Refused != 1 {
		t.Errorf("counts %+v", k)
	}
}

type stranger struct{ *schemas.ProcessExec }

func (stranger) SchemaName() string { return "Stranger" }

// TestOlderSchemaIsUpgraded: a spool may hold records of an earlier version of the program.
func TestOlderSchemaIsUpgraded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, config(dir))
	appendAll(t, s, event(1, 0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	own, _ := schemas.Lookup("ProcessExec")
	var def map[string]any
	if err := json.Unmarshal([]byte(own.Text), &def); err != nil {
		t.Fatal(err)
	}
	fields := def["fields"].([]any)
	def["fields"] = fields[:len(fields)-1] // before its last field was added
	old, err := json.Marshal(def)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, seq int64, body []byte) {
		t.Helper()
		rec, err := appendRecord(nil, Record{Sequence: seq, Topic: schemas.EndpointTopic.Name, Schema: name, Key: "t/h"}, func(b []byte) ([]byte, error) { return append(b, body...), nil })
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, "p0", fmt.Sprintf("%020d%s", 1, suffix)), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(rec); err != nil {
			t.Fatal(err)
		}
	}
	e := event(2, 0)
	e.Envelope.Stream, e.Envelope.Sequence = "p0", 2
	body, err := avro.MustParse(string(old)).AppendEncode(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	name := "ProcessExec@" + schemaMark(string(old))
	if err := os.WriteFile(filepath.Join(dir, schemasName, name+".avsc"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	write(name, 2, body)
	write("ProcessExec@00000000", 3, body) // whose schema is nowhere
	write("Strange@00000000", 4, body)
	again := open(t, config(dir))
	b := &broker{}
	ship(t, again, b, func() bool { return b.lost() == 2 })
	if pids, _ := b.stream(t, "p0"); len(pids) != 2 || pids[1] != 2 {
		t.Errorf("events %v, want 1 and 2", pids)
	}
	if k := again.Counts(); k.Dropped != 2 {
		t.Errorf("counts %+v", k)
	}
}

func TestLostEventsAreToldWhenThereIsRoom(t *testing.T) {
	s := open(t, config(t.TempDir()))
	appendAll(t, s, event(1, 0))
	s.mu.Lock()
	good := s.logs[0].file
	broken, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	s.logs[0].file = broken
	for range maxOwed + 5 {
		s.tell(s.lost(2, 1, 2, "a test"))
	}
	if len(s.owed) != maxOwed {
		t.Errorf("%d words are kept", len(s.owed))
	}
	s.logs[0].file = good
	broken.Close()
	s.mu.Unlock()
	appendAll(t, s, event(2, 0))
	if k := s.Counts(); k.Appended != maxOwed+2 {
		t.Errorf("counts %+v", k)
	}
}

func TestBrokersAwayIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		c := config(t.TempDir())
		c.Logger = log.logger()
		s, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		appendAll(t, s, event(1, 0))
		w := &waiting{broker: &broker{mute: true}}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Ship(ctx, w) }()
		time.Sleep(10 * stalled)
		if n := log.count("cannot be shipped"); n != 1 {
			t.Errorf("%d lines say that the brokers are away, want 1", n)
		}
		w.answer()
		time.Sleep(2 * stalled)
		if n := log.count("shipped again"); n != 1 {
			t.Errorf("%d lines say that they are back, want 1", n)
		}
		s.Drain(time.Hour)
		appendAll(t, s, event(2, 0))
		began := time.Now()
		s.Drain(time.Minute)
		if d := time.Since(began); d != time.Minute {
			t.Errorf("drain waited %v for a broker that is silent, want a minute", d)
		}
		stop()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestAgeLimitHoldsWithoutAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(config(t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		big := event(1, 2)
		big.Process.CmdLine = strings.Repeat("x", 1<<20)
		for range 20 {
			appendAll(t, s, big)
		}
		time.Sleep(time.Hour)
		if s.Counts().Dropped != 0 {
			t.Error("dropped after an hour")
		}
		time.Sleep(24 * time.Hour)
		if n := s.Counts().Dropped; n != 16 {
			t.Errorf("%d events dropped after a day, want those of the first segment", n)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestLargeRecordsAndDamageAtTheEndOfASegment covers records that are larger than what is read at once, and damage that
// nothing follows in its segment.
func TestLargeRecordsAndDamageAtTheEndOfASegment(t *testing.T) {
	s := open(t, config(t.TempDir()))
	for i := range int64(20) {
		e := event(i, 1)
		e.Process.CmdLine = strings.Repeat("x", 1<<20)
		appendAll(t, s, e)
	}
	if len(s.logs[1].segments) != 2 {
		t.Fatalf("%d segments, want 2", len(s.logs[1].segments))
	}
	f, err := os.OpenFile(s.logs[1].path(1), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff, 0, 0xff}, s.logs[1].segments[0].size-10); err != nil {
		t.Fatal(err)
	}
	f.Close()
	b := &broker{}
	ship(t, s, b, func() bool { return b.lost() == 1 && s.Counts().Shipped == 20 })
	pids, _ := b.stream(t, "p1")
	if len(pids) != 19 || pids[15] == 15 || s.Counts().Damaged != 1 {
		t.Errorf("events %v, counts %+v", pids, s.Counts())
	}
	// What was shipped is dropped, but for the segment that is written.
	if n := len(s.logs[1].segments); n != 1 {
		t.Errorf("%d segments are kept", n)
	}
}

func TestStatusEvents(t *testing.T) {
	s := open(t, config(t.TempDir()))
	es := s.StartEvents([]streams.Capability{{Name: "a", Variant: "x"}, {Name: "b", Reason: "no"}})
	appendAll(t, s, es...)
	for i, want := range []struct {
		activity          int32
		cap, variant, why string
	}{{streams.StatusStart, "", "", "started"}, {streams.StatusCapability, "a", "x", ""}, {streams.StatusCapability, "b", "", "no"}} {
		e := es[i].(*schemas.CollectorStatus)
		if v := e.Env(); v.ActivityID != want.activity || v.ClassUID != streams.StatusClass || v.Sequence != int64(i+1) || e.Capability != want.cap || e.Variant != want.variant || e.Message != want.why {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	e := s.StatusEvent(streams.StatusHeartbeat, "alive", schemas.Counter{Name: "execs", Count: 7}, schemas.Counter{Name: "zeal", Count: 1}).(*schemas.CollectorStatus)
	var names []string
	for _, c := range e.Counters {
		names = append(names, c.Name)
	}
	if got := strings.Join(names, " "); got != "appended damaged dropped execs refused shipped spool_bytes zeal" {
		t.Errorf("counters %s", got)
	}
}

func TestLimitsReportEverything(t *testing.T) {
	if err := DefaultLimits().Validate(); err != nil {
		t.Fatal(err)
	}
	if n := len(streams.SettingErrors(Limits{MaxBytes: 1, MaxAge: 1}.Validate())); n != 2 {
		t.Errorf("%d problems, want 2", n)
	}
}
