// Package programs builds the programs that measurements need, and runs them
// as processes of their own.
package programs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = time.Minute
	stopTimeout  = time.Minute
)

// Set is a folder with programs.
type Set struct {
	Dir  string // of the programs
	Root string // of the checkout
}

// Root returns the folder above the bench module that the current folder is in.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	bench := filepath.Dir(strings.TrimSpace(string(out)))
	if filepath.Base(bench) != "bench" {
		return "", errors.New("run it in the bench folder")
	}
	return filepath.Dir(bench), nil
}

// Build builds the program polywire, and packages of the bench module, into a
// temporary folder, which Close removes.
func Build(ctx context.Context, packages ...string) (*Set, error) {
	root, err := Root(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "polywire-bench-")
	if err != nil {
		return nil, err
	}
	s := &Set{Dir: dir, Root: root}
	for module, packages := range map[string][]string{root: {"./cmd/polywire"}, filepath.Join(root, "bench"): packages} {
		if len(packages) == 0 {
			continue
		}
		args := append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)
		cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // our own packages
		cmd.Dir = module
		if out, err := cmd.CombinedOutput(); err != nil {
			s.Close()
			return nil, fmt.Errorf("go build in %s: %w\n%s", module, err, out)
		}
	}
	return s, nil
}

// Close removes the folder.
func (s *Set) Close() { _ = os.RemoveAll(s.Dir) } // a temporary folder; the system cleans up too

// Path returns that of one of the programs, or of Node: the one that
// scripts/setup.sh has brought, or the system's.
func (s *Set) Path(name string) string {
	if name != "node" {
		return filepath.Join(s.Dir, name)
	}
	own := filepath.Join(s.Root, ".cache", "bin", name)
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return name
}

// command prepares one of the programs. When ctx ends it is asked to end, and
// killed if it does not.
func (s *Set) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.Path(args[0]), args[1:]...) //nolint:gosec // our own programs, and node
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	return cmd
}

// Server is a running one.
type Server struct {
	URL  string // where it listens
	PID  int
	Stop func() error // asks it to end, and says how it did, after it has
}

// announced is how all servers here say where they listen.
var announced = regexp.MustCompile(`^listening on (\S+?),?(\s|$)`)

// Serve starts a server and waits until it says where it listens. What it says
// on standard error goes to log, or with nil into the error when it does not
// start.
func (s *Set) Serve(ctx context.Context, log io.Writer, args ...string) (*Server, error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := s.command(ctx, args)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if log != nil {
		cmd.Stderr = log
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	stop := func() error {
		cancel()
		if err := cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) && !endedBySignal(err) {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		return nil
	}
	giveUp := time.AfterFunc(startTimeout, cancel)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := announced.FindStringSubmatch(lines.Text()); m != nil && giveUp.Stop() {
			return &Server{URL: m[1], PID: cmd.Process.Pid, Stop: stop}, nil
		}
	}
	_ = stop() // it says less than its log
	return nil, fmt.Errorf("%s did not say where it listens (make setup installs what it needs): %s", args[0], errs.Bytes())
}

// endedBySignal reports whether a process ended by the signal that asked it to:
// not every server handles it.
func endedBySignal(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGTERM
}

// Run runs a program to its end and decodes the JSON that it prints.
func (s *Set) Run(ctx context.Context, args []string, result any) error {
	cmd := s.command(ctx, args)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	if err := json.Unmarshal(out.Bytes(), result); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}
