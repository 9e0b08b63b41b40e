package service

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
)

// Option configures a [Service].
type Option interface{ apply(c *config) error }

type optionFunc func(c *config) error

func (f optionFunc) apply(c *config) error { return f(c) }

type config struct {
	connections int
	timeout     time.Duration
	pattern     polywire.Pattern // nil: in turn
	shortest    time.Duration    // of the waits between two tries to connect
	longest     time.Duration
	client      []client.Option
	netDial     func(ctx context.Context, network, address string) (net.Conn, error)
	handlers    []registration
	addresses   []Address
	resolver    Resolver
	every       time.Duration
	breaker     *Breaker
	retry       *retrier
	idempotent  map[string]bool
}

func defaults() config {
	return config{
		connections: 2, timeout: 2 * time.Second,
		shortest: 100 * time.Millisecond, longest: 5 * time.Second, every: 30 * time.Second,
	}
}

// WithConnections sets how many connections are kept to each address, 1 to 100.
// Default 2.
func WithConnections(n int) Option {
	return optionFunc(func(c *config) error {
		if n < 1 || n > 100 {
			return errors.New("1 to 100 connections to each address")
		}
		c.connections = n
		return nil
	})
}

// WithTimeout bounds every call, all its tries together, unless [polywire.Timeout]
// says otherwise for one; an earlier deadline of the context wins. Default 2 s.
func WithTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) error {
		if d <= 0 {
			return errors.New("the timeout must be positive")
		}
		c.timeout = d
		return nil
	})
}

// WithPattern picks the connection for each message: [polywire.Random],
// [polywire.LeastLoaded] or your own; its first one counts. Default: one after
// the other, in turn. For one message see [Pick].
func WithPattern(p polywire.Pattern) Option {
	return optionFunc(func(c *config) error { c.pattern = p; return nil })
}

// WithBackoff sets the shortest and the longest wait between two tries to
// connect. Defaults 100 ms and 5 s; each wait is a random part of a doubling time.
func WithBackoff(shortest, longest time.Duration) Option {
	return optionFunc(func(c *config) error {
		if shortest <= 0 || longest < shortest {
			return errors.New("the backoff needs 0 < shortest <= longest")
		}
		c.shortest, c.longest = shortest, longest
		return nil
	})
}

// WithClient gives options to the client behind each connection: wires, codecs
// (client.WithPeer), TLS, credentials, hooks.
func WithClient(opts ...client.Option) Option {
	return optionFunc(func(c *config) error { c.client = append(slices.Clip(c.client), opts...); return nil })
}

// WithNetDial opens network connections in place of net.Dialer. Use it rather
// than client.WithNetDial where a [Resolver] says where to connect to.
func WithNetDial(f func(ctx context.Context, network, address string) (net.Conn, error)) Option {
	return optionFunc(func(c *config) error { c.netDial = f; return nil })
}

// WithHandler is [Service.Handle] before the first connection, so that nothing
// is missed.
func WithHandler(pattern string, h polywire.Handler) Option {
	return optionFunc(func(c *config) error {
		c.handlers = append(slices.Clip(c.handlers), registration{pattern, h})
		return nil
	})
}

// WithResolver finds the addresses in place of a list. At most
// [MaxAddresses] of them are used.
func WithResolver(r Resolver) Option {
	return optionFunc(func(c *config) error { c.resolver = r; return nil })
}

// WithRefresh sets how often the resolver is asked, at least every second.
// Default 30 s. It is asked sooner after a connection was lost, but not more
// than once a second.
func WithRefresh(d time.Duration) Option {
	return optionFunc(func(c *config) error {
		if d < soonest {
			return errors.New("the resolver is not asked more often than once a second")
		}
		c.every = d
		return nil
	})
}

// WithIdempotent says that calls of these kinds may be handled twice without
// harm, so that [WithRetry] holds for them. For one call see [Idempotent].
func WithIdempotent(kinds ...string) Option {
	return optionFunc(func(c *config) error {
		all := make(map[string]bool, len(c.idempotent)+len(kinds))
		for k := range c.idempotent {
			all[k] = true
		}
		for _, k := range kinds {
			all[k] = true
		}
		c.idempotent = all
		return nil
	})
}

// callOption is an option of this package for one message. To the core it is
// the SendOption in it.
type callOption struct {
	polywire.SendOption
	set func(o *callOptions)
}

type callOptions struct {
	timeout    time.Duration
	idempotent bool
	pattern    polywire.Pattern
	send       []polywire.SendOption
}

// Idempotent says that this call may be handled twice without harm, so that
// [WithRetry] holds for it.
func Idempotent() polywire.SendOption {
	return callOption{inert(), func(o *callOptions) { o.idempotent = true }}
}

// Pick picks the connection for one message, such as polywire.ByKey(user): the
// same connection for the same key, for as long as it is there.
func Pick(p polywire.Pattern) polywire.SendOption {
	return callOption{inert(), func(o *callOptions) { o.pattern = p }}
}

// inert is what an option of this package does elsewhere: nothing.
func inert() polywire.SendOption { return polywire.ReplyHeaders(nil) }

// options takes a message's options apart.
func (s *Service) options(opts []polywire.SendOption) callOptions {
	o := callOptions{timeout: s.cfg.timeout, pattern: s.cfg.pattern, send: make([]polywire.SendOption, 0, len(opts)+1)}
	o.send = append(o.send, nil) // the timeout's place
	for _, opt := range opts {
		switch opt := opt.(type) {
		case callOption:
			opt.set(&o)
		case interface{ CallTimeout() time.Duration }:
			o.timeout = opt.CallTimeout()
		default:
			o.send = append(o.send, opt)
		}
	}
	o.send[0] = polywire.Timeout(o.timeout)
	return o
}
