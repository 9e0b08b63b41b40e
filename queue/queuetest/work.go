package queuetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/queue"
)

func concurrency(r *run) {
	const n = 7
	b := r.open()
	g := newGate()
	r.publish(b, numbered("m", 50)...)
	r.handle(b, func(ctx context.Context, d *queue.Delivery) error { return g.pass(ctx) }, queue.HandleOptions{Concurrency: n, Prefetch: 20})
	r.until("all handlers run", func() bool { return g.waiting.Load() == n })
	r.watch(300*time.Millisecond, "no more than that", func() bool { return g.waiting.Load() == n })
	if q := b.Stats().Queues[r.queue]; q.Running != n || q.InHand < n || q.InHand > n+20 {
		r.Errorf("%+v", q)
	}
	g.open()
	r.settled()
	if r.ledger.most != n {
		r.Errorf("%d at a time", r.ledger.most)
	}
}

// bursts brings messages when no handler, or only some, have work: as many run
// as there are messages, or hands.
func bursts(r *run) {
	const hands, held, rounds = 6, 2, 20
	b := r.open()
	stuck := newGate()
	defer stuck.open()
	var current atomic.Pointer[gate]
	current.Store(newGate())
	r.handle(b, func(ctx context.Context, d *queue.Delivery) error {
		if d.Kind == "stuck" {
			return stuck.pass(ctx)
		}
		return current.Load().pass(ctx)
	}, queue.HandleOptions{Concurrency: hands, Prefetch: 2})
	for round := range rounds {
		if round == rounds/2 {
			for range held {
				r.publish(b, queue.Message{Kind: "stuck"})
			}
			r.until("two are stuck", func() bool { return stuck.waiting.Load() == held })
		}
		free := hands - int(stuck.waiting.Load())
		g := current.Load()
		n := 1 + rand.IntN(free) //nolint:gosec // chance, no secret
		r.publish(b, numbered(fmt.Sprint("r", round), n)...)
		r.until(fmt.Sprintf("%d of %d hands work, round %d", n, free, round), func() bool { return g.waiting.Load() == int64(n) })
		current.Store(newGate())
		g.open()
		r.until("they have ended", func() bool { return b.Stats().Queues[r.queue].Running == stuck.waiting.Load() })
	}
	stuck.open()
	r.settled()
}

func twoConsumers(r *run) {
	a, b := r.open(), r.open()
	g := newGate()
	var byA, byB atomic.Int64
	r.publish(a, numbered("m", 20)...)
	r.handle(a, func(ctx context.Context, _ *queue.Delivery) error { byA.Add(1); return g.pass(ctx) },
		queue.HandleOptions{Concurrency: 2, Prefetch: -1})
	r.handle(b, func(ctx context.Context, _ *queue.Delivery) error { byB.Add(1); return g.pass(ctx) },
		queue.HandleOptions{Concurrency: 3, Prefetch: -1})
	r.until("both have work for all hands", func() bool { return byA.Load() == 2 && byB.Load() == 3 })
	g.open()
	r.settled()
	if n := r.ledger.duplicates(); n != 0 {
		r.Errorf("%d done twice", n)
	}
}

func order(r *run) {
	const keys, each = 10, 40
	b := r.open()
	var mu sync.Mutex
	got := make(map[string][]string)
	var ms []queue.Message
	want := make(map[string][]string)
	for i := range each {
		for k := range keys {
			m := queue.Message{ID: fmt.Sprintf("%d-%03d", k, i), Key: fmt.Sprint("key ", k)}
			want[m.Key] = append(want[m.Key], m.ID)
			ms = append(ms, m)
		}
		ms = append(ms, queue.Message{ID: fmt.Sprint("free-", i)})
	}
	for part := range slices.Chunk(ms, 50) {
		r.publish(b, part...)
	}
	r.handle(b, func(_ context.Context, d *queue.Delivery) error {
		if d.Key != "" && d.Attempt < 3 && rand.IntN(20) == 0 { //nolint:gosec // chance, no secret
			return errors.New("now and then")
		}
		mu.Lock()
		defer mu.Unlock()
		got[d.Key] = append(got[d.Key], d.ID)
		return nil
	}, queue.HandleOptions{Concurrency: 6, Ordered: true, Backoff: queue.Backoff{Min: 20 * time.Millisecond, Max: 20 * time.Millisecond}})
	r.settled()
	r.empty(b, 0)
	for key, ids := range want {
		if !slices.Equal(got[key], ids) {
			r.Errorf("%s: %v", key, got[key])
		}
	}
	if len(got[""]) != each {
		r.Errorf("%d without a key", len(got[""]))
	}
}

