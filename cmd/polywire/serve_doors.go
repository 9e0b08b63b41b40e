package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
)

// doors are what clients may do, as it is allowed now. A change is seen at once
// and whole.
type doors struct {
	now     atomic.Pointer[doorway]
	mu      sync.Mutex // one changes at a time
	auth    polywire.Authenticator
	asksWho bool // the server asks authenticate; set before it is made
}

// doorway is what holds. It does not change.
type doorway struct {
	publish, broadcast bool
	rooms              *auth.Rooms // nil: no rules
	backing            *backing    // nil: none decides
}

func newDoors() *doors {
	d := new(doors)
	d.now.Store(new(doorway))
	return d
}

// change puts another doorway in place of that before.
func (d *doors) change(f func(next *doorway)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := *d.now.Load()
	f(&next)
	d.now.Store(&next)
}

// allow opens to everybody what is named, and closes the rest.
func (d *doors) allow(names []string) {
	d.change(func(next *doorway) {
		next.publish, next.broadcast = slices.Contains(names, "publish"), slices.Contains(names, "broadcast")
	})
}

func (d *doors) options() []polywire.Option {
	return []polywire.Option{
		polywire.WithSubscribePolicy(d.subscribe), polywire.WithPublishPolicy(d.sendTo), polywire.WithBroadcastPolicy(d.sendToAll),
	}
}

// ask lets a backend decide after what is there already: the options of a
// server that has one.
func (d *doors) ask(b *backing, before polywire.Authenticator) []polywire.Option {
	d.auth, d.asksWho = before, before != nil
	if b == nil {
		return nil
	}
	d.change(func(next *doorway) { next.backing = b })
	opts := []polywire.Option{polywire.WithHooks(polywire.Hooks{
		Connect: func(c *polywire.Conn) { d.now.Load().backing.hooks.Connect(c) },
		Disconnect: func(c *polywire.Conn, why *polywire.CloseError) {
			if f := d.now.Load().backing.hooks.Disconnect; f != nil {
				f(c, why)
			}
		},
	})}
	if b.Authenticator(before) != nil {
		d.asksWho = true
		opts = append(opts, polywire.WithAuth(d.authenticate))
	}
	return opts
}

func (d *doors) authenticate(ctx context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
	if who := d.now.Load().backing.Authenticator(d.auth); who != nil {
		return who(ctx, h)
	}
	return nil, nil //nolint:nilnil // nobody in particular: the backend is not asked any more
}

// subscribe is also who may ask who is in a room.
func (d *doors) subscribe(ctx context.Context, c *polywire.Conn, room string) error {
	now := d.now.Load()
	if now.rooms != nil {
		if err := now.rooms.Subscribe(ctx, c, room); err != nil {
			return err
		}
	}
	if b := now.backing; b != nil && b.subscribe != nil {
		return b.subscribe(ctx, c, room)
	}
	return nil
}

// sendTo: what is allowed to everybody a backend narrows.
func (d *doors) sendTo(ctx context.Context, c *polywire.Conn, room, kind string) error {
	now := d.now.Load()
	if now.rooms != nil {
		if err := now.rooms.Publish(ctx, c, room, kind); err != nil {
			return err
		}
	}
	if b := now.backing; b != nil && b.publish != nil {
		return b.publish(ctx, c, room, kind)
	}
	if now.rooms != nil {
		return nil
	}
	return allowed(now.publish)
}

func (d *doors) sendToAll(ctx context.Context, c *polywire.Conn, kind string) error {
	now := d.now.Load()
	if b := now.backing; b != nil && b.broadcast != nil {
		return b.broadcast(ctx, c, kind)
	}
	return allowed(now.broadcast)
}

func allowed(yes bool) error {
	if yes {
		return nil
	}
	return polywire.Errorf(polywire.CodeForbidden, "not allowed on this server")
}

// answer has the backend answer a message, if its kind is still one of those.
func (d *doors) answer(ctx context.Context, m *polywire.Message) (any, error) {
	b := d.now.Load().backing
	if !slices.ContainsFunc(b.kinds, func(pattern string) bool { return covers(pattern, m.Kind()) }) {
		return nil, polywire.Errorf(polywire.CodeNotFound, "no handler for kind %q", m.Kind())
	}
	return b.Handle(ctx, m)
}
