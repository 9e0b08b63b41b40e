package polywire

import (
	"context"
	"fmt"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// call waits for an answer.
type call struct {
	conn    *Conn
	done    chan struct{} // finish sends once; not used when collected
	into    *collection
	until   uint32    // wheel clock: given up then; 0: the caller's context bounds it
	by      time.Time // given up then; zero: no such bound
	payload Payload   // a copy
	args    []Payload // further ones, copies too
	header  map[string]string
	joined  Subscription // what a subscription was answered
	err     error
}

// finish is called once, by whoever took the call out of the connection's table.
func (c *call) finish(p Payload, err error) {
	c.payload, c.err = p, err
	if c.into != nil {
		c.into.add(c)
		return
	}
	c.done <- struct{}{}
}

// newCall takes a call from the pool; its channel is empty.
func (s *Server) newCall(c *Conn) *call {
	waiting := s.calls.Get().(*call) //nolint:forcetypeassert // the pool has nothing else
	waiting.conn = c
	return waiting
}

// recycleCall gives back a call that nobody else knows any more.
func (s *Server) recycleCall(c *call) {
	*c = call{done: c.done}
	s.calls.Put(c)
}

// Call sends a message and waits for the answer, which is decoded into out: a
// pointer, or nil if it does not matter. Of an answer with several arguments that
// is the first; [Into] takes all, and a *[]Payload as they came. Call may be used
// in a handler, also of the same connection. Without a deadline in ctx the server's
// [WithHandlerTimeout] bounds the wait.
//
// Errors: an *[Error] that is Remote, the peer's own; an *[Error] with
// [CodeTooManyRequests] if too many calls are open; ctx's; those of Send; one
// that wraps [ErrConnClosed] when the connection ends before the answer.
func (c *Conn) Call(ctx context.Context, kind string, v, out any, opts ...SendOption) error {
	return c.request(ctx, wire.Packet{Type: wire.Call, Kind: kind}, v, out, opts)
}

// request is ask with the message in v, behind the pipes.
func (c *Conn) request(ctx context.Context, p wire.Packet, v, out any, opts []SendOption) error {
	o := applySend(opts)
	p.Header = o.header
	if c.link.srv.sender == nil || o.direct {
		return c.askWith(ctx, p, v, out, o.answer)
	}
	answer := o.answer
	deliver := func(ctx context.Context, o *Outgoing) error {
		p.Kind, p.Header = o.Kind, o.Header
		return c.askWith(ctx, p, o.Value, out, answer)
	}
	return c.link.srv.sender(ctx, &Outgoing{Kind: p.Kind, Header: o.header, Value: v, conn: c, call: true, deliver: deliver})
}

func (c *Conn) askWith(ctx context.Context, p wire.Packet, v, out any, answer answerOptions) error {
	var err error
	if err = c.link.fill(&p, v); err != nil {
		return err
	}
	return c.ask(ctx, p, out, answer)
}

// Subscribe asks the peer to let this side join a room, and waits until it has.
// On wires whose peers answer no such wishes it returns when the wish is queued,
// and so do Unsubscribe, Publish and Broadcast. Errors: as of [Conn.Call], with
// [CodeForbidden] where the peer's policy refuses.
func (c *Conn) Subscribe(ctx context.Context, room string) error {
	_, err := c.SubscribeFrom(ctx, room, "")
	return err
}

// Unsubscribe asks the peer to take this side out of a room. Errors: as of
// [Conn.Call].
func (c *Conn) Unsubscribe(ctx context.Context, room string) error {
	c.link.dial.left(room)
	return c.ask(ctx, wire.Packet{Type: wire.Unsubscribe, Room: room}, nil, answerOptions{})
}

// Publish asks the peer to send a message to a room, and returns when it has
// passed it on. Errors: as of [Conn.Subscribe].
func (c *Conn) Publish(ctx context.Context, room, kind string, v any, opts ...SendOption) error {
	return c.request(ctx, wire.Packet{Type: wire.Publish, Room: room, Kind: kind}, v, nil, opts)
}

// Broadcast asks the peer to send a message to everybody, and returns when it
// has passed it on. Errors: as of [Conn.Subscribe].
func (c *Conn) Broadcast(ctx context.Context, kind string, v any, opts ...SendOption) error {
	return c.request(ctx, wire.Packet{Type: wire.Broadcast, Kind: kind}, v, nil, opts)
}

// ask sends a packet with a fresh id and waits for its answer.
func (c *Conn) ask(ctx context.Context, p wire.Packet, out any, o answerOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	blocking(ctx)
	if err := c.waitToAsk(ctx, &o); err != nil {
		return err
	}
	if c.link.curt && p.Type != wire.Call {
		return c.sendInTurn(ctx, p, sendFlags{}, time.Time{})
	}
	srv := c.link.srv
	waiting := srv.newCall(c)
	defer srv.recycleCall(waiting)
	if o.within > 0 {
		waiting.by = time.Now().Add(o.within)
	} else if _, bounded := ctx.Deadline(); !bounded {
		waiting.until = srv.wheel.In(srv.cfg.HandlerTimeout)
	}
	var err error
	if p.ID, err = c.open(waiting); err != nil {
		return err
	}
	if err := c.sendInTurn(ctx, p, sendFlags{}, waiting.by); err != nil {
		if !c.forget(p.ID) {
			<-waiting.done // the connection's end was faster
		}
		return err
	}
	select {
	case <-waiting.done:
	case <-ctx.Done():
		if c.forget(p.ID) {
			return fmt.Errorf("polywire: %s %q: %w", p.Type, p.Kind, ctx.Err())
		}
		<-waiting.done // the answer was faster
	}
	if waiting.err != nil {
		return waiting.err
	}
	if o.header != nil {
		*o.header = waiting.header
	}
	if o.subscription != nil {
		*o.subscription = waiting.joined
	}
	return srv.bindReply(waiting.payload, waiting.args, out)
}

// waitToAsk is waitToSend within the time for the answer, which it shortens.
func (c *Conn) waitToAsk(ctx context.Context, o *answerOptions) error {
	if o.within <= 0 || !c.crowded() {
		return c.waitToSend(ctx)
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, o.within)
	defer cancel()
	if err := c.waitToSend(limited); err != nil {
		return err
	}
	o.within = max(o.within-time.Since(began), 1)
	return nil
}

// bindReply decodes a payload that is the caller's own.
func (s *Server) bindReply(p Payload, args []Payload, out any) error {
	switch out := out.(type) {
	case nil:
		return nil
	case into:
		return s.bindAll(p, args, out)
	case *Payload:
		*out = p
		return nil
	case *[]Payload:
		*out = (*out)[:0]
		if !p.Empty() || len(args) > 0 {
			*out = append(append(*out, p), args...)
		}
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
	id, err := c.register(waiting)
	if l := c.link; err == nil {
		l.asked.Add(1)
		if l.held.Load() { // behind what it has read the answer may come
			l.mu.Lock()
			if l.busy != nil {
				l.busy.room.Broadcast()
			}
			l.mu.Unlock()
		}
	}
	return id, err
}

func (c *Conn) register(waiting *call) (uint64, error) {
	l := c.link
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return 0, c.Err()
	}
	if len(c.calls) >= l.srv.cfg.MaxOpenCalls {
		return 0, Errorf(CodeTooManyRequests, "%d calls to the peer are open", len(c.calls))
	}
	if c.calls == nil {
		c.calls = make(map[uint64]*call)
	}
	if waiting.until != 0 && (c.armed == 0 || waiting.until < c.armed) {
		c.armed = waiting.until
		l.srv.wheel.Sooner(&l.timer, waiting.until)
	}
	if !waiting.by.IsZero() {
		c.sooner(waiting.by)
	}
	c.lastCall++
	c.calls[c.lastCall] = waiting
	return c.lastCall, nil
}

// openCalls returns how many calls wait for the peer's answer.
func (c *Conn) openCalls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}

