package polywire

import (
	"context"
	"errors"
	"sync"

	"github.com/polywire/polywire/wire"
)

// Subscription is how a dialled connection came into a room.
type Subscription struct {
	// Position is where it began, in the peer's words; empty: the room has no
	// history, or the wire does not tell.
	Position string
	// Recovered says that all messages after the position asked for have come
	// before the answer; else none of them did.
	Recovered bool
}

// SubscribeFrom is Subscribe for a side that has been in the room before and
// knows how far it came there (see [Conn.Position]): what it missed comes
// first, in order, if the peer still has all of it. In a room in which the
// connection is already it looks for messages that were lost on the way to the
// peer. An empty position asks for nothing. Errors: as of [Conn.Subscribe].
func (c *Conn) SubscribeFrom(ctx context.Context, room, position string) (Subscription, error) {
	var s Subscription
	began := c.link.dial.follow(room, position)
	err := c.ask(ctx, wire.Packet{Type: wire.Subscribe, Room: room, Position: position}, nil, answerOptions{subscription: &s})
	c.link.dial.joined(room, began, s, err)
	return s, err
}

// Position returns how far a dialled connection has come in a room that it has
// subscribed to: the position of the last message of it, or that at which the
// subscription began. It also tells after the connection's end. Empty: the room
// has no history, or the wire does not tell. Not asked: the connection has not
// asked for the room.
func (c *Conn) Position(room string) (position string, asked bool) { return c.link.dial.position(room) }

// Handled waits until the handlers of all messages that have come on the
// connection so far have returned, or ctx ends; also after the connection's
// end. It must not be called from one of them. The error is ctx's.
func (c *Conn) Handled(ctx context.Context) error {
	l := c.link
	defer context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.busy != nil {
			l.busy.room.Broadcast()
		}
	})()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.busy != nil && ctx.Err() == nil {
		l.busy.room.Wait()
	}
	if l.busy == nil {
		return nil
	}
	return ctx.Err()
}

// progress is how far a dialled connection has come in the rooms that it asked
// for. The reader notes messages in the order in which they came, all of which
// are handled.
type progress struct {
	mu    sync.Mutex
	rooms map[string]*roomProgress
}

type roomProgress struct {
	position string
	moves    uint64 // by messages
}

// follow begins to note a room, if nobody has. It returns how often the
// position has been moved.
func (d *dial) follow(room, position string) (moves uint64) {
	if d == nil {
		return 0
	}
	d.progress.mu.Lock()
	defer d.progress.mu.Unlock()
	r := d.progress.rooms[room]
	if r == nil {
		if d.progress.rooms == nil {
			d.progress.rooms = make(map[string]*roomProgress)
		}
		r = new(roomProgress)
		d.progress.rooms[room] = r
	}
	if r.position == "" {
		r.position = position
	}
	return r.moves
}

// joined takes the answer to a subscription. Messages that came since it was
// asked for know better.
func (d *dial) joined(room string, began uint64, s Subscription, err error) {
	if d == nil {
		return
	}
	d.progress.mu.Lock()
	defer d.progress.mu.Unlock()
	r := d.progress.rooms[room]
	if r == nil {
		return
	}
	var refused *Error
	switch {
	case err == nil && r.moves == began:
		r.position = s.Position
	case r.position == "" && errors.As(err, &refused) && refused.Remote():
		delete(d.progress.rooms, room)
	}
}

// moved notes a message's place.
func (d *dial) moved(room, position string) {
	d.progress.mu.Lock()
	defer d.progress.mu.Unlock()
	if r := d.progress.rooms[room]; r != nil {
		r.position = position
		r.moves++
	}
}

func (d *dial) left(room string) {
	if d == nil {
		return
	}
	d.progress.mu.Lock()
	defer d.progress.mu.Unlock()
	delete(d.progress.rooms, room)
}

func (d *dial) position(room string) (position string, asked bool) {
	if d == nil {
		return "", false
	}
	d.progress.mu.Lock()
	defer d.progress.mu.Unlock()
	if r := d.progress.rooms[room]; r != nil {
		return r.position, true
	}
	return "", false
}
