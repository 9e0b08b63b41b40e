package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
)

func echo(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil }

func TestCallAndReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("echo", echo)
			s.Handle("fail", func(context.Context, *polywire.Message) (any, error) {
				return nil, &polywire.Error{Code: "sold_out", Message: "no more", Details: map[string]int{"left": 0}}
			})
			s.Handle("secret", func(context.Context, *polywire.Message) (any, error) {
				return nil, errors.New("password is hunter2")
			})
			s.Handle("panic", func(context.Context, *polywire.Message) (any, error) { panic("boom") })
			s.Handle("nothing", func(context.Context, *polywire.Message) (any, error) { return nil, nil })
		})
		p := connect(t, srv)
		defer p.end()
		for _, c := range []struct {
			kind, want string
		}{
			{"echo", `reply "x"`},
			{"fail", `error sold_out no more {"left":0}`},
			{"secret", `error internal internal error `},
			{"panic", `error internal internal error `},
			{"nothing", `reply `},
			{"unknown", `error not_found no handler for kind "unknown" `},
			{"echo", `reply "x"`},
		} {
			p.send(call(7, c.kind, "x"))
			got := p.receive()
			s := fmt.Sprintf("%s %s", got.Type, got.Payload.Data)
			if got.Err != nil {
				s = fmt.Sprintf("%s %s %s %s", got.Type, got.Err.Code, got.Err.Message, got.Err.Details.Data)
			}
			if got.ID != 7 || s != c.want {
				t.Errorf("%s answered %d %q, want 7 %q", c.kind, got.ID, s, c.want)
			}
		}
	})
}

// Messages of one connection are handled in order, also when the handler
// blocks and the reading is taken over in the middle of a batch.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("n", func(_ context.Context, m *polywire.Message) (any, error) {
				var n string
				if err := m.Bind(&n); err != nil {
					return nil, err
				}
				if strings.HasSuffix(n, "3") {
					time.Sleep(time.Second) // virtual: longer than the watch allows
				}
				again := ""
				if err := m.Bind(&again); err != nil || again != n {
					t.Errorf("the payload changed under the handler: %q, then %q (%v)", n, again, err)
				}
				seen = append(seen, n)
				return n, nil
			})
		})
		p := connect(t, srv)
		defer p.end()
		var want []string
		for i := range 200 {
			want = append(want, fmt.Sprint(i))
		}
		go func() {
			for i := 0; i < len(want); i += 20 {
				var batch []wire.Packet
				for j, n := range want[i : i+20] {
					batch = append(batch, call(uint64(i+j+1), "n", n))
				}
				p.send(batch...)
			}
		}()
		for i, n := range want {
			if got := p.receive(); got.ID != uint64(i+1) || string(got.Payload.Data) != `"`+n+`"` {
				t.Fatalf("answer %d is %d %s", i, got.ID, got.Payload.Data)
			}
		}
		if !slices.Equal(seen, want) {
			t.Errorf("handled in another order: %v", seen)
		}
	})
}

// A handler may call the peer that called it; answers are matched while it runs.
func TestCallFromHandler(t *testing.T) {
	for _, ctxOf := range []string{"handler", "other"} {
		t.Run(ctxOf, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newServer(t, func(s *polywire.Server) {
					s.Handle("ask", func(ctx context.Context, m *polywire.Message) (any, error) {
						if ctxOf == "other" {
							ctx = context.Background() // the watch has to notice by itself
						}
						var answer string
						err := m.Conn().Call(ctx, "name", nil, &answer)
						return "hello " + answer, err
					})
				})
				p := connect(t, srv)
				defer p.end()
				p.send(call(1, "ask", ""), call(2, "ask", ""))
				for id := uint64(1); id <= 2; id++ {
					q := p.receive()
					if q.Type != wire.Call || q.Kind != "name" {
						t.Fatalf("got %s %q, want the server's call", q.Type, q.Kind)
					}
					p.send(wire.Packet{Type: wire.Reply, ID: q.ID, Payload: text("ann")})
					if got := p.receive(); got.ID != id || string(got.Payload.Data) != `"hello ann"` {
						t.Fatalf("answer is %d %s", got.ID, got.Payload.Data)
					}
				}
			})
		})
	}
}

func TestConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("slow", func(context.Context, *polywire.Message) (any, error) {
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				running--
				mu.Unlock()
				return nil, nil
			})
		}, polywire.WithConcurrency(4))
		p := connect(t, srv)
		defer p.end()
		start := time.Now()
		for id := range uint64(12) {
			p.send(call(id+1, "slow", ""))
		}
		for range 12 {
			p.receive()
		}
		if took := time.Since(start); most != 4 || took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("12 messages of 1 s took %v, at most %d at once; want 3 s, 4 at once", took, most)
		}
	})
}

func TestHandlerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := make(chan error, 1)
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("stuck", func(ctx context.Context, _ *polywire.Message) (any, error) {
				<-ctx.Done()
				late <- ctx.Err()
				time.Sleep(time.Second)
				return "too late", nil
			})
			s.Handle("echo", echo)
		}, polywire.WithHandlerTimeout(3*time.Second))
		p := connect(t, srv)
		defer p.end()
		start := time.Now()
		p.send(call(1, "stuck", ""), call(2, "echo", "after"))
		got := p.receive()
		if got.ID != 1 || got.Err == nil || got.Err.Code != string(polywire.CodeDeadlineExceeded) || time.Since(start) > 3100*time.Millisecond {
			t.Errorf("after %v: %d %+v", time.Since(start), got.ID, got.Err)
		}
		if err := <-late; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the handler's context ended with %v", err)
		}
		if got := p.receive(); got.ID != 2 || got.Err != nil { // its time began when the other one was done
			t.Errorf("got answer %d %v, want 2", got.ID, got.Err)
		}
		synctest.Wait()
		if s := srv.Stats(); s.Dropped != 1 {
			t.Errorf("%d messages counted as dropped, want the late answer", s.Dropped)
		}
	})
}

func TestContextEndsWithConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("wait", func(ctx context.Context, _ *polywire.Message) (any, error) {
				<-ctx.Done()
				ended <- ctx.Err()
				return nil, ctx.Err()
			})
		})
		p := connect(t, srv)
		p.send(call(1, "wait", ""))
		synctest.Wait()
		p.end()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("context ended with %v", err)
		}
	})
}

// A message larger than the outbox passes behind a few bytes that have not left yet.
func TestMessageOverTheOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sizes := []int{10, 100 << 10}
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("both", func(ctx context.Context, m *polywire.Message) (any, error) {
				for _, n := range sizes { // they leave when the handler is done
					if err := m.Conn().Send(ctx, "news", strings.Repeat("x", n)); err != nil {
						return nil, err
					}
				}
				return nil, nil
			})
		}, polywire.WithOutboxBytes(10<<10))
		p := connect(t, srv)
		defer p.end()
		p.send(wire.Packet{Type: wire.Message, Kind: "both", Payload: text("")})
		for _, n := range sizes {
			if got := p.receive(); len(got.Payload.Data) != n+len(`""`) {
				t.Errorf("%d bytes of %q came, want %d", len(got.Payload.Data), got.Kind, n)
			}
		}
		for range 100 { // until the way there is full
			_ = srv.All().Send(t.Context(), "news", strings.Repeat("x", 100<<10))
		}
		if code := p.closed(); code != polywire.CloseSlow {
			t.Errorf("one who does not read was told %d", code)
		}
	})
}

