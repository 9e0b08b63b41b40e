package polywire_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
)

func transportPipe() (a, b transport.Conn) { return transporttest.Pipe(transporttest.PipeOptions{}) }

// A call's id is free again as soon as the answer is out.
func TestIDIsFreeAfterTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("echo", echo)
			s.Handle("stuck", func(context.Context, *polywire.Message) (any, error) { <-release; return nil, nil })
		}, polywire.WithConcurrency(4), polywire.WithHandlerTimeout(time.Second), polywire.WithHooks(polywire.Hooks{
			AfterReply: func(*polywire.Message, any, error) { time.Sleep(10 * time.Millisecond) },
		}))
		p := connect(t, srv)
		defer p.end()
		for range 10 {
			p.send(call(7, "echo", "x"))
			if got := p.receive(); got.ID != 7 || got.Err != nil {
				t.Fatalf("got %d %+v", got.ID, got.Err)
			}
		}
		p.send(call(7, "stuck", "x"))
		if got := p.receive(); got.Err == nil || got.Err.Code != string(polywire.CodeDeadlineExceeded) {
			t.Fatalf("got %+v", got)
		}
		p.send(call(7, "echo", "y"))
		if got := p.receive(); got.ID != 7 || string(got.Payload.Data) != `"y"` {
			t.Fatalf("got %d %s %+v", got.ID, got.Payload.Data, got.Err)
		}
		close(release)
		time.Sleep(time.Second) // virtual: the hook is still at it
	})
}

func TestIDUsedTwice(t *testing.T) {
	for _, n := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			srv := newServer(t, func(s *polywire.Server) {
				s.Handle("slow", func(ctx context.Context, _ *polywire.Message) (any, error) { <-ctx.Done(); return nil, nil })
			}, polywire.WithConcurrency(n))
			p := connect(t, srv)
			defer p.end()
			p.send(call(7, "slow", "x"), call(8, "slow", "x"), call(7, "slow", "x"))
			if code := p.closed(); code != polywire.CloseBadRequest {
				t.Errorf("closed with %d", code)
			}
		})
	}
}

// All of a message counts as queued, not just its payload.
func TestInboxCountsHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("slow", func(context.Context, *polywire.Message) (any, error) { <-release; return nil, nil })
		}, polywire.WithMaxMessageBytes(100<<10))
		p := connect(t, srv)
		defer p.end()
		m := wire.Packet{Type: wire.Message, Kind: "slow", Header: map[string]string{"h": strings.Repeat("x", 90<<10)}}
		done := make(chan struct{})
		go func() {
			for range 10 {
				p.send(m)
			}
			close(done)
		}()
		time.Sleep(time.Second)
		if n := srv.Stats().MessagesIn; n > 4 {
			t.Errorf("%d messages of 90 KiB were taken in behind a handler, the bound is 100 KiB", n)
		}
		close(release)
		<-done
	})
}

// A connection whose reading is held back by its handlers is not a dead one.
func TestHeldBackIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("slow", func(context.Context, *polywire.Message) (any, error) { time.Sleep(20 * time.Second); return nil, nil })
		}, polywire.WithInboxMessages(2), polywire.WithHandlerTimeout(time.Hour), polywire.WithHeartbeat(5*time.Second, 5*time.Second))
		p := connect(t, srv)
		defer p.end()
		const n = 20
		go func() {
			for id := range uint64(n) {
				p.send(call(id+1, "slow", ""))
			}
		}()
		for got := uint64(0); got < n; {
			f, err := p.next()
			if err != nil {
				t.Errorf("after %d answers: %v", got, err)
				time.Sleep(time.Hour) // virtual: the handlers are at it
				return
			}
			switch f.Type {
			case transport.Ping:
				p.frame(transport.Pong, f.Data)
			case transport.Text:
				got++
			}
		}
	})
}

// Handlers that call whoever called them get their answers, although these come
// behind more than the inbox holds; one who never answers is held back all the same.
func TestAnswersBehindFullInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, inbox, open = 50, 2, 60
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("back", func(ctx context.Context, m *polywire.Message) (any, error) {
				var out string
				err := m.Conn().Call(ctx, "ask", "", &out)
				return out, err
			})
		}, polywire.WithInboxMessages(inbox), polywire.WithMaxOpenCalls(open))
		p := connect(t, srv)
		for id := range uint64(n) {
			p.send(call(id+1, "back", ""))
		}
		for replies := 0; replies < n; {
			switch m := p.receive(); {
			case m.Type == wire.Call && m.Kind == "ask":
				p.send(wire.Packet{Type: wire.Reply, ID: m.ID, Payload: text("yes")})
			case m.Type == wire.Reply && strings.Contains(string(m.Payload.Data), "yes"):
				replies++
			default:
				t.Fatalf("%+v %+v", m, m.Err)
			}
		}
		w := transport.NewWriter(p.link.Framer(), nil)
		for id := range uint64(10 * open) {
			if err := p.sess.Encode(&w, new(call(id+1, "back", ""))); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = p.link.Write(w.Bytes()) // it is cut short
		}()
		before := srv.Stats().MessagesIn
		time.Sleep(time.Second)
		if in := srv.Stats().MessagesIn - before; in > open+inbox+10 {
			t.Errorf("%d messages were taken from one who does not answer", in)
		}
		p.end()
		<-done
	})
}

// Close ends the contexts of handlers although the reader waits behind them,
// and so does the peer's connection being cut by the application.
func TestEndWhileHeldBack(t *testing.T) {
	for name, end := range map[string]func(*polywire.Server){
		"close": func(s *polywire.Server) { _ = s.Close() },
		"conn":  func(s *polywire.Server) { _ = s.All().Disconnect(context.Background(), 4000, "enough") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan struct{}, 10)
				srv := newServer(t, func(s *polywire.Server) {
					s.Handle("wait", func(ctx context.Context, _ *polywire.Message) (any, error) {
						<-ctx.Done()
						ended <- struct{}{}
						return nil, nil
					})
				}, polywire.WithInboxMessages(1))
				p := connect(t, srv)
				defer p.end()
				for id := range uint64(5) {
					p.send(call(id+1, "wait", ""))
				}
				time.Sleep(time.Second)
				start := time.Now()
				end(srv)
				if name == "conn" && p.closed() != 4000 {
					t.Error("closed with another code")
				}
				p.end()
				<-ended
				if took := time.Since(start); took > time.Second {
					t.Errorf("the handler's context ended after %v", took)
				}
			})
		})
	}
}

// A Connect hook may close the connection that a hello has just opened.
func TestCloseInConnectHook(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			srv := newServer(t, nil,
				polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
					if !h.Hello {
						return nil, polywire.ErrAwaitHello
					}
					return nil, nil
				}),
				polywire.WithHooks(polywire.Hooks{Connect: func(c *polywire.Conn) { _ = c.Close(4500, "banned") }}))
			p := connect(t, srv)
			defer p.end()
			p.send(wire.Packet{Type: wire.Hello})
			if code := p.closed(); code != 4500 {
				t.Errorf("closed with %d", code)
			}
		})
	}
}

// explosive panics when it is encoded.
type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { panic("boom") }

var _ json.Marshaler = explosive{}

// A result that panics when it is encoded is a fault like any other.
func TestReplyPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported []string
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("result", func(context.Context, *polywire.Message) (any, error) { return explosive{}, nil })
			s.Handle("details", func(context.Context, *polywire.Message) (any, error) {
				return nil, &polywire.Error{Code: "mine", Details: explosive{}}
			})
			s.Handle("echo", echo)
		}, polywire.WithHooks(polywire.Hooks{Error: func(_ *polywire.Conn, err error) { reported = append(reported, err.Error()) }}))
		p := connect(t, srv)
		defer p.end()
		for i, kind := range []string{"result", "details"} {
			p.send(call(1, kind, ""), call(2, "echo", "x"))
			if got := p.receive(); got.ID != 1 || got.Err == nil || got.Err.Code != string(polywire.CodeInternal) {
				t.Errorf("%s: got %+v", kind, got)
			}
			if got := p.receive(); got.ID != 2 || got.Err != nil {
				t.Errorf("%s: then %+v", kind, got)
			}
			if len(reported) != i+1 || !strings.Contains(reported[i], "boom") {
				t.Errorf("%s: reported %q", kind, reported)
			}
		}
	})
}

// Rooms that the server chose take nothing from what the peer may choose.
func TestSubscriptionsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, nil, polywire.WithMaxSubscriptions(2))
		p := connect(t, srv)
		defer p.end()
		synctest.Wait()
		if err := srv.All().Conns()[0].Join("a", "b", "c"); err != nil {
			t.Fatal(err)
		}
		ask := func(typ wire.Type, room string) string {
			p.send(wire.Packet{Type: typ, ID: 1, Room: room})
			got := p.receive()
			if got.Err != nil {
				return got.Err.Code
			}
			return ""
		}
		for i := range 5 {
			for j := range 2 {
				if code := ask(wire.Subscribe, fmt.Sprint("mine", j)); code != "" {
					t.Fatalf("round %d, room %d: %s", i, j, code)
				}
			}
			if code := ask(wire.Subscribe, "third"); code != string(polywire.CodeTooManyRequests) {
				t.Fatalf("round %d: the third subscription got %q", i, code)
			}
			for j := range 2 {
				ask(wire.Unsubscribe, fmt.Sprint("mine", j))
			}
		}
	})
}
