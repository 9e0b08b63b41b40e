// Package calls drives request-response clients in a closed loop and measures
// what a call costs on both sides. It knows no protocol: the same loop drives
// every client.
package calls

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/internal/load"
)

// Config says how to drive.
type Config struct {
	InFlight     int           // calls at a time, each made by a goroutine of its own
	PayloadBytes int           // of a call and of its answer
	Warmup       time.Duration // before measuring
	Duration     time.Duration // of measuring
	PID          int           // the server's process; 0: its CPU time is not known
}

// Register adds a flag for each field, with its default.
func (c *Config) Register(f *flag.FlagSet) {
	f.IntVar(&c.InFlight, "in-flight", 100, "calls at a time")
	f.IntVar(&c.PayloadBytes, "size", 100, "payload `bytes`")
	f.DurationVar(&c.Warmup, "warmup", time.Second, "how long to call before measuring")
	f.DurationVar(&c.Duration, "duration", 4*time.Second, "how long to measure")
	f.IntVar(&c.PID, "pid", 0, "server `process`, for its CPU time")
}

// Result is what calls cost.
type Result struct {
	Calls        uint64  `json:"calls"`
	PerSecond    float64 `json:"per_second"`
	ClientMicros float64 `json:"client_cpu_us_per_call"`
	ServerMicros float64 `json:"server_cpu_us_per_call"`
	// PerCPUSecond is calls for a second of CPU time, of both sides together.
	PerCPUSecond float64 `json:"calls_per_cpu_second"`
}

// ErrSilent says that no answer came in the time that was measured.
var ErrSilent = errors.New("calls: no answer came while measuring")

// counter has a cache line of its own.
type counter struct {
	n atomic.Uint64
	_ [56]byte
}

// Drive calls from InFlight goroutines, each as soon as its last call has been
// answered, and returns when it has measured or a call has failed.
func Drive(ctx context.Context, cfg Config, call func(ctx context.Context, payload []byte) error) (Result, error) {
	if cfg.InFlight < 1 || cfg.PayloadBytes < 0 || cfg.Duration <= 0 {
		return Result{}, errors.New("calls: nothing to do: see InFlight, PayloadBytes and Duration")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		counters = make([]counter, cfg.InFlight)
		stop     atomic.Bool
		group    sync.WaitGroup
	)
	for i := range counters {
		group.Go(func() {
			payload := make([]byte, cfg.PayloadBytes)
			for !stop.Load() {
				if err := call(ctx, payload); err != nil {
					cancel(fmt.Errorf("calls: %w", err))
					return
				}
				counters[i].n.Add(1)
			}
		})
	}
	sum := func() (n uint64) {
		for i := range counters {
			n += counters[i].n.Load()
		}
		return n
	}
	res, err := measure(ctx, cfg, sum)
	stop.Store(true)
	if err != nil {
		cancel(err) // calls in flight need not be answered then
	}
	group.Wait()
	return res, err
}

func measure(ctx context.Context, cfg Config, sum func() uint64) (Result, error) {
	if err := pass(ctx, cfg.Warmup); err != nil {
		return Result{}, err
	}
	began, calls, client, server := time.Now(), sum(), cpu(os.Getpid()), cpu(cfg.PID)
	if err := pass(ctx, cfg.Duration); err != nil {
		return Result{}, err
	}
	calls, client, server = sum()-calls, cpu(os.Getpid())-client, cpu(cfg.PID)-server
	if calls == 0 {
		return Result{}, ErrSilent
	}
	n := float64(calls)
	return Result{
		Calls:        calls,
		PerSecond:    n / time.Since(began).Seconds(),
		ClientMicros: client.Seconds() * 1e6 / n,
		ServerMicros: server.Seconds() * 1e6 / n,
		PerCPUSecond: n / max(client+server, 1).Seconds(),
	}, nil
}

func cpu(pid int) time.Duration {
	d, err := load.ProcessCPU(pid)
	if err != nil {
		return 0
	}
	return d
}

// pass waits, but not for longer than ctx lives.
func pass(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
