package client_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/native"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

// patience bounds every wait of a test, in virtual time where there is a bubble.
const patience = 2 * time.Minute

// network is one address at which servers come and go.
type network struct {
	t *testing.T

	mu       sync.Mutex
	listener *transporttest.Listener // nil: nobody has listened yet
	cables   []*cable
	tries    []time.Time // when it was dialled
}

func newNetwork(t *testing.T) *network { return &network{t: t} }

// serve puts a server at the address in place of the one before, if any. It is
// closed at the end of the test at the latest.
func (n *network) serve(scheme string, setup func(*polywire.Server), opts ...polywire.Option) *polywire.Server {
	n.t.Helper()
	srv, err := polywire.New(append([]polywire.Option{polywire.WithWires(native.New())}, opts...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	if setup != nil {
		setup(srv)
	}
	l := transporttest.NewListener()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, scheme) }()
	n.t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != nil {
			n.t.Errorf("serve: %v", err)
		}
	})
	n.mu.Lock()
	n.listener = l
	n.mu.Unlock()
	return srv
}

// dial is for client.WithNetDial.
func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listener
	n.tries = append(n.tries, time.Now())
	n.mu.Unlock()
	if l == nil {
		return nil, transporttest.ErrRefused
	}
	nc, err := l.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &cable{Conn: nc}
	n.mu.Lock()
	n.cables = append(n.cables, c)
	n.mu.Unlock()
	return c, nil
}

// last returns the connection that was dialled last.
func (n *network) last() *cable {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cables[len(n.cables)-1]
}

// client returns a client of the address that has not connected yet.
func (n *network) client(scheme string, opts ...client.Option) *client.Client {
	n.t.Helper()
	c, err := client.New(scheme+"://server:80", append([]client.Option{client.WithNetDial(n.dial)}, opts...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return c
}

// connected returns a client of the address that has connected.
func (n *network) connected(scheme string, opts ...client.Option) *client.Client {
	n.t.Helper()
	c := n.client(scheme, opts...)
	connect(n.t, c)
	return c
}

func connect(t *testing.T, c *client.Client) {
	t.Helper()
	if err := c.Connect(t.Context()); err != nil {
		t.Fatalf("connect: %v", err)
	}
}

// cable is the client's end of a network connection. It notes what passes, and
// can be made to swallow everything in both directions.
type cable struct {
	net.Conn
	mu         sync.Mutex
	hole       bool
	sent, came []byte
}

func (c *cable) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.sent = append(c.sent, p...)
	hole := c.hole
	c.mu.Unlock()
	if hole {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *cable) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		c.mu.Lock()
		hole := c.hole
		c.came = append(c.came, p[:n]...)
		c.mu.Unlock()
		if err != nil || !hole {
			return n, err
		}
	}
}

func (c *cable) swallow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hole = true
}

// forget throws away what was noted so far.
func (c *cable) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent, c.came = nil, nil
}

// carried reports in which directions a text has passed.
func (c *cable) carried(text string) (sent, came bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(c.sent, []byte(text)), bytes.Contains(c.came, []byte(text))
}

// receive returns what comes next on a channel.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// events are what a client's hooks told.
type events struct {
	connects    chan *polywire.Conn
	disconnects chan error
	errors      chan error
	retries     chan retry
}

type retry struct {
	attempt int
	wait    time.Duration
	why     error
	at      time.Time
}

func newEvents() *events {
	return &events{make(chan *polywire.Conn, 1000), make(chan error, 1000), make(chan error, 1000), make(chan retry, 1000)}
}

func (e *events) option() client.Option {
	return client.WithHooks(client.Hooks{
		Connect:    func(c *polywire.Conn) { e.connects <- c },
		Disconnect: func(why error) { e.disconnects <- why },
		Error:      func(err error) { e.errors <- err },
		Retry:      func(attempt int, wait time.Duration, why error) { e.retries <- retry{attempt, wait, why, time.Now()} },
	})
}

func echo(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil }

// into is a handler that passes texts on.
func into(to chan<- string) polywire.Handler {
	return func(_ context.Context, m *polywire.Message) (any, error) {
		var text string
		err := m.Bind(&text)
		to <- text
		return nil, err
	}
}

func call(t *testing.T, c *client.Client, kind, text string) string {
	t.Helper()
	var out string
	if err := c.Call(t.Context(), kind, text, &out); err != nil {
		t.Fatalf("call %s: %v", kind, err)
	}
	return out
}
