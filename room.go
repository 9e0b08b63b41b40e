package polywire

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// rooms is the index of who is where, in shards so that busy rooms do not wait
// for each other. A room exists while it has members.
type rooms struct {
	seed   maphash.Seed
	shards []roomShard
	// peopled is told, in order, that a room has its first member or has lost
	// its last; nil: nobody wants to know.
	peopled func(room string, on bool)
}

// Shards of the index: many where most connections are, few in other namespaces.
const (
	manyShards  = 32
	smallShards = 4
)

type roomShard struct {
	mu      sync.RWMutex
	rooms   map[string]*room
	members int // of all of them
}

type room struct {
	name    string
	members []*membership
}

// membership is one connection in one room. at is its place among the
// members, under the shard's lock.
type membership struct {
	room   *room
	conn   *Conn
	at     uint32
	byPeer bool  // under the connection's lock
	since  int64 // Unix nanoseconds
}

func newRooms(shards int) *rooms {
	r := &rooms{seed: maphash.MakeSeed(), shards: make([]roomShard, shards)}
	for i := range r.shards {
		r.shards[i].rooms = make(map[string]*room)
	}
	return r
}

func (r *rooms) shard(name string) *roomShard {
	return &r.shards[maphash.String(r.seed, name)%uint64(len(r.shards))]
}

// each calls f for the members of a room. f must not join, leave, block or
// take a connection's lock.
func (r *rooms) each(name string, f func(*Conn)) {
	s := r.shard(name)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if rm := s.rooms[name]; rm != nil {
		for _, m := range rm.members {
			f(m.conn)
		}
	}
}

// count returns a room's number of members.
func (r *rooms) count(name string) int {
	s := r.shard(name)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if rm := s.rooms[name]; rm != nil {
		return len(rm.members)
	}
	return 0
}

// names returns all rooms, sorted.
func (r *rooms) names() []string {
	var all []string
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		for name := range s.rooms {
			all = append(all, name)
		}
		s.mu.RUnlock()
	}
	slices.Sort(all)
	return all
}

// size returns the number of rooms, and of their members together.
func (r *rooms) size() (rooms, members int) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.RLock()
		rooms += len(s.rooms)
		members += s.members
		s.mu.RUnlock()
	}
	return rooms, members
}

func (r *rooms) add(c *Conn, name string) *membership {
	s := r.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	rm := s.rooms[name]
	if rm == nil {
		rm = &room{name: name}
		s.rooms[name] = rm
		if r.peopled != nil {
			r.peopled(name, true)
		}
	}
	m := &membership{room: rm, conn: c, at: uint32(len(rm.members))}
	rm.members = append(rm.members, m)
	s.members++
	return m
}

