package engineio

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"syscall"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
)

// The reasons of sessions' ends, in the words of official servers.
const (
	reasonClose = "transport close" // the peer ended it
	reasonError = "transport error" // it broke, or the peer broke its rules
	reasonParse = "parse error"     // what the peer sent is no packet
)

// Conn is a session as its server sees it: polling, or on a WebSocket. Beside
// [transport.Conn] it implements [transport.Heart], [transport.Gate] and
// [transport.Sleeper], with their rules on concurrent use. Slices given to
// Write are made of whole frames. It does nothing about the heartbeat itself:
// the pings of clients of version 3 are delivered, those of version 4 are to
// be sent.
//
// The session ends with a [transport.CloseError] whose Reason is "transport
// close", "transport error" or "parse error"; Code is that of a WebSocket's
// close frame (1000, which no official peer sends, is reported as 1005), 1005
// where nothing is known, and with Local what RFC 6455 has for the fault. An end
// without a close frame is io.EOF, too, unless it is Local. After a close
// frame was sent to a client that polls, and taken by it, Wait returns io.EOF.
type Conn struct {
	srv *Server
	// ws is set at the beginning, or once, by the upgrade.
	ws atomic.Pointer[websocket.Conn]
	// poll is nil on sessions that began with a WebSocket. Its reader makes it
	// nil when all goes on with ws.
	poll    atomic.Pointer[polling]
	origin  *origin // nil: that of ws
	err     error   // the reader's: final
	id      sessionID
	version version
	reframe bool // ws does not take neutral bytes as they are
	base64  bool // ws carries no binary frames
	left    atomic.Bool
}

var (
	_ transport.Conn    = (*Conn)(nil)
	_ transport.Sleeper = (*Conn)(nil)
	_ transport.Heart   = (*Conn)(nil)
	_ transport.Gate    = (*Conn)(nil)
)

// origin is where a session's first request came from.
type origin struct {
	addr net.Addr
	tls  *tls.ConnectionState
}

// peerAddr is an address that is no IP address and port.
type peerAddr string

func (a peerAddr) Network() string { return "http" }
func (a peerAddr) String() string  { return string(a) }

func originOf(r *http.Request) *origin {
	o := &origin{tls: r.TLS}
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		o.addr = net.TCPAddrFromAddrPort(at)
	} else {
		o.addr = peerAddr(r.RemoteAddr)
	}
	return o
}

// ID returns the session's secret: whoever knows it may send in its name.
func (c *Conn) ID() string { return c.id.String() }

// Version returns the protocol's version, 3 or 4.
func (c *Conn) Version() int { return int(c.version) }

// Transport returns "polling", or "websocket" from the upgrade on.
func (c *Conn) Transport() string {
	if c.ws.Load() == nil {
		return transportPolling
	}
	return transportWebSocket
}

// RemoteAddr returns where the session's first request came from.
func (c *Conn) RemoteAddr() net.Addr {
	if c.origin != nil {
		return c.origin.addr
	}
	return c.ws.Load().NetConn().RemoteAddr()
}

// ConnectionState returns the TLS state of the session's first request, nil
// without TLS.
func (c *Conn) ConnectionState() *tls.ConnectionState {
	if c.origin != nil {
		return c.origin.tls
	}
	if t, ok := c.ws.Load().NetConn().(*tls.Conn); ok {
		state := t.ConnectionState()
		return &state
	}
	return nil
}

// NetConn returns the connection below the WebSocket, nil while polling.
func (c *Conn) NetConn() net.Conn {
	if ws := c.ws.Load(); ws != nil {
		return ws.NetConn()
	}
	return nil
}

// Heartbeat implements [transport.Heart].
func (c *Conn) Heartbeat() transport.Heartbeat {
	return transport.Heartbeat{
		Expected: c.version == v3,
		Interval: c.srv.o.PingInterval,
		Timeout:  c.srv.o.PingTimeout,
	}
}

// Framer implements [transport.Conn]. All sessions of a version share their
// bytes, polling or not.
func (c *Conn) Framer() transport.Framer { return framer{c.version} }

