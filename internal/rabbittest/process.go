package rabbittest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
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

// still reports whether all threads of the process are stopped: a signal that was
// sent has not come to all of them yet. Where there is no /proc it says so at once.
func (p *process) still() bool {
	tasks := os.DirFS(fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid))
	stats, _ := fs.Glob(tasks, "*/stat") // the pattern is one
	for _, name := range stats {
		text, err := fs.ReadFile(tasks, name)
		if err != nil {
			continue // the thread has ended
		}
		// The state stands behind the name, which may have anything in it.
		if i := strings.LastIndex(string(text), ") "); i < 0 || !strings.HasPrefix(string(text[i+2:]), "T") {
			return false
		}
	}
	return true
}

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
