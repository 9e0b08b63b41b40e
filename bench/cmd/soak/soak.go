package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/bench/internal/programs"
	"github.com/polywire/polywire/bench/internal/tool"
	"github.com/polywire/polywire/internal/load"
	"github.com/polywire/polywire/internal/scrape"
)

// soak is one run, and what came of it.
type soak struct {
	options

	setting  tool.Setting
	progress io.Writer
	rec      load.Recorder

	before  sample   // without a connection
	samples []sample // while they are held
	after   sample   // when they have gone
	results []load.Result
	cpu     time.Duration // of the server while they were held
	elapsed time.Duration
	total   load.Sample
	logged  int // lines
	bad     []string
}

// sample is how the server is at some time.
type sample struct {
	at         time.Duration // since all connections were open
	load       load.Sample   // of the time since the sample before
	cpus       float64       // that the server kept busy in that time
	resident   float64       // bytes
	heap       float64       // bytes in use
	goroutines float64
	files      float64
	conns      float64
	answered   float64 // messages that it has handled
}

// server is the one that is looked at.
type server struct {
	*programs.Server

	metrics string // URL
}

// hold runs the server and the load.
func (s *soak) hold(ctx context.Context, set *programs.Set) (err error) {
	log, err := os.Create(filepath.Join(set.Dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // it was read
	srv, err := start(ctx, set, log)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, srv.Stop(), s.readLog(log.Name()))
	}()
	if s.before, err = srv.sample(ctx); err != nil {
		return err
	}
	if err := s.load(ctx, srv); err != nil {
		return err
	}
	s.after, err = srv.empty(ctx)
	return err
}

// start starts the server with what one in production has: metrics, and logs
// in JSON at the usual level.
func start(ctx context.Context, set *programs.Set, log *os.File) (*server, error) {
	p, err := set.Serve(ctx, log, "polywire", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(log.Name())
	if err == nil {
		for line := range bytes.Lines(text) {
			var l struct {
				Msg string `json:"msg"`
				At  string `json:"at"`
			}
			if json.Unmarshal(line, &l) == nil && strings.Contains(l.Msg, "admin listener") {
				return &server{p, l.At + "/metrics"}, nil
			}
		}
		err = fmt.Errorf("the server does not say where its metrics are: %s", text)
	}
	return nil, errors.Join(err, p.Stop())
}

// sample looks at the server.
func (srv *server) sample(ctx context.Context) (sample, error) {
	page, err := scrape.Fetch(ctx, srv.metrics)
	if err != nil {
		return sample{}, err
	}
	s := sample{
		resident: page.Sum("process_resident_memory_bytes"), heap: page.Sum("go_memstats_next_gc_bytes"),
		goroutines: page.Sum("go_goroutines"), files: page.Sum("process_open_fds"),
		conns: page.Sum("polywire_server_connections"), answered: page.Sum("polywire_server_handler_duration_seconds_count"),
	}
	if rss, err := load.ProcessMemory(srv.PID); err == nil {
		s.resident = float64(rss) // counted, where the other is a sum that lags
	}
	return s, nil
}

// empty waits until the server has no connection any more.
func (srv *server) empty(ctx context.Context) (s sample, err error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if s, err = srv.sample(ctx); err != nil || s.conns == 0 {
			return s, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
	return s, nil // for the judgement
}

// share divides the connections among the wires.
func (s *soak) share(i int) int {
	n := s.conns / len(s.wires)
	if i < s.conns%len(s.wires) {
		n++
	}
	return n
}

// load drives all wires at once, and takes samples meanwhile.
func (s *soak) load(ctx context.Context, srv *server) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		runs   sync.WaitGroup
		open   = make([]atomic.Int64, len(s.wires))
		failed = make([]error, len(s.wires))
	)
	s.results = make([]load.Result, len(s.wires))
	for i, wire := range s.wires {
		runs.Go(func() {
			s.results[i], failed[i] = load.Run(ctx, load.Config{
				URL: srv.URL, Mode: load.Steady, Wire: wire, Conns: s.share(i), PayloadBytes: s.payloadBytes,
				Every: s.every, Duration: s.duration, DialRate: max(2000/len(s.wires), 1), Recorder: &s.rec,
				Progress: func(p load.Progress) { open[i].Store(int64(p.Open)) },
			})
			if failed[i] != nil {
				cancel(fmt.Errorf("%s: %w", wire, failed[i]))
			}
		})
	}
	over := make(chan struct{})
	go func() {
		runs.Wait()
		close(over)
	}()
	err := s.watch(ctx, srv, over, func() (n int) {
		for i := range open {
			n += int(open[i].Load())
		}
		return n
	})
	if err != nil {
		cancel(err)
	}
	<-over
	s.total = s.rec.Total()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return err
}

// watch takes samples until the runs are over.
func (s *soak) watch(ctx context.Context, srv *server, over <-chan struct{}, open func() int) error {
	tick := time.NewTicker(min(100*time.Millisecond, s.report))
	defer tick.Stop()
	for opening := true; opening; opening = open() < s.conns {
		select {
		case <-tick.C:
		case <-over:
			return errors.Join(context.Cause(ctx), errors.New("it was over before all connections were open"))
		}
	}
	fmt.Fprintf(s.progress, "%d connections are open\n", s.conns)
	tick.Reset(s.report)
	began, last := time.Now(), time.Now()
	spent, err := load.ProcessCPU(srv.PID)
	s.rec.Window()
	first := spent
	for err == nil {
		select {
		case <-tick.C:
		case <-over:
			s.elapsed = time.Since(began)
			return context.Cause(ctx)
		}
		var next sample
		if next, err = srv.sample(ctx); err != nil {
			break
		}
		var now time.Duration
		if now, err = load.ProcessCPU(srv.PID); err != nil {
			break
		}
		next.at, next.load, next.cpus = time.Since(began), s.rec.Window(), (now-spent).Seconds()/time.Since(last).Seconds()
		spent, last = now, time.Now()
		s.cpu = spent - first
		s.samples = append(s.samples, next)
		fmt.Fprintln(s.progress, next)
	}
	return err
}

// String is the sample's line.
func (s sample) String() string {
	return fmt.Sprintf("%6s  %.0f messages a second, p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms; %.1f MiB, heap %.1f MiB, %.0f goroutines, %.0f files, %.2f processors",
		s.at.Round(time.Second), float64(s.load.Answered)/max(s.load.Seconds, 1e-3), s.load.Latency.P50, s.load.Latency.P99, s.load.Latency.P999,
		s.resident/mebi, s.heap/mebi, s.goroutines, s.files, s.cpus)
}

// readLog counts the lines that the server has logged, and keeps those that
// complain.
func (s *soak) readLog(path string) error {
	text, err := os.ReadFile(path) //nolint:gosec // our own
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		s.logged++
		if strings.Contains(line, `"level":"WARN"`) || strings.Contains(line, `"level":"ERROR"`) {
			s.bad = append(s.bad, strings.TrimSpace(line))
		}
	}
	return nil
}
