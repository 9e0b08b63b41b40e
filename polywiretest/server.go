package polywiretest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
)

// patience bounds whatever is waited for, in virtual time where there is a
// bubble: outside of one it is what a busy machine may need.
const patience = 10 * time.Second

// Server is a server that listens in memory. Its methods may be called from
// many goroutines at once; like those of testing.T, those that can fail the
// test are for the test's own goroutine.
type Server struct {
	*polywire.Server
	t      testing.TB
	bubble bool

	mu        sync.Mutex
	listeners map[string]*listener // by the scheme that is served
	serving   sync.WaitGroup
}

// New returns a server with the native wire, Socket.IO and DRS, unless
// [polywire.WithWires] is among the options. It believes what clients say with
// [As], unless [polywire.WithAuth] is, and logs to the test. It serves from the
// first [Server.Client] on: what must be registered before that, such as
// middleware, can be until then.
func New(t testing.TB, opts ...polywire.Option) *Server {
	t.Helper()
	srv, err := build(t, opts)
	if err != nil {
		t.Fatalf("polywiretest: %v", err)
	}
	return Serve(t, srv)
}

func build(t testing.TB, opts []polywire.Option) (*polywire.Server, error) {
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	all := append([]polywire.Option{polywire.WithAuth(Auth(nil)), polywire.WithLogger(log)}, opts...)
	srv, err := polywire.New(all...)
	if err != nil || len(srv.Configuration().Wires) > 0 {
		return srv, err
	}
	return polywire.New(append(all, defaultWires())...)
}

func defaultWires() polywire.Option {
	return polywire.WithWires(native.New(), socketio.New(), drs.New())
}

// Serve takes a program's own server, in state New or running, and shuts it
// down when the test ends. For [As] to work it needs [Auth].
func Serve(t testing.TB, srv *polywire.Server) *Server {
	t.Helper()
	s := &Server{Server: srv, t: t, bubble: inBubble(), listeners: make(map[string]*listener)}
	t.Cleanup(s.end)
	return s
}

// listener returns the listener for a client's scheme, which it opens at first.
func (s *Server) listener(scheme string) *listener {
	served := "http"
	if scheme == "tcp" || strings.HasSuffix(scheme, "+tcp") {
		served = scheme
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.listeners[served]
	if l == nil {
		l = newListener()
		s.listeners[served] = l
		s.serving.Add(1)
		s.labelled(func() { go s.serve(l, served) })
	}
	return l
}

func (s *Server) serve(l *listener, scheme string) {
	defer s.serving.Done()
	// It was closed before this goroutine ran if the test did not wait for a client.
	if err := s.Server.Serve(l, scheme); err != nil {
		l.fail(err)
	}
}

// end shuts the server down and looks for what it leaves.
func (s *Server) end() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, polywire.ErrClosed) {
		s.t.Errorf("polywiretest: the server was not shut down in order: %v", err)
	}
	s.mu.Lock()
	for _, l := range s.listeners {
		_ = l.Close() // which never fails
	}
	s.mu.Unlock()
	s.serving.Wait()
	if !s.bubble { // a bubble does so itself
		s.checkLeaks()
	}
}

// listener is a net.Listener in memory whose connections know who has dialled.
type listener struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once

	mu     sync.Mutex
	dialed int
	failed error // why it has closed, other than for the server's end
}

func newListener() *listener {
	return &listener{incoming: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.incoming:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return &address{port: serverPort} }

func (l *listener) fail(err error) {
	l.mu.Lock()
	l.failed = err
	l.mu.Unlock()
	_ = l.Close() // which never fails
}

// dial returns the client's end of a connection when the server has the other.
func (l *listener) dial(ctx context.Context, who *visitor) (net.Conn, error) {
	l.mu.Lock()
	l.dialed++
	here, there := &address{port: serverPort + l.dialed, who: who}, &address{port: serverPort, who: who}
	l.mu.Unlock()
	a, b := transporttest.ConnPair(0)
	select {
	case l.incoming <- &conn{Conn: b, local: there, remote: here}:
		return &conn{Conn: a, local: here, remote: there}, nil
	case <-l.closed:
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.failed != nil {
			return nil, l.failed
		}
		return nil, transporttest.ErrRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type conn struct {
	net.Conn
	local, remote net.Addr
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }
