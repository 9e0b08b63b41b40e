package testenv_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

// spy stands in for the test that asks, and notes how it ended.
type spy struct {
	testing.TB
	skipped, failed string
}

func (s *spy) Helper()           {}
func (s *spy) Name() string      { return "TestSpied" }
func (s *spy) Skip(args ...any)  { s.skipped = fmt.Sprint(args...); runtime.Goexit() }
func (s *spy) Fatal(args ...any) { s.failed = fmt.Sprint(args...); runtime.Goexit() }
func (s *spy) Fatalf(format string, args ...any) {
	s.Fatal(fmt.Sprintf(format, args...))
}

// run calls f as a test would: on a goroutine that may end early. It reports
// whether f returned.
func (s *spy) run(f func(t testing.TB)) bool {
	done := make(chan bool)
	go func() {
		finished := false
		defer func() { done <- finished }()
		f(s)
		finished = true
	}()
	return <-done
}

// inPath makes a PATH that has only the named programs.
func inPath(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	return dir
}

func TestNeed(t *testing.T) {
	tests := []struct {
		name      string
		installed []string
		need      []string
		full      string
		missing   string // in the line that says so; empty: the test goes on
	}{
		{"all there", []string{"node", "npm"}, []string{"node", "npm"}, "", ""},
		{"all there in a full run", []string{"node"}, []string{"node"}, "1", ""},
		{"nothing needed", nil, nil, "1", ""},
		{"one missing", []string{"npm"}, []string{"node", "npm"}, "", "needs node ("},
		{"two missing", nil, []string{"node", "npm"}, "", "needs node and npm ("},
		{"missing in a full run", nil, []string{"node"}, "1", "needs node ("},
		{"a browser by another name", []string{"google-chrome"}, []string{"chromium"}, "1", ""},
		{"no browser", []string{"node"}, []string{"chromium"}, "", "needs chromium ("},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inPath(t, tt.installed...)
			t.Setenv(testenv.FullVar, tt.full)
			var s spy
			went := s.run(func(tb testing.TB) { testenv.Need(tb, tt.need...) })
			if went != (tt.missing == "") {
				t.Fatalf("the test went on: %v", went)
			}
			line, other := s.skipped, s.failed
			if tt.full != "" {
				line, other = s.failed, s.skipped
			}
			if other != "" {
				t.Errorf("ended the wrong way: %s", other)
			}
			if tt.missing != "" && (!strings.Contains(line, tt.missing) || !strings.Contains(line, "TestSpied")) {
				t.Errorf("line %q does not name the test and %q", line, tt.missing)
			}
			if strings.Contains(line, "\n") {
				t.Errorf("more than one line: %q", line)
			}
		})
	}
}

func TestProgram(t *testing.T) {
	dir := inPath(t, "chromium-browser")
	t.Setenv(testenv.FullVar, "1")
	if got, want := testenv.Program(t, "chromium"), filepath.Join(dir, "chromium-browser"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var s spy
	if s.run(func(tb testing.TB) { testenv.Program(tb, "node") }) || s.failed == "" {
		t.Error("a missing program did not end the test")
	}
}

func TestRoot(t *testing.T) {
	want := testenv.Root(t)
	mod, err := os.ReadFile(filepath.Join(want, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(mod), "module github.com/polywire/polywire\n") {
		t.Errorf("%s is another module's", want)
	}
	t.Chdir(filepath.Join(want, "internal"))
	if got := testenv.Root(t); got != want {
		t.Errorf("from a folder below: got %s, want %s", got, want)
	}
}

func TestEventually(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct{ at, took time.Duration }{
			{0, 0}, {time.Second, time.Second}, {time.Hour, time.Minute + 2*time.Millisecond},
		} {
			begin := time.Now()
			var s spy
			ok := s.run(func(tb testing.TB) {
				testenv.Eventually(tb, time.Minute, "the hour strikes", func() bool { return time.Since(begin) >= tt.at })
			})
			if in := tt.at <= time.Minute; ok != in || strings.Contains(s.failed, "the hour strikes") == in {
				t.Errorf("after %v: %v, %q", tt.at, ok, s.failed)
			}
			if took := time.Since(begin); took != tt.took {
				t.Errorf("what was so after %v took %v, want %v", tt.at, took, tt.took)
			}
		}
	})
}
