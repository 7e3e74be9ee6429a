// Package demo runs harmless steps that look like what attackers do, so that a person sees the alerts they raise. Every
// step runs a copy of a program that this machine already has, in a folder of its own that is removed afterwards; nothing
// is changed elsewhere, nothing is sent anywhere, and each step ends once it was seen, or by itself.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Step is one attack-like action.
type Step struct {
	Name    string // short, for a person
	Does    string // exactly what it does
	Expects string // the detector whose alert must follow
	run     func(ctx context.Context, w workshop) (*exec.Cmd, error)
}

// workshop is the folder of a run and what its steps need.
type workshop struct {
	dir   string
	self  string        // path of this program
	limit time.Duration // after which a step's process ends by itself
	err   *said         // what it says
}

// command is a program that a step runs. What it starts in its turn is in one process group with it, and ends with it.
func (w workshop) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stderr = w.err
	inGroup(cmd)
	return cmd
}

// A Run is a step whose process lives: a collector that has to poll gets the time to see it.
type Run struct {
	PID int

	step   Step
	dir    string
	cancel context.CancelFunc
	err    *said
	done   chan struct{}
	ended  error // of the process; valid once done is closed
}

// Start starts the step. Its process lives until Stop, or until the limit has passed. self is the path of this program.
func (s Step) Start(ctx context.Context, self string, limit time.Duration) (*Run, error) {
	dir, err := os.MkdirTemp("", "amoskys-demo-")
	if err != nil {
		return nil, fmt.Errorf("make the folder of step %s: %w", s.Name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	words := &said{}
	cmd, err := s.run(ctx, workshop{dir, self, limit, words})
	if err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("start step %s: %w", s.Name, err), os.RemoveAll(dir))
	}
	r := &Run{PID: cmd.Process.Pid, step: s, dir: dir, cancel: cancel, err: words, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.ended = cmd.Wait()
	}()
	return r, nil
}

// Stop ends the step and cleans up. Its error says that the process had failed before.
func (r *Run) Stop() error {
	var failed error
	select {
	case <-r.done:
		failed = r.ended
	default:
	}
	r.cancel()
	<-r.done
	if failed != nil {
		failed = fmt.Errorf("step %s ended early: %w: %s", r.step.Name, failed, r.err)
	}
	return errors.Join(failed, os.RemoveAll(r.dir))
}

// said keeps the beginning of what a process says.
type said struct{ b []byte }

func (t *said) Write(b []byte) (int, error) {
	t.b = append(t.b, b[:min(len(b), 1000-len(t.b))]...)
	return len(b), nil
}

// String is what was said, on one line; it may be called once the process has ended.
func (t *said) String() string { return strings.Join(strings.Fields(string(t.b)), " ") }

// copyProgram copies an executable into the workshop under another name.
func (w workshop) copyProgram(from, name string) (string, error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	to := filepath.Join(w.dir, name)
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return "", err
	}
	return to, out.Close()
}

// find is the path of a program, with links resolved: a copy of a link's name would be another program.
func find(name string) (string, error) {
	p, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(p)
}

func seconds(d time.Duration) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0")
}
