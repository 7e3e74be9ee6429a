package file

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/amoskys/amoskys/schemas"
	"github.com/klauspost/compress/zstd"
)

// archive calls f with each file of one of the public data sets, which lie in the folder AMOSKYS_DATA as NAME.tar.zst. The
// file is on disk until f returns, or as long as the test runs where keep says so.
func archive(t testing.TB, name string, keep bool, f func(name, path string)) {
	t.Helper()
	if testing.Short() {
		t.Skip("short: public data sets are not read")
	}
	dir := cmp.Or(os.Getenv("AMOSKYS_DATA"), filepath.Join("..", "..", "..", "shared", "data"))
	in, err := os.Open(filepath.Join(dir, name+".tar.zst"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("data set %s is not in %s; AMOSKYS_DATA says where it is", name, dir)
	} else if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	tmp := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		path := filepath.Join(tmp, filepath.Base(h.Name))
		out, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, r); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		f(h.Name, path)
		if !keep {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// tally reads a recording and counts its events by schema; it checks what must hold of every event.
func tally(t *testing.T, path string, kinds map[string]int) (Summary, error) {
	r, err := Open(path, Config{Format: Auto, OnBad: func(b BadLine) { t.Error(b) }})
	if err != nil {
		return Summary{}, err
	}
	defer r.Close()
	sequence := map[string]int64{}
	for {
		e, err := r.Next()
		if err == io.EOF {
			return r.Summary(), nil
		}
		if err != nil {
			return r.Summary(), err
		}
		env := e.Env()
		if sequence[env.Host]++; env.Sequence != sequence[env.Host] || env.Time < 1.5e18 || env.Time > 1.8e18 || env.ClassUID == 0 || env.Platform != "windows" {
			t.Fatalf("%s: event %d of %s: %+v", path, sequence[env.Host], env.Host, env)
		}
		if x, ok := e.(*schemas.ProcessExec); ok && (x.Process.UID == "" || x.Process.PID == 0 && kinds["pids"] > 0) {
			t.Fatalf("%s: start of no process: %+v", path, x)
		}
		kinds[e.SchemaName()]++
	}
}

// TestWindowsAttacks reads the 93 recordings of windows-attacks (OTRF Security-Datasets).
func TestWindowsAttacks(t *testing.T) {
	kinds := map[string]int{}
	var files int
	var total Summary
	var refused, unordered []string
	skipped := map[string]int64{}
	archive(t, "windows-attacks", false, func(name, path string) {
		if strings.HasPrefix(name, "meta/") || strings.Contains(name, "/meta/") {
			return
		}
		files++
		s, err := tally(t, path, kinds)
		if err != nil {
			refused = append(refused, fmt.Sprintf("%s: %v", filepath.Base(name), errors.Unwrap(err)))
			return
		}
		total.Lines += s.Lines
		total.Events += s.Events
		total.OutOfOrder += s.OutOfOrder
		if s.Back.Minutes() > 7 {
			unordered = append(unordered, fmt.Sprintf("%s: %v", filepath.Base(name), s.Back))
		}
		for _, x := range s.Skipped {
			skipped[x.Reason] += x.Count
			total.Bad += x.Count
		}
	})
	if total.Lines != total.Events+total.Bad {
		t.Errorf("%d lines, but %d events and %d others", total.Lines, total.Events, total.Bad)
	}
	// Four are no Windows logs: CloudTrail records and their alarms, and two audit logs of Linux.
	if files != 93 || len(refused) != 4 || !strings.Contains(strings.Join(refused, "\n"), "it begins with") {
		t.Errorf("%d recordings, refused are %q; want 93 and 4", files, refused)
	}
	want := map[string]int{"ProcessExec": 1424, "ProcessExit": 1207, "ProcessAccess": 265986, "FileActivity": 12138, "NetworkActivity": 22000, "DNSActivity": 724,
		"ModuleActivity": 66471, "RegistryActivity": 128649, "CollectorStatus": 189}
	if !reflect.DeepEqual(kinds, want) {
		t.Errorf("events are %v, want %v", kinds, want)
	}
	t.Logf("%d lines, %d events, %d out of order (by more than 7 minutes: %q), skipped %v", total.Lines, total.Events, total.OutOfOrder, unordered, skipped)
}

// TestCarbanak reads the event graph carbanak-h3, whose counts were taken from its files independently.
func TestCarbanak(t *testing.T) {
	var dir string
	archive(t, "edr-graph", true, func(_, path string) { dir = filepath.Dir(path) })
	kinds := map[string]int{}
	s, err := tally(t, dir, kinds)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"ProcessExec":      2636,       // every process node but the placeholder for unknown parents
		"ProcessExit":      1911,       // procend
		"FileActivity":     91663,      // 252,610 filemod edges in 89,754 runs, within which 1,909 more records begin
		"NetworkActivity":  7626 / 2,   // netconn, forth and back
		"ProcessAccess":    8606 / 2,   // crossproc, forth and back
		"RegistryActivity": 115407,     // regmod
		"ModuleActivity":   41019 + 80, // moduleload, scriptload
		"CollectorStatus":  1,
	}
	if !reflect.DeepEqual(kinds, want) {
		t.Errorf("events are %v, want %v", kinds, want)
	}
	if s.Lines != 429711 || s.Bad != 0 || s.OutOfOrder != 0 || !slices.Equal(s.Hosts, []string{"0c5454cf"}) {
		t.Errorf("%d edges, %d bad, %d out of order, hosts %v", s.Lines, s.Bad, s.OutOfOrder, s.Hosts)
	}
	i := slices.IndexFunc(s.Skipped, func(x Skipped) bool { return x.ID == "procstart" })
	if i < 0 || s.Skipped[i].Count != 2452 {
		t.Errorf("skipped are %+v, want 2452 procstart among them", s.Skipped)
	}
}

// TestCarbanakProcesses checks that each labelled process has one start, with its parent where the graph knows it.
func TestCarbanakProcesses(t *testing.T) {
	var dir string
	archive(t, "edr-graph", true, func(_, path string) { dir = filepath.Dir(path) })
	events, _ := read(t, dir, Config{Format: EDR})
	starts, snapshots, parents := map[string]int{}, 0, 0
	begun := map[string]bool{}
	for _, e := range events {
		x, ok := e.(*schemas.ProcessExec)
		if !ok {
			continue
		}
		starts[x.Process.UID]++
		if x.Snapshot {
			snapshots++
		} else if x.Process.CreatedTime != x.Envelope.Time {
			t.Errorf("%s starts %d ns after its event", x.Process.UID, x.Process.CreatedTime-x.Envelope.Time)
		}
		if x.Parent.UID != "" {
			parents++
			if !begun[x.Parent.UID] {
				t.Errorf("%s comes before its parent %s", x.Process.UID, x.Parent.UID)
			}
		}
		begun[x.Process.UID] = true
	}
	for uid, n := range starts {
		if n != 1 {
			t.Errorf("%s starts %d times", uid, n)
		}
	}
	t.Logf("%d processes, %d of them from before the recording, %d with a parent", len(starts), snapshots, parents)
}
