package polywire_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
)

// join attaches a peer whose link has namespaces.
func join(t *testing.T, srv *polywire.Server, hello *wire.Packet) *peer {
	t.Helper()
	a, b := transporttest.Pipe(transporttest.PipeOptions{})
	p := &peer{t: t, link: b}
	r := httptest.NewRequest(http.MethodGet, "/x/?token=7", nil)
	r.Header.Set("Cookie", "a=b")
	err := srv.Host("plain").Attach(wire.Link{
		Transport: a, Session: p.sess, Request: r, Namespaces: true, Arguments: true, Hello: hello,
	})
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	return p
}

// enter connects to a namespace and returns the connection's id.
func (p *peer) enter(namespace string) string {
	p.t.Helper()
	p.send(wire.Packet{Type: wire.Hello, Namespace: namespace})
	w := p.receive()
	if w.Type != wire.Welcome || w.Namespace != namespace {
		p.t.Fatalf("connect to %s: %+v", namespace, w)
	}
	return w.Key
}

func in(namespace, kind string) wire.Packet {
	return wire.Packet{Type: wire.Call, ID: 1, Namespace: namespace, Kind: kind}
}

// where answers with the namespace and the rooms that it sees.
func where(_ context.Context, m *polywire.Message) (any, error) {
	return m.Conn().Namespace().Name() + " " + strings.Join(m.Conn().Namespace().Rooms(), ","), nil
}

func TestNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []string
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintf(format, args...))
		}
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("where", where)
			admin := s.Namespace("admin")
			admin.Handle("where", where)
			admin.Handle("join", func(_ context.Context, m *polywire.Message) (any, error) {
				return nil, m.Conn().Join("room")
			})
			admin.Use(func(next polywire.Handler) polywire.Handler {
				return func(ctx context.Context, m *polywire.Message) (any, error) {
					note("admin handles %s", m.Kind())
					return next(ctx, m)
				}
			})
		}, polywire.WithHooks(polywire.Hooks{
			Connect: func(c *polywire.Conn) { note("connect %s", c.Namespace().Name()) },
			Disconnecting: func(c *polywire.Conn, why *polywire.CloseError) {
				note("leaving %s in %v: %s", c.Namespace().Name(), c.Rooms(), why.Reason)
			},
			Disconnect: func(c *polywire.Conn, _ *polywire.CloseError) { note("gone %s in %v", c.Namespace().Name(), c.Rooms()) },
		}))
		p := join(t, srv, nil)
		p.enter("/")
		id := p.enter("/admin")
		p.send(in("/admin", "join"))
		p.receive()
		p.send(in("/admin", "where"))
		if got := p.receive(); got.Namespace != "/admin" || string(got.Payload.Data) != `"/admin room"` {
			t.Errorf("admin: %+v %s", got, got.Payload.Data)
		}
		p.send(in("/", "where"))
		if got := p.receive(); got.Namespace != "/" || string(got.Payload.Data) != `"/ "` {
			t.Errorf("main: %+v %s", got, got.Payload.Data)
		}
		if n, m := len(srv.All().Conns()), len(srv.Namespace("/admin").All().Conns()); n != 1 || m != 1 {
			t.Errorf("%d and %d members", n, m)
		}
		_ = srv.Room("room").Send(t.Context(), "to nobody", nil)
		_ = srv.Namespace("/admin").Room("room").Send(t.Context(), "news", 1)
		if got := p.receive(); got.Kind != "news" || got.Namespace != "/admin" {
			t.Errorf("news: %+v", got)
		}
		_ = srv.Namespace("/admin").Room(id).Send(t.Context(), "own", 1)
		if got := p.receive(); got.Kind != "own" {
			t.Errorf("own room: %+v", got)
		}
		p.send(wire.Packet{Type: wire.Goodbye, Namespace: "/admin"}, in("/admin", "late"), in("/", "where"))
		if got := p.receive(); got.Namespace != "/" {
			t.Errorf("after a goodbye: %+v", got)
		}
		p.end()
		synctest.Wait()
		want := []string{
			"connect /", "connect /admin", "admin handles join", "admin handles where",
			"leaving /admin in [room]: client namespace disconnect", "gone /admin in []",
			"leaving / in []: connection lost", "gone / in []",
		}
		if !slices.Equal(seen, want) {
			t.Errorf("seen %q, want %q", seen, want)
		}
		if s := srv.Stats(); s.Connections != 0 || s.Accepted != 2 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// Each of these ends the link, or is refused with the link left alone.
