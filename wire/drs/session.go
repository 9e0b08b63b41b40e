package drs

import (
	"errors"
	"unicode/utf8"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/keep"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

var (
	errTextFrame   = errors.New("a text message where commands are MessagePack")
	errBinaryFrame = errors.New("a binary message where commands are JSON")
)

//nolint:gochecknoglobals // asked for with every message and never changed: one slice for all sessions
var (
	jsonTypes    = []string{codec.TypeJSON}
	msgpackTypes = []string{codec.TypeMsgpack, codec.TypeBytes}
)

// NewSession returns what speaks the wire on one link, for those who carry it
// over something else. dialled says that this side has dialled. Of the host it
// uses Kind only.
func (p *Protocol) NewSession(host wire.Host, dialled bool) wire.Session {
	s := session{host: host, keys: &p.keys, rooms: p.roomActions && !dialled}
	if p.encoding == Msgpack {
		return &msgpackSession{s}
	}
	return &jsonSession{session: s}
}

// session is what sessions of both encodings have. Decode alone changes it.
type session struct {
	host  wire.Host
	keys  *keys
	last  uint64       // number of the last command that came
	kept  keep.Strings // keys that came lately
	rooms bool         // room actions are the peer's to use
}

// jsonSession speaks JSON.
type jsonSession struct {
	session

	scanner *scanner // of a stream; nil on WebSockets
}

// Decode reads a command; its body stays in the frame.
func (s *jsonSession) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	if f.Type != transport.Text {
		return false, malformed(errBinaryFrame)
	}
	var c command
	if s.scanner == nil || !s.scanner.take(f.Data, &c) {
		if err := readCommand(f.Data, &c); err != nil {
			return false, malformed(err)
		}
	}
	ok, err := s.packet(&c, jsonWords{}, p)
	if err != nil {
		return false, malformed(err)
	}
	return ok, nil
}

// Encode writes a command as a text frame. Headers and the room of a message
// are not said: DRS has no words for them.
func (s *jsonSession) Encode(w *transport.Writer, p *wire.Packet) error {
	if p.Type == wire.Reply && len(p.Args) == 0 && utf8.ValidString(p.Key) {
		b, err := appendJSONReply(w.Begin(), p)
		if err != nil {
			return unsayable(p.Type, err)
		}
		return w.End(b, transport.Text)
	}
	y, err := sayingOf(p)
	if err != nil {
		return unsayable(p.Type, err)
	}
	b, err := appendJSON(w.Begin(), &y, s.keys)
	if err != nil {
		return unsayable(p.Type, err)
	}
	return w.End(b, transport.Text)
}

// Format returns the form's name: a command for many is as good on one link as
// on another, its key too.
func (*jsonSession) Format() string { return "drs/json" }

// ContentTypes returns JSON.
func (*jsonSession) ContentTypes() []string { return jsonTypes }

// msgpackSession speaks MessagePack.
type msgpackSession struct{ session }

// Decode reads a command; its body stays in the frame.
func (s *msgpackSession) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	if f.Type != transport.Binary {
		return false, malformed(errTextFrame)
	}
	var c command
	if err := readMsgpack(f.Data, &c); err != nil {
		return false, malformed(err)
	}
	ok, err := s.packet(&c, msgpackWords{}, p)
	if err != nil {
		return false, malformed(err)
	}
	return ok, nil
}

// Encode writes a command as a binary frame, and leaves out what JSON's does.
func (s *msgpackSession) Encode(w *transport.Writer, p *wire.Packet) error {
	y, err := sayingOf(p)
	if err != nil {
		return unsayable(p.Type, err)
	}
	b, err := appendMsgpack(w.Begin(), &y, s.keys)
	if err != nil {
		return unsayable(p.Type, err)
	}
	return w.End(b, transport.Binary)
}

// Format returns the wire's name, as in JSON.
func (*msgpackSession) Format() string { return "drs/msgpack" }

// ContentTypes returns MessagePack and bytes.
func (*msgpackSession) ContentTypes() []string { return msgpackTypes }
