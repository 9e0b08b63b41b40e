package polywire

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire"
)

// request is a message on its way through the handlers. A reader uses one
// again for its next message: handlers do not keep messages, but they may keep
// contexts, which therefore are apart.
type request struct {
	Message
	op       wire.Type
	ctx      *requestContext
	size     int                        // of its frame, or of its arguments where those are more
	clock    time.Duration              // when its handler began, then when it was done; 0: not looked at
	answered atomic.Bool                // or about to be
	open     atomic.Bool                // its id is among the open calls
	deadline atomic.Pointer[time.Timer] // answers for a handler that takes too long
}

func (r *request) callID() callID { return callID{r.conn, r.id, r.key} }

// newRequest makes a request of a packet whose payload stays borrowed, in r if
// there is one that may be used again.
func (c *Conn) newRequest(r *request, p *wire.Packet, now time.Duration) (*request, error) {
	l := c.link
	kind := p.Kind
	if kind == "" && p.Code != 0 {
		kind = l.srv.codes.kinds[p.Code]
	}
	if r == nil {
		r = new(request)
	}
	*r = request{
		Message: Message{
			conn: c, kind: kind, room: p.Room, header: p.Header, payload: p.Payload, args: p.Args,
			id: p.ID, key: p.Key, call: p.ID != 0 || p.Key != "",
		},
		op:  p.Type,
		ctx: &requestContext{conn: c, request: r, until: now + l.srv.cfg.HandlerTimeout},
	}
	if p.Position != "" {
		r.extra().offset = p.Position
	}
	if p.Type == wire.Message {
		r.call = false
	} else if p.Type == wire.Call && !r.call {
		return nil, badRequest("a call without an id")
	}
	return r, nil
}

// serve runs the handler (or the room operation) and sends the answer.
func (l *link) serve(r *request) {
	var result any
	var err error
	defer l.cleanUp(r)
	if l.draining.Load() {
		err = Errorf(CodeUnavailable, "shutting down")
	} else {
		result, err = l.srv.invoke(r)
	}
	r.ctx.end()
	if t := r.deadline.Load(); t != nil {
		t.Stop()
	}
	if _, none := result.(noReply); none && err == nil {
		return
	}
	if a, ok := result.(Answerer); ok && err == nil {
		result, err = l.srv.answer(a, r)
	}
	twice := l.twice(r) && err == nil
	if twice && result == nil {
		return // such answers are none at all
	}
	if r.call || twice {
		l.reply(r, result, err)
	} else if err != nil {
		l.srv.reportError(r.conn, fmt.Errorf("polywire: %s %q: %w", r.op, shown(r.kind), err))
	}
}

// invoke runs what the request asks for, and tells how it went.
func (s *Server) invoke(r *request) (result any, err error) {
	h := s.hooks.AfterHandle
	if h == nil || r.kind == "" || r.op != wire.Message && r.op != wire.Call {
		return s.run(r)
	}
	began := r.clock
	if began == 0 {
		began = s.clock()
	}
	result, err = s.run(r)
	r.clock = s.clock()
	defer func() {
		if p := recover(); p != nil {
			result, err = nil, s.panicked(r, p)
		}
	}()
	h(&r.Message, r.clock-began, result, err)
	return result, err
}

// run is invoke without a word. A panic becomes an error.
func (s *Server) run(r *request) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = nil, s.panicked(r, p)
		}
	}()
	if r.op != wire.Message && r.op != wire.Call {
		return s.roomOperation(r)
	}
	if r.kind == "" {
		return nil, Errorf(CodeNotFound, "a message without a known kind")
	}
	if h := s.hooks.BeforeHandle; h != nil {
		h(&r.Message)
	}
	return r.conn.ns.handler(r.ctx, &r.Message)
}

// panickedIn is the error of an application's function that panicked.
func (s *Server) panickedIn(what string, p any) error {
	s.reportError(nil, fmt.Errorf("polywire: %s panicked: %v\n%s", what, p, debug.Stack()))
	return Errorf(CodeInternal, "internal error")
}

func (s *Server) panicked(r *request, p any) error {
	err := fmt.Errorf("polywire: handler of %q panicked: %v\n%s", shown(r.kind), p, debug.Stack())
	if !r.call {
		return err
	}
	s.reportError(r.conn, err)
	return &Error{Code: CodeInternal, Message: "internal error", fault: true}
}

// reply answers a call, once.
func (l *link) reply(r *request, result any, err error) {
	if !r.answered.CompareAndSwap(false, true) {
		l.srv.dropped(r.conn, r.kind, DropLate)
		return
	}
	l.settle(r)
	if h := l.srv.hooks.BeforeReply; h != nil {
		h(&r.Message, result, err)
	}
	l.logFault(r, err)
	switch {
	case !r.call:
	case err == nil && l.srv.sender != nil && r.op == wire.Call:
		err = l.replyThroughPipes(r, result)
	default:
		l.sendReply(r, result, err)
	}
	if l.twice(r) && err == nil && result != nil {
		if err := r.conn.Send(r.ctx, r.kind, result); err != nil {
			l.srv.reportError(r.conn, fmt.Errorf("polywire: endpoint reply of %q: %w", shown(r.kind), err))
		}
	}
	if h := l.srv.hooks.AfterReply; h != nil {
		h(&r.Message, result, err)
	}
}

