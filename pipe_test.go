package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire"
)

// journal collects lines from several goroutines.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

// tracePipe notes what passes.
type tracePipe struct {
	name string
	to   *journal
}

func (p tracePipe) Handler(next polywire.Handler) polywire.Handler {
	return func(ctx context.Context, m *polywire.Message) (any, error) {
		p.to.add("in %s", p.name)
		return next(ctx, m)
	}
}

func (p tracePipe) Sender(next polywire.Sender) polywire.Sender {
	return func(ctx context.Context, o *polywire.Outgoing) error {
		if o.Kind == "forbidden" {
			return polywire.Errorf(polywire.CodeForbidden, "not out of here")
		}
		p.to.add("out %s %s reply=%t", p.name, o.Kind, o.IsReply())
		if s, ok := o.Value.(string); ok {
			o.Value = s + p.name
		}
		return next(ctx, o)
	}
}

func TestPipesAndMiddleware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		srv := newServer(t, func(s *polywire.Server) {
			s.Use(func(next polywire.Handler) polywire.Handler {
				return func(ctx context.Context, m *polywire.Message) (any, error) {
					j.add("middleware %s", m.Kind())
					m.SetHeader("seen", "yes")
					return next(ctx, m)
				}
			})
			s.Pipe(tracePipe{"A", &j}, tracePipe{"B", &j}, tracePipe{"C", &j})
			s.Handle("hello", func(ctx context.Context, m *polywire.Message) (any, error) {
				j.add("handler seen=%s", m.Header("seen"))
				return "hi ", nil
			})
		})
		p := connect(t, srv)
		defer p.end()
		conn := srv.All().Conns()[0]
		check := func(name string, want ...string) {
			t.Helper()
			if got := j.take(); !slices.Equal(got, want) {
				t.Errorf("%s:\n got %q\nwant %q", name, got, want)
			}
		}
		p.send(call(1, "hello", ""))
		if got := p.receive(); string(got.Payload.Data) != `"hi CBA"` {
			t.Errorf("reply %s", got.Payload.Data)
		}
		check("call", "middleware hello", "in A", "in B", "in C", "handler seen=yes",
			"out C hello reply=true", "out B hello reply=true", "out A hello reply=true")
		p.send(call(2, "unknown", ""))
		if got := p.receive(); got.Err == nil || got.Err.Code != string(polywire.CodeNotFound) {
			t.Errorf("got %+v", got)
		}
		check("unknown kind", "middleware unknown", "in A", "in B", "in C")

		conn.Send(t.Context(), "one", "x")
		srv.All().Send(t.Context(), "all", "y")
		conn.Send(t.Context(), "direct", "z", polywire.Direct())
		for _, want := range []string{`one "xCBA"`, `all "yCBA"`, `direct "z"`} {
			if got := p.receive(); got.Kind+" "+string(got.Payload.Data) != want {
				t.Errorf("got %s %s, want %s", got.Kind, got.Payload.Data, want)
			}
		}
		check("sends", "out C one reply=false", "out B one reply=false", "out A one reply=false",
			"out C all reply=false", "out B all reply=false", "out A all reply=false")
		if err := srv.All().Send(t.Context(), "forbidden", nil); polywire.CodeOf(err) != polywire.CodeForbidden {
			t.Errorf("a pipe's refusal: %v", err)
		}
	})
}

func TestHooksInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		hooks := func(n string) polywire.Hooks {
			return polywire.Hooks{
				Status:        func(from, to polywire.State) { j.add("%s status %v %v", n, from, to) },
				Configuration: func(c polywire.Configuration) { j.add("%s configuration %d", n, c.Concurrency) },
				Connect:       func(*polywire.Conn) { j.add("%s connect", n) },
				Disconnect:    func(_ *polywire.Conn, w *polywire.CloseError) { j.add("%s disconnect %d", n, w.Code) },
				BeforeHandle:  func(m *polywire.Message) { j.add("%s before handle %s", n, m.Kind()) },
				AfterHandle: func(_ *polywire.Message, _ time.Duration, r any, err error) {
					j.add("%s after handle %v %v", n, r, err)
				},
				BeforeReply:         func(_ *polywire.Message, r any, _ error) { j.add("%s before reply %v", n, r) },
				AfterReply:          func(_ *polywire.Message, r any, _ error) { j.add("%s after reply %v", n, r) },
				BeforeBroadcast:     func(b *polywire.Broadcast) { j.add("%s before broadcast %s %v", n, b.Kind, b.Rooms) },
				AfterBroadcast:      func(b *polywire.Broadcast) { j.add("%s after broadcast to %d", n, b.Receivers) },
				BeforePeerBroadcast: func(_ *polywire.Conn, b *polywire.Broadcast) { j.add("%s before peer broadcast", n) },
				AfterPeerBroadcast:  func(_ *polywire.Conn, b *polywire.Broadcast) { j.add("%s after peer broadcast", n) },
				Subscribe:           func(_ *polywire.Conn, room string, err error) { j.add("%s subscribe %s %v", n, room, err) },
				Unsubscribe:         func(_ *polywire.Conn, room string, _ error) { j.add("%s unsubscribe %s", n, room) },
				Publish:             func(_ *polywire.Conn, room, kind string, err error) { j.add("%s publish %s %s %v", n, room, kind, err) },
				Error:               func(_ *polywire.Conn, err error) { j.add("%s error %v", n, err) },
			}
		}
		both := func(lines ...string) (all []string) {
			for _, l := range lines {
				all = append(all, "1 "+l, "2 "+l)
			}
			return all
		}
		check := func(name string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := j.take(); !slices.Equal(got, both(want...)) {
				t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "\n     "), strings.Join(both(want...), "\n     "))
			}
		}
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("echo", func(context.Context, *polywire.Message) (any, error) { return "r", nil })
		},
			polywire.WithHooks(hooks("1"), hooks("2")), polywire.WithPublishPolicy(polywire.AllowPublish))
		check("start", "status new running", "configuration 1")
		p := connect(t, srv)
		check("connect", "connect")
		p.send(call(1, "echo", ""))
		check("call", "before handle echo", "after handle r <nil>", "before reply r", "after reply r")
		p.send(wire.Packet{Type: wire.Subscribe, ID: 2, Room: "a"})
		check("subscribe", "subscribe a <nil>", "before reply <nil>", "after reply <nil>")
		p.send(wire.Packet{Type: wire.Publish, Room: "a", Kind: "k"})
		check("publish", "before peer broadcast", "before broadcast k [a]", "after broadcast to 1", "after peer broadcast", "publish a k <nil>")
		p.send(wire.Packet{Type: wire.Unsubscribe, Room: "a"})
		check("unsubscribe", "unsubscribe a")
		p.send(wire.Packet{Type: wire.Broadcast, Kind: "k"})
		check("broadcast refused", `error polywire: broadcast "k": forbidden: not allowed on this server`)
		p.end()
		check("end", "disconnect 3000")
	})
}

func TestRoomOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithMaxSubscriptions(2), polywire.WithMaxRoomNameBytes(10),
			polywire.WithSubscribePolicy(func(_ context.Context, _ *polywire.Conn, room string) error {
				if room == "members" {
					return errors.New("the text of a plain error stays here")
				}
				return nil
			}))
		p := connect(t, srv)
		defer p.end()
		id := uint64(0)
		for _, c := range []struct {
			packet wire.Packet
			want   polywire.Code
			text   string
		}{
			{wire.Packet{Type: wire.Subscribe, Room: "a"}, "", ""},
			{wire.Packet{Type: wire.Subscribe, Room: "a"}, "", ""},
			{wire.Packet{Type: wire.Subscribe, Room: "b"}, "", ""},
			{wire.Packet{Type: wire.Subscribe, Room: "c"}, polywire.CodeTooManyRequests, "at most 2 rooms by subscription"},
			{wire.Packet{Type: wire.Unsubscribe, Room: "b"}, "", ""},
			{wire.Packet{Type: wire.Subscribe, Room: "c"}, "", ""},
			{wire.Packet{Type: wire.Subscribe, Room: "members"}, polywire.CodeForbidden, "not allowed"},
			{wire.Packet{Type: wire.Subscribe, Room: "$private"}, polywire.CodeForbidden, `rooms that begin with "$" are reserved`},
			{wire.Packet{Type: wire.Subscribe, Room: ""}, polywire.CodeBadRequest, "a room's name has 1 to 10 bytes"},
			{wire.Packet{Type: wire.Subscribe, Room: "eleven-long"}, polywire.CodeBadRequest, "a room's name has 1 to 10 bytes"},
			{wire.Packet{Type: wire.Publish, Room: "a", Kind: "k"}, polywire.CodeForbidden, "not allowed on this server"},
			{wire.Packet{Type: wire.Publish, Room: "a"}, polywire.CodeBadRequest, "a publication needs a room and a kind"},
			{wire.Packet{Type: wire.Broadcast, Kind: "k"}, polywire.CodeForbidden, "not allowed on this server"},
		} {
			id++
			c.packet.ID = id
			p.send(c.packet)
			got := p.receive()
			var code, message string
			if got.Err != nil {
				code, message = got.Err.Code, got.Err.Message
			}
			if got.ID != id || code != string(c.want) || message != c.text {
				t.Errorf("%s %q answered %d %q %q", c.packet.Type, c.packet.Room, got.ID, code, message)
			}
		}
		if got := srv.All().Conns()[0].Rooms(); !slices.Equal(got, []string{"a", "c"}) {
			t.Errorf("rooms: %v", got)
		}
		if n := len(srv.Room("a").Conns()); n != 1 {
			t.Errorf("%d members", n)
		}
	})
}

