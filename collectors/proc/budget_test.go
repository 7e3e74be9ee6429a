//go:build linux

package proc

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// The budget with 500 processes that do nothing: 1 % of a core and 40 MiB, by either way of seeing processes.
const (
	budgetProcesses = 500
	budgetShare     = 0.01
	budgetBytes     = 40 << 20
	budgetWarm      = 20 * time.Second // in which executables are hashed
	budgetFor       = 30 * time.Second
)

// measured names what the observed process of TestBudget is told to do.
const measured = "AMOSKYS_PROC_MEASURED"

// nothing is an Appender that forgets.
type nothing struct{}

func (nothing) Append(context.Context, ...schemas.Event) error { return nil }

// TestBudget holds the budget. It takes minutes and wants a quiet machine: set AMOSKYS_BUDGET=1 to run it.
func TestBudget(t *testing.T) {
	if os.Getenv("AMOSKYS_BUDGET") == "" {
		t.Skip("AMOSKYS_BUDGET is not set: it takes minutes and wants a quiet machine")
	}
	for range budgetProcesses {
		cmd := exec.Command("sleep", "600")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	both(t, func(t *testing.T, connector bool) {
		cmd := exec.Command(os.Args[0], "-test.run", "TestMeasured", "-test.v")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%v", measured, connector))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, text, _ := strings.Cut(string(out), measured)
		var share float64
		var rss int64
		if _, err := fmt.Sscan(text, &share, &rss); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%.3f %% of a core, %.1f MiB; in all of its time: %s", 100*share, float64(rss)/(1<<20), text[strings.Index(text, "["):])
		if share > budgetShare || rss > budgetBytes {
			t.Error("over the budget")
		}
	})
}

// TestMeasured is the process that TestBudget looks at.
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
	before := make(chan time.Duration, 1)
	time.AfterFunc(budgetWarm, func() { before <- worked() })
	if err := c.Collect(ctx, nothing{}); err != nil {
		t.Fatal(err)
	}
	fmt.Println(measured, float64(worked()-<-before)/float64(budgetFor), resident(t), c.Counters())
}

func worked() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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
