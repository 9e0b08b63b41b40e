package queuetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/queue"
)

func pauseResume(r *run) {
	b := r.open()
	g := newGate()
	r.publish(b, numbered("m", 20)...)
	r.handle(b, func(ctx context.Context, _ *queue.Delivery) error { return g.pass(ctx) }, queue.HandleOptions{Concurrency: 2, Prefetch: 6})
	r.until("two run", func() bool { return g.waiting.Load() == 2 })
	ctx, cancel := context.WithTimeout(r.Context(), 200*time.Millisecond)
	defer cancel()
	if err := b.Pause(ctx, r.queue); !errors.Is(err, context.DeadlineExceeded) {
		r.Errorf("paused while handlers run: %v", err)
	}
	if q := b.Stats().Queues[r.queue]; !q.Paused || q.InHand != 2 {
		r.Errorf("%+v", q)
	}
	g.open()
	if err := b.Pause(r.Context(), r.queue); err != nil {
		r.Fatal(err)
	}
	r.watch(300*time.Millisecond, "two were handled", func() bool { return r.ledger.runs() == 2 })
	for range 3 {
		if err := b.Resume(r.queue); err != nil {
			r.Fatal(err)
		}
		if err := b.Pause(r.Context(), r.queue); err != nil {
			r.Fatal(err)
		}
	}
	if err := errors.Join(b.Resume(r.queue), b.Resume(r.queue)); err != nil {
		r.Fatal(err)
	}
	r.settled()
	r.empty(b, 0)
	for _, m := range numbered("m", 20) {
		if a := r.ledger.of(m.ID); len(a) != 1 || a[0].d.Attempt != 1 {
			r.Errorf("%s: %+v", m.ID, a)
		}
	}
	if err := b.Pause(r.Context(), "elsewhere"); !errors.Is(err, queue.ErrNotFound) {
		r.Errorf("pause elsewhere: %v", err)
	}
}

// shutdownFinishes has handlers that publish while the broker shuts down.
func shutdownFinishes(r *run) {
	b, other := r.open(), r.open()
	g := newGate()
	next := unique("next")
	r.publish(b, numbered("m", 4)...)
	r.handle(b, func(ctx context.Context, d *queue.Delivery) error {
		if err := g.pass(ctx); err != nil {
			return err
		}
		id := "after-" + d.ID
		if err := b.Publish(ctx, queue.Message{Queue: next, ID: id}); err != nil {
			return err
		}
		r.ledger.accept(id)
		return nil
	}, queue.HandleOptions{Concurrency: 4})
	r.until("four run", func() bool { return g.waiting.Load() == 4 })
	ended := make(chan error, 1)
	go func() { ended <- b.Shutdown(r.Context()) }()
	r.watch(200*time.Millisecond, "it waits", func() bool { return len(ended) == 0 })
	g.open()
	r.until("it has ended", func() bool { return len(ended) == 1 })
	if err := <-ended; err != nil {
		r.Error(err)
	}
	if err := other.Handle(next, r.ledger.handler(done), queue.HandleOptions{}); err != nil {
		r.Fatal(err)
	}
	r.settled()
	r.empty(other, 0)
	for i := range 4 {
		if n := len(r.ledger.of(fmt.Sprintf("m-%05d", i))); n != 1 {
			r.Errorf("%d attempts", n)
		}
	}
}

// shutdownReturns has messages in hand that were not started.
func shutdownReturns(r *run) {
	b, other := r.open(), r.open()
	g := newGate()
	r.publish(b, numbered("m", 30)...)
	r.handle(b, func(ctx context.Context, _ *queue.Delivery) error { return g.pass(ctx) }, queue.HandleOptions{Concurrency: 2, Prefetch: 20})
	r.until("it has 22 in hand", func() bool { return b.Stats().Queues[r.queue].InHand == 22 && g.waiting.Load() == 2 })
	ended := make(chan error, 1)
	go func() { ended <- b.Shutdown(r.Context()) }()
	r.handle(other, done, queue.HandleOptions{Concurrency: 3})
	r.until("the other one did all but two, before any lease could end", func() bool { return len(r.ledger.open()) == 2 })
	g.open()
	r.settled()
	if err := <-ended; err != nil {
		r.Error(err)
	}
	r.empty(other, 0)
	for _, m := range numbered("m", 30) {
		if a := r.ledger.of(m.ID); len(a) != 1 || a[0].d.Attempt != 1 {
			r.Errorf("%s: %+v", m.ID, a)
		}
	}
}

