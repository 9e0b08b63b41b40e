package rabbittest

import "syscall"

// endsWithParent lets the kernel end the child when the test's process is gone.
func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
