package embedded

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// available is the memory that can be had without swapping, bytes; 0 when it is not known.
func available() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

func freeDisk(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("ask for free space on %s: %w", dir, err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// roomFor checks that the log can be opened: kfake reads about the whole of it into memory.
func roomFor(size int64, dir string, log *slog.Logger) error {
	if have := available(); have > 0 && size > have/10*9 {
		return fmt.Errorf("the log in %s has %d MiB and opening it takes about as much memory, of which %d MiB are available: free memory, lower broker.max_bytes, or use Apache Kafka: %w",
			dir, size>>20, have>>20, ErrNoMemory)
	}
	free, err := freeDisk(dir)
	if err != nil {
		return err
	}
	if free < minFree {
		return fmt.Errorf("%d MiB are free on the disk of %s, at least %d are needed: %w", free>>20, dir, int64(minFree)>>20, ErrDiskFull)
	}
	if free < 10*minFree {
		log.Warn("disk is nearly full", "dir", dir, "free_mib", free>>20)
	}
	return nil
}
