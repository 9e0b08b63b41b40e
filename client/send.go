package client

import (
	"context"
	"fmt"

	"github.com/polywire/polywire"
)

// current returns the connection to use now. The error says besides why there
// is none any more, unless it was Close.
func (c *Client) current() (*polywire.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.conn != nil:
		return c.conn, nil
	case c.state == polywire.StateNew:
		return nil, polywire.ErrNotRunning
	case c.state == polywire.StateClosed:
		return nil, because(polywire.ErrClosed, c.gone)
	}
	return nil, because(ErrNotConnected, c.gone)
}

func because(err, why error) error {
	if why == nil {
		return err
	}
	return fmt.Errorf("%w: %w", err, why)
}

// Send sends a one-way message; see [polywire.Conn.Send]. It waits while the
// server does not read. Errors besides: [ErrNotConnected], [polywire.ErrClosed].
func (c *Client) Send(ctx context.Context, kind string, v any, opts ...polywire.SendOption) error {
	conn, err := c.current()
	if err != nil {
		return err
	}
	return conn.Send(ctx, kind, v, opts...)
}

// Call asks the server and decodes the answer into out; see [polywire.Conn.Call].
// It is not tried again: after a lost connection nobody knows whether it was
// handled. Errors besides: [ErrNotConnected], [polywire.ErrClosed].
func (c *Client) Call(ctx context.Context, kind string, v, out any, opts ...polywire.SendOption) error {
	conn, err := c.current()
	if err != nil {
		return err
	}
	return conn.Call(ctx, kind, v, out, opts...)
}

// Publish sends a message to a room's members, where the server allows it. It
// returns when the server has passed it on; see [polywire.Conn.Publish].
func (c *Client) Publish(ctx context.Context, room, kind string, v any, opts ...polywire.SendOption) error {
	conn, err := c.current()
	if err != nil {
		return err
	}
	return conn.Publish(ctx, room, kind, v, opts...)
}

// Broadcast sends a message to everybody, where the server allows it. It
// returns when the server has passed it on; see [polywire.Conn.Broadcast].
func (c *Client) Broadcast(ctx context.Context, kind string, v any, opts ...polywire.SendOption) error {
	conn, err := c.current()
	if err != nil {
		return err
	}
	return conn.Broadcast(ctx, kind, v, opts...)
}

// Flush waits until what is queued to the server now has been written, or ctx
// ends; see [polywire.Conn.Flush].
func (c *Client) Flush(ctx context.Context) error {
	conn, err := c.current()
	if err != nil {
		return err
	}
	return conn.Flush(ctx)
}
