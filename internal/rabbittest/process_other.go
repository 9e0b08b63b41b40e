//go:build !linux

package rabbittest

import "syscall"

func endsWithParent() *syscall.SysProcAttr { return nil }
