package rabbittest

import (
	"os"
	"os/exec"
	"runtime"
	"time"
)

// process is a child that is waited for.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// spawn starts a program without input. Its goroutine ends with it.
func spawn(environ []string, out *os.File, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...), done: make(chan struct{})} //nolint:gosec // the test says when it ends
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = environ, out, out
	p.cmd.SysProcAttr = endsWithParent()
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		// The kernel takes the end of the starting thread for the end of the parent.
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in its log
		}
	}()
	return p, <-started
}

func (p *process) signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// await reports whether the process ended in time.
func (p *process) await(limit time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(limit):
		return false
	}
}