func TestNamespaceStates(t *testing.T) {
	for name, c := range map[string]struct {
		send []wire.Packet
		want string
	}{
		"unknown":     {[]wire.Packet{{Type: wire.Hello, Namespace: "/x"}}, "refused /x Invalid namespace"},
		"twice":       {[]wire.Packet{{Type: wire.Hello, Namespace: "/"}, {Type: wire.Hello, Namespace: "/"}}, "closed 3501"},
		"not joined":  {[]wire.Packet{in("/", "x")}, "closed 3501"},
		"a reply":     {[]wire.Packet{{Type: wire.Reply, Namespace: "/", ID: 1}}, "closed 3501"},
		"goodbye":     {[]wire.Packet{{Type: wire.Goodbye, Namespace: "/"}}, "closed 3501"},
		"too late":    {nil, "closed 3502"},
		"too many":    {[]wire.Packet{{Type: wire.Hello, Namespace: "/a"}, {Type: wire.Hello, Namespace: "/b"}, {Type: wire.Hello, Namespace: "/c"}}, "refused /c too many namespaces"},
		"rejoin":      {[]wire.Packet{{Type: wire.Hello, Namespace: "/"}, {Type: wire.Goodbye, Namespace: "/"}, {Type: wire.Hello, Namespace: "/"}}, "welcome / "},
		"welcome":     {[]wire.Packet{{Type: wire.Welcome, Namespace: "/"}}, "closed 3501"},
		"refused":     {[]wire.Packet{{Type: wire.Refused, Namespace: "/"}}, "closed 3501"},
		"not allowed": {[]wire.Packet{{Type: wire.Hello, Namespace: "/shut"}}, `refused /shut go away {"why":1}`},
		"fails":       {[]wire.Packet{{Type: wire.Hello, Namespace: "/fails"}}, `refused /fails unauthorized`},
		"panics":      {[]wire.Packet{{Type: wire.Hello, Namespace: "/panics"}}, `refused /panics internal error`},
		"knocking":    {slices.Repeat([]wire.Packet{{Type: wire.Hello, Namespace: "/x"}}, 102), "closed 3013"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newServer(t, func(s *polywire.Server) {
					for _, n := range []string{"a", "b", "c"} {
						s.Namespace(n)
					}
					refuse := func(name string, err error) {
						s.Namespace(name).Admit(func(context.Context, *polywire.Handshake) error {
							if err == nil {
								panic("oh")
							}
							return err
						})
					}
					refuse("shut", &polywire.Error{Code: polywire.CodeForbidden, Message: "go away", Details: map[string]int{"why": 1}})
					refuse("fails", fmt.Errorf("the database said something secret"))
					refuse("panics", nil)
				}, polywire.WithMaxNamespaces(2, 2))
				p := join(t, srv, nil)
				defer p.end()
				p.send(c.send...)
				if strings.HasPrefix(c.want, "closed") {
					if got := fmt.Sprintf("closed %d", p.closed()); got != c.want {
						t.Errorf("got %s, want %s", got, c.want)
					}
					return
				}
				var got string
				for got != c.want {
					f := p.receive()
					got = fmt.Sprintf("%s %s ", f.Type, f.Namespace)
					if f.Err != nil {
						got = strings.TrimSpace(got + f.Err.Message + " " + string(f.Err.Details.Data))
					}
				}
			})
		})
	}
}

