// Package websocket is the WebSocket protocol (RFC 6455) as a transport, for
// both sides, with compression of messages (RFC 7692) as an option.
//
// [Accept] and [Dial] do the opening handshake. A connection checks everything
// that the RFC says about frames, decodes them where they were received, and
// holds no buffer while nothing comes.
package websocket

import (
	"math"
	"net"
	"syscall"

	"github.com/polywire/polywire/internal/netio"
	"github.com/polywire/polywire/transport"
)

// DefaultMaxMessageBytes bounds an inbound message where nothing else is said.
const DefaultMaxMessageBytes = 1 << 20

// Conn is a WebSocket connection after its handshake. It is a [transport.Conn]
// and a [transport.Sleeper], with their rules on concurrent use.
type Conn struct {
	in           netio.Reader
	err          error        // final: what Next has returned
	msg          *message     // the fragmented message in progress
	inflated     *inflater    // holds the last frame
	compression  *Compression // nil where not negotiated
	subprotocol  string
	need         int // bytes of the frame in progress, 0: not known
	maxBytes     int
	maxFragments int  // 0: no limit
	server       bool // this side is
	assembled    bool // the last frame has memory of its own
}

var (
	_ transport.Conn    = (*Conn)(nil)
	_ transport.Sleeper = (*Conn)(nil)
)

// settings are what a handshake settles.
type settings struct {
	server       bool
	subprotocol  string
	compression  *Compression
	maxBytes     int
	maxFragments int
}

// newConn returns a connection that reads early before what nc has.
func newConn(nc net.Conn, early []byte, s settings) *Conn {
	c := &Conn{
		server: s.server, subprotocol: s.subprotocol, compression: s.compression,
		maxBytes: s.maxBytes, maxFragments: max(0, s.maxFragments),
	}
	if c.maxBytes <= 0 {
		c.maxBytes = DefaultMaxMessageBytes
	}
	c.maxBytes = min(c.maxBytes, math.MaxInt/4) // sums of lengths stay in range
	c.in.Init(nc, early)
	return c
}

// NetConn returns the connection below: a *tls.Conn where there is TLS. It is
// for addresses and states, not for reading and writing.
func (c *Conn) NetConn() net.Conn { return c.in.Conn() }

// Subprotocol returns what the handshake agreed on, or "".
func (c *Conn) Subprotocol() string { return c.subprotocol }

// Wait implements [transport.Reader]. After Next has returned an error it
// throws away what still comes, so that the peer's end can be awaited.
func (c *Conn) Wait() error {
	c.recycle()
	if c.err != nil {
		c.in.Discard(len(c.in.Buffered()))
		return c.in.Fill(0)
	}
	return c.in.Fill(c.need)
}

// Detach implements [transport.Reader].
func (c *Conn) Detach() (release func()) {
	switch {
	case c.inflated != nil:
		release, c.inflated = c.inflated.release, nil
		return release
	case c.assembled:
		return func() {}
	}
	return c.in.Detach()
}

// recycle takes the last frame's memory back.
func (c *Conn) recycle() {
	if c.inflated != nil {
		c.inflated.release()
		c.inflated = nil
	}
}

// Write implements [transport.Conn].
func (c *Conn) Write(bytes ...[]byte) error { return netio.Write(c.in.Conn(), bytes...) }

// Framer implements [transport.Conn].
func (c *Conn) Framer() transport.Framer {
	switch {
	case !c.server:
		return clientFramer{c.compression}
	case c.compression != nil:
		return deflateFramer{c.compression}
	}
	return serverFramer{}
}

// Close implements [transport.Conn].
func (c *Conn) Close() error { return c.in.Close() }

// Interrupt implements [transport.Sleeper].
func (c *Conn) Interrupt() { c.in.Interrupt() }

// Idle implements [transport.Sleeper].
func (c *Conn) Idle() (syscall.RawConn, bool) {
	c.recycle()
	return c.in.Idle()
}
