package main

import (
	"bufio"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asProgram makes the tests' binary the program.
const asProgram = "POLYWIRE_TEST_AS_PROGRAM"

// program is the program as a process of its own, which signals are for.
type program struct {
	t     *testing.T
	c     *exec.Cmd
	lines chan string   // of standard output; closed at its end
	gone  chan struct{} // nobody reads lines any more
	over  chan struct{}
	err   error

	mu  sync.Mutex
	log strings.Builder
}

// Write implements [io.Writer] for standard error.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Write(b)
	return len(b), nil
}

func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// startProgram starts it with further variables of the environment.
func startProgram(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, lines: make(chan string, 100), gone: make(chan struct{}), over: make(chan struct{}), c: exec.Command(self, args...)}
	p.c.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	p.c.Stderr = p
	out, err := p.c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.over)
		for in := bufio.NewScanner(out); in.Scan(); {
			select {
			case p.lines <- in.Text():
			case <-p.gone:
			}
		}
		close(p.lines)
		p.err = p.c.Wait()
	}()
	t.Cleanup(func() {
		close(p.gone)
		_ = p.c.Process.Kill() // it may have ended
		<-p.over
		if t.Failed() {
			t.Log(p.said())
		}
	})
	return p
}

func (p *program) line() string {
	p.t.Helper()
	select {
	case l, ok := <-p.lines: // also what it said before it ended
		if ok {
			return l
		}
		<-p.over
		p.t.Fatalf("it has ended: %v\n%s", p.err, p.said())
	case <-time.After(2 * patience):
		p.t.Fatal("it says nothing")
	}
	return ""
}

// logs waits until it has logged something that matches, and returns it.
func (p *program) logs(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	eventually(p.t, "it logs "+pattern, func() bool { return re.MatchString(p.said()) })
	m := re.FindStringSubmatch(p.said())
	return m[len(m)-1]
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.c.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// ends waits for the end and returns how it was.
func (p *program) ends() error {
	p.t.Helper()
	select {
	case <-p.over:
		return p.err
	case <-time.After(2 * patience):
		p.t.Fatal("it does not end")
	}
	return nil
}

// withVariables has variables of the environment as long as f runs. A test that
// may be parallel afterwards cannot have them by itself.
func withVariables(t *testing.T, variables map[string]string, f func()) {
	t.Helper()
	t.Run("started", func(t *testing.T) {
		for name, value := range variables {
			t.Setenv(name, value)
		}
		f()
	})
	if t.Failed() {
		t.FailNow()
	}
}

// manager is a service manager that is told how things are.
func manager(t *testing.T) (variable string, told func() string) {
	t.Helper()
	path := t.TempDir() + "/notify"
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return "NOTIFY_SOCKET=" + path, func() string {
		t.Helper()
		b := make([]byte, 4096)
		_ = c.SetReadDeadline(time.Now().Add(2 * patience))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

// wasKilledBy reports whether a process ended by a signal.
func wasKilledBy(err error, s syscall.Signal) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == s
}
