package polywire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"

	"github.com/polywire/polywire/wire"
)

// Handshake is what is known of a peer that wants to connect.
type Handshake struct {
	Wire       string
	Namespace  string               // where it wants to; "/" on wires without namespaces
	Request    *http.Request        // that opened the link; nil on others
	RemoteAddr net.Addr             // nil where there is none
	TLS        *tls.ConnectionState // nil without TLS
	// Hello is true when the client's first message is there, as it always is
	// on wires with namespaces: Header and Payload are from it. They are valid
	// until the authenticator returns. Of wires whose hello has an object in
	// place of headers (Socket.IO's auth), Header is what is text in that.
	Hello   bool
	Header  map[string]string
	Payload Payload
	Conn    *Conn // to set values; it cannot send yet
}

// Authenticator decides who a peer is. A nil identity is fine: nobody in
// particular. An error refuses the connection with [CloseUnauthorized] (the
// message of an *[Error] goes along as the reason; an *Error with
// [CodeForbidden] closes with [CloseForbidden], with [CodeUnavailable] with
// [CloseServerError]). [ErrAwaitHello] asks for another try with the client's
// hello. ctx ends with [WithAuthTimeout].
type Authenticator func(ctx context.Context, h *Handshake) (*Identity, error)

// WithAuth sets who may connect. Default: everybody.
func WithAuth(a Authenticator) Option {
	return optionFunc(func(c *config) error { c.auth = a; return nil })
}

// authenticate asks the authenticator and opens the connection, or closes it.
func (l *link) authenticate(r *http.Request, hello *wire.Packet) (opened bool) {
	if l.srv.cfg.auth == nil && len(l.srv.spaces.main.admit) == 0 {
		return l.open(nil)
	}
	h := &Handshake{Wire: l.wire.name, Namespace: mainNamespace, Request: r, RemoteAddr: l.conn.RemoteAddr(), TLS: l.conn.TLS(), Conn: &l.conn}
	if hello != nil {
		h.Hello, h.Header, h.Payload = true, hello.Header, hello.Payload
		if hello.Kind == KindHello {
			h.Header = l.credentials(hello)
		}
	}
	ctx, cancel := context.WithTimeout(l.srv.cfg.base, l.srv.cfg.AuthTimeout)
	defer cancel()
	id, err := l.srv.authorized(ctx, h, &l.conn)
	switch {
	case err == nil:
		return l.open(id)
	case errors.Is(err, ErrAwaitHello) && hello == nil:
		return false
	}
	l.srv.refused(l.wire.name, h.RemoteAddr, refusedBy(err), err)
	l.srv.cfg.logger.Info("polywire: connection refused", "wire", l.wire.name, "remote", addressText(h.RemoteAddr), "error", err)
	if hello != nil && (hello.ID != 0 || hello.Key != "") {
		_ = l.send(&wire.Packet{Type: wire.Error, ID: hello.ID, Key: hello.Key, Err: l.refusalBody(err)}, sendAlways) // or it has gone
	}
	l.close(refusal(err))
	return false
}

func refusal(err error) *CloseError {
	why := &CloseError{Code: CloseUnauthorized, Reason: "unauthorized", cause: err}
	if e, ok := errors.AsType[*Error](err); ok {
		if e.Message != "" {
			why.Reason = e.Message
		}
		switch e.Code {
		case CodeForbidden:
			why.Code = CloseForbidden
		case CodeUnavailable:
			why.Code = CloseServerError
		case CodeTooManyRequests:
			why.Code = CloseTooManyRequests
		}
	}
	return why
}

// identify notes who a connection is, if that user may have one more.
func (l *link) identify(c *Conn, id *Identity) error {
	c.mu.Lock()
	c.identity = id
	c.mu.Unlock()
	u, ok := l.srv.admitUser(id.user())
	if !ok {
		return Errorf(CodeTooManyRequests, "too many connections of this user")
	}
	if u != nil {
		c.countFor(u)
	}
	return nil
}

// open makes the connection known.
func (l *link) open(id *Identity) bool {
	if err := l.identify(&l.conn, id); err != nil {
		l.srv.refused(l.wire.name, l.conn.RemoteAddr(), refusedLimit, err)
		l.close(&CloseError{Code: CloseConnectionLimit, Reason: err.(*Error).Message}) //nolint:errorlint,forcetypeassert // made there
		return false
	}
	if !l.begin() || !l.conn.phase.CompareAndSwap(phaseOpening, phaseOpen) {
		return false
	}
	l.conn.known.Store(true)
	l.wire.accepted.Add(1)
	l.lookSoon()
	if h := l.srv.hooks.Connect; h != nil {
		h(&l.conn)
	}
	return true
}

// begin is the end of the link's opening.
func (l *link) begin() bool {
	if !l.phase.CompareAndSwap(phaseOpening, phaseOpen) {
		return false
	}
	l.srv.limits.opening.Add(-1)
	return true
}

