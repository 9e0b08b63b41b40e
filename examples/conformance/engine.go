package main

import (
	"net/http"
	"sync"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/engineio"
	"github.com/polywire/polywire/wire"
)

// echo is Engine.IO and nothing on it: a wire whose messages have no names. Two
// small types are all that a wire needs.
type echo struct{ engine engineio.Options }

// echoKind is what the handler knows all messages by.
const echoKind = "message"

// Name returns the wire's name.
func (echo) Name() string { return "engineio" }

// Doors returns the one at /engine.io/. The limits are those of the server
// that opens it.
func (e echo) Doors() []wire.Door {
	var once sync.Once
	var server *engineio.Server
	var err error
	return []wire.Door{{
		Path:      "/engine.io/",
		Continues: func(r *http.Request) bool { return r.URL.Query().Get("sid") != "" },
		HTTP: func(host wire.Host, w http.ResponseWriter, r *http.Request) {
			once.Do(func() { server, err = e.open(host) })
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			server.ServeHTTP(w, r)
		},
	}}
}

func (e echo) open(host wire.Host) (*engineio.Server, error) {
	o, limits := e.engine, host.Limits()
	o.PingInterval, o.PingTimeout = limits.HeartbeatInterval, limits.HeartbeatTimeout
	o.MaxPayloadBytes, o.HandshakeTimeout = limits.MessageBytes, limits.HandshakeTimeout
	o.AllowOrigin = host.AllowOrigin
	o.Accept = func(c *engineio.Conn, r *http.Request) error {
		return host.Attach(wire.Link{Transport: c, Session: session{}, Request: r})
	}
	return engineio.NewServer(o)
}

// session passes messages on, text as text and bytes as bytes.
type session struct{}

const textType = "text/plain"

// Decode makes a message of every frame.
func (session) Decode(f transport.Frame, p *wire.Packet) (bool, error) {
	p.Type, p.Kind = wire.Message, echoKind
	p.Payload = codec.Payload{Type: textType, Data: f.Data}
	if f.Type == transport.Binary {
		p.Payload.Type = codec.TypeBytes
	}
	return true, nil
}

// Encode writes messages; there is nothing else to say.
func (session) Encode(w *transport.Writer, p *wire.Packet) error {
	if p.Type != wire.Message {
		return nil
	}
	t := transport.Text
	if p.Payload.Type == codec.TypeBytes {
		t = transport.Binary
	}
	return w.Frame(t, p.Payload.Data)
}

// Format says that all sessions write the same.
func (session) Format() string { return "engineio/echo" }

// ContentTypes returns nil: payloads go as they are.
func (session) ContentTypes() []string { return nil }
