package engineio

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
)

// ClientConn is the client's side of a session. It is a [transport.Conn], a
// [transport.Heart] and a [transport.Gate], with their rules on concurrent use. Bytes given to Write
// must be whole frames. While it polls, Write hands them to a goroutine that
// posts, and blocks while more than 64 KiB wait for it.
//
// The end of a session is a *transport.CloseError with one of the reasons of
// the protocol: "transport close" from the server, "transport error" (which
// wraps what has happened) or, with Local set, "parse error". The codes and
// reasons of the application, from 3000, come as they are.
type ClientConn struct {
	v    version
	sid  string
	beat transport.Heartbeat
	r    *requester
	most int // bytes of a batch that is posted

	// The reader's.
	frames []transport.Frame // not delivered yet
	in     *websocket.Conn   // what it reads from; nil while polling
	failed error             // final

	// The writer's, whoever has set writing.
	out []byte

	cancel context.CancelFunc // ends all goroutines
	mu     sync.Mutex
	// changed is for all that follows.
	changed  sync.Cond
	inbox    [][]transport.Frame // answers, or parts of one, that the reader has not taken
	pending  []byte              // neutral bytes to post
	waiting  int                 // bytes of pending, and of what is being posted
	socket   *websocket.Conn     // after an upgrade, or from the beginning
	err      error               // for the reader, behind the inbox
	writing  bool                // somebody writes to socket
	polling  bool                // a GET is not answered, or its answer not in the inbox
	posting  bool                // the same of a POST
	paused   bool                // no further GET, and behind its answer no POST: an upgrade is at hand
	expired  bool                // the upgrade took too long
	over     bool                // nothing can be written
	closed   bool                // Close was called
	requests int                 // goroutines that poll and post
}

var (
	_ transport.Conn  = (*ClientConn)(nil)
	_ transport.Heart = (*ClientConn)(nil)
	_ transport.Gate  = (*ClientConn)(nil)
)

const (
	clientWaitingBytes = 64 << 10 // Write blocks while more is to be posted
	clientInbox        = 2        // no GET while so many answers wait for the reader
	clientPart         = 256      // frames that wait for the reader as one
	clientKeptBytes    = 4 << 10  // of the writer's buffer
	clientBatchBytes   = 1e6      // of a POST to a server that does not say its limit
)

// lostError is the end of a session for what a request, or a write, has met:
// also an io.EOF and a CloseError.
type lostError struct {
	why   transport.CloseError
	cause error
}

func lost(err error) error {
	return &lostError{transport.CloseError{Code: transport.CloseNoStatus, Reason: reasonError}, err}
}

func (e *lostError) Error() string { return "engineio: " + e.why.Reason + ": " + e.cause.Error() }

func (e *lostError) Unwrap() []error { return []error{&e.why, io.EOF, e.cause} }

// violated is the end of a session whose server broke a rule.
func violated(code uint16, reason string) error {
	return &transport.CloseError{Code: code, Reason: reason, Local: true}
}

// malformedEnd is the end of a session after an error of decoding.
func malformedEnd(err error) error {
	switch {
	case errors.Is(err, errNotText):
		return violated(transport.CloseInvalidPayload, reasonParse)
	case errors.Is(err, errParse):
		return violated(transport.CloseProtocolError, reasonParse)
	}
	return err
}

func newClientConn(r *requester, open openPacket) *ClientConn {
	c := &ClientConn{
		v: r.v, sid: open.SID, r: r, most: clientBatchBytes, cancel: func() {},
		beat: transport.Heartbeat{
			Expected: r.v != v3,
			Interval: time.Duration(open.PingInterval) * time.Millisecond,
			Timeout:  time.Duration(open.PingTimeout) * time.Millisecond,
		},
	}
	if open.MaxPayload > 0 {
		c.most = int(min(open.MaxPayload, 1<<30))
	}
	c.changed.L = &c.mu
	return c
}

// ID returns the session's id, which is a secret of the two sides.
func (c *ClientConn) ID() string { return c.sid }

// Version returns the version of the protocol: 4 or 3.
func (c *ClientConn) Version() int { return int(c.v) }

