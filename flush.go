package polywire

import (
	"context"
	"sync"
)

// changes is what those who wait for an outbox share. It is made for the first
// of them.
type changes struct {
	sync.Cond
	batches uint32 // taken for writing since it was made
}

// awaited returns o.changed, made if need be. mu is held.
func (o *outbox) awaited() *changes {
	if o.changed == nil {
		o.changed = new(changes)
		o.changed.L = &o.mu
	}
	return o.changed
}

// Flush waits until what is queued to the peer now has been written to its
// link, or ctx ends. What others queue meanwhile is not waited for. On
// transports that the peer polls, written means fetched or about to be.
//
// Errors: ctx's; one that wraps [ErrConnClosed] when the connection has ended
// or is about to, so that nobody can say what has been written.
func (c *Conn) Flush(ctx context.Context) error {
	blocking(ctx)
	if err := c.link.flushed(ctx); err != nil {
		return err
	}
	return c.Err()
}

// Flush is [Conn.Flush] for all connections. One that ends meanwhile is no
// error; ctx's end is.
func (s *Server) Flush(ctx context.Context) error {
	blocking(ctx)
	s.conns.eachLink(func(l *link) { l.startFlush() })
	var err error
	s.conns.eachLink(func(l *link) {
		if err == nil {
			err = l.flushed(ctx)
		}
	})
	return err
}

// Len returns the number of open connections.
func (s *Server) Len() int { return int(s.counters.open.Load()) }

// flushed waits until the batch that is being written, and the one that is
// queued, have been written or never will be.
func (l *link) flushed(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.startFlush()
	o := &l.out
	stop := context.AfterFunc(ctx, func() {
		o.mu.Lock()
		o.signal()
		o.mu.Unlock()
	})
	defer stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	changed := o.awaited()
	began, wait := changed.batches, uint32(1)
	if o.buf != nil || len(o.segs) > 0 {
		wait = 2 // the queued one is written when the one after it is taken
	}
	for o.flushing && !o.dead && changed.batches-began < wait {
		if err := ctx.Err(); err != nil {
			return err
		}
		changed.Wait()
	}
	return nil
}
