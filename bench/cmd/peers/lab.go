package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/polywire/polywire/bench/internal/calls"
	"github.com/polywire/polywire/bench/internal/programs"
	"github.com/polywire/polywire/internal/load"
)

type loadResult = load.Result

const (
	idleQuiet = 10 * time.Second
	// Connections are opened in five seconds, and pinged every 25.
	idleBeats = 35 * time.Second
)

// lab has the programs, and runs them.
type lab struct {
	*programs.Set

	progress         io.Writer
	duration, warmup time.Duration
	quiet            time.Duration // of idle connections
	beats            time.Duration // the same, where heartbeats belong to it
}

// newLab builds all programs.
func newLab(ctx context.Context, progress io.Writer) (*lab, error) {
	l := &lab{progress: progress, quiet: idleQuiet, beats: idleBeats}
	l.say("building")
	var err error
	l.Set, err = programs.Build(ctx, "./cmd/gws-raw", "./cmd/grpc-unary", "./cmd/client-call")
	return l, err
}

func (l *lab) say(format string, v ...any) { fmt.Fprintf(l.progress, format+"\n", v...) }

func (l *lab) nodeScript() string {
	return filepath.Join(l.Root, "bench", "socketio-node", "server.js")
}

// underLoad starts a server and drives it with the load generator, in a
// process of its own.
func (l *lab) underLoad(ctx context.Context, value func(loadResult) float64, args []string, wire string, t task) (figures, error) {
	s, err := l.Serve(ctx, nil, args...)
	if err != nil {
		return figures{}, err
	}
	defer s.Stop() //nolint:errcheck // peers end as they do
	d := l.duration
	switch {
	case t.beats:
		d = l.beats
	case t.mode == "idle":
		d = l.quiet
	}
	run := []string{
		"polywire", "bench", "run", t.mode, "--json", "--url", s.URL, "--wire", wire,
		"--pid", strconv.Itoa(s.PID), "--conns", strconv.Itoa(t.conns), "--window", strconv.Itoa(t.window),
		"--duration", d.String(), "--warmup", l.warmup.String(),
	}
	if t.rate > 0 {
		run = append(run, "--dial-rate", strconv.Itoa(t.rate))
	}
	if t.speak {
		run = append(run, "--speak")
	}
	var r loadResult
	if err = l.Run(ctx, run, &r); err != nil {
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
	s, err := l.Serve(ctx, nil, args...)
	if err != nil {
		return figures{}, err
	}
	defer s.Stop() //nolint:errcheck // peers end as they do
	var r calls.Result
	err = l.Run(ctx, append(slices.Clip(client), flag, target(s.URL), "-pid", strconv.Itoa(s.PID),
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
