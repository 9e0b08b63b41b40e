package e2ecluster_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
)

// stormTime is when all have to be back, unless others take the machine.
const stormTime = 30 * time.Second

// mostSaid bounds the messages of a storm.
const mostSaid = 1000

// swarm are clients in the room with history.
type swarm struct {
	clients []*client.Client
	last    []atomic.Int64             // by client: number of the last message
	times   [mostSaid + 1]atomic.Int64 // by message: how many have heard it
	wrong   atomic.Int64               // messages out of turn, or twice
	lost    atomic.Int64               // times that a client was told that it has missed something
}

// gather connects many clients to a node, whose way back leads to any.
func gather(t *testing.T, c *cluster, n *process, many int) *swarm {
	t.Helper()
	s := &swarm{clients: make([]*client.Client, many), last: make([]atomic.Int64, many)}
	errs := make(chan error, many)
	next := make(chan int)
	var goes sync.WaitGroup
	for range 32 {
		goes.Go(func() {
			for i := range next {
				if err := s.connect(t.Context(), c, n, i); err != nil {
					errs <- err
				}
			}
		})
	}
	for i := range many {
		next <- i
	}
	close(next)
	goes.Wait()
	t.Cleanup(s.close)
	if len(errs) > 0 {
		t.Fatalf("%d clients failed, one with %v", len(errs), <-errs)
	}
	return s
}

func (s *swarm) connect(ctx context.Context, c *cluster, n *process, i int) error {
	cl, err := client.New("ws://cluster", client.WithNetDial(startingAt(c, n).dial), quick(), client.WithDialTimeout(patience), client.WithHooks(client.Hooks{
		Recovered: func(_ string, ok bool) {
			if !ok {
				s.lost.Add(1)
			}
		},
	}))
	if err != nil {
		return err
	}
	s.clients[i] = cl
	cl.Handle("count", func(_ context.Context, m *polywire.Message) (any, error) {
		var n int64
		if err := m.Bind(&n); err != nil {
			return nil, err
		}
		if before := s.last[i].Swap(n); n <= before || n > mostSaid {
			s.wrong.Add(1)
			return nil, nil
		}
		s.times[n].Add(1)
		return nil, nil
	})
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := cl.Connect(ctx); err != nil {
		return err
	}
	return cl.Subscribe(ctx, kept)
}

func (s *swarm) close() {
	var goes sync.WaitGroup
	for _, c := range s.clients {
		if c != nil {
			goes.Go(func() { _ = c.Close() }) // whatever it says
		}
	}
	goes.Wait()
	s.clients = nil
}

// heard waits until all have heard a message.
func (s *swarm) heard(t *testing.T, n int64, within time.Duration) time.Duration {
	t.Helper()
	return waitFor(t, within, fmt.Sprintf("all have heard message %d", n), func() error {
		missing := 0
		for i := range s.last {
			if s.last[i].Load() < n {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d have not", missing, len(s.last))
		}
		return nil
	})
}

// storm kills the node to which many are connected. They all come to the other
// two at once, and miss nothing. It is the last scene: the node is not started
// again.
func storm(t *testing.T, c *cluster, victim *process, many int) {
	if need := uint64(many + 500); openFiles() < need {
		testenv.Missing(t, fmt.Sprintf("%d open files", need))
	}
	before := make(map[string]int)
	for _, n := range c.all() {
		before[n.Name] = n.report().Goroutines
	}
	others := c.others(victim)
	speaker, err := client.Dial(t.Context(), "ws://cluster", dialTo(others[0], way{}))
	if err != nil {
		t.Fatal(err)
	}
	said := int64(0)
	unsure := make(map[int64]bool) // what got no answer may be out or not, and is not said again
	say := func() error {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		said++
		err := speaker.Publish(ctx, kept, "count", said)
		switch {
		case err == nil:
		case polywire.CodeOf(err) == polywire.CodeUnavailable && said < mostSaid:
			unsure[said] = true
			t.Logf("message %d: %v", said, err)
		default:
			t.Fatalf("message %d: %v", said, err)
		}
		return err
	}
	began := time.Now()
	s := gather(t, c, victim, many)
	t.Logf("%d clients came in %v", many, time.Since(began).Round(time.Millisecond))
	waitFor(t, patience, "something is said", say)
	s.heard(t, said, patience)
	victim.kill()
	began, idle := time.Now(), testenv.Idle()
	for range 20 { // while they come back
		_ = say() // it is noted
	}
	waitFor(t, patience, "something is said after the storm", say)
	s.heard(t, said, patience)
	waitFor(t, patience, "all are connected", func() error {
		there := 0
		for _, n := range others {
			there += n.report().Connections
		}
		if there < many {
			return fmt.Errorf("%d of %d", there, many)
		}
		return nil
	})
	took := time.Since(began).Round(time.Millisecond)
	t.Logf("%d clients were back in %v", many, took)
	if left := idle(); took > stormTime && left > 0.1 {
		t.Errorf("they were back in %v, want %v, and %.0f%% of the machine was left", took, stormTime, 100*left)
	}
	if w, l := s.wrong.Load(), s.lost.Load(); w+l > 0 {
		t.Errorf("%d messages out of turn, %d clients have lost some", w, l)
	}
	for n := int64(1); n <= said; n++ {
		if times := s.times[n].Load(); times != int64(many) && (!unsure[n] || times > 0) {
			t.Errorf("message %d was heard by %d of %d", n, times, many)
		}
	}
	if left := len(unsure); left > 10 {
		t.Errorf("%d of %d messages were not confirmed", left, said)
	}
	s.close()
	if err := speaker.Close(); err != nil {
		t.Error(err)
	}
	quiet(t, others, before)
}

// quiet waits until the nodes have no connections, and about as many goroutines
// as before, which NATS's own go up and down a little.
func quiet(t *testing.T, nodes []*process, before map[string]int) {
	t.Helper()
	const own = 20
	waitFor(t, patience, "no goroutine is left", func() error {
		var left []string
		for _, n := range nodes {
			if r := n.report(); r.Connections > 0 || r.Goroutines > before[n.Name]+own {
				left = append(left, fmt.Sprintf("%s has %d connections, %d goroutines of %d before", n.Name, r.Connections, r.Goroutines, before[n.Name]))
			}
		}
		if left != nil {
			return fmt.Errorf("%s", strings.Join(left, ", "))
		}
		return nil
	})
}
