package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
)

// paced is a link whose transport prescribes the heartbeat, and keeps messages
// until its gate opens.
type paced struct {
	transport.Conn
	beat transport.Heartbeat
	shut *atomic.Bool
}

func (p paced) Heartbeat() transport.Heartbeat { return p.beat }
func (p paced) Ready() bool                    { return !p.shut.Load() }

func attachPaced(t *testing.T, srv *polywire.Server, beat transport.Heartbeat) (*peer, *atomic.Bool) {
	t.Helper()
	a, b := transporttest.Pipe(transporttest.PipeOptions{})
	link := paced{a, beat, new(atomic.Bool)}
	p := &peer{t: t, link: b}
	if err := srv.Host("plain").Attach(wire.Link{Transport: link, Session: p.sess}); err != nil {
		t.Fatal(err)
	}
	return p, link.shut
}

// The server pings an interval after each pong, whatever else comes, and ends a
// peer that does not answer when interval and timeout are over; each to the tick.
func TestPrescribedPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		interval, timeout := 300*time.Millisecond, 200*time.Millisecond
		srv := newServer(t, func(s *polywire.Server) { s.Handle("x", echo) }, polywire.WithHeartbeat(interval, timeout))
		start := time.Now()
		p, _ := attachPaced(t, srv, transport.Heartbeat{Interval: interval, Timeout: timeout})
		var at []string
		note := func(what string) {
			at = append(at, fmt.Sprintf("%s %v", what, time.Since(start).Round(50*time.Millisecond)))
		}
		for range 3 {
			f, err := p.next()
			if err != nil || f.Type != transport.Ping {
				t.Fatalf("%v %v", f.Type, err)
			}
			note("ping")
			time.Sleep(100 * time.Millisecond)
			p.send(call(1, "x", "busy"))
			p.frame(transport.Pong, nil)
			p.receive()
		}
		_, err := p.next()
		note("ping")
		if err == nil {
			_, err = p.next()
		}
		note("end")
		if want := []string{"ping 300ms", "ping 700ms", "ping 1.1s", "ping 1.5s", "end 1.7s"}; err == nil || !slices.Equal(at, want) {
			t.Errorf("%v, want %v; %v", at, want, err)
		}
	})
}

// Never later than interval and timeout: a peer that counts finds it gone.
func TestPingTimeoutIsNotLate(t *testing.T) {
	for _, expected := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			why := make(chan *polywire.CloseError, 1)
			interval, timeout := 300*time.Millisecond, 200*time.Millisecond
			srv := newServer(t, nil, polywire.WithHeartbeat(interval, timeout), polywire.WithHooks(polywire.Hooks{
				Disconnect: func(_ *polywire.Conn, end *polywire.CloseError) { why <- end },
			}))
			time.Sleep(3*time.Millisecond + 500*time.Microsecond) // between two ticks
			start := time.Now()
			p, _ := attachPaced(t, srv, transport.Heartbeat{Expected: expected, Interval: interval, Timeout: timeout})
			defer p.end()
			end := <-why
			if after := time.Since(start); after > interval+timeout || after < interval+timeout-20*time.Millisecond {
				t.Errorf("expected %v: ended after %v", expected, after)
			}
			if end.Reason != "ping timeout" || end.Code != polywire.CloseNoPong {
				t.Errorf("%v", end)
			}
		})
	}
}

// A peer that pings is answered, and lives as long as it does.
func TestExpectedPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithHeartbeat(2*time.Second, time.Second))
		p, _ := attachPaced(t, srv, transport.Heartbeat{Expected: true, Interval: 2 * time.Second, Timeout: time.Second})
		for i := range 10 {
			time.Sleep(2 * time.Second)
			p.frame(transport.Ping, []byte{byte(i)})
			if f, err := p.next(); err != nil || f.Type != transport.Pong || f.Data[0] != byte(i) {
				t.Fatalf("%v %q %v", f.Type, f.Data, err)
			}
		}
		start := time.Now()
		if f, err := p.next(); err == nil || time.Since(start) > 3*time.Second {
			t.Errorf("%v after %v", f.Type, time.Since(start))
		}
	})
}

// The first ping comes on a link that nobody has opened yet, too.
func TestPingWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithHeartbeat(time.Second, time.Second), polywire.WithAuthTimeout(5*time.Second),
			polywire.WithAuth(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
				return nil, polywire.ErrAwaitHello
			}))
		p, _ := attachPaced(t, srv, transport.Heartbeat{Interval: time.Second, Timeout: time.Second})
		for range 4 {
			if f, err := p.next(); err != nil || f.Type != transport.Ping {
				t.Fatalf("%v %v", f.Type, err)
			}
			p.frame(transport.Pong, nil)
		}
		if code := p.closed(); code != polywire.CloseStale {
			t.Errorf("closed with %d", code)
		}
	})
}

func TestVolatile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Int32
		srv := newServer(t, nil, polywire.WithHooks(polywire.Hooks{Dropped: func(_ *polywire.Conn, kind string, why polywire.DropReason) {
			if kind == "v" && why == polywire.DropVolatile {
				dropped.Add(1)
			}
		}}))
		p, shut := attachPaced(t, srv, transport.Heartbeat{Interval: time.Hour, Timeout: time.Hour})
		defer p.end()
		conn := srv.All().Conns()[0]
		send := func(kind string, o ...polywire.SendOption) {
			if err := conn.Send(t.Context(), kind, 1, o...); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if err := srv.All().Send(t.Context(), kind, 1, o...); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		send("v", polywire.Volatile())
		shut.Store(true)
		send("v", polywire.Volatile())
		send("sure")
		shut.Store(false)
		send("v", polywire.Volatile())
		var got []string
		for range 6 {
			got = append(got, p.receive().Kind)
		}
		if strings.Join(got, " ") != "v v sure sure v v" || dropped.Load() != 2 {
			t.Errorf("%v, dropped %d", got, dropped.Load())
		}
	})
}

