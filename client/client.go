// Package client connects to a Polywire server, or to any other whose wire it
// speaks, and stays connected: [Dial], then [Client.Handle], [Client.Send],
// [Client.Call], [Client.Subscribe].
//
// When the connection breaks, calls in flight fail, and the client connects
// again, with waits that grow up to a bound ([WithBackoff]), for as long as it
// is not closed and no close code or refusal is final. It subscribes again to
// its rooms; where they have a history, what was missed comes first. What is
// sent meanwhile fails with [ErrNotConnected]: nothing is kept to be sent later,
// and nothing is sent twice.
//
// The wire and the transport are the URL's scheme; see [New].
package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/backoff"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/sse"
)

// ErrNotConnected is returned while there is no connection. Unless the client
// is closed it is at work to get one. The error that is returned wraps besides
// why the last connection ended: a *[polywire.CloseError] if the server said.
var ErrNotConnected = fmt.Errorf("client: not connected: %w",
	&polywire.Error{Code: polywire.CodeUnavailable, Message: "not connected"})

// lastingTime is how long a connection lasts that lets the backoff begin anew.
const lastingTime = 10 * time.Second

// Client is one peer's lasting connection to a server: when it breaks, the
// client connects again after a wait, and subscribes again to its rooms, for as
// long as it is not closed and the server does not send it away for good (see
// [polywire.CloseCode]). Calls in flight end with an error then; nothing is
// sent twice.
//
// A client handles messages like a server does. All methods may be called from
// many goroutines at once.
type Client struct {
	url  *url.URL
	cfg  config
	dial wire.Dialer
	name string // of the wire

	mu      sync.Mutex
	setup   []func(*polywire.Server) // registrations, for the next life's core
	state   polywire.State
	core    *polywire.Server
	conn    *polywire.Conn // nil while there is none
	rooms   []string
	places  map[string]string // how far it came in them before the present connection
	place   wire.Positioner   // the last link's, where it has such; used by open, and between lives
	expires time.Time         // the end of the token that was shown last; used as place is
	err     error             // why it is closed
	gone    error             // why the last connection ended, while there is none
	left    error             // what went wrong while it closed
	stop    context.CancelFunc
	done    chan struct{} // closed when the life that stop ends is over
}

// DefaultWires returns the wires that a client speaks unless [WithWires] says
// otherwise, each as its New returns it without options.
func DefaultWires() []wire.Protocol {
	return []wire.Protocol{native.New(), socketio.New(), drs.New(), goomerang.New(), sse.New()}
}

// New returns a client in state New. The URL's scheme says the wire and the
// transport:
//
//   - ws, wss, tcp, tls, unix, polywire+http and polywire+https the native wire;
//   - socketio+http, socketio+https, socketio+ws and socketio+wss Socket.IO,
//     whose namespace is the URL's path;
//   - drs+tcp, drs+tls, drs+unix, drs+ws and drs+wss DRS;
//   - goomerang+ws and goomerang+wss Goomerang, which needs the protobuf codec
//     ([WithPeer]);
//   - sse+http and sse+https server-sent events, on which one only hears.
//
// The error is about the URL or the options; nothing is connected yet.
func New(rawURL string, opts ...Option) (*Client, error) {
	c := &Client{state: polywire.StateNew, cfg: config{dialTimeout: 10 * time.Second, reconnect: true, check: defaultCheck}}
	for _, o := range opts {
		if err := o.apply(&c.cfg); err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
	}
	if len(c.cfg.wires) == 0 {
		c.cfg.wires = DefaultWires()
	}
	var err error
	if c.url, err = url.Parse(rawURL); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	for _, w := range c.cfg.wires {
		if d, ok := w.(wire.Dialer); ok && slices.Contains(d.Schemes(), c.url.Scheme) {
			c.dial, c.name = d, w.Name()
		}
	}
	if c.dial == nil {
		return nil, fmt.Errorf("client: no wire for the scheme of %q", rawURL)
	}
	c.core, err = polywire.New(c.cfg.peer...)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return c, nil
}

