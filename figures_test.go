package polywire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/wire"
)

// told keeps what hooks were told, as text.
type told struct {
	mu  sync.Mutex
	all []string
}

func (t *told) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, fmt.Sprintf(format, args...))
}

// take returns what came since the last time, sorted.
func (t *told) take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.all
	t.all = nil
	slices.Sort(all)
	return strings.Join(all, "; ")
}

func TestHookAfterHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newQueues(t)
		one, two := &told{}, &told{}
		observe := func(to *told) polywire.Hooks {
			return polywire.Hooks{AfterHandle: func(m *polywire.Message, took time.Duration, result any, err error) {
				text := fmt.Sprint(err)
				to.add("%s %s %s %v %.20s", m.Wire(), m.Kind(), took, result, text)
			}}
		}
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("slow", func(context.Context, *polywire.Message) (any, error) {
				<-time.After(3 * time.Second)
				return 1, nil
			})
			s.Handle("fails", func(context.Context, *polywire.Message) (any, error) { return nil, errors.New("no") })
			s.Handle("panics", func(context.Context, *polywire.Message) (any, error) { panic("ouch") })
			s.HandleQueue("jobs", func(_ context.Context, m *polywire.Message) (any, error) {
				if m.Kind() == "panics" {
					panic("ouch")
				}
				<-time.After(time.Second)
				return nil, nil
			}, queue.HandleOptions{MaxAttempts: 1})
		}, polywire.WithHooks(observe(one), observe(two)), polywire.WithQueues(b), unlogged())
		peers, _ := crowd(t, srv, 1)
		p := peers[0]
		for i, kind := range []string{"slow", "fails", "panics", "unknown"} {
			p.send(call(uint64(i+1), kind, "x"))
			p.receive()
		}
		p.send(wire.Packet{Type: wire.Subscribe, ID: 9, Room: "r"}) // which no handler sees
		p.receive()
		for _, kind := range []string{"panics", "job"} {
			if err := b.Publish(t.Context(), queue.Message{Queue: "jobs", Kind: kind}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		want := "plain fails 0s <nil> no; plain panics 0s <nil> internal: internal e; plain slow 3s 1 <nil>; " +
			"plain unknown 0s <nil> not_found: no handle; queue job 1s <nil> <nil>; queue panics 0s <nil> polywire: the handle"
		if got := one.take(); got != want {
			t.Errorf(" got %s\nwant %s", got, want)
		}
		if got := two.take(); got != want {
			t.Errorf("the second: %s", got)
		}
		p.end()
	})
}

func unlogged() polywire.Option { return polywire.WithLogger(slog.New(slog.DiscardHandler)) }

func TestHookSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := &told{}
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
		}, unlogged(), polywire.WithHooks(polywire.Hooks{
			Sent: func(kind string, receivers, bytes int) { sent.add("%s to %d: %t", kind, receivers, bytes > 20) },
		}))
		peers, conns := crowd(t, srv, 3)
		for _, c := range conns {
			if err := c.Join("r"); err != nil {
				t.Fatal(err)
			}
		}
		for _, step := range []struct {
			name string
			do   func()
			want string
		}{
			{"an answer", func() { peers[0].send(call(1, "echo", "x")); peers[0].receive() }, "echo to 1: true"},
			{"an error", func() { peers[0].send(call(2, "none", "x")); peers[0].receive() }, " to 1: true"},
			{"a message", func() { _ = conns[0].Send(t.Context(), "one", 1) }, "one to 1: true"},
			{"a room's", func() { _ = srv.Room("r").Send(t.Context(), "all", 1) }, "all to 3: true"},
			{"nobody's", func() { _ = srv.Room("empty").Send(t.Context(), "all", 1) }, ""},
			{"a call", func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_ = conns[1].Call(ctx, "ask", 1, nil)
			}, "ask to 1: true"},
			{"calls", func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_ = srv.Room("r").Call(ctx, "ask", 1, nil)
			}, "ask to 1: true; ask to 1: true; ask to 1: true"},
		} {
			step.do()
			synctest.Wait()
			if got := sent.take(); got != step.want {
				t.Errorf("%s: %q, want %q", step.name, got, step.want)
			}
		}
		for _, p := range peers {
			p.end()
		}
	})
}

func TestHookRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := &told{}
		var why error
		srv := newServer(t, nil, unlogged(), polywire.WithMaxConnections(0, 0, 1),
			polywire.WithAuth(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
				return &polywire.Identity{User: "u"}, why
			}),
			polywire.WithHooks(polywire.Hooks{Refused: func(r polywire.Refusal) { refused.add("%s %s %t", r.Wire, r.Reason, r.Err != nil) }}))
		attach := func(reason error) {
			t.Helper()
			why = reason
			connect(t, srv).closed()
		}
		attach(errors.New("plain"))
		attach(polywire.Errorf(polywire.CodeForbidden, "no"))
		attach(polywire.Errorf("of_their_own", "no"))
		why = nil
		in := connect(t, srv)
		attach(nil) // a second one of the user
		if got, want := refused.take(), "plain forbidden true; plain limit true; plain unauthorized true; plain unauthorized true"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if n := srv.Stats().Refused; n != 4 {
			t.Errorf("%d refused", n)
		}
		in.end()
	})
}

func TestStatsOfWires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
		}, unlogged())
		peers, conns := crowd(t, srv, 2)
		for i := range 3 {
			peers[0].send(call(uint64(i+1), "echo", "abc"))
			peers[0].receive()
		}
		if err := errors.Join(conns[0].Join("a", "b"), conns[1].Join("b")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s := srv.Stats()
		w := s.Wires["plain"]
		if len(s.Wires) != 1 || w.Connections != 2 || w.Accepted != 2 || w.MessagesIn != 3 || w.MessagesOut != 3 || w.BytesIn != s.BytesIn || w.BytesOut != s.BytesOut {
			t.Errorf("%+v", s)
		}
		if s.Rooms != 2 || s.Memberships != 3 {
			t.Errorf("%d rooms, %d memberships", s.Rooms, s.Memberships)
		}
		c := conns[0].Stats()
		if c.MessagesIn != 3 || c.MessagesOut != 3 || c.BytesIn != w.BytesIn || c.BytesOut != w.BytesOut || c.QueuedBytes != 0 {
			t.Errorf("%+v", c)
		}
		if c := conns[1].Stats(); c.MessagesIn != 0 {
			t.Errorf("the other: %+v", c)
		}
		for _, p := range peers {
			p.end()
		}
		synctest.Wait()
		s = srv.Stats()
		if w := s.Wires["plain"]; w.Connections != 0 || w.Accepted != 2 || s.Rooms != 0 || s.Memberships != 0 {
			t.Errorf("afterwards: %+v", s)
		}
	})
}

// The line about a connection's end says all that one wants to know of it.
func TestEndLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("bye", func(_ context.Context, m *polywire.Message) (any, error) {
				<-time.After(2 * time.Second)
				return nil, m.Conn().Close(4501, "enough")
			})
		}, polywire.WithLogger(slog.New(slog.NewJSONHandler(&log, nil))),
			polywire.WithAuth(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
				return &polywire.Identity{User: "ann"}, nil
			}))
		p := connect(t, srv)
		p.send(wire.Packet{Type: wire.Message, Kind: "bye"})
		p.closed()
		synctest.Wait()
		var line map[string]any
		if err := json.Unmarshal(log.Bytes(), &line); err != nil {
			t.Fatalf("%v in %s", err, log.String())
		}
		want := map[string]any{
			"msg": "polywire: connection ended", "wire": "plain", "user": "ann", "code": 4501.0, "reason": "enough",
			"remote_closed": false, "lasted": 2e9, "messages_in": 1.0, "messages_out": 0.0,
		}
		for key, v := range want {
			if line[key] != v {
				t.Errorf("%s: %v, want %v", key, line[key], v)
			}
		}
		for _, key := range []string{"conn", "remote", "bytes_in", "bytes_out"} {
			if _, ok := line[key]; !ok {
				t.Errorf("no %s", key)
			}
		}
		if _, ok := line["remote"].(string); !ok {
			t.Errorf("remote is %T", line["remote"])
		}
		if line["bytes_in"] == 0.0 || line["bytes_out"] == 0.0 { // a message, a close frame
			t.Errorf("%v", line)
		}
	})
}

