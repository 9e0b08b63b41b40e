package polywire

import (
	"bufio"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire/wire"
)

// multi is what a link with namespaces has: its connections come and go while
// it lives. The link's own conn is the first of them.
type multi struct {
	mu       sync.Mutex
	changed  sync.Cond // a connection is joining no longer
	taken    bool      // the link's own conn has been given to a namespace
	asked    bool      // whose doorkeepers decide about it now: they finish it, should the link end
	conns    []*Conn   // open
	deciding []*knock  // whose doorkeepers are asked
	left     []string  // namespaces that were left: what was under way to them is no fault
	refused  int
	ended    bool
	opening  string // the request that opened the link, for the doorkeepers
}

// knock is a wish for a connection that is being decided about.
type knock struct {
	label string
	gone  bool // the peer has said goodbye meanwhile; under multi.mu
}

// shared is what a connection on a link with namespaces has besides.
type shared struct {
	label     string // the namespace as the peer calls it
	id        string // in place of the connection's own; empty: none
	secret    string // names the session that the connection may be resumed as; empty: none
	resumed   bool
	joining   bool        // not announced yet; under multi.mu
	announced atomic.Bool // it was joining, and is no longer
	ending    *CloseError // the end came while joining; under multi.mu
}

// maxRefused is how many refused connects a link may make.
const maxRefused = 100

func (s *Server) newMulti(r *http.Request) *multi {
	m := new(multi)
	m.changed.L = &m.mu
	if r != nil && (s.cfg.auth != nil || s.anyDoorkeeper()) {
		m.opening = keepRequest(r)
	}
	return m
}

// label is the namespace that packets of the connection carry.
func (c *Conn) label() string {
	if c.shared == nil {
		return ""
	}
	return c.shared.label
}

// connOf returns the open connection that a packet is about, nil if there is none.
func (l *link) connOf(namespace string) *Conn {
	if l.multi == nil {
		return &l.conn
	}
	if c := &l.conn; c.phase.Load() == phaseOpen && c.shared.label == namespace {
		return c
	}
	return l.multi.find(namespace)
}

func (m *multi) find(namespace string) *Conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		if c.shared.label == namespace && c.phase.Load() == phaseOpen {
			return c
		}
	}
	return nil
}

// open returns the connections that are open.
func (m *multi) open() []*Conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.conns)
}

// await blocks while a connection is being announced, so that its hook Connect
// comes before its first message.
func (m *multi) await(c *Conn) {
	if c.shared.announced.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for c.shared.joining {
		m.changed.Wait()
	}
}

// wasLeft reports whether a connection in the namespace has ended before.
func (m *multi) wasLeft(namespace string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.left, namespace)
}

// end is the end of the link: nobody joins any more. It returns who is there,
// and whether the link's own conn is free of doorkeepers.
func (m *multi) end() (conns []*Conn, free bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	return slices.Clone(m.conns), !m.asked
}

// eachConn calls f for the link's connections.
func (l *link) eachConn(f func(*Conn)) {
	if l.multi == nil {
		f(&l.conn)
		return
	}
	for _, c := range l.multi.open() {
		f(c)
	}
}

// misplaced ends a link whose peer is in no state to send what it sent.
func misplaced(what string) error {
	return &wire.ProtocolError{Code: CloseBadRequest, Reason: reasonServerClose, Err: faultError(what)}
}

// knock is a peer's wish for a connection in a namespace. It returns at once;
// the doorkeepers are asked on a goroutine where there are any.
func (l *link) knock(p *wire.Packet) error {
	label := p.Namespace
	k, err := l.multi.begin(label, &l.srv.cfg)
	switch {
	case err != nil:
		return err
	case k == nil:
		return l.turnAway(label, Errorf(CodeTooManyRequests, "too many namespaces"))
	}
	hello := *p
	if l.srv.cfg.auth == nil && !l.srv.guarded(label) {
		c := l.newConn(&hello)
		if c.ns = l.srv.enter(&Handshake{Namespace: label}, c); c.ns == nil {
			c.ns = l.srv.spaces.main
			return l.decline(c, k, errInvalidNamespace())
		}
		return l.admit(&hello, c, k, nil)
	}
	hello.Payload = p.Payload.Clone()
	l.srv.goes.Go(func() {
		if err := l.askDoorkeepers(&hello, k); err != nil {
			why, _ := frameError(err)
			l.close(why)
		}
	})
	return nil
}

