package load

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ProcessCPU returns the user and system time that all threads of a process
// have spent so far, those that have ended too. Linux only, 0 elsewhere. The
// source is the process's CPU clock, which counts nanoseconds.
func ProcessCPU(pid int) (time.Duration, error) {
	if pid <= 0 {
		return 0, errNoProcess
	}
	// How a process's clock is numbered: clock_getcpuclockid(3), CPUCLOCK_SCHED.
	const sched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &ts); err != nil {
		return 0, fmt.Errorf("load: CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// ProcessMemory returns a process's resident memory in bytes. Linux only, 0
// elsewhere.
func ProcessMemory(pid int) (int64, error) {
	if pid <= 0 {
		return 0, errNoProcess
	}
	// smaps_rollup counts pages; status is a sum that may lag behind by some
	// pages for each processor.
	for _, f := range []struct{ file, field string }{{"smaps_rollup", "Rss:"}, {"status", "VmRSS:"}} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, f.file))
		if err != nil {
			continue
		}
		for line := range bytes.Lines(b) {
			if rest, ok := bytes.CutPrefix(line, []byte(f.field)); ok {
				kib, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte("kB")))), 10, 64)
				return kib << 10, err
			}
		}
	}
	return 0, fmt.Errorf("load: memory of process %d cannot be read", pid)
}
