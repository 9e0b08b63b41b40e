package polywire

import (
	"context"
	"fmt"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// call waits for an answer.
type call struct {
	conn    *Conn
	done    chan struct{} // closed by finish; nil when collected
	into    *collection
	payload Payload // a copy
	err     error
}

// finish is called once, by whoever took the call out of the connection's table.
func (c *call) finish(p Payload, err error) {
	c.payload, c.err = p, err
	if c.into != nil {
		c.into.add(c)
		return
	}
	close(c.done)
}

// Call sends a message and waits for the answer, which is decoded into out: a
// pointer, or nil if it does not matter. It may be called from a handler, also
// of the same connection. Without a deadline in ctx the server's
// [WithHandlerTimeout] bounds the wait.
//
// Errors: an *[Error] that is Remote, the peer's own; an *[Error] with
// [CodeTooManyRequests] if too many calls are open; ctx's; those of Send; one
// that wraps [ErrConnClosed] when the connection ends before the answer.
func (c *Conn) Call(ctx context.Context, kind string, v, out any, opts ...SendOption) error {
	o := applySend(opts)
	deliver := func(ctx context.Context, o *Outgoing) error {
		payload, err := c.link.payload(o.Kind, o.Value)
		if err != nil {
			return err
		}
		return c.ask(ctx, &wire.Packet{Type: wire.Call, Kind: o.Kind, Header: o.Header, Payload: payload}, out)
	}
	return c.link.srv.throughPipes(ctx, &Outgoing{Kind: kind, Header: o.header, Value: v, conn: c, deliver: deliver}, o.direct)
}

// Subscribe asks the peer to let this side join a room.
func (c *Conn) Subscribe(ctx context.Context, room string) error {
	return c.ask(ctx, &wire.Packet{Type: wire.Subscribe, Room: room}, nil)
}

// Unsubscribe asks the peer to take this side out of a room.
func (c *Conn) Unsubscribe(ctx context.Context, room string) error {
	return c.ask(ctx, &wire.Packet{Type: wire.Unsubscribe, Room: room}, nil)
}

// Publish asks the peer to send a message to a room.
func (c *Conn) Publish(ctx context.Context, room, kind string, v any, opts ...SendOption) error {
	return c.relay(ctx, wire.Publish, room, kind, v, opts)
}

// Broadcast asks the peer to send a message to everybody.
func (c *Conn) Broadcast(ctx context.Context, kind string, v any, opts ...SendOption) error {
	return c.relay(ctx, wire.Broadcast, "", kind, v, opts)
}

func (c *Conn) relay(ctx context.Context, t wire.Type, room, kind string, v any, opts []SendOption) error {
	o := applySend(opts)
	deliver := func(ctx context.Context, o *Outgoing) error {
		payload, err := c.link.payload(o.Kind, o.Value)
		if err != nil {
			return err
		}
		return c.ask(ctx, &wire.Packet{Type: t, Room: room, Kind: o.Kind, Header: o.Header, Payload: payload}, nil)
	}
	return c.link.srv.throughPipes(ctx, &Outgoing{Kind: kind, Header: o.header, Value: v, conn: c, deliver: deliver}, o.direct)
}

// ask sends a packet with a fresh id and waits for its answer.
func (c *Conn) ask(ctx context.Context, p *wire.Packet, out any) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.link.srv.cfg.HandlerTimeout)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	blocking(ctx)
	if err := c.waitToSend(ctx); err != nil {
		return err
	}
	waiting := &call{conn: c, done: make(chan struct{})}
	id, err := c.open(waiting)
	if err != nil {
		return err
	}
	p.ID = id
	if err := c.link.sendPacket(*p); err != nil {
		c.forget(id)
		return err
	}
	select {
	case <-waiting.done:
	case <-ctx.Done():
		if c.forget(id) {
			return fmt.Errorf("polywire: call of %q: %w", p.Kind, ctx.Err())
		}
		<-waiting.done // the answer was faster
	}
	if waiting.err != nil {
		return waiting.err
	}
	return c.link.srv.bindReply(waiting.payload, out)
}

// bindReply decodes a payload that is the caller's own.
func (s *Server) bindReply(p Payload, out any) error {
	switch out := out.(type) {
	case nil:
		return nil
	case *Payload:
		*out = p
		return nil
	case *[]byte:
		if p.Type == codec.TypeBytes {
			*out = p.Data
			return nil
		}
	}
	if err := s.cfg.codecs.Unmarshal(p, out); err != nil {
		return fmt.Errorf("polywire: the reply does not decode: %w", err)
	}
	return nil
}

// open gives a call its number.
func (c *Conn) open(waiting *call) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return 0, c.link.closedError()
	}
	if len(c.calls) >= c.link.srv.cfg.MaxOpenCalls {
		return 0, Errorf(CodeTooManyRequests, "%d calls to the peer are open", len(c.calls))
	}
	if c.calls == nil {
		c.calls = make(map[uint64]*call)
	}
	c.lastCall++
	c.calls[c.lastCall] = waiting
	return c.lastCall, nil
}

// forget takes a call out of the table, and reports whether it was there.
func (c *Conn) forget(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.calls[id]
	delete(c.calls, id)
	return ok
}

// answered gives an answer to the call that waits for it.
func (c *Conn) answered(p *wire.Packet) {
	c.mu.Lock()
	waiting, ok := c.calls[p.ID]
	delete(c.calls, p.ID)
	c.mu.Unlock()
	if !ok {
		c.link.srv.dropped(c, p.Kind, DropUnexpected)
		return
	}
	if p.Type == wire.Error {
		waiting.finish(Payload{}, c.link.srv.remoteError(p.Err))
		return
	}
	waiting.finish(p.Payload.Clone(), nil)
}
