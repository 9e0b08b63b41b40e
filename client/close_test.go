package client_test

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
	"github.com/polywire/polywire/client"
)

// closed checks what is true of a client that was closed on purpose.
func closed(t *testing.T, c *client.Client) {
	t.Helper()
	select {
	case <-c.Done():
	default:
		t.Error("Done is open")
	}
	if c.State() != polywire.StateClosed || c.Err() != nil || c.Connected() {
		t.Errorf("state %v, Err %v, connected %v", c.State(), c.Err(), c.Connected())
	}
	if err := c.Send(t.Context(), "kind", nil); !errors.Is(err, polywire.ErrClosed) {
		t.Errorf("Send: %v", err)
	}
}

// What a client has sent arrives before its farewell, and what it is handling
// is finished and answered.
func TestCloseWhileConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		said, ended := make(chan string, 2000), make(chan *polywire.CloseError, 1)
		srv := n.serve("ws", func(s *polywire.Server) { s.Handle("say", into(said)) },
			polywire.WithHooks(polywire.Hooks{Disconnect: func(_ *polywire.Conn, why *polywire.CloseError) { ended <- why }}))
		c := n.client("ws")
		c.Handle("slow", func(context.Context, *polywire.Message) (any, error) {
			<-time.After(time.Second)
			return "done", nil
		})
		connect(t, c)
		answer := make(chan string, 1)
		go func() {
			var out string
			if err := srv.All().Call(t.Context(), "slow", nil, &out); err != nil {
				t.Errorf("the running call: %v", err)
			}
			answer <- out
		}()
		synctest.Wait()
		for range 1000 {
			if err := c.Send(t.Context(), "say", "x"); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 990*time.Millisecond || took > 1100*time.Millisecond {
			t.Errorf("closing took %v, want the second of the running handler", took)
		}
		closed(t, c)
		if got := receive(t, answer); got != "done" {
			t.Errorf("the running call answered %q", got)
		}
		if why := receive(t, ended); why.Code != polywire.CloseNormal || !why.Remote {
			t.Errorf("the server saw %+v", why)
		}
		if len(said) != 1000 {
			t.Errorf("%d messages of 1000 arrived", len(said))
		}
	})
}

// Close does the same in every state, however often and from how many.
func TestCloseInEveryState(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, n *network, srv *polywire.Server, c *client.Client){
		"new":       func(*testing.T, *network, *polywire.Server, *client.Client) {},
		"connected": func(t *testing.T, _ *network, _ *polywire.Server, c *client.Client) { connect(t, c) },
		"waiting to reconnect": func(t *testing.T, _ *network, srv *polywire.Server, c *client.Client) {
			connect(t, c)
			srv.Close()
			<-time.After(100 * time.Second) // virtual
		},
		"reconnecting": func(t *testing.T, n *network, _ *polywire.Server, c *client.Client) {
			connect(t, c)
			n.silent()
			n.last().Close()
			<-time.After(3 * time.Second) // virtual
		},
		"connecting": func(t *testing.T, n *network, _ *polywire.Server, c *client.Client) {
			n.silent()
			go func() {
				if err := c.Connect(context.Background()); !errors.Is(err, polywire.ErrClosed) {
					t.Errorf("Connect: %v, want %v", err, polywire.ErrClosed)
				}
			}()
		},
		"closed by itself": func(t *testing.T, _ *network, srv *polywire.Server, c *client.Client) {
			connect(t, c)
			_ = srv.All().Disconnect(context.Background(), polywire.CloseForceDisconnect, "enough")
			<-time.After(time.Minute) // virtual
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				srv := n.serve("tcp", func(s *polywire.Server) { s.Handle("echo", echo) })
				c := n.client("tcp")
				prepare(t, n, srv, c)
				synctest.Wait()
				start := time.Now()
				var all sync.WaitGroup
				for range 20 {
					all.Go(func() {
						if err := c.Close(); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				if took := time.Since(start); took != 0 {
					t.Errorf("it took %v", took)
				}
				if name == "closed by itself" {
					if c.Err() == nil {
						t.Error("Close hid why it had closed")
					}
				} else {
					closed(t, c)
				}

				n.serve("tcp", func(s *polywire.Server) { s.Handle("echo", echo) })
				connect(t, c)
				if got := call(t, c, "echo", "again"); got != "again" || c.Err() != nil {
					t.Errorf("after another Connect: %q, Err %v", got, c.Err())
				}
				c.Close()
				closed(t, c)
			})
		})
	}
}