func (r *rooms) remove(m *membership) {
	s := r.shard(m.room.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	members := m.room.members
	last := len(members) - 1
	members[m.at] = members[last]
	members[m.at].at = m.at
	members[last] = nil
	m.room.members = members[:last]
	s.members--
	if last == 0 {
		delete(s.rooms, m.room.name)
		if r.peopled != nil {
			r.peopled(m.room.name, false)
		}
	}
}

// Join puts the connection into rooms. Being there already is no error. In a
// cluster it waits for a moment until the other nodes know when it is a room's
// first member here.
// Errors: [ErrConnClosed]; [CodeBadRequest] for an empty or too long name.
func (c *Conn) Join(rooms ...string) error {
	for _, name := range rooms {
		if err := c.join(name, false); err != nil {
			return err
		}
	}
	c.link.srv.settle()
	return nil
}

// settle waits until the other nodes know whose messages are wanted here.
func (s *Server) settle() {
	if s.node != nil && s.node.fresh.Swap(false) {
		s.node.sync()
	}
}

func (c *Conn) join(name string, byPeer bool) error {
	_, err := c.enter(context.Background(), name, byPeer, "")
	return err
}

// enter lets the connection join a room; where that keeps history, from is the
// place that it has come to before.
func (c *Conn) enter(ctx context.Context, name string, byPeer bool, from string) (p place, err error) {
	h := c.link.srv.history
	k := h.of(name)
	if k == nil || c.resumable() {
		return place{}, c.joinRoom(name, byPeer)
	}
	if err := c.link.srv.checkRoomName(name); err != nil {
		return place{}, err
	}
	for again := true; again && err == nil; {
		p, again, err = h.feed(k, c.ns.name, name).enter(ctx, c, byPeer, from)
	}
	return p, err
}

func (s *Server) checkRoomName(name string) error {
	if name == "" || len(name) > s.cfg.MaxRoomNameBytes {
		return Errorf(CodeBadRequest, "a room's name has 1 to %d bytes", s.cfg.MaxRoomNameBytes)
	}
	return nil
}

// joinRoom puts the connection into a room's members.
func (c *Conn) joinRoom(name string, byPeer bool) error {
	srv := c.link.srv
	if err := srv.checkRoomName(name); err != nil {
		return err
	}
	joined, err := c.becomeMember(name, byPeer)
	if joined {
		srv.presence.happened(PresenceJoined, c, name)
	}
	return err
}

func (c *Conn) becomeMember(name string, byPeer bool) (joined bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false, c.Err()
	}
	if slices.ContainsFunc(c.rooms, func(m *membership) bool { return m.room.name == name }) {
		return false, nil
	}
	if byPeer {
		if most := c.link.srv.cfg.MaxSubscriptions; int(c.subscriptions) >= most {
			return false, Errorf(CodeTooManyRequests, "at most %d rooms by subscription", most)
		}
		c.subscriptions++
	}
	m := c.ns.rooms.add(c, name)
	m.byPeer, m.since = byPeer, time.Now().UnixNano()
	c.rooms = append(c.rooms, m)
	c.changed()
	return true, nil
}

// changed lets those know who keep the connection's rooms and values for it.
func (c *Conn) changed() {
	if r := c.link.srv.recovery; r != nil && c.resumable() {
		r.tell(c)
	}
}

// Leave takes the connection out of rooms. Not being there is no error.
func (c *Conn) Leave(rooms ...string) {
	for _, name := range c.leave(rooms) {
		c.link.srv.presence.happened(PresenceLeft, c, name)
	}
}

func (c *Conn) leave(rooms []string) (left []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range rooms {
		i := slices.IndexFunc(c.rooms, func(m *membership) bool { return m.room.name == name })
		if i < 0 {
			continue
		}
		if c.rooms[i].byPeer {
			c.subscriptions--
		}
		c.ns.rooms.remove(c.rooms[i])
		c.rooms = slices.Delete(c.rooms, i, i+1)
		c.changed()
		left = append(left, name)
	}
	return left
}

// LeaveAll takes the connection out of all its rooms.
func (c *Conn) LeaveAll() { c.link.srv.leaveAll(c) }

func (s *Server) leaveAll(c *Conn) {
	c.mu.Lock()
	memberships := c.rooms
	for _, m := range memberships {
		c.ns.rooms.remove(m)
	}
	c.rooms, c.subscriptions = nil, 0
	c.mu.Unlock()
	if s.presence == nil {
		return
	}
	for _, m := range memberships {
		s.presence.happened(PresenceLeft, c, m.room.name)
	}
}

// Rooms returns the names of the connection's rooms, in the order of joining.
func (c *Conn) Rooms() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, len(c.rooms))
	for i, m := range c.rooms {
		names[i] = m.room.name
	}
	return names
}

// In reports whether the connection is in a room.
func (c *Conn) In(room string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.rooms, func(m *membership) bool { return m.room.name == room })
}

// Rooms returns the names of all rooms that have members, sorted.
func (s *Server) Rooms() []string { return s.spaces.main.Rooms() }
