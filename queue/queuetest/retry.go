package queuetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/polywire/polywire/queue"
)

// slack is what clocks of two sides may differ by.
const slack = 20 * time.Millisecond

func retrySchedule(r *run) {
	b := r.open()
	o := queue.HandleOptions{
		Concurrency: 20, MaxAttempts: 5,
		Backoff: queue.Backoff{Min: 200 * time.Millisecond, Max: time.Second, Factor: 3, Jitter: 0.5},
	}
	r.publish(b, numbered("m", 20)...)
	r.handle(b, func(_ context.Context, d *queue.Delivery) error {
		if d.Last {
			return nil
		}
		return fmt.Errorf("failure %d", d.Attempt)
	}, o)
	r.settled()
	r.empty(b, 0)
	var shortestLast, longestLast time.Duration
	for i := range 20 {
		all := r.ledger.of(fmt.Sprintf("m-%05d", i))
		if len(all) != o.MaxAttempts {
			r.Fatalf("%d attempts", len(all))
		}
		last := all[o.MaxAttempts-1].start.Sub(all[o.MaxAttempts-2].end)
		if i == 0 {
			shortestLast = last
		}
		shortestLast, longestLast = min(shortestLast, last), max(longestLast, last)
		for n := 1; n < len(all); n++ {
			shortest, longest := o.Backoff.Bounds(n)
			wait := all[n].start.Sub(all[n-1].end)
			if wait < shortest-slack || r.late(all[n].start, all[n-1].end.Add(longest)) {
				r.Errorf("attempt %d came %v after the failure, not %v to %v", n+1, wait, shortest, longest)
			}
			if d := all[n].d; d.Attempt != n+1 || d.Attempts != n || d.LastError != fmt.Sprint("failure ", n) || d.Last != (n+1 == o.MaxAttempts) {
				r.Errorf("attempt %d says %d after %d, error %q, last %v", n+1, d.Attempt, d.Attempts, d.LastError, d.Last)
			}
		}
	}
	// A driver may round its waits to few different ones, so their number says
	// nothing; 20 that are drawn from a second do not lie within a fifth of it.
	if longestLast-shortestLast < 200*time.Millisecond {
		r.Errorf("the last waits are %v to %v: no jitter", shortestLast, longestLast)
	}
}

func retryAfter(r *run) {
	b := r.open()
	r.publish(b, queue.Message{ID: "m"})
	r.handle(b, func(_ context.Context, d *queue.Delivery) error {
		switch d.Attempt {
		case 1:
			return fmt.Errorf("wrapped: %w", queue.RetryAfter(errors.New("busy"), 1500*time.Millisecond))
		case 2:
			return queue.RetryAfter(nil, 0)
		}
		return nil
	}, queue.HandleOptions{Backoff: queue.Backoff{Min: time.Hour}})
	r.settled()
	all := r.ledger.of("m")
	for n, want := range []time.Duration{1500 * time.Millisecond, queue.MinRetry} {
		if wait := all[n+1].start.Sub(all[n].end); wait < want-slack || r.late(all[n+1].start, all[n].end.Add(want)) {
			r.Errorf("attempt %d came after %v, not %v", n+2, wait, want)
		}
	}
	if s := all[1].d.LastError; s != "wrapped: busy" {
		r.Errorf("the error was %q", s)
	}
}

func attemptsSurvive(r *run) {
	first := r.open()
	r.publish(first, queue.Message{ID: "m"})
	r.handle(first, func(context.Context, *queue.Delivery) error { return errors.New("elsewhere") },
		queue.HandleOptions{Backoff: queue.Backoff{Min: time.Second, Jitter: -1}})
	r.until("it has failed", func() bool { return first.Stats().Queues[r.queue].Retried == 1 })
	if err := first.Shutdown(r.Context()); err != nil {
		r.Fatal(err)
	}
	r.handle(r.open(), done, queue.HandleOptions{})
	r.settled()
	// The first may have had the time for more than one attempt.
	all := r.ledger.of("m")
	if last := all[len(all)-1]; len(all) < 2 || last.d.Attempt != len(all) || last.d.LastError != "elsewhere" {
		r.Errorf("%+v", all)
	}
}

func discard(r *run) {
	b := r.open()
	sent := queue.Message{
		Queue: r.queue, ID: "m", Key: "k", Kind: "order", Header: map[string]string{"traceparent": "00-1-2-01", "X": "\u2713\n"},
	}
	sent.Payload.Type, sent.Payload.Data = "text/plain", []byte("keep this")
	r.publish(b, sent)
	r.handle(b, func(context.Context, *queue.Delivery) error {
		return fmt.Errorf("order: %w", queue.Discard(errors.New("no such customer \u2713\n2")))
	}, queue.HandleOptions{})
	r.settled()
	r.empty(b, 1)
	d, err := b.Dead(r.queue).Read(r.Context(), "m")
	if err != nil {
		r.Fatal(err)
	}
	compare(r, &d.Message, &sent)
	if d.Reason != queue.ReasonDiscarded || d.Attempts != 1 || d.LastError != "order: no such customer \u2713\n2" {
		r.Errorf("reason %q after %d, %q", d.Reason, d.Attempts, d.LastError)
	}
	if !strings.Contains(d.Stack, "queuetest.discard") {
		r.Errorf("the stack does not show who discarded it:\n%s", d.Stack)
	}
	if age := time.Since(d.Died); age < -slack || age > r.h.Patience || d.Published.IsZero() {
		r.Errorf("died %v ago, published %v", age, d.Published)
	}
}

