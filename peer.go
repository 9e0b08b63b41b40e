package polywire

import (
	"context"
	"errors"
	"strings"

	"github.com/polywire/polywire/wire"
)

// reservedPrefix begins the names of rooms that peers may not join by themselves.
const reservedPrefix = "$"

// roomOperation does what a peer asked for: to join or leave a room, or to send
// to others, where a policy allows it.
func (s *Server) roomOperation(r *request) (any, error) {
	c, ctx := r.conn, r.ctx
	switch r.op {
	case wire.Subscribe:
		err := s.subscribe(ctx, r)
		if h := s.hooks.Subscribe; h != nil {
			h(c, r.room, err)
		}
		return nil, err
	case wire.Unsubscribe:
		c.Leave(r.room)
		if h := s.hooks.Unsubscribe; h != nil {
			h(c, r.room, nil)
		}
		return nil, nil
	case wire.Publish:
		err := s.publish(ctx, r)
		if h := s.hooks.Publish; h != nil {
			h(c, r.room, r.kind, err)
		}
		return nil, err
	default:
		if err := s.cfg.broadcast(ctx, c, r.kind); err != nil {
			return nil, forbidden(err)
		}
		return nil, s.relay(ctx, r.conn.ns.All(), r)
	}
}

func (s *Server) subscribe(ctx context.Context, r *request) error {
	c, room := r.conn, r.room
	if strings.HasPrefix(room, reservedPrefix) {
		return Errorf(CodeForbidden, "rooms that begin with %q are reserved", reservedPrefix)
	}
	_, own := s.tokenOf(room)
	if own || s.aliases.find(room) != nil || s.node != nil && s.node.isAlive(nodeOf(room)) {
		return Errorf(CodeForbidden, "a connection's own room is for the server to give")
	}
	if err := s.cfg.subscribe(ctx, c, room); err != nil {
		return forbidden(err)
	}
	p, err := c.enter(ctx, room, true, r.Position())
	if err != nil {
		return err
	}
	if p != (place{}) {
		if r.Position() != "" {
			s.counters.recovery(&s.counters.roomHits, &s.counters.roomMisses, p.recovered)
		}
		r.extra().place = p
	}
	s.settle()
	return nil
}

func (s *Server) publish(ctx context.Context, r *request) error {
	if r.room == "" || r.kind == "" {
		return Errorf(CodeBadRequest, "a publication needs a room and a kind")
	}
	if err := s.cfg.publish(ctx, r.conn, r.room, r.kind); err != nil {
		return forbidden(err)
	}
	return s.relay(ctx, r.conn.ns.Room(r.room), r)
}

// relay sends a peer's message on, the payload as it came.
func (s *Server) relay(ctx context.Context, t Target, r *request) error {
	if r.kind == "" {
		return Errorf(CodeBadRequest, "a message without a kind")
	}
	if s.presence != nil && (r.kind == PresenceJoined || r.kind == PresenceLeft || r.kind == PresenceChanged) {
		return Errorf(CodeForbidden, "only the server says %s", r.kind) // nobody comes and goes in another's name
	}
	out := &Outgoing{Kind: r.kind, Header: r.header, Value: r.payload}
	if len(r.args) > 0 {
		out.Value = r.allArgs()
	}
	out.deliver = func(ctx context.Context, o *Outgoing) error { return t.deliver(ctx, r.conn, o, sendFlags{}) }
	return s.throughPipes(ctx, out, false)
}

// forbidden makes a policy's error one that the peer may see.
func forbidden(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return Errorf(CodeForbidden, "not allowed")
}
