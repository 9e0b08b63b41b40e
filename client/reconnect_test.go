package client_test

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
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/transport/transporttest"
)

// A client tries for as long as the server is away: after 1 s, doubling to
// 30 s, each wait between a half and all of that.
func TestBackoffWhileTheServerIsAway(t *testing.T) {
	for _, tt := range []struct {
		name              string
		opts              []client.Option
		shortest, longest time.Duration
	}{
		{"default", nil, time.Second, 30 * time.Second},
		{"given", []client.Option{client.WithBackoff(100*time.Millisecond, time.Second)}, 100 * time.Millisecond, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				srv := n.serve("tcp", nil)
				e := newEvents()
				c := n.connected("tcp", append(tt.opts, e.option())...)
				first := receive(t, e.connects)
				srv.Close()
				why := receive(t, e.disconnects)
				if !errors.Is(why, polywire.ErrConnClosed) {
					t.Errorf("disconnected because of %v", why)
				}
				at := time.Now()
				for i := range 15 {
					full := tt.longest
					if i < 10 {
						full = min(tt.shortest<<i, tt.longest)
					}
					r := receive(t, e.retries)
					if r.attempt != i+1 || r.wait < full/2 || r.wait > full {
						t.Errorf("try %d waits %v, want try %d after %v to %v", r.attempt, r.wait, i+1, full/2, full)
					}
					if r.at != at {
						t.Errorf("try %d began to wait at %v, want %v", r.attempt, r.at, at)
					}
					if i > 0 && !errors.Is(r.why, transporttest.ErrRefused) {
						t.Errorf("try %d because of %v", r.attempt, r.why)
					}
					at = at.Add(r.wait)
				}
				if c.State() != polywire.StateRunning || c.Connected() || c.Err() != nil {
					t.Errorf("state %v, connected %v, %v", c.State(), c.Connected(), c.Err())
				}
				n.serve("tcp", nil)
				if again := receive(t, e.connects); again == first || c.Conn() != again {
					t.Error("the connection is not a new one, or not the present one")
				}
				if len(n.tries) != 1+15 || time.Since(at) != 0 {
					t.Errorf("dialled %d times, connected %v after the last wait", len(n.tries), time.Since(at))
				}
			})
		})
	}
}

func TestRoomsAfterReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("ws", nil)
		e := newEvents()
		heard := make(chan string, 10)
		c := n.client("ws", e.option())
		c.Handle("news", into(heard))
		connect(t, c)
		for _, room := range []string{"a", "b", "secret", "left", "a"} {
			if err := c.Subscribe(t.Context(), room); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Unsubscribe(t.Context(), "left"); err != nil {
			t.Error(err)
		}
		n.last().Close()
		receive(t, e.disconnects)
		if err := c.Unsubscribe(t.Context(), "b"); !errors.Is(err, client.ErrNotConnected) {
			t.Errorf("unsubscribe while away: %v", err)
		}

		subscribed := make(chan string, 10)
		next := n.serve("ws", nil,
			polywire.WithSubscribePolicy(func(_ context.Context, _ *polywire.Conn, room string) error {
				if room == "secret" {
					return polywire.Errorf(polywire.CodeForbidden, "not any more")
				}
				return nil
			}),
			polywire.WithHooks(polywire.Hooks{Subscribe: func(_ *polywire.Conn, room string, err error) {
				subscribed <- fmt.Sprintf("%s %v", room, err == nil)
			}}))
		for _, want := range []string{"a true", "secret false"} {
			if got := receive(t, subscribed); got != want {
				t.Errorf("subscribed %q, want %q", got, want)
			}
		}
		err := receive(t, e.errors)
		if !errors.Is(err, &polywire.Error{Code: polywire.CodeForbidden}) || !strings.Contains(err.Error(), `"secret"`) {
			t.Errorf("the hook was told %v", err)
		}
		for room, want := range map[string]int{"a": 1, "b": 0, "secret": 0, "left": 0} {
			if got := len(next.Room(room).Conns()); got != want {
				t.Errorf("room %s has %d members, want %d", room, got, want)
			}
			if err := next.Room(room).Send(t.Context(), "news", "for "+room); err != nil {
				t.Error(err)
			}
		}
		if got := receive(t, heard); got != "for a" {
			t.Errorf("heard %q", got)
		}
		if got := c.Rooms(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("its rooms are %v, want a alone", got)
		}
		if len(e.errors) > 0 || len(heard) > 0 {
			t.Errorf("%d more errors, %d more messages", len(e.errors), len(heard))
		}
	})
}