func lastAttempt(r *run) {
	b := r.open()
	r.publish(b, queue.Message{ID: "error"}, queue.Message{ID: "panic"})
	r.handle(b, func(_ context.Context, d *queue.Delivery) error {
		if d.ID == "panic" {
			panic("boom") //nolint:forbidigo // it is what is tested
		}
		return fmt.Errorf("number %d", d.Attempt)
	}, queue.HandleOptions{MaxAttempts: 3, Backoff: queue.Backoff{Min: 50 * time.Millisecond}})
	r.settled()
	r.empty(b, 2)
	for _, id := range []string{"error", "panic"} {
		d, err := b.Dead(r.queue).Read(r.Context(), id)
		if err != nil {
			r.Fatal(err)
		}
		text, stack := "number 3", ""
		if id == "panic" {
			text, stack = "panic: boom", "queuetest.lastAttempt"
		}
		if d.Reason != queue.ReasonAttempts || d.Attempts != 3 || d.LastError != text || !strings.Contains(d.Stack, stack) || (stack == "") != (d.Stack == "") {
			r.Errorf("%s: reason %q after %d, %q, stack:\n%s", id, d.Reason, d.Attempts, d.LastError, d.Stack)
		}
		if n := len(r.ledger.of(id)); n != 3 {
			r.Errorf("%s: %d attempts", id, n)
		}
	}
	if n := b.Stats().Queues[r.queue].Panics; n != 3 {
		r.Errorf("%d panics counted", n)
	}
}

// poison is a message that dies, and one that comes again in an hour: nobody
// waits for them.
func poison(r *run) {
	b := r.open()
	r.handle(b, func(_ context.Context, d *queue.Delivery) error {
		switch d.Kind {
		case "poison":
			return errors.New("never")
		case "parked":
			return queue.RetryAfter(nil, time.Hour)
		}
		return nil
	}, queue.HandleOptions{Concurrency: 4, MaxAttempts: 4, Backoff: queue.Backoff{Min: 300 * time.Millisecond}})
	good := numbered("good", 1000)
	r.publish(b, good[:500]...)
	r.publish(b, queue.Message{ID: "poison", Kind: "poison"})
	if err := b.Publish(r.Context(), queue.Message{Queue: r.queue, ID: "parked", Kind: "parked"}); err != nil {
		r.Fatal(err)
	}
	r.publish(b, good[500:]...)
	r.settled()
	r.until("the queue is empty, but for what is parked and what is dead", func() bool {
		d, err := b.Inspect(r.Context(), r.queue)
		return err == nil && d.Waiting <= 0 && d.Unacked <= 0 && (d.Delayed == 1 || d.Delayed < 0) &&
			(d.Dead == 1 || d.Dead < 0) && len(r.ledger.of("parked")) > 0
	})
	if n := r.ledger.deadTimes("poison"); n != 1 || len(r.ledger.of("poison")) != 4 {
		r.Errorf("the poison died %d times after %d attempts", n, len(r.ledger.of("poison")))
	}
	for _, m := range append(good, queue.Message{ID: "parked"}) {
		if n := len(r.ledger.of(m.ID)); n != 1 {
			r.Errorf("%s: %d attempts", m.ID, n)
		}
	}
}

// storm is many that always fail: they may not come more often than they may.
func storm(r *run) {
	const n, wait, last = 200, 400 * time.Millisecond, 3 * time.Second
	b := r.open()
	r.publish(b, numbered("m", n)...)
	r.handle(b, func(context.Context, *queue.Delivery) error { return errors.New("no") },
		queue.HandleOptions{Concurrency: 10, MaxAttempts: -1, Backoff: queue.Backoff{Min: wait, Factor: 1, Jitter: -1}})
	r.until("all failed once", func() bool { return r.ledger.runs() >= n })
	start, before := time.Now(), r.ledger.runs()
	r.watch(last, "attempts are bounded", func() bool {
		return r.ledger.runs()-before <= n*(int(time.Since(start)/(wait-slack))+2)
	})
	r.until("all failed once more", func() bool { return r.ledger.runs()-before >= n })
	if received := b.Stats().Queues[r.queue].Received; received > int64(r.ledger.runs()+n) {
		r.Errorf("%d deliveries for %d attempts", received, r.ledger.runs())
	}
}
