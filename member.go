package polywire

import (
	"encoding/json"
	"time"
)

// Member is a connection of a [Target], on this node or on another one. It is
// a value; what it says of a connection on another node is as it was when that
// node was asked.
type Member struct {
	conn *Conn
	far  *farMember
}

// farMember is a connection of another node.
type farMember struct {
	id, node string
	about    memberInfo
}

// memberInfo is what nodes tell each other of a connection.
type memberInfo struct {
	Wire      string                     `json:"wire,omitempty"`
	Namespace string                     `json:"namespace,omitempty"`
	User      string                     `json:"user,omitempty"`
	Address   string                     `json:"address,omitempty"`
	Opened    int64                      `json:"opened,omitempty"` // Unix nanoseconds
	Rooms     []string                   `json:"rooms,omitempty"`
	Values    map[string]json.RawMessage `json:"values,omitempty"`
	OpenCalls int                        `json:"open_calls,omitempty"`
	Queued    int64                      `json:"queued,omitempty"`
}

// MemberOf returns a connection as a [Member], for patterns that are tried out.
func MemberOf(c *Conn) Member { return Member{conn: c} }

// Conn returns the connection, nil if it is on another node: reach that by
// [Server.Room] with its ID.
func (m Member) Conn() *Conn { return m.conn }

// ID returns the connection's ID.
func (m Member) ID() string {
	if m.conn != nil {
		return m.conn.ID()
	}
	return m.far.id
}

// Node returns the ID of the connection's node.
func (m Member) Node() string {
	if m.conn != nil {
		return m.conn.link.srv.id
	}
	return m.far.node
}

// Wire returns the name of the connection's wire.
func (m Member) Wire() string {
	if m.conn != nil {
		return m.conn.Wire()
	}
	return m.far.about.Wire
}

// Namespace returns the name of the connection's namespace.
func (m Member) Namespace() string {
	if m.conn != nil {
		return m.conn.ns.name
	}
	return m.far.about.Namespace
}

// User returns the identity's user, empty where there is none.
func (m Member) User() string {
	if m.conn != nil {
		return m.conn.User()
	}
	return m.far.about.User
}

// RemoteAddr returns the peer's network address, empty where there is none.
func (m Member) RemoteAddr() string {
	if m.conn == nil {
		return m.far.about.Address
	}
	if a := m.conn.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// OpenedAt returns when the connection was opened, by its own node's clock.
func (m Member) OpenedAt() time.Time { return time.Unix(0, m.openedNano()) }

func (m Member) openedNano() int64 {
	if m.conn != nil {
		return m.conn.opened
	}
	return m.far.about.Opened
}

// Rooms returns the connection's rooms, in the order of joining.
func (m Member) Rooms() []string {
	if m.conn != nil {
		return m.conn.Rooms()
	}
	return m.far.about.Rooms
}

// Value returns what the connection has under a key, as JSON, nil if nothing:
// of [Conn.SetValue], where the key is a string and the value can be said in JSON.
func (m Member) Value(key string) json.RawMessage {
	if m.conn == nil {
		return m.far.about.Values[key]
	}
	return valueJSON(m.conn.Value(key))
}

func valueJSON(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// openCalls returns how many calls wait for the connection's answer.
func (m Member) openCalls() int {
	if m.conn != nil {
		return m.conn.openCalls()
	}
	return m.far.about.OpenCalls
}

func (m Member) queuedBytes() int64 {
	if m.conn != nil {
		return m.conn.QueuedBytes()
	}
	return m.far.about.Queued
}

// about is what other nodes get to know of a connection. brief leaves out what
// patterns do not need.
func (c *Conn) about(brief bool) memberInfo {
	info := memberInfo{Opened: c.opened, OpenCalls: c.openCalls(), Queued: c.QueuedBytes()}
	if brief {
		return info
	}
	m := Member{conn: c}
	info.Wire, info.Namespace, info.User, info.Address, info.Rooms = m.Wire(), m.Namespace(), m.User(), m.RemoteAddr(), m.Rooms()
	c.mu.Lock()
	values := make(map[string]any, len(c.values))
	for k, v := range c.values {
		if name, ok := k.(string); ok {
			values[name] = v
		}
	}
	c.mu.Unlock()
	for name, v := range values {
		if b := valueJSON(v); b != nil {
			if info.Values == nil {
				info.Values = make(map[string]json.RawMessage)
			}
			info.Values[name] = b
		}
	}
	return info
}

// membersOf returns connections as members.
func membersOf(conns []*Conn) []Member {
	all := make([]Member, len(conns))
	for i, c := range conns {
		all[i] = Member{conn: c}
	}
	return all
}

// connsOfMembers returns those of the members that are here.
func connsOfMembers(members []Member) []*Conn {
	conns := make([]*Conn, 0, len(members))
	for _, m := range members {
		if m.conn != nil {
			conns = append(conns, m.conn)
		}
	}
	return conns
}
