package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire"
)

// Option configures a [Client].
type Option interface{ apply(c *config) error }

type optionFunc func(c *config) error

func (f optionFunc) apply(c *config) error { return f(c) }

type config struct {
	wires       []wire.Protocol
	peer        []polywire.Option
	dial        wire.DialOptions
	hello       polywire.ConnectOptions
	hooks       []Hooks
	backoffMin  time.Duration
	backoffMax  time.Duration
	dialTimeout time.Duration
	reconnect   bool
	check       time.Duration // negative: never
	credentials func(ctx context.Context) (map[string]string, error)
	tokens      func(ctx context.Context) (Token, error)
}

// Hooks observe a client. Every field may be nil; several may be given, and run
// in order. Message hooks are given with [WithPeer] and polywire.WithHooks.
type Hooks struct {
	// Status is called on each change of the client's state.
	Status func(from, to polywire.State)
	// Connect is called when a connection is open, at first and each time again.
	Connect func(c *polywire.Conn)
	// Disconnect is called when a connection has ended.
	Disconnect func(why error)
	// Retry is called before each wait for another try to connect.
	Retry func(attempt int, wait time.Duration, why error)
	// Recovered is called when a room with history has been subscribed to again
	// after a reconnect: ok says that everything that was missed has come, in
	// order and each message once; else none of it has, and the room's state is
	// to be got anew. It is called with false, too, when it turns out later that
	// messages were lost. The client waits for it to return.
	Recovered func(room string, ok bool)
	// Error is called for what has no caller: a room that could not be
	// subscribed to again.
	Error func(err error)
}

// WithWires sets the wires that the client can speak; the URL's scheme chooses.
// Default: [DefaultWires].
func WithWires(wires ...wire.Protocol) Option {
	return optionFunc(func(c *config) error { c.wires = append(c.wires, wires...); return nil })
}

// WithPeer gives options to the core that the client shares with servers:
// codecs, limits, heartbeats, concurrency, hooks for messages, the logger.
func WithPeer(opts ...polywire.Option) Option {
	return optionFunc(func(c *config) error { c.peer = append(c.peer, opts...); return nil })
}

// WithHooks adds observers.
func WithHooks(h ...Hooks) Option {
	return optionFunc(func(c *config) error { c.hooks = append(c.hooks, h...); return nil })
}

// WithTLS sets the TLS configuration for wss and tls. Default: the system's
// roots, and the host name verified.
func WithTLS(t *tls.Config) Option {
	return optionFunc(func(c *config) error { c.dial.TLS = t; return nil })
}

// WithHTTPHeader adds headers to the opening HTTP request, on wires that have one.
func WithHTTPHeader(h http.Header) Option {
	return optionFunc(func(c *config) error { c.dial.Header = h.Clone(); return nil })
}

// WithProxy chooses an HTTP proxy for each connection, such as
// http.ProxyFromEnvironment. Default: none.
func WithProxy(f func(*http.Request) (*url.URL, error)) Option {
	return optionFunc(func(c *config) error { c.dial.Proxy = f; return nil })
}

// WithNetDial opens network connections in place of net.Dialer.
func WithNetDial(f func(ctx context.Context, network, address string) (net.Conn, error)) Option {
	return optionFunc(func(c *config) error { c.dial.NetDial = f; return nil })
}

// WithCredentials asks f before each connection for the headers of the hello,
// where a server's authenticator finds them. An error counts as a failed try.
func WithCredentials(f func(ctx context.Context) (map[string]string, error)) Option {
	return optionFunc(func(c *config) error { c.credentials = f; return nil })
}

// WithBackoff sets the shortest and the longest wait between two tries to
// connect. Defaults 1 s and 30 s; each wait is a random part of a doubling time.
func WithBackoff(shortest, longest time.Duration) Option {
	return optionFunc(func(c *config) error {
		if shortest <= 0 || longest < shortest {
			return errors.New("the backoff needs 0 < shortest <= longest")
		}
		c.backoffMin, c.backoffMax = shortest, longest
		return nil
	})
}

// WithDialTimeout bounds one try to connect, the hello included. Default 10 s.
func WithDialTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) error {
		if d <= 0 {
			return errors.New("the dial timeout must be positive")
		}
		c.dialTimeout = d
		return nil
	})
}

// WithPositionCheck sets about how often the client asks whether messages of
// rooms with history were lost on the way to the server; those come then. Each
// wait is up to a quarter shorter or longer. Default 40 s; negative: never.
func WithPositionCheck(every time.Duration) Option {
	return optionFunc(func(c *config) error {
		if every == 0 {
			return errors.New("the time between position checks must not be zero")
		}
		c.check = every
		return nil
	})
}

// WithoutReconnect makes the client end with its first connection.
func WithoutReconnect() Option {
	return optionFunc(func(c *config) error { c.reconnect = false; return nil })
}
