package spool

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

// TestDiskFull fills a small file system, makes room again, and loses nothing that was appended.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	ballast := dir + "/ballast"
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	c := config(dir + "/spool")
	s := open(t, c)
	var appended []int64
	add := func(pid int64) error {
		e := event(pid, int32(pid%3))
		e.Process.CmdLine = strings.Repeat("x", 10_000)
		err := s.Append(t.Context(), e, event(-pid, 0))
		if err == nil {
			appended = append(appended, pid)
		}
		return err
	}
	var err error
	pid := int64(1)
	for ; err == nil; pid++ {
		err = add(pid)
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), c.Dir) {
		t.Fatalf("append to a full disk: %v", err)
	}
	for range 10 {
		pid++
		_ = add(pid)
	}
	if s.Counts().Refused == 0 {
		t.Error("what was refused is not counted")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		pid++
		if err := add(pid); err != nil {
			t.Fatalf("append after there was room again: %v", err)
		}
	}
	b := &broker{}
	ship(t, s, b, func() bool { return s.Counts().Shipped == int64(2*len(appended)) })
	seen := map[int64]bool{}
	for _, e := range b.got {
		seen[e.(*schemas.ProcessExec).Process.PID] = true
	}
	for _, pid := range appended {
		if !seen[pid] || !seen[-pid] {
			t.Errorf("event %d was appended and did not come", pid)
		}
	}
	if len(seen) != 2*len(appended) {
		t.Errorf("%d events came, %d were appended", len(seen), 2*len(appended))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
