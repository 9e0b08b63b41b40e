package goomerang

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/keep"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

//nolint:gochecknoglobals // asked for with every message and never changed: one slice for all sessions
var contentTypes = []string{codec.TypeProtobuf}

// closeUnsupported is what RFC 6455 section 7.4.1 has for messages of a type
// that cannot be accepted.
const closeUnsupported wire.CloseCode = 1003

// What a request or an answer is told whose kind is not linked in.
const (
	codeNotFound      = "not_found"
	codeUnimplemented = "unimplemented"
)

// Side says which end of a link a session is.
type Side struct {
	// Dialled says that this side has dialled.
	Dialled bool
	// Polywire says that the other side is Polywire too: see [Subprotocol].
	Polywire bool
}

// NewSession returns what speaks the wire on one link, for those who carry it
// over something else. Of the host it uses Kind only.
func (p *Protocol) NewSession(host wire.Host, side Side) wire.Session {
	s := &session{Side: side, wire: p, host: host}
	if side.Dialled {
		s.uuids = newUUIDs(p.random())
	} else {
		s.uuids = newUUIDs(p.accepted)
	}
	return s
}

// session speaks the wire. Decode alone changes it.
type session struct {
	Side

	wire  *Protocol
	host  wire.Host
	uuids uuids
	last  uint64       // number of the last call that came
	kept  keep.Strings // uuids that came lately
}

// Decode reads a Frame; the payload stays in place. Answers that this side has
// not asked for mean nothing.
func (s *session) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	if f.Type != transport.Binary {
		return false, &wire.ProtocolError{Code: closeUnsupported, Reason: "text message: frames are binary messages"}
	}
	var in frame
	if err := in.read(f.Data); err != nil {
		return false, malformed(err)
	}
	if in.sync {
		if id := s.uuids.call(in.uuid); id != 0 {
			p.ID = id
			if err := s.answer(&in, p); err != nil {
				return false, malformed(err)
			}
			return true, nil
		}
		if s.Dialled && !s.Polywire {
			return false, nil
		}
	}
	if bytes.HasPrefix(in.kind, []byte(commands)) {
		known, err := s.command(&in, p)
		if err != nil {
			return false, malformed(err)
		}
		if known {
			return true, nil
		}
	}
	p.Type = wire.Message
	if in.sync {
		p.Type = wire.Call
		s.number(&in, p)
	}
	p.Header = in.headers
	s.carry(p, in.kind, in.payload)
	return true, nil
}

// number gives a frame the number that the core tells calls by: uuids need not
// be there, nor be different.
func (s *session) number(in *frame, p *wire.Packet) {
	s.last++
	p.ID, p.Key = s.last, s.kept.Of(in.uuid)
}

// carry puts a message into a packet, or why it is refused.
func (s *session) carry(p *wire.Packet, kind, message []byte) {
	name, linked := s.wire.names.linked(kind)
	p.Kind = name
	p.Payload = codec.Payload{Type: codec.TypeProtobuf, Data: message, Name: name}
	if !linked {
		p.Err = &wire.ErrorBody{Code: codeNotFound, Message: notLinked(name), Fault: true}
	}
}

// notLinked is what is said of a kind; it may have come from a stranger, so
// that much of it is enough.
func notLinked(kind string) string {
	const enough = 200
	if len(kind) > enough {
		kind = strings.ToValidUTF8(kind[:enough], "") + "..."
	}
	return "no message type " + kind + " is linked in"
}

// answer makes a packet of an answer to a call of this side's.
func (s *session) answer(in *frame, p *wire.Packet) (err error) {
	p.Header = in.headers
	switch string(in.kind) {
	case failureKind:
		p.Type = wire.Error
		p.Err, err = readFailure(in.payload)
		return err
	case emptyKind:
		p.Type = wire.Reply
		return nil
	}
	name, linked := s.wire.names.linked(in.kind)
	if !linked {
		p.Type = wire.Error
		p.Err = &wire.ErrorBody{Code: codeUnimplemented, Message: "the reply: " + notLinked(name)}
		return nil
	}
	p.Type = wire.Reply
	p.Payload = codec.Payload{Type: codec.TypeProtobuf, Data: in.payload, Name: name}
	return nil
}

// command makes a packet of a command; known is false for frames that are none.
// Goomerang answers none, even if asked to.
func (s *session) command(in *frame, p *wire.Packet) (known bool, err error) {
	switch string(in.kind) {
	case subscribeCmd:
		p.Type = wire.Subscribe
	case unsubscribeCmd:
		p.Type = wire.Unsubscribe
	case publishCmd:
		p.Type = wire.Publish
	case broadcastCmd:
		p.Type = wire.Broadcast
	default:
		return false, nil
	}
	var c command
	if err := c.read(in.payload); err != nil {
		return false, fmt.Errorf("a command's %w", err)
	}
	if in.sync && s.Polywire {
		s.number(in, p)
	}
	p.Header = inner(in.headers)
	if p.Type != wire.Broadcast {
		p.Room = string(c.topic)
	}
	if p.Type == wire.Publish || p.Type == wire.Broadcast {
		s.carry(p, c.kind, c.message)
	}
	return true, nil
}

// inner returns the headers that belong to the message in a command.
func inner(headers map[string]string) map[string]string {
	var own map[string]string
	for k, v := range headers {
		if name, ok := strings.CutPrefix(k, innerPrefix); ok {
			if own == nil {
				own = make(map[string]string, len(headers))
			}
			own[name] = v
		}
	}
	return own
}

// Encode writes a Frame as a binary message. The room of a message is not said:
// Goomerang does not tell it.
func (s *session) Encode(w *transport.Writer, p *wire.Packet) error {
	var y saying
	err := s.say(&y, p)
	if err != nil {
		return unsayable(p.Type, err)
	}
	b, err := y.append(w.Begin(), &s.uuids, s.wire.now())
	if err != nil {
		return unsayable(p.Type, err)
	}
	return w.End(b, transport.Binary)
}

// Format returns the wire's name for accepted links: a message for many is as
// good on one as on another. Those that dial have uuids of their own.
func (s *session) Format() string {
	if s.Dialled {
		return ""
	}
	return "goomerang"
}

// ContentTypes returns protobuf.
func (*session) ContentTypes() []string { return contentTypes }