// Dial returns a client that is connected: [New] and [Client.Connect], with the
// errors of both. ctx bounds the connecting only.
func Dial(ctx context.Context, rawURL string, opts ...Option) (*Client, error) {
	c, err := New(rawURL, opts...)
	if err != nil {
		return nil, err
	}
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Handle registers a handler for messages from the server; see
// [polywire.Server.Handle]. It may be called at any time.
func (c *Client) Handle(pattern string, h polywire.Handler) {
	c.register(func(s *polywire.Server) { s.Handle(pattern, h) })
}

// Use adds middleware. Call it before Connect.
func (c *Client) Use(mw ...polywire.Middleware) {
	c.register(func(s *polywire.Server) { s.Use(mw...) })
}

// Pipe adds pipes. Call it before Connect.
func (c *Client) Pipe(p ...polywire.Pipe) {
	c.register(func(s *polywire.Server) { s.Pipe(p...) })
}

// Code registers a numeric message code. Call it before Connect.
func (c *Client) Code(kind string, code uint32) {
	c.register(func(s *polywire.Server) { s.Code(kind, code) })
}

// Encoding sets the content type in which messages of a kind are encoded; see
// [polywire.Server.Encoding]. Call it before Connect.
func (c *Client) Encoding(kind, contentType string) {
	c.register(func(s *polywire.Server) { s.Encoding(kind, contentType) })
}

func (c *Client) register(f func(*polywire.Server)) {
	c.mu.Lock()
	c.setup = append(c.setup, f)
	core := c.core
	c.mu.Unlock()
	f(core)
}

// State returns where the client is in its life. Running includes the times
// when it is connecting again.
func (c *Client) State() polywire.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Conn returns the present connection, nil while there is none.
func (c *Client) Conn() *polywire.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// Connected reports whether there is a connection.
func (c *Client) Connected() bool { return c.Conn() != nil }

// Err returns why the client has closed by itself: what a server or the network
// said that is final. nil while it runs, and after Close.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Done returns a channel that is closed when the client has closed, by Close
// or by itself. Before Connect it is nil.
func (c *Client) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

// Stats returns the figures of the core; see [polywire.Stats].
func (c *Client) Stats() polywire.Stats {
	c.mu.Lock()
	core := c.core
	c.mu.Unlock()
	return core.Stats()
}

// Connect makes the first connection; ctx bounds it. It may be called again
// after the client has closed. Errors: [polywire.ErrRunning] in another state;
// [polywire.ErrClosed] if Close comes first; one that wraps a
// *[polywire.CloseError] if the server refused.
func (c *Client) Connect(ctx context.Context) error {
	life, err := c.begin()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)() // Close ends the first try, too
	conn, err := c.open(ctx)
	if err != nil {
		if life.Err() != nil {
			c.end(nil)
			return polywire.ErrClosed
		}
		c.end(err)
		return err
	}
	go c.live(life, conn)
	return nil
}

// begin starts a life of the client, with a fresh core if it had one before.
func (c *Client) begin() (context.Context, error) {
	c.mu.Lock()
	from := c.state
	if from != polywire.StateNew && from != polywire.StateClosed {
		c.mu.Unlock()
		return nil, polywire.ErrRunning
	}
	if from == polywire.StateClosed {
		core, err := polywire.New(c.cfg.peer...)
		if err != nil {
			c.mu.Unlock()
			return nil, err
		}
		for _, f := range c.setup {
			f(core)
		}
		c.core, c.place, c.places = core, nil, nil
	}
	if err := c.core.Start(); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	c.state, c.err, c.gone, c.stop, c.done = polywire.StateRunning, nil, nil, stop, make(chan struct{})
	c.mu.Unlock()
	c.tell(from, polywire.StateRunning)
	return life, nil
}

// end is the end of a life, by Close (nil) or by an error.
func (c *Client) end(why error) {
	c.become(polywire.StateClosing)
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.dialTimeout)
	defer cancel()
	failed := c.core.Shutdown(ctx) // what is left after its time has been cut off
	c.mu.Lock()
	left := c.conn
	c.err, c.gone, c.left, c.conn = why, why, failed, nil
	done, stop := c.done, c.stop
	c.mu.Unlock()
	if left != nil {
		c.lost(left.Err())
	}
	stop()
	c.become(polywire.StateClosed)
	close(done)
}

func (c *Client) become(to polywire.State) {
	c.mu.Lock()
	from := c.state
	c.state = to
	c.mu.Unlock()
	if from != to {
		c.tell(from, to)
	}
}

func (c *Client) tell(from, to polywire.State) {
	for _, h := range c.cfg.hooks {
		if h.Status != nil {
			h.Status(from, to)
		}
	}
}

