// Package netdial opens the connections below streams, and the WebSockets, for
// every wire that can be dialled.
package netdial

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"

	"github.com/polywire/polywire/wire"
)

// Connect opens a connection of a network, which is "tcp", "tls" or "unix", to
// where u points: its host, or its path for unix. ctx bounds it, a TLS
// handshake included. Of o it uses TLS and NetDial.
func Connect(ctx context.Context, network string, u *url.URL, o wire.DialOptions) (net.Conn, error) {
	dial := o.NetDial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	if network == "unix" {
		return dial(ctx, network, u.Path)
	}
	nc, err := dial(ctx, "tcp", u.Host)
	if err != nil || network == "tcp" {
		return nc, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		config = o.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	secure := tls.Client(nc, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = nc.Close() // the first error says why
		return nil, err
	}
	return secure, nil
}