// Doorkeepers see who knocks, and what has been kept of the request; what they
// store is there in the handlers; messages wait until the hook has run.
func TestDoorkeepers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Namespace("/in").Admit(func(_ context.Context, h *polywire.Handshake) error {
				cookie, err := h.Request.Cookie("a")
				if err != nil {
					return err
				}
				h.Conn.SetValue("who", fmt.Sprintf("%s %s %s %s %s", h.Namespace, h.Header["token"], cookie.Value,
					h.Request.URL.Query().Get("token"), h.Conn.User()))
				time.Sleep(time.Second)
				return h.Conn.Join("lobby")
			})
			s.Namespace("/in").Handle("who", func(_ context.Context, m *polywire.Message) (any, error) {
				return m.Conn().Value("who"), nil
			})
		}, polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
			return &polywire.Identity{User: "u" + h.Namespace}, nil
		}), polywire.WithHooks(polywire.Hooks{Connect: func(c *polywire.Conn) {
			time.Sleep(10 * time.Millisecond)
			_ = c.Send(context.Background(), "first", nil)
		}}))
		p := join(t, srv, nil)
		defer p.end()
		p.send(wire.Packet{Type: wire.Hello, Namespace: "/in", Payload: codec.Payload{
			Type: codec.TypeJSON, Data: []byte(`{"token":"auth","n":1}`),
		}})
		if w := p.receive(); w.Type != wire.Welcome {
			t.Fatalf("%+v", w)
		}
		p.send(in("/in", "who")) // before the hook is done
		if got := p.receive(); got.Kind != "first" {
			t.Errorf("first: %+v", got)
		}
		if got := p.receive(); string(got.Payload.Data) != `"/in auth b 7 u/in"` {
			t.Errorf("who: %s", got.Payload.Data)
		}
		if n := len(srv.Namespace("/in").Room("lobby").Conns()); n != 1 {
			t.Errorf("%d in the lobby", n)
		}
	})
}

// A peer that leaves while doorkeepers are at work is nobody.
func TestGoneBeforeDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connects := 0
		srv := newServer(t, func(s *polywire.Server) {
			s.Namespace("/").Admit(func(context.Context, *polywire.Handshake) error { time.Sleep(time.Second); return nil })
		}, polywire.WithHooks(polywire.Hooks{Connect: func(*polywire.Conn) { connects++ }}))
		p := join(t, srv, nil)
		p.send(wire.Packet{Type: wire.Hello, Namespace: "/"})
		synctest.Wait()
		p.end()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s := srv.Stats(); connects != 0 || s.Connections != 0 {
			t.Errorf("%d connects, %+v", connects, s)
		}
	})
}

func TestDynamicNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parent *polywire.Namespace
		srv := newServer(t, func(s *polywire.Server) {
			parent = s.NamespaceFunc(func(name string, _ *polywire.Handshake) bool { return strings.HasPrefix(name, "/org-") })
			parent.Handle("where", where)
		})
		p, q := join(t, srv, nil), join(t, srv, nil)
		defer q.end()
		p.enter("/org-1")
		q.enter("/org-2")
		p.send(in("/org-1", "where"))
		if got := p.receive(); string(got.Payload.Data) != `"/org-1 "` {
			t.Errorf("%s", got.Payload.Data)
		}
		if err := parent.All().Send(t.Context(), "all", 1); err != nil {
			t.Error(err)
		}
		for i, c := range []*peer{p, q} {
			if got := c.receive(); got.Kind != "all" || got.Namespace != fmt.Sprintf("/org-%d", i+1) {
				t.Errorf("%+v", got)
			}
		}
		p.send(wire.Packet{Type: wire.Hello, Namespace: "/other"})
		if got := p.receive(); got.Type != wire.Refused {
			t.Errorf("%+v", got)
		}
		p.end()
		synctest.Wait()
		if n := len(parent.All().Conns()); n != 1 {
			t.Errorf("%d are left", n)
		}
	})
}

