package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/transport/engineio"
	"github.com/polywire/polywire/wire/socketio"
)

// Corners that need a server which does more than the set-up's.

// ownServer serves Socket.IO until the test is over.
func ownServer(t *testing.T, at times, prepare func(srv *polywire.Server), more ...polywire.Option) (srv *polywire.Server, p *peer) {
	t.Helper()
	srv, err := polywire.New(append([]polywire.Option{
		polywire.WithWires(socketio.New()),
		polywire.WithHeartbeat(at.interval, at.timeout),
		polywire.WithMaxMessageBytes(1_000_000),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(srv)
	}
	return srv, listenTo(t, srv, at, "/socket.io/")
}

// listenTo serves until the test is over, and returns a client for a path.
func listenTo(t *testing.T, srv *polywire.Server, at times, path string) *peer {
	t.Helper()
	served, base, err := serve(srv, "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
	return newPeer(t, site{times: at, base: base}, path, "4")
}

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testenv.Eventually(t, patience, what, ok)
}

// TestGoneWhileDeciding: the client leaves while a doorkeeper thinks about it.
// Nobody stays behind, and who was let in was seen off.
func TestGoneWhileDeciding(t *testing.T) {
	var in, out atomic.Int64
	knocked := make(chan string)
	srv, p := ownServer(t, calm(), func(srv *polywire.Server) {
		for _, name := range []string{"/", "/custom"} {
			srv.Namespace(name).Admit(func(_ context.Context, h *polywire.Handshake) error {
				if err := h.Conn.Join("hall"); err != nil {
					return err
				}
				knocked <- h.Namespace
				if h.Payload.Empty() {
					return nil
				}
				return polywire.Errorf(polywire.CodeForbidden, "no")
			})
		}
	}, polywire.WithHooks(polywire.Hooks{
		Connect:    func(*polywire.Conn) { in.Add(1) },
		Disconnect: func(*polywire.Conn, *polywire.CloseError) { out.Add(1) },
	}))
	for i := range 40 {
		s := p.open()
		names := 1
		switch i % 4 {
		case 0:
			s.send("40")
		case 1:
			s.send("40/custom,")
		case 2:
			s.send("40", "40/custom,")
			names = 2
		case 3:
			s.send(`40{"token":"bad"}`)
		}
		if i%3 == 0 {
			_ = s.c.Close()
		}
		for range names {
			<-knocked
		}
		_ = s.c.Close()
	}
	eventually(t, "no connection is left", func() bool { return srv.Stats().Connections == 0 })
	eventually(t, "who came has gone", func() bool { return in.Load() == out.Load() })
	if rooms := append(srv.Rooms(), srv.Namespace("/custom").Rooms()...); len(rooms) != 0 {
		t.Errorf("rooms %q are left", rooms)
	}
}

// TestRefusedAfterJoin: who was in a room at the door is in none afterwards,
// and may come again.
func TestRefusedAfterJoin(t *testing.T) {
	srv, p := ownServer(t, calm(), func(srv *polywire.Server) {
		srv.Namespace("/").Admit(func(_ context.Context, h *polywire.Handshake) error {
			if err := h.Conn.Join("hall"); err != nil {
				return err
			}
			if h.Payload.Empty() {
				return &polywire.Error{Code: polywire.CodeForbidden, Message: "no ticket"}
			}
			return nil
		})
	})
	s := p.open().beating()
	s.send("40")
	want(t, s, `44{"message":"no ticket"}`)
	if rooms := srv.Rooms(); len(rooms) != 0 {
		t.Errorf("rooms %q are left", rooms)
	}
	s.send(`40{"ticket":1}`)
	wantPrefix(t, s, `40{"sid":"`)
	if err := srv.Room("hall").Send(t.Context(), "news", 1); err != nil {
		t.Fatal(err)
	}
	want(t, s, `42["news",1]`)
}

// TestEndedByHook: a connection that ends as soon as it has begun takes no
// other one along.
func TestEndedByHook(t *testing.T) {
	_, p := ownServer(t, calm(), func(srv *polywire.Server) { srv.Namespace("/custom") },
		polywire.WithHooks(polywire.Hooks{Connect: func(c *polywire.Conn) {
			if c.Namespace().Name() == "/" {
				if err := c.Close(polywire.CloseForceDisconnect, "not today"); err != nil {
					t.Error(err)
				}
			}
		}}))
	onEach(p, "", func(p *peer, l link) {
		l.send("40/custom,")
		wantPrefix(p.t, l, `40/custom,{"sid":"`)
		for range 2 {
			l.send("40")
			wantPrefix(p.t, l, `40{"sid":"`)
			want(p.t, l, "41")
		}
		l.send(`420["what"]`) // that was under way when it ended is no fault
		l.send("41/custom,")
		l.send("40/custom,")
		wantPrefix(p.t, l, `40/custom,{"sid":"`)
	})
}

// TestUpgradeTimeout: a WebSocket that is tried out for too long goes, and the
// session that polls all the time stays, and may try again.
func TestUpgradeTimeout(t *testing.T) {
	t.Parallel() // it waits
	srv, err := polywire.New(append(limits(calm()), polywire.WithWires(echo{engineio.Options{UpgradeTimeout: 2 * time.Second}}))...)
	if err != nil {
		t.Fatal(err)
	}
	srv.Handle(echoKind, func(ctx context.Context, m *polywire.Message) (any, error) {
		return nil, m.Conn().Send(ctx, echoKind, m.Payload())
	})
	p := listenTo(t, srv, calm(), "/engine.io/")
	for range 2 {
		s := p.poll()
		ws := p.mustDial(p.query("websocket", "sid="+s.sid))
		ws.send("2probe")
		want(t, ws, "3probe")
		s.send("4one")
		want(t, s, "4one")
		wantOver(t, ws)
		s.send("4two")
		want(t, s, "4two")
		ws = retryProbe(p, s)
		ws.send("5", "4three")
		want(t, ws, "4three")
	}
}

// TestLastWords: while a connection ends it is in its rooms still.
func TestLastWords(t *testing.T) {
	t.Parallel() // it waits
	srv, p := ownServer(t, times{300 * time.Millisecond, 5 * time.Second, time.Minute}, nil, polywire.WithHooks(polywire.Hooks{
		Connect: func(c *polywire.Conn) {
			if err := c.Join("hall"); err != nil {
				t.Error(err)
			}
		},
		Disconnecting: func(c *polywire.Conn, why *polywire.CloseError) {
			for _, room := range c.Rooms() {
				_ = c.Server().Room(room).Send(context.Background(), "left", why.Reason)
			}
			_ = c.Send(context.Background(), "you", "are late") // nobody is there
		},
	}))
	stays := p.open().beating()
	stays.send("40")
	wantPrefix(t, stays, "40{")
	for _, end := range []struct {
		by     func(s *socket)
		reason string
	}{
		{func(s *socket) { s.send("41") }, "client namespace disconnect"},
		{func(s *socket) { _ = s.c.Close() }, "transport close"},
		{func(s *socket) { s.send("42{}") }, "forced close"},
		{func(s *socket) { s.send("40") }, "forced server close"},
		{func(s *socket) { s.send("abc") }, "parse error"},
		{func(s *socket) { s.send("2") }, "transport error"},
		{func(s *socket) { s.beat.Store(false) }, "ping timeout"},
	} {
		s := p.open().beating()
		s.send("40")
		wantPrefix(t, s, "40{")
		end.by(s)
		want(t, stays, `42["left","`+end.reason+`"]`)
	}
	eventually(t, "one connection and its room are left", func() bool { return srv.Stats().Connections == 1 && len(srv.Rooms()) == 1 })
}

// TestForeignOrigin, CVE-2020-28481 again: unless the application says
// otherwise, pages of other origins get nothing.
func TestForeignOrigin(t *testing.T) {
	_, p := ownServer(t, calm(), nil)
	const foreign = "https://page.example"
	p.wantError("poll", p.do(http.MethodGet, p.query("polling"), nil, "Origin", foreign), 4)
	if s, err := p.dial(p.query("websocket"), "Origin", foreign); err == nil {
		wantOver(t, s)
	}
	s := p.poll()
	p.wantError("a session's poll", p.do(http.MethodGet, s.its(), nil, "Origin", foreign), 4)
	a := p.do(http.MethodOptions, p.query("polling"), nil, "Origin", foreign, "Access-Control-Request-Method", "POST")
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("preflight: Access-Control-Allow-Origin %q", got)
	}
	p.wantStatus("same origin", p.do(http.MethodGet, p.query("polling"), nil, "Origin", p.base), http.StatusOK)
	if a := p.do(http.MethodGet, p.query("polling"), nil); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("without an origin: %v", a.header)
	}
}

// TestClientVerifies, CVE-2016-10536: a client wants to know whom it talks to.
func TestClientVerifies(t *testing.T) {
	srv, err := newServer(false, calm())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	h := httptest.NewUnstartedServer(srv)
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	t.Cleanup(h.Close)
	known := x509.NewCertPool()
	known.AddCert(h.Certificate())
	for _, scheme := range []string{"socketio+https://", "socketio+wss://"} {
		url := scheme + h.Listener.Addr().String()
		c, err := client.Dial(t.Context(), url, client.WithWires(socketio.New()), client.WithoutReconnect())
		if _, unknown := errors.AsType[*tls.CertificateVerificationError](err); !unknown {
			t.Errorf("%s: %v, want the certificate to be refused", scheme, err)
		}
		if err == nil {
			_ = c.Close()
		}
		c, err = client.Dial(t.Context(), url, client.WithWires(socketio.New()), client.WithTLS(&tls.Config{RootCAs: known}))
		if err != nil {
			t.Errorf("%s, a known certificate: %v", scheme, err)
			continue
		}
		_ = c.Close()
	}
}
