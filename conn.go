package polywire

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/wire"
)

// Identity says who a connection is, as an [Authenticator] found out.
type Identity struct {
	// User names the user; it may be empty for an anonymous one.
	User string
	// Claims is whatever else the application wants to know about them.
	Claims map[string]any
	// Expires is when the identity ends; zero: never. See [WithExpiryGrace] and
	// [Conn.Renew] for what happens then.
	Expires time.Time
}

// user is the user's name, empty without an identity.
func (id *Identity) user() string {
	if id == nil {
		return ""
	}
	return id.User
}

// Conn is one peer, accepted or dialled. A Conn is good for as long as
// somebody holds it; once it has ended, sending on it returns [ErrConnClosed].
type Conn struct {
	link   *link
	ns     *Namespace
	shared *shared // on links with namespaces; nil on others
	phase  atomic.Uint32
	known  atomic.Bool // it has been in phaseOpen
	cause  atomic.Pointer[CloseError]
	apart  atomic.Pointer[apart]
	slot   uint32 // in the server's table
	serial uint32 // with slot: the identity of the connection
	opened int64  // Unix nanoseconds

	mu            sync.Mutex
	identity      *Identity
	values        map[any]any
	rooms         []*membership
	subscriptions int32
	armed         uint32 // wheel clock: when the link looks at the calls that are bounded by it; 0: none is
	calls         map[uint64]*call
	lastCall      uint64
	patience      *patience       // with calls that have bounds; nil before the first
	ctx           context.Context //nolint:containedctx // made on demand, for the contexts of handlers
	cancel        context.CancelCauseFunc
	ended         bool
}

// token is the connection's identity as a number.
func (c *Conn) token() uint64 { return uint64(c.serial)<<32 | uint64(c.slot) }

// ID returns the connection's name, unique among all servers for all time. It
// is no secret.
func (c *Conn) ID() string {
	if c.shared != nil && c.shared.id != "" {
		return c.shared.id
	}
	return c.link.srv.id + "-" + strconv.FormatUint(c.token(), 36)
}

// Conn returns the open connection of an ID, or nil.
func (s *Server) Conn(id string) *Conn {
	c := s.aliases.find(id)
	if c == nil {
		token, ok := s.tokenOf(id)
		if !ok {
			return nil
		}
		c = s.find(token)
	}
	if c == nil || c.phase.Load() != phaseOpen {
		return nil
	}
	return c
}

// tokenOf takes an id of this server's own apart.
func (s *Server) tokenOf(id string) (token uint64, ok bool) {
	rest, ok := strings.CutPrefix(id, s.id+"-")
	if !ok {
		return 0, false
	}
	token, err := strconv.ParseUint(rest, 36, 64)
	return token, err == nil
}

// Server returns the server that the connection belongs to; for a client's
// connection that is the core that the client is built on.
func (c *Conn) Server() *Server { return c.link.srv }

// Wire returns the name of the wire, such as "native".
func (c *Conn) Wire() string { return c.link.wire.name }

// Dialled reports whether this side opened the connection.
func (c *Conn) Dialled() bool { return c.link.dial != nil }

// OpenedAt returns when the connection was opened.
func (c *Conn) OpenedAt() time.Time { return time.Unix(0, c.opened) }

// RemoteAddr returns the peer's network address, nil where there is none. Of a
// client behind one of [WithTrustedProxies] it is the client's, with port 0.
func (c *Conn) RemoteAddr() net.Addr {
	if a := c.link.conn.apart.Load(); a != nil && a.from != nil {
		return a.from
	}
	if t, ok := c.link.t.(interface{ RemoteAddr() net.Addr }); ok {
		return t.RemoteAddr()
	}
	if nc := c.link.netConn(); nc != nil {
		return nc.RemoteAddr()
	}
	return nil
}

// TLS returns the state of the TLS connection, nil on others.
func (c *Conn) TLS() *tls.ConnectionState {
	if t, ok := c.link.t.(interface{ ConnectionState() *tls.ConnectionState }); ok {
		return t.ConnectionState()
	}
	if t, ok := c.link.netConn().(*tls.Conn); ok {
		state := t.ConnectionState()
		return &state
	}
	return nil
}

// Identity returns who the peer is; nil where nobody asked.
func (c *Conn) Identity() *Identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.identity
}

