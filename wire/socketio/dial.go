package socketio

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/polywire/polywire/transport/engineio"
	"github.com/polywire/polywire/wire"
)

// Transports say what Dial sends packets over.
type Transports uint8

// The ways of dialling.
const (
	PollingFirst  Transports = iota + 1 // HTTP at once, a WebSocket when it works
	WebSocketOnly                       // no polling
	PollingOnly                         // no WebSocket
)

// WithTransports sets what Dial sends packets over, [PollingFirst] otherwise. It
// is about URLs of the schemes socketio+http and socketio+https; those of
// socketio+ws and socketio+wss are always [WebSocketOnly].
func WithTransports(c Transports) Option { return func(p *Protocol) { p.transports = c } }

// WithDialVersion sets the protocol that Dial speaks: 5, the default, or 4 with
// servers of Socket.IO 2.
func WithDialVersion(version int) Option { return func(p *Protocol) { p.dialVersion = version } }

var errNamespaceInURL = errors.New("socketio: the URL's path is no name of a namespace: at most 512 bytes of UTF-8 without a comma")

// Schemes returns the URL schemes that Dial takes.
func (*Protocol) Schemes() []string {
	return []string{"socketio+http", "socketio+https", "socketio+ws", "socketio+wss"}
}

// Dial opens a link within ctx and the host's handshake timeout. The URL's path
// is the namespace, such as socketio+https://example.org/admin, its query goes
// into every request; the path of the requests is that of [WithPath]. The
// client greets: its payload, a JSON object, is what servers call auth, and its
// header becomes members of that object.
//
// The header's and the payload's members are told to servers of protocol 4 in
// the query of the namespace; in the main namespace such servers take the
// URL's query only.
func (p *Protocol) Dial(ctx context.Context, host wire.Host, u *url.URL, o wire.DialOptions) (wire.Link, error) {
	limits := host.Limits()
	ctx, cancel := context.WithTimeout(ctx, limits.HandshakeTimeout)
	defer cancel()
	options := engineio.DialOptions{
		Header: o.Header, TLS: o.TLS, Proxy: o.Proxy, NetDial: o.NetDial,
		Path: p.path, Query: u.Query(), Version: 4,
		NoPolling: p.transports == WebSocketOnly, NoUpgrade: p.transports == PollingOnly,
		MaxMessageBytes: limits.MessageBytes, UpgradeTimeout: p.engine.UpgradeTimeout,
	}
	target, namespace := *u, u.Path
	switch u.Scheme {
	case "socketio+http", "socketio+https":
	case "socketio+ws", "socketio+wss":
		options.NoPolling, options.NoUpgrade = true, false
	default:
		return wire.Link{}, fmt.Errorf("socketio: scheme %q is none of %s", u.Scheme, strings.Join(p.Schemes(), ", "))
	}
	target.Scheme = strings.TrimPrefix(u.Scheme, "socketio+")
	if namespace == "" {
		namespace = mainNamespace
	}
	if namespace[0] != '/' || len(namespace) > MaxNamespaceBytes || strings.ContainsRune(namespace, ',') || !utf8.ValidString(namespace) {
		return wire.Link{}, errNamespaceInURL
	}
	switch p.dialVersion {
	case 5:
	case 4:
		options.Version = 3
	default:
		return wire.Link{}, fmt.Errorf("socketio: there is no protocol %d to dial", p.dialVersion)
	}
	conn, err := engineio.Dial(ctx, &target, options)
	if err != nil {
		return wire.Link{}, fmt.Errorf("socketio: %w", err)
	}
	session := p.dialect(p.dialVersion, true, namespace).session(host, conn.ID(), conn)
	return wire.Link{
		Transport: conn, Session: session, Greets: true, Namespaces: true, Arguments: true,
		Hello: &wire.Packet{Type: wire.Hello, Namespace: namespace},
	}, nil
}
