//go:build !windows

package spool

import (
	"errors"
	"os"
)

// syncDir makes what was made, renamed or removed in a folder survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
