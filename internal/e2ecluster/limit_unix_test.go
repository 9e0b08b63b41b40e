//go:build unix

package e2ecluster_test

import "syscall"

// openFiles is how many files the process may have open. Go raises the soft
// limit to the hard one by itself.
func openFiles() uint64 {
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) != nil {
		return 0
	}
	return uint64(lim.Cur) //nolint:unconvert // the type is not the same on every system
}