// The server's own ends of connections on a link with several.
func TestNamespaceClose(t *testing.T) {
	for name, c := range map[string]struct {
		code polywire.CloseCode
		link bool
		want []string
	}{
		"final":           {polywire.CloseForceDisconnect, false, []string{"goodbye /a", "message /b"}},
		"final, the link": {polywire.CloseForceDisconnect, true, []string{"goodbye /b", "goodbye /a", "closed 3503"}},
		"come back":       {polywire.CloseForceReconnect, false, []string{"closed 3011"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newServer(t, func(s *polywire.Server) { s.Namespace("/a"); s.Namespace("/b") })
				p := join(t, srv, nil)
				defer p.end()
				id := p.enter("/a")
				p.enter("/b")
				a := srv.Conn(id)
				if c.link {
					_ = a.CloseLink(c.code, "")
				} else {
					_ = a.Close(c.code, "")
				}
				_ = a.Send(t.Context(), "late", 1)
				_ = srv.Namespace("/b").All().Send(t.Context(), "news", 1)
				for _, want := range c.want {
					var got string
					if strings.HasPrefix(want, "closed") {
						got = fmt.Sprintf("closed %d", p.closed())
					} else {
						f := p.receive()
						got = fmt.Sprintf("%s %s", f.Type, f.Namespace)
					}
					if got != want {
						t.Errorf("got %q, want %q", got, want)
					}
				}
				if a.Err() == nil {
					t.Error("the connection has no end")
				}
			})
		})
	}
}

// farewells is a session that tells who wants to know before it says goodbye.
type farewells struct {
	plainSession
	before func(namespace string)
}

func (s farewells) Encode(w *transport.Writer, p *wire.Packet) error {
	if p.Type == wire.Goodbye {
		s.before(p.Namespace)
	}
	return s.plainSession.Encode(w, p)
}

// A peer may cut its link as soon as it hears the goodbye: by then it is known
// that the server was the one who ended the connection.
func TestEndIsKnownBeforeGoodbye(t *testing.T) {
	for name, end := range map[string]func(*polywire.Conn) error{
		"connection": func(c *polywire.Conn) error { return c.Close(polywire.CloseForceDisconnect, "") },
		"link":       func(c *polywire.Conn) error { return c.CloseLink(polywire.CloseForceDisconnect, "") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var why error
				srv := newServer(t, func(s *polywire.Server) { s.Namespace("/a") }, polywire.WithHooks(polywire.Hooks{
					Disconnect: func(_ *polywire.Conn, err *polywire.CloseError) { why = err },
				}))
				a, b := transporttest.Pipe(transporttest.PipeOptions{})
				p := &peer{t: t, link: b}
				defer p.end()
				var c *polywire.Conn
				var known error
				sess := farewells{before: func(string) { known = c.Err() }}
				if err := srv.Host("plain").Attach(wire.Link{Transport: a, Session: sess, Namespaces: true}); err != nil {
					t.Fatal(err)
				}
				c = srv.Conn(p.enter("/a"))
				if err := end(c); err != nil {
					t.Fatal(err)
				}
				p.receive()
				p.end()
				synctest.Wait()
				if known == nil || why == nil || known.Error() != why.Error() {
					t.Errorf("known at the goodbye: %v; the end: %v", known, why)
				}
			})
		})
	}
}

// A hello that the opening of the link implies, with an id of the wire's.
func TestImpliedHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		p := join(t, srv, &wire.Packet{Type: wire.Hello, Namespace: "/", Key: "wire-id"})
		defer p.end()
		if w := p.receive(); w.Type != wire.Welcome || w.Key != "wire-id" {
			t.Errorf("%+v", w)
		}
		if c := srv.Conn("wire-id"); c == nil || c.ID() != "wire-id" {
			t.Errorf("%v", c)
		}
		_ = srv.Room("wire-id").Send(t.Context(), "own", nil)
		if got := p.receive(); got.Kind != "own" {
			t.Errorf("%+v", got)
		}
	})
}