// Transport returns "polling" or "websocket": what the session uses just now.
func (c *ClientConn) Transport() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.socket != nil {
		return transportWebSocket
	}
	return transportPolling
}

// NetConn returns the connection below the WebSocket, nil while polling.
func (c *ClientConn) NetConn() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.socket == nil {
		return nil
	}
	return c.socket.NetConn()
}

// Heartbeat implements [transport.Heart]: the server of version 4 sends pings,
// in version 3 the client does.
func (c *ClientConn) Heartbeat() transport.Heartbeat { return c.beat }

// Framer implements [transport.Conn].
func (c *ClientConn) Framer() transport.Framer { return framer{c.v} }

// Ready implements [transport.Gate]: while polling, nothing is being posted.
func (c *ClientConn) Ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.socket != nil || c.waiting == 0 && !c.halted()
}

// Next implements [transport.Reader].
func (c *ClientConn) Next() (transport.Frame, bool, error) {
	switch {
	case c.failed != nil:
		return transport.Frame{}, false, c.failed
	case len(c.frames) > 0:
		f := c.frames[0]
		c.frames = c.frames[1:]
		return f, true, nil
	case c.in == nil:
		return transport.Frame{}, false, nil
	}
	for {
		raw, ok, err := c.in.Next()
		if err != nil {
			c.failed = clientEnd(err)
			return transport.Frame{}, false, c.failed
		}
		if !ok {
			return transport.Frame{}, false, nil
		}
		f, ok, err := c.received(raw)
		if err != nil {
			c.failed = err
			return transport.Frame{}, false, err
		}
		if ok {
			return f, true, nil
		}
	}
}

// Wait implements [transport.Reader].
func (c *ClientConn) Wait() error {
	switch {
	case c.failed != nil:
		return c.failed
	case len(c.frames) > 0:
		return nil
	case c.in != nil:
		return clientEnd(c.in.Wait())
	}
	c.frames = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return net.ErrClosed
		case len(c.inbox) > 0:
			c.frames = c.inbox[0]
			c.inbox[0] = nil
			c.inbox = c.inbox[1:]
			c.changed.Broadcast()
			return nil
		case c.err != nil:
			return c.err
		case c.socket != nil:
			c.in, c.inbox = c.socket, nil
			return nil
		}
		c.changed.Wait()
	}
}

// Detach implements [transport.Reader].
func (c *ClientConn) Detach() (release func()) {
	if c.in != nil {
		return c.in.Detach()
	}
	return func() {} // each answer has memory of its own
}

// received makes a frame of what has come through the WebSocket, if it means
// anything here.
func (c *ClientConn) received(raw transport.Frame) (f transport.Frame, ok bool, err error) {
	var p packet
	switch raw.Type {
	case transport.Text:
		p, err = decodeText(c.v, raw.Data)
	case transport.Binary:
		p, err = decodeBinary(c.v, raw.Data)
	case transport.Ping: // RFC 6455 section 5.5.2: from what lies between, say
		return f, false, clientEnd(pong(c.in, raw.Data))
	default:
		return f, false, nil
	}
	if err != nil {
		return f, false, malformedEnd(err)
	}
	return c.frameOf(p)
}

// frameOf makes a frame of a packet, if it means anything here.
func (c *ClientConn) frameOf(p packet) (f transport.Frame, ok bool, err error) {
	switch {
	case p.kind == kindMessage && len(p.data) > c.r.o.MaxMessageBytes:
		return f, false, violated(transport.CloseTooBig, reasonError)
	case p.kind == kindMessage && p.binary:
		return transport.Frame{Type: transport.Binary, Data: p.data}, true, nil
	case p.kind == kindMessage:
		return transport.Frame{Type: transport.Text, Data: p.data}, true, nil
	case p.kind == kindPing && c.v != v3:
		return transport.Frame{Type: transport.Ping, Data: p.data}, true, nil
	case p.kind == kindPong && c.v == v3:
		return transport.Frame{Type: transport.Pong, Data: p.data}, true, nil
	case p.kind == kindClose:
		return f, false, cut(reasonClose, io.EOF)
	}
	return f, false, nil // a noop, or what belongs to an opening
}

