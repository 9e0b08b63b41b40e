package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/queue"
)

// faulty is a driver in memory that can be made to fail. Nil functions do not.
type faulty struct {
	*queue.Memory

	publish func(e *queue.Envelope, send func() queue.Receipt) queue.Receipt
	ack     func(c queue.Claim) error
	retry   func(c queue.Claim, e *queue.Envelope) error
	bury    func(c queue.Claim, d *queue.Dead) error
	report  func(queue.Status)

	mu       sync.Mutex
	receiver queue.Receiver
}

func (f *faulty) Publish(ctx context.Context, e *queue.Envelope) queue.Receipt {
	send := func() queue.Receipt { return f.Memory.Publish(ctx, e) }
	if f.publish == nil {
		return send()
	}
	return f.publish(e, send)
}

func (f *faulty) Consume(ctx context.Context, q string, o queue.ConsumeOptions, r queue.Receiver) (queue.Subscription, error) {
	f.mu.Lock()
	f.receiver = r
	f.mu.Unlock()
	return f.Memory.Consume(ctx, q, o, faultyReceiver{r, f})
}

func (f *faulty) Report(report func(queue.Status)) { f.report = report }

type faultyReceiver struct {
	queue.Receiver
	f *faulty
}

func (r faultyReceiver) Receive(in queue.Incoming) {
	in.Claim = &faultyClaim{in.Claim, r.f}
	r.Receiver.Receive(in)
}

type faultyClaim struct {
	queue.Claim
	f *faulty
}

func (c *faultyClaim) Ack(ctx context.Context) error {
	if c.f.ack == nil {
		return c.Claim.Ack(ctx)
	}
	return c.f.ack(c.Claim)
}

func (c *faultyClaim) Retry(ctx context.Context, e *queue.Envelope) error {
	if c.f.retry == nil {
		return c.Claim.Retry(ctx, e)
	}
	return c.f.retry(c.Claim, e)
}

func (c *faultyClaim) Bury(ctx context.Context, d *queue.Dead) error {
	if c.f.bury == nil {
		return c.Claim.Bury(ctx, d)
	}
	return c.f.bury(c.Claim, d)
}

func (c *faultyClaim) Held() bool { return c.Claim.(queue.Holder).Held() }

// receipt is one that is decided.
type receipt struct{ err error }

func (r receipt) Wait(context.Context) error { return r.err }

// never is a receipt that waits for its context.
type never struct{}

func (never) Wait(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// bench is one broker in a bubble, and what happened to it.
type bench struct {
	*testing.T
	*queue.Broker
	d *faulty

	mu  sync.Mutex
	log []string
}

// inBubble runs a test whose time is virtual.
func inBubble(t *testing.T, o queue.Options, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, d: &faulty{Memory: queue.NewMemory(queue.MemoryOptions{})}}
		o.Hooks = append(o.Hooks, queue.Hooks{
			Retried:   func(d *queue.Delivery, _ time.Time, _ error) { b.note("retried %d", d.Attempt) },
			Buried:    func(d *queue.Dead) { b.note("buried %s", d.Reason) },
			Duplicate: func(*queue.Delivery) { b.note("duplicate") },
			Stale:     func(*queue.Delivery) { b.note("stale") },
		})
		var err error
		if b.Broker, err = queue.New(b.d, o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		f(b)
	})
}

func (b *bench) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, fmt.Sprintf(format, args...))
}

// happened compares all that was noted.
func (b *bench) happened(want string) {
	b.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := strings.Join(b.log, ", "); got != want {
		b.Errorf("it happened: %s; want %s", got, want)
	}
}

// handle handles queue q; fail says whether an attempt fails.
func (b *bench) handle(o queue.HandleOptions, h func(d *queue.Delivery) error) {
	b.Helper()
	err := b.Handle("q", func(_ context.Context, d *queue.Delivery) error {
		b.note("attempt %d", d.Attempt)
		return h(d)
	}, o)
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) send(id string) {
	b.Helper()
	if err := b.Publish(b.Context(), queue.Message{Queue: "q", ID: id}); err != nil {
		b.Fatal(err)
	}
}

// loseAck lets the first acknowledgement get lost.
func (b *bench) loseAck() {
	lost := false
	b.d.ack = func(c queue.Claim) error {
		if !lost {
			lost = true
			return nil
		}
		return c.Ack(b.Context())
	}
}

