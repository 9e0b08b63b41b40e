package testenv_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/polywire/polywire/internal/testenv"
)

// togetherVariable has a number for Together, in a process that says what came of it.
const togetherVariable = "TESTENV_TOGETHER"

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(togetherVariable)); err == nil {
		testenv.Together(n)
		fmt.Println(flag.Lookup("test.parallel").Value)
		return
	}
	goleak.VerifyTestMain(m)
}

func TestTogether(t *testing.T) {
	for flags, want := range map[string]string{
		"":                              "1000",
		"-test.short":                   "500",
		"-test.parallel=3":              "3",
		"-test.parallel=3 -test.short":  "3",
		"-test.run=TestSome -test.v":    "1000",
		"-test.short=false -test.cpu=1": "1000",
		"-test.fuzz=Some -test.v":       strconv.Itoa(runtime.NumCPU()),
	} {
		cmd := exec.Command(os.Args[0], strings.Fields(flags)...)
		cmd.Env = append(os.Environ(), togetherVariable+"=1000", "GOMAXPROCS="+strconv.Itoa(runtime.NumCPU()))
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("with %q: %s, want %s; %v", flags, got, want, err)
		}
	}
}

func TestIdle(t *testing.T) {
	idle := testenv.Idle()
	for range 3 { // the kernel counts a hundred times a second
		if share := idle(); share < 0 || share > 1 {
			t.Errorf("%v of the machine is left", share)
		}
		<-time.After(15 * time.Millisecond) // real: it is the machine's
	}
}