// copied is a result that takes something over from the request.
type copied struct{ text string }

func (c copied) Answer(m *polywire.Message) any { return c.text + string(m.Payload().Data) }

func TestEndpointReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		note := func(what string) { seen = append(seen, what) }
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("e", func(context.Context, *polywire.Message) (any, error) { note("controller"); return copied{"re:"}, nil })
			s.Handle("none", func(context.Context, *polywire.Message) (any, error) { return nil, nil })
		}, polywire.WithEndpointReplies(), polywire.WithHooks(polywire.Hooks{
			BeforeHandle: func(*polywire.Message) { note("before-handle") },
			AfterHandle:  func(*polywire.Message, time.Duration, any, error) { note("after-handle") },
			BeforeReply:  func(*polywire.Message, any, error) { note("before-response") },
			AfterReply:   func(*polywire.Message, any, error) { note("after-response") },
		}))
		p := connect(t, srv)
		defer p.end()
		p.send(call(1, "e", "a"), wire.Packet{Type: wire.Message, Kind: "e", Payload: text("b")},
			call(2, "none", ""), wire.Packet{Type: wire.Message, Kind: "none"}, call(3, "unknown", ""))
		for _, want := range []string{
			`reply 1  "re:\"a\""`, `message 0 e "re:\"a\""`, `message 0 e "re:\"b\""`, `error 3  `,
		} {
			f := p.receive()
			if got := fmt.Sprintf("%s %d %s %s", f.Type, f.ID, f.Kind, f.Payload.Data); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		order := []string{"before-handle", "controller", "after-handle", "before-response", "after-response"}
		if len(seen) < 10 || !slices.Equal(seen[:10], append(order, order...)) {
			t.Errorf("hooks: %v", seen)
		}
	})
}

func TestMessageRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) { s.Handle("x", echo) }, polywire.WithMessageRate(10, 5))
		p := connect(t, srv)
		for range 20 {
			p.send(call(1, "x", ""), call(1, "x", ""), call(1, "x", ""))
			for range 3 {
				p.receive()
			}
			time.Sleep(time.Second)
		}
		for range 6 {
			p.send(call(1, "x", ""))
		}
		if code := p.closed(); code != polywire.CloseTooManyRequests {
			t.Errorf("closed with %d", code)
		}
	})
}

func TestMaxOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithMaxOpening(2))
		first := join(t, srv, nil)
		defer first.end()
		second := join(t, srv, nil)
		a, b := transporttest.Pipe(transporttest.PipeOptions{})
		if err := srv.Host("plain").Attach(wire.Link{Transport: a, Session: plainSession{}, Namespaces: true}); err == nil {
			t.Error("a third one was let in")
		}
		b.Close()
		first.enter("/")
		join(t, srv, nil).end()
		second.end()
		synctest.Wait()
		for range 5 {
			join(t, srv, nil).end()
			synctest.Wait()
		}
	})
}

// squeezing is a link whose framer compresses, or says that it does.
type squeezing struct{ transport.Conn }

type squeezer struct {
	transport.Framer
	plain *atomic.Int32
}

func (s squeezer) Uncompressed() transport.Framer { s.plain.Add(1); return s.Framer }

func (s squeezing) Framer() transport.Framer {
	return squeezer{s.Conn.Framer(), s.Conn.(interface{ count() *atomic.Int32 }).count()}
}

type counted struct {
	transport.Conn
	n atomic.Int32
}

func (c *counted) count() *atomic.Int32 { return &c.n }

func TestUncompressed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil)
		a, b := transporttest.Pipe(transporttest.PipeOptions{})
		link := &counted{Conn: a}
		p := &peer{t: t, link: b}
		defer p.end()
		if err := srv.Host("plain").Attach(wire.Link{Transport: squeezing{link}, Session: p.sess}); err != nil {
			t.Fatal(err)
		}
		conn := srv.All().Conns()[0]
		for range 2 {
			_ = conn.Send(t.Context(), "x", 1)
			_ = conn.Send(t.Context(), "x", 1, polywire.Uncompressed())
			_ = srv.All().Send(t.Context(), "x", 1, polywire.Uncompressed())
		}
		for range 6 {
			p.receive()
		}
		if n := link.n.Load(); n != 4 {
			t.Errorf("%d messages went uncompressed, want 4", n)
		}
	})
}

// A call without a bound of its own is given up in time, also beside one that
// its caller's context bounds.
func TestCallBesideBoundedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithHandlerTimeout(3*time.Second), polywire.WithHeartbeat(time.Hour, time.Hour))
		p := connect(t, srv)
		defer p.end()
		conn := srv.All().Conns()[0]
		bounded, cancel := context.WithTimeout(t.Context(), time.Hour)
		first := make(chan error, 1)
		go func() { first <- conn.Call(bounded, "never", nil, nil) }()
		synctest.Wait()
		for range 2 {
			start := time.Now()
			err := conn.Call(t.Context(), "never", nil, nil)
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took < 3*time.Second || took > 5*time.Second {
				t.Errorf("%v after %v", err, took)
			}
		}
		cancel()
		<-first
	})
}
