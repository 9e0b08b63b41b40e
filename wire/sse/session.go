package sse

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/jsonscan"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

//nolint:gochecknoglobals // asked for with every message and never changed: one slice for all sessions
var contentTypes = []string{codec.TypeJSON, codec.TypeBytes}

// unsayable is the error of packets that this wire does not have.
func unsayable(t wire.Type) error { return fmt.Errorf("%w, not a %s", ErrOneWay, t) }

func malformed(err error) error {
	return &wire.ProtocolError{Code: wire.CloseBadRequest, Reason: "malformed event", Err: err}
}

// serverSession says messages. Until the stream is open it also takes the
// core's answers to what the request asked for.
type serverSession struct {
	conn   *conn
	asked  *request // nil once everything has been asked; used by Decode only
	next   int      // of the request's rooms
	hello  bool     // has been said
	places *places  // nil without rooms
}

var _ wire.Personal = (*serverSession)(nil)

// Decode makes packets of the frames that the link begins with: a hello, and a
// subscription for each room of the request.
func (s *serverSession) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	r := s.asked
	if r == nil || f.Type != transport.Text {
		return false, &wire.ProtocolError{Code: wire.CloseBadRequest, Reason: "clients of this wire only listen"}
	}
	if !s.hello {
		s.hello = true
		*p = wire.Packet{Type: wire.Hello, Header: r.header, Position: r.offset}
	} else {
		*p = wire.Packet{Type: wire.Subscribe, ID: uint64(s.next) + 1, Room: string(f.Data), Position: r.places.asked(s.next)}
		s.next++
	}
	if s.next == len(r.rooms) {
		s.asked = nil
	}
	return true, nil
}

// Encode writes a message as an event. What answers the request is told to
// whoever holds back its response.
func (s *serverSession) Encode(w *transport.Writer, p *wire.Packet) error {
	switch p.Type {
	case wire.Message:
		b, err := appendEvent(w.Begin(), p, s.places.move(p))
		if err != nil {
			return fmt.Errorf("sse: message of kind %.60q: %w", p.Kind, err)
		}
		return w.End(b, transport.Text)
	case wire.Welcome, wire.Reply, wire.Error:
		if known, last := s.conn.answered(p); known {
			return s.sayAnswer(w, p, last)
		}
	}
	return unsayable(p.Type)
}

// sayAnswer tells a client that comes back how it went in a room, and with the
// last answer where it is.
func (s *serverSession) sayAnswer(w *transport.Writer, p *wire.Packet, last bool) error {
	if s.places == nil || p.Type == wire.Error {
		return nil
	}
	if i := int(p.ID) - 1; p.Type == wire.Reply {
		if tell, recovered := s.places.answer(i, p); tell {
			if err := w.End(appendRecovered(w.Begin(), s.places.rooms[i], recovered), transport.Text); err != nil {
				return err
			}
		}
	}
	if !last {
		return nil
	}
	id := s.places.opened()
	if id == "" {
		return nil
	}
	b, err := appendField(w.Begin(), "id: ", id)
	if err != nil {
		return fmt.Errorf("sse: place: %w", err)
	}
	return w.End(b, transport.Text)
}

// Format returns the wire's name, since events are the same on every link.
func (*serverSession) Format() string { return "sse" }

// Personal implements [wire.Personal]: an event's id is about the stream's rooms.
func (s *serverSession) Personal(p *wire.Packet) bool { return s.places.personal(p) }

// ContentTypes returns JSON, and bytes, which travel in base64.
func (*serverSession) ContentTypes() []string { return contentTypes }

// clientSession understands events.
type clientSession struct {
	host      wire.Host
	offset    atomic.Pointer[string]
	rooms     []string // that were asked for
	sum       string   // of their names, if there are several
	recovered func(room string, recovered bool)
}

var (
	_ wire.Positioner = (*clientSession)(nil)
	_ wire.Recoverer  = (*clientSession)(nil)
)

// newClientSession returns the session of a link that asks for rooms and comes
// back with the last event's id.
func newClientSession(host wire.Host, rooms []string, last string) *clientSession {
	s := &clientSession{host: host, rooms: rooms}
	if len(rooms) > 1 {
		s.sum = sumOf(rooms)
	}
	s.offset.Store(&last)
	return s
}

// OnRecovered implements [wire.Recoverer].
func (s *clientSession) OnRecovered(f func(room string, recovered bool)) { s.recovered = f }

// tellRecovered reads the server's event about a room. Another server's of that
// name is no message either.
func (s *clientSession) tellRecovered(data []byte) {
	var said struct {
		Room      string `json:"room"`
		Recovered bool   `json:"recovered"`
	}
	if json.Unmarshal(data, &said) == nil && said.Room != "" && s.recovered != nil {
		s.recovered(said.Room, said.Recovered)
	}
}

// Decode reads the lines of an event. One without data only moves the place.
func (s *clientSession) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	if f.Type != transport.Text {
		return false, malformed(errors.New("not text"))
	}
	e := parseEvent(f.Data)
	id := string(e.id)
	if e.hasID {
		s.offset.Store(&id)
	}
	if e.lines == 0 {
		return false, nil
	}
	if string(e.kind) == recoveredKind {
		s.tellRecovered(e.data)
		return false, nil
	}
	*p = wire.Packet{Type: wire.Message, Kind: "message", Room: e.roomName()}
	if id != "" {
		p.Position = placeIn(id, s.sum, slices.Index(s.rooms, p.Room))
	}
	if len(e.kind) > 0 {
		p.Kind = s.host.Kind(e.kind)
	}
	if len(e.headers) > 0 && json.Unmarshal(e.headers, &p.Header) != nil {
		p.Header = nil // another server's field of that name
	}
	var err error
	if p.Payload, err = e.payload(); err != nil {
		return false, malformed(err)
	}
	return true, nil
}

func (e *event) roomName() string {
	var name string
	if len(e.room) > 0 && json.Unmarshal(e.room, &name) != nil {
		name = string(e.room)
	}
	return name
}

// payload returns what the data says: JSON, or another server's text as a JSON
// string.
func (e *event) payload() (codec.Payload, error) {
	if len(e.data) == 0 {
		return codec.Payload{}, nil
	}
	p := codec.Payload{Type: codec.TypeJSON, Data: e.data}
	if isJSON := jsonscan.Valid(e.data) == nil; !isJSON {
		p.Data = quoted(e.data)
		return p, nil
	}
	if len(e.contentType) == 0 {
		return p, nil
	}
	var text string
	if err := json.Unmarshal(e.data, &text); err != nil {
		return codec.Payload{}, err
	}
	data, err := base64.StdEncoding.DecodeString(text)
	return codec.Payload{Type: string(e.contentType), Data: data}, err
}

// quoted returns text as a JSON string; what is not UTF-8 is replaced.
func quoted(text []byte) []byte {
	b, err := json.Marshal(string(text))
	if err != nil {
		return []byte(`""`) // a string has no way to fail
	}
	return b
}

// Encode refuses everything.
func (*clientSession) Encode(_ *transport.Writer, p *wire.Packet) error { return unsayable(p.Type) }

// Format returns nothing, since nothing is said.
func (*clientSession) Format() string { return "" }

// ContentTypes returns JSON, and bytes.
func (*clientSession) ContentTypes() []string { return contentTypes }

// Position implements [wire.Positioner].
func (s *clientSession) Position() string {
	if id := s.offset.Load(); id != nil {
		return *id
	}
	return ""
}