// Ready implements [transport.Gate]: a client that polls asks for something.
func (c *Conn) Ready() bool {
	if p := c.poll.Load(); p != nil {
		return p.ready()
	}
	return true
}

// Next implements [transport.Reader].
func (c *Conn) Next() (transport.Frame, bool, error) {
	if c.err != nil {
		return transport.Frame{}, false, c.err
	}
	if p := c.poll.Load(); p != nil {
		f, ok := p.next()
		return f, ok, nil
	}
	ws := c.ws.Load()
	for {
		f, ok, err := ws.Next()
		if err != nil {
			return transport.Frame{}, false, c.over(socketEnd(err))
		}
		if !ok {
			return transport.Frame{}, false, nil
		}
		var p packet
		switch f.Type {
		case transport.Text:
			p, err = decodeText(c.version, f.Data)
		case transport.Binary:
			p, err = decodeBinary(c.version, f.Data)
		case transport.Ping:
			if err := pong(ws, f.Data); err != nil {
				return transport.Frame{}, false, c.over(socketEnd(err))
			}
			continue
		default:
			continue
		}
		if err == nil {
			f, ok, err = frameOf(c.version, p)
		}
		if err != nil {
			return transport.Frame{}, false, c.over(packetEnd(err))
		}
		if ok {
			return f, true, nil
		}
	}
}

// Wait implements [transport.Reader].
func (c *Conn) Wait() error {
	if c.err != nil {
		return c.err
	}
	if p := c.poll.Load(); p != nil {
		switched, err := p.wait()
		if err != nil && !errors.Is(err, transport.ErrInterrupted) {
			return c.over(err)
		}
		if switched {
			c.poll.Store(nil)
		}
		return err
	}
	err := c.ws.Load().Wait()
	if err != nil && !errors.Is(err, transport.ErrInterrupted) {
		return c.over(socketEnd(err))
	}
	return err
}

// Detach implements [transport.Reader].
func (c *Conn) Detach() (release func()) {
	if c.poll.Load() != nil {
		return func() {} // a body has memory of its own
	}
	return c.ws.Load().Detach()
}

// Write implements [transport.Conn].
func (c *Conn) Write(bytes ...[]byte) error {
	if p := c.poll.Load(); p != nil {
		taken, err := p.write(bytes)
		if bytes = bytes[taken:]; err != nil || len(bytes) == 0 {
			return err
		}
	}
	return c.writeSocket(c.ws.Load(), bytes...)
}

// writeSocket writes neutral bytes to a WebSocket in the form that it takes.
func (c *Conn) writeSocket(ws *websocket.Conn, bytes ...[]byte) error {
	if !c.reframe {
		return ws.Write(bytes...)
	}
	scratch := c.srv.scratch.Get().(*[]byte) //nolint:forcetypeassert // the pool has nothing else
	defer c.srv.scratch.Put(scratch)
	out := (*scratch)[:0]
	for _, b := range bytes {
		var err error
		if out, err = c.reframed(out, ws, b); err != nil {
			return err
		}
	}
	if cap(out) <= keptScratch {
		*scratch = out
	}
	return ws.Write(out)
}

// reframed appends neutral bytes in the form that a WebSocket takes.
func (c *Conn) reframed(out []byte, ws *websocket.Conn, neutral []byte) ([]byte, error) {
	for len(neutral) > 0 {
		f := ws.Framer()
		if comp, ok := f.(transport.Compressor); ok && marked(neutral) {
			f = comp.Uncompressed()
		}
		t, payload, rest, err := cutFrame(neutral)
		if err != nil {
			return nil, err
		}
		start := len(out)
		out = f.Begin(out)
		if t == transport.Binary && c.base64 {
			out = appendText(out, c.version, t, payload)
			t = transport.Text
		} else {
			out = append(out, payload...)
		}
		if out, err = f.End(out, start, t); err != nil {
			return nil, err
		}
		neutral = rest
	}
	return out, nil
}

// keptScratch is the largest buffer that is kept for frames made anew.
const keptScratch = 64 << 10

