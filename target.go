package polywire

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Target is a selection of connections to send to, on all nodes of a cluster.
// It is a value: each method that narrows it returns another one. The members
// are looked up when it is used.
type Target struct {
	srv         *Server
	ns          *Namespace
	rooms       []string // nil: everybody, unless conns is set
	conns       []*Conn
	others      []*farMember // on other nodes, listed as conns are
	listed      bool
	exceptRooms []string
	exceptConns []*Conn
	pattern     Pattern
	local       bool // members on this node only
	resumable   resumability
}

// resumability narrows a target to connections whose sessions keep what they
// miss, or to the others.
type resumability uint8

const (
	resumableAny resumability = iota
	resumableNot
	resumableOnly
)

// All targets every open connection of the main namespace.
func (s *Server) All() Target { return s.spaces.main.All() }

// Room targets the members of a room. Every connection's ID is also the name
// of a room, which it is in, and others may be put into.
func (s *Server) Room(name string) Target { return s.spaces.main.Room(name) }

// To targets the members of several rooms, each member once.
func (s *Server) To(rooms ...string) Target { return s.spaces.main.To(rooms...) }

// ToConns targets given connections, of any namespace.
func (s *Server) ToConns(conns ...*Conn) Target {
	return Target{srv: s, ns: s.spaces.main, conns: slices.Clone(conns), listed: true}
}

// Others targets the members of a room but the connection itself.
func (c *Conn) Others(room string) Target { return c.ns.Room(room).ExceptConns(c) }

// Except leaves out the members of rooms.
func (t Target) Except(rooms ...string) Target {
	t.exceptRooms = append(slices.Clip(t.exceptRooms), rooms...)
	return t
}

// ExceptConns leaves out connections.
func (t Target) ExceptConns(conns ...*Conn) Target {
	t.exceptConns = append(slices.Clip(t.exceptConns), conns...)
	return t
}

// Local leaves out the connections of other nodes.
func (t Target) Local() Target {
	t.local = true
	return t
}

// Pick lets a pattern choose among the members for each message. In a cluster
// all nodes are asked who is there, each time: narrow it by Local to spare that.
func (t Target) Pick(p Pattern) Target {
	t.pattern = p
	return t
}

// Conns returns the members on this node, before any pattern chooses; those
// on all nodes are [Target.Members].
func (t Target) Conns() []*Conn {
	var all []*Conn
	t.each(func(c *Conn) { all = append(all, c) })
	return all
}

func (t Target) countHere() int {
	if len(t.rooms) == 1 && len(t.exceptRooms)+len(t.exceptConns) == 0 && t.ns.match == nil && t.srv.Conn(t.rooms[0]) == nil {
		return t.ns.rooms.count(t.rooms[0])
	}
	n := 0
	t.each(func(*Conn) { n++ })
	return n
}

// Send sends a one-way message to the members, or to those that the pattern
// picks. Each gets it in its own wire's form; it is encoded once for each form.
// A member that cannot take it (too slow, closing, or on a wire that cannot say
// it) is reported by the hook Dropped and does not disturb the others. The error
// is about the message itself: a value that cannot be encoded, or a pipe's refusal.
// That nobody was there is no error, unless [MustReach] says so. In a cluster
// there is one that wraps [cluster.ErrUnavailable] when other nodes could not be
// told; the members on this node got the message then. Before [Server.Start] has
// joined the cluster it is [ErrNotRunning].
func (t Target) Send(ctx context.Context, kind string, v any, opts ...SendOption) error {
	o := applySend(opts)
	out := &Outgoing{Kind: kind, Header: o.header, Value: v}
	if t.srv.sender == nil || o.direct {
		return t.deliver(ctx, nil, out, o.flags)
	}
	return t.sendThroughPipes(ctx, out, o.flags)
}

func (t Target) sendThroughPipes(ctx context.Context, out *Outgoing, flags sendFlags) error {
	out.deliver = func(ctx context.Context, out *Outgoing) error { return t.deliver(ctx, nil, out, flags) }
	return t.srv.sender(ctx, out)
}

// deliver sends to the members, on behalf of a peer if sender is one.
func (t Target) deliver(ctx context.Context, sender *Conn, o *Outgoing, flags sendFlags) error {
	b := &Broadcast{Kind: o.Kind, Rooms: t.rooms, Payload: o.Value, Header: o.Header}
	h := &t.srv.hooks
	if sender != nil && h.BeforePeerBroadcast != nil {
		h.BeforePeerBroadcast(sender, b)
	}
	if h.BeforeBroadcast != nil {
		h.BeforeBroadcast(b)
	}
	var began time.Duration
	if h.AfterBroadcast != nil {
		began = t.srv.clock()
	}
	err := t.distribute(ctx, o, flags, b)
	if h.AfterBroadcast != nil {
		b.Took = t.srv.clock() - began
		h.AfterBroadcast(b)
	}
	if sender != nil && h.AfterPeerBroadcast != nil {
		h.AfterPeerBroadcast(sender, b)
	}
	return err
}

