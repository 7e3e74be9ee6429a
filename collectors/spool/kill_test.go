package spool

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/amoskys/amoskys/schemas"
)

// victimDir names the spool that TestVictim appends to until it is killed.
const victimDir = "AMOSKYS_SPOOL_VICTIM"

// TestKill: what Append returned for survives SIGKILL, and the numbers go on.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	told, boot := int64(0), ""
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestVictim$")
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if x, err := strconv.ParseInt(lines.Text(), 10, 64); err == nil {
				told = x
			}
			if n == 500 {
				_ = cmd.Process.Kill() // what comes until then counts as well
			}
		}
		_ = cmd.Wait()
		s, err := Open(config(dir))
		if err != nil {
			t.Fatal(err)
		}
		if next := s.logs[0].next; next <= told {
			t.Fatalf("next number is %d after %d was told", next, told)
		}
		if boot != "" && s.boot != boot {
			t.Error("a kill gave a new incarnation")
		}
		boot = s.boot
		b := &broker{}
		ship(t, s, b, func() bool { return s.Counts().Shipped == s.logs[0].next-1 })
		for i, e := range b.got {
			if x := e.(*schemas.ProcessExec); x.Process.PID != int64(i+1) || x.Envelope.Sequence != int64(i+1) {
				t.Fatalf("record %d is event %d with number %d", i+1, x.Process.PID, x.Envelope.Sequence)
			}
		}
		// The next victim appends behind; nothing was acknowledged for good.
		s.cursor[0] = 1
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestVictim appends events whose pid is their number, and tells each that was appended.
func TestVictim(t *testing.T) {
	dir := os.Getenv(victimDir)
	if dir == "" {
		t.Skip("only for TestKill")
	}
	s, err := Open(config(dir))
	if err != nil {
		t.Fatal(err)
	}
	for {
		n := s.logs[0].next
		if err := s.Append(t.Context(), event(n, 0)); err != nil {
			t.Fatal(err)
		}
		fmt.Println(n)
	}
}
