package goomerang

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/polywire/polywire/internal/netdial"
	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
)

// Doors returns the WebSocket at each path.
func (p *Protocol) Doors() []wire.Door {
	doors := make([]wire.Door, len(p.paths))
	for i, path := range p.paths {
		doors[i] = wire.Door{Path: path, HTTP: p.serveHTTP}
	}
	return doors
}

// serveHTTP makes a link of a WebSocket request.
func (p *Protocol) serveHTTP(host wire.Host, w http.ResponseWriter, r *http.Request) {
	limits := host.Limits()
	conn, err := websocket.Accept(w, r, websocket.AcceptOptions{
		AllowOrigin:      host.AllowOrigin,
		Subprotocols:     []string{Subprotocol},
		MaxMessageBytes:  limits.MessageBytes,
		MaxFragments:     limits.Fragments,
		HandshakeTimeout: limits.HandshakeTimeout,
		Compression:      p.compression,
	})
	if err != nil {
		return // and the client has been told why
	}
	l := p.link(host, conn, false)
	l.Request = r
	// Attach closes what it refuses.
	_ = host.Attach(l)
}

// link is what both sides make of an open WebSocket.
func (p *Protocol) link(host wire.Host, conn *websocket.Conn, dialled bool) wire.Link {
	side := Side{Dialled: dialled, Polywire: conn.Subprotocol() == Subprotocol}
	l := wire.Link{Transport: conn, Session: p.NewSession(host, side)}
	if !side.Polywire {
		l.Unanswered = dialled
		l.Transport = newFarewell(conn, dialled)
	}
	return l
}

// Schemes returns the URL schemes that Dial takes.
func (*Protocol) Schemes() []string { return []string{"goomerang+ws", "goomerang+wss"} }

// Dial opens a link within ctx and the host's handshake timeout. A URL without
// a path has that of the door where Goomerang's servers listen: [DefaultPath],
// or [DefaultTLSPath] with TLS. The client does not greet: credentials go into
// the query or the HTTP header.
func (p *Protocol) Dial(ctx context.Context, host wire.Host, u *url.URL, o wire.DialOptions) (wire.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, host.Limits().HandshakeTimeout)
	defer cancel()
	var at *url.URL
	switch u.Scheme {
	case "goomerang+ws":
		at = netdial.At(u, "ws", p.paths[0])
	case "goomerang+wss":
		at = netdial.At(u, "wss", p.paths[len(p.paths)-1])
	default:
		return wire.Link{}, fmt.Errorf("goomerang: scheme %q is none of %s", u.Scheme, strings.Join(p.Schemes(), ", "))
	}
	own := websocket.DialOptions{Subprotocols: []string{Subprotocol}, Compression: p.compression}
	conn, err := netdial.WebSocket(ctx, at, host.Limits(), o, own)
	if err != nil {
		return wire.Link{}, err
	}
	return p.link(host, conn, true), nil
}
