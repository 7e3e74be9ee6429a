//go:build linux

package proc

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// The budget with 500 processes that do nothing: 1 % of a core and 40 MiB, by either way of seeing processes, while another
// starts each second. At a higher rate the cost is reported, not held: each program that starts is read once.
const (
	budgetProcesses = 500
	budgetShare     = 0.01
	budgetBytes     = 40 << 20
	budgetWarm      = 15 * time.Second // in which executables are hashed
	budgetFor       = time.Minute
	budgetRounds    = 2 // of each way, by turns: what else the machine does meets both
)

// budgetRates are how many processes are started a second that end at once, and whether the budget holds for it.
var budgetRates = []struct {
	rate int
	held bool
}{{0, true}, {1, true}, {20, false}}

// measured names what the observed process of TestBudget is told to do.
const measured = "AMOSKYS_PROC_MEASURED"

// nothing is an Appender that forgets.
type nothing struct{}

func (nothing) Append(context.Context, ...schemas.Event) error { return nil }

// figures are what one run of a collector cost.
type figures struct {
	Seconds    float64
	Worked     float64 // seconds on a processor, user and system
	System     float64 // of these, in the kernel
	RSS        int64   // bytes
	Execs      int64   // that were told meanwhile
	Unread     int64   // of these, without a path
	Hashes     int64
	LostEvents int64
}

func (f *figures) add(g *figures) {
	f.Seconds += g.Seconds
	f.Worked += g.Worked
	f.System += g.System
	f.RSS = max(f.RSS, g.RSS)
	f.Execs += g.Execs
	f.Unread += g.Unread
	f.Hashes += g.Hashes
	f.LostEvents += g.LostEvents
}

func (f *figures) share() float64 { return f.Worked / f.Seconds }

// TestBudget holds the budget and prints what it measured: the processor time of a process that does nothing but collect,
// by getrusage. It takes a quarter of an hour and wants a quiet machine: set AMOSKYS_BUDGET=1 to run it.
func TestBudget(t *testing.T) {
	if os.Getenv("AMOSKYS_BUDGET") == "" {
		t.Skip("AMOSKYS_BUDGET is not set: it takes a quarter of an hour and wants a quiet machine")
	}
	for range budgetProcesses {
		cmd := exec.Command("sleep", "3600")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	for _, r := range budgetRates {
		t.Run(fmt.Sprintf("%d a second", r.rate), func(t *testing.T) {
			stop := startPrograms(t, r.rate)
			defer stop()
			var sums [2]figures
			for range budgetRounds {
				for i, connector := range []bool{false, true} {
					sums[i].add(measure(t, connector))
				}
			}
			for i, connector := range []bool{false, true} {
				f := &sums[i]
				t.Logf("connector %-5v  %.3f %% of a core (%.0f %% of it in the kernel), %.1f MiB, %.1f execs a second (%d of %d unread), %d hashes, %d kernel events lost, %.0f s",
					connector, 100*f.share(), 100*f.System/f.Worked, float64(f.RSS)/(1<<20), float64(f.Execs)/f.Seconds, f.Unread, f.Execs, f.Hashes, f.LostEvents, f.Seconds)
				if f.RSS > budgetBytes || r.held && f.share() > budgetShare {
					t.Errorf("connector %v is over the budget", connector)
				}
			}
		})
	}
}

// startPrograms starts programs that end at once, so many a second, until it is stopped.
func startPrograms(t *testing.T, rate int) (stop func()) {
	if rate == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		every := time.NewTicker(time.Second / time.Duration(rate))
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
				_ = exec.Command("true").Run()
			}
		}
	}()
	return func() { cancel(); <-done }
}

// measure runs a collector in a process of its own.
func measure(t *testing.T, connector bool) *figures {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestMeasured$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%v", measured, connector))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, text, _ := strings.Cut(string(out), measured)
	line, _, _ := strings.Cut(text, "\n")
	f := &figures{}
	if err := json.Unmarshal([]byte(line), f); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return f
}

// TestMeasured is the process that TestBudget looks at. With AMOSKYS_BUDGET_PROFILE it writes a profile to that file.
func TestMeasured(t *testing.T) {
	how := os.Getenv(measured)
	if how == "" {
		t.Skip("only for TestBudget")
	}
	cfg := Defaults()
	cfg.Connector = how == "true"
	c, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), budgetWarm+budgetFor)
	defer stop()
	before := make(chan figures, 1)
	time.AfterFunc(budgetWarm, func() {
		if path := os.Getenv("AMOSKYS_BUDGET_PROFILE"); path != "" {
			profile(path + "." + how)
		}
		before <- c.figures()
	})
	if err := c.Collect(ctx, nothing{}); err != nil {
		t.Fatal(err)
	}
	pprof.StopCPUProfile()
	f, b := c.figures(), <-before
	f.Seconds, f.Worked, f.System = budgetFor.Seconds(), f.Worked-b.Worked, f.System-b.System
	f.Execs, f.Unread, f.Hashes, f.LostEvents = f.Execs-b.Execs, f.Unread-b.Unread, f.Hashes-b.Hashes, f.LostEvents-b.LostEvents
	f.RSS = resident(t)
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s%s\n", measured, text)
}

func profile(path string) {
	if f, err := os.Create(path); err == nil {
		_ = pprof.StartCPUProfile(f)
	}
}

// figures are the totals up to now.
func (c *Collector) figures() (f figures) {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	f.System = time.Duration(u.Stime.Nano()).Seconds()
	f.Worked = f.System + time.Duration(u.Utime.Nano()).Seconds()
	f.Execs, f.Unread, f.Hashes, f.LostEvents = c.counts.execs.Load(), c.counts.unread.Load(), c.counts.hashes.Load(), c.counts.lost.Load()
	return f
}

func resident(t *testing.T) int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