// lost tells the hooks of a connection that has ended.
func (c *Client) lost(why error) {
	for _, h := range c.cfg.hooks {
		if h.Disconnect != nil {
			h.Disconnect(why)
		}
	}
}

// open makes one connection.
func (c *Client) open(ctx context.Context) (*polywire.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.dialTimeout)
	defer cancel()
	o := c.cfg.hello
	o.Wire = c.name
	header, err := c.hello(ctx)
	if err != nil {
		return nil, err
	}
	if header != nil {
		o.Header = header
	}
	d := c.cfg.dial
	d.Credentials = o.Header
	if c.place != nil {
		d.Position = c.place.Position()
	}
	link, err := c.dial.Dial(ctx, c.core.Host(c.name), c.url, d)
	if err != nil {
		return nil, fmt.Errorf("client: dial %s: %w", c.url.Redacted(), err)
	}
	c.place, _ = link.Session.(wire.Positioner)
	if s, ok := link.Session.(wire.Recoverer); ok {
		s.OnRecovered(c.recovered)
	}
	conn, err := c.core.Connect(ctx, link, o)
	if err != nil {
		return nil, fmt.Errorf("client: connect to %s: %w", c.url.Redacted(), err)
	}
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	for _, h := range c.cfg.hooks {
		if h.Connect != nil {
			h.Connect(conn)
		}
	}
	return conn, nil
}

// live keeps the client connected until its life is over.
func (c *Client) live(life context.Context, conn *polywire.Conn) {
	wait := &backoff.Backoff{Min: c.cfg.backoffMin, Max: c.cfg.backoffMax}
	for {
		if c.watch(life, conn); life.Err() != nil {
			c.end(nil)
			return
		}
		why := conn.Err()
		c.keepPlaces(conn)
		c.mu.Lock()
		c.conn, c.gone = nil, why
		c.mu.Unlock()
		c.lost(why)
		var closed *polywire.CloseError
		if !c.cfg.reconnect || errors.As(why, &closed) && !closed.Code.Reconnect() {
			c.end(why)
			return
		}
		// A server that lets in and drops is not asked in a hurry.
		if time.Since(conn.OpenedAt()) >= lastingTime {
			wait.Reset()
		}
		before := conn
		if c.placed() {
			c.awaitHandled(life, before, nil) // what was missed comes as soon as there is a link
		}
		var err error
		if conn, err = c.again(life, wait, why); err != nil {
			if life.Err() != nil {
				err = nil
			}
			c.end(err)
			return
		}
		if c.cameAnywhere() {
			c.awaitHandled(life, before, conn.Done())
		}
		c.resubscribe(life, conn)
	}
}

// watch waits for the end of a connection, or of life.
func (c *Client) watch(life context.Context, conn *polywire.Conn) {
	defer c.freshen(life, conn)()
	for {
		soon, stop := c.untilCheck()
		select {
		case <-conn.Done():
			stop()
			return
		case <-life.Done():
			stop()
			return
		case <-soon:
			c.check(life, conn)
		}
	}
}

// again tries to connect until it succeeds, life is over, or the server
// refuses for good.
func (c *Client) again(life context.Context, wait *backoff.Backoff, why error) (*polywire.Conn, error) {
	for {
		pause := wait.Next()
		for _, h := range c.cfg.hooks {
			if h.Retry != nil {
				h.Retry(wait.Tries(), pause, why)
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-life.Done():
			timer.Stop()
			return nil, life.Err()
		}
		var conn *polywire.Conn
		if conn, why = c.open(life); why == nil {
			return conn, nil
		}
		var closed *polywire.CloseError
		var last wire.Finality
		if life.Err() != nil || errors.As(why, &closed) && !closed.Code.Reconnect() || errors.As(why, &last) && last.Final() {
			return nil, why
		}
	}
}

// Close ends the client in an orderly way and waits until it has ended: what
// is queued is sent, running handlers finish, the server is told. It may be
// called in any state, but not from a handler, which it would wait for. The
// error joins what went wrong while connection and plugins were closed, and
// says whether they needed longer than the dial timeout and were cut off.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.state == polywire.StateNew {
		c.state = polywire.StateClosed
		c.done = make(chan struct{})
		close(c.done)
		core := c.core
		c.mu.Unlock()
		c.tell(polywire.StateNew, polywire.StateClosed)
		return core.Close()
	}
	stop, done := c.stop, c.done
	c.mu.Unlock()
	if stop != nil { // else it was closed before its first life
		stop()
	}
	<-done
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}
