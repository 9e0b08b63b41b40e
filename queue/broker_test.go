package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/queue"
)

func TestBackoffBounds(t *testing.T) {
	for _, c := range []struct {
		b        queue.Backoff
		attempts int
		from, to time.Duration
	}{
		{queue.Backoff{}, 1, 800 * time.Millisecond, 1200 * time.Millisecond},
		{queue.Backoff{}, 3, 3200 * time.Millisecond, 4800 * time.Millisecond},
		{queue.Backoff{}, 1000, 8 * time.Minute, 12 * time.Minute},
		{queue.Backoff{Jitter: -1}, 2, 2 * time.Second, 2 * time.Second},
		{queue.Backoff{Min: time.Hour}, 5, 48 * time.Minute, 72 * time.Minute},
		{queue.Backoff{Max: 100 * time.Millisecond, Jitter: -1}, 1, 100 * time.Millisecond, 100 * time.Millisecond},
		{queue.Backoff{Min: 1, Jitter: 1}, 1, queue.MinRetry, queue.MinRetry},
		{queue.Backoff{Min: time.Second, Factor: 1, Jitter: -1}, math.MaxInt, time.Second, time.Second},
	} {
		if from, to := c.b.Bounds(c.attempts); from != c.from || to != c.to {
			t.Errorf("%+v after %d: %v to %v, want %v to %v", c.b, c.attempts, from, to, c.from, c.to)
		}
	}
}

func TestHandleRefuses(t *testing.T) {
	h := func(context.Context, *queue.Delivery) error { return nil }
	inBubble(t, queue.Options{}, func(b *bench) {
		for _, o := range []queue.HandleOptions{
			{Concurrency: -1}, {Lease: -1}, {Concurrency: queue.MaxCredit + 1}, {Prefetch: math.MaxInt}, {Backoff: queue.Backoff{Min: -1}},
			{Backoff: queue.Backoff{Min: 2, Max: 1}}, {Backoff: queue.Backoff{Factor: 0.5}}, {Backoff: queue.Backoff{Factor: math.NaN()}},
			{Backoff: queue.Backoff{Jitter: 1.5}}, {Backoff: queue.Backoff{Jitter: math.NaN()}}, {Backoff: queue.Backoff{Max: 2 * queue.MaxDelay}},
		} {
			if err := b.Handle("q", h, o); !errors.Is(err, queue.ErrInvalid) {
				t.Errorf("%+v: %v", o, err)
			}
		}
		if err := b.Handle("", h, queue.HandleOptions{}); !errors.Is(err, queue.ErrInvalid) {
			t.Error(err)
		}
		if err := b.Handle("q", nil, queue.HandleOptions{}); !errors.Is(err, queue.ErrInvalid) {
			t.Error(err)
		}
		if err := b.Handle("q", h, queue.HandleOptions{}); err != nil {
			t.Error(err)
		}
		if err := b.Handle("q", h, queue.HandleOptions{}); !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("two handlers: %v", err)
		}
	})
	if _, err := queue.New(nil, queue.Options{}); !errors.Is(err, queue.ErrInvalid) {
		t.Error(err)
	}
}

func TestHealth(t *testing.T) {
	var heard []string
	o := queue.Options{Hooks: []queue.Hooks{{
		Status:  func(s queue.Status) { heard = append(heard, s.Connection.String()) },
		Trouble: func(q string, err error) { heard = append(heard, fmt.Sprint(q, " ", err)) },
	}}}
	inBubble(t, o, func(b *bench) {
		check := func(live, ready, degraded bool, problem string) {
			t.Helper()
			h := b.Health()
			if got := strings.Join(h.Problems, "; "); h.Live != live || h.Ready != ready || h.Degraded != degraded || got != problem {
				t.Errorf("%+v", h)
			}
		}
		check(true, true, false, "")
		b.d.report(queue.Status{Connection: queue.Connecting, Reason: "no route"})
		check(true, false, true, "not connected: no route")
		b.d.report(queue.Status{Connection: queue.Blocked, Reason: "low on memory", Reconnects: 3})
		check(true, true, true, "blocked: low on memory")
		b.d.report(queue.Status{Connection: queue.Connected, Reconnects: 4})
		b.handle(queue.HandleOptions{}, ok)
		check(true, true, false, "")
		b.d.receiver.Trouble(errors.New("declared otherwise"))
		check(true, false, true, "queue q: declared otherwise")
		if s := b.Stats(); s.Queues["q"].Trouble != "declared otherwise" || s.Connection.Reconnects != 4 {
			t.Errorf("%+v", s)
		}
		b.d.receiver.Trouble(nil)
		check(true, true, false, "")
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		check(false, false, true, "closed; shutting down")
		want := "connecting, blocked, connected, q declared otherwise, q <nil>, disconnected"
		if got := strings.Join(heard, ", "); got != want {
			t.Errorf("heard %s", got)
		}
	})
}

