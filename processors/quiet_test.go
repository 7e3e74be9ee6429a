package processors_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/processors"
	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams"
	"github.com/amoskys/amoskys/streams/streamstest"
)

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// machine is a host on which ordinary things happen. Everything is drawn from a seed.
type machine struct {
	d    *streamstest.Driver
	r    *rand.Rand
	pid  int64
	at   map[int64][]schemas.Event // by time
	uids map[int64]string
}

func newMachine(t *testing.T, seed uint64) *machine {
	t.Helper()
	cfg := processors.Defaults()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	m := &machine{streamstest.New(t, streams.Stage{Name: "chain", Processors: processors.Suite(cfg)}), rand.New(rand.NewPCG(seed, 1)), 1000, map[int64][]schemas.Event{}, map[int64]string{}}
	for pid, path := range map[int64]string{1: "/usr/lib/systemd/systemd", 300: "/usr/sbin/cron", 400: "/usr/sbin/sshd", 500: "/usr/bin/bash", 600: "/usr/sbin/nginx"} {
		m.add(0, &schemas.ProcessExec{Process: m.process(pid, min(pid-1, 1), path, path), Snapshot: true})
	}
	return m
}

func (m *machine) process(pid, parent int64, path, cmd string) schemas.Process {
	uid := m.uids[pid]
	if uid == "" {
		uid = fmt.Sprintf("u%d", pid)
		m.uids[pid] = uid
	}
	return schemas.Process{UID: uid, PID: pid, ParentPID: parent, Path: path, CmdLine: cmd, UserName: "root"}
}

func (m *machine) add(after time.Duration, e schemas.Event) {
	at := start.Add(after).UnixNano()
	e.Env().Time, e.Env().Platform = at, "linux"
	m.at[at] = append(m.at[at], e)
}

// run has a process start and, a moment later, end. It returns its pid.
func (m *machine) run(after time.Duration, parent int64, path string, args ...string) int64 {
	m.pid++
	p := m.process(m.pid, parent, path, strings.Join(append([]string{path}, args...), " "))
	m.add(after, &schemas.ProcessExec{Process: p, Parent: schemas.Process{PID: parent, UID: m.uids[parent]}})
	m.add(after+time.Duration(100+m.r.IntN(2000))*time.Millisecond, &schemas.ProcessExit{Process: p})
	return m.pid
}

// cron is what cron does every minute, and more of it every hour.
func (m *machine) cron(after time.Duration) {
	sh := m.run(after, 300, "/usr/bin/dash", "-c", "run-parts")
	m.run(after+20*time.Millisecond, sh, "/usr/bin/run-parts", "/etc/cron.minutely")
	m.run(after+50*time.Millisecond, sh, "/usr/bin/stat", "/var/run/x")
	if int(after.Minutes())%60 == 17 {
		for _, p := range []string{"/usr/bin/find", "/usr/bin/gzip", "/usr/sbin/logrotate"} {
			m.run(after+100*time.Millisecond, sh, p)
		}
	}
}

// build is a build in a new random folder: a compiler for each package, and tests that are run from there.
func (m *machine) build(after time.Duration) {
	g := m.run(after, 500, "/usr/local/go/bin/go", "test", "./...")
	dir := fmt.Sprintf("/tmp/go-build%d", m.r.Uint64())
	for i := range 20 + m.r.IntN(20) {
		at := after + time.Duration(i*150)*time.Millisecond
		m.run(at, g, "/usr/local/go/pkg/tool/linux_amd64/compile", "-o", dir)
		if i%8 == 0 {
			m.run(at, g, "/usr/local/go/pkg/tool/linux_amd64/link")
			m.run(at+60*time.Millisecond, g, fmt.Sprintf("%s/b%03d/pkg%c.test", dir, 1+m.r.IntN(400), 'a'+i/8))
		}
	}
}

// login is somebody who looks around.
func (m *machine) login(after time.Duration) {
	bash := m.run(after, 400, "/usr/bin/bash", "-l")
	tools := []string{"ls", "cat", "grep", "less", "ps", "git", "vim", "make", "tail", "du"}
	for i := range 10 + m.r.IntN(20) {
		m.run(after+time.Duration(i)*3*time.Second, bash, "/usr/bin/"+tools[min(m.r.IntN(10), m.r.IntN(10))])
	}
}

