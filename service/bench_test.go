package service_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/service"
	"github.com/polywire/polywire/wire/native"
)

// BenchmarkCall is one call over loopback, 16 at a time over two connections,
// by two clients in turn and by a service. Both ends are in this process;
// cpu-us/op is what both cost. BenchmarkOverhead compares them in one run.
func BenchmarkCall(b *testing.B) {
	for name, open := range callers {
		b.Run(name, func(b *testing.B) {
			call := open(b, echoServer(b))
			b.ReportAllocs()
			b.ResetTimer()
			used := cpu(b)
			inFlight(b.N, func() {
				if err := call(context.Background()); err != nil {
					b.Error(err)
				}
			})
			b.ReportMetric(float64((cpu(b)-used).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

// BenchmarkOverhead runs both variants by turns in slices of 2,000 calls, so
// that whatever else the machine does meets both, and reports what a service
// costs in percent of a client.
func BenchmarkOverhead(b *testing.B) {
	url := echoServer(b)
	byClient, byService := callers["client"](b, url), callers["service"](b, url)
	var used [2]time.Duration
	slice := func(at, calls int, call func(context.Context) error) {
		runtime.GC()
		before := cpu(b)
		inFlight(calls, func() {
			if err := call(context.Background()); err != nil {
				b.Error(err)
			}
		})
		used[at] += cpu(b) - before
	}
	slice(0, 2000, byClient) // warm
	slice(1, 2000, byService)
	used = [2]time.Duration{}
	b.ResetTimer()
	calls := 0
	for b.Loop() {
		slice(0, 2000, byClient)
		slice(1, 2000, byService)
		calls += 2000
	}
	b.ReportMetric(used[0].Seconds()*1e6/float64(calls), "client-us/call")
	b.ReportMetric(used[1].Seconds()*1e6/float64(calls), "service-us/call")
	b.ReportMetric(100*(used[1].Seconds()/used[0].Seconds()-1), "overhead-%")
}

// callers open the variants, each with two connections.
var callers = map[string]func(tb testing.TB, url string) func(ctx context.Context) error{
	"client": func(tb testing.TB, url string) func(ctx context.Context) error {
		var clients [2]*client.Client
		for i := range clients {
			c, err := client.Dial(tb.Context(), url)
			if err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(func() { c.Close() })
			clients[i] = c
		}
		var turn atomic.Uint32
		return func(ctx context.Context) error {
			var out []byte
			return clients[turn.Add(1)%2].Call(ctx, "echo", payload, &out)
		}
	},
	"service": func(tb testing.TB, url string) func(ctx context.Context) error {
		r := service.New()
		tb.Cleanup(func() { r.Close() })
		s, err := r.Register("echo", []string{url})
		if err != nil {
			tb.Fatal(err)
		}
		if err := s.Connect(tb.Context()); err != nil {
			tb.Fatal(err)
		}
		return func(ctx context.Context) error {
			var out []byte
			return s.Call(ctx, "echo", payload, &out)
		}
	},
}

var payload = make([]byte, 100)

// inFlight does n calls, 16 at a time.
func inFlight(n int, call func()) {
	var left atomic.Int64
	left.Store(int64(n))
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				call()
			}
		})
	}
	group.Wait()
}

// echoServer listens on loopback and returns its URL.
func echoServer(tb testing.TB) string {
	tb.Helper()
	srv, err := polywire.New(polywire.WithWires(native.New()))
	if err != nil {
		tb.Fatal(err)
	}
	srv.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
	l, scheme, err := srv.Listen("tcp://127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, scheme) }()
	tb.Cleanup(func() {
		srv.Close()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	return "tcp://" + l.Addr().String()
}

// cpu returns the CPU time that this process has used.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
