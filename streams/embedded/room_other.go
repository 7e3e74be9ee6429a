//go:build !linux

package embedded

import (
	"errors"
	"log/slog"
)

// freeDisk cannot ask this platform.
func freeDisk(string) (int64, error) { return 0, errors.ErrUnsupported }

// roomFor cannot ask this platform for free memory and disk space.
func roomFor(int64, string, *slog.Logger) error { return nil }
