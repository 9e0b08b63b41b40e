package rabbittest

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
)

// Others begins to measure what other programs take of the machine. The
// function that it returns says how much of all cores that was since then, from
// 0 to 1: all that was used, and neither by this process nor by the broker's
// node. What has to happen in time can be expected of a machine that is free
// only. Where there is no /proc it says 0.
func (b *Broker) Others(t testing.TB) func() float64 {
	t.Helper()
	b.mu.Lock()
	node := b.node
	b.mu.Unlock()
	if node == nil {
		t.Fatal("rabbittest: no node runs")
	}
	sample := func() (used, all, ours float64) {
		used, _, all = testenv.MachineTime()
		ours = processTime(read("/proc/self/stat")) + processTime(read("/proc/"+strconv.Itoa(node.cmd.Process.Pid)+"/stat"))
		return used, all, ours
	}
	used0, all0, ours0 := sample()
	return func() float64 {
		used, all, ours := sample()
		if all <= all0 {
			return 0
		}
		return max(0, (used-used0)-(ours-ours0)) / (all - all0)
	}
}

func read(name string) string {
	text, err := os.ReadFile(name) //nolint:gosec // of the kernel
	if err != nil {
		return ""
	}
	return string(text)
}

// processTime is utime and stime of a process's stat, behind its name, which
// may hold anything.
func processTime(stat string) float64 {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return user + system
}