// askDoorkeepers lets the authenticator and the namespace decide.
func (l *link) askDoorkeepers(hello *wire.Packet, k *knock) error {
	ctx, cancel := context.WithTimeout(l.srv.cfg.base, l.srv.cfg.AuthTimeout)
	defer cancel()
	c := l.newConn(hello)
	h := &Handshake{
		Wire: l.wire.name, Request: l.multi.request(l), RemoteAddr: l.conn.RemoteAddr(), TLS: l.conn.TLS(),
		Namespace: hello.Namespace, Hello: true, Header: l.credentials(hello), Payload: hello.Payload, Conn: c,
	}
	if c.ns = l.srv.enter(h, c); c.ns == nil {
		c.ns = l.srv.spaces.main
		return l.decline(c, k, errInvalidNamespace())
	}
	id, err := l.srv.authorized(ctx, h, c)
	if err != nil {
		l.srv.cfg.logger.Info("polywire: connection refused", "wire", l.wire.name, "remote", addressText(h.RemoteAddr),
			"namespace", hello.Namespace, "error", err)
		return l.decline(c, k, err)
	}
	return l.admit(hello, c, k, id)
}

// credentials returns what a hello says of its sender: its header, or what is
// text in the object that such wires have in place of one.
func (l *link) credentials(hello *wire.Packet) map[string]string {
	var object map[string]any
	if hello.Header != nil || hello.Payload.Empty() || l.srv.cfg.codecs.Unmarshal(hello.Payload, &object) != nil {
		return hello.Header
	}
	texts := make(map[string]string)
	for key, v := range object {
		if text, ok := v.(string); ok {
			texts[key] = text
		}
	}
	return texts
}

// newConn makes the connection for a hello: the link's own, if it is free.
func (l *link) newConn(hello *wire.Packet) *Conn {
	m := l.multi
	m.mu.Lock()
	c := &l.conn
	if m.taken || m.ended {
		c = &Conn{link: l, opened: time.Now().UnixNano()}
	} else {
		m.taken, m.asked = true, true
	}
	c.ns = l.srv.spaces.main
	c.shared = &shared{label: hello.Namespace, id: hello.Key}
	m.mu.Unlock()
	return c
}

// decline is the end of a connection that was not let in.
func (l *link) decline(c *Conn, k *knock, why error) error {
	l.srv.leaveAll(c)
	c.ns.leave(c)
	c.mu.Lock()
	c.values, c.identity = nil, nil
	c.mu.Unlock()
	l.multi.mu.Lock()
	orphan := c == &l.conn && l.multi.ended
	if c == &l.conn {
		l.multi.taken, l.multi.asked = false, false
	}
	l.multi.mu.Unlock()
	if orphan {
		c.finish(l.endedBy())
	}
	if l.decided(k) {
		return nil // nobody waits for the answer
	}
	return l.turnAway(k.label, why)
}

// turnAway tells the peer that it may not come in. One that goes on knocking
// is shown out.
func (l *link) turnAway(label string, why error) error {
	l.srv.refused(l.wire.name, l.conn.RemoteAddr(), refusedBy(why), why)
	l.multi.mu.Lock()
	l.multi.refused++
	enough := l.multi.refused > maxRefused
	l.multi.mu.Unlock()
	if enough {
		return &wire.ProtocolError{Code: CloseTooManyRequests, Reason: reasonServerClose, Err: faultError("too many refused connects")}
	}
	body := l.refusalBody(why)
	_ = l.send(&wire.Packet{Type: wire.Refused, Namespace: label, Err: body}, sendAlways) // or it has gone already
	return nil
}

// begin takes a wish up; nil without an error: there are too many.
func (m *multi) begin(label string, cfg *config) (*knock, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.deciding {
		if k.label == label && !k.gone {
			return nil, misplaced("a second connect to a namespace")
		}
	}
	for i := slices.IndexFunc(m.conns, func(c *Conn) bool { return c.shared.label == label }); i >= 0; {
		if m.conns[i].shared.ending == nil {
			return nil, misplaced("a second connect to a namespace")
		}
		m.changed.Wait() // it has been left while it was being announced
		i = slices.IndexFunc(m.conns, func(c *Conn) bool { return c.shared.label == label })
	}
	if len(m.conns)+len(m.deciding) >= cfg.MaxNamespaces || len(m.deciding) >= cfg.MaxConnecting {
		return nil, nil //nolint:nilnil // see above
	}
	k := &knock{label: label}
	m.deciding = append(m.deciding, k)
	return k, nil
}

// decided is the end of a wish. It reports whether the peer has taken it back.
func (l *link) decided(k *knock) (gone bool) {
	m := l.multi
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deciding = slices.DeleteFunc(m.deciding, func(d *knock) bool { return d == k })
	return k.gone
}

// takeBack notes that the peer has said goodbye to what is being decided about.
func (m *multi) takeBack(label string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.deciding {
		if k.label == label && !k.gone {
			k.gone = true
			return true
		}
	}
	return false
}

