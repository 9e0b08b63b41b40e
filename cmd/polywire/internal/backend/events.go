package backend

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
)

// connection is what the backend is told of a connection each time.
type connection struct {
	ID        string                     `json:"id"`
	Node      string                     `json:"node"`
	Wire      string                     `json:"wire"`
	Namespace string                     `json:"namespace,omitempty"` // but for the main one
	User      string                     `json:"user,omitempty"`
	Address   string                     `json:"address,omitempty"`
	Values    map[string]json.RawMessage `json:"values,omitempty"` // that the backend has set
}

// valuesKey is where a connection has what the backend has set.
type valuesKey struct{}

// roomsKey is where a connection has the rooms to join when it is open.
type roomsKey struct{}

func about(c *polywire.Conn) connection {
	out := connection{ID: c.ID(), Node: c.Server().Nodes().ID(), Wire: c.Wire(), User: c.User()}
	if a := c.RemoteAddr(); a != nil {
		out.Address = a.String()
	}
	if ns := c.Namespace(); ns != nil && ns.Name() != "/" {
		out.Namespace = ns.Name()
	}
	out.Values, _ = c.Value(valuesKey{}).(map[string]json.RawMessage) // or there are none
	return out
}

// payload is an argument in one of two forms; an empty one has none.
type payload struct {
	JSON  json.RawMessage `json:"json,omitempty"`
	Bytes []byte          `json:"bytes,omitempty"` // what is no JSON, as base64
}

func (b *Backend) payload(p polywire.Payload) *payload {
	if p.Empty() {
		return nil
	}
	if p.Type != codec.TypeJSON && p.Type != codec.TypeBytes {
		if j, err := b.codecs.Translate("", p, codec.TypeJSON); err == nil {
			p = j
		}
	}
	if p.Type == codec.TypeJSON && json.Valid(p.Data) && utf8.Valid(p.Data) {
		return &payload{JSON: slices.Clone(p.Data)}
	}
	return &payload{Bytes: slices.Clone(p.Data)}
}

// connecting is the data of connect.
type connecting struct {
	Connection connection          `json:"connection"`
	Claims     map[string]any      `json:"claims,omitempty"` // where somebody has authenticated it before
	URL        string              `json:"url,omitempty"`    // path and query of the HTTP request
	Host       string              `json:"host,omitempty"`
	Header     map[string][]string `json:"header,omitempty"` // those of Options.Headers
	Hello      *hello              `json:"hello,omitempty"`  // where the client has sent its first message
}

type hello struct {
	Header  map[string]string `json:"header,omitempty"`
	Payload *payload          `json:"payload,omitempty"`
}

// changes are what an answer does to a connection.
type changes struct {
	Join   []string                   `json:"join"`
	Leave  []string                   `json:"leave"`
	Values map[string]json.RawMessage `json:"values"` // null removes one
}