// orderedTurns has several programs at one ordered queue: one has it, and
// when that one ends another takes over where it was.
func orderedTurns(r *run) {
	const n = 120
	brokers := []*queue.Broker{r.open(), r.open(), r.open()}
	var mu sync.Mutex
	var got []string
	by := make(map[int]int)
	for i, b := range brokers {
		r.handle(b, func(_ context.Context, d *queue.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, d.ID)
			by[i]++
			return nil
		}, queue.HandleOptions{Concurrency: 3, Ordered: true})
	}
	ms := numbered("m", n)
	for i := range ms {
		ms[i].Key = "one"
	}
	for i, part := range [][]queue.Message{ms[:40], ms[40:80], ms[80:]} {
		r.publish(brokers[len(brokers)-1], part...)
		r.settled()
		if i < len(brokers)-1 {
			if err := brokers[i].Shutdown(r.Context()); err != nil {
				r.Fatal(err)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.IsSorted(got) || len(got) != n {
		r.Errorf("%d handled: %v", len(got), got)
	}
	if by[2] < 40 {
		r.Errorf("the last one handled only %d: %v", by[2], by)
	}
}

func timeout(r *run) {
	b := r.open()
	r.publish(b, queue.Message{ID: "slow"})
	r.handle(b, func(ctx context.Context, d *queue.Delivery) error {
		if d.Attempt == 2 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}, queue.HandleOptions{Timeout: 300 * time.Millisecond, Backoff: queue.Backoff{Min: 50 * time.Millisecond}})
	r.settled()
	all := r.ledger.of("slow")
	soon := all[0].start.Add(time.Second)
	if took := all[0].end.Sub(all[0].start); !errors.Is(all[0].err, context.DeadlineExceeded) || took < 290*time.Millisecond || r.late(all[0].end, soon) {
		r.Errorf("ended after %v with %v", took, all[0].err)
	}
	if len(all) != 2 || all[1].d.LastError != context.DeadlineExceeded.Error() {
		r.Errorf("%d attempts: %+v", len(all), all)
	}
}

// longWork has handlers, and messages that wait for one, for several leases.
func longWork(r *run) {
	lease := max(r.h.Lease, 500*time.Millisecond)
	b := r.open()
	r.publish(b, numbered("m", 6)...)
	r.handle(b, func(ctx context.Context, _ *queue.Delivery) error {
		t := time.NewTimer(2 * lease)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, queue.HandleOptions{Concurrency: 2, Prefetch: 4, Lease: r.h.Lease})
	r.settled()
	r.empty(b, 0)
	// A machine that has no time for signs of life loses a lease: then the message
	// comes again, and is not handled twice.
	if n, received := r.ledger.runs(), b.Stats().Queues[r.queue].Received; n != 6 || received != 6 && r.free() {
		r.Errorf("%d attempts at six messages, %d deliveries", n, received)
	}
}

// delays has one message of an hour in front of all others.
func delays(r *run) {
	const n = 1000
	b := r.open()
	if err := b.Publish(r.Context(), queue.Message{Queue: r.queue, ID: "an-hour", Delay: time.Hour}); err != nil {
		r.Fatal(err)
	}
	r.handle(b, done, queue.HandleOptions{Concurrency: 20})
	start := time.Now()
	ms := numbered("m", n)
	due := make(map[string]time.Time)
	for i := range ms {
		due[ms[i].ID] = start.Add(time.Second + rand.N(9*time.Second)) //nolint:gosec // chance, no secret
		ms[i].At = due[ms[i].ID]
	}
	r.publish(b, ms...)
	ones := numbered("second", n)
	for i := range ones {
		ones[i].Delay = time.Second
	}
	published := time.Now()
	r.publish(b, ones...)
	latest := time.Now()
	r.publish(b, queue.Message{ID: "now"}, queue.Message{ID: "past", At: start.Add(-time.Hour)})
	r.until("what has no delay is done", func() bool { return r.ledger.doneTimes("now")+r.ledger.doneTimes("past") == 2 })
	r.settled()
	worst := time.Duration(0)
	check := func(id string, from, to time.Time) {
		at := r.ledger.of(id)[0].start
		worst = max(worst, at.Sub(to))
		if at.Before(from.Add(-slack)) || r.late(at, to) {
			r.Errorf("%s came at %v, not at %v to %v", id, at.Sub(start), from.Sub(start), to.Sub(start))
		}
	}
	for id, at := range due { // nobody is late with what nobody had yet
		check(id, at, at.Add(max(0, published.Sub(at))))
	}
	for _, m := range ones {
		check(m.ID, published.Add(time.Second), latest.Add(time.Second))
	}
	r.Logf("at most %v late", worst)
	if r.ledger.doneTimes("an-hour") != 0 {
		r.Error("the hour is over")
	}
	if d, err := b.Inspect(r.Context(), r.queue); err != nil || d.Delayed != 1 && d.Delayed != -1 || d.Waiting > 0 {
		r.Errorf("%+v, %v", d, err)
	}
}