// Close implements [transport.Conn]. A poll that waits is told that the
// session is over.
func (c *Conn) Close() error {
	c.leave()
	if p := c.poll.Load(); p != nil {
		p.close()
	}
	if ws := c.ws.Load(); ws != nil {
		return ws.Close()
	}
	return nil
}

// Interrupt implements [transport.Sleeper].
func (c *Conn) Interrupt() {
	if p := c.poll.Load(); p != nil {
		p.interrupt()
		return
	}
	c.ws.Load().Interrupt()
}

// Idle implements [transport.Sleeper]. A session that polls cannot be watched.
func (c *Conn) Idle() (syscall.RawConn, bool) {
	if c.poll.Load() != nil {
		return nil, false
	}
	return c.ws.Load().Idle()
}

// leave takes the session out of the table.
func (c *Conn) leave() {
	if !c.left.Swap(true) {
		c.srv.leave(c)
	}
}

// over notes what the reader is told from now on.
func (c *Conn) over(err error) error {
	c.leave()
	c.err = err
	return err
}

// pong answers a ping of the WebSocket's own. It goes around whoever writes,
// which a net.Conn allows: each of its writes is made of whole frames.
func pong(ws *websocket.Conn, data []byte) error {
	f := ws.Framer()
	out, err := f.End(append(f.Begin(nil), data...), 0, transport.Pong)
	if err != nil {
		return err
	}
	return ws.Write(out)
}

// What ends sessions beside malformed packets.
var (
	errDirection  = errors.New("engineio: a heartbeat of the other side's")
	errPeerClosed = errors.New("engineio: a close packet")
	errGivenUp    = errors.New("engineio: the client has given a request up")
	errOverlap    = errors.New("engineio: two requests of a kind at once")
)

// frameOf makes a frame of a packet of a session, false where it means nothing.
func frameOf(v version, p packet) (f transport.Frame, ok bool, err error) {
	switch p.kind {
	case kindMessage:
		f.Type, f.Data = transport.Text, p.data
		if p.binary {
			f.Type = transport.Binary
		}
		return f, true, nil
	case kindPing:
		if v != v3 {
			return f, false, errDirection
		}
		return transport.Frame{Type: transport.Ping}, true, nil // the answer has no data
	case kindPong:
		if v == v3 {
			return f, false, errDirection
		}
		return transport.Frame{Type: transport.Pong, Data: p.data}, true, nil
	case kindClose:
		return f, false, errPeerClosed
	}
	return f, false, nil
}

// ending is the end of a session and what else it was.
type ending struct {
	*transport.CloseError
	cause error
}

// Unwrap returns the CloseError, io.EOF unless that is Local, and the cause.
func (e *ending) Unwrap() []error {
	if e.Local {
		return []error{e.CloseError, e.cause}
	}
	return []error{e.CloseError, io.EOF, e.cause}
}

// cut is the end of a session whose client went away.
func cut(reason string, cause error) error {
	return &ending{&transport.CloseError{Code: transport.CloseNoStatus, Reason: reason}, cause}
}

// packetEnd is the end of a session for what a packet was.
func packetEnd(err error) error {
	fault := &transport.CloseError{Code: transport.CloseProtocolError, Reason: reasonParse, Local: true}
	switch {
	case errors.Is(err, errPeerClosed):
		return cut(reasonClose, err)
	case errors.Is(err, errDirection):
		fault.Reason = reasonError
	case errors.Is(err, errNotText):
		fault.Code = transport.CloseInvalidPayload
	}
	return &ending{fault, err}
}

// socketEnd is the end of a session for what a WebSocket reported.
func socketEnd(err error) error {
	var closed *transport.CloseError
	switch {
	case errors.Is(err, net.ErrClosed):
		return err
	case !errors.As(err, &closed):
		return cut(reasonClose, err)
	case closed.Local:
		return &ending{&transport.CloseError{Code: closed.Code, Reason: reasonError, Local: true}, err}
	}
	code := closed.Code
	if code == transport.CloseNormal {
		code = transport.CloseNoStatus // official clients come back after either
	}
	return &transport.CloseError{Code: code, Reason: reasonClose}
}
