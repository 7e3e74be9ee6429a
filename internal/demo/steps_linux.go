package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Steps are the steps that this platform has.
func Steps() []Step {
	return []Step{
		{Name: "memory-only program", Expects: "signature.memfd_execution",
			Does: "copies the system's sleep into an anonymous memory file (memfd_create) and runs it from there", run: memfd},
		{Name: "deleted program", Expects: "signature.deleted_executable",
			Does: "copies the system's sleep into a temporary folder, unlinks the copy, and runs it through its open file", run: deleted},
		{Name: "shell under a server", Expects: "signature.server_shell",
			Does: "copies the system's shell under the name nginx, which then starts an ordinary shell that sleeps", run: serverShell},
		{Name: "program in a world-writable folder that talks to the network", Expects: "signature.world_writable_network",
			Does: "copies this program into a temporary folder, where it opens a UDP socket towards 198.51.100.1 (a documentation address) and sends nothing", run: talker},
	}
}

// inGroup makes a command the leader of a process group, all of which ends with it.
func inGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

func memfd(ctx context.Context, w workshop) (*exec.Cmd, error) {
	sleep, err := find("sleep")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(sleep)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("demo", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "demo")
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return nil, err
	}
	return w.viaFile(ctx, f)
}

func deleted(ctx context.Context, w workshop) (*exec.Cmd, error) {
	sleep, err := find("sleep")
	if err != nil {
		return nil, err
	}
	path, err := w.copyProgram(sleep, "updater")
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return w.viaFile(ctx, f)
}

// viaFile runs sleep from an open file: /proc/self/fd of the starting process is resolved by the kernel when it executes.
// A multi-call binary looks at its first argument, so that is sleep.
func (w workshop) viaFile(ctx context.Context, f *os.File) (*exec.Cmd, error) {
	cmd := w.command(ctx, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()))
	cmd.Args = []string{"sleep", seconds(w.limit)}
	return cmd, cmd.Start()
}

func serverShell(ctx context.Context, w workshop) (*exec.Cmd, error) {
	sh, err := find("sh")
	if err != nil {
		return nil, err
	}
	path, err := w.copyProgram(sh, "nginx")
	if err != nil {
		return nil, err
	}
	// The trailing no-op keeps the outer shell from replacing itself by the inner one.
	cmd := w.command(ctx, path, "-c", "/bin/sh -c 'sleep "+seconds(w.limit)+"; :'; :")
	return cmd, cmd.Start()
}

func talker(ctx context.Context, w workshop) (*exec.Cmd, error) {
	path, err := w.copyProgram(w.self, filepath.Base(w.dir)+"-agent")
	if err != nil {
		return nil, err
	}
	cmd := w.command(ctx, path, "demo", "talk", "--for", w.limit.String())
	return cmd, cmd.Start()
}

// Talk is the body of the talking step: it connects a UDP socket to a documentation address (RFC 5737), which sends
// nothing, and holds it open.
func Talk(ctx context.Context, d time.Duration) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", "198.51.100.1:443")
	if err != nil {
		if errors.Is(err, unix.ENETUNREACH) {
			return fmt.Errorf("this machine has no route to the network: %w", err)
		}
		return err
	}
	defer conn.Close()
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return nil
}
