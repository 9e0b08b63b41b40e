package polywiretest

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
)

// Option configures a client of [Server.Client].
type Option func(*options)

type options struct {
	who       visitor
	url       string
	reconnect bool
	handlers  map[string]polywire.Handler
	client    []client.Option
}

// As makes the client a user; see [Auth]. It works on all wires but Socket.IO's
// long polling (socketio+http; socketio+ws does), whose links outlive their requests.
func As(user string) Option { return AsIdentity(polywire.Identity{User: user}) }

// AsIdentity makes the client somebody with claims, or with an end.
func AsIdentity(id polywire.Identity) Option {
	return func(o *options) { o.who.identity = &id }
}

// Over sets the wire, by its scheme ("tcp", "socketio+ws", "socketio+http",
// "drs+tcp", "drs+ws", ...; see [client.New]) or by a URL, whose host does not
// matter. Default: "ws".
func Over(schemeOrURL string) Option { return func(o *options) { o.url = schemeOrURL } }

// Handle registers a handler before the client connects. Messages that have
// one do not reach [Client.Expect].
func Handle(pattern string, h polywire.Handler) Option {
	return func(o *options) { o.handlers[pattern] = h }
}

// Reconnect lets the client connect again when its connection breaks; without
// it, unlike package client's, it ends then.
func Reconnect() Option { return func(o *options) { o.reconnect = true } }

// With gives options to package client.
func With(opts ...client.Option) Option {
	return func(o *options) { o.client = append(o.client, opts...) }
}

// Client is a connected client whose messages without a handler of their own
// wait for [Client.Expect], whose handler of "*" it has. Its methods may be
// called from many goroutines at once; like those of testing.T, those that can
// fail the test are for the test's own goroutine.
type Client struct {
	*client.Client
	t      testing.TB
	srv    *Server
	bubble bool
	inbox  inbox

	mu   sync.Mutex
	last net.Conn // that was dialled
}

// Client returns a client that has connected, and is closed when the test
// ends. It fails the test if the server refuses; see [Server.Dial] for that.
func (s *Server) Client(opts ...Option) *Client {
	s.t.Helper()
	c, err := s.Dial(opts...)
	if err != nil {
		s.t.Fatalf("polywiretest: connecting: %v", err)
	}
	return c
}

// Dial is Client for when the server may refuse; the error wraps a
// *[polywire.CloseError] then, where the wire has such.
func (s *Server) Dial(opts ...Option) (*Client, error) {
	s.t.Helper()
	o := &options{who: visitor{known: make(chan struct{})}, url: "ws", handlers: make(map[string]polywire.Handler)}
	for _, option := range opts {
		option(o)
	}
	if !strings.Contains(o.url, "://") {
		o.url += "://polywire.test"
	}
	scheme, _, _ := strings.Cut(o.url, "://")
	c := &Client{t: s.t, srv: s, bubble: s.bubble}
	c.inbox.changed = make(chan struct{})
	own := []client.Option{client.WithNetDial(func(ctx context.Context, _, _ string) (net.Conn, error) {
		nc, err := s.listener(scheme).dial(ctx, &o.who)
		c.mu.Lock()
		c.last = nc
		c.mu.Unlock()
		return nc, err
	})}
	if !o.reconnect {
		own = append(own, client.WithoutReconnect())
	}
	var err error
	if c.Client, err = client.New(o.url, append(own, o.client...)...); err != nil {
		return nil, err
	}
	for pattern, h := range o.handlers {
		c.Handle(pattern, h)
	}
	if _, all := o.handlers["*"]; !all {
		c.Handle("*", c.inbox.take)
	}
	s.t.Cleanup(func() { _ = c.Close() }) // what of it matters, the server's end tells
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.labelled(func() { err = c.Connect(ctx) })
	if err != nil {
		return nil, err
	}
	if o.who.identity == nil {
		return c, nil
	}
	select { // on wires without a hello the server may still be about to ask
	case <-o.who.known:
	case <-ctx.Done():
		return nil, errors.New("the server did not ask who the client is: As needs polywire.WithAuth(polywiretest.Auth(...)), and does not work over socketio+http")
	}
	return c, nil
}

// Break cuts the client's connection as a network does: neither side says
// anything. With [Reconnect] the client comes back.
func (c *Client) Break() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.last.Close() // which never fails
}

// MustSend is Send, and fails the test if that does.
func (c *Client) MustSend(kind string, v any) {
	c.t.Helper()
	c.must("sending "+kind, func(ctx context.Context) error { return c.Send(ctx, kind, v) })
}

// MustCall is Call, and fails the test if that does. out is a pointer for the
// answer, or nil.
func (c *Client) MustCall(kind string, v, out any) {
	c.t.Helper()
	c.must("calling "+kind, func(ctx context.Context) error { return c.Call(ctx, kind, v, out) })
}

// MustSubscribe is Subscribe, and fails the test if that does.
func (c *Client) MustSubscribe(rooms ...string) {
	c.t.Helper()
	for _, room := range rooms {
		c.must("subscribing to "+room, func(ctx context.Context) error { return c.Subscribe(ctx, room) })
	}
}

// MustPublish is Publish, and fails the test if that does.
func (c *Client) MustPublish(room, kind string, v any) {
	c.t.Helper()
	c.must("publishing to "+room, func(ctx context.Context) error { return c.Publish(ctx, room, kind, v) })
}

// CallError calls and returns the error with which the call has to fail; the
// test fails if the call does not, or not with this code.
func (c *Client) CallError(kind string, v any, code polywire.Code) error {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	var out any
	err := c.Call(ctx, kind, v, &out)
	switch {
	case err == nil:
		c.t.Fatalf("polywiretest: calling %s: answered with %v, want an error of code %s", kind, out, code)
	case polywire.CodeOf(err) != code:
		c.t.Fatalf("polywiretest: calling %s: %v, want an error of code %s", kind, err, code)
	}
	return err
}

func (c *Client) must(what string, do func(ctx context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := do(ctx); err != nil {
		c.t.Fatalf("polywiretest: %s: %v", what, err)
	}
}