// A publication reaches the room in the order in which it was made, with the
// payload as it came, and the publisher too if it is there.
func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithPublishPolicy(polywire.AllowPublish), polywire.WithBroadcastPolicy(polywire.AllowBroadcast))
		peers, conns := crowd(t, srv, 3)
		conns[0].Join("r")
		conns[1].Join("r")
		for i := range 100 {
			peers[0].send(wire.Packet{Type: wire.Publish, Room: "r", Kind: "n", Payload: text(fmt.Sprint(i)), Header: map[string]string{"h": "v"}})
		}
		for i := range 100 {
			for _, p := range peers[:2] {
				got := p.receive()
				if string(got.Payload.Data) != fmt.Sprintf("%q", fmt.Sprint(i)) || got.Room != "r" || got.Header["h"] != "v" {
					t.Fatalf("publication %d: %+v", i, got)
				}
			}
		}
		peers[2].send(wire.Packet{Type: wire.Broadcast, ID: 1, Kind: "all"})
		if got := peers[2].receive(); got.Kind != "all" {
			t.Errorf("the sender got %+v first", got)
		}
		if got := peers[2].receive(); got.Type != wire.Reply || got.ID != 1 {
			t.Errorf("the sender got %+v", got)
		}
		if got := peers[0].receive(); got.Kind != "all" {
			t.Errorf("another got %+v", got)
		}
	})
}

type plug struct {
	name string
	to   *journal
	fail error
}

func (p plug) Activate(s *polywire.Server) error {
	p.to.add("activate %s", p.name)
	s.Handle(p.name, named(p.name))
	return p.fail
}

func (p plug) Deactivate(context.Context) error {
	p.to.add("deactivate %s", p.name)
	return nil
}

func TestPlugins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		srv, err := polywire.New(polywire.WithPlugins(plug{"a", &j, nil}, plug{"b", &j, nil}))
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := j.take(); !slices.Equal(got, []string{"activate a", "activate b", "deactivate b", "deactivate a"}) {
			t.Errorf("order: %q", got)
		}
		broken := errors.New("no disk")
		srv, err = polywire.New(polywire.WithPlugins(plug{"a", &j, nil}, plug{"b", &j, broken}))
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Start(); !errors.Is(err, broken) {
			t.Errorf("Start: %v", err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if got := j.take(); !slices.Equal(got, []string{"activate a", "activate b", "deactivate a"}) {
			t.Errorf("order: %q", got)
		}
	})
}

func TestReplyHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("status", func(_ context.Context, m *polywire.Message) (any, error) {
				m.SetReplyHeader("status", "200")
				return "fine", nil
			})
		})
		p := connect(t, srv)
		defer p.end()
		p.send(call(1, "status", ""))
		if got := p.receive(); got.Header["status"] != "200" {
			t.Errorf("headers of the answer: %v", got.Header)
		}
		go func() {
			q := p.receive()
			p.send(wire.Packet{Type: wire.Reply, ID: q.ID, Header: map[string]string{"status": "404"}})
		}()
		var headers map[string]string
		err := srv.All().Conns()[0].Call(t.Context(), "q", nil, nil, polywire.ReplyHeaders(&headers))
		if err != nil || headers["status"] != "404" {
			t.Errorf("headers %v, %v", headers, err)
		}
	})
}
