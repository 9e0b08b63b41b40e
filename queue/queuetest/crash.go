package queuetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/polywire/polywire/queue"
)

// killed ends workers in the middle, one after the other: what they had in
// hand comes again, and what their late answers say changes nothing.
func killed(r *run) {
	const rounds, n = 5, 300
	publisher := r.open()
	r.publish(publisher, numbered("m", n)...)
	var late []*gate
	for round := range rounds {
		b, d := r.connect()
		g := newGate()
		defer g.open() // these handlers look at no context
		late = append(late, g)
		r.handle(b, func(ctx context.Context, d *queue.Delivery) error {
			if g.waiting.Load() < 8 { // several may see seven
				// It wakes when its program is long dead, as far as the broker knows.
				if err := g.pass(context.WithoutCancel(ctx)); err != nil {
					return err
				}
				return errors.New("too late to matter")
			}
			return nil
		}, queue.HandleOptions{Concurrency: 10, MaxAttempts: 2, Backoff: queue.Backoff{Min: 50 * time.Millisecond}})
		r.until(fmt.Sprintf("eight are in hand, round %d", round), func() bool {
			return g.waiting.Load() >= 8 || len(r.ledger.open()) <= 8
		})
		r.h.Kill(r.T, d)
	}
	b := r.open()
	r.handle(b, done, queue.HandleOptions{Concurrency: 10})
	for _, g := range late {
		g.open()
	}
	r.settled()
	r.empty(b, 0)
	r.Logf("%d done twice", r.ledger.duplicates())
}

// cutWhileHandling cuts the connection while handlers run: a late answer may
// not touch another message.
func cutWhileHandling(r *run) {
	const rounds, each = 10, 50
	b, d := r.connect()
	var mu sync.Mutex
	g := newGate()
	current := func() *gate { mu.Lock(); defer mu.Unlock(); return g }
	r.handle(b, func(ctx context.Context, d *queue.Delivery) error {
		if err := current().pass(ctx); err != nil {
			return err
		}
		if d.Attempt == 1 && d.ID[len(d.ID)-1] == '3' {
			return errors.New("once")
		}
		return nil
	}, queue.HandleOptions{Concurrency: each, Backoff: queue.Backoff{Min: 50 * time.Millisecond}})
	for round := range rounds {
		r.publish(b, numbered(fmt.Sprint("r", round), 2*each)...)
		r.until("fifty run", func() bool { return current().waiting.Load() == each })
		r.h.Cut(r.T, d)
		mu.Lock()
		old := g
		g = newGate()
		g.open()
		mu.Unlock()
		old.open()
		r.settled()
		mu.Lock()
		g = newGate()
		mu.Unlock()
	}
	current().open()
	r.empty(b, 0)
	r.Logf("%d done twice, %+v", r.ledger.duplicates(), b.Stats().Queues[r.queue])
}

// orderCut cuts the connection under an ordered queue: messages of a key are
// done in their order, whatever is handled twice.
func orderCut(r *run) {
	const keys, each = 4, 60
	b, d := r.connect()
	var mu sync.Mutex
	first := make(map[string][]string)
	seen := make(map[string]bool)
	var ms []queue.Message
	for i := range each {
		for k := range keys {
			ms = append(ms, queue.Message{ID: fmt.Sprintf("%d-%03d", k, i), Key: strconv.Itoa(k)})
		}
	}
	r.publish(b, ms...)
	r.handle(b, func(ctx context.Context, d *queue.Delivery) error {
		t := time.NewTimer(5 * time.Millisecond)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if d.Attempt == 1 && d.ID[len(d.ID)-1] == '4' {
			return errors.New("once")
		}
		mu.Lock()
		defer mu.Unlock()
		if !seen[d.ID] {
			seen[d.ID] = true
			first[d.Key] = append(first[d.Key], d.ID)
		}
		return nil
	}, queue.HandleOptions{Concurrency: keys, Ordered: true, Backoff: queue.Backoff{Min: 20 * time.Millisecond, Factor: 1}})
	for part := range 5 {
		r.until("more is done", func() bool { return len(r.ledger.open()) < (5-part)*keys*each/6 })
		r.h.Cut(r.T, d)
	}
	r.settled()
	r.empty(b, 0)
	mu.Lock()
	defer mu.Unlock()
	for key, ids := range first {
		if !slices.IsSorted(ids) || len(ids) != each {
			r.Errorf("key %s: %v", key, ids)
		}
	}
	r.Logf("%d done twice", r.ledger.duplicates())
}