// empty checks that the queue holds nothing but dead letters.
func (b *bench) empty(dead int64) {
	b.Helper()
	synctest.Wait()
	if d, err := b.Inspect(b.Context(), "q"); err != nil || d != (queue.Depth{Dead: dead}) {
		b.Errorf("%+v, %v", d, err)
	}
	if n := b.Stats().Queues["q"].InHand; n != 0 {
		b.Errorf("%d in hand", n)
	}
}

// quick are options with waits of 10 ms.
func quick() queue.HandleOptions {
	return queue.HandleOptions{Backoff: queue.Backoff{Min: 10 * time.Millisecond, Factor: 1, Jitter: -1}}
}

func firstFails(d *queue.Delivery) error {
	if d.Attempt == 1 {
		return errors.New("once")
	}
	return nil
}

// pass lets time go by in a bubble.
func pass(d time.Duration) {
	time.Sleep(d) // virtual
}

func ok(*queue.Delivery) error { return nil }

// The retry of a message may come before its sender knows that the broker has it.
func TestRetryThatOvertakesItsConfirmation(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		b.d.retry = func(c queue.Claim, e *queue.Envelope) error {
			err := c.Retry(b.Context(), e)
			pass(time.Second)
			return err
		}
		o := quick()
		o.Concurrency = 3
		b.handle(o, firstFails)
		b.send("a")
		pass(time.Minute)
		b.happened("attempt 1, retried 1, attempt 2")
		b.empty(0)
	})
}

func TestReplayThatOvertakesTheBurial(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		b.d.bury = func(c queue.Claim, d *queue.Dead) error {
			err := c.Bury(b.Context(), d)
			if n, err := b.Dead("q").Replay(b.Context(), queue.DeadFilter{}, queue.ReplayOptions{}); n != 1 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			pass(time.Second)
			return err
		}
		runs := 0
		b.handle(queue.HandleOptions{Concurrency: 3}, func(*queue.Delivery) error {
			if runs++; runs == 1 {
				return queue.Discard(nil)
			}
			return nil
		})
		b.send("a")
		pass(time.Minute)
		b.happened("attempt 1, buried discarded, attempt 1")
		b.empty(0)
	})
}

// A lost acknowledgement makes the message come again; its id tells.
func TestLostAck(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		b.loseAck()
		b.handle(queue.HandleOptions{}, ok)
		b.send("a")
		pass(time.Minute)
		b.happened("attempt 1, duplicate")
		b.empty(0)
	})
}

func TestWithoutDedup(t *testing.T) {
	inBubble(t, queue.Options{Dedup: -1}, func(b *bench) {
		b.loseAck()
		b.handle(queue.HandleOptions{}, ok)
		b.send("a")
		pass(time.Minute)
		b.happened("attempt 1, attempt 1")
		b.empty(0)
	})
}

// Ids are forgotten after their time: a later message may have the same one.
func TestDedupEnds(t *testing.T) {
	inBubble(t, queue.Options{Dedup: time.Minute}, func(b *bench) {
		b.handle(queue.HandleOptions{}, ok)
		for range 4 {
			b.d.Memory = queue.NewMemory(queue.MemoryOptions{Dedup: -1})
			if err := errors.Join(b.Pause(b.Context(), "q"), b.Resume("q")); err != nil {
				t.Fatal(err)
			}
			b.send("a")
			pass(40 * time.Second)
		}
		b.happened("attempt 1, duplicate, attempt 1, duplicate")
	})
}