// clientEnd translates the end of a WebSocket.
func clientEnd(err error) error {
	var closed *transport.CloseError
	switch {
	case err == nil, errors.Is(err, net.ErrClosed):
		return err
	case errors.As(err, &closed) && closed.Local:
		return violated(closed.Code, reasonError)
	case errors.As(err, &closed) && closed.Code >= 3000:
		return closed
	case errors.As(err, &closed) && closed.Code == transport.CloseNormal:
		return &transport.CloseError{Code: transport.CloseNoStatus, Reason: reasonClose}
	case errors.As(err, &closed):
		return &transport.CloseError{Code: closed.Code, Reason: reasonClose}
	case errors.Is(err, io.EOF):
		return cut(reasonClose, err)
	}
	return lost(err)
}

// Write implements [transport.Conn]. A close frame has been posted, or never
// will be, when it returns.
func (c *ClientConn) Write(bytes ...[]byte) error {
	c.mu.Lock()
	for !c.over && (c.writing || c.socket == nil && c.waiting > clientWaitingBytes) {
		c.changed.Wait()
	}
	switch {
	case c.over:
		defer c.mu.Unlock()
		return c.overErr()
	case c.socket == nil:
		defer c.mu.Unlock()
		return c.enqueue(bytes)
	}
	c.writing = true
	c.mu.Unlock()
	err := c.writeSocket(c.socket, bytes...)
	c.written()
	return err
}

// overErr is why nothing can be written. c.mu is held.
func (c *ClientConn) overErr() error {
	if c.err != nil && !c.closed {
		return c.err
	}
	return net.ErrClosed
}

// enqueue hands bytes to the goroutine that posts. c.mu is held.
func (c *ClientConn) enqueue(bytes [][]byte) error {
	last := false
	for _, b := range bytes {
		if err := eachFrame(b, func(t transport.FrameType, _ []byte) error {
			last = last || t == transport.Close
			return nil
		}); err != nil {
			return err
		}
	}
	for _, b := range bytes {
		c.pending = append(c.pending, b...)
		c.waiting += len(b)
	}
	c.changed.Broadcast()
	for last && !c.over && c.waiting > 0 {
		c.changed.Wait()
	}
	return nil
}

// writeSocket translates neutral bytes, and writes them. The caller has set
// c.writing.
func (c *ClientConn) writeSocket(s *websocket.Conn, bytes ...[]byte) error {
	out, err := reframe(c.out[:0], s.Framer(), bytes...)
	if err != nil || len(out) == 0 {
		return err
	}
	if c.out = out; cap(out) > clientKeptBytes {
		c.out = nil
	}
	return s.Write(out)
}

// reframe appends neutral frames as f makes them.
func reframe(dst []byte, f transport.Framer, bytes ...[]byte) ([]byte, error) {
	w := transport.NewWriter(f, dst)
	for _, b := range bytes {
		for len(b) > 0 {
			t, payload, rest, err := cutFrame(b)
			if err != nil {
				return dst, err
			}
			if err := w.Frame(t, payload); err != nil {
				return dst, err
			}
			b = rest
		}
	}
	return w.Bytes(), nil
}

// written lets others write to the WebSocket.
func (c *ClientConn) written() {
	c.mu.Lock()
	c.writing = false
	c.changed.Broadcast()
	c.mu.Unlock()
}

// Close implements [transport.Conn]. The session's goroutines end.
func (c *ClientConn) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed, c.over = true, true
	socket := c.socket
	c.inbox, c.pending = nil, nil
	c.changed.Broadcast()
	c.mu.Unlock()
	c.cancel()
	if socket == nil || again {
		return nil
	}
	return socket.Close()
}

// fail ends the session.
func (c *ClientConn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.over = true
	socket := c.socket
	c.changed.Broadcast()
	c.mu.Unlock()
	c.cancel()
	if socket != nil {
		_ = socket.Close() // it has failed already
	}
}
