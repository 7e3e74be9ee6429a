package integration

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/amoskys/amoskys/schemas"
)

// TestDiskFull fills the disk under `amoskys up` while it collects. It ends with an error that names the folder, refuses
// to start while nothing changes, and goes on without a loss once there is room.
func TestDiskFull(t *testing.T) {
	const events = 2400 // eight seconds
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=300m"); err != nil {
		t.Skipf("a small file system cannot be mounted (that takes root): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	dir := filepath.Join(disk, "data")
	path := recording(t, newMixture(9, time.Now(), 300, 50), events)
	env := []string{"AMOSKYS_DATA_DIR=" + dir, "AMOSKYS_LISTEN=", "AMOSKYS_BROKER_LISTEN=127.0.0.1:0", "AMOSKYS_REGISTRY_LISTEN=127.0.0.1:0", "AMOSKYS_COLLECTORS_PROC_ENABLED=false",
		"AMOSKYS_COLLECTORS_FILE_PATHS=" + path, "AMOSKYS_COLLECTORS_FILE_PACE=1"}
	p := begin(t, env, "up")
	v := seeUp(t, dir, p)
	eventually(t, time.Minute, "alerts", func(context.Context) error {
		if len(alertsOn(t, v.opts, v.serde)) == 0 {
			return errors.New("none yet")
		}
		return nil
	})
	acknowledged := v.ends(t)
	full(t, filepath.Join(disk, "ballast"))
	mustSayFull(t, p, dir)
	mustSayFull(t, begin(t, env, "up"), dir)

	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	p = begin(t, env, "up")
	v = seeUp(t, dir, p)
	v.collected(t, 8)
	limit := v.settle(t, chainGroup, time.Minute)
	for part, end := range acknowledged {
		if limit[part] < end {
			t.Errorf("partition %d of the ingest log ends at %d, it had %d records before the disk was full", part, limit[part], end)
		}
	}
	v.mustEqual(t, "up after a full disk", limit, time.Minute)
	content := map[string]bool{}
	for _, e := range v.events(t) {
		if _, ok := e.(*schemas.CollectorStatus); !ok {
			e.Env().Boot, e.Env().Stream, e.Env().Sequence = "", "", 0
			content[string(line(t, e))] = true
		}
	}
	if counts := v.counts(t); counts.Lost != 0 || len(content) != events {
		t.Errorf("%d events are lost; %d different events are in the log, the recording has %d", counts.Lost, len(content), events)
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("up ended with %d after it was asked to", code)
	}
}

// full writes a file until the disk takes no more.
func full(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// mustSayFull waits until a program ends, and for a word about the disk.
func mustSayFull(t *testing.T, p *program, dir string) {
	t.Helper()
	code := p.wait(t, time.Minute)
	last := tail(p.talk.String(), 1)
	if code != 1 || !strings.Contains(last, dir) || !strings.Contains(last, "disk") && !strings.Contains(last, syscall.ENOSPC.Error()) {
		t.Errorf("up on a full disk: exit code %d, want 1 and %s:\n%s", code, dir, tail(p.talk.String(), 10))
		return
	}
	t.Logf("exit code %d: %s", code, last)
}
