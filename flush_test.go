package polywire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
)

// slowPeer is a peer whose link holds a few bytes only.
func slowPeer(t *testing.T, srv *polywire.Server) (*peer, *polywire.Conn) {
	t.Helper()
	a, b := transporttest.Pipe(transporttest.PipeOptions{BufferBytes: 16})
	if err := srv.Host("plain").Attach(wire.Link{Transport: a, Session: plainSession{}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return &peer{t: t, link: b}, srv.All().Conns()[srv.Len()-1]
}

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		p, conn := slowPeer(t, srv)
		if err := conn.Flush(t.Context()); err != nil {
			t.Errorf("with nothing to write: %v", err)
		}
		for _, flush := range []func(context.Context) error{conn.Flush, srv.Flush} {
			if err := conn.Send(t.Context(), "k", "first"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // it is being written, and stuck
			if err := conn.Send(t.Context(), "k", "second"); err != nil {
				t.Fatal(err)
			}
			flushed := make(chan error, 1)
			go func() { flushed <- flush(t.Context()) }()
			synctest.Wait()
			if got := string(p.receive().Payload.Data); got != `"first"` {
				t.Errorf("received %s", got)
			}
			synctest.Wait()
			if err := conn.Send(t.Context(), "k", "third"); err != nil { // after Flush
				t.Fatal(err)
			}
			select {
			case err := <-flushed:
				t.Errorf("flushed before the second was read: %v", err)
			default:
			}
			if got := string(p.receive().Payload.Data); got != `"second"` {
				t.Errorf("received %s", got)
			}
			synctest.Wait()
			select {
			case err := <-flushed:
				if err != nil {
					t.Error(err)
				}
			default:
				t.Error("the third is waited for")
			}
			if got := string(p.receive().Payload.Data); got != `"third"` {
				t.Errorf("received %s", got)
			}
			synctest.Wait()
		}
	})
}

func TestFlushEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		_, conn := slowPeer(t, srv)
		if err := conn.Send(t.Context(), "k", "never read"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 3)
		go func() { ended <- conn.Flush(ctx) }()
		go func() { ended <- srv.Flush(ctx) }()
		synctest.Wait()
		cancel()
		for range 2 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("canceled: %v", err)
			}
		}
		if err := conn.Flush(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled before: %v", err)
		}
		go func() { ended <- conn.Flush(t.Context()) }()
		synctest.Wait()
		conn.Close(polywire.CloseNormal, "")
		if err := <-ended; !errors.Is(err, polywire.ErrConnClosed) {
			t.Errorf("the connection ended: %v", err)
		}
		if err := srv.Flush(t.Context()); err != nil {
			t.Errorf("no connections: %v", err)
		}
	})
}

// A handler may flush the connection that it answers on.
func TestFlushInHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("work", func(ctx context.Context, m *polywire.Message) (any, error) {
				if err := m.Conn().Send(ctx, "step", 1); err != nil {
					return nil, err
				}
				if err := m.Conn().Flush(ctx); err != nil {
					return nil, err
				}
				return "done", nil
			})
		})
		p := connect(t, srv)
		defer p.end()
		p.send(call(1, "work", ""))
		if got := p.receive(); got.Kind != "step" {
			t.Errorf("got %+v", got)
		}
		if got := p.receive(); string(got.Payload.Data) != `"done"` {
			t.Errorf("got %+v", got)
		}
		if srv.Len() != 1 {
			t.Errorf("%d connections", srv.Len())
		}
	})
}

func TestMustReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		if err := srv.All().Send(t.Context(), "k", nil); err != nil {
			t.Errorf("nobody is there: %v", err)
		}
		if err := srv.All().Send(t.Context(), "k", nil, polywire.MustReach()); !errors.Is(err, polywire.ErrNoConnections) {
			t.Errorf("nobody is there, and must: %v", err)
		}
		peers, conns := crowd(t, srv, 2)
		if err := srv.ToConns(conns[1]).Send(t.Context(), "k", nil, polywire.MustReach()); err != nil {
			t.Error(err)
		}
		if got := peers[1].receive(); got.Kind != "k" {
			t.Errorf("got %+v", got)
		}
		if err := srv.Room("empty").Send(t.Context(), "k", nil, polywire.MustReach()); !errors.Is(err, polywire.ErrNoConnections) {
			t.Errorf("an empty room: %v", err)
		}
	})
}

func TestSendLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("long", func(context.Context, *polywire.Message) (any, error) {
				return strings.Repeat("x", 99), nil
			})
		}, polywire.WithMaxSendBytes(100), polywire.WithSendBufferBytes(16))
		p := connect(t, srv)
		defer p.end()
		conn := srv.All().Conns()[0]
		for n, code := range map[int]polywire.Code{98: "", 99: polywire.CodeTooLarge} { // and two quotes
			text := strings.Repeat("x", n)
			for what, err := range map[string]error{
				"one":  conn.Send(t.Context(), "k", text),
				"all":  srv.All().Send(t.Context(), "k", text),
				"args": conn.Send(t.Context(), "k", polywire.Args{text[4:], 1}), // brackets, comma and digit
			} {
				if polywire.CodeOf(err) != code {
					t.Errorf("%d bytes to %s: %v", n, what, err)
				}
			}
		}
		for range 3 {
			if got := len(p.receive().Payload.Data); got != 100 {
				t.Errorf("received %d bytes", got)
			}
		}
		p.send(call(1, "long", ""))
		if got := p.receive(); got.Err == nil || got.Err.Code != string(polywire.CodeTooLarge) {
			t.Errorf("a long answer: %+v", got)
		}
	})
	for _, o := range []polywire.Option{
		polywire.WithMaxSendBytes(-1), polywire.WithSendBufferBytes(0), polywire.WithSendBufferBytes(64<<10 + 1),
	} {
		if _, err := polywire.New(o); !errors.Is(err, polywire.ErrConfig) {
			t.Errorf("a bad bound: %v", err)
		}
	}
}

// brokenClose is a link that says something when it is closed.
type brokenClose struct {
	transport.Conn
	err error
}

func (c brokenClose) Close() error { return errors.Join(c.err, c.Conn.Close()) }

// badPlugin fails, or has no time.
type badPlugin struct{ err error }

func (badPlugin) Activate(*polywire.Server) error { return nil }

func (p badPlugin) Deactivate(ctx context.Context) error {
	if p.err != nil {
		return p.err
	}
	return ctx.Err()
}

func TestCloseJoinsErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := []error{errors.New("first"), errors.New("second"), errors.New("plugin"), net.ErrClosed, io.EOF}
		end := map[string]func(*polywire.Server) error{
			"Close": (*polywire.Server).Close,
			"Shutdown": func(s *polywire.Server) error {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				return s.Shutdown(ctx)
			},
		}
		for name, end := range end {
			srv, err := polywire.New(polywire.WithPlugins(badPlugin{}, badPlugin{broken[2]}))
			if err != nil {
				t.Fatal(err)
			}
			if err := srv.Start(); err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{broken[0], broken[3], broken[1], broken[4], nil} {
				a, b := transporttest.Pipe(transporttest.PipeOptions{})
				defer b.Close()
				if err := srv.Host("plain").Attach(wire.Link{Transport: brokenClose{a, err}, Session: plainSession{}}); err != nil {
					t.Fatal(err)
				}
			}
			err = end(srv)
			for i, want := range broken {
				if errors.Is(err, want) != (i < 3) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if errors.Is(err, context.Canceled) != (name == "Shutdown") {
				t.Errorf("%s: %v", name, err)
			}
			if err := srv.Close(); err != nil {
				t.Errorf("closed twice: %v", err)
			}
		}
	})
}