func TestSeveralArguments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("swap", func(_ context.Context, m *polywire.Message) (any, error) {
				var a int
				var b string
				if err := m.Bind(&a, &b); err != nil {
					return nil, err
				}
				return polywire.Args{b, a, []byte{1}}, nil
			})
		})
		several, single := join(t, srv, nil), connect(t, srv)
		defer several.end()
		defer single.end()
		several.enter("/")
		swap := in("/", "swap")
		swap.Payload, swap.Args = codec.Payload{Type: codec.TypeJSON, Data: []byte("12345678901234567890e1")}, []codec.Payload{text("x")}
		several.send(swap)
		if got := several.receive(); got.Err == nil {
			t.Errorf("a number that no int holds: %+v", got)
		}
		swap.Payload.Data = []byte("7")
		several.send(swap)
		got := several.receive()
		if len(got.Args) != 2 || string(got.Payload.Data) != `"x"` || string(got.Args[0].Data) != "7" || got.Args[1].Type != codec.TypeBytes {
			t.Errorf("%+v", got)
		}
		if err := srv.All().Send(t.Context(), "news", polywire.Args{1, "two", []byte{3}, nil}); err != nil {
			t.Fatal(err)
		}
		if got := several.receive(); len(got.Args) != 3 {
			t.Errorf("%+v", got)
		}
		if got := single.receive(); string(got.Payload.Data) != `[1,"two","Aw==",null]` || len(got.Args) != 0 {
			t.Errorf("one argument: %+v %s", got, got.Payload.Data)
		}
		go func() {
			q := several.receive()
			several.send(wire.Packet{Type: wire.Reply, Namespace: "/", ID: q.ID, Payload: text("a"), Args: []codec.Payload{text("b")}})
		}()
		var c *polywire.Conn
		for _, other := range srv.All().Conns() {
			if other.Wire() == "plain" && other.Namespace().Name() == "/" && other.ID() != "" {
				if c == nil || other.OpenedAt().Before(c.OpenedAt()) {
					c = other
				}
			}
		}
		var a, b string
		if err := c.Call(t.Context(), "ask", nil, polywire.Into(&a, &b)); err != nil || a+b != "ab" {
			t.Errorf("%q %q %v", a, b, err)
		}
	})
}

// A peer may change its mind while doorkeepers decide about it, and while it is
// being announced.
func TestQuickReconnect(t *testing.T) {
	for name, slow := range map[string]struct{ doorkeeper, hook time.Duration }{
		"deciding":   {doorkeeper: time.Second},
		"announcing": {hook: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var connects, disconnects atomic.Int32
				srv := newServer(t, func(s *polywire.Server) {
					s.Namespace("/").Admit(func(context.Context, *polywire.Handshake) error { time.Sleep(slow.doorkeeper); return nil })
					s.Handle("where", where)
				}, polywire.WithHooks(polywire.Hooks{
					Connect:    func(*polywire.Conn) { connects.Add(1); time.Sleep(slow.hook) },
					Disconnect: func(*polywire.Conn, *polywire.CloseError) { disconnects.Add(1) },
				}))
				p := join(t, srv, nil)
				p.send(wire.Packet{Type: wire.Hello, Namespace: "/"})
				if slow.hook > 0 {
					p.receive()
				}
				synctest.Wait()
				p.send(wire.Packet{Type: wire.Goodbye, Namespace: "/"}, wire.Packet{Type: wire.Hello, Namespace: "/"})
				if w := p.receive(); w.Type != wire.Welcome {
					t.Fatalf("%+v", w)
				}
				p.send(in("/", "where"))
				if got := p.receive(); got.Type != wire.Reply {
					t.Errorf("%+v", got)
				}
				p.end()
				synctest.Wait()
				if c, d := connects.Load(), disconnects.Load(); c != d || c != 1+int32(slow.hook/time.Second) {
					t.Errorf("%d connects, %d disconnects", c, d)
				}
				if n := srv.Stats().Connections; n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}
