package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
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
	// Connections are opened in five seconds, and pinged every 25.
	idleBeats = 35 * time.Second
)

// lab has the programs, and runs them.
type lab struct {
	dir              string // of the programs
	root             string // of the checkout
	progress         io.Writer
	duration, warmup time.Duration
	quiet            time.Duration // of idle connections
	beats            time.Duration // the same, where heartbeats belong to it
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
	l := &lab{dir: dir, root: root, progress: progress, quiet: idleQuiet, beats: idleBeats}
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

// program returns the path of one of the lab's programs, or of Node: the one
// that scripts/setup.sh has brought, or the system's.
func (l *lab) program(name string) string {
	if name != "node" {
		return filepath.Join(l.dir, name)
	}
	own := filepath.Join(l.root, ".cache", "bin", name)
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return name
}

func (l *lab) nodeScript() string {
	return filepath.Join(l.root, "bench", "socketio-node", "server.js")
}

// command prepares one of the lab's programs. When ctx ends it is asked to
// end, and killed if it does not.
func (l *lab) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, l.program(args[0]), args[1:]...) //nolint:gosec // our own programs, and node
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
	return nil, fmt.Errorf("%s did not say where it listens (make setup installs what it needs): %s", args[0], errs.Bytes())
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
func (l *lab) underLoad(ctx context.Context, value func(loadResult) float64, args []string, wire string, t task) (figures, error) {
	s, err := l.serve(ctx, args)
	if err != nil {
		return figures{}, err
	}
	defer s.stop()
	d := l.duration
	switch {
	case t.beats:
		d = l.beats
	case t.mode == "idle":
		d = l.quiet
	}
	run := []string{
		"polywire", "bench", "run", t.mode, "--json", "--url", s.url, "--wire", wire,
		"--pid", strconv.Itoa(s.pid), "--conns", strconv.Itoa(t.conns), "--window", strconv.Itoa(t.window),
		"--duration", d.String(), "--warmup", l.warmup.String(),
	}
	if t.rate > 0 {
		run = append(run, "--dial-rate", strconv.Itoa(t.rate))
	}
	if t.speak {
		run = append(run, "--speak")
	}
	var r loadResult
	if err = l.drive(ctx, run, &r); err != nil {
		return figures{}, err
	}
	return t.figures(args[0], value, r, d)
}

// figures takes what is compared from a result.
func (t task) figures(server string, value func(loadResult) float64, r loadResult, d time.Duration) (figures, error) {
	f := figures{Value: value(r), PerSecond: r.PerSecond, CPUMicros: r.ServerMicros,
		P50: r.Latency.P50, P99: r.Latency.P99, KiB: r.KiBPerConn}
	switch {
	case r.Messages > 0 && r.Mode == load.Handshakes:
		f.Lost = max(0, math.Floor(float64(t.rate)*d.Seconds())-float64(r.Messages))
	case r.Messages == 0, r.Errors > 0:
		return f, fmt.Errorf("%s, %s: %d messages, %d errors, first: %s", server, t.mode, r.Messages, r.Errors, r.FirstError)
	case t.beats && d >= idleBeats && r.Pings < uint64(t.conns):
		return f, fmt.Errorf("%s, %s: %d pings to %d connections", server, t.mode, r.Pings, t.conns)
	}
	return f, nil
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
		row := row{Section: c.section, Case: c.id, Title: c.title, Unit: c.unit, Bar: c.bar, Rule: c.rule, Rate: c.rate,
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
