package polywire

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// table holds all connections. Slot and serial find one without a map.
type table struct {
	mu     sync.RWMutex
	slots  []*Conn
	free   []uint32
	serial uint32
}

// eachLink calls f for every link, without the table's lock.
func (t *table) eachLink(f func(*link)) {
	t.mu.RLock()
	all := make([]*link, 0, len(t.slots)-len(t.free))
	for _, c := range t.slots {
		if c != nil && c == &c.link.conn {
			all = append(all, c.link)
		}
	}
	t.mu.RUnlock()
	for _, l := range all {
		f(l)
	}
}

// put gives a connection a place. t.mu is held.
func (t *table) put(c *Conn) {
	t.serial++
	c.serial = t.serial
	if n := len(t.free); n > 0 {
		c.slot = t.free[n-1]
		t.free = t.free[:n-1]
		t.slots[c.slot] = c
		return
	}
	c.slot = uint32(len(t.slots))
	t.slots = append(t.slots, c)
}

func (t *table) remove(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.slots[c.slot] = nil
	t.free = append(t.free, c.slot)
}

// eachConn calls f for every open connection. f must not block or end a connection.
func (s *Server) eachConn(f func(*Conn)) {
	s.conns.mu.RLock()
	defer s.conns.mu.RUnlock()
	for _, c := range s.conns.slots {
		if c != nil && c.phase.Load() == phaseOpen {
			f(c)
		}
	}
}

// find returns the connection of a token, nil if it is gone.
func (s *Server) find(token uint64) *Conn {
	slot, serial := uint32(token), uint32(token>>32)
	s.conns.mu.RLock()
	defer s.conns.mu.RUnlock()
	if int(slot) < len(s.conns.slots) {
		if c := s.conns.slots[slot]; c != nil && c.serial == serial {
			return c
		}
	}
	return nil
}

// register gives a link's first connection a place, if there is one for the link.
func (s *Server) register(l *link) error {
	addr := hostOf(l.conn.RemoteAddr())
	if err := s.limits.add(s.now(), addr, l); err != nil {
		s.refused(l.wire.name, l.conn.RemoteAddr(), refusedLimit, err)
		return err
	}
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	if s.State() != StateRunning { // under the lock: Shutdown sees all links or none comes
		s.limits.remove(addr, l)
		return ErrNotRunning
	}
	s.conns.put(&l.conn)
	s.counters.open.Add(1)
	l.wire.open.Add(1)
	s.goes.Add(1)
	return nil
}

// seat gives a further connection of a link a place.
func (s *Server) seat(c *Conn) error {
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	if s.State() != StateRunning {
		return ErrNotRunning
	}
	s.conns.put(c)
	s.counters.open.Add(1)
	c.link.wire.open.Add(1)
	return nil
}

// forget is the end of a connection that had a place.
func (s *Server) forget(c *Conn, why *CloseError) {
	if c != &c.link.conn { // the link's own is what wakes it: see unregister
		s.conns.remove(c)
	}
	if a := c.apart.Load(); a != nil && a.user != nil {
		s.limits.removeUser(a.user)
	}
	if c.link.multi == nil {
		s.limits.remove(hostOf(c.link.conn.RemoteAddr()), c.link)
	}
	s.aliases.remove(c)
	if s.node != nil && c.shared != nil && c.shared.id != "" && c.ns.rooms.count(c.shared.id) == 0 {
		s.node.interest(c.ns, c.shared.id, false)
	}
	if c.known.Load() {
		if h := s.hooks.Disconnect; h != nil {
			h(c, why)
		}
		c.logEnd(why)
	}
	// Who sees it gone may rely on all hooks having run and on its place being free.
	c.link.wire.open.Add(-1)
	s.counters.open.Add(-1)
}

// logEnd writes the one line about a connection that has been open.
func (c *Conn) logEnd(why *CloseError) {
	ctx, logger := context.Background(), c.link.srv.cfg.logger
	if !logger.Enabled(ctx, slog.LevelInfo) {
		return
	}
	stats := c.Stats()
	logger.LogAttrs(ctx, slog.LevelInfo, "polywire: connection ended", slog.String("conn", c.ID()),
		slog.String("wire", c.Wire()), slog.String("remote", addressText(c.RemoteAddr())), slog.String("user", c.User()),
		slog.Int("code", int(why.Code)), slog.String("reason", why.Reason), slog.Bool("remote_closed", why.Remote),
		slog.Duration("lasted", time.Since(c.OpenedAt())),
		slog.Uint64("messages_in", stats.MessagesIn), slog.Uint64("messages_out", stats.MessagesOut),
		slog.Uint64("bytes_in", stats.BytesIn), slog.Uint64("bytes_out", stats.BytesOut))
}

// addressText is an address in one piece, for logs: JSON would have its fields.
func addressText(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

// unregister is the end of a link that was registered.
func (s *Server) unregister(l *link) {
	s.conns.remove(&l.conn)
	if l.multi != nil { // its place outlives the connections on it
		s.limits.remove(hostOf(l.conn.RemoteAddr()), l)
	}
	s.goes.Done()
}

// aliases finds connections whose id is not made of their token.
type aliases struct {
	some  atomic.Bool
	mu    sync.RWMutex
	conns map[string]*Conn
}

func (a *aliases) add(c *Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns == nil {
		a.conns = make(map[string]*Conn)
	}
	a.conns[c.shared.id] = c
	a.some.Store(true)
}

func (a *aliases) remove(c *Conn) {
	if c.shared == nil || c.shared.id == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns[c.shared.id] == c {
		delete(a.conns, c.shared.id)
	}
}

func (a *aliases) find(id string) *Conn {
	if !a.some.Load() {
		return nil
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.conns[id]
}

// Conns returns the open connections on this node, of all namespaces.
func (s *Server) Conns() []*Conn {
	var all []*Conn
	s.eachConn(func(c *Conn) { all = append(all, c) })
	return all
}