func TestHop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hops := &told{}
		var names map[string]string
		hooks := polywire.WithHooks(polywire.Hooks{Hop: func(h polywire.Hop) {
			hops.add("%s %s %s %s %t", names[h.From], h.Kind, h.Rooms, h.Header["h"], time.Since(h.Sent) < time.Second)
		}})
		ns := newNodes(t, 2, nil, hooks, polywire.WithHistory("kept", polywire.History{}))
		names = map[string]string{ns.srv[0].Nodes().ID(): "first", ns.srv[1].Nodes().ID(): "second"}
		for _, c := range ns.conns {
			if err := c.Join("r", "kept"); err != nil {
				t.Fatal(err)
			}
		}
		for _, room := range []string{"r", "kept"} {
			if err := ns.srv[0].Room(room).Send(t.Context(), "k", 1, polywire.WithHeader("h", "v")); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := ns.srv[1].Room("r").Count(t.Context()); n != 2 || err != nil { // no message of anybody's
			t.Errorf("%d members, %v", n, err)
		}
		synctest.Wait()
		if got, want := hops.take(), "first k [kept] v true; first k [r] v true"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if s := ns.srv[1].Stats().Cluster; s.Questions != 1 || s.Missing != 0 {
			t.Errorf("%+v", s)
		}
		for _, p := range ns.peers {
			p.end()
		}
	})
}

func TestRecoveryFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		p, _ := w.begin(t)
		p.end()
		synctest.Wait()
		for _, secret := range []string{w.secret, "unheard"} {
			p := join(t, w.srv, nil)
			p.resume(secret, w.offset)
			p.end()
			synctest.Wait()
		}
		if r := w.srv.Stats().Recovery; r != (polywire.RecoveryStats{SessionHits: 1, SessionMisses: 1}) {
			t.Errorf("%+v", r)
		}
		srv := newServer(t, nil, allowSubscribe(), keeping(10, time.Minute), unlogged())
		peers, _ := crowd(t, srv, 3)
		first, _ := peers[0].subscribe("kept", "")
		peers[1].subscribe("kept", first.Position)
		peers[2].subscribe("kept", "elsewhere.1")
		if r := srv.Stats().Recovery; r != (polywire.RecoveryStats{RoomHits: 1, RoomMisses: 1}) {
			t.Errorf("%+v", r)
		}
		for _, p := range peers {
			p.end()
		}
	})
}

// A TLS handshake that fails is a refusal, too: of a scanner, or because a
// certificate has run out.
func TestRefusedHandshake(t *testing.T) {
	refused := make(chan polywire.Refusal, 1)
	cert, _ := conntest.Certificate(t, "localhost")
	s := newSite(t, nil, polywire.WithTLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), unlogged(), polywire.WithHooks(polywire.Hooks{Refused: func(r polywire.Refusal) { refused <- r }}))
	defer s.close()
	addr := s.listen("tls")
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("this is no client hello\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	r := <-refused
	if r.Wire != "native" || r.Reason != "handshake" || r.Err == nil || r.Remote == nil {
		t.Errorf("%+v", r)
	}
}

func TestConnStatsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil })
		}, unlogged())
		peers, conns := crowd(t, srv, 2)
		time.Sleep(10 * time.Second)
		peers[0].send(call(1, "echo", "abc"))
		peers[0].receive()
		synctest.Wait()
		if q := conns[0].Stats().Quiet; q > time.Second {
			t.Errorf("it was heard a moment ago, and quiet for %s", q)
		}
		if q := conns[1].Stats().Quiet; q < 9*time.Second || q > 11*time.Second {
			t.Errorf("it was heard 10 s ago, and quiet for %s", q)
		}
	})
}