// hello answers a client's introduction.
func (l *link) hello(p *wire.Packet) error {
	if l.multi != nil && l.dial == nil {
		return l.knock(p)
	}
	if l.dial != nil || l.greeted {
		return badRequest("a second hello, or one from the wrong side")
	}
	l.greeted = true
	if l.phase.Load() == phaseOpening && !l.authenticate(nil, p) {
		return nil // it has been closed
	}
	w := wire.Packet{Type: wire.Welcome, Key: l.conn.ID()}
	if both := l.srv.codes.common(p.Codes); both != nil {
		l.codes.Store(both)
		w.Codes = both.codes
	}
	return l.send(&w, sendOpen)
}

// KindHello is the kind of the message by which clients of wires without a
// hello (DRS, Goomerang) may introduce themselves, where the [Authenticator]
// waits for one. It must be their first; the authenticator finds what it says
// in the [Handshake] (in Header what is text in the object that it brings), and
// a call is answered with {"id": ...}, the connection's.
const KindHello = "polywire.hello"

// helloByMessage is hello on wires without one.
func (l *link) helloByMessage(p *wire.Packet) error {
	l.greeted = true
	hello := *p
	hello.Type = wire.Hello
	if !l.authenticate(nil, &hello) || p.Type != wire.Call {
		return nil
	}
	w := wire.Packet{Type: wire.Reply, ID: p.ID, Key: p.Key}
	if err := l.fillAs(&w, KindHello, map[string]string{"id": l.conn.ID()}); err != nil {
		return err
	}
	return l.send(&w, sendOpen)
}

// dial is what only a dialled link has.
type dial struct {
	greets   bool          // waits for Welcome
	remoteID string        // what the other side calls this connection
	ready    chan struct{} // closed when the connection is open
	progress progress
}

// welcome ends the opening of a dialled link.
func (l *link) welcome(p *wire.Packet) error {
	if l.dial == nil || !l.dial.greets || l.phase.Load() != phaseOpening {
		return badRequest("a welcome that nobody waits for")
	}
	if l.multi != nil && p.Namespace != l.conn.label() {
		return badRequest("a welcome to another namespace")
	}
	if both := l.srv.codes.common(p.Codes); both != nil {
		l.codes.Store(both)
	}
	l.dial.remoteID = p.Key
	if l.open(nil) {
		close(l.dial.ready)
	}
	return nil
}

// refusedBy ends a dialled link whose namespace the other side has closed to it.
func (l *link) refusedBy(p *wire.Packet) error {
	if l.dial == nil || l.multi == nil || l.phase.Load() != phaseOpening {
		return badRequest("a refusal that nobody waits for")
	}
	why := &CloseError{Code: CloseUnauthorized, Reason: "refused", Remote: true, cause: l.srv.remoteError(p.Err)}
	if p.Err != nil && p.Err.Message != "" {
		why.Reason = p.Err.Message
	}
	l.fail(why)
	l.close(why)
	return nil
}

// ConnectOptions is what a dialling side says of itself.
type ConnectOptions struct {
	Wire    string            // the wire's name
	Header  map[string]string // for the hello, such as credentials
	Payload Payload           // for the hello
}

// Connect makes a connection of a link that was dialled, and waits until the
// other side has let it in. It is what package client is built on. The link is
// closed when it fails; the error is a *[CloseError] if the other side refused.
func (s *Server) Connect(ctx context.Context, link wire.Link, o ConnectOptions) (*Conn, error) {
	d := &dial{greets: link.Greets, ready: make(chan struct{})}
	l, err := s.attach(link, o.Wire, d)
	if err != nil {
		return nil, err
	}
	hello := wire.Packet{}
	if link.Hello != nil {
		hello = *link.Hello
	}
	if l.multi != nil {
		l.conn.shared = &shared{label: hello.Namespace}
	}
	if d.greets {
		hello.Type, hello.Header, hello.Codes = wire.Hello, o.Header, s.codes.codes
		if !o.Payload.Empty() {
			hello.Payload = o.Payload
		}
		if err := l.send(&hello, sendAlways); err != nil {
			l.kill(&CloseError{Code: CloseBadRequest, Reason: "hello failed", cause: err})
			l.end() // nobody reads yet who would
			return nil, err
		}
	} else if l.open(nil) {
		close(d.ready)
	}
	l.startReading(0)
	select {
	case <-d.ready:
		return &l.conn, nil
	case <-l.conn.Done():
		select {
		case <-d.ready: // it has been open; who uses it sees its end
			return &l.conn, nil
		default:
			return nil, l.closedError()
		}
	case <-ctx.Done():
		l.kill(&CloseError{Code: CloseStale, Reason: "no welcome in time", cause: ctx.Err()})
		return nil, ctx.Err()
	}
}

// RemoteID returns the ID that the other side has given a dialled connection,
// empty where the wire does not tell.
func (c *Conn) RemoteID() string {
	if d := c.link.dial; d != nil {
		return d.remoteID
	}
	return ""
}
