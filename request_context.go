package polywire

import (
	"context"
	"sync/atomic"
	"time"
)

// requestContext is the context of a handler. It costs nothing until somebody
// asks for more than its values, and may be kept for as long as anybody likes.
type requestContext struct {
	conn    *Conn
	request *request      // looked at only while it is handled
	until   time.Duration // on the server's clock
	state   atomic.Pointer[contextState]
}

// contextState is what a context has become; nil: it is that of a handler at
// work, and nobody has asked.
type contextState struct {
	real   context.Context //nolint:containedctx // made on demand; nil: the handler is done, and nobody had asked
	cancel context.CancelFunc
	ended  atomic.Bool
}

// Deadline returns when the time to handle is over.
func (c *requestContext) Deadline() (time.Time, bool) {
	return c.conn.link.srv.watch.base.Add(c.until), true
}

// Done returns the channel that is closed at the end.
func (c *requestContext) Done() <-chan struct{} { return c.real().Done() }

// Err returns why the context has ended, nil if it has not.
func (c *requestContext) Err() error { return c.real().Err() }

// connKey finds the connection whose message a context is of.
type connKey struct{}

// Value finds the message while it is handled, its connection, and what the
// server's base context has.
func (c *requestContext) Value(key any) any {
	s := c.state.Load()
	switch key.(type) {
	case messageKey:
		if s != nil && s.ended.Load() {
			return nil // it may be another one by now
		}
		return &c.request.Message
	case connKey:
		return c.conn
	}
	if s != nil && s.real != nil {
		return s.real.Value(key)
	}
	return c.conn.link.srv.cfg.base.Value(key)
}

// real makes a context of the standard library, once.
func (c *requestContext) real() context.Context {
	s := c.state.Load()
	if s != nil && s.real != nil {
		return s.real
	}
	deadline, _ := c.Deadline()
	mine := new(contextState)
	mine.real, mine.cancel = context.WithDeadline(c.conn.context(), deadline)
	if s == nil && c.state.CompareAndSwap(nil, mine) {
		return mine.real
	}
	mine.cancel() // the handler is done, or another goroutine was faster
	mine.ended.Store(true)
	c.state.CompareAndSwap(&c.conn.link.srv.handled, mine)
	return c.state.Load().real
}

// end is called when the handler has returned.
func (c *requestContext) end() {
	if c.state.CompareAndSwap(nil, &c.conn.link.srv.handled) {
		return
	}
	s := c.state.Load()
	s.ended.Store(true)
	s.cancel()
}