// giveUp ends the calls whose time is over, and returns when the next one's is
// (wheel clock); 0: none is bounded.
func (c *Conn) giveUp(now uint32) (next uint32) {
	var late []*call
	c.mu.Lock()
	for id, waiting := range c.calls {
		switch {
		case waiting.until == 0:
		case waiting.until <= now:
			late = append(late, waiting)
			delete(c.calls, id)
		case next == 0 || waiting.until < next:
			next = waiting.until
		}
	}
	c.armed = next
	c.mu.Unlock()
	tooLate(late)
	return next
}

func tooLate(calls []*call) {
	for _, waiting := range calls {
		waiting.finish(Payload{}, fmt.Errorf("polywire: no answer in time: %w", context.DeadlineExceeded))
	}
}

// patience ends calls to the nanosecond where the wheel is too coarse. One
// timer serves all calls of a connection, and is left alone by calls that are
// answered: with a bound of 2 s it fires once in 2 s at most.
type patience struct {
	timer *time.Timer
	at    time.Time // when it fires; zero: it does not
}

// sooner makes the timer fire at by at the latest. The connection's mutex must
// be held.
func (c *Conn) sooner(by time.Time) {
	p := c.patience
	switch {
	case p == nil:
		c.patience = &patience{timer: time.AfterFunc(time.Until(by), c.expire), at: by}
	case p.at.IsZero() || by.Before(p.at):
		p.at = by
		p.timer.Reset(time.Until(by))
	}
}

// expire ends the calls whose time is over.
func (c *Conn) expire() {
	now := time.Now()
	var late []*call
	var next time.Time
	c.mu.Lock()
	for id, waiting := range c.calls {
		switch {
		case waiting.by.IsZero():
		case !waiting.by.After(now):
			late = append(late, waiting)
			delete(c.calls, id)
		case next.IsZero() || waiting.by.Before(next):
			next = waiting.by
		}
	}
	if c.patience.at = next; !next.IsZero() {
		c.patience.timer.Reset(next.Sub(now))
	}
	c.mu.Unlock()
	tooLate(late)
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
	waiting.header = p.Header
	waiting.joined = Subscription{p.Position, p.Recovered}
	for _, a := range p.Args {
		waiting.args = append(waiting.args, a.Clone())
	}
	waiting.finish(p.Payload.Clone(), nil)
}
