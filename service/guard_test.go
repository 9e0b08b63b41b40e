package service_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/service"
)

// changes notes what breakers do.
type changes struct {
	mu  sync.Mutex
	all []string
}

func (c *changes) add(url string, from, to service.BreakerState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, fmt.Sprint(url, " ", from, " ", to))
}

func (c *changes) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

// A service that hangs is left alone after some calls, tried after a while,
// and used again when it answers.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		a := n.serve("a:1")
		var seen changes
		s := n.connected([]string{"tcp://a:1"}, service.WithTimeout(time.Second),
			service.WithBreaker(service.Breaker{Failures: 3, Delay: 10 * time.Second, Changed: seen.add}))
		synctest.Wait()
		for range 3 {
			if err := s.Call(t.Context(), "never", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a call that hangs: %v", err)
			}
		}
		if got := seen.take(); !slices.Equal(got, []string{"tcp://a:1 closed open"}) {
			t.Errorf("the breaker did %q", got)
		}
		a.conns()
		start := time.Now()
		err := s.Call(t.Context(), "who", nil, nil)
		if !errors.Is(err, service.ErrOpen) || polywire.CodeOf(err) != polywire.CodeUnavailable || time.Since(start) != 0 || len(a.conns()) != 0 {
			t.Errorf("while it is open: %v after %v", err, time.Since(start))
		}
		if err := s.Send(t.Context(), "who", nil); !errors.Is(err, service.ErrOpen) {
			t.Errorf("a message while it is open: %v", err)
		}
		if stats := s.Stats(); stats.Health != service.HealthPartial || stats.Addresses[0].Breaker != service.BreakerOpen ||
			stats.Rejected != 2 || stats.Failed != 3 || stats.Addresses[0].Failed != 3 {
			t.Errorf("stats: %+v", stats)
		}

		<-time.After(10 * time.Second)
		if err := s.Send(t.Context(), "who", nil); err != nil {
			t.Errorf("a message after the delay: %v", err)
		}
		// One call tries, others are refused meanwhile.
		trial := s.Go(t.Context(), "never", nil, nil)
		synctest.Wait()
		if err := s.Call(t.Context(), "who", nil, nil); !errors.Is(err, service.ErrOpen) {
			t.Errorf("beside the trial: %v", err)
		}
		if err := trial.Wait(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the trial: %v", err)
		}
		<-time.After(10 * time.Second)
		// A trial that its caller cancels says nothing, so there is another one, later.
		ctx, cancel := context.WithCancel(t.Context())
		trial = s.Go(ctx, "never", nil, nil)
		synctest.Wait()
		cancel()
		if err := trial.Wait(t.Context()); !errors.Is(err, context.Canceled) {
			t.Errorf("the trial: %v", err)
		}
		if err := s.Call(t.Context(), "who", nil, nil); !errors.Is(err, service.ErrOpen) {
			t.Errorf("after the canceled trial: %v", err)
		}
		<-time.After(10 * time.Second)
		if got := who(t, s); got != "a:1" {
			t.Errorf("it is at %q", got)
		}
		want := []string{
			"tcp://a:1 open half-open", "tcp://a:1 half-open open", "tcp://a:1 open half-open", "tcp://a:1 half-open open",
			"tcp://a:1 open half-open", "tcp://a:1 half-open closed",
		}
		if got := seen.take(); !slices.Equal(got, want) {
			t.Errorf("the breaker did\n%q, want\n%q", got, want)
		}
		if s.Stats().Health != service.HealthUp {
			t.Errorf("stats: %+v", s.Stats())
		}
	})
}