func TestHooksAndErrors(t *testing.T) {
	var heard []string
	note := func(format string, args ...any) { heard = append(heard, fmt.Sprintf(format, args...)) }
	published := ""
	hooks := queue.Hooks{
		Published: func(m *queue.Message, _ time.Duration, err error) { published += fmt.Sprint(m.ID, " ", err) },
		Started:   func(d *queue.Delivery) { note("started %d", d.Attempt) },
		Ended:     func(d *queue.Delivery, took time.Duration, err error) { note("ended %d %v %v", d.Attempt, took, err) },
	}
	inBubble(t, queue.Options{Hooks: []queue.Hooks{{}, hooks}}, func(b *bench) {
		cause := errors.New("cause")
		b.handle(quick(), func(d *queue.Delivery) error {
			pass(time.Second)
			if d.Attempt == 1 {
				return queue.RetryAfter(cause, time.Minute)
			}
			return queue.Discard(cause)
		})
		b.send("a")
		pass(time.Hour)
		b.happened("attempt 1, retried 1, attempt 2, buried discarded")
		want := "started 1, ended 1 1s cause, started 2, ended 2 1s cause"
		if got := strings.Join(heard, ", "); got != want || published != "a <nil>" {
			t.Errorf("heard %s, published %s", got, published)
		}
		for _, err := range []error{queue.RetryAfter(cause, 0), queue.Discard(cause)} {
			if !errors.Is(err, cause) || err.Error() != "cause" {
				t.Error(err)
			}
		}
		if queue.RetryAfter(nil, 0).Error() == "" || queue.Discard(nil).Error() == "" {
			t.Error("an error without words")
		}
	})
}

// An ordered message that waits for its next attempt goes back when the queue
// is paused, and those behind it stay behind it.
func TestPauseWhileAnAttemptIsAwaited(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		o := queue.HandleOptions{Ordered: true, Concurrency: 3, Backoff: queue.Backoff{Min: time.Minute, Jitter: -1}}
		var order []string
		fail := true
		b.handle(o, func(d *queue.Delivery) error {
			if fail {
				return errors.New("not now")
			}
			order = append(order, d.ID)
			return nil
		})
		for _, id := range []string{"a", "b", "c"} {
			if err := b.Publish(b.Context(), queue.Message{Queue: "q", ID: id, Key: "k"}); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Second)
		b.happened("attempt 1, retried 1")
		if err := b.Pause(b.Context(), "q"); err != nil {
			t.Fatal(err)
		}
		if d, err := b.Inspect(b.Context(), "q"); err != nil || d.Waiting != 3 || d.Unacked != 0 {
			t.Errorf("%+v, %v", d, err)
		}
		pass(time.Hour)
		fail = false
		if err := b.Resume("q"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := strings.Join(order, ""); got != "abc" {
			t.Error(got)
		}
		b.empty(0)
	})
}

// A queue that was paused while a handler ran has no trouble going on, when
// only one consumer may have it, neither.
func TestResumeWhileAHandlerRuns(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		b.handle(queue.HandleOptions{Ordered: true, Concurrency: 2}, func(d *queue.Delivery) error {
			if d.ID == "a" {
				pass(time.Minute)
			}
			return nil
		})
		b.send("a")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(b.Context(), time.Second)
		defer cancel()
		b.d.receiver.Trouble(errors.New("of before"))
		old := b.d.receiver
		if err := b.Pause(ctx, "q"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := b.Resume("q"); err != nil {
			t.Error(err)
		}
		old.Trouble(errors.New("of the old one"))
		if h := b.Health(); !h.Ready || h.Degraded {
			t.Errorf("%+v", h)
		}
		b.send("b")
		b.happened("attempt 1")
		pass(59 * time.Second)
		b.happened("attempt 1, attempt 1")
		b.empty(0)
	})
}

// A pause that waits for ever does not keep a shutdown from ending.
func TestShutdownWhilePausing(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		err := b.Handle("q", func(ctx context.Context, _ *queue.Delivery) error {
			<-ctx.Done()
			return ctx.Err()
		}, queue.HandleOptions{Timeout: -1})
		if err != nil {
			t.Fatal(err)
		}
		b.send("a")
		synctest.Wait()
		paused := make(chan error, 1)
		go func() { paused <- b.Pause(b.Context(), "q") }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(b.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := b.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		synctest.Wait()
		select {
		case err := <-paused:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("it still waits")
		}
		if err := b.Resume("q"); !errors.Is(err, queue.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := queue.New(queue.NewMemory(queue.MemoryOptions{MaxBytes: 1000}), queue.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		m := queue.Message{Queue: "q"}
		m.Payload.Data = make([]byte, 400)
		for range 2 {
			if err := b.Publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Publish(t.Context(), m); !errors.Is(err, queue.ErrRefused) {
			t.Error(err)
		}
		var seen []string
		err = b.Browse(t.Context(), "q", 1, func(e *queue.Envelope) bool { seen = append(seen, e.ID); return true })
		if err != nil || len(seen) != 1 {
			t.Errorf("%q, %v", seen, err)
		}
		if n, err := b.Purge(t.Context(), "q"); n != 2 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if err := b.Publish(t.Context(), m); err != nil {
			t.Error(err)
		}
	})
}
