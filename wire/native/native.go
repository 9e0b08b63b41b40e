// Package native is Polywire's own wire: one envelope in two forms, protobuf
// in binary frames and JSON in text frames, over WebSocket, TCP, TLS, unix
// sockets and HTTP Upgrade. docs/wire-native.md specifies it for other languages.
package native

import (
	"slices"
	"strings"

	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
)

// Form is one of the two forms that envelopes have.
type Form uint8

// The forms. A server takes both on every door.
const (
	Proto Form = iota + 1 // protobuf in binary frames
	JSON                  // JSON in text frames
)

// String returns the name by which links agree on the form: the WebSocket
// subprotocol, and the word in the opening of streams.
func (f Form) String() string {
	switch f {
	case Proto:
		return "polywire.v1.proto"
	case JSON:
		return "polywire.v1.json"
	}
	return "unknown form"
}

func formNamed(name string) (Form, bool) {
	for _, f := range []Form{Proto, JSON} {
		if f.String() == name {
			return f, true
		}
	}
	return 0, false
}

// DefaultPath is the HTTP path of the WebSocket door.
const DefaultPath = "/polywire"

// Protocol is the native wire. It implements [wire.Protocol] and [wire.Dialer];
// methods may be called from many goroutines at once.
type Protocol struct {
	paths       []string // of the HTTP door; the first is also Dial's
	form        Form
	compression *websocket.Compression
	accept      []string // content types that Dial asks for; none: any
}

var (
	_ wire.Protocol = (*Protocol)(nil)
	_ wire.Dialer   = (*Protocol)(nil)
)

// Option changes what [New] makes.
type Option func(*Protocol)

// New returns the native wire.
func New(o ...Option) *Protocol {
	p := &Protocol{paths: []string{DefaultPath}, form: Proto}
	for _, option := range o {
		option(p)
	}
	return p
}

// WithPath sets the HTTP paths of the WebSocket door, [DefaultPath] otherwise.
// Each begins with a slash. The first is that of URLs that are dialled without
// one; further ones are for clients that look elsewhere, such as /api/v1/ws.
func WithPath(first string, further ...string) Option {
	return func(p *Protocol) { p.paths = append([]string{first}, further...) }
}

// WithForm sets the form that Dial prefers, [Proto] otherwise. It offers the
// other one too.
func WithForm(f Form) Option { return func(p *Protocol) { p.form = f } }

// WithCompression compresses WebSocket messages with peers that can; nil, the
// default, never does.
func WithCompression(c *websocket.Compression) Option {
	return func(p *Protocol) { p.compression = c }
}

// Name returns "native".
func (*Protocol) Name() string { return "native" }

// Doors returns the WebSocket at its paths, and streams over tcp, tls and unix.
func (p *Protocol) Doors() []wire.Door {
	doors := make([]wire.Door, 0, len(p.paths)+1)
	for _, path := range p.paths {
		doors = append(doors, wire.Door{Path: path, HTTP: p.serveHTTP})
	}
	return append(doors, wire.Door{Stream: serveStream})
}

// offers are the names that Dial offers, the preferred one first.
func (p *Protocol) offers() []string {
	if p.form == JSON {
		return []string{JSON.String(), Proto.String()}
	}
	return []string{Proto.String(), JSON.String()}
}

// known keeps those of the offered names that this wire has, in their order,
// each once: there are never more than two.
func known(offered []string) []string {
	var names []string
	for _, list := range offered {
		for name := range strings.SplitSeq(list, ",") {
			f, ok := formNamed(strings.TrimSpace(name))
			if ok && !slices.Contains(names, f.String()) {
				names = append(names, f.String())
			}
		}
	}
	return names
}
