package polywire

import (
	"net"
	"time"
)

// WithExpiryGrace sets how long a connection stays after [Identity].Expires,
// for [Conn.Renew] to come. Default 25 s; 0 is none. Then it is closed with
// [CloseExpired], after which clients come back, with credentials of then.
func WithExpiryGrace(d time.Duration) Option {
	return number("ExpiryGrace", d, 0, func(c *config) *time.Duration { return &c.ExpiryGrace })
}

// Renew replaces the identity of an open connection by a later one of the same
// user, so that it lives on when that before has expired.
//
// Errors: one that wraps [ErrConnClosed]; [CodeForbidden] for another user, or
// for none: the connection is as before then.
func (c *Conn) Renew(id *Identity) error {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return c.Err()
	}
	if id == nil || c.identity == nil || id.User != c.identity.User {
		c.mu.Unlock()
		return Errorf(CodeForbidden, "not the same user")
	}
	c.identity = id
	c.mu.Unlock()
	if !id.Expires.IsZero() {
		w := c.link.srv.wheel
		w.Sooner(&c.link.timer, w.In(max(0, c.link.srv.lateness(id))))
	}
	return nil
}

// lateness is how long an identity's connection may stay.
func (s *Server) lateness(id *Identity) time.Duration {
	return min(time.Until(id.Expires)+s.cfg.ExpiryGrace, time.Hour)
}

// outlived ends the connection if its identity's time is over, and returns when
// to look again; 0: never.
func (c *Conn) outlived(now uint32) (next uint32) {
	c.mu.Lock()
	id := c.identity
	c.mu.Unlock()
	if id == nil || id.Expires.IsZero() {
		return 0
	}
	left := c.link.srv.lateness(id)
	if left > 0 {
		return now + c.link.srv.wheel.Ticks(left)
	}
	_ = c.Close(CloseExpired, "expired") // or it is ending already
	return 0
}

// apart is what few connections have. It is never changed.
type apart struct {
	from *net.TCPAddr // behind a proxy: the client's address
	user *userLimit   // counts the connection; nil: nothing does
}

// parted returns what the connection has apart, of which a copy may be changed.
func (c *Conn) parted() apart {
	if a := c.apart.Load(); a != nil {
		return *a
	}
	return apart{}
}

// countFor makes the connection one of a user's; nil: of nobody's.
func (c *Conn) countFor(u *userLimit) {
	a := c.parted()
	a.user = u
	c.apart.Store(&a)
}
