package sse

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"

	"github.com/polywire/polywire/internal/netio"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// phase is where a stream is in its life.
type phase uint8

const (
	opening   phase = iota // what is written waits, until the request is answered
	answering              // the head is being written
	streaming
	ended
)

const (
	// pendingBytes is what may wait for the answer; Write blocks then.
	pendingBytes = 64 << 10
	// strayBytes is what a client may send after its request, for nothing.
	strayBytes = 64 << 10
)

var errStray = errors.New("sse: the client sends, where it should listen")

// conn is a stream as its server sees it. It is a [transport.Conn], which
// delivers what the request asked for and then nothing until its end, and a
// [transport.Sleeper], a [transport.Gate] and a [transport.Heart].
type conn struct {
	in      netio.Reader // once the connection is this one's alone
	framing framer
	beat    transport.Heartbeat

	mu       sync.Mutex
	changed  *sync.Cond // of mu; nil when nobody waits for phases any more
	phase    phase
	direct   bool // in is there: the stream is not a response of net/http's
	chunked  bool
	restless bool // Wait has not said yet that it may be slept
	roused   bool // by Interrupt
	open     *asking
	resp     *response
	err      error // final, for Next and Wait
	stray    int

	size [18]byte // of a chunk; used by Write
	end  [len(streamEnd)]byte
}

// asking is what a stream has until its request is answered.
type asking struct {
	request *request
	at      int // frames that were delivered; 0 is the hello
	missing int // answers
	verdict verdict
	decided chan struct{} // closed when there is one
	pending []byte
	remote  net.Addr
	tls     *tls.ConnectionState
}

var (
	_ transport.Conn    = (*conn)(nil)
	_ transport.Sleeper = (*conn)(nil)
	_ transport.Gate    = (*conn)(nil)
	_ transport.Heart   = (*conn)(nil)
)

func newConn(ask *request, r *http.Request, limits wire.Limits) *conn {
	c := &conn{
		beat:     transport.Heartbeat{Unanswered: true, Interval: limits.HeartbeatInterval, Timeout: limits.HeartbeatTimeout},
		restless: true,
		open: &asking{
			request: ask, missing: 1 + len(ask.rooms), decided: make(chan struct{}), remote: addressOf(r), tls: r.TLS,
		},
	}
	c.changed = sync.NewCond(&c.mu)
	copy(c.end[:], streamEnd)
	return c
}

// addressOf returns where a request came from.
func addressOf(r *http.Request) net.Addr {
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return net.TCPAddrFromAddrPort(at)
	}
	return peerAddr(r.RemoteAddr)
}

// peerAddr is an address that is not one of TCP.
type peerAddr string

// Network implements net.Addr.
func (peerAddr) Network() string { return "http" }

// String implements net.Addr.
func (a peerAddr) String() string { return string(a) }

// NetConn returns the connection, nil where it is net/http's.
func (c *conn) NetConn() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.direct {
		return nil
	}
	return c.in.Conn()
}

// RemoteAddr returns where the request came from.
func (c *conn) RemoteAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.direct:
		return c.in.Conn().RemoteAddr()
	case c.resp != nil:
		return c.resp.remote
	}
	return c.open.remote
}

// ConnectionState returns the state of the TLS connection, nil without TLS.
func (c *conn) ConnectionState() *tls.ConnectionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.direct && c.resp != nil:
		return c.resp.tls
	case !c.direct:
		return c.open.tls
	}
	if t, ok := c.in.Conn().(*tls.Conn); ok {
		state := t.ConnectionState()
		return &state
	}
	return nil
}

// Heartbeat implements [transport.Heart].
func (c *conn) Heartbeat() transport.Heartbeat { return c.beat }

// Ready implements [transport.Gate].
func (c *conn) Ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phase == streaming
}

// Framer implements [transport.Conn].
func (c *conn) Framer() transport.Framer { return &c.framing }

// Detach implements [transport.Reader]. Frames have memory of their own.
func (c *conn) Detach() (release func()) { return func() {} }

// Next implements [transport.Reader]: the hello, and the rooms that are asked
// for, until one is refused.
func (c *conn) Next() (transport.Frame, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return transport.Frame{}, false, c.err
	case c.phase == ended:
		return transport.Frame{}, false, net.ErrClosed
	case !c.asks():
		return transport.Frame{}, false, nil
	}
	f := transport.Frame{Type: transport.Text}
	if c.open.at > 0 {
		f.Data = []byte(c.open.request.rooms[c.open.at-1])
	}
	c.open.at++
	return f, true, nil
}

// asks reports whether Next has something. mu is held.
func (c *conn) asks() bool {
	o := c.open
	return c.phase != ended && o != nil && (o.verdict.status == 0 || o.verdict.status == http.StatusOK) && o.at <= len(o.request.rooms)
}

// owed reports whether the core has not answered everything yet. mu is held.
func (c *conn) owed() bool { return c.open != nil && c.open.missing > 0 }

// Wait implements [transport.Reader]. When the stream has been opened it
// returns once with [transport.ErrInterrupted], by itself: nothing comes from
// now on, so there is no use in waiting awake.
func (c *conn) Wait() error {
	c.mu.Lock()
	for {
		switch {
		case c.err != nil:
			defer c.mu.Unlock()
			return c.err
		case c.phase == ended:
			c.mu.Unlock()
			return net.ErrClosed
		case c.asks():
			c.mu.Unlock()
			return nil
		case c.roused, c.direct && c.phase == streaming && c.restless && !c.owed():
			c.restless = c.restless && (!c.direct || c.owed())
			c.roused = false
			c.mu.Unlock()
			return transport.ErrInterrupted
		case c.direct && c.phase == streaming && !c.owed():
			c.mu.Unlock()
			return c.listen()
		}
		c.changed.Wait()
	}
}

