package main

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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/polywire/polywire/bench/internal/calls"
	"github.com/polywire/polywire/internal/load"
)

type loadResult = load.Result

const (
	startTimeout = 10 * time.Second
	stopTimeout  = 15 * time.Second
	idleQuiet    = 10 * time.Second
)

// lab has the programs, and runs them.
type lab struct {
	dir              string // of the programs
	progress         io.Writer
	duration, warmup time.Duration
	quiet            time.Duration // of idle connections
}

// findRoot returns the folder above the bench module that the current folder
// is in.
func findRoot(ctx context.Context) (string, error) {
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

// newLab builds all programs into a temporary folder.
func newLab(ctx context.Context, root string, progress io.Writer) (*lab, error) {
	dir, err := os.MkdirTemp("", "polywire-peers-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, progress: progress, quiet: idleQuiet}
	l.say("building")
	for _, b := range []struct {
		module   string
		packages []string
	}{
		{root, []string{"./cmd/polywire"}},
		{filepath.Join(root, "bench"), []string{"./cmd/gws-raw", "./cmd/grpc-unary", "./cmd/client-call"}},
	} {
		args := append([]string{"build", "-o", dir + string(filepath.Separator)}, b.packages...)
		cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the table above
		cmd.Dir = b.module
		if out, err := cmd.CombinedOutput(); err != nil {
			l.close()
			return nil, fmt.Errorf("go build in %s: %w\n%s", b.module, err, out)
		}
	}
	return l, nil
}

func (l *lab) close() { _ = os.RemoveAll(l.dir) } // a temporary folder; the system cleans up too

func (l *lab) say(format string, v ...any) { fmt.Fprintf(l.progress, format+"\n", v...) }

// command prepares one of the lab's programs. When ctx ends it is asked to
// end, and killed if it does not.
func (l *lab) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(l.dir, args[0]), args[1:]...) //nolint:gosec // our own programs
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	return cmd
}

// server is a running one.
type server struct {
	url  string
	pid  int
	stop func()
}

// announced is how all servers here say where they listen.
var announced = regexp.MustCompile(`^listening on (\S+?),?(\s|$)`)

// serve starts a server and waits until it says where it listens.
func (l *lab) serve(ctx context.Context, args []string) (*server, error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := l.command(ctx, args)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	stop := func() {
		cancel()
		_ = cmd.Wait() // it was told to end, and says that it was
	}
	giveUp := time.AfterFunc(startTimeout, cancel)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := announced.FindStringSubmatch(lines.Text()); m != nil && giveUp.Stop() {
			return &server{url: m[1], pid: cmd.Process.Pid, stop: stop}, nil
		}
	}
	stop()
	return nil, fmt.Errorf("%s did not say where it listens: %s", args[0], errs.Bytes())
}

// drive runs a client program and decodes the JSON that it prints.
func (l *lab) drive(ctx context.Context, args []string, result any) error {
	cmd := l.command(ctx, args)
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

// underLoad starts a server and drives it with the load generator, in a
// process of its own.
func (l *lab) underLoad(ctx context.Context, value func(loadResult) float64, args []string, wire, mode string, conns, window int) (figures, error) {
	s, err := l.serve(ctx, args)
	if err != nil {
		return figures{}, err
	}
	defer s.stop()
	d := l.duration
	if mode == "idle" {
		d = l.quiet
	}
	var r loadResult
	err = l.drive(ctx, []string{
		"polywire", "bench", "run", mode, "--json", "--url", s.url, "--wire", wire,
		"--pid", strconv.Itoa(s.pid), "--conns", strconv.Itoa(conns), "--window", strconv.Itoa(window),
		"--duration", d.String(), "--warmup", l.warmup.String(),
	}, &r)
	if err != nil {
		return figures{}, err
	}
	if r.Errors > 0 || r.Messages == 0 {
		return figures{}, fmt.Errorf("%s, %s: %d messages, %d errors, first: %s", args[0], mode, r.Messages, r.Errors, r.FirstError)
	}
	return figures{Value: value(r), PerSecond: r.PerSecond, CPUMicros: r.ServerMicros,
		P50: r.Latency.P50, P99: r.Latency.P99, KiB: r.KiBPerConn}, nil
}

// underCalls starts a server and measures a client library's calls to it.
func (l *lab) underCalls(ctx context.Context, args, client []string, flag string, target func(url string) string, inFlight int) (figures, error) {
	s, err := l.serve(ctx, args)
	if err != nil {
		return figures{}, err
	}
	defer s.stop()
	var r calls.Result
	err = l.drive(ctx, append(slices.Clip(client), flag, target(s.url), "-pid", strconv.Itoa(s.pid),
		"-in-flight", strconv.Itoa(inFlight), "-duration", l.duration.String(), "-warmup", l.warmup.String()), &r)
	if err != nil {
		return figures{}, err
	}
	return figures{Value: r.PerCPUSecond, PerSecond: r.PerSecond, CPUMicros: r.ClientMicros + r.ServerMicros}, nil
}

// compare measures both sides of each case by turns.
func (l *lab) compare(ctx context.Context, all []comparison, rounds int) (report, error) {
	rep := newReport(ctx, l, rounds)
	for _, c := range all {
		row := row{Case: c.id, Title: c.title, Unit: c.unit, Bar: c.bar, Absolute: c.absolute,
			Ours: outcome{Server: c.ours.name}, Peer: outcome{Server: c.peer.name}}
		for round := range rounds {
			for _, turn := range []struct {
				side
				to *outcome
			}{{c.ours, &row.Ours}, {c.peer, &row.Peer}} {
				f, err := turn.measure(ctx, l)
				if err != nil {
					return rep, fmt.Errorf("%s: %s: %w", c.id, turn.name, err)
				}
				turn.to.Rounds = append(turn.to.Rounds, f)
				l.say("%s, round %d, %s: %.4g %s", c.id, round+1, turn.name, f.Value, c.unit)
			}
		}
		rep.Rows = append(rep.Rows, row.judged())
	}
	return rep, nil
}
