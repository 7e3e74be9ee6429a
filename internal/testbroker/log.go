package testbroker

import (
	"os"
	"strings"
	"sync"
)

// lastLines is how much of a broker's log is shown when a test failed.
const lastLines = 40

// worth picks from a broker's log what explains a failure: warnings and errors with their stack traces, and the last
// lines whatever they say.
func worth(log string) string {
	lines := strings.Split(strings.TrimRight(log, "\n"), "\n")
	var out []string
	show := false
	for i, l := range lines {
		if !strings.HasPrefix(l, "\t") && !strings.HasPrefix(l, "Caused by") {
			show = strings.Contains(l, " WARN ") || strings.Contains(l, " ERROR ") || strings.Contains(l, " FATAL ") || strings.Contains(l, "Exception")
		}
		if show || i >= len(lines)-lastLines {
			out = append(out, l)
		}
	}
	if max := 5 * lastLines; len(out) > max {
		out = append([]string{"..."}, out[len(out)-max:]...)
	}
	return strings.Join(out, "\n")
}

// A lockedLog takes what kfake logs, from many goroutines.
type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func readLog(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
