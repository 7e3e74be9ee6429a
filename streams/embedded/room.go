package embedded

import (
	"context"
	"fmt"
	"time"
)

// minFree is the free disk space below which the broker stops: a log that cannot be written must not pretend to be.
const minFree = 64 << 20

// watchDisk tells once when the disk is full.
func (b *Broker) watchDisk(ctx context.Context, every time.Duration, free func(dir string) (int64, error)) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if n, err := free(b.dir); err == nil && n < minFree {
			b.failed <- fmt.Errorf("%d MiB are free on the disk of %s: %w", n>>20, b.dir, ErrDiskFull)
			return
		}
	}
}
