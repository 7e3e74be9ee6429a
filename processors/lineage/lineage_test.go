package lineage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

func Test(t *testing.T) { streamstest.Run(t, stage(Processor), "testdata/*.txtar") }

func TestRepeatsAreCounted(t *testing.T) {
	f := newFeed(t, Config{})
	f.exec(0, 100, 1, "/usr/bin/daemon")
	for i := range 50 {
		f.file(1+float64(i)/10, 100, fmt.Sprintf("/var/log/app-%d.log", i))
	}
	f.file(70, 100, "/var/log/app-70.log") // more than a minute after the last that was written
	f.exit(71, 100)
	rs := f.out()
	var files, total int64
	for _, r := range rs {
		if r.Kind == "file" {
			files++
			total += 1 + r.Repeats
		}
	}
	if files != 9 || total != 51 {
		t.Errorf("%d records stand for %d activities, want 9 for 51", files, total)
	}
	if last := rs[len(rs)-1]; last.Kind != "exit" || last.ProcessFiles != 51 || last.Repeats != 0 {
		t.Errorf("last record is %s with %d files, %d repeats", last.Kind, last.ProcessFiles, last.Repeats)
	}
}

func TestExitCarriesWhatWasHeld(t *testing.T) {
	f := newFeed(t, Config{Repeats: 1})
	f.exec(0, 100, 1, "/usr/bin/daemon")
	for i := range 5 {
		f.file(1, 100, "/etc/passwd")
		f.connect(1, 100, "192.0.2.1", int32(443+i/4))
	}
	f.exit(2, 100)
	var total int64
	rs := f.out()
	for _, r := range rs {
		switch r.Kind {
		case "file", "network":
			total += 1 + r.Repeats
		case "exit":
			total += r.Repeats
		}
	}
	if last := rs[len(rs)-1]; last.Repeats != 4 || total != 10 {
		t.Errorf("exit has %d repeats, want 4; all records stand for %d activities, want 10", last.Repeats, total)
	}
}

func TestScanShows(t *testing.T) {
	f := newFeed(t, Config{})
	f.exec(0, 100, 1, "/usr/bin/scanner")
	for i := range 2000 {
		f.connect(1+float64(i)/1000, 100, fmt.Sprintf("10.0.%d.%d", i/250, i%250), 445)
	}
	hosts := map[string]bool{}
	for _, r := range f.out() {
		if r.Kind == "network" {
			hosts[r.Object] = true
		}
	}
	if n := len(hosts); n < 256 || n > 1024 {
		t.Errorf("%d of 2000 scanned addresses were written, want some hundreds", n)
	}
}

func TestProcessesAreBounded(t *testing.T) {
	f := newFeed(t, Config{MaxProcesses: 100})
	for i := range 1000 {
		f.exec(float64(i), int64(100+i), 1, "/usr/bin/worker")
		if i%2 == 0 {
			f.exit(float64(i)+0.5, int64(100+i))
		}
	}
	f.file(1001, 1099, "/etc/passwd")
	f.file(1001, 101, "/etc/passwd")
	rs := f.out()
	if r := rs[len(rs)-2]; r.Process.Path != "/usr/bin/worker" || r.OutOfOrder {
		t.Errorf("newest process is %+v", r.Process)
	}
	if r := rs[len(rs)-1]; r.Process.Path != "" || !r.Orphan {
		t.Errorf("a forgotten process is %+v", r.Process)
	}
}

func TestFactsAreBounded(t *testing.T) {
	f := newFeed(t, Config{MaxFacts: 100})
	f.exec(0, 100, 1, "/usr/bin/tool")
	for i := range 400 {
		f.file(float64(i+1), 100, fmt.Sprintf("/data/%s/%s", strings.Repeat("x", i%20), strings.Repeat("y", i/20)))
		f.file(float64(i+1), 100, "/etc/hosts") // daily business is not forgotten
	}
	f.file(500, 100, "/data//")
	first := map[string]int{}
	for _, r := range f.out() {
		if r.FirstObject {
			first[r.Object]++
		}
	}
	if first["/etc/hosts"] != 1 {
		t.Errorf("/etc/hosts was new %d times, want 1", first["/etc/hosts"])
	}
	if first["/data//"] != 2 {
		t.Errorf("/data// was new %d times, want 2: it was forgotten between", first["/data//"])
	}
}

func TestHostileTextsAreCut(t *testing.T) {
	f := newFeed(t, Config{})
	long := strings.Repeat("\u00e9", 100_000)
	p := schemas.Process{UID: long, PID: 7, ParentPID: 6, Path: "/" + long, CmdLine: long, UserName: long}
	f.d.Ingest(&schemas.ProcessExec{Envelope: f.env(0), Process: p, Parent: p}, at(0))
	f.d.Ingest(&schemas.FileActivity{Envelope: f.env(1), Process: p, Path: long}, at(1))
	for _, r := range f.d.Records(schemas.LineageTopic.Name) {
		if len(r.Value) > 64<<10 {
			t.Errorf("record has %d bytes", len(r.Value))
		}
	}
	if n := len(f.out()); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}

func TestKeyIsChecked(t *testing.T) {
	f := newFeed(t, Config{})
	e := &schemas.ProcessExec{Envelope: schemas.Envelope{Tenant: "t", Host: "h", Sequence: 1, Time: 1}}
	value, err := testSerde(t).Append(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	f.d.Raw(schemas.EndpointTopic, "no slash", value, at(0))
	dead := f.d.Out(schemas.DeadLetterTopic)
	if len(dead) != 1 || !strings.Contains(dead[0].(*schemas.DeadLetter).Error, "not tenant/host") {
		t.Errorf("dead letters: %v", dead)
	}
}

// TestRefusedRecordLeavesNoTrace makes a record fail after the handler has changed its state, as a record does that turns
// out too large to write.
func TestRefusedRecordLeavesNoTrace(t *testing.T) {
	p := New(Config{})
	whole := p.New
	p.New = func(b *streams.Builder) streams.Handler {
		h := whole(b).(*handler)
		return streams.HandlerFunc(func(c *streams.Context, r *streams.Record) error {
			err := h.Process(c, r)
			if e, ok := r.Value.(*schemas.ProcessExec); ok && e.TTY == "refuse" {
				h.open = true
				return errors.New("refused")
			}
			return err
		})
	}
	d := streamstest.New(t, stage(p))
	for i, tty := range []string{"", "refuse", ""} {
		d.Ingest(&schemas.ProcessExec{TTY: tty, Process: schemas.Process{PID: 7, UID: "u", Path: fmt.Sprintf("/bin/%c", 'a'+min(i, 1)), CmdLine: tty},
			Envelope: schemas.Envelope{Platform: "linux"}}, at(float64(10*i)))
	}
	out := d.Out(schemas.LineageTopic)
	if n := d.Counts("lineage").Dead; n != 1 || len(out) != 2 {
		t.Fatalf("%d dead letters and %d records, want 1 and 2", n, len(out))
	}
	if r := out[1].(*schemas.LineageRecord); !r.FirstExec {
		t.Errorf("the executable of a refused exec is known: %+v", r)
	}
	d.Fuzz(10)
}

func testSerde(t *testing.T) *schemas.Serde {
	s, err := schemas.NewSerde(t.Context(), &schemas.LocalRegistry{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRandom gives random events, many of them about the same few pids and out of order, and holds that the index can be
// rebuilt at any moment without changing what is written.
func TestRandom(t *testing.T) {
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 1))
		f := newFeed(t, Config{MaxProcesses: 100, MaxFacts: 100, Repeats: 2})
		for i := range 800 {
			now := float64(i) / 2
			then := now - float64(r.IntN(40))/4
			pid := int64(1 + r.IntN(30))
			env := f.env(then)
			p := schemas.Process{PID: pid, ParentPID: int64(r.IntN(30)), Path: fmt.Sprintf("/bin/%c", 'a'+r.IntN(20))}
			if r.IntN(2) == 0 {
				p.UID = fmt.Sprintf("u%d.%d", pid, r.IntN(3))
			}
			q := schemas.Process{PID: p.ParentPID}
			if r.IntN(3) == 0 {
				q.UID, q.Path = fmt.Sprintf("u%d.%d", q.PID, r.IntN(3)), "/bin/parent"
			}
			if r.IntN(3) == 0 {
				env.Platform = "windows"
			}
			if r.IntN(3) == 0 {
				p.CreatedTime = at(then - float64(r.IntN(5))).UnixNano()
			}
			var e schemas.Event
			switch r.IntN(8) {
			case 0, 1:
				e = &schemas.ProcessExec{Envelope: env, Process: p, Parent: q, Snapshot: r.IntN(10) == 0}
			case 2:
				e = &schemas.ProcessFork{Envelope: env, Process: p, Parent: q}
			case 3:
				e = &schemas.ProcessExit{Envelope: env, Process: p}
			case 4:
				e = &schemas.ProcessAccess{Envelope: env, Process: p, Target: q, Access: "0x10", Technique: "open"}
			case 5:
				e = &schemas.NetworkActivity{Envelope: env, Process: p, Dst: schemas.Endpoint{IP: fmt.Sprintf("10.0.0.%d", r.IntN(9)), Port: 80}}
			default:
				e = &schemas.FileActivity{Envelope: env, Process: p, Path: fmt.Sprintf("/data/%c", 'a'+r.IntN(26))}
			}
			f.d.Ingest(e, at(now))
		}
		if n := len(f.out()); n < 250 {
			t.Errorf("seed %d: %d records", seed, n)
		}
	}
}

func TestZone(t *testing.T) {
	for in, want := range map[string]string{"localhost": "localhost", "example.com": "example.com", "a.b.example.com": "*.example.com",
		"a.example.co.uk": "*.example.co.uk", "example.co.uk": "example.co.uk", "a.wikipedia.de": "*.wikipedia.de", "": "", "x.io": "x.io"} {
		if got := zone(in); got != want {
			t.Errorf("zone(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestScope(t *testing.T) {
	for in, want := range map[string]string{"127.0.0.1": "loopback", "::1": "loopback", "0.0.0.0": "any", "10.1.2.3": "private", "fd00::1": "private",
		"169.254.1.1": "link", "224.0.0.251": "multicast", "255.255.255.255": "multicast", "192.0.2.1": "public", "x": "name"} {
		if got := scope(in); got != want {
			t.Errorf("scope(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSketch(t *testing.T) {
	var s sketch
	for i := range 20 {
		if got, want := s.add(77), min(i+1, maxCell); got != want {
			t.Errorf("count %d is %d, want %d", i, got, want)
		}
	}
	if got := s.add(78); got != 1 {
		t.Errorf("an item of the same second row counts %d, want 1", got)
	}
}

func TestConfig(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
	err := Config{Repeats: 15, MaxProcesses: 1, MaxFacts: -1}.Validate()
	for _, key := range []string{"repeats", "max_processes", "max_facts"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("error %v does not name %s", err, key)
		}
	}
}
