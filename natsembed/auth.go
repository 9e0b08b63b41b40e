package natsembed

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/nats-io/nats-server/v2/server"
)

// clientAuth lets in connections of this process, and of others that show what
// they must.
type clientAuth struct{ want Auth }

// Check reports whether a client may come in.
func (a clientAuth) Check(c server.ClientAuthentication) bool {
	if (nobodyElse{}).Check(c) {
		return true
	}
	got := c.GetOpts()
	if a.want.Token != "" {
		return same(got.Token, a.want.Token)
	}
	return same(got.Username, a.want.User) && same(got.Password, a.want.Password)
}

// nobodyElse lets in connections of this process only.
type nobodyElse struct{}

// Check reports whether a client is of this process: it came over a net.Pipe.
func (nobodyElse) Check(c server.ClientAuthentication) bool {
	addr := c.RemoteAddress()
	return addr != nil && addr.Network() == "pipe"
}

// routeAuth lets in nodes. The server's own check would take a password that
// looks like a bcrypt hash for one.
type routeAuth struct{ user, password string }

// Check reports whether a node may come in.
func (a routeAuth) Check(c server.ClientAuthentication) bool {
	got := c.GetOpts()
	return same(got.Username, a.user) && same(got.Password, a.password)
}

// same compares in a time that tells nothing about either.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
