//go:build !linux

package embedded

import (
	"context"
	"log/slog"
)

// roomFor cannot ask this platform for free memory and disk space.
func roomFor(int64, string, *slog.Logger) error { return nil }

func (b *Broker) watchDisk(ctx context.Context) { <-ctx.Done() }
