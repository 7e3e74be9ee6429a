//go:build !linux

package testbroker

import "os/exec"

// dieWithParent does nothing where the kernel cannot do it: a killed test leaves its brokers behind.
func dieWithParent(*exec.Cmd) {}