// A room that is left while others are being joined again is not joined after all.
func TestUnsubscribeWhileResubscribing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		srv := n.serve("tcp", nil)
		e := newEvents()
		c := n.connected("tcp", e.option())
		receive(t, e.connects)
		for _, room := range []string{"first", "second", "third"} {
			if err := c.Subscribe(t.Context(), room); err != nil {
				t.Fatal(err)
			}
		}
		next := n.serve("tcp", nil, polywire.WithSubscribePolicy(func(context.Context, *polywire.Conn, string) error {
			<-time.After(time.Second)
			return nil
		}))
		srv.Close()
		receive(t, e.connects)
		synctest.Wait() // the first room is being asked for
		if err := c.Unsubscribe(t.Context(), "second"); err != nil {
			t.Error(err)
		}
		<-time.After(10 * time.Second)
		if got := next.Rooms(); !slices.Equal(got, []string{"first", "third"}) || !slices.Equal(c.Rooms(), got) {
			t.Errorf("the server has it in %v, the client itself in %v", got, c.Rooms())
		}
	})
}

// The code with which the server closes decides whether the client comes back.
func TestCloseCodes(t *testing.T) {
	for _, tt := range []struct {
		code polywire.CloseCode
		back bool
	}{
		{1000, false}, {1001, true}, {1008, false}, {1012, true},
		{3000, true}, {polywire.CloseShutdown, true}, {polywire.CloseForceReconnect, true}, {3499, true},
		{3500, false}, {polywire.CloseStale, true}, {polywire.CloseForceDisconnect, false}, {3999, false},
		{4000, true}, {4499, true}, {4500, false}, {4999, false},
	} {
		t.Run(tt.code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				srv := n.serve("ws", func(s *polywire.Server) { s.Handle("echo", echo) })
				e := newEvents()
				c := n.connected("ws", e.option())
				receive(t, e.connects)
				_ = srv.All().Disconnect(context.Background(), tt.code, "because")
				var closed *polywire.CloseError
				if why := receive(t, e.disconnects); !errors.As(why, &closed) || closed.Code != tt.code || closed.Reason != "because" || !closed.Remote {
					t.Errorf("disconnected with %+v", closed)
				}
				if tt.back {
					receive(t, e.connects)
					if got := call(t, c, "echo", "back"); got != "back" {
						t.Errorf("after the reconnect: %q", got)
					}
					return
				}
				receive(t, c.Done())
				closed = nil
				if !errors.As(c.Err(), &closed) || closed.Code != tt.code || c.State() != polywire.StateClosed {
					t.Errorf("state %v because of %v", c.State(), c.Err())
				}
				closed = nil
				if err := c.Send(t.Context(), "late", nil); !errors.Is(err, polywire.ErrClosed) || !errors.As(err, &closed) || closed.Code != tt.code {
					t.Errorf("sent afterwards: %v", err)
				}
				if len(e.retries) > 0 || len(n.tries) != 1 {
					t.Error("it tried again")
				}
			})
		})
	}
}

func TestShutdownMovesClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		answers := func(name string) func(*polywire.Server) {
			return func(s *polywire.Server) {
				s.Handle("name", func(context.Context, *polywire.Message) (any, error) {
					<-time.After(time.Second)
					return name, nil
				})
			}
		}
		srv := n.serve("tcp", answers("old"))
		e := newEvents()
		c := n.connected("tcp", e.option())
		receive(t, e.connects)
		running := make(chan string, 1)
		go func() {
			var name string
			if err := c.Call(t.Context(), "name", nil, &name); err != nil {
				t.Errorf("a call that was running: %v", err)
			}
			running <- name
		}()
		synctest.Wait()
		n.serve("tcp", answers("new"))
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := receive(t, running); got != "old" {
			t.Errorf("the running call was answered by %q", got)
		}
		var closed *polywire.CloseError
		if why := receive(t, e.disconnects); !errors.As(why, &closed) || closed.Code != polywire.CloseShutdown {
			t.Errorf("disconnected with %v", why)
		}
		receive(t, e.connects)
		if got := call(t, c, "name", ""); got != "new" {
			t.Errorf("now %q answers", got)
		}
	})
}

func TestWithoutReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("tcp", nil)
		e := newEvents()
		c := n.connected("tcp", client.WithoutReconnect(), e.option())
		n.last().Close()
		receive(t, c.Done())
		if !errors.Is(c.Err(), polywire.ErrConnClosed) || c.State() != polywire.StateClosed || len(n.tries) != 1 || len(e.retries) > 0 {
			t.Errorf("state %v, %v, dialled %d times", c.State(), c.Err(), len(n.tries))
		}
	})
}