// shutdownInterrupts has handlers that take longer than the shutdown: one that
// looks at its context, and one that does not.
func shutdownInterrupts(r *run) {
	b, other := r.open(), r.open()
	g := newGate()
	defer g.open()
	deaf := newGate()
	defer deaf.open()
	var told atomic.Int64
	r.publish(b, queue.Message{ID: "listens"}, queue.Message{ID: "deaf"})
	r.handle(b, func(ctx context.Context, d *queue.Delivery) error {
		if d.ID == "deaf" {
			return deaf.pass(context.WithoutCancel(ctx))
		}
		err := g.pass(ctx)
		told.Add(1)
		return err
	}, queue.HandleOptions{Concurrency: 2, MaxAttempts: 1})
	r.until("both run", func() bool { return g.waiting.Load()+deaf.waiting.Load() == 2 })
	ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
	defer cancel()
	if err := b.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		r.Errorf("shutdown: %v", err)
	}
	r.until("the handler's context has ended", func() bool { return told.Load() == 1 })
	r.handle(other, done, queue.HandleOptions{Concurrency: 2})
	r.settled()
	deaf.open()
	r.until("the deaf one has ended", func() bool { return len(r.ledger.of("deaf")) == 2 })
	r.empty(other, 0)
	for _, id := range []string{"listens", "deaf"} {
		if a := r.ledger.of(id); len(a) != 2 || a[0].d.Attempt != 1 || a[1].d.Attempt != 1 {
			r.Errorf("%s: %+v", id, a)
		}
	}
}

func closed(r *run) {
	b := r.open()
	r.publish(b, queue.Message{ID: "m"})
	r.handle(b, done, queue.HandleOptions{})
	r.settled()
	if err := b.Shutdown(r.Context()); err != nil {
		r.Error(err)
	}
	if err := errors.Join(b.Shutdown(r.Context()), b.Close()); err != nil {
		r.Errorf("once more: %v", err)
	}
	message := queue.Message{Queue: r.queue}
	if err := b.Publish(r.Context(), message); !errors.Is(err, queue.ErrClosed) {
		r.Errorf("publish: %v", err)
	}
	if err := b.PublishBatch(r.Context(), []queue.Message{message}); !errors.Is(err, queue.ErrClosed) {
		r.Errorf("publish a batch: %v", err)
	}
	if err := b.Handle(r.queue+"2", done, queue.HandleOptions{}); !errors.Is(err, queue.ErrClosed) {
		r.Errorf("handle: %v", err)
	}
	if err := b.Resume(r.queue); !errors.Is(err, queue.ErrClosed) {
		r.Errorf("resume: %v", err)
	}
	if _, err := b.Inspect(r.Context(), r.queue); !errors.Is(err, queue.ErrClosed) {
		r.Errorf("inspect: %v", err)
	}
	if h := b.Health(); h.Live || h.Ready {
		r.Errorf("%+v", h)
	}
}

// pauseUnderLoad pauses and resumes while messages are published and handled:
// each is handled once, for nothing is lost in a pause.
func pauseUnderLoad(r *run) {
	const rounds, each = 8, 60
	b := r.open()
	var running, most atomic.Int64
	r.handle(b, func(ctx context.Context, d *queue.Delivery) error {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		return nap(ctx, time.Millisecond)
	}, queue.HandleOptions{Concurrency: 4, Prefetch: 10})
	for round := range rounds {
		r.publish(b, numbered(fmt.Sprint("r", round), each)...)
		r.until("some are done", func() bool { return r.ledger.runs() > round*each/2 })
		if err := b.Pause(r.Context(), r.queue); err != nil {
			r.Fatal(err)
		}
		if n := running.Load(); n != 0 {
			r.Errorf("%d handlers run in a pause", n)
		}
		runs := r.ledger.runs()
		r.watch(20*time.Millisecond, "nothing is handled in a pause", func() bool { return r.ledger.runs() == runs })
		if err := b.Resume(r.queue); err != nil {
			r.Fatal(err)
		}
	}
	r.settled()
	r.empty(b, 0)
	if n := r.ledger.runs(); n != rounds*each || most.Load() > 4 {
		r.Errorf("%d runs of %d messages, %d at a time", n, rounds*each, most.Load())
	}
}

// shutdownUnderLoad ends one program after the other while messages come in
// bursts: what one had in hand the next one does, and nothing is done twice.
func shutdownUnderLoad(r *run) {
	const programs, each = 5, 80
	publisher := r.open()
	for i := range programs {
		b := r.open()
		r.handle(b, func(ctx context.Context, d *queue.Delivery) error { return nap(ctx, time.Millisecond) },
			queue.HandleOptions{Concurrency: 6, Prefetch: 20})
		r.publish(publisher, numbered(fmt.Sprint("p", i), each)...)
		r.until("some are done", func() bool { return r.ledger.runs() > i*each })
		if err := b.Shutdown(r.Context()); err != nil {
			r.Fatal(err)
		}
		runs := r.ledger.runs()
		r.watch(20*time.Millisecond, "nothing is handled after it", func() bool { return r.ledger.runs() == runs })
	}
	r.handle(publisher, done, queue.HandleOptions{Concurrency: 6})
	r.settled()
	r.empty(publisher, 0)
	if n := r.ledger.runs(); n != programs*each {
		r.Errorf("%d runs of %d messages", n, programs*each)
	}
}

// nap is a handler's work.
func nap(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
