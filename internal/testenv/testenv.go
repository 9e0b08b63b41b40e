// Package testenv says what a test needs of the machine beyond Go. Where that
// is missing the test is skipped, unless [FullVar] is set: then it fails, so
// that a complete run is known to be complete. It also waits for what happens
// outside of virtual time.
package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FullVar is the environment variable that turns skips into failures when it
// is set to anything but the empty string. The Makefile's test target sets it.
const FullVar = "POLYWIRE_TEST_FULL"

// Full reports whether this is a run in which nothing may be skipped.
func Full() bool { return os.Getenv(FullVar) != "" }

// Need ends the test unless every named program can be run: skipped, or failed
// in a full run. A name is a file in PATH; "chromium" stands for any of the
// names under which that browser is installed.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	var missing []string
	for _, p := range programs {
		if _, err := lookup(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		Missing(t, strings.Join(missing, " and ")+" (make test installs it)")
	}
}

// Program is Need for one program, and returns its path.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := lookup(name)
	if err != nil {
		Missing(t, name+" (make test installs it)")
	}
	return path
}

// Missing ends the test because of something that only it can look for, a
// running broker or a call of the operating system, say: skipped, or failed in a full run.
func Missing(t testing.TB, what string) {
	t.Helper()
	line := fmt.Sprintf("NOT TESTED HERE: %s needs %s", t.Name(), what)
	if Full() {
		t.Fatal(line)
	}
	t.Skip(line)
}

// Long ends a test that takes minutes in a run with -short, loudly.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("NOT TESTED HERE: " + t.Name() + " takes minutes: run without -short")
	}
}

// Root returns the folder of the module's go.mod, above the test's own.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("testenv: no go.mod above the test's folder")
		}
		dir = parent
	}
}

func lookup(program string) (string, error) {
	names := []string{program}
	if program == "chromium" {
		names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}
	}
	var first error
	for _, n := range names {
		path, err := exec.LookPath(n)
		if err == nil {
			return path, nil
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}

// Eventually waits until ok holds, and fails the test with what it waited for
// when that takes too long. It is for what other processes and goroutines do,
// in real time, and nothing tells; in a bubble synctest.Wait does that at once.
func Eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(within)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
		<-tick.C
	}
}
