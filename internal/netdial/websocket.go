package netdial

import (
	"context"
	"net/url"

	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
)

// At returns u with a scheme that the transport below knows, and with a path if
// it has none.
func At(u *url.URL, scheme, path string) *url.URL {
	at := *u
	at.Scheme = scheme
	if at.Path == "" {
		at.Path = path
	}
	return &at
}

// WebSocket opens a WebSocket to at within a host's limits. Of what comes from
// the wire it uses Subprotocols and Compression, and sets the rest by o.
func WebSocket(ctx context.Context, at *url.URL, limits wire.Limits, o wire.DialOptions, own websocket.DialOptions) (*websocket.Conn, error) {
	own.Header, own.TLS, own.Proxy, own.NetDial = o.Header, o.TLS, o.Proxy, o.NetDial
	own.HandshakeTimeout = limits.HandshakeTimeout
	own.MaxMessageBytes, own.MaxFragments = limits.MessageBytes, limits.Fragments
	conn, resp, err := websocket.Dial(ctx, at.String(), own)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close() // the error has what of it matters
	}
	return conn, err
}