// upgrade is a package upgrade: maintainer scripts of many packages.
func (m *machine) upgrade(after time.Duration) {
	apt := m.run(after, 500, "/usr/bin/apt-get", "upgrade")
	for i := range 25 {
		at := after + time.Duration(i)*time.Second
		dpkg := m.run(at, apt, "/usr/bin/dpkg", "--configure")
		m.run(at+50*time.Millisecond, dpkg, "/usr/bin/dash", fmt.Sprintf("/var/lib/dpkg/info/package%c.postinst", 'a'+i), "configure")
		m.run(at+90*time.Millisecond, dpkg, "/usr/bin/dpkg-trigger")
	}
	for i, p := range []string{"/usr/sbin/ldconfig", "/usr/bin/mandb", "/usr/sbin/update-initramfs", "/usr/bin/systemctl", "/usr/bin/needrestart"} {
		m.run(after+time.Duration(30+i)*time.Second, apt, p)
	}
}

// play ingests everything in the order of its time, and moves time on to the end.
func (m *machine) play(until time.Duration) {
	var times []int64
	for at := range m.at {
		times = append(times, at)
	}
	slices.Sort(times)
	for _, at := range times {
		for _, e := range m.at[at] {
			m.d.Ingest(e, time.Unix(0, at))
		}
	}
	m.d.Tick(start.Add(until))
}

func (m *machine) routine(hours int) {
	for minute := range hours * 60 {
		at := time.Duration(minute) * time.Minute
		m.cron(at + time.Second)
		switch {
		case minute%11 == 5:
			m.build(at + 10*time.Second)
		case minute%17 == 3:
			m.login(at + 15*time.Second)
		}
	}
}

// TestQuietMachine: six hours of routine, with an upgrade in the fourth, raise two alerts an hour at most, and none in the
// first, since nothing of it is certain.
func TestQuietMachine(t *testing.T) {
	const hours = 6
	for seed := range uint64(3) {
		m := newMachine(t, seed)
		m.routine(hours)
		m.upgrade(3*time.Hour + 20*time.Minute)
		m.play(hours * time.Hour)
		perHour := make([]int, hours+1)
		for _, v := range m.d.Out(schemas.AlertsTopic) {
			a := v.(*schemas.Alert)
			perHour[(a.Provenance.Time-start.UnixNano())/int64(time.Hour)]++
			t.Logf("seed %d: %s %s: %s", seed, schemas.Time(a.Provenance.Time), a.Title, a.Process.Path)
		}
		c := m.d.Counts("chain")
		t.Logf("seed %d: alerts in each hour %v; %d scores, %d dead letters, %d records in, %d out", seed, perHour, len(m.d.Out(schemas.ScoresTopic)), len(m.d.Out(schemas.DeadLetterTopic)), c.In, c.Out)
		if perHour[0] > 0 {
			t.Errorf("seed %d: %d alerts in the warm-up", seed, perHour[0])
		}
		for h, n := range perHour {
			if n > 2 {
				t.Errorf("seed %d: %d alerts in hour %d", seed, n, h)
			}
		}
	}
}

// TestIntrusion: in the same routine, after five hours, a server starts a program that never ran. No rule knows it; rarity
// makes it an alert with its evidence.
func TestIntrusion(t *testing.T) {
	m := newMachine(t, 1)
	m.routine(6)
	pid := m.run(5*time.Hour+30*time.Minute+40*time.Second, 600, "/opt/agent/implant", "--quiet")
	m.play(6 * time.Hour)
	for _, v := range m.d.Out(schemas.AlertsTopic) {
		if a := v.(*schemas.Alert); a.Process.PID == pid {
			if len(a.Detectors) == 0 || len(a.Features) == 0 || len(a.Provenance.Causes) == 0 || a.FusedP > 0.001 {
				t.Errorf("alert lacks evidence: %+v", a)
			}
			return
		}
	}
	t.Error("no alert about the new program under the server")
}

func TestSuite(t *testing.T) {
	suite := processors.Suite(processors.Defaults())
	if err := streams.Validate(streams.Stage{Name: "chain", Processors: suite}); err != nil {
		t.Error(err)
	}
	written := map[string]bool{schemas.EndpointTopic.Name: true}
	for _, p := range suite {
		for _, in := range p.Inputs {
			if !written[in.Name] {
				t.Errorf("%s reads %s before anybody writes it", p.Name, in.Name)
			}
		}
		for _, out := range p.Outputs {
			written[out.Name] = true
		}
	}
}

func TestValidate(t *testing.T) {
	if err := processors.Defaults().Validate(); err != nil {
		t.Error(err)
	}
	c := processors.Defaults()
	c.Lineage.Repeats, c.Signature.Disable, c.Rarity.Window, c.Ensemble.Alpha = -1, []string{"nothing"}, 1, 2
	var keys []string
	for _, e := range streams.SettingErrors(c.Validate()) {
		keys = append(keys, e.Key)
	}
	for _, want := range []string{"lineage.repeats", "signature.disable[0]", "rarity.window", "rarity.min_units", "ensemble.alpha"} {
		if !slices.Contains(keys, want) {
			t.Errorf("%s is not reported: %v", want, keys)
		}
	}
}