// User returns the identity's user, empty where there is none.
func (c *Conn) User() string { return c.Identity().user() }

// Value returns what SetValue stored under key, nil if nothing.
func (c *Conn) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.values[key]
}

// SetValue keeps something with the connection; nil removes it.
func (c *Conn) SetValue(key, value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.changed()
	if value == nil {
		delete(c.values, key)
		return
	}
	if c.values == nil {
		c.values = make(map[any]any)
	}
	c.values[key] = value
}

// QueuedBytes returns how much waits to be written to the peer.
func (c *Conn) QueuedBytes() int64 { return c.link.out.queued.Load() }

// Err returns why the connection has ended or is ending, a *[CloseError], nil
// while it is open.
func (c *Conn) Err() error {
	if why := c.cause.Load(); why != nil {
		return why
	}
	if why := c.link.cause.Load(); why != nil {
		return why
	}
	return nil
}

// Done returns a channel that is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.context().Done() }

// Close ends the connection in an orderly way: what is queued is sent, then
// the code and the reason (at most 123 bytes of it); messages that arrive
// afterwards are not handled. It returns at once. See [CloseCode] for what the
// peer makes of it.
//
// On a link with namespaces a code that is final ends this connection and
// leaves the others there; one after which the peer should come back ends the
// link, since such wires have no other way to say so.
//
// The error is that of [Conn.Err] where the connection had ended before.
func (c *Conn) Close(code CloseCode, reason string) error {
	if why := c.Err(); why != nil {
		return why
	}
	if c.link.multi == nil || code.Reconnect() || c.link.dial != nil {
		return c.CloseLink(code, reason)
	}
	if reason == "" {
		reason = reasonLeft
	}
	why := &CloseError{Code: code, Reason: reason}
	if !c.cause.CompareAndSwap(nil, why) { // a peer that has heard it may cut the link before the finish
		return c.cause.Load()
	}
	c.sayGoodbye()
	c.finish(why)
	return nil
}

// CloseLink is Close for all connections that share the link with this one.
func (c *Conn) CloseLink(code CloseCode, reason string) error {
	if why := c.link.cause.Load(); why != nil {
		return why
	}
	if reason == "" && c.link.multi != nil {
		reason = reasonForced
	}
	why := &CloseError{Code: code, Reason: reason}
	if c.link.multi != nil && c.link.dial == nil && !code.Reconnect() {
		c.link.eachConn(func(other *Conn) {
			if other != c {
				_ = other.Close(code, reason) // or it has ended by itself
			}
		})
		c.link.fail(why) // as in Close
		c.sayGoodbye()
	}
	c.link.close(why)
	return nil
}

// sayGoodbye tells the peer that the connection ends, and not the link.
func (c *Conn) sayGoodbye() {
	_ = c.link.send(&wire.Packet{Type: wire.Goodbye, Namespace: c.label()}, sendOpen) // or the link has ended
}

// context returns the parent of the contexts of the connection's handlers.
func (c *Conn) context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancelCause(c.link.srv.cfg.base)
		if c.ended {
			c.cancel(c.Err())
		}
	}
	return c.ctx
}

// Send sends a one-way message. It returns when the message is queued. If the
// outbox is full, the connection is closed as a slow consumer; but a dialled
// connection, and a handler that sends to its own, wait for room until ctx ends.
//
// Errors: one that wraps [ErrConnClosed]; [ErrSlowConsumer]; or that the value
// cannot be encoded or said on the peer's wire.
func (c *Conn) Send(ctx context.Context, kind string, v any, opts ...SendOption) error {
	o := applySend(opts)
	if c.link.srv.sender == nil || o.direct {
		return c.transmit(ctx, kind, v, o.header, o.flags)
	}
	out := &Outgoing{Kind: kind, Header: o.header, Value: v, conn: c}
	out.deliver = func(ctx context.Context, out *Outgoing) error {
		return c.transmit(ctx, out.Kind, out.Value, out.Header, o.flags)
	}
	return c.link.srv.sender(ctx, out)
}

