//go:build !unix

package e2ecluster_test

// openFiles is how many files the process may have open: nobody says.
func openFiles() uint64 { return 1 << 20 }