// What the broker cannot take is answered again and again.
func TestAnswersThatTheBrokerCannotTake(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(f *faulty, fail func() error)
		h    func(d *queue.Delivery) error
		want string
		dead int64
	}{
		"ack": {func(f *faulty, fail func() error) {
			f.ack = func(c queue.Claim) error { return cmpErr(fail, func() error { return c.Ack(context.Background()) }) }
		}, ok, "attempt 1", 0},
		"retry": {func(f *faulty, fail func() error) {
			f.retry = func(c queue.Claim, e *queue.Envelope) error {
				return cmpErr(fail, func() error { return c.Retry(context.Background(), e) })
			}
		}, firstFails, "attempt 1, retried 1, attempt 2", 0},
		"bury": {func(f *faulty, fail func() error) {
			f.bury = func(c queue.Claim, d *queue.Dead) error {
				return cmpErr(fail, func() error { return c.Bury(context.Background(), d) })
			}
		}, func(*queue.Delivery) error { return queue.Discard(nil) }, "attempt 1, buried discarded", 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, queue.Options{}, func(b *bench) {
				left := 5
				c.set(b.d, func() error {
					if left--; left >= 0 {
						return fmt.Errorf("disk full: %w", queue.ErrRefused)
					}
					return nil
				})
				b.handle(quick(), c.h)
				b.send("a")
				pass(time.Hour)
				b.happened(c.want)
				b.empty(c.dead)
				if n := b.Stats().Queues["q"].Unsettled; n < 4 || n > 5 {
					t.Errorf("%d answers were not taken", n)
				}
			})
		})
	}
}

// cmpErr is the first thing that fails.
func cmpErr(first, second func() error) error {
	if err := first(); err != nil {
		return err
	}
	return second()
}

// A broker that never takes an answer does not keep a shutdown from ending.
func TestShutdownWithAnAnswerInHand(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		b.d.retry = func(queue.Claim, *queue.Envelope) error { return queue.ErrUnavailable }
		b.handle(quick(), firstFails)
		b.send("a")
		pass(time.Minute)
		ctx, cancel := context.WithTimeout(b.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if err := b.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 4*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		other, err := b.d.Connect().Inspect(b.Context(), "q")
		if err != nil || other.Waiting != 1 {
			t.Errorf("%+v, %v", other, err)
		}
	})
}

func TestStaleAnswers(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		o := quick()
		o.Concurrency = 2
		runs := 0
		b.handle(o, func(*queue.Delivery) error {
			if runs++; runs == 1 {
				b.d.Cut()
				pass(time.Second)
				return errors.New("too late: it is in hand once more")
			}
			return nil
		})
		b.send("a")
		pass(time.Minute)
		b.happened("attempt 1, stale, attempt 1")
		b.empty(0)
	})
	inBubble(t, queue.Options{}, func(b *bench) {
		b.handle(quick(), func(*queue.Delivery) error {
			b.d.Cut()
			pass(time.Second)
			return nil // done is done
		})
		b.send("a")
		pass(time.Minute)
		b.happened("attempt 1, stale, duplicate")
		b.empty(0)
	})
}

// What was lost before its handler ran is not run.
func TestLostBeforeItRan(t *testing.T) {
	inBubble(t, queue.Options{Dedup: -1}, func(b *bench) {
		b.handle(queue.HandleOptions{Prefetch: 5}, func(d *queue.Delivery) error {
			if d.ID == "first" {
				pass(time.Second)
				b.d.Cut()
			}
			return nil
		})
		b.send("first")
		b.send("second")
		pass(1500 * time.Millisecond)
		b.happened("attempt 1, stale, stale, attempt 1")
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestMessageThatKillsPrograms(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		b.handle(queue.HandleOptions{MaxLost: 3, Concurrency: 9}, func(*queue.Delivery) error {
			b.d.Cut()
			return errors.New("dead")
		})
		b.send("a")
		pass(time.Minute)
		b.happened("attempt 1, stale, attempt 1, stale, attempt 1, stale, attempt 1, stale, buried lost")
		d, err := b.Dead("q").Read(b.Context(), "a")
		if err != nil || d.Attempts != 0 || !strings.Contains(d.LastError, "4 programs") {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

// Attempts are counted by the message, options by the program.
func TestMaxAttemptsLowered(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		first, err := queue.New(b.d.Connect(), queue.Options{})
		if err != nil {
			t.Fatal(err)
		}
		o := quick()
		if err := first.Handle("q", func(context.Context, *queue.Delivery) error { return errors.New("no") }, o); err != nil {
			t.Fatal(err)
		}
		b.send("a")
		pass(25 * time.Millisecond)
		if err := first.Shutdown(b.Context()); err != nil {
			t.Fatal(err)
		}
		o.MaxAttempts = 2
		b.handle(o, ok)
		pass(time.Minute)
		b.happened("buried attempts")
		b.empty(1)
	})
}