// A peer that does not read is closed when its outbox is full; others get all.
func TestSlowConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dropped := make(chan polywire.DropReason, 1000)
		closed := make(chan *polywire.CloseError, 2)
		srv := newServer(t, nil, polywire.WithOutboxBytes(100<<10), polywire.WithHooks(polywire.Hooks{
			Dropped:    func(_ *polywire.Conn, _ string, r polywire.DropReason) { dropped <- r },
			Disconnect: func(_ *polywire.Conn, w *polywire.CloseError) { closed <- w },
		}))
		slow, good := connect(t, srv), connect(t, srv)
		defer slow.end()
		defer good.end()
		received := make(chan int)
		go func() {
			for n := range 500 {
				if got := good.receive(); got.Kind != "news" {
					t.Errorf("message %d is %q", n, got.Kind)
				}
			}
			received <- 500
		}()
		for range 500 {
			if err := srv.All().Send(t.Context(), "news", strings.Repeat("x", 1000)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // so that the good one has read
		}
		<-received
		if code := slow.closed(); code != polywire.CloseSlow { // it reads after all
			t.Errorf("the slow peer was told %d", code)
		}
		synctest.Wait()
		if n := srv.Stats().Connections; n != 1 {
			t.Errorf("%d connections are left, want the good one", n)
		}
		if why := <-closed; why.Code != polywire.CloseSlow {
			t.Errorf("closed with %v", why)
		}
		var reasons []polywire.DropReason
		for len(dropped) > 0 {
			reasons = append(reasons, <-dropped)
		}
		if !slices.Contains(reasons, polywire.DropSlow) || !slices.Contains(reasons, polywire.DropClosed) {
			t.Errorf("drops: %v", reasons)
		}
		if q := srv.Stats().QueuedBytes; q != 0 {
			t.Errorf("%d bytes are counted as queued", q)
		}
	})
}

// A peer that asks faster than it reads is held back, and gets every answer.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		big := strings.Repeat("y", 20<<10)
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("big", func(context.Context, *polywire.Message) (any, error) { return big, nil })
		}, polywire.WithOutboxBytes(100<<10))
		p := connect(t, srv)
		defer p.end()
		const n = 300
		go func() {
			for id := range uint64(n) {
				p.send(call(id+1, "big", ""))
			}
		}()
		for id := range uint64(n) {
			if id%50 == 0 {
				time.Sleep(time.Second)
			}
			if got := p.receive(); got.ID != id+1 || len(got.Payload.Data) != len(big)+2 {
				t.Fatalf("answer %d: %d bytes", got.ID, len(got.Payload.Data))
			}
		}
	})
}

// A handler that sends much to its own peer waits for it.
func TestSendWaitsForOwnPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("stream", func(ctx context.Context, m *polywire.Message) (any, error) {
				for range 200 {
					if err := m.Conn().Send(ctx, "part", strings.Repeat("z", 5000)); err != nil {
						return nil, err
					}
				}
				return "done", nil
			})
		}, polywire.WithOutboxBytes(50<<10))
		p := connect(t, srv)
		defer p.end()
		p.send(call(1, "stream", ""))
		time.Sleep(time.Second)
		for range 200 {
			if got := p.receive(); got.Kind != "part" {
				t.Fatalf("got %s %q %+v", got.Type, got.Kind, got.Err)
			}
		}
		if got := p.receive(); got.Type != wire.Reply {
			t.Errorf("got %s", got.Type)
		}
	})
}

func TestStuckWriteEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := make(chan *polywire.CloseError, 1)
		srv := newServer(t, nil, polywire.WithOutboxBytes(10<<20), polywire.WithHooks(polywire.Hooks{
			Disconnect: func(_ *polywire.Conn, w *polywire.CloseError) { why <- w },
		}))
		p := connect(t, srv)
		defer p.end()
		start := time.Now()
		srv.All().Send(t.Context(), "big", strings.Repeat("x", 1<<20))
		if w := <-why; w.Code != polywire.CloseWriteError || time.Since(start) > 12*time.Second {
			t.Errorf("after %v: %v", time.Since(start), w)
		}
	})
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := make(chan *polywire.CloseError, 2)
		srv := newServer(t, nil, polywire.WithHooks(polywire.Hooks{
			Disconnect: func(_ *polywire.Conn, w *polywire.CloseError) { why <- w },
		}))
		alive, mute := connect(t, srv), connect(t, srv)
		defer mute.end()
		start := time.Now()
		var pings atomic.Int32
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				f, err := alive.next()
				if err != nil {
					return
				}
				if f.Type == transport.Ping {
					pings.Add(1)
					alive.frame(transport.Pong, f.Data)
				}
			}
		}()
		w := <-why
		if took := time.Since(start); w.Code != polywire.CloseNoPong || took < 45*time.Second || took > 50*time.Second {
			t.Errorf("after %v: %v", took, w)
		}
		time.Sleep(5 * time.Minute)
		if n := srv.Stats().Connections; n != 1 || pings.Load() < 10 || pings.Load() > 15 {
			t.Errorf("%d connections after five minutes and %d pings", n, pings.Load())
		}
		alive.end()
		<-done
	})
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var states []string
		release := make(chan struct{})
		srv, err := polywire.New(polywire.WithHooks(polywire.Hooks{
			Status: func(from, to polywire.State) { states = append(states, from.String()+">"+to.String()) },
		}))
		if err != nil {
			t.Fatal(err)
		}
		srv.Handle("slow", func(context.Context, *polywire.Message) (any, error) { <-release; return "finished", nil })
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		idle, busy, deaf := connect(t, srv), connect(t, srv), connect(t, srv)
		defer deaf.end()
		busy.send(call(1, "slow", ""))
		synctest.Wait()
		done := make(chan error, 1)
		start := time.Now()
		go func() { done <- srv.Shutdown(context.Background()) }()
		if code := idle.closed(); code != polywire.CloseShutdown {
			t.Errorf("the idle peer was told %d", code)
		}
		synctest.Wait()
		busy.send(call(2, "slow", ""))
		if got := busy.receive(); got.ID != 2 || got.Err == nil || got.Err.Code != string(polywire.CodeUnavailable) {
			t.Errorf("a new request got %+v", got)
		}
		close(release)
		if got := busy.receive(); got.ID != 1 || string(got.Payload.Data) != `"finished"` {
			t.Errorf("the running request got %+v", got)
		}
		if code := busy.closed(); code != polywire.CloseShutdown {
			t.Errorf("the busy peer was told %d", code)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("took %v, want the 5 s that the deaf peer has", took)
		}
		if want := []string{"new>running", "running>closing", "closing>closed"}; !slices.Equal(states, want) {
			t.Errorf("states: %v", states)
		}
		if err := srv.Start(); !errors.Is(err, polywire.ErrClosed) {
			t.Errorf("Start after Shutdown: %v", err)
		}
		if err := srv.ListenAndServe("tcp://127.0.0.1:0"); err != nil { // it does not come to listen
			t.Errorf("ListenAndServe after Shutdown: %v", err)
		}
		for _, scheme := range []string{"tcp", "ws"} {
			l := transporttest.NewListener()
			if err := srv.Serve(l, scheme); err != nil {
				t.Errorf("Serve after Shutdown: %v", err)
			}
			if _, err := l.Accept(); err == nil {
				t.Error("the listener is open")
			}
		}
	})
}

func TestShutdownGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("stuck", func(context.Context, *polywire.Message) (any, error) { <-release; return nil, nil })
		})
		p := connect(t, srv)
		defer p.end()
		p.send(call(1, "stuck", ""))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if _, err := p.next(); err == nil {
			t.Error("the link is still open")
		}
		close(release)
	})
}

func TestCloseHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := make(chan *polywire.CloseError, 1)
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("bye", func(ctx context.Context, m *polywire.Message) (any, error) {
				m.Conn().Send(ctx, "last", "words")
				return nil, m.Conn().Close(4001, "told so")
			})
		}, polywire.WithHooks(polywire.Hooks{Disconnect: func(_ *polywire.Conn, w *polywire.CloseError) { why <- w }}))

		p := connect(t, srv)
		p.send(wire.Packet{Type: wire.Message, Kind: "bye"})
		if got := p.receive(); got.Kind != "last" {
			t.Errorf("got %q before the close", got.Kind)
		}
		if code := p.closed(); code != 4001 {
			t.Errorf("closed with %d", code)
		}
		if w := <-why; w.Code != 4001 || w.Reason != "told so" || w.Remote {
			t.Errorf("disconnected: %+v", w)
		}

		p = connect(t, srv)
		p.frame(transport.Close, transport.AppendClosePayload(nil, 4500, "leaving"))
		if code := p.closed(); code != 4500 {
			t.Errorf("the close was answered with %d", code)
		}
		if w := <-why; w.Code != 4500 || w.Reason != "leaving" || !w.Remote {
			t.Errorf("disconnected: %+v", w)
		}
	})
}
