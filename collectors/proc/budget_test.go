package proc

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBudget measures what the collector costs at 500 processes that do nothing. It takes half a minute and a machine
// that is otherwise quiet, so it runs only when AMOSKYS_BUDGET is set.
func TestBudget(t *testing.T) {
	if os.Getenv("AMOSKYS_BUDGET") == "" {
		t.Skip("set AMOSKYS_BUDGET=1 to measure")
	}
	for range 500 {
		cmd := exec.Command("sleep", "120")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { cmd.Process.Kill(); cmd.Wait() }()
	}
	for _, connector := range []bool{true, false} {
		cfg := Defaults()
		cfg.Connector = connector
		c, err := New(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		s := &sink{}
		go func() { done <- c.Collect(ctx, s) }()
		<-time.After(5 * time.Second) // the first scan is not idle
		before, at := cpu(t), time.Now()
		<-time.After(20 * time.Second)
		used, took := cpu(t)-before, time.Since(at)
		stop()
		<-done
		runtime.GC()
		status, _ := os.ReadFile("/proc/self/status")
		var rss string
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				rss = strings.TrimSpace(rest)
			}
		}
		t.Logf("connector=%v: %.2f %% of a core, RSS %s, %d events", connector, 100*used.Seconds()/took.Seconds(), rss, len(s.events))
	}
}

func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
