package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestSameAlerts runs one recording with every number of workers and grouping: the output is the same, byte by byte.
func TestSameAlerts(t *testing.T) {
	path := recording(t, newMixture(1, time.Date(2025, 3, 1, 8, 0, 0, 0, time.UTC), 2, 997), 20_000) // almost three hours
	var first string
	for _, workers := range []int{1, 4} {
		for _, grouping := range []string{"fused", "split", "fused"} {
			p := begin(t, []string{"AMOSKYS_DATA_DIR=" + t.TempDir(), "AMOSKYS_LISTEN="}, "analyze", "--output", "json", "--workers", fmt.Sprint(workers), "--grouping", grouping, path)
			if code := p.wait(t, 2*time.Minute); code != 0 {
				t.Fatalf("%s: exit code %d", p.name, code)
			}
			out := p.out.String()
			t.Logf("%d workers, %s: %s", workers, grouping, tail(p.talk.String(), 1))
			if first == "" {
				if first = out; strings.Count(out, "\n") < 10 {
					t.Fatalf("%d alerts: too few to show anything", strings.Count(out, "\n"))
				}
			}
			if out != first {
				t.Errorf("%d workers, %s: other alerts (%d bytes, the first run wrote %d)", workers, grouping, len(out), len(first))
			}
		}
	}
}