// restart ends the broker with something in every place.
func restart(r *run) {
	b := r.open()
	revive := r.bury(b, numbered("dead", 3)...)
	if err := b.Pause(r.Context(), r.queue); err != nil {
		r.Fatal(err)
	}
	ms := numbered("m", 200)
	later := time.Now().Add(3 * time.Second)
	for i := range ms[:50] {
		ms[i].At = later
	}
	r.publish(b, ms...)
	r.h.Restart(r.T)
	revive.Store(true)
	if err := b.Resume(r.queue); err != nil {
		r.Fatal(err)
	}
	r.settled()
	r.publish(b, numbered("after", 50)...)
	r.settled()
	for _, m := range ms[:50] {
		if at := r.ledger.of(m.ID)[0].start; at.Before(later.Add(-slack)) {
			r.Errorf("%s came %v too early", m.ID, later.Sub(at))
		}
	}
	if got := r.deadLetters(b, queue.DeadFilter{}); len(got) != 3 {
		r.Errorf("dead letters: %v", ids(got))
	}
	r.empty(b, 3)
}

// restartUnderLoad ends the broker while messages are published and handled.
func restartUnderLoad(r *run) {
	b := r.open()
	r.handle(b, func(_ context.Context, d *queue.Delivery) error {
		if d.Attempt == 1 && d.ID[len(d.ID)-1] == '5' {
			return errors.New("once")
		}
		return nil
	}, queue.HandleOptions{Concurrency: 10, Backoff: queue.Backoff{Min: 50 * time.Millisecond}})
	stop := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		var errs []error
		for i := 0; ; i++ {
			select {
			case <-stop:
				ended <- errors.Join(errs...)
				return
			default:
			}
			ms := numbered(fmt.Sprint("b", i), 20)
			for j := range ms {
				ms[j].Queue = r.queue
			}
			err := b.PublishBatch(r.Context(), ms)
			var batch *queue.BatchError
			if err != nil && !errors.As(err, &batch) {
				errs = append(errs, err)
				continue
			}
			for j, m := range ms {
				if batch == nil || batch.Errs[j] == nil {
					r.ledger.accept(m.ID)
				}
			}
			if batch != nil && !errors.Is(err, queue.ErrUnavailable) {
				errs = append(errs, err)
			}
		}
	}()
	doneSo := func() int64 { return b.Stats().Queues[r.queue].Done }
	r.until("hundreds are done", func() bool { return doneSo() > 300 })
	r.h.Restart(r.T)
	before := doneSo()
	r.until("hundreds more are done", func() bool { return doneSo() > before+300 })
	close(stop)
	if err := <-ended; err != nil {
		r.Error(err)
	}
	r.settled()
	r.empty(b, 0)
	r.Logf("%d accepted, %d done twice", len(r.ledger.accepted), r.ledger.duplicates())
}

// deleted removes the queue under its consumer, who gets what comes after.
func deleted(r *run) {
	b := r.open()
	r.handle(b, done, queue.HandleOptions{})
	r.publish(b, queue.Message{ID: "before"})
	r.settled()
	r.h.Delete(r.T, r.queue)
	r.until("a message of later is handled", func() bool {
		m := queue.Message{Queue: r.queue, ID: queue.NewID(time.Now())}
		if b.Publish(r.Context(), m) != nil {
			return false
		}
		end := time.NewTimer(500 * time.Millisecond)
		defer end.Stop()
		for r.ledger.doneTimes(m.ID) == 0 {
			t := time.NewTimer(5 * time.Millisecond)
			select {
			case <-end.C:
				t.Stop()
				return false
			case <-t.C:
			}
		}
		return true
	})
}
