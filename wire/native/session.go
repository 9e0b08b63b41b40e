package native

import (
	"errors"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

var (
	errTextFrame   = errors.New("a text frame where envelopes are binary")
	errBinaryFrame = errors.New("a binary frame where envelopes are text")
)

//nolint:gochecknoglobals // asked for with every message and never changed: one slice for all sessions
var jsonTypes = []string{codec.TypeJSON, codec.TypeBytes}

// NewSession returns what speaks a form of the wire, [Proto] unless it is
// [JSON]. Of the host it uses Kind only.
func NewSession(host wire.Host, f Form) wire.Session {
	if f == JSON {
		return jsonSession{host}
	}
	return protoSession{host}
}

// protoSession speaks the binary form.
type protoSession struct{ host wire.Host }

// Decode reads an envelope; the payload stays in the frame.
func (s protoSession) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	if f.Type != transport.Binary {
		return false, malformed(errTextFrame)
	}
	if err := decodeProto(f.Data, s.host.Kind, p); err != nil {
		return false, malformed(err)
	}
	return true, nil
}

// Encode writes an envelope as a binary frame.
func (s protoSession) Encode(w *transport.Writer, p *wire.Packet) error {
	b, err := appendProto(w.Begin(), p)
	if err != nil {
		return unsayable(p.Type, err)
	}
	return w.End(b, transport.Binary)
}

// Format returns the form's name, since envelopes are the same on every link.
func (protoSession) Format() string { return "native/proto" }

// ContentTypes returns nil: a payload of any type can be said.
func (protoSession) ContentTypes() []string { return nil }

// jsonSession speaks the text form.
type jsonSession struct{ host wire.Host }

// Decode reads an envelope; a JSON payload stays in the frame.
func (s jsonSession) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	if f.Type != transport.Text {
		return false, malformed(errBinaryFrame)
	}
	if err := decodeJSON(f.Data, s.host.Kind, p); err != nil {
		return false, malformed(err)
	}
	return true, nil
}

// Encode writes an envelope as a text frame. It can say payloads of any type,
// in base64; ContentTypes has those that a peer can be expected to understand.
func (s jsonSession) Encode(w *transport.Writer, p *wire.Packet) error {
	b, err := appendJSON(w.Begin(), p)
	if err != nil {
		return unsayable(p.Type, err)
	}
	return w.End(b, transport.Text)
}

// Format returns the form's name, since envelopes are the same on every link.
func (jsonSession) Format() string { return "native/json" }

// ContentTypes returns JSON, and bytes, which travel in base64. It is asked
// for every message, so all sessions give the same slice.
func (jsonSession) ContentTypes() []string { return jsonTypes }
