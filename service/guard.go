package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/polywire/polywire"
)

// Breaker keeps calls away from an address that fails: after Failures among
// the last Of calls it is open, and nothing is sent there; after Delay it lets
// Trials calls through, which close it when they go well and open it again
// when not. Each address has a breaker of its own.
//
// A call has failed when there was no answer in time, when the connection was
// lost, and when the service answered unavailable, too_many_requests,
// deadline_exceeded or internal. Other errors are answers like any. A call
// that its caller canceled says nothing.
type Breaker struct {
	Failures int           // default 5
	Of       int           // at least Failures; default twice as many
	Delay    time.Duration // default 5 s
	Trials   int           // default 1
	// Changed is called when the breaker of an address has changed, if it is
	// not nil. It must not block.
	Changed func(url string, from, to BreakerState)
}

// BreakerState is what a breaker does.
type BreakerState int

// The states. The zero value stands for no breaker.
const (
	BreakerClosed   BreakerState = iota + 1 // calls pass
	BreakerOpen                             // calls are refused
	BreakerHalfOpen                         // some calls pass, to see
)

// String returns the state's name in lower case.
func (s BreakerState) String() string {
	switch s {
	case BreakerClosed:
		return "closed"
	case BreakerOpen:
		return "open"
	case BreakerHalfOpen:
		return "half-open"
	}
	return "none"
}

func breakerState(s circuitbreaker.State) BreakerState {
	switch s {
	case circuitbreaker.ClosedState:
		return BreakerClosed
	case circuitbreaker.OpenState:
		return BreakerOpen
	default:
		return BreakerHalfOpen
	}
}

// WithBreaker gives each address a circuit breaker. Default: none.
func WithBreaker(b Breaker) Option {
	return optionFunc(func(c *config) error {
		if b.Failures == 0 {
			b.Failures = 5
		}
		if b.Of == 0 {
			b.Of = 2 * b.Failures
		}
		if b.Delay == 0 {
			b.Delay = 5 * time.Second
		}
		if b.Trials == 0 {
			b.Trials = 1
		}
		if b.Failures < 0 || b.Of < b.Failures || b.Delay < 0 || b.Trials < 0 {
			return errors.New("the breaker needs 0 < Failures <= Of, Delay > 0 and Trials > 0")
		}
		c.breaker = &b
		return nil
	})
}

// breakerOf makes the breaker of one address.
func (b *Breaker) breakerOf(url string) circuitbreaker.CircuitBreaker[any] {
	builder := circuitbreaker.NewBuilder[any]().
		WithFailureThresholdRatio(uint(b.Failures), uint(b.Of)).
		WithSuccessThreshold(uint(b.Trials)).
		WithDelay(b.Delay)
	if b.Changed != nil {
		builder = builder.OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			b.Changed(url, breakerState(e.OldState), breakerState(e.NewState))
		})
	}
	return builder.Build()
}

// admits reports whether the breaker lets a message through. Who asks takes a
// permit, which record gives back.
func (e *endpoint) admits(asks bool) bool {
	switch {
	case e.breaker == nil:
		return true
	case asks:
		return e.breaker.TryAcquirePermit()
	}
	return !e.breaker.IsOpen() || e.breaker.RemainingDelay() == 0
}

// record tells the breaker how a call has ended.
func (e *endpoint) record(err error, bad bool) {
	switch {
	case bad:
		e.breaker.RecordFailure()
	case err == nil || remote(err):
		e.breaker.RecordSuccess()
	case e.breaker.IsHalfOpen():
		e.breaker.RecordFailure() // a trial that said nothing is to be made again, later
	}
}

// blames reports whether the service is to blame for an error.
func blames(err error) bool {
	var e *polywire.Error
	if !errors.As(err, &e) {
		return errors.Is(err, context.DeadlineExceeded)
	}
	switch e.Code {
	case polywire.CodeUnavailable, polywire.CodeTooManyRequests, polywire.CodeDeadlineExceeded:
		return true
	case polywire.CodeInternal:
		return e.Remote()
	}
	return false
}