// answer asks a result for what to send.
func (s *Server) answer(a Answerer, r *request) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = nil, s.panicked(r, p)
		}
	}()
	return a.Answer(&r.Message), nil
}

// twice reports whether the answer is sent as a message too; see [WithEndpointReplies].
func (l *link) twice(r *request) bool {
	return l.srv.cfg.EndpointReplies && (r.op == wire.Message || r.op == wire.Call)
}

// settle frees a call's id, before the answer is out: the peer may use it again then.
func (l *link) settle(r *request) {
	if r.open.Load() && r.open.CompareAndSwap(true, false) {
		l.mu.Lock()
		delete(l.busy.open, r.callID()) // busy, since r is
		l.mu.Unlock()
	}
}

// replyThroughPipes sends a result; what panics before it is sent becomes an error.
func (l *link) replyThroughPipes(r *request, result any) (err error) {
	sent := false
	defer func() {
		if p := recover(); p != nil {
			err = l.srv.panicked(r, p)
		}
		if err != nil && !sent {
			l.sendReply(r, nil, err)
		}
	}()
	out := &Outgoing{Kind: r.kind, Header: r.replyHeader(), Value: result, conn: r.conn, reply: true}
	out.deliver = func(_ context.Context, o *Outgoing) error {
		l.transmitReply(r, o.Value, o.Header, nil)
		sent = true
		return nil
	}
	return l.srv.sender(r.ctx, out)
}

// sendReply transmits an answer. A value that panics when it is encoded is a fault.
func (l *link) sendReply(r *request, result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.transmitReply(r, nil, nil, l.srv.panicked(r, p))
		}
	}()
	l.transmitReply(r, result, r.replyHeader(), err)
}

// logFault reports an error whose text the peer does not get to see.
func (l *link) logFault(r *request, err error) {
	if err == nil {
		return
	}
	if coded := (*Error)(nil); !errors.As(err, &coded) && CodeOf(err) == CodeInternal {
		l.srv.reportError(r.conn, fmt.Errorf("polywire: handler of %q: %w", shown(r.kind), err))
	}
}

// transmitReply encodes the answer; one that cannot be said becomes an error.
func (l *link) transmitReply(r *request, result any, header map[string]string, err error) {
	sc := l.srv.scratch.Get().(*scratch) //nolint:forcetypeassert // the pool has nothing else
	defer func() {
		sc.p.Reset()
		l.srv.scratch.Put(sc)
	}()
	p := &sc.p // empty
	if err == nil {
		p.Type, p.Namespace, p.ID, p.Key, p.Header = wire.Reply, r.conn.label(), r.id, r.key, header
		if r.rare != nil {
			p.Position, p.Recovered = r.rare.place.offset, r.rare.place.recovered
		}
		if err = l.fillAs(p, r.kind, result); err == nil {
			err = l.sendWith(sc, sendOpen)
		}
		if err == nil {
			l.srv.sent(r.kind, sc.bytes)
			if sc.bytes > lapBytes {
				r.clock = 0 // the next handler begins later
			}
			return
		}
		if errors.Is(err, ErrConnClosed) || errors.Is(err, ErrSlowConsumer) {
			l.srv.dropped(r.conn, r.kind, DropClosed)
			return
		}
		l.srv.reportError(r.conn, fmt.Errorf("polywire: reply of %q: %w", shown(r.kind), err))
		if errors.Is(err, codec.ErrNoTranslation) {
			l.srv.dropped(r.conn, r.kind, DropUntranslated)
		}
	}
	*p = wire.Packet{Type: wire.Error, Namespace: r.conn.label(), ID: r.id, Key: r.key, Err: l.errorBody(err)}
	if l.sendWith(sc, sendOpen) != nil {
		l.srv.dropped(r.conn, r.kind, DropClosed)
		return
	}
	l.srv.sent("", sc.bytes)
}

// begin is the beginning of the handling off the reading goroutine. The time
// to handle does not include that in the queue.
func (r *request) begin() {
	s := r.conn.link.srv
	r.ctx.until = s.clock() + s.cfg.HandlerTimeout
	r.watchDeadline()
}

// watchDeadline answers for a handler that is still at work when its time is
// over. Handlers on the reading goroutine do not need it: they are taken over
// first.
func (r *request) watchDeadline() {
	if !r.call {
		return
	}
	l := r.conn.link
	r.deadline.Store(time.AfterFunc(r.ctx.until-l.srv.clock(), func() {
		if !r.answered.Load() {
			l.reply(r, nil, Errorf(CodeDeadlineExceeded, "%q took too long", shown(r.kind)))
		}
	}))
}
