package queue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"time"
)

// Backoff says how long a message waits before its next attempt: Min after the
// first failure, Factor times that after each further one, at most Max; then
// changed by Jitter. Its zero value is the default.
type Backoff struct {
	Min    time.Duration // zero: 1 s
	Max    time.Duration // zero: 10 min, or Min if that is longer
	Factor float64       // at least 1; zero: 2
	// Jitter is the share by which a wait is longer or shorter at random, from
	// 0 to 1: of 0.2 waits are 0.8 to 1.2 times what was computed. Zero: 0.2.
	// Negative: none.
	Jitter float64
}

// MinRetry is the shortest wait before an attempt that follows a failure,
// whoever asks for less: what fails must not become a hot loop.
const MinRetry = 10 * time.Millisecond

func (b Backoff) withDefaults() (Backoff, error) {
	if b.Min < 0 || b.Max < 0 || b.Min > MaxDelay || b.Max > MaxDelay ||
		b.Max != 0 && b.Max < b.Min || b.Factor != 0 && !(b.Factor >= 1) || !(b.Jitter <= 1) {
		return b, fmt.Errorf("%w: backoff %+v", ErrInvalid, b)
	}
	if b.Min == 0 {
		b.Min = time.Second
		if b.Max != 0 {
			b.Min = min(b.Min, b.Max)
		}
	}
	if b.Max == 0 {
		b.Max = max(10*time.Minute, b.Min)
	}
	if b.Factor == 0 {
		b.Factor = 2
	}
	switch {
	case b.Jitter == 0:
		b.Jitter = 0.2
	case b.Jitter < 0:
		b.Jitter = 0
	}
	return b, nil
}

// Bounds returns the shortest and the longest wait after so many failures, from 1.
func (b Backoff) Bounds(attempts int) (shortest, longest time.Duration) {
	b, err := b.withDefaults()
	if err != nil {
		return 0, 0
	}
	wait := b.wait(attempts)
	return max(MinRetry, time.Duration(wait*(1-b.Jitter))), max(MinRetry, time.Duration(wait*(1+b.Jitter)))
}

// wait returns the wait without jitter. b has its defaults.
func (b Backoff) wait(attempts int) float64 {
	wait := float64(b.Min)
	for i := 1; i < attempts && wait < float64(b.Max); i++ {
		wait *= b.Factor
		if b.Factor == 1 {
			break
		}
	}
	return min(wait, float64(b.Max))
}

// next returns a wait with jitter. b has its defaults.
func (b Backoff) next(attempts int) time.Duration {
	return max(MinRetry, time.Duration(b.wait(attempts)*(1+b.Jitter*(2*rand.Float64()-1)))) //nolint:gosec // spreads load, guards nothing
}

// Discard returns an error for a handler to return when no further attempt
// will help: the message becomes a dead letter at once, with the text of err
// and the stack of this call. A nil err is allowed.
func Discard(err error) error {
	if err == nil {
		err = errors.New("discarded")
	}
	return &discardError{err: err, stack: callers()}
}

type discardError struct {
	err   error
	stack string
}

func (e *discardError) Error() string { return e.err.Error() }
func (e *discardError) Unwrap() error { return e.err }

// callers returns the stack of whoever called Discard.
func callers() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var b strings.Builder
	for {
		f, more := frames.Next()
		if f.Function != "" {
			fmt.Fprintf(&b, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		}
		if !more {
			return b.String()
		}
	}
}

// RetryAfter returns an error for a handler to return when it knows how long
// to wait: that takes the place of the backoff for this failure, within
// [MinRetry] and [MaxDelay]. It counts as an attempt as any error does. A nil
// err is allowed.
func RetryAfter(err error, wait time.Duration) error {
	if err == nil {
		err = errors.New("to be tried again later")
	}
	return &retryError{err: err, wait: min(max(wait, MinRetry), MaxDelay)}
}

type retryError struct {
	err  error
	wait time.Duration
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// PanicError is what a handler's panic becomes.
type PanicError struct {
	Value any
	Stack string
}

// Error names the value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }
