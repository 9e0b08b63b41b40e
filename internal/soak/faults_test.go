package soak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/badnet"
)

// lanes are bad networks before the server, some for each place where it
// listens: what goes wrong in one does not in another.
type lanes struct {
	http, tcp, drs []*badnet.Proxy
}

func pave(t *testing.T, s *server) *lanes {
	t.Helper()
	several := func(target string, n int) (all []*badnet.Proxy) {
		for range n {
			p, err := badnet.New(target)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			all = append(all, p)
		}
		return all
	}
	return &lanes{several(s.http, 3), several(s.tcp, 2), several(s.drs, 2)}
}

func (l *lanes) all() (all []*badnet.Proxy) {
	return append(append(append(all, l.http...), l.tcp...), l.drs...)
}

// by dials through a proxy, whatever the address.
func by(p *badnet.Proxy) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", p.Addr())
	}
}

// trouble makes one fault after the other until ctx ends, and leaves all lanes
// as they were. It returns how many of each there were.
func (l *lanes) trouble(ctx context.Context, seed uint64) map[string]int {
	var goes sync.WaitGroup
	var mu sync.Mutex
	count := make(map[string]int)
	for i, p := range l.all() {
		goes.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for pass(ctx, between(r, 300*time.Millisecond, 2*time.Second)) {
				name := fault(ctx, r, p)
				mu.Lock()
				count[name]++
				mu.Unlock()
			}
		})
	}
	goes.Wait()
	return count
}

// fault makes one, for as long as it lasts.
func fault(ctx context.Context, r *rand.Rand, p *badnet.Proxy) string {
	defer func() {
		p.Delay(0)
		p.Throttle(0)
		p.Resume()
	}()
	switch r.IntN(4) {
	case 0:
		p.Cut()
		pass(ctx, between(r, 10*time.Millisecond, 500*time.Millisecond))
		return "cuts"
	case 1:
		p.BlackHole()
		pass(ctx, between(r, 100*time.Millisecond, 3*time.Second))
		return "black holes"
	case 2:
		p.Delay(between(r, 5*time.Millisecond, 200*time.Millisecond))
		pass(ctx, between(r, 500*time.Millisecond, 2*time.Second))
		return "delays"
	default:
		p.Throttle(2000 + r.IntN(20_000))
		pass(ctx, between(r, 500*time.Millisecond, 2*time.Second))
		return "throttles"
	}
}

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// pass waits, and reports false when ctx has ended.
func pass(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// tally counts what happened, by name.
type tally struct {
	mu    sync.Mutex
	count map[string]int
}

func (c *tally) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = make(map[string]int)
	}
	c.count[name]++
}

func (c *tally) of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[name]
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprint(c.count)
}
