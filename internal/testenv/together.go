package testenv

import (
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Together lets n of the tests that call t.Parallel run at a time. It is for
// the TestMain of packages whose tests wait, for outages, elections and delays:
// the one for each processor that is usual leaves the machine idle there. With
// -short, which is how the race detector runs, it is half of n. The flags
// -parallel and -fuzz say more than it does.
func Together(n int) {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" || f.Name == "test.fuzz" })
	if testing.Short() {
		n = max(1, n/2)
	}
	if !said {
		_ = flag.Set("test.parallel", strconv.Itoa(n)) // the flag is there, and takes numbers
	}
}

// Idle begins to look at the machine. Its result says how much of all
// processors nobody has used since then, from 0 to 1: what must happen in time
// can only be asked of a machine that has some left. Where there is no /proc,
// and before the kernel has counted, it says 0.
func Idle() func() float64 {
	_, idle0, all0 := MachineTime()
	return func() float64 {
		_, idle, all := MachineTime()
		if all <= all0 {
			return 0
		}
		return min(max((idle-idle0)/(all-all0), 0), 1) // what was waited for disks may become less again: proc(5)
	}
}

// MachineTime is what all processors together have done since the start of the
// machine, in the kernel's ticks: used for something, and idle. All has besides
// what was waited for disks. Where there is no /proc it is zero.
func MachineTime() (used, idle, all float64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, 0
	}
	return machineTime(string(text))
}

// machineTime reads the first line of proc(5)'s stat, of all processors: user,
// nice, system, idle, iowait, irq, softirq, steal. What comes behind is part of
// the first two.
func machineTime(stat string) (used, idle, all float64) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	for i, f := range fields[min(1, len(fields)):min(9, len(fields))] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, 0, 0
		}
		all += n
		switch i {
		case 3:
			idle = n
		case 4:
		default:
			used += n
		}
	}
	return used, idle, all
}