// What counts as a failure.
func TestBreakerJudges(t *testing.T) {
	for code, opens := range map[polywire.Code]bool{
		polywire.CodeUnavailable: true, polywire.CodeInternal: true, polywire.CodeTooManyRequests: true, polywire.CodeDeadlineExceeded: true,
		polywire.CodeNotFound: false, polywire.CodeBadRequest: false, polywire.CodeForbidden: false, "sold_out": false,
	} {
		t.Run(string(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				n.serve("a:1")
				s := n.connected([]string{"tcp://a:1"}, service.WithBreaker(service.Breaker{Failures: 2, Of: 2}))
				for range 2 {
					if err := s.Call(t.Context(), "fail", code, nil); !errors.Is(err, &polywire.Error{Code: code}) {
						t.Errorf("it failed with %v", err)
					}
				}
				err := s.Call(t.Context(), "who", nil, nil)
				if errors.Is(err, service.ErrOpen) != opens || !opens && err != nil {
					t.Errorf("the next call: %v", err)
				}
				if failed := s.Stats().Failed; failed != map[bool]uint64{true: 2}[opens] {
					t.Errorf("%d failures", failed)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // what was never sent, and what was canceled
		n := newNetwork(t)
		n.serve("a:1")
		s := n.connected([]string{"tcp://a:1"}, service.WithBreaker(service.Breaker{Failures: 1}))
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		for range 3 {
			if err := s.Call(t.Context(), "who", make(chan int), nil); err == nil {
				t.Error("a channel was sent")
			}
			if err := s.Call(canceled, "who", nil, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("canceled before: %v", err)
			}
		}
		if got := who(t, s); got != "a:1" {
			t.Errorf("it is at %q", got)
		}
	})
}

// Each address has its own breaker: calls go to those that work, by turns and
// by pattern.
func TestBreakerOfEachAddress(t *testing.T) {
	for name, pattern := range map[string]polywire.Pattern{"in turn": nil, "by chance": polywire.Random(), "in order": polywire.Everyone()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				n.serve("a:1").Handle("work", func(context.Context, *polywire.Message) (any, error) { return nil, errors.New("broken") })
				n.serve("b:1").Handle("work", func(context.Context, *polywire.Message) (any, error) { return "b:1", nil })
				s := n.connected([]string{"tcp://a:1", "tcp://b:1"}, service.WithPattern(pattern),
					service.WithBreaker(service.Breaker{Failures: 1, Delay: time.Hour}))
				synctest.Wait()
				failed := 0
				for range 100 {
					var at string
					if err := s.Call(t.Context(), "work", nil, &at); err != nil {
						failed++
					} else if at != "b:1" {
						t.Errorf("an answer from %q", at)
					}
				}
				if failed != 1 {
					t.Errorf("%d calls failed, want one", failed)
				}
			})
		})
	}
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		a := n.serve("a:1")
		s := n.connected([]string{"tcp://a:1"}, service.WithIdempotent("fail", "other"),
			service.WithRetry(service.Retry{Tries: 3, Wait: 100 * time.Millisecond, PerTry: 500 * time.Millisecond}))
		synctest.Wait()
		handled := func() (n int) {
			for _, count := range a.conns() {
				n += count
			}
			return n
		}
		for _, tt := range []struct {
			name   string
			kind   string
			in     any
			opts   []polywire.SendOption
			tries  int
			atMost time.Duration
		}{
			{"not idempotent", "never", nil, nil, 1, 2 * time.Second},
			{"hangs", "never", nil, []polywire.SendOption{service.Idempotent()}, 3, 1900 * time.Millisecond},
			{"hangs longer than all", "never", nil, []polywire.SendOption{service.Idempotent(), polywire.Timeout(700 * time.Millisecond)}, 2, 700 * time.Millisecond},
			{"unavailable, by kind", "fail", polywire.CodeUnavailable, nil, 3, time.Second},
			{"too many requests", "fail", polywire.CodeTooManyRequests, nil, 3, time.Second},
			{"a fault", "fail", polywire.CodeInternal, nil, 1, 0},
			{"an answer", "fail", polywire.CodeNotFound, nil, 1, 0},
			{"all well", "who", nil, []polywire.SendOption{service.Idempotent()}, 1, 0},
		} {
			before := s.Stats().Retries
			start := time.Now()
			err := s.Call(t.Context(), tt.kind, tt.in, nil, tt.opts...)
			if took := time.Since(start); took > tt.atMost || (err == nil) != (tt.name == "all well") {
				t.Errorf("%s: %v after %v", tt.name, err, took)
			}
			if got := handled(); got != tt.tries {
				t.Errorf("%s: tried %d times, want %d", tt.name, got, tt.tries)
			}
			if got := s.Stats().Retries - before; got != uint64(tt.tries-1) {
				t.Errorf("%s: %d retries are counted", tt.name, got)
			}
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Call(canceled, "fail", polywire.CodeUnavailable, nil); !errors.Is(err, context.Canceled) || handled() != 0 {
			t.Errorf("canceled before: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := s.Call(ctx, "fail", polywire.CodeUnavailable, nil)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, &polywire.Error{Code: polywire.CodeUnavailable}) {
			t.Errorf("out of time between two tries: %v", err)
		}
	})
}

// A call that was lost with its connection is tried on another one, if it is
// idempotent; while there is none it waits for the service to come back.
func TestRetryAfterLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		a := n.serve("a:1")
		s := n.connected([]string{"tcp://a:1"}, service.WithRetry(service.Retry{Tries: 20}), service.WithBackoff(10*time.Millisecond, 50*time.Millisecond))
		synctest.Wait()
		lost := s.Go(t.Context(), "never", nil, nil)
		again := s.Go(t.Context(), "never", nil, nil, service.Idempotent())
		synctest.Wait()
		a.Close()
		synctest.Wait()
		var at string
		waits := s.Go(t.Context(), "who", nil, &at, service.Idempotent())
		<-time.After(200 * time.Millisecond)
		n.serve("a:1")
		if err := lost.Wait(t.Context()); !errors.Is(err, polywire.ErrConnClosed) {
			t.Errorf("what is not idempotent: %v", err)
		}
		if err := waits.Wait(t.Context()); err != nil || at != "a:1" {
			t.Errorf("a call that waits: %q, %v", at, err)
		}
		if err := again.Wait(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("what is idempotent hangs there again: %v", err)
		}
		// Nobody tries on behalf of a service that was disconnected here.
		more := s.Go(t.Context(), "never", nil, nil, service.Idempotent())
		synctest.Wait()
		start := time.Now()
		s.Disconnect()
		if err := more.Wait(t.Context()); err == nil || time.Since(start) > 100*time.Millisecond {
			t.Errorf("after the disconnection: %v after %v", err, time.Since(start))
		}
	})
}

// Retries and breakers work together: what is refused at once is not tried again.
func TestRetryBehindBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		a := n.serve("a:1")
		s := n.connected([]string{"tcp://a:1"}, service.WithIdempotent("fail"),
			service.WithRetry(service.Retry{Tries: 10}), service.WithBreaker(service.Breaker{Failures: 3}))
		synctest.Wait()
		err := s.Call(t.Context(), "fail", polywire.CodeUnavailable, nil)
		if !errors.Is(err, service.ErrOpen) || len(a.handled) != 3 {
			t.Errorf("%v after %d tries", err, len(a.handled))
		}
	})
}