// decision is the answer to connect, subscribe, publish and broadcast.
type decision struct {
	Allow   *bool  `json:"allow"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// welcome is the answer to connect.
type welcome struct {
	decision
	changes

	User         *string        `json:"user"`
	Claims       map[string]any `json:"claims"`
	Expires      *time.Time     `json:"expires"`
	WaitForHello bool           `json:"wait_for_hello"`
}

// Bounds of what an answer may do.
const (
	maxRooms      = 100
	maxValues     = 64
	maxValueBytes = 16 << 10 // of all values of a connection
	maxUserBytes  = 255
	maxTextBytes  = 1 << 10
)

// verdict returns why not; an answer that does not say is none.
func (d *decision) verdict() error {
	switch {
	case d.Allow == nil:
		return down("the answer does not say whether it is allowed")
	case *d.Allow:
		return nil
	}
	return &polywire.Error{Code: polywire.Code(cmp.Or(bounded(d.Code), string(polywire.CodeForbidden))), Message: cmp.Or(bounded(d.Message), "not allowed")}
}

func bounded(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxTextBytes)], "")
}

// Authenticator asks the backend who may connect, after next has let somebody
// in; nil: everybody is. Without [Connect] among the events it is next.
func (b *Backend) Authenticator(next polywire.Authenticator) polywire.Authenticator {
	if !b.wants(Connect) {
		return next
	}
	return func(ctx context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
		var id *polywire.Identity
		if next != nil {
			var err error
			if id, err = next(ctx, h); err != nil {
				return nil, err
			}
		}
		told, err := b.admit(ctx, h, id)
		if err == nil || errors.Is(err, polywire.ErrAwaitHello) {
			return told, err
		}
		return id, b.refusal(Connect, err)
	}
}

// admit asks the backend about a connection.
func (b *Backend) admit(ctx context.Context, h *polywire.Handshake, before *polywire.Identity) (*polywire.Identity, error) {
	var w welcome
	if err := b.ask(ctx, Connect, b.connecting(h, before), &w); err != nil {
		return nil, err
	}
	switch {
	case w.WaitForHello && !h.Hello:
		return nil, polywire.ErrAwaitHello
	case w.WaitForHello: // it has come, and did not help
		return nil, polywire.Errorf(polywire.CodeUnauthorized, "not accepted")
	}
	if err := w.verdict(); err != nil {
		return nil, err
	}
	return w.apply(h, before)
}

func (b *Backend) connecting(h *polywire.Handshake, id *polywire.Identity) connecting {
	q := connecting{Connection: about(h.Conn)}
	q.Connection.Wire = h.Wire
	if h.Namespace != "/" {
		q.Connection.Namespace = h.Namespace
	}
	if h.RemoteAddr != nil {
		q.Connection.Address = h.RemoteAddr.String()
	}
	if id != nil {
		q.Connection.User, q.Claims = id.User, id.Claims
	}
	if h.Request != nil {
		q.URL, q.Host = h.Request.URL.RequestURI(), h.Request.Host
		for _, name := range b.o.Headers {
			if values := h.Request.Header.Values(name); len(values) > 0 {
				if q.Header == nil {
					q.Header = make(map[string][]string)
				}
				q.Header[http.CanonicalHeaderKey(name)] = values
			}
		}
	}
	if h.Hello {
		q.Hello = &hello{h.Header, b.payload(h.Payload)}
	}
	return q
}

// apply makes an identity of the answer, and keeps the rest with the connection.
func (w *welcome) apply(h *polywire.Handshake, before *polywire.Identity) (*polywire.Identity, error) {
	if err := w.check(); err != nil {
		return nil, err
	}
	values, err := w.merged(nil)
	switch {
	case err != nil:
		return nil, err
	case len(w.Leave) > 0:
		return nil, down("a connection that is not open can leave nothing")
	case w.User != nil && (len(*w.User) > maxUserBytes || !utf8.ValidString(*w.User)):
		return nil, down("the user has more than %d bytes", maxUserBytes)
	}
	if len(values) > 0 {
		h.Conn.SetValue(valuesKey{}, values)
	}
	if len(w.Join) > 0 {
		h.Conn.SetValue(roomsKey{}, w.Join)
	}
	if w.User == nil && w.Claims == nil && w.Expires == nil {
		return before, nil
	}
	id := new(polywire.Identity)
	if before != nil {
		*id = *before
	}
	if w.User != nil {
		id.User = *w.User
	}
	if w.Claims != nil {
		id.Claims = w.Claims
	}
	if w.Expires != nil {
		id.Expires = *w.Expires
	}
	return id, nil
}

func (c *changes) check() error {
	if len(c.Join) > maxRooms || len(c.Leave) > maxRooms {
		return down("more than %d rooms", maxRooms)
	}
	for _, room := range slices.Concat(c.Join, c.Leave) {
		if room == "" || len(room) > maxUserBytes || !utf8.ValidString(room) {
			return down("a room without a name, or with one of more than %d bytes", maxUserBytes)
		}
	}
	return nil
}

// merged returns the values that a connection has with those of the answer.
func (c *changes) merged(before map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	if len(c.Values) == 0 {
		return before, nil
	}
	values := make(map[string]json.RawMessage, len(before)+len(c.Values))
	maps.Copy(values, before)
	for name, v := range c.Values {
		if string(v) == "null" {
			delete(values, name)
		} else {
			values[name] = v
		}
	}
	size := 0
	for name, v := range values {
		size += len(name) + len(v)
	}
	if len(values) > maxValues || size > maxValueBytes {
		return nil, down("more than %d values, or %d bytes of them", maxValues, maxValueBytes)
	}
	return values, nil
}

// do makes the changes to an open connection.
func (c *changes) do(conn *polywire.Conn) error {
	if err := c.check(); err != nil {
		return err
	}
	before, _ := conn.Value(valuesKey{}).(map[string]json.RawMessage) // or there are none
	values, err := c.merged(before)
	if err != nil {
		return err
	}
	if len(c.Values) > 0 {
		conn.SetValue(valuesKey{}, values)
	}
	conn.Leave(c.Leave...)
	if len(c.Join) == 0 {
		return nil
	}
	return conn.Join(c.Join...)
}

// asking is the data of subscribe, publish and broadcast.
type asking struct {
	Connection connection `json:"connection"`
	Room       string     `json:"room,omitempty"`
	Kind       string     `json:"kind,omitempty"`
}

func (b *Backend) decide(ctx context.Context, e Event, q asking) error {
	var d decision
	err := b.ask(ctx, e, q, &d)
	if err == nil {
		err = d.verdict()
	}
	if err != nil {
		return b.refusal(e, err)
	}
	return nil
}

// SubscribePolicy asks the backend who may join rooms; nil without [Subscribe].
func (b *Backend) SubscribePolicy() func(ctx context.Context, c *polywire.Conn, room string) error {
	if !b.wants(Subscribe) {
		return nil
	}
	return func(ctx context.Context, c *polywire.Conn, room string) error {
		return b.decide(ctx, Subscribe, asking{about(c), room, ""})
	}
}

// PublishPolicy asks the backend who may send to rooms; nil without [Publish].
func (b *Backend) PublishPolicy() func(ctx context.Context, c *polywire.Conn, room, kind string) error {
	if !b.wants(Publish) {
		return nil
	}
	return func(ctx context.Context, c *polywire.Conn, room, kind string) error {
		return b.decide(ctx, Publish, asking{about(c), room, kind})
	}
}

// BroadcastPolicy asks the backend who may send to everybody; nil without [Broadcast].
func (b *Backend) BroadcastPolicy() func(ctx context.Context, c *polywire.Conn, kind string) error {
	if !b.wants(Broadcast) {
		return nil
	}
	return func(ctx context.Context, c *polywire.Conn, kind string) error {
		return b.decide(ctx, Broadcast, asking{about(c), "", kind})
	}
}

// message is the data of a message.
type message struct {
	Connection *connection       `json:"connection,omitempty"`
	Kind       string            `json:"kind"`
	Call       bool              `json:"call"`
	Header     map[string]string `json:"header,omitempty"`
	Payload    *payload          `json:"payload,omitempty"`
	Args       []*payload        `json:"args,omitempty"` // where there are several
}

// reply is the answer to a message.
type reply struct {
	changes

	Reply  json.RawMessage   `json:"reply"`
	Bytes  []byte            `json:"reply_bytes"`
	Header map[string]string `json:"header"`
	Error  *failure          `json:"error"`
}

type failure struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Details json.RawMessage `json:"details"`
}

// Handle lets the backend answer messages: register it for their kinds.
func (b *Backend) Handle(ctx context.Context, m *polywire.Message) (any, error) {
	q := message{Kind: m.Kind(), Call: m.IsCall(), Header: m.Headers(), Payload: b.payload(m.Payload())}
	if c := m.Conn(); c != nil {
		conn := about(c)
		q.Connection = &conn
	}
	if args := m.Args(); len(args) > 1 {
		for _, a := range args {
			p := b.payload(a)
			if p == nil {
				p = new(payload)
			}
			q.Args = append(q.Args, p)
		}
	}
	var r reply
	err := b.ask(ctx, Message, q, &r)
	if err == nil && m.Conn() != nil {
		err = r.do(m.Conn())
	}
	if err != nil {
		return nil, b.refusal(Message, err)
	}
	return r.result(m)
}

// result is what the sender gets.
func (r *reply) result(m *polywire.Message) (any, error) {
	switch {
	case r.Error != nil:
		e := &polywire.Error{Code: polywire.Code(cmp.Or(bounded(r.Error.Code), string(polywire.CodeInternal))), Message: bounded(r.Error.Message)}
		if len(r.Error.Details) > 0 {
			e.Details = r.Error.Details
		}
		return nil, e
	case r.Reply != nil && r.Bytes != nil:
		return nil, fmt.Errorf("%w: reply and reply_bytes exclude each other", errDown)
	}
	if m.IsCall() {
		for name, value := range r.Header {
			m.SetReplyHeader(name, value)
		}
	}
	switch {
	case r.Bytes != nil:
		return polywire.Payload{Type: codec.TypeBytes, Data: r.Bytes}, nil
	case r.Reply != nil:
		return polywire.Payload{Type: codec.TypeJSON, Data: r.Reply}, nil
	}
	return nil, nil
}

// Hooks join the rooms that connect was answered with, and tell the backend of
// connections that have ended.
func (b *Backend) Hooks() polywire.Hooks {
	h := polywire.Hooks{Connect: func(c *polywire.Conn) {
		if rooms, ok := c.Value(roomsKey{}).([]string); ok {
			c.SetValue(roomsKey{}, nil)
			if err := c.Join(rooms...); err != nil && !errors.Is(err, polywire.ErrConnClosed) {
				b.log.Warn("a connection could not join the backend's rooms", "connection", c.ID(), "error", err)
			}
		}
	}}
	if b.wants(Disconnect) {
		h.Disconnect = b.disconnected
	}
	return h
}
