package native

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire/internal/netdial"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
)

// ErrNoProtocol is wrapped by errors of Dial when the server does not speak
// this wire.
var ErrNoProtocol = errors.New("native: the server does not speak this wire")

// Schemes returns the URL schemes that Dial takes.
func (*Protocol) Schemes() []string {
	return []string{"ws", "wss", "tcp", "tls", "unix", "polywire+http", "polywire+https"}
}

// Dial opens a link within ctx and the host's handshake timeout. An HTTP
// URL without a path has the path of the door; a unix URL has the socket's.
// The client greets.
func (p *Protocol) Dial(ctx context.Context, host wire.Host, u *url.URL, o wire.DialOptions) (wire.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, host.Limits().HandshakeTimeout)
	defer cancel()
	switch u.Scheme {
	case "ws", "wss":
		return p.dialWebSocket(ctx, host, u, o)
	case "tcp", "tls", "unix":
		return p.dialStream(ctx, host, u, o)
	case "polywire+http", "polywire+https":
		return p.dialUpgrade(ctx, host, u, o)
	}
	return wire.Link{}, fmt.Errorf("native: scheme %q is none of %s", u.Scheme, strings.Join(p.Schemes(), ", "))
}

func (p *Protocol) dialWebSocket(ctx context.Context, host wire.Host, u *url.URL, o wire.DialOptions) (wire.Link, error) {
	at := netdial.At(u, u.Scheme, p.paths[0])
	own := websocket.DialOptions{Subprotocols: p.offers(), Compression: p.compression}
	conn, err := netdial.WebSocket(ctx, at, host.Limits(), o, own)
	if err != nil {
		return wire.Link{}, err
	}
	form, ok := formNamed(conn.Subprotocol())
	if !ok {
		_ = conn.Close()
		return wire.Link{}, fmt.Errorf("%w: it chose no subprotocol", ErrNoProtocol)
	}
	return wire.Link{Transport: conn, Session: NewSession(host, form), Greets: true, Arguments: true}, nil
}

func (p *Protocol) dialStream(ctx context.Context, host wire.Host, u *url.URL, o wire.DialOptions) (wire.Link, error) {
	nc, err := netdial.Connect(ctx, u.Scheme, u, o)
	if err != nil {
		return wire.Link{}, err
	}
	conn := stream.New(nc, stream.Options{MaxMessageBytes: host.Limits().MessageBytes})
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	form, err := p.offerForms(conn)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close() // the first error says why
		return wire.Link{}, fmt.Errorf("native: opening of a stream: %w", err)
	}
	return wire.Link{Transport: conn, Session: NewSession(host, form), Greets: true, Arguments: true}, nil
}

// offerForms is the client's side of the opening.
func (p *Protocol) offerForms(conn transport.Conn) (Form, error) {
	offers := p.offers()
	if err := writeFrame(conn, transport.Text, []byte(strings.Join(offers, " "))); err != nil {
		return 0, err
	}
	answer, err := readText(conn)
	var closed *transport.CloseError
	switch {
	case errors.As(err, &closed) && wire.CloseCode(closed.Code) == wire.CloseProtocol:
		return 0, fmt.Errorf("%w: %w", ErrNoProtocol, err)
	case err != nil:
		return 0, err
	}
	form, ok := formNamed(string(answer))
	if !ok || !slices.Contains(offers, form.String()) {
		return 0, fmt.Errorf("%w: it answered the opening with something else", ErrNoProtocol)
	}
	return form, nil
}
