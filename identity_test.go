package polywire_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire"
)

// lasting lets everybody in as the user of their hello, for a time.
func lasting(d time.Duration) polywire.Option {
	return polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
		if !h.Hello {
			return nil, polywire.ErrAwaitHello
		}
		id := &polywire.Identity{User: h.Header["user"]}
		if d > 0 {
			id.Expires = time.Now().Add(d)
		}
		return id, nil
	})
}

// quiet has no heartbeat in the time of a test.
func quiet() polywire.Option { return polywire.WithHeartbeat(100*time.Hour, time.Hour) }

func TestExpiry(t *testing.T) {
	for _, tc := range []struct {
		name        string
		expires     time.Duration
		opts        []polywire.Option
		early, late time.Duration // it is closed between these
	}{
		{"default grace", time.Minute, nil, 85 * time.Second, 87 * time.Second},
		{"no grace", time.Minute, []polywire.Option{polywire.WithExpiryGrace(0)}, time.Minute, 62 * time.Second},
		{"hours", 10 * time.Hour, []polywire.Option{polywire.WithExpiryGrace(time.Second)}, 10*time.Hour + time.Second, 10*time.Hour + 3*time.Second},
		{"never", 0, []polywire.Option{polywire.WithExpiryGrace(0)}, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newServer(t, nil, append(tc.opts, lasting(tc.expires), quiet())...)
				p := connect(t, srv)
				defer p.end()
				start := time.Now()
				p.send(wire.Packet{Type: wire.Hello, Header: map[string]string{"user": "ann"}})
				p.receive()
				if tc.late == 0 {
					time.Sleep(48 * time.Hour)
					if n := len(srv.Conns()); n != 1 {
						t.Errorf("%d connections are left", n)
					}
					return
				}
				if code := p.closed(); code != polywire.CloseExpired || !code.Reconnect() {
					t.Errorf("closed with %d", code)
				}
				if took := time.Since(start); took < tc.early || took > tc.late {
					t.Errorf("closed after %v", took)
				}
			})
		})
	}
}

func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, lasting(time.Minute), polywire.WithExpiryGrace(10*time.Second), quiet())
		p := connect(t, srv)
		defer p.end()
		p.send(wire.Packet{Type: wire.Hello, Header: map[string]string{"user": "ann"}})
		p.receive()
		conn := srv.Conns()[0]
		later := func(user string, d time.Duration) *polywire.Identity {
			return &polywire.Identity{User: user, Expires: time.Now().Add(d)}
		}
		for _, wrong := range []*polywire.Identity{nil, later("bob", time.Hour), later("", time.Hour)} {
			if err := conn.Renew(wrong); polywire.CodeOf(err) != polywire.CodeForbidden {
				t.Errorf("renewed as %+v: %v", wrong, err)
			}
		}
		if conn.User() != "ann" {
			t.Errorf("the connection is %q's", conn.User())
		}
		for range 5 {
			time.Sleep(time.Minute)
			if err := conn.Renew(later("ann", time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		// Sooner, too.
		if err := conn.Renew(later("ann", 0)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if code := p.closed(); code != polywire.CloseExpired {
			t.Errorf("closed with %d", code)
		}
		if took := time.Since(start); took < 10*time.Second || took > 13*time.Second {
			t.Errorf("closed after %v", took)
		}
		p.end()
		<-conn.Done()
		if err := conn.Renew(later("ann", time.Hour)); !errors.Is(err, polywire.ErrConnClosed) {
			t.Errorf("renewed after the end: %v", err)
		}
	})
}

// One namespace whose identity has expired ends the link: only that tells a
// client to come back.
func TestExpiryInNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, lasting(time.Minute), polywire.WithExpiryGrace(0), quiet())
		p := join(t, srv, nil)
		defer p.end()
		p.send(wire.Packet{Type: wire.Hello, Namespace: "/"})
		p.receive()
		start := time.Now()
		if code := p.closed(); code != polywire.CloseExpired {
			t.Errorf("closed with %d", code)
		}
		if took := time.Since(start); took < time.Minute || took > 62*time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

// A wire without hellos has a message for it.
func TestHelloByMessage(t *testing.T) {
	hello := func(typ wire.Type, user string) wire.Packet {
		return wire.Packet{Type: typ, ID: 7, Kind: polywire.KindHello, Header: map[string]string{"user": user}}
	}
	auth := polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
		switch {
		case !h.Hello:
			return nil, polywire.ErrAwaitHello
		case h.Header["user"] == "mallory":
			return nil, polywire.Errorf(polywire.CodeForbidden, "banned")
		}
		return &polywire.Identity{User: h.Header["user"]}, nil
	})
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) { s.Handle("echo", echo) }, auth)
		p := connect(t, srv)
		defer p.end()
		p.send(hello(wire.Call, "ann"))
		if got := p.receive(); got.Type != wire.Reply || got.ID != 7 || string(got.Payload.Data) != `{"id":"`+srv.Conns()[0].ID()+`"}` {
			t.Errorf("answered with %+v", got)
		}
		if user := srv.Conns()[0].User(); user != "ann" {
			t.Errorf("it is %q", user)
		}
		p.send(hello(wire.Call, "bob")) // is a message like any other now
		if got := p.receive(); got.Err == nil || got.Err.Code != string(polywire.CodeNotFound) {
			t.Errorf("a second hello was answered with %+v", got)
		}

		quiet := connect(t, srv)
		defer quiet.end()
		quiet.send(hello(wire.Message, "bob"), call(1, "echo", "x"))
		if got := quiet.receive(); got.Type != wire.Reply || got.ID != 1 {
			t.Errorf("answered with %+v", got)
		}

		for name, typ := range map[string]wire.Type{"call": wire.Call, "message": wire.Message} {
			bad := connect(t, srv)
			defer bad.end()
			bad.send(hello(typ, "mallory"))
			if typ == wire.Call {
				if got := bad.receive(); got.Type != wire.Error || got.ID != 7 || got.Err.Message != "banned" {
					t.Errorf("%s: answered with %+v", name, got)
				}
			}
			if code := bad.closed(); code != polywire.CloseForbidden {
				t.Errorf("%s: closed with %d", name, code)
			}
		}
		early := connect(t, srv)
		defer early.end()
		early.send(call(1, "echo", "x"))
		if code := early.closed(); code != polywire.CloseUnauthorized {
			t.Errorf("closed with %d", code)
		}
	})
}