func (c *Conn) transmit(ctx context.Context, kind string, v any, header map[string]string, flags sendFlags) error {
	l := c.link
	if flags.volatile && !l.writable() {
		l.srv.dropped(c, kind, DropVolatile)
		return c.Err()
	}
	p := wire.Packet{Type: wire.Message, Kind: kind, Header: header}
	if l.srv.recovery != nil && c.shared != nil && !flags.volatile {
		return l.srv.recovery.send(ctx, c, p, v, flags)
	}
	if err := l.fill(&p, v); err != nil {
		return err
	}
	if err := c.waitToSend(ctx); err != nil {
		return err
	}
	return c.sendInTurn(ctx, p, flags, time.Time{})
}

// errNoRoom is why a packet of a side that waits was not queued.
const errNoRoom = faultError("no room in the outbox")

// sendInTurn is sendPacket after waitToSend. On a dialled link the room that
// was there may have gone to other senders meanwhile: it waits again then,
// until by if that is not zero.
func (c *Conn) sendInTurn(ctx context.Context, p wire.Packet, flags sendFlags, by time.Time) error {
	flags.inTurn = c.link.dial != nil
	for {
		err := c.sendPacket(p, flags)
		if err != errNoRoom { //nolint:errorlint // as sendWith returns it
			return err
		}
		if err := c.waitToSendBy(ctx, by); err != nil {
			return err
		}
	}
}

// waitToSendBy is waitToSend until a time, if that is not zero.
func (c *Conn) waitToSendBy(ctx context.Context, by time.Time) error {
	if by.IsZero() {
		return c.waitToSend(ctx)
	}
	limited, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	return c.waitToSend(limited)
}

// sendPacket encodes a packet of the caller's into the outbox, with the
// numeric code in place of the kind where the peer knows it.
func (c *Conn) sendPacket(p wire.Packet, flags sendFlags) error {
	l, kind := c.link, p.Kind
	if c.shared != nil {
		if c.phase.Load() == phaseEnded {
			return c.Err()
		}
		p.Namespace = c.shared.label
	}
	if code, ok := l.codes.Load().code(p.Kind); ok {
		p.Code, p.Kind = code, ""
	}
	sc := l.srv.scratch.Get().(*scratch) //nolint:forcetypeassert // the pool has nothing else
	sc.p, sc.flags = p, flags
	err := l.sendWith(sc, sendOpen)
	if err == nil {
		l.srv.sent(kind, sc.bytes)
	}
	sc.p.Reset()
	sc.flags = sendFlags{}
	l.srv.scratch.Put(sc)
	return err
}

// crowded reports whether the outbox is half full.
func (c *Conn) crowded() bool {
	return c.link.out.queued.Load() > int64(c.link.srv.cfg.OutboxBytes/2)
}

// waitToSend holds back a sender that is alone responsible for the outbox.
func (c *Conn) waitToSend(ctx context.Context) error {
	l := c.link
	if !c.crowded() {
		return nil
	}
	if l.dial == nil && connFrom(ctx) != c {
		return nil
	}
	blocking(ctx)
	stop := context.AfterFunc(ctx, func() {
		l.out.mu.Lock()
		l.out.signal()
		l.out.mu.Unlock()
	})
	defer stop()
	l.out.waitForRoomOr(l, func() bool { return ctx.Err() != nil })
	return ctx.Err()
}

// finish ends the connection, once: with its link, or alone.
func (c *Conn) finish(why *CloseError) {
	if !c.leaveLink(why) || c.phase.Swap(phaseEnded) == phaseEnded {
		return
	}
	c.cause.CompareAndSwap(nil, why)
	why = c.cause.Load()
	s := c.link.srv
	if h := s.hooks.Disconnecting; h != nil && c.known.Load() {
		h(c, why)
	}
	if s.recovery != nil {
		s.recovery.persist(c, why)
	}
	c.end(why)
	c.ns.leave(c)
	s.forget(c, why)
}

// end takes the connection out of its rooms, and ends what waits for it.
func (c *Conn) end(why *CloseError) {
	c.link.srv.leaveAll(c)
	c.mu.Lock()
	c.ended = true
	calls, cancel := c.calls, c.cancel
	c.calls = nil
	if c.patience != nil {
		c.patience.timer.Stop()
	}
	c.mu.Unlock()
	for _, call := range calls {
		call.finish(Payload{}, why)
	}
	if cancel != nil {
		cancel(why)
	}
}
