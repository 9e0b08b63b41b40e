package engineio

import (
	"context"
	"errors"

	"github.com/polywire/polywire/transport/websocket"
)

var errProbe = errors.New("engineio: the WebSocket does not answer the probe")

// upgrade tries a WebSocket, and goes over to it. Polling goes on when that
// fails.
func (c *ClientConn) upgrade(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.r.o.UpgradeTimeout)
	defer cancel()
	s, err := c.r.socket(ctx, c.sid)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() {
		_ = s.Close() // wakes who reads
		c.mu.Lock()
		c.expired = true
		c.changed.Broadcast()
		c.mu.Unlock()
	})
	if c.probe(s) == nil && c.pause() && stop() {
		c.goOver(s)
		return
	}
	stop()
	_ = s.Close() // nothing was sent that matters
	c.resume()
}

// probe asks whether packets go through the WebSocket.
func (c *ClientConn) probe(s *websocket.Conn) error {
	out, err := reframe(nil, s.Framer(), appendControl(nil, c.v, kindPing, probe))
	if err != nil {
		return err
	}
	if err := s.Write(out); err != nil {
		return err
	}
	p, err := readPacket(c.v, s)
	if err == nil && (p.kind != kindPong || string(p.data) != probe) {
		err = errProbe
	}
	return err
}

// pause waits until nothing is asked for and nothing is posted; the server
// answers the pending poll for that.
func (c *ClientConn) pause() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = true
	c.changed.Broadcast()
	for !c.over && !c.expired && (c.polling || c.posting) {
		c.changed.Wait()
	}
	return !c.over && !c.expired && c.err == nil
}

// resume goes on polling.
func (c *ClientConn) resume() {
	c.mu.Lock()
	c.paused = false
	c.changed.Broadcast()
	c.mu.Unlock()
}

// goOver says that this side uses the WebSocket from now on, and sends what
// has waited.
func (c *ClientConn) goOver(s *websocket.Conn) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		_ = s.Close() // nothing was sent that matters
		return
	}
	c.socket, c.writing = s, true
	neutral := c.pending
	c.pending = nil
	c.changed.Broadcast() // the reader, and those who poll and post
	c.mu.Unlock()

	err := c.writeSocket(s, appendControl(nil, c.v, kindUpgrade, ""), neutral)
	c.mu.Lock()
	c.waiting = 0
	c.mu.Unlock()
	c.written()
	if err != nil {
		c.fail(lost(err))
	}
}
