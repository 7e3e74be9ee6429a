package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
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

// TestStart starts each step: it must live until it is stopped, and leave nothing behind, no process either.
func TestStart(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Steps() {
		r, err := s.Start(context.Background(), self, time.Minute)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", r.PID)); err != nil {
			t.Errorf("%s does not live: %v", s.Name, err)
		}
		began := time.Now()
		if err := r.Stop(); err != nil && !strings.Contains(err.Error(), "exit status 1") { // without a route it ends early
			t.Errorf("%s: %v", s.Name, err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s took %s to stop", s.Name, took)
		}
		if members, err := filepath.Glob(fmt.Sprintf("/proc/%d", r.PID)); err != nil || len(members) > 0 {
			t.Errorf("%s still lives", s.Name)
		}
		left, err := filepath.Glob(filepath.Join(tmp, "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s leaves %v (%v)", s.Name, left, err)
		}
	}
}

// TestEndsByItself: a step that nobody stops ends at its limit; one that fails says why.
func TestEndsByItself(t *testing.T) {
	for _, s := range Steps()[:min(1, len(Steps()))] {
		r, err := s.Start(context.Background(), "", 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		<-r.done
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		failing := Step{Name: "failing", run: func(ctx context.Context, w workshop) (*exec.Cmd, error) {
			cmd := w.command(ctx, "sh", "-c", "echo no route >&2; exit 3")
			return cmd, cmd.Start()
		}}
		if r, err = failing.Start(context.Background(), "", time.Minute); err != nil {
			t.Fatal(err)
		}
		<-r.done
		if err := r.Stop(); err == nil || !strings.Contains(err.Error(), "no route") || !strings.Contains(err.Error(), "failing") {
			t.Errorf("error is %v", err)
		}
	}
}

// TestStartFails: what a step needs and is not there is said, by the step's name.
func TestStartFails(t *testing.T) {
	steps := Steps()
	for _, s := range steps {
		t.Run(s.Name, func(t *testing.T) {
			t.Setenv("PATH", t.TempDir())
			if _, err := s.Start(context.Background(), "/does/not/exist", time.Second); err == nil || !strings.Contains(err.Error(), "start step "+s.Name) {
				t.Errorf("error is %v", err)
			}
			t.Setenv("TMPDIR", "/does/not/exist")
			if _, err := s.Start(context.Background(), "/does/not/exist", time.Second); err == nil || !strings.Contains(err.Error(), "make the folder") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// TestCancel: a step ends with its context.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, s := range Steps()[:min(1, len(Steps()))] {
		r, err := s.Start(ctx, "", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		select {
		case <-r.done:
		case <-time.After(20 * time.Second):
			t.Fatal("it goes on")
		}
		_ = r.Stop() // it was killed
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
