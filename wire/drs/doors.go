package drs

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/polywire/polywire/internal/netdial"
	"github.com/polywire/polywire/transport/values"
	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
)

// Doors returns the WebSocket at the path, and streams of listeners whose URLs
// begin with the wire's name, such as drs+tcp.
func (p *Protocol) Doors() []wire.Door {
	return []wire.Door{{Path: p.path, HTTP: p.serveHTTP}, {Prefix: p.name, Stream: p.serveStream}}
}

// serveHTTP makes a link of a WebSocket request. What a client gives as
// options when it dials is in the request's query, for the authenticator.
func (p *Protocol) serveHTTP(host wire.Host, w http.ResponseWriter, r *http.Request) {
	limits := host.Limits()
	conn, err := websocket.Accept(w, r, websocket.AcceptOptions{
		AllowOrigin:      host.AllowOrigin,
		MaxMessageBytes:  limits.MessageBytes,
		MaxFragments:     limits.Fragments,
		HandshakeTimeout: limits.HandshakeTimeout,
	})
	if err != nil {
		return // and the client has been told why
	}
	// Attach closes what it refuses.
	_ = host.Attach(wire.Link{Transport: conn, Session: p.NewSession(host, false), Request: r})
}

// serveStream makes a link of a connection. There is no opening.
func (p *Protocol) serveStream(host wire.Host, nc net.Conn) error {
	return host.Attach(p.overStream(host, nc, false))
}

// overStream returns a link over a stream.
func (p *Protocol) overStream(host wire.Host, nc net.Conn, dialled bool) wire.Link {
	o := values.Options{MaxMessageBytes: host.Limits().MessageBytes}
	session := p.NewSession(host, dialled)
	if s, ok := session.(*jsonSession); ok {
		s.scanner = new(scanner)
		o.Scanner = s.scanner
	}
	return wire.Link{Transport: values.New(nc, &p.syntax, o), Session: session}
}

// Schemes returns the URL schemes that Dial takes: drs+tcp, drs+tls, drs+unix,
// drs+ws and drs+wss, with the name of MessagePack's wire in place of drs there.
func (p *Protocol) Schemes() []string {
	return []string{p.name + "+tcp", p.name + "+tls", p.name + "+unix", p.name + "+ws", p.name + "+wss"}
}

// Dial opens a link within ctx and the host's handshake timeout. A WebSocket's
// URL without a path has the path of the door, and its query is what DRS calls
// dial options, such as ?token=...; a unix URL has the socket's path. The
// client does not greet: credentials go into the query or the HTTP header.
func (p *Protocol) Dial(ctx context.Context, host wire.Host, u *url.URL, o wire.DialOptions) (wire.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, host.Limits().HandshakeTimeout)
	defer cancel()
	name, network, _ := strings.Cut(u.Scheme, "+")
	if name != p.name {
		network = ""
	}
	switch network {
	case "tcp", "tls", "unix":
		nc, err := netdial.Connect(ctx, network, u, o)
		if err != nil {
			return wire.Link{}, err
		}
		return p.overStream(host, nc, true), nil
	case "ws", "wss":
		ws, err := netdial.WebSocket(ctx, netdial.At(u, network, p.path), host.Limits(), o, websocket.DialOptions{})
		if err != nil {
			return wire.Link{}, err
		}
		return wire.Link{Transport: ws, Session: p.NewSession(host, true)}, nil
	}
	return wire.Link{}, fmt.Errorf("drs: scheme %q is none of %s", u.Scheme, strings.Join(p.Schemes(), ", "))
}
