//go:build unix

package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

// shell is a bash that runs what is typed, line by line, and what it shows.
type shell struct {
	t     *testing.T
	name  string
	c     *exec.Cmd
	lines *os.File // what is typed; commands have an input of their own, which is empty
	over  chan struct{}
	more  chan struct{} // something was shown

	mu   sync.Mutex
	text string
	read int // of text
}

// openShell opens one in a directory, with more variables of the environment,
// until the test ends.
func openShell(t *testing.T, name, dir string, env []string) *shell {
	t.Helper()
	script, lines, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	term := &shell{t: t, name: name, lines: lines, over: make(chan struct{}), more: make(chan struct{}, 1), c: exec.Command("bash", "--noprofile", "--norc", "/dev/fd/3")}
	term.c.Dir, term.c.Env, term.c.ExtraFiles = dir, append(os.Environ(), env...), []*os.File{script}
	term.c.Stdout, term.c.Stderr = term, term
	term.c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that all of it can be ended
	err = term.c.Start()
	script.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(term.over)
		_ = term.c.Wait() // how the last command ended is not its matter
	}()
	t.Cleanup(func() {
		lines.Close()
		_ = syscall.Kill(-term.c.Process.Pid, syscall.SIGKILL) // it may have ended
		<-term.over
		if t.Failed() {
			t.Logf("%s has shown\n%s", name, term.all())
		}
	})
	return term
}

// Write implements [io.Writer] for what it shows.
func (term *shell) Write(b []byte) (int, error) {
	term.mu.Lock()
	defer term.mu.Unlock()
	term.text += string(b)
	select {
	case term.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (term *shell) all() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.text
}

// unread is what no next has taken.
func (term *shell) unread() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.text[term.read:]
}

// enter types lines, which run when those before are over.
func (term *shell) enter(lines string) {
	term.t.Helper()
	if _, err := term.lines.WriteString(lines); err != nil {
		term.t.Fatalf("%s: %v", term.name, err)
	}
}

// next waits until what is not read yet matches, takes that and returns the
// groups; nil: it does not come.
func (term *shell) next(re *regexp.Regexp) (groups []string) {
	end := time.NewTimer(quickstartWait)
	defer end.Stop()
	for {
		if groups = re.FindStringSubmatch(term.unread()); groups != nil {
			term.mu.Lock()
			defer term.mu.Unlock()
			term.read += len(groups[0])
			return groups
		}
		select {
		case <-term.more:
		case <-end.C:
			return nil
		}
	}
}

// interrupt is Ctrl-C, after which the terminal is closed. The command that it
// ends must not complain.
func (term *shell) interrupt() {
	term.t.Helper()
	before := len(term.all())
	_ = term.lines.Close()
	if err := syscall.Kill(-term.c.Process.Pid, syscall.SIGINT); err != nil {
		term.t.Fatal(err)
	}
	testenv.Eventually(term.t, quickstartWait, term.name+" is over", func() bool {
		select {
		case <-term.over:
			return true
		default:
			return false
		}
	})
	if said := term.all()[before:]; strings.Contains(said, "polywire:") {
		term.t.Errorf("%s, interrupted: %s", term.name, said)
	}
}