// A link that swallows everything holds Close up for the close timeout only.
func TestCloseOnABlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("tcp", nil)
		c := n.connected("tcp")
		n.last().swallow()
		start := time.Now()
		c.Close()
		if took := time.Since(start); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("closing took %v, want about 5 s", took)
		}
		closed(t, c)
	})
}

// A client that connects again has its handlers, middleware, pipes, codes and
// rooms from before.
func TestConnectAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		srv := n.serve("tcp", nil)
		c := n.client("tcp")
		heard := make(chan string, 10)
		seen := 0
		c.Use(func(next polywire.Handler) polywire.Handler {
			return func(ctx context.Context, m *polywire.Message) (any, error) {
				seen++
				return next(ctx, m)
			}
		})
		c.Handle("before", into(heard))
		for life := range 3 {
			connect(t, c)
			if life == 0 {
				c.Handle("while", into(heard))
			}
			for _, kind := range []string{"before", "while"} {
				if err := srv.All().Send(t.Context(), kind, kind); err != nil {
					t.Error(err)
				}
				if got := receive(t, heard); got != kind {
					t.Errorf("life %d heard %q, want %q", life, got, kind)
				}
			}
			c.Close()
			closed(t, c)
		}
		if seen != 6 {
			t.Errorf("the middleware saw %d messages, want 6", seen)
		}
	})
}

// Mistakes in registrations come with Connect.
func TestConnectReportsMistakes(t *testing.T) {
	for name, register := range map[string]func(c *client.Client){
		"kind twice":  func(c *client.Client) { c.Handle("k", echo); c.Handle("k", echo) },
		"nil handler": func(c *client.Client) { c.Handle("k", nil) },
		"code twice":  func(c *client.Client) { c.Code("k", 1); c.Code("l", 1) },
	} {
		c, err := client.New("tcp://server:1")
		if err != nil {
			t.Fatal(err)
		}
		register(c)
		if err := c.Connect(t.Context()); !errors.Is(err, polywire.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
}

func TestHooksInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		srv := n.serve("tcp", nil, polywire.WithSubscribePolicy(func(_ context.Context, c *polywire.Conn, _ string) error {
			if len(n.tries) > 1 {
				return polywire.Errorf(polywire.CodeForbidden, "not again")
			}
			return nil
		}))
		var mu sync.Mutex
		var log []string
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, fmt.Sprintf(format, args...))
		}
		var c *client.Client
		hooks := func(who string) client.Hooks {
			return client.Hooks{
				Status:  func(from, to polywire.State) { note("%s %v to %v, %v", who, from, to, c.State()) },
				Connect: func(*polywire.Conn) { note("%s connect %v", who, c.Connected()) },
				Disconnect: func(why error) {
					note("%s disconnect %v %v", who, c.Connected(), errors.Is(why, polywire.ErrConnClosed))
				},
				Retry: func(attempt int, _ time.Duration, _ error) { note("%s retry %d", who, attempt) },
				Error: func(err error) {
					note("%s error %v", who, errors.Is(err, &polywire.Error{Code: polywire.CodeForbidden}))
				},
			}
		}
		c = n.client("tcp", client.WithHooks(hooks("a"), client.Hooks{}), client.WithHooks(hooks("b")))
		connect(t, c)
		if err := c.Subscribe(t.Context(), "room"); err != nil {
			t.Error(err)
		}
		_ = srv.All().Disconnect(context.Background(), polywire.CloseForceReconnect, "")
		<-time.After(10 * time.Second)
		c.Close()
		var want []string
		for _, event := range []string{
			"new to running, running", "connect true", "disconnect false true", "retry 1", "connect true", "error true",
			"running to closing, closing", "disconnect false true", "closing to closed, closed",
		} {
			want = append(want, "a "+event, "b "+event)
		}
		if !slices.Equal(log, want) {
			t.Errorf("the hooks told\n%s\nwant\n%s", strings.Join(log, "\n"), strings.Join(want, "\n"))
		}
	})
}