// remote reports whether an error is the service's answer.
func remote(err error) bool {
	var e *polywire.Error
	return errors.As(err, &e) && e.Remote()
}

// Retry says how idempotent calls are tried again; see [Idempotent] and
// [WithIdempotent]. The timeout of the call bounds all tries together. Each
// try goes to the connection that is picked then.
type Retry struct {
	Tries   int           // in all, the first one too; default 3
	Wait    time.Duration // before the second try, doubled before each further one; default 50 ms
	MaxWait time.Duration // the longest wait, more than Wait; default 1 s, or ten times Wait if that is more
	// PerTry bounds each try, so that one connection that hangs leaves time for
	// others. Default 0: only the call's timeout does.
	PerTry time.Duration
	// If reports whether it is worth another try after an error. Default: where
	// a connection was lost or missing, no answer came in time, or the answer
	// was unavailable or too_many_requests.
	If func(err error) bool
}

// retrier is a Retry made ready.
type retrier struct {
	Retry
	executor failsafe.Executor[any]
}

// WithRetry tries calls again that are idempotent, and no others: after a
// connection was lost nobody knows whether a call was handled. Default: none.
func WithRetry(r Retry) Option {
	return optionFunc(func(c *config) error {
		if r.Tries == 0 {
			r.Tries = 3
		}
		if r.Wait == 0 {
			r.Wait = 50 * time.Millisecond
		}
		if r.MaxWait == 0 {
			r.MaxWait = max(time.Second, 10*r.Wait)
		}
		if r.If == nil {
			r.If = worthwhile
		}
		if r.Tries < 1 || r.Wait < 0 || r.MaxWait <= r.Wait || r.PerTry < 0 {
			return errors.New("retries need Tries > 0, 0 < Wait < MaxWait and PerTry >= 0")
		}
		policy := retrypolicy.NewBuilder[any]().
			HandleIf(func(_ any, err error) bool { return err != nil }).
			AbortIf(func(_ any, err error) bool { return !r.If(err) || errors.Is(err, errGivenUp) }).
			ReturnLastFailure().
			WithMaxAttempts(r.Tries).
			WithBackoff(r.Wait, r.MaxWait).
			WithJitterFactor(0.25).
			Build()
		c.retry = &retrier{r, failsafe.With[any](policy)}
		return nil
	})
}

// errGivenUp marks what no other try can help: the service was disconnected here.
var errGivenUp = errors.New("given up")

// worthwhile is the default of Retry.If. A breaker that is open now is still
// open after the wait.
func worthwhile(err error) bool {
	if errors.Is(err, ErrOpen) {
		return false
	}
	switch polywire.CodeOf(err) {
	case polywire.CodeUnavailable, polywire.CodeTooManyRequests:
		return true
	case polywire.CodeDeadlineExceeded:
		return !remote(err)
	}
	return false
}

// retried calls an idempotent kind.
func (s *Service) retried(ctx context.Context, kind string, v, out any, o callOptions) error {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	o.timeout = s.cfg.retry.PerTry
	o.send[0] = polywire.Timeout(o.timeout)
	var last error
	tries := 0
	err := s.cfg.retry.executor.WithContext(ctx).Run(func() error {
		if tries++; tries > 1 {
			s.retries.Add(1)
		}
		if last = s.try(ctx, kind, v, out, o); last == nil || !s.disconnected() {
			return last
		}
		return fmt.Errorf("%w: %w", errGivenUp, last)
	})
	switch {
	case tries == 0: // ctx had ended before
		return fmt.Errorf("service: %q of %q: %w", kind, s.name, err)
	case last == nil || ctx.Err() == nil || errors.Is(last, ctx.Err()):
		return last
	}
	return fmt.Errorf("service: %q of %q: %w after %d tries (%w)", kind, s.name, ctx.Err(), tries, last)
}

func (s *Service) disconnected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life == nil
}
