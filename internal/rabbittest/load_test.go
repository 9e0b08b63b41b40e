package rabbittest

import (
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

func TestProcessTime(t *testing.T) {
	for stat, want := range map[string]float64{
		"7 (a) b) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14": 23,
		"7 (a) R 1": 0,
		"":          0,
	} {
		if got := processTime(stat); got != want {
			t.Errorf("%q: %v, want %v", stat, got, want)
		}
	}
}

// testOthers has this process work, and another one.
func testOthers(t *testing.T, b *Broker) {
	t.Helper()
	self := func() float64 { return processTime(read("/proc/self/stat")) }
	if self() == 0 {
		if share := b.Others(t)(); share != 0 {
			t.Errorf("without /proc others took %v of the machine", share)
		}
		return
	}
	// Half a second. The kernel counts what a process used by the clock, and what
	// the machine did by samples: half of it shows whose it was.
	const ticks = 50
	used0, _, all0 := testenv.MachineTime()
	begin := self()
	others := b.Others(t)
	testenv.Eventually(t, time.Minute, "this process has used half a second", func() bool {
		for end := time.Now().Add(10 * time.Millisecond); time.Now().Before(end); {
			continue // the work
		}
		return self()-begin >= ticks
	})
	share := others()
	used, _, all := testenv.MachineTime()
	if most := used - used0 - ticks/2; share*(all-all0) > most {
		t.Errorf("others took %v of %v ticks; without this process there are %v", share*(all-all0), all-all0, most)
	}

	_, _, all0 = testenv.MachineTime()
	others = b.Others(t)
	p, err := spawn(nil, nil, "/bin/sh", "-c", "while :; do :; done")
	if err != nil {
		t.Fatal(err)
	}
	stat := "/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat"
	testenv.Eventually(t, time.Minute, "another process has used half a second", func() bool { return processTime(read(stat)) >= ticks })
	share = others()
	_, _, all = testenv.MachineTime()
	if p.still() {
		t.Error("one that works is said to stand still")
	}
	if err := p.signal(syscall.SIGSTOP); err != nil {
		t.Error(err)
	}
	testenv.Eventually(t, time.Minute, "it stands still", p.still)
	if err := p.signal(os.Kill); err != nil || !p.await(stopTime) {
		t.Errorf("ending it: %v", err)
	}
	if share*(all-all0) < ticks/2 {
		t.Errorf("others took %v of %v ticks; one alone took %v", share*(all-all0), all-all0, ticks)
	}
}
