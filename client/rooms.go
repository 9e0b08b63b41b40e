package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/backoff"
	"github.com/polywire/polywire/wire"
)

const (
	// defaultCheck is the mean time between two checks of the places in rooms.
	defaultCheck = 40 * time.Second
	// handledTime is how long the rooms of a connection wait for the handlers of
	// the one before, for messages not to overtake others.
	handledTime = 30 * time.Second
)

// Subscribe joins a room, now and after each reconnect. Where the server keeps
// the room's history, what was missed meanwhile comes first then, in order and
// each message once; see [Hooks].Recovered. Errors: those of
// [polywire.Conn.Subscribe], [ErrNotConnected], [polywire.ErrClosed]; the room is
// not remembered then.
func (c *Client) Subscribe(ctx context.Context, room string) error {
	conn, err := c.current()
	if err != nil {
		return err
	}
	position := c.position(conn, room)
	s, err := conn.SubscribeFrom(ctx, room, position)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if !slices.Contains(c.rooms, room) {
		c.rooms = append(c.rooms, room)
	}
	c.mu.Unlock()
	if position != "" && !s.Recovered {
		c.recovered(room, false)
	}
	return nil
}

// Unsubscribe leaves a room. Without a connection it only is not joined again,
// and the error is [ErrNotConnected].
func (c *Client) Unsubscribe(ctx context.Context, room string) error {
	c.forget(room)
	conn, err := c.current()
	if err != nil {
		return err
	}
	return conn.Unsubscribe(ctx, room)
}

// Rooms returns the rooms that the client has subscribed to.
func (c *Client) Rooms() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.rooms)
}

func (c *Client) in(room string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.rooms, room)
}

func (c *Client) forget(room string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rooms = slices.DeleteFunc(c.rooms, func(r string) bool { return r == room })
	delete(c.places, room)
}

// position returns how far the client has come in a room that it is in.
func (c *Client) position(conn *polywire.Conn, room string) string {
	if position, asked := conn.Position(room); asked {
		return position
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.places[room]
}

// keepPlaces notes how far a connection that has ended came in its rooms.
func (c *Client) keepPlaces(conn *polywire.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, room := range c.rooms {
		position, asked := conn.Position(room)
		switch {
		case !asked: // it ended too soon
		case position == "":
			delete(c.places, room)
		default:
			if c.places == nil {
				c.places = make(map[string]string)
			}
			c.places[room] = position
		}
	}
}

func (c *Client) cameAnywhere() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.places) > 0
}

// placed reports whether the next link begins in its rooms where the last one
// has come to.
func (c *Client) placed() bool {
	_, inRooms := c.place.(wire.Recoverer)
	return inRooms && c.place.Position() != ""
}

// awaitHandled waits until what came on the connection before has been
// handled, or something has ended; nil never does.
func (c *Client) awaitHandled(life context.Context, before *polywire.Conn, ended <-chan struct{}) {
	ctx, cancel := context.WithTimeout(life, handledTime)
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	_ = before.Handled(ctx) // a handler that never returns does not keep the client from its rooms
	cancel()
	<-over
}

// resubscribe joins the rooms of the connection before, each from where the
// client has come to there. A room that the server refuses is given up, unless
// it says that this is a matter of time.
func (c *Client) resubscribe(life context.Context, conn *polywire.Conn) {
	rooms := c.Rooms()
	wait := &backoff.Backoff{Min: c.cfg.backoffMin, Max: c.cfg.backoffMax}
	for {
		var later []string
		for _, room := range rooms {
			if c.in(room) && !c.rejoin(life, conn, room) { // else unsubscribed meanwhile
				later = append(later, room)
			}
		}
		if rooms = later; len(rooms) == 0 {
			return
		}
		timer := time.NewTimer(wait.Next())
		select {
		case <-timer.C:
			continue
		case <-conn.Done():
		case <-life.Done():
		}
		timer.Stop()
		return
	}
}

// rejoin joins a room again. It returns false if that is to be tried once more.
func (c *Client) rejoin(life context.Context, conn *polywire.Conn, room string) (settled bool) {
	position := c.position(conn, room)
	s, err := conn.SubscribeFrom(life, room, position)
	switch {
	case err == nil:
		if c.stays(life, conn, room) && position != "" {
			c.recovered(room, s.Recovered)
		}
		return true
	case errors.Is(err, polywire.ErrConnClosed) || life.Err() != nil:
		return true // the next connection does it
	}
	settled = !temporary(err)
	var refused *polywire.Error
	if settled && errors.As(err, &refused) && refused.Remote() {
		c.forget(room)
	}
	c.report(fmt.Errorf("client: subscribe again to %q: %w", room, err))
	return settled
}

// temporary reports whether a subscription that failed so may work soon.
func temporary(err error) bool {
	switch polywire.CodeOf(err) {
	case polywire.CodeUnavailable, polywire.CodeDeadlineExceeded, polywire.CodeCanceled:
		return true
	}
	return false
}

// stays leaves a room again that was left while it was being joined.
func (c *Client) stays(ctx context.Context, conn *polywire.Conn, room string) bool {
	if c.in(room) {
		return true
	}
	if err := conn.Unsubscribe(ctx, room); err != nil && !errors.Is(err, polywire.ErrConnClosed) {
		c.report(fmt.Errorf("client: leave %q: %w", room, err))
	}
	return false
}

// check asks the server about the rooms with history, for what was lost on the
// way to it.
func (c *Client) check(life context.Context, conn *polywire.Conn) {
	for _, room := range c.Rooms() {
		position, _ := conn.Position(room)
		if position == "" || !c.in(room) {
			continue
		}
		s, err := conn.SubscribeFrom(life, room, position)
		switch {
		case err == nil:
			if c.stays(life, conn, room) && !s.Recovered {
				c.recovered(room, false)
			}
		case errors.Is(err, polywire.ErrConnClosed) || life.Err() != nil || temporary(err):
			return // until the next time
		default:
			c.report(fmt.Errorf("client: check of %q: %w", room, err))
		}
	}
}

// untilCheck is a wait between two checks, up to a quarter shorter or longer
// than the time that is set. The channel is nil where there are none.
func (c *Client) untilCheck() (<-chan time.Time, func() bool) {
	every := c.cfg.check
	if every < 0 {
		return nil, func() bool { return false }
	}
	timer := time.NewTimer(time.Duration(float64(every) * (0.75 + rand.Float64()/2))) //nolint:gosec // spreads load
	return timer.C, timer.Stop
}

// recovered tells the hooks how a room was joined again.
func (c *Client) recovered(room string, ok bool) {
	for _, h := range c.cfg.hooks {
		if h.Recovered != nil {
			h.Recovered(room, ok)
		}
	}
}

func (c *Client) report(err error) {
	for _, h := range c.cfg.hooks {
		if h.Error != nil {
			h.Error(err)
		}
	}
}
