package engineio

import (
	"context"
	"errors"
	"fmt"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
)

var errNoOpen = errors.New("engineio: the server does not begin with an open packet")

// dialWebSocket opens a session that never polls.
func dialWebSocket(ctx context.Context, r *requester) (*ClientConn, error) {
	s, err := r.socket(ctx, "")
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	open, err := readOpen(r.v, s)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = s.Close() // the first error says why
		return nil, fmt.Errorf("engineio: opening: %w", err)
	}
	c := newClientConn(r, open)
	c.socket = s
	return c, nil
}

// readOpen reads the first packet of a WebSocket.
func readOpen(v version, s *websocket.Conn) (openPacket, error) {
	p, err := readPacket(v, s)
	if err != nil {
		return openPacket{}, err
	}
	if p.kind != kindOpen {
		return openPacket{}, errNoOpen
	}
	return parseOpen(p.data)
}

// readPacket reads one packet from a WebSocket that nobody else uses.
func readPacket(v version, s *websocket.Conn) (packet, error) {
	for {
		f, ok, err := s.Next()
		switch {
		case err != nil:
			return packet{}, err
		case ok && f.Type == transport.Text:
			return decodeText(v, f.Data)
		case ok && f.Type == transport.Binary:
			return decodeBinary(v, f.Data)
		case ok: // a ping or pong of the WebSocket's own
			continue
		}
		if err := s.Wait(); err != nil {
			return packet{}, err
		}
	}
}

// dialPolling opens a session with a poll.
func dialPolling(ctx context.Context, r *requester) (*ClientConn, error) {
	life, cancel := context.WithCancel(context.Background())
	r.open(life)
	c, upgrade, err := openPolling(ctx, r)
	if err != nil {
		cancel()
		r.http.CloseIdleConnections()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if _, refused := errors.AsType[*RefusedError](err); refused {
			return nil, err
		}
		return nil, fmt.Errorf("engineio: opening: %w", err)
	}
	c.cancel = cancel
	c.requests = 2
	go c.poll(life)
	go c.post(life)
	if upgrade {
		go c.upgrade(life)
	}
	return c, nil
}

// openPolling does the handshake. Old servers say more than the open packet in
// their first answer.
func openPolling(ctx context.Context, r *requester) (c *ClientConn, upgrade bool, err error) {
	body, octets, cookies, err := r.get(ctx, "", clientOpenBytes+r.o.MaxMessageBytes)
	if err != nil {
		return nil, false, err
	}
	var frames []transport.Frame
	err = decodePayload(r.v, octets, body, func(p packet) error {
		if c != nil {
			f, ok, err := c.frameOf(p)
			if ok {
				frames = append(frames, f)
			}
			return err
		}
		if p.kind != kindOpen {
			return errNoOpen
		}
		open, err := parseOpen(p.data)
		if err != nil {
			return err
		}
		c = newClientConn(r, open)
		for _, name := range open.Upgrades {
			upgrade = upgrade || name == transportWebSocket && !r.o.NoUpgrade
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	r.keepCookies(cookies)
	if len(frames) > 0 {
		c.inbox = append(c.inbox, frames)
	}
	return c, upgrade, nil
}
