package polywire

import (
	"maps"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

// Payload is one argument of a message: bytes and their content type.
type Payload = codec.Payload

// Message is what a handler gets. It and the bytes it refers to are valid
// until the handler returns; keep a [Message.Clone] for longer: afterwards it is
// the connection's next one. Middleware may
// change it before it calls the next handler; otherwise it is read-only.
type Message struct {
	conn    *Conn
	kind    string
	room    string
	header  map[string]string
	payload Payload
	args    []Payload
	values  map[any]any
	rare    *rareMessage // nil for most
	cleanup *cleanup
	id      uint64
	key     string
	call    bool
}

// rareMessage is what few messages have; all of them are larger for a field.
type rareMessage struct {
	reply  map[string]string // headers of the answer
	offset string            // in its room's history
	place  place             // of a subscription, for the answer

	// Of a queue's delivery only; the message has no connection then.
	srv      *Server
	delivery *queue.Delivery
}

// replyHeader returns the headers of the answer.
func (m *Message) replyHeader() map[string]string {
	if m.rare == nil {
		return nil
	}
	return m.rare.reply
}

// extra returns the message's rare part, made if there is none.
func (m *Message) extra() *rareMessage {
	if m.rare == nil {
		m.rare = new(rareMessage)
	}
	return m.rare
}

// Conn returns the connection that the message came on, nil for one of a queue.
func (m *Message) Conn() *Conn { return m.conn }

// From names where the message came from: the connection's ID, or the queue.
func (m *Message) From() string {
	if m.conn != nil {
		return m.conn.ID()
	}
	return m.rare.delivery.Queue
}

// Wire names the wire that the message came by, "queue" for one of a queue.
func (m *Message) Wire() string {
	if m.conn != nil {
		return m.conn.Wire()
	}
	return "queue"
}

// Delivery returns the queue's side of a message that came from one, nil for
// others; see [Server.HandleQueue].
func (m *Message) Delivery() *queue.Delivery {
	if m.rare == nil {
		return nil
	}
	return m.rare.delivery
}

// Server returns the server that handles the message.
func (m *Message) Server() *Server {
	if m.conn != nil {
		return m.conn.link.srv
	}
	return m.rare.srv
}

// Kind returns the routing name.
func (m *Message) Kind() string { return m.kind }

// ID returns the caller's number of the call, zero for a one-way message.
func (m *Message) ID() uint64 { return m.id }

// IsCall reports whether the sender waits for an answer.
func (m *Message) IsCall() bool { return m.call }

// Room returns the room that the message was published to, where the wire
// tells; empty otherwise.
func (m *Message) Room() string { return m.room }

// Position returns the message's position in its room's history, as the server has
// told; empty where the room keeps none. See [WithHistory].
func (m *Message) Position() string {
	if m.rare == nil {
		return ""
	}
	return m.rare.offset
}

// Header returns one header, empty if it is not there.
func (m *Message) Header(name string) string { return m.header[name] }

// Headers returns all headers, nil if there are none. The map is the message's own.
func (m *Message) Headers() map[string]string { return m.header }

// SetHeader sets a header, for the handlers behind a middleware.
func (m *Message) SetHeader(name, value string) {
	if m.header == nil {
		m.header = make(map[string]string)
	}
	m.header[name] = value
}

// SetReplyHeader sets a header of the answer to this call. One that fails has
// none, and not every wire can carry them.
func (m *Message) SetReplyHeader(name, value string) {
	e := m.extra()
	if e.reply == nil {
		e.reply = make(map[string]string)
	}
	e.reply[name] = value
}

// Payload returns the argument, or the first of several, as it came.
func (m *Message) Payload() Payload { return m.payload }

// SetPayload replaces the first argument, for the handlers behind a pipe.
func (m *Message) SetPayload(p Payload) { m.payload = p }

// Args returns all arguments. A message of a wire with a single one has one,
// or none when the payload is empty. What it returns may be sent on in [Args],
// one by one.
func (m *Message) Args() []Payload {
	if len(m.args) == 0 && m.payload.Empty() {
		return nil
	}
	return append([]Payload{m.payload}, m.args...)
}

// Bind decodes the arguments in order into the pointers, by each one's content
// type. Pointers beyond the last argument are left alone. The error is an
// *[Error] with [CodeBadRequest], for the handler to return.
func (m *Message) Bind(into ...any) error {
	return m.Server().bindArgs(m.kind, m.payload, m.args, into)
}

// allArgs returns the arguments as they are sent on.
func (m *Message) allArgs() Args {
	all := make(Args, 0, 1+len(m.args))
	for _, p := range m.Args() {
		all = append(all, p)
	}
	return all
}

// Value returns what SetValue stored under key.
func (m *Message) Value(key any) any { return m.values[key] }

// SetValue stores something for the handlers behind, for this message only.
func (m *Message) SetValue(key, value any) {
	if m.values == nil {
		m.values = make(map[any]any)
	}
	m.values[key] = value
}

// Size returns the bytes of all arguments.
func (m *Message) Size() int {
	n := len(m.payload.Data)
	for _, a := range m.args {
		n += len(a.Data)
	}
	return n
}

// Clone returns a copy that may be kept.
func (m *Message) Clone() *Message {
	c := *m
	c.cleanup = nil
	c.own()
	if m.header != nil {
		c.header = maps.Clone(m.header)
	}
	return &c
}

// own replaces borrowed bytes by copies.
func (m *Message) own() {
	m.payload = m.payload.Clone()
	if m.args != nil {
		args := make([]Payload, len(m.args))
		for i, a := range m.args {
			args[i] = a.Clone()
		}
		m.args = args
	}
}
