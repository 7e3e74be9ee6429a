package testbroker

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel kill the broker when the test is killed, which runs no clean-up.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