// Credentials are asked for on each connection; failing to have any is a
// failed try, and being refused with them is final.
func TestCredentialsOnEachConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		seen := make(chan string, 10)
		n.serve("tcp", nil, polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
			if !h.Hello {
				return nil, polywire.ErrAwaitHello
			}
			seen <- h.Header["token"]
			if h.Header["token"] == "token 5" {
				return nil, polywire.Errorf(polywire.CodeForbidden, "banned")
			}
			return &polywire.Identity{User: "ann"}, nil
		}))
		e := newEvents()
		asked := 0
		c := n.connected("tcp", e.option(), client.WithCredentials(func(context.Context) (map[string]string, error) {
			asked++
			if asked == 3 {
				return nil, errNoKey
			}
			return map[string]string{"token": fmt.Sprint("token ", asked)}, nil
		}))
		for _, want := range []string{"token 1", "token 2", "token 4"} {
			receive(t, e.connects)
			if got := receive(t, seen); got != want {
				t.Errorf("the server saw %q, want %q", got, want)
			}
			n.last().Close()
		}
		if got := receive(t, seen); got != "token 5" {
			t.Errorf("the server saw %q, want token 5", got)
		}
		receive(t, c.Done())
		var refused *polywire.CloseError
		if !errors.As(c.Err(), &refused) || refused.Code != polywire.CloseForbidden || refused.Reason != "banned" {
			t.Errorf("closed with %v, want a ban", c.Err())
		}
		lost := 0
		for range len(e.retries) {
			if errors.Is((<-e.retries).why, errNoKey) {
				lost++
			}
		}
		if lost != 1 {
			t.Errorf("%d tries failed for want of credentials, want 1", lost)
		}
	})
}

// A link that swallows everything is noticed by its silence: 25 s until the
// ping and 20 s for its answer, to half a second each, and the farewell.
func TestBlackHole(t *testing.T) {
	for _, scheme := range []string{"ws", "tcp"} {
		t.Run(scheme, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				n.serve(scheme, func(s *polywire.Server) { s.Handle("echo", echo) })
				e := newEvents()
				c := n.connected(scheme, e.option())
				receive(t, e.connects)
				time.Sleep(10 * time.Minute) // it answers heartbeats, so nothing happens
				if len(e.disconnects) > 0 {
					t.Fatalf("a healthy link was given up: %v", <-e.disconnects)
				}
				call(t, c, "echo", "last word")
				start := time.Now()
				n.last().swallow()
				var closed *polywire.CloseError
				if why := receive(t, e.disconnects); !errors.As(why, &closed) || closed.Code != polywire.CloseNoPong {
					t.Errorf("disconnected with %v, want 3012", why)
				}
				if took := time.Since(start); took < 44*time.Second || took > 47*time.Second {
					t.Errorf("noticed after %v, want about 45 s", took)
				}
				receive(t, e.connects)
				if got := call(t, c, "echo", "again"); got != "again" {
					t.Errorf("after the reconnect: %q", got)
				}
			})
		})
	}
}

// 10,000 calls while connections break in every way: each succeeds or fails,
// with its own answer, and none hangs.
func TestCallsAcrossReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers, each = 50, 200
		n := newNetwork(t)
		var handled, connects atomic.Int32
		n.serve("tcp", func(s *polywire.Server) {
			s.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) {
				switch handled.Add(1) % 300 {
				case 100:
					m.Conn().Close(polywire.CloseForceReconnect, "elsewhere")
				case 200:
					n.last().Close()
				}
				return m.Payload(), nil
			})
		}, polywire.WithConcurrency(4))
		c := n.connected("tcp", client.WithBackoff(time.Millisecond, 4*time.Millisecond),
			client.WithHooks(client.Hooks{Connect: func(*polywire.Conn) { connects.Add(1) }}))
		var good, bad atomic.Int32
		var all sync.WaitGroup
		for g := range callers {
			all.Go(func() {
				for i := range each {
					in, out, start := g*each+i, -1, time.Now()
					err := c.Call(t.Context(), "echo", in, &out)
					switch {
					case time.Since(start) > time.Second:
						t.Errorf("a call took %v: %v", time.Since(start), err)
					case err == nil && out == in:
						good.Add(1)
					case errors.Is(err, polywire.ErrConnClosed), errors.Is(err, client.ErrNotConnected):
						bad.Add(1)
						<-time.After(2 * time.Millisecond)
					default:
						t.Errorf("echo of %d is %d, %v", in, out, err)
					}
				}
			})
		}
		all.Wait()
		if good.Load()+bad.Load() != callers*each || good.Load() < callers*each/2 || connects.Load() < 20 {
			t.Errorf("%d good, %d failed, %d connections", good.Load(), bad.Load(), connects.Load())
		}
	})
}
