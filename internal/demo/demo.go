// Package demo runs harmless steps that look like what attackers do, so that a person sees the alerts they raise. Every
// step runs a copy of a program that this machine already has, in a folder of its own that is removed afterwards; nothing
// is changed elsewhere, nothing is sent anywhere, and each step ends by itself.
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
	dir    string
	self   string        // path of this program
	linger time.Duration // how long a step's process lives: a collector that polls must see it
}

// Run starts the step, tells its process id, waits until it has ended, and cleans up. self is the path of this program,
// linger how long the step's process lives.
func (s Step) Run(ctx context.Context, self string, linger time.Duration) (pid int, err error) {
	dir, err := os.MkdirTemp("", "amoskys-demo-")
	if err != nil {
		return 0, fmt.Errorf("make the folder of step %s: %w", s.Name, err)
	}
	defer os.RemoveAll(dir)
	cmd, err := s.run(ctx, workshop{dir, self, linger})
	if err != nil {
		return 0, fmt.Errorf("start step %s: %w", s.Name, err)
	}
	pid = cmd.Process.Pid
	if err := cmd.Wait(); err != nil {
		var xe *exec.ExitError
		if !errors.As(err, &xe) {
			return pid, fmt.Errorf("wait for step %s: %w", s.Name, err)
		}
	}
	return pid, nil
}

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