// listen waits for the end, and throws away what comes before it.
func (c *conn) listen() error {
	if err := c.in.Fill(0); err != nil {
		return err
	}
	n := len(c.in.Buffered())
	c.in.Discard(n)
	if c.stray += n; c.stray > strayBytes {
		return errStray
	}
	return nil
}

// Interrupt implements [transport.Sleeper].
func (c *conn) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.direct && c.phase == streaming && !c.owed() {
		c.in.Interrupt()
		return
	}
	c.roused = true
	c.broadcast()
}

// Idle implements [transport.Sleeper].
func (c *conn) Idle() (syscall.RawConn, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.direct || c.phase != streaming || c.owed() || c.err != nil {
		return nil, false
	}
	return c.in.Idle()
}

// broadcast tells those who wait for another phase. mu is held.
func (c *conn) broadcast() {
	if c.changed != nil {
		c.changed.Broadcast()
	}
}

// answered takes the core's answer to a part of the request, and reports
// whether one was missing, and whether it was the last.
func (c *conn) answered(p *wire.Packet) (known, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.open
	if c.phase == ended || o == nil || o.missing == 0 {
		return false, false
	}
	o.missing--
	switch {
	case p.Type == wire.Error && p.ID > 0 && p.ID <= uint64(len(o.request.rooms)):
		c.refuse(refusedRoom(o.request.rooms[p.ID-1], p.Err))
	case p.Type == wire.Error:
		c.refuse(refusedRoom("", p.Err))
	case o.missing == 0:
		c.settle(verdict{status: http.StatusOK})
	}
	last = o.missing == 0
	if last {
		c.broadcast() // for whoever waits for the stream, and not for the request
		c.close()
	}
	return true, last
}

// refuse ends the request, or the stream if that had to begin before. mu is held.
func (c *conn) refuse(v verdict) {
	switch {
	case c.phase == opening && c.open.verdict.status == http.StatusOK:
		c.open.verdict = v // which nobody has taken yet
	case c.open.verdict.status == http.StatusOK && c.err == nil:
		c.err = v.closeError()
		c.broadcast()
	}
	c.settle(v)
}

// close forgets the request once the stream has begun and all of it has been
// answered. mu is held.
func (c *conn) close() {
	if c.phase == streaming && !c.owed() {
		c.open = nil
		if c.direct {
			c.changed = nil
		}
	}
}

// settle says how the request is answered, if that is still open. mu is held.
func (c *conn) settle(v verdict) {
	if c.open.verdict.status == 0 {
		c.open.verdict = v
		close(c.open.decided)
	}
}

// verdict waits for how the request is to be answered, and takes the answer
// on. False: ctx has ended first.
func (c *conn) verdict(ctx context.Context) (verdict, bool) {
	o := c.open // stays until this has returned
	select {
	case <-o.decided:
	case <-ctx.Done():
		return verdict{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == opening {
		c.phase = answering
	}
	return o.verdict, true
}

// gone ends a stream whose client has.
func (c *conn) gone() { c.fail(io.EOF) }

// fail ends a stream that is not on a connection of its own: err is for the core.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.phase != ended {
		c.err = err
	}
	c.phase = ended
	c.broadcast()
}

// Write implements [transport.Conn]. While the request is not answered yet it
// keeps what is written, and blocks when that is too much.
func (c *conn) Write(bufs ...[]byte) error {
	c.mu.Lock()
	for c.phase == answering || c.phase == opening && len(c.open.pending) > pendingBytes && !c.last(bufs) {
		c.hurry()
		c.changed.Wait()
	}
	switch {
	case c.phase == ended:
		defer c.mu.Unlock()
		if c.err != nil {
			return nil // the end is for the reader to tell
		}
		return net.ErrClosed
	case c.phase == opening:
		c.open.pending = append(c.open.pending, bytes.Join(bufs, nil)...)
		if c.last(bufs) {
			c.framing.mu.Lock()
			c.settle(refusedLink(c.framing.code, c.framing.why))
			c.framing.mu.Unlock()
		}
		c.hurry()
		c.mu.Unlock()
		return nil
	case c.direct:
		last := c.last(bufs)
		c.mu.Unlock()
		return c.writeDirect(nil, last, bufs)
	}
	return c.respond(bufs) // which unlocks
}

// hurry lets the stream begin before everything is answered, when there is more
// than may be kept: perhaps nothing more is answered before that has left. mu
// is held.
func (c *conn) hurry() {
	if c.phase == opening && c.open.at > 1 && len(c.open.pending) > pendingBytes {
		c.settle(verdict{status: http.StatusOK})
	}
}

// last reports whether the event that ends the stream is in bufs.
func (c *conn) last(bufs [][]byte) bool {
	c.framing.mu.Lock()
	defer c.framing.mu.Unlock()
	return c.framing.last != nil && len(bufs) > 0 && bytes.HasSuffix(bufs[len(bufs)-1], c.framing.last)
}

// Close implements [transport.Conn].
func (c *conn) Close() error {
	c.mu.Lock()
	if c.phase == ended && !c.direct {
		c.mu.Unlock()
		return nil
	}
	c.phase = ended
	if c.open != nil {
		c.settle(verdict{status: http.StatusServiceUnavailable, code: "unavailable", message: "closed", closed: wire.CloseConnectionClosed})
	}
	if c.resp != nil {
		c.resp.abort()
	}
	c.broadcast()
	direct := c.direct
	c.mu.Unlock()
	if direct {
		return c.in.Close()
	}
	return nil
}