// distribute sends to the members here and on other nodes.
func (t Target) distribute(ctx context.Context, o *Outgoing, flags sendFlags, b *Broadcast) error {
	if n := t.srv.node; n != nil && !n.ready.Load() {
		return ErrNotRunning // it is about to join
	}
	if !flags.volatile && t.srv.history.keepsAny(t) {
		return t.distributeKept(ctx, o, flags, b)
	}
	return t.distributePlain(ctx, o, flags, b)
}

// distributePlain is distribute for what is kept in no room.
func (t Target) distributePlain(ctx context.Context, o *Outgoing, flags sendFlags, b *Broadcast) error {
	t, err := t.resolved(ctx)
	if err != nil {
		return err
	}
	if flags.reach {
		if n, err := t.Count(ctx); n == 0 {
			return errors.Join(ErrNoConnections, err)
		}
	}
	r := t.srv.recovery
	if r == nil || r.cluster == nil || flags.volatile {
		return t.distributeRest(ctx, o, flags, b)
	}
	if t.resumable != resumableNot {
		sessions := t
		sessions.resumable = resumableOnly
		err = r.distributeShared(ctx, sessions, o, flags, b)
	}
	if t.resumable != resumableOnly {
		t.resumable = resumableNot
		err = errors.Join(err, t.distributeRest(ctx, o, flags, b))
	}
	return err
}

// resolved lets the pattern choose, now.
func (t Target) resolved(ctx context.Context) (Target, error) {
	if t.pattern == nil {
		return t, nil
	}
	if !t.far() {
		members := t.Conns()
		if len(members) > 0 {
			members = connsOfMembers(t.pattern(membersOf(members)))
		}
		return t.srv.ToConns(members...), nil
	}
	here, others, err := t.chosen(ctx)
	chosen := Target{srv: t.srv, ns: t.ns, conns: here, others: others, listed: true}
	return chosen, err
}

// distributeRest sends to the members here, then to those on other nodes.
func (t Target) distributeRest(ctx context.Context, o *Outgoing, flags sendFlags, b *Broadcast) error {
	if !t.far() {
		return t.distributeHere(o, flags, b)
	}
	payloads, err := t.srv.settled(o.Value)
	if err != nil {
		return err
	}
	o.Value = argsOf(payloads) // what is sent here need not be encoded again
	err = t.distributeHere(o, flags, b)
	return errors.Join(err, t.sendFar(ctx, payloads, o, flags))
}

// distributeHere sends to the members on this node. No pattern chooses any more.
func (t Target) distributeHere(o *Outgoing, flags sendFlags, b *Broadcast) error {
	room := ""
	if len(t.rooms) == 1 {
		room = t.rooms[0]
	}
	f := t.srv.newFanout(o, room)
	defer f.done()
	f.flags = flags
	if r := t.srv.recovery; r != nil && !flags.volatile {
		if err := r.fanOut(t, f); err != nil {
			return err
		}
	} else {
		t.fanOut(f)
	}
	b.Receivers += f.receivers
	for _, d := range f.failed {
		t.srv.dropped(d.conn, o.Kind, d.reason)
	}
	return f.err
}

// fanOut sends to the members here.
func (t Target) fanOut(f *fanout) { t.each(f.send) }

// each calls f for each member once. f must not join, leave or block.
func (t Target) each(f func(*Conn)) {
	if t.ns.match == nil {
		t.eachIn(t.ns, f)
		return
	}
	for _, n := range t.ns.made() {
		t.eachIn(n, f)
	}
}

// eachOf calls f for the members of a room, and for the connection whose own
// room that is.
func (n *Namespace) eachOf(room string, f func(*Conn)) {
	own := n.srv.Conn(room)
	if own == nil || own.ns != n {
		own = nil
	} else {
		f(own)
	}
	n.rooms.each(room, func(c *Conn) {
		if c != own && c.phase.Load() == phaseOpen {
			f(c)
		}
	})
}

func (t Target) eachIn(n *Namespace, f func(*Conn)) {
	take := f
	if t.resumable != resumableAny && t.srv.recovery != nil {
		take = func(c *Conn) {
			if c.resumable() == (t.resumable == resumableOnly) {
				f(c)
			}
		}
	}
	some := take
	if len(t.exceptConns)+len(t.exceptRooms) > 0 {
		left := make(map[*Conn]struct{}, len(t.exceptConns))
		for _, c := range t.exceptConns {
			left[c] = struct{}{}
		}
		for _, r := range t.exceptRooms {
			n.eachOf(r, func(c *Conn) { left[c] = struct{}{} })
		}
		take = func(c *Conn) {
			if _, out := left[c]; !out {
				some(c)
			}
		}
	}
	switch {
	case t.listed:
		for _, c := range t.conns {
			if c.phase.Load() == phaseOpen {
				take(c)
			}
		}
	case t.rooms == nil:
		n.members(take)
	case len(t.rooms) == 1:
		n.eachOf(t.rooms[0], take)
	default:
		seen := make(map[*Conn]struct{})
		for _, r := range t.rooms {
			n.eachOf(r, func(c *Conn) { seen[c] = struct{}{} })
		}
		for c := range seen {
			take(c)
		}
	}
}
