package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
)

func config(dir string) Config {
	return Config{Dir: dir, Topic: schemas.EndpointTopic, Identity: Identity{Tenant: "t", Host: "h", Boot: "b", Collector: "test", Platform: "linux"}, Limits: DefaultLimits()}
}

func open(t *testing.T, c Config) *Spool {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// killed is a copy of a spool directory as a kill of the process at this moment leaves it.
func killed(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func event(pid int64, priority int32) *schemas.ProcessExec {
	return &schemas.ProcessExec{Envelope: schemas.Envelope{Priority: priority, Time: 1}, Process: schemas.Process{PID: pid, CmdLine: strings.Repeat("x", 200)}}
}

// broker is a Producer that takes, refuses and forgets as told.
type broker struct {
	mu   sync.Mutex
	got  []schemas.Event
	fail func(n int) error // the answer to the n-th record
	n    int
	mute bool // no answers at all
}

func (b *broker) Ship(_ context.Context, r Record, done func(error)) {
	sch, _ := schemas.Lookup(r.Schema)
	v := schemas.New(r.Schema).(schemas.Event)
	if err := sch.DecodeBody(r.Body, v); err != nil {
		done(streams.Permanent(err))
		return
	}
	b.mu.Lock()
	b.n++
	var err error
	if b.fail != nil {
		err = b.fail(b.n)
	}
	if err == nil {
		b.got = append(b.got, v)
	}
	mute := b.mute
	b.mu.Unlock()
	if !mute {
		done(err)
	}
}

// pids are the distinct events of a stream by number, in the order of their first arrival; numbers must not go back.
func (b *broker) stream(t *testing.T, name string) (pids []int64, repeats int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	last := int64(0)
	for _, e := range b.got {
		if e.Env().Stream != name {
			continue
		}
		if e.Env().Sequence <= last {
			repeats++
			continue
		}
		last = e.Env().Sequence
		if x, ok := e.(*schemas.ProcessExec); ok {
			pids = append(pids, x.Process.PID)
		}
	}
	return pids, repeats
}

// waiting keeps the answers of a broker until they are asked for.
type waiting struct {
	*broker
	late []func(error)
}

func (w *waiting) Ship(ctx context.Context, r Record, done func(error)) {
	w.broker.Ship(ctx, r, done)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = append(w.late, done)
}

func (w *waiting) answer() {
	w.mu.Lock()
	late := w.late
	w.late = nil
	w.mu.Unlock()
	for _, done := range late {
		done(nil)
	}
}

// ship runs the shipper until the condition holds.
func ship(t *testing.T, s *Spool, b *broker, until func() bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Ship(ctx, b) }()
	for !until() {
		select {
		case <-ctx.Done():
			t.Fatal("the spool was not shipped in time")
		case <-time.After(5 * time.Millisecond):
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestNumbersHaveNoGapsAndGoOn(t *testing.T) {
	dir := t.TempDir()
	b := &broker{}
	n := int64(0)
	for range 4 {
		s, err := Open(config(dir))
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			n++
			if err := s.Append(t.Context(), event(n, int32(n%3))); err != nil {
				t.Fatal(err)
			}
		}
		ship(t, s, b, func() bool { return s.Counts().Shipped >= 50 })
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for _, stream := range []string{"p0", "p1", "p2"} {
		pids, repeats := b.stream(t, stream)
		total += len(pids)
		if repeats != 0 {
			t.Errorf("stream %s: %d repeats after clean restarts", stream, repeats)
		}
	}
	if total != 200 {
		t.Errorf("%d of 200 events were shipped", total)
	}
	last := map[string]int64{}
	boots := map[string]bool{}
	for _, e := range b.got {
		v := e.Env()
		if v.Sequence != last[v.Stream]+1 {
			t.Fatalf("stream %s: number %d after %d", v.Stream, v.Sequence, last[v.Stream])
		}
		last[v.Stream] = v.Sequence
		boots[v.Boot] = true
		if v.Tenant != "t" || v.Host != "h" || v.Collector != "test" || v.Platform != "linux" {
			t.Fatalf("envelope %+v is not filled", v)
		}
	}
	if len(boots) != 1 {
		t.Errorf("boots %v: the incarnation changed without damage", boots)
	}
	one, two := open(t, config(t.TempDir())), open(t, config(t.TempDir()))
	if one.boot == two.boot {
		t.Error("two directories have one incarnation")
	}
}

func TestKillBetweenSendAndAnswer(t *testing.T) {
	dir := t.TempDir()
	s := open(t, config(dir))
	for i := range int64(100) {
		if err := s.Append(t.Context(), event(i, 0)); err != nil {
			t.Fatal(err)
		}
	}
	b := &broker{mute: true}
	ship(t, s, b, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.got) == 100 })
	// The process is killed here: no answer came. What is on disk is sent again, with the same numbers.
	b.mute = false
	again := open(t, config(killed(t, dir)))
	ship(t, again, b, func() bool { return again.Counts().Shipped == 100 })
	pids, repeats := b.stream(t, "p0")
	if len(pids) != 100 || repeats != 100 {
		t.Errorf("%d events and %d repeats, want 100 and 100", len(pids), repeats)
	}
}

func TestBrokerAwayThenBack(t *testing.T) {
	s := open(t, config(t.TempDir()))
	for i := range int64(30) {
		if err := s.Append(t.Context(), event(i, 0)); err != nil {
			t.Fatal(err)
		}
	}
	b := &broker{fail: func(n int) error {
		switch {
		case n == 5:
			return errors.New("broker is away")
		case n == 12:
			return streams.Permanent(errors.New("too large"))
		}
		return nil
	}}
	ship(t, s, b, func() bool { return s.Counts().Shipped >= 30 && b.lost() == 1 })
	pids, _ := b.stream(t, "p0")
	if len(pids) != 29 {
		t.Errorf("%d events came, want 29 of 30", len(pids))
	}
}

func TestRefusedEventIsToldByItsOwnIdentity(t *testing.T) {
	s := open(t, config(t.TempDir()))
	for i := range int64(3) {
		e := event(i, 0)
		e.Envelope = schemas.Envelope{Tenant: "t", Host: "other", Boot: "b1", Collector: "sensor", Stream: "s7", Sequence: 41 + i, Time: 1}
		if err := s.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	b := &broker{fail: func(n int) error {
		if n == 2 {
			return streams.Permanent(errors.New("too large"))
		}
		return nil
	}}
	ship(t, s, b, func() bool { return b.lost() == 1 })
	for _, e := range b.got {
		if x, ok := e.(*schemas.CollectorStatus); ok && (x.LostStream != "s7" || x.LostFrom != 42 || x.LostTo != 42 || !strings.Contains(x.Message, "t/other/b1/sensor/s7/42")) {
			t.Errorf("the loss is told as %q %d to %d: %s", x.LostStream, x.LostFrom, x.LostTo, x.Message)
		}
	}
}

// lost counts the loss events that came.
func (b *broker) lost() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.got {
		if x, ok := e.(*schemas.CollectorStatus); ok && x.Envelope.ActivityID == streams.StatusLost {
			n++
		}
	}
	return n
}

func TestOverTheLimitTheLowestPriorityGoesFirst(t *testing.T) {
	c := config(t.TempDir())
	c.Limits.MaxBytes = 3 * segmentSize
	s := open(t, c)
	batch := make([]schemas.Event, 1000)
	for range 40 {
		for p := range int32(3) {
			for i := range batch {
				e := event(int64(i), p)
				e.Process.CmdLine = strings.Repeat("y", 1000)
				batch[i] = e
			}
			if err := s.Append(t.Context(), batch...); err != nil {
				t.Fatal(err)
			}
		}
	}
	k := s.Counts()
	if k.Bytes > c.Limits.MaxBytes+3*segmentSize {
		t.Errorf("spool holds %d bytes, limit %d", k.Bytes, c.Limits.MaxBytes)
	}
	if k.Dropped == 0 {
		t.Fatal("nothing was dropped")
	}
	b := &broker{}
	ship(t, s, b, func() bool { c := s.Counts(); return c.Shipped+k.Dropped >= c.Appended && b.lost() > 0 })
	told := int64(0)
	for _, e := range b.got {
		if x, ok := e.(*schemas.CollectorStatus); ok {
			told += x.LostTo - x.LostFrom + 1
			if x.LostStream == "p0" {
				t.Error("a segment of priority 0 was dropped while there were others")
			}
		}
	}
	if told != k.Dropped {
		t.Errorf("%d events dropped, %d told", k.Dropped, told)
	}
}

func TestTornTailIsCut(t *testing.T) {
	for cut := 1; cut < 300; cut += 37 {
		dir := t.TempDir()
		s, err := Open(config(dir))
		if err != nil {
			t.Fatal(err)
		}
		for i := range int64(10) {
			if err := s.Append(t.Context(), event(i, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		seg := filepath.Join(dir, "p0", fmt.Sprintf("%020d%s", 1, suffix))
		i, err := os.Stat(seg)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(seg, i.Size()-int64(cut)); err != nil {
			t.Fatal(err)
		}
		before := s.boot
		again := open(t, config(dir))
		if again.boot == before {
			t.Fatalf("cut of %d: numbers that were lost could be given again in the same incarnation", cut)
		}
		if err := again.Append(t.Context(), event(99, 0)); err != nil {
			t.Fatal(err)
		}
		b := &broker{}
		ship(t, again, b, func() bool { return b.seen(99) })
	}
}

func (b *broker) seen(pid int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.got {
		if x, ok := e.(*schemas.ProcessExec); ok && x.Process.PID == pid {
			return true
		}
	}
	return false
}

func TestFlippedBitCostsOnlyWhatItMust(t *testing.T) {
	dir := t.TempDir()
	s := open(t, config(dir))
	big := make([]schemas.Event, 1000)
	for seg := range 3 {
		for k := range 18 {
			for i := range big {
				e := event(int64(seg*100_000+k*1000+i), 0)
				e.Process.CmdLine = strings.Repeat("z", 1000)
				big[i] = e
			}
			if err := s.Append(t.Context(), big...); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := s.logs[0].path(1)
	f, err := os.OpenFile(first, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{5 << 20, 9 << 20} {
		if _, err := f.WriteAt([]byte{0xff, 0x00, 0xff}, at); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	b := &broker{}
	ship(t, s, b, func() bool {
		return b.lost() == 2 && b.seen(2*100_000+17*1000+999) && s.Counts().Shipped+2 == s.Counts().Appended
	})
	if c := s.Counts(); c.Damaged != 2 {
		t.Errorf("%d events lost to two damaged places", c.Damaged)
	}
}

func TestErrorsNameTheFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(config(file)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file in place of the folder: %v", err)
	}
	c := config(t.TempDir())
	c.Limits = Limits{}
	var se *streams.SettingError
	if _, err := Open(c); !errors.As(err, &se) {
		t.Errorf("limits of nothing: %v", err)
	}
	s := open(t, config(t.TempDir()))
	s.Close()
	if err := s.Append(t.Context(), event(1, 0)); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	r := Record{Sequence: 7, Topic: "t", Schema: "s", Key: "k", Body: []byte("body")}
	whole, err := appendRecord(nil, r, func(b []byte) ([]byte, error) { return append(b, r.Body...), nil })
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(append([]byte{9, 9}, whole...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, ok := resync(b, 1, 100); ok {
			if r, _, err := readRecord(b[at:]); err != nil || r.Sequence < 1 || r.Sequence >= 100 {
				t.Fatalf("resync at %d: %+v, %v", at, r, err)
			}
		}
		rec, n, err := readRecord(b)
		if err != nil {
			return
		}
		if n > len(b) {
			t.Fatalf("took %d of %d bytes", n, len(b))
		}
		text, err := appendRecord(nil, rec, func(b []byte) ([]byte, error) { return append(b, rec.Body...), nil })
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := readRecord(text)
		if err != nil || again.Sequence != rec.Sequence || again.Key != rec.Key || !bytes.Equal(again.Body, rec.Body) {
			t.Fatalf("round trip: %+v, %v", again, err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	s, err := Open(config(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	batch := make([]schemas.Event, 100)
	for i := range batch {
		batch[i] = event(int64(i), 0)
	}
	for b.Loop() {
		if err := s.Append(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "events/s")
}

func TestOwnIdentitiesAreKept(t *testing.T) {
	dir := t.TempDir()
	b := &broker{}
	for range 2 { // read again from the start, as after a kill
		s, err := Open(config(dir))
		if err != nil {
			t.Fatal(err)
		}
		for i := range int64(6) {
			e := event(i, int32(i%3))
			e.Envelope.Tenant, e.Envelope.Host, e.Envelope.Boot, e.Envelope.Collector = "t", fmt.Sprintf("h%d", i%2), "rec-1", "file"
			e.Envelope.Stream, e.Envelope.Sequence = "p0", i/2+1
			if err := s.Append(t.Context(), e, event(100+i, 0)); err != nil {
				t.Fatal(err)
			}
		}
		ship(t, s, b, func() bool { return s.Counts().Shipped >= 12 })
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	for _, e := range b.got {
		seen[e.Env().EventID()]++
	}
	for i := range int64(6) {
		id := fmt.Sprintf("t/h%d/rec-1/file/p0/%d", i%2, i/2+1)
		if seen[id] != 2 {
			t.Errorf("event %s came %d times, want the same id both times", id, seen[id])
		}
	}
	if len(seen) != 6+12 {
		t.Errorf("%d different events, want 6 recorded ones and 12 of the spool's own", len(seen))
	}
}

// TestRecordedFromThisSpool: what was recorded from this very spool is the same event when it is read back, the words of the
// collector about itself too.
func TestRecordedFromThisSpool(t *testing.T) {
	s := open(t, config(t.TempDir()))
	b := &broker{}
	appendAll(t, s, s.StatusEvent(streams.StatusStart, "started"), event(1, 0), s.StatusEvent(streams.StatusHeartbeat, "alive"))
	ship(t, s, b, func() bool { return s.Counts().Shipped == 3 })
	recorded := slices.Clone(b.got)
	appendAll(t, s, recorded...)
	ship(t, s, b, func() bool { return s.Counts().Shipped == 6 })
	for i, e := range b.got[3:] {
		if got, want := e.Env().EventID(), recorded[i].Env().EventID(); got != want {
			t.Errorf("read back %s is %s", want, got)
		}
	}
}

// instant is a Producer that acknowledges at once.
type instant struct{}

func (instant) Ship(_ context.Context, _ Record, done func(error)) { done(nil) }

func BenchmarkShip(b *testing.B) {
	s, err := Open(config(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	batch := make([]schemas.Event, 100)
	for i := range batch {
		batch[i] = event(int64(i), 0)
	}
	for range b.N {
		if err := s.Append(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	b.ResetTimer()
	go func() { done <- s.Ship(ctx, instant{}) }()
	s.Drain(time.Hour)
	b.ReportMetric(float64(b.N*len(batch))/b.Elapsed().Seconds(), "events/s")
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
