package jetstream_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
)

// sequence notes in which order the messages of each key were done first.
type sequence struct {
	mu   sync.Mutex
	last map[string]int
	seen map[string]bool
	bad  []string
}

func newSequence() *sequence {
	return &sequence{last: make(map[string]int), seen: make(map[string]bool)}
}

func (s *sequence) handle(_ context.Context, d *queue.Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int
	if _, err := fmt.Sscan(string(d.Payload.Data), &n); err != nil {
		return queue.Discard(err)
	}
	if s.seen[d.ID] {
		return nil // a message may come twice, but not in front of those before it
	}
	if n != s.last[d.Key]+1 {
		s.bad = append(s.bad, fmt.Sprintf("%s: %d after %d", d.Key, n, s.last[d.Key]))
	}
	s.seen[d.ID], s.last[d.Key] = true, n
	return nil
}

func (s *sequence) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

func (s *sequence) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bad) > 0 {
		t.Errorf("%d out of order, first %s", len(s.bad), s.bad[0])
	}
}

func keyed(name string, keys, n int) []queue.Message {
	var ms []queue.Message
	for i := range n {
		for k := range keys {
			m := queue.Message{Queue: name, Key: fmt.Sprint("key-", k), ID: fmt.Sprintf("%d-%d", k, i)}
			m.Payload.Data = fmt.Append(nil, i+1)
			ms = append(ms, m)
		}
	}
	return ms
}

// TestOrderSurvivesKills kills whoever has the queue, with messages in hand,
// while others wait for it.
func TestOrderSurvivesKills(t *testing.T) {
	t.Parallel()
	s := newBroker(t, natsembed.Options{NoSync: true})
	publisher := s.open(jetstream.Options{})
	ms := keyed("q", 5, 120)
	publish(t, publisher, ms...)
	seq := newSequence()
	slow := func(ctx context.Context, d *queue.Delivery) error {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		return seq.handle(ctx, d)
	}
	o := queue.HandleOptions{Concurrency: 4, Ordered: true, Lease: 4 * time.Second} // a machine that stands still for its slack breaks any lease
	var links []*conns
	for range 3 {
		c := &conns{}
		b := s.open(jetstream.Options{Connect: c.connect(s)})
		if err := b.Handle("q", slow, o); err != nil {
			t.Fatal(err)
		}
		links = append(links, c)
		done := seq.size()
		if len(links) == 3 {
			break
		}
		testenv.Eventually(t, patience, "some are done", func() bool { return seq.size() > done+50 })
		c.kill()
	}
	testenv.Eventually(t, patience, "all are done", func() bool { return seq.size() == len(ms) })
	seq.check(t)
}

// TestOrderedOwnersAlone has many programs for one queue: one has it, and when
// it ends in peace the next has it at once.
func TestOrderedOwnersAlone(t *testing.T) {
	s := newBroker(t, natsembed.Options{NoSync: true})
	publisher := s.open(jetstream.Options{})
	o := queue.HandleOptions{Concurrency: 4, Ordered: true} // half a minute of lease
	seq := newSequence()
	const programs = 4
	got := make([]int, programs)
	var mu sync.Mutex
	var brokers []*queue.Broker
	for i := range programs {
		b := s.open(jetstream.Options{})
		brokers = append(brokers, b)
		err := b.Handle("q", func(ctx context.Context, d *queue.Delivery) error {
			mu.Lock()
			got[i]++
			mu.Unlock()
			return seq.handle(ctx, d)
		}, o)
		if err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	ms := keyed("q", 2, 40*programs)
	for range programs {
		publish(t, publisher, ms[total:total+80]...)
		total += 80
		testenv.Eventually(t, patience, "all so far are done", func() bool { return seq.size() == total })
		mu.Lock()
		owner, owners := 0, 0
		for i, n := range got {
			if n > 0 {
				owner, owners = i, owners+1
			}
			got[i] = 0
		}
		mu.Unlock()
		if owners != 1 {
			t.Errorf("%d programs had the queue at a time", owners)
		}
		start := time.Now()
		if err := brokers[owner].Shutdown(within(t)); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 20*time.Second { // it waits for no lease's end
			t.Errorf("the shutdown took %v", took)
		}
	}
	seq.check(t)
}
