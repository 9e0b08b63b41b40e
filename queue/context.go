package queue

import (
	"context"
	"sync"
	"time"
)

// lazyContext has a deadline, and a timer only when somebody asks for Done:
// most handlers end long before theirs and never look at it.
type lazyContext struct {
	parent   context.Context //nolint:containedctx // it is a context itself
	deadline time.Time

	mu     sync.Mutex
	inner  context.Context //nolint:containedctx // as above; nil until somebody waits
	cancel context.CancelFunc
	over   bool
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
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}

func (c *lazyContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *lazyContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.cancel = context.WithDeadline(c.parent, c.deadline)
		if c.over {
			c.cancel()
		}
	}
	return c.inner.Done()
}

func (c *lazyContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.inner != nil:
		return c.inner.Err()
	case c.parent.Err() != nil:
		return c.parent.Err()
	case !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	case c.over:
		return context.Canceled
	}
	return nil
}

func (c *lazyContext) Value(key any) any {
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if inner != nil {
		return inner.Value(key)
	}
	return c.parent.Value(key)
}