// admit makes the connection part of its namespace, tells the peer, then the hooks.
func (l *link) admit(hello *wire.Packet, c *Conn, k *knock, id *Identity) error {
	if err := l.identify(c, id); err != nil {
		return l.decline(c, k, err)
	}
	if c != &l.conn {
		if err := l.srv.seat(c); err != nil {
			c.ns.leave(c)
			l.decided(k)
			return nil //nolint:nilerr // the server is closing, and the link with it
		}
	}
	if !l.welcomeIn(c, hello, k) {
		c.finish(l.endedBy())
		l.decided(k)
		return nil
	}
	l.decided(k)
	if h := l.srv.hooks.Connect; h != nil {
		h(c)
	}
	m := l.multi
	m.mu.Lock()
	c.shared.joining = false
	c.shared.announced.Store(true)
	why := c.shared.ending
	m.changed.Broadcast()
	m.mu.Unlock()
	if why != nil { // the end came meanwhile
		c.finish(why)
	}
	return nil
}

// welcomeIn opens the connection and tells the peer, unless the link has ended.
func (l *link) welcomeIn(c *Conn, hello *wire.Packet, k *knock) bool {
	m := l.multi
	welcome := wire.Packet{Type: wire.Welcome, Namespace: c.shared.label}
	resume := func() {}
	if r := l.srv.recovery; r != nil {
		r.displace(hello, c.Identity())
		r.mu.Lock()
		defer r.mu.Unlock()
		resume = func() { r.begin(c, hello) }
	}
	m.mu.Lock()
	// All at once, for who ends it meanwhile: it has come, or it has not.
	if k.gone || m.ended || !c.phase.CompareAndSwap(phaseOpening, phaseOpen) {
		m.mu.Unlock()
		return false
	}
	m.conns = append(m.conns, c)
	c.shared.joining = true
	c.known.Store(true)
	if c == &l.conn {
		m.asked = false
	}
	m.mu.Unlock()
	l.wire.accepted.Add(1)
	if l.begin() {
		l.lookSoon()
	}
	resume()
	if c.shared.id != "" {
		l.srv.aliases.add(c)
		if n := l.srv.node; n != nil {
			n.interest(c.ns, c.shared.id, true)
		}
	}
	welcome.Key, welcome.Resume = c.ID(), c.shared.secret
	_ = l.send(&welcome, sendAlways) // a link that has ended needs none
	return true
}

// endedBy is why the link has ended or is about to.
func (l *link) endedBy() *CloseError {
	if why := l.cause.Load(); why != nil {
		return why
	}
	return &CloseError{Code: CloseConnectionClosed, Reason: "connection lost"}
}

// goodbyeFrom ends a connection at its peer's wish; the link stays.
func (l *link) goodbyeFrom(p *wire.Packet) error {
	if l.dial != nil {
		l.fail(&CloseError{Code: CloseForceDisconnect, Reason: "io server disconnect", Remote: true})
		l.close(l.cause.Load())
		return nil
	}
	c := l.connOf(p.Namespace)
	if c == nil {
		if l.multi.takeBack(p.Namespace) || l.multi.wasLeft(p.Namespace) {
			return nil
		}
		return misplaced("a goodbye from a namespace that is not joined")
	}
	c.finish(&CloseError{Code: CloseNormal, Reason: reasonPeerLeft, Remote: true})
	return nil
}

// leaveLink takes an ended connection off its link. False: it is joining just
// now, and ends when that is done.
func (c *Conn) leaveLink(why *CloseError) bool {
	m := c.link.multi
	if m == nil || c.shared == nil || c.link.dial != nil {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.shared.joining && c.known.Load() {
		if c.shared.ending == nil {
			c.shared.ending = why
		}
		return false
	}
	m.conns = slices.DeleteFunc(m.conns, func(other *Conn) bool { return other == c })
	m.changed.Broadcast()
	if !slices.Contains(m.left, c.shared.label) && len(m.left) < maxRefused {
		m.left = append(m.left, c.shared.label)
	}
	return true
}

// keepRequest writes down what doorkeepers may want to know of a request, in
// one string: links live long, and requests are large.
func keepRequest(r *http.Request) string {
	var b strings.Builder
	b.WriteString(r.Method + " " + r.URL.RequestURI() + " HTTP/1.1\r\nHost: " + r.Host + "\r\n")
	_ = r.Header.WriteSubset(&b, map[string]bool{ // a Builder does not fail
		"Connection": true, "Upgrade": true, "Sec-Websocket-Key": true, "Sec-Websocket-Version": true,
		"Sec-Websocket-Extensions": true, "Content-Length": true, "Transfer-Encoding": true,
	})
	b.WriteString("\r\n")
	return strings.Clone(b.String()) // without the room that a Builder has left
}

// request returns the request that opened the link, without its body and what
// is only about its hop. Nil: there was none.
func (m *multi) request(l *link) *http.Request {
	if m.opening == "" {
		return nil
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(m.opening)))
	if err != nil {
		return nil // it was read once, so that does not happen
	}
	if a := l.conn.RemoteAddr(); a != nil {
		r.RemoteAddr = a.String()
	}
	r.TLS = l.conn.TLS()
	return r
}
