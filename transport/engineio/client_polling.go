package engineio

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"

	"github.com/polywire/polywire/transport"
)

// poll asks for packets until the session ends or has a WebSocket.
func (c *ClientConn) poll(ctx context.Context) {
	defer c.leave()
	for c.mayPoll() {
		body, octets, _, err := c.r.get(ctx, c.sid, clientBodyFactor*c.r.o.MaxMessageBytes)
		if err != nil {
			if !errors.Is(err, errLongAnswer) {
				c.fail(lost(err))
				return
			}
			c.deliver(nil, violated(transport.CloseTooBig, reasonError))
			continue
		}
		c.deliver(c.decode(octets, body))
	}
}

// mayPoll waits until a poll is in order.
func (c *ClientConn) mayPoll() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.over || c.err != nil || c.socket != nil:
			return false
		case !c.paused && len(c.inbox) < clientInbox:
			c.polling = true
			return true
		}
		c.changed.Wait()
	}
}

// decode makes frames of an answer. Those before an error count. It gives the
// reader many of them in parts: a frame is more than the shortest packet.
func (c *ClientConn) decode(octets bool, body []byte) (frames []transport.Frame, err error) {
	err = decodePayload(c.v, octets, body, func(p packet) error {
		f, ok, err := c.frameOf(p)
		if !ok {
			return err
		}
		if len(frames) == clientPart {
			if !c.deliverPart(frames) {
				return net.ErrClosed
			}
			frames = nil
		}
		frames = append(frames, f)
		return nil
	})
	return frames, malformedEnd(err)
}

// deliverPart waits until the reader has time for more frames of an answer.
func (c *ClientConn) deliverPart(frames []transport.Frame) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.over && len(c.inbox) >= clientInbox {
		c.changed.Wait()
	}
	if c.over {
		return false
	}
	c.inbox = append(c.inbox, frames)
	c.changed.Broadcast()
	return true
}

// deliver gives the reader the frames of an answer, and what has ended the
// session behind them: when this side has found it, the server can still be told.
func (c *ClientConn) deliver(frames []transport.Frame, err error) {
	c.mu.Lock()
	c.polling = false
	if len(frames) > 0 && !c.over {
		c.inbox = append(c.inbox, frames)
	}
	var closed *transport.CloseError
	local := errors.As(err, &closed) && closed.Local
	if local && c.err == nil {
		c.err = err
	}
	c.changed.Broadcast()
	c.mu.Unlock()
	if err != nil && !local {
		c.fail(err)
	}
}

// leave ends a goroutine that sends requests; the last one closes the
// connections that it leaves behind.
func (c *ClientConn) leave() {
	c.mu.Lock()
	c.requests--
	last := c.requests == 0
	c.mu.Unlock()
	if last {
		c.r.http.CloseIdleConnections()
	}
}

// post sends what is pending until the session ends or has a WebSocket.
func (c *ClientConn) post(ctx context.Context) {
	defer c.leave()
	var body []byte
	for {
		neutral := c.mayPost()
		if neutral == nil {
			return
		}
		size, closing := len(neutral), false
		for len(neutral) > 0 {
			batch, last, err := c.batch(neutral)
			neutral = neutral[len(batch):]
			octets := false
			if err == nil {
				body, octets, err = encodePayload(body[:0], c.v, false, batch)
			}
			if err == nil {
				err = c.r.post(ctx, c.sid, body, octets)
			}
			if err != nil {
				c.fail(lost(err))
				return
			}
			if closing = last; closing {
				break
			}
		}
		if cap(body) > clientWaitingBytes {
			body = nil
		}
		c.posted(size)
		if closing {
			c.fail(cut(reasonClose, io.EOF))
			return
		}
	}
}

// mayPost waits until there is something to post, which it takes; nil: never.
func (c *ClientConn) mayPost() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.over || c.socket != nil:
			return nil
		case !c.halted() && len(c.pending) > 0:
			neutral := c.pending
			c.pending, c.posting = nil, true
			return neutral
		}
		c.changed.Wait()
	}
}

// halted reports whether what is written waits for the WebSocket. Until the last poll
// is answered it need not: servers may take 100 ms for that. c.mu is held.
func (c *ClientConn) halted() bool { return c.paused && !c.polling }

func (c *ClientConn) posted(size int) {
	c.mu.Lock()
	c.posting = false
	c.waiting -= size
	c.changed.Broadcast()
	c.mu.Unlock()
}

// batch returns as many of the frames as one POST may carry, but one at least,
// and whether the last of them ends the session.
func (c *ClientConn) batch(neutral []byte) (batch []byte, last bool, err error) {
	end, total := 0, 0
	for end < len(neutral) {
		t, payload, rest, err := cutFrame(neutral[end:])
		if err != nil {
			return nil, false, err
		}
		size := len(payload) + 1
		switch {
		case c.v == v3: // the longer of its two forms
			size = len(payload) + maxDigits + 2
		case t == transport.Binary:
			size = 2 + base64.StdEncoding.EncodedLen(len(payload))
		}
		if end > 0 && total+size-1 > c.most { // the last one has no separator
			break
		}
		total += size
		end = len(neutral) - len(rest)
		if t == transport.Close {
			return neutral[:end], true, nil
		}
	}
	return neutral[:end], false, nil
}
