package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire"
)

// resume connects to "/" as the session of secret after offset, and returns
// the kinds of the messages that come before the welcome, and the welcome.
func (p *peer) resume(secret, offset string) (missed []string, w wire.Packet) {
	p.t.Helper()
	p.send(wire.Packet{Type: wire.Hello, Namespace: "/", Resume: secret, Position: offset})
	for {
		f := p.receive()
		if f.Type != wire.Message {
			return missed, f
		}
		missed = append(missed, f.Kind)
	}
}

// world is what a test of recovery moves in.
type world struct {
	srv    *polywire.Server
	secret string
	id     string
	offset string
	user   string
}

// away is what is sent while the peer is away; all and in and own are for it.
func (w *world) away() {
	ctx := context.Background()
	srv := w.srv
	_ = srv.All().Send(ctx, "all", 1)
	_ = srv.Room("in").Send(ctx, "in", polywire.Args{1, []byte{2}})
	_ = srv.Room("out").Send(ctx, "out", 1)
	_ = srv.To("in", "out").Except("in").Send(ctx, "except", 1)
	_ = srv.Room(w.id).Send(ctx, "own", 1)
	_ = srv.All().Send(ctx, "volatile", 1, polywire.Volatile())
	_ = srv.All().Pick(func(members []polywire.Member) []polywire.Member {
		return slices.DeleteFunc(members, func(m polywire.Member) bool { return m.ID() == w.id })
	}).Send(ctx, "to another", 1)
	_ = srv.Namespace("/other").All().Send(ctx, "elsewhere", 1)
}

// begin opens a session that is in room "in", has a value, and one message.
func (w *world) begin(t *testing.T) (*peer, *polywire.Conn) {
	t.Helper()
	w.user = "u"
	w.srv = newServer(t, func(s *polywire.Server) { s.Namespace("/other") },
		polywire.WithSessions(polywire.Sessions{Bytes: 4000, Max: 2}),
		polywire.WithAuth(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
			return &polywire.Identity{User: w.user}, nil
		}))
	p := join(t, w.srv, nil)
	_, welcome := p.resume("", "")
	w.id, w.secret = welcome.Key, welcome.Resume
	conn := w.srv.Conn(w.id)
	if err := conn.Join("in"); err != nil {
		t.Fatal(err)
	}
	conn.SetValue("k", "v")
	if err := conn.Send(t.Context(), "first", 1); err != nil {
		t.Fatal(err)
	}
	w.offset = p.receive().Position
	if w.offset == "" || len(w.secret) != 20 {
		t.Fatalf("offset %q, secret %q", w.offset, w.secret)
	}
	return p, conn
}

func TestRecovery(t *testing.T) {
	all := []string{"all", "in", "own"}
	for name, c := range map[string]struct {
		end    func(w *world, p *peer)
		wait   time.Duration
		change func(w *world)
		missed []string // nil: the session is a new one
	}{
		"lost":             {missed: all},
		"still connected":  {end: func(*world, *peer) {}, missed: all},
		"too late":         {wait: 3 * time.Minute},
		"other user":       {change: func(w *world) { w.user = "v" }},
		"unknown secret":   {change: func(w *world) { w.secret = "x" }},
		"no offset":        {change: func(w *world) { w.offset = "" }},
		"unknown offset":   {change: func(w *world) { w.offset = w.offset[:11] + "zzzz" }},
		"malformed offset": {change: func(w *world) { w.offset = w.offset[:11] + "!" }},
		"too much":         {change: func(w *world) { _ = w.srv.All().Send(context.Background(), "much", make([]byte, 2000)) }},
		"peer left": {end: func(_ *world, p *peer) {
			p.send(wire.Packet{Type: wire.Goodbye, Namespace: "/"})
			synctest.Wait()
			p.end()
		}},
		"sent away": {end: func(w *world, p *peer) {
			_ = w.srv.Conn(w.id).Close(polywire.CloseForceDisconnect, "")
			synctest.Wait()
			p.end()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := new(world)
				p, conn := w.begin(t)
				other := join(t, w.srv, nil)
				defer other.end()
				other.enter("/")
				if c.end == nil {
					p.end()
				} else {
					c.end(w, p)
				}
				synctest.Wait()
				w.away()
				time.Sleep(c.wait)
				if c.change != nil {
					c.change(w)
				}
				q := join(t, w.srv, nil)
				defer q.end()
				missed, again := q.resume(w.secret, w.offset)
				synctest.Wait()
				if !slices.Equal(missed, c.missed) {
					t.Errorf("missed %q, want %q", missed, c.missed)
				}
				resumed := c.missed != nil
				if got := again.Key == w.id && again.Resume == w.secret; got != resumed || again.Resume == "" {
					t.Errorf("resumed as %q %q, was %q %q", again.Key, again.Resume, w.id, w.secret)
				}
				back := w.srv.Conn(again.Key)
				if back.Resumed() != resumed || back.In("in") != resumed || (back.Value("k") == "v") != resumed {
					t.Errorf("resumed %v, rooms %v, value %v", back.Resumed(), back.Rooms(), back.Value("k"))
				}
				if resumed {
					if err := conn.Err(); !errors.Is(err, polywire.ErrConnClosed) {
						t.Errorf("the old one: %v", err)
					}
				}
			})
		})
	}
}

// A session is resumed once, and what is kept is bounded.
func TestRecoveryBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithSessions(polywire.Sessions{Max: 2}))
		var secrets, offsets []string
		for range 3 {
			p := join(t, srv, nil)
			_, w := p.resume("", "")
			_ = srv.Conn(w.Key).Send(t.Context(), "x", 1)
			secrets, offsets = append(secrets, w.Resume), append(offsets, p.receive().Position)
			p.end()
			synctest.Wait()
		}
		got := ""
		for _, i := range []int{0, 1, 2, 1} {
			p := join(t, srv, nil)
			_, w := p.resume(secrets[i], offsets[i])
			got += fmt.Sprint(w.Resume == secrets[i], " ")
			p.send(wire.Packet{Type: wire.Goodbye, Namespace: "/"})
			synctest.Wait()
			p.end()
		}
		if got != "false true true false " {
			t.Errorf("resumed: %s", got)
		}
	})
}
