package demo

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amoskys/amoskys/processors/signature"
)

// TestMain makes the test binary the program where a step runs a copy of it.
func TestMain(m *testing.M) {
	if len(os.Args) > 4 && os.Args[1] == "demo" && os.Args[2] == "talk" {
		d, err := time.ParseDuration(os.Args[4])
		if err != nil || Talk(context.Background(), d) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestExpects: every step expects a rule that there is.
func TestExpects(t *testing.T) {
	if runtime.GOOS == "linux" && len(Steps()) == 0 {
		t.Fatal("no steps")
	}
	for _, s := range Steps() {
		if s.Name == "" || s.Does == "" {
			t.Errorf("step %q says nothing", s.Name)
		}
		if !slices.ContainsFunc(signature.Rules, func(r signature.Rule) bool { return "signature."+r.ID == s.Expects }) {
			t.Errorf("step %q expects %s, which is no rule", s.Name, s.Expects)
		}
	}
}

// TestRun runs each step: it must live as long as asked, and leave nothing behind.
func TestRun(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Steps() {
		began := time.Now()
		pid, err := s.Run(context.Background(), self, 300*time.Millisecond)
		if err != nil || pid <= 0 {
			t.Errorf("%s: pid %d, %v", s.Name, pid, err)
		}
		if took := time.Since(began); took < 300*time.Millisecond && !strings.Contains(s.Name, "network") { // without a route it ends early
			t.Errorf("%s took %s", s.Name, took)
		}
		left, err := filepath.Glob(filepath.Join(tmp, "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s leaves %v (%v)", s.Name, left, err)
		}
	}
}

// TestRunFails: what a step needs and is not there is said, by the step's name.
func TestRunFails(t *testing.T) {
	steps := Steps()
	for _, s := range steps {
		t.Run(s.Name, func(t *testing.T) {
			t.Setenv("PATH", t.TempDir())
			if _, err := s.Run(context.Background(), "/does/not/exist", time.Second); err == nil || !strings.Contains(err.Error(), "start step "+s.Name) {
				t.Errorf("error is %v", err)
			}
			t.Setenv("TMPDIR", "/does/not/exist")
			if _, err := s.Run(context.Background(), "/does/not/exist", time.Second); err == nil || !strings.Contains(err.Error(), "make the folder") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// TestCancel: a step ends with its context.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	for _, s := range Steps()[:min(1, len(Steps()))] {
		if _, err := s.Run(ctx, "", time.Minute); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestTalk(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Talk(ctx, time.Minute); err == nil && len(Steps()) == 0 {
		t.Error("a platform without steps talks")
	}
	if err := Talk(context.Background(), time.Millisecond); err != nil && !strings.Contains(err.Error(), "no route") {
		t.Error(err)
	}
}
