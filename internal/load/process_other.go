//go:build !linux

package load

import "time"

// ProcessCPU returns the user and system time that all threads of a process
// have spent so far. Linux only.
func ProcessCPU(int) (time.Duration, error) { return 0, errNoProcess }

// ProcessMemory returns a process's resident memory in bytes. Linux only.
func ProcessMemory(int) (int64, error) { return 0, errNoProcess }
