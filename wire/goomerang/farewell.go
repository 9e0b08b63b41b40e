package goomerang

import (
	"encoding/binary"
	"errors"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
)

// farewell is a WebSocket to a peer that knows one orderly end only, 1000, and
// takes any other code for an error: a server that goes down says that, and of
// a server it means that.
type farewell struct {
	*websocket.Conn

	framer  transport.Framer
	dialled bool
}

func newFarewell(conn *websocket.Conn, dialled bool) *farewell {
	return &farewell{Conn: conn, framer: plainEnd{conn.Framer()}, dialled: dialled}
}

// Framer returns one whose close frames say 1000 for a shutdown.
func (f *farewell) Framer() transport.Framer { return f.framer }

// Next reports the end that a server says as a shutdown, after which clients
// come back.
func (f *farewell) Next() (transport.Frame, bool, error) {
	frame, ok, err := f.Conn.Next()
	if err == nil || !f.dialled {
		return frame, ok, err
	}
	closed, orderly := errors.AsType[*transport.CloseError](err)
	if orderly && !closed.Local && closed.Code == transport.CloseNormal {
		return frame, ok, &transport.CloseError{Code: uint16(wire.CloseShutdown), Reason: closed.Reason}
	}
	return frame, ok, err
}

// plainEnd changes what close frames say. Other frames are as they were, and as
// good on every link.
type plainEnd struct{ transport.Framer }

// End completes a frame.
func (p plainEnd) End(dst []byte, start int, t transport.FrameType) ([]byte, error) {
	if t == transport.Close {
		code := dst[start+len(p.Begin(nil)):]
		if len(code) >= 2 && binary.BigEndian.Uint16(code) == uint16(wire.CloseShutdown) {
			binary.BigEndian.PutUint16(code, transport.CloseNormal)
		}
	}
	return p.Framer.End(dst, start, t)
}

// Uncompressed implements [transport.Compressor].
func (p plainEnd) Uncompressed() transport.Framer {
	if c, ok := p.Framer.(transport.Compressor); ok {
		return plainEnd{c.Uncompressed()}
	}
	return p
}
