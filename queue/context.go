package queue

import (
	"context"
	"sync/atomic"
	"time"
)

// lazyContext has a deadline, and a timer only when somebody asks for Done:
// most handlers end long before theirs and never look at it.
type lazyContext struct {
	parent   context.Context //nolint:containedctx // it is a context itself
	deadline time.Time

	inner atomic.Pointer[innerContext] // nil until somebody waits
	over  atomic.Bool
}

// innerContext does what a lazyContext would rather not.
type innerContext struct {
	context.Context //nolint:containedctx // it is a context itself

	cancel context.CancelFunc
}

// withLazyTimeout is context.WithTimeout with a lazyContext. stop must be called.
func withLazyTimeout(parent context.Context, d time.Duration) *lazyContext {
	c := new(lazyContext)
	c.begin(parent, time.Now().Add(d))
	return c
}

// begin makes a context of c, which was none before.
func (c *lazyContext) begin(parent context.Context, deadline time.Time) {
	if own, has := parent.Deadline(); has && own.Before(deadline) {
		deadline = own
	}
	c.parent, c.deadline = parent, deadline
}

// stop ends the context.
func (c *lazyContext) stop() {
	c.over.Store(true)
	if inner := c.inner.Load(); inner != nil {
		inner.cancel()
	}
}

func (c *lazyContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *lazyContext) Done() <-chan struct{} {
	inner := c.inner.Load()
	if inner == nil {
		inner = new(innerContext)
		inner.Context, inner.cancel = context.WithDeadline(c.parent, c.deadline)
		if !c.inner.CompareAndSwap(nil, inner) {
			inner.cancel()
			inner = c.inner.Load()
		}
		if c.over.Load() { // stop may have come before it was there to be stopped
			inner.cancel()
		}
	}
	return inner.Done()
}

func (c *lazyContext) Err() error {
	if inner := c.inner.Load(); inner != nil {
		if err := inner.Err(); err != nil {
			return err
		}
	} else if err := c.parent.Err(); err != nil {
		return err
	} else if !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	if c.over.Load() {
		return context.Canceled
	}
	return nil
}

func (c *lazyContext) Value(key any) any {
	if inner := c.inner.Load(); inner != nil {
		return inner.Value(key)
	}
	return c.parent.Value(key)
}
