//go:build !windows

package durable

import (
	"errors"
	"os"
)

// SyncDir makes durable which names are in a directory.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
