//go:build !linux

package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// lockDir takes the directory for this process by a file that must not exist yet.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s", dir), err)
	}
	return f, nil
}

// roomFor cannot ask this platform for free memory and disk space.
func roomFor(int64, string, *slog.Logger) error { return nil }

func (b *Broker) watchDisk(ctx context.Context) { <-ctx.Done() }
