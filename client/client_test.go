package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/native"
)

// forms are the ways of the native wire that work in memory.
var forms = []struct {
	scheme string
	form   native.Form
}{
	{"ws", native.Proto}, {"ws", native.JSON}, {"tcp", native.Proto}, {"tcp", native.JSON},
}

func TestMessagesBothWays(t *testing.T) {
	for _, f := range forms {
		t.Run(f.scheme+" "+f.form.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				said, heard := make(chan string, 10), make(chan string, 10)
				n := newNetwork(t)
				srv := n.serve(f.scheme, func(s *polywire.Server) {
					s.Handle("echo", echo)
					s.Handle("say", into(said))
					s.Handle("who", func(ctx context.Context, m *polywire.Message) (any, error) {
						var name string
						err := m.Conn().Call(ctx, "name", nil, &name)
						return "you are " + name, err
					})
				})
				c := n.client(f.scheme, client.WithWires(native.New(native.WithForm(f.form))))
				c.Handle("name", func(context.Context, *polywire.Message) (any, error) { return "ann", nil })
				c.Handle("hear", into(heard))
				connect(t, c)

				if got := call(t, c, "echo", "hi"); got != "hi" {
					t.Errorf("the echo of hi is %q", got)
				}
				if err := c.Send(t.Context(), "say", "one way"); err != nil {
					t.Error(err)
				}
				if got := receive(t, said); got != "one way" {
					t.Errorf("the server heard %q", got)
				}
				if err := srv.All().Send(t.Context(), "hear", "to all"); err != nil {
					t.Error(err)
				}
				if got := receive(t, heard); got != "to all" {
					t.Errorf("the client heard %q", got)
				}
				if got := call(t, c, "who", ""); got != "you are ann" {
					t.Errorf("the server called back: %q", got)
				}
				var names []polywire.Answer[string]
				if err := srv.All().Call(t.Context(), "name", nil, polywire.Collect(&names)); err != nil {
					t.Error(err)
				}
				if len(names) != 1 || names[0].Value != "ann" || names[0].Err != nil {
					t.Errorf("the server collected %+v", names)
				}
				if id := c.Conn().RemoteID(); srv.Conn(id) == nil {
					t.Errorf("the server does not know %q", id)
				}
			})
		})
	}
}

func TestErrorsOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("tcp", func(s *polywire.Server) {
			s.Handle("buy", func(context.Context, *polywire.Message) (any, error) {
				return nil, &polywire.Error{Code: "sold_out", Message: "no more", Details: map[string]int{"left": 3}}
			})
			s.Handle("fault", func(context.Context, *polywire.Message) (any, error) {
				return nil, errors.New("the password is hunter2")
			})
			s.Handle("never", func(context.Context, *polywire.Message) (any, error) { return polywire.NoReply(), nil })
			s.Handle("echo", echo)
		})
		c := n.connected("tcp")
		for _, tt := range []struct {
			kind string
			want *polywire.Error
		}{
			{"buy", &polywire.Error{Code: "sold_out", Message: "no more"}},
			{"fault", &polywire.Error{Code: polywire.CodeInternal, Message: "internal error"}},
			{"unknown", &polywire.Error{Code: polywire.CodeNotFound}},
		} {
			err := c.Call(t.Context(), tt.kind, nil, nil)
			var remote *polywire.Error
			if !errors.Is(err, tt.want) || !errors.As(err, &remote) || !remote.Remote() {
				t.Errorf("%s: %v, want a remote %v", tt.kind, err, tt.want)
			}
			if tt.kind != "buy" || remote == nil {
				continue
			}
			var details map[string]int
			if err := remote.BindDetails(&details); err != nil || details["left"] != 3 {
				t.Errorf("details are %v (%v)", details, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := c.Call(ctx, "never", nil, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v, want the deadline after 1 s", time.Since(start), err)
		}
		start = time.Now()
		err := c.Call(t.Context(), "never", nil, nil)
		if late := time.Since(start) - 30*time.Second; !errors.Is(err, context.DeadlineExceeded) || late.Abs() > time.Second {
			t.Errorf("after %v: %v, want the default deadline, which is kept to the second", time.Since(start), err)
		}
		var number int
		if err := c.Call(t.Context(), "echo", "text", &number); err == nil {
			t.Error("a text was decoded into a number")
		}
		if err := c.Call(t.Context(), "echo", make(chan int), nil); err == nil {
			t.Error("a channel was sent")
		}
		if got := call(t, c, "echo", "still"); got != "still" {
			t.Errorf("the connection answers %q", got)
		}
	})
}

// Every method says in which state the client is.
func TestErrorsOfStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		srv := n.serve("tcp", nil)
		c := n.client("tcp")
		methods := map[string]func() error{
			"Send":        func() error { return c.Send(t.Context(), "kind", nil) },
			"Call":        func() error { return c.Call(t.Context(), "kind", nil, nil) },
			"Subscribe":   func() error { return c.Subscribe(t.Context(), "room") },
			"Unsubscribe": func() error { return c.Unsubscribe(t.Context(), "room") },
			"Publish":     func() error { return c.Publish(t.Context(), "room", "kind", nil) },
			"Broadcast":   func() error { return c.Broadcast(t.Context(), "kind", nil) },
		}
		all := func(state polywire.State, want error) {
			t.Helper()
			if c.State() != state {
				t.Errorf("state is %v, want %v", c.State(), state)
			}
			for name, f := range methods {
				if err := f(); !errors.Is(err, want) {
					t.Errorf("%s in state %v: %v, want %v", name, state, err, want)
				}
			}
			if c.Connected() || c.Conn() != nil {
				t.Error("it has a connection")
			}
		}
		all(polywire.StateNew, polywire.ErrNotRunning)
		connect(t, c)
		if !c.Connected() || c.Conn().Dialled() != true {
			t.Error("it has no connection that it dialled")
		}
		if err := c.Connect(t.Context()); !errors.Is(err, polywire.ErrRunning) {
			t.Errorf("Connect twice: %v", err)
		}
		srv.Close()
		synctest.Wait()
		all(polywire.StateRunning, client.ErrNotConnected)
		if err := c.Send(t.Context(), "kind", nil); polywire.CodeOf(err) != polywire.CodeUnavailable {
			t.Errorf("not connected has code %q", polywire.CodeOf(err))
		}
		c.Close()
		all(polywire.StateClosed, polywire.ErrClosed)
	})
}

// What waits for an answer when the connection breaks is told so at once.
func TestCallsInFlightEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("tcp", func(s *polywire.Server) {
			s.Handle("never", func(context.Context, *polywire.Message) (any, error) { return polywire.NoReply(), nil })
		})
		c := n.connected("tcp")
		ended := make(chan error, 20)
		for range cap(ended) {
			go func() { ended <- c.Call(t.Context(), "never", nil, nil) }()
		}
		synctest.Wait()
		start := time.Now()
		n.last().Close()
		for range cap(ended) {
			if err := receive(t, ended); !errors.Is(err, polywire.ErrConnClosed) {
				t.Errorf("a call ended with %v", err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

func TestManyCallsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("ws", func(s *polywire.Server) { s.Handle("echo", echo) })
		c := n.connected("ws")
		var all sync.WaitGroup
		for g := range 100 {
			all.Go(func() {
				for i := range 20 {
					var out string
					in := fmt.Sprintf("%d/%d", g, i)
					if err := c.Call(t.Context(), "echo", in, &out); err != nil || out != in {
						t.Errorf("echo of %s is %q, %v", in, out, err)
					}
				}
			})
		}
		all.Wait()
		if s := c.Stats(); s.MessagesIn < 2000 || s.MessagesOut < 2000 {
			t.Errorf("the statistics tell of %d in, %d out", s.MessagesIn, s.MessagesOut)
		}
	})
}

// Without options a client knows every scheme there is.
func TestDefaultWires(t *testing.T) {
	for _, scheme := range []string{
		"ws", "wss", "tcp", "tls", "unix", "polywire+http", "polywire+https",
		"socketio+http", "socketio+https", "socketio+ws", "socketio+wss",
		"drs+tcp", "drs+tls", "drs+unix", "drs+ws", "drs+wss",
		"goomerang+ws", "goomerang+wss", "sse+http", "sse+https",
	} {
		if _, err := client.New(scheme + "://host:80/path"); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		url  string
		opts []client.Option
		want string
	}{
		"scheme":       {"gopher://host", nil, "no wire for the scheme"},
		"URL":          {"tcp://host:what", nil, "invalid port"},
		"backoff":      {"tcp://host", []client.Option{client.WithBackoff(time.Second, time.Millisecond)}, "backoff"},
		"no backoff":   {"tcp://host", []client.Option{client.WithBackoff(0, time.Second)}, "backoff"},
		"dial timeout": {"tcp://host", []client.Option{client.WithDialTimeout(0)}, "dial timeout"},
		"peer":         {"tcp://host", []client.Option{client.WithPeer(polywire.WithConcurrency(0))}, "Concurrency"},
	} {
		c, err := client.New(tt.url, tt.opts...)
		if err == nil || c != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if _, dialErr := client.Dial(t.Context(), tt.url, tt.opts...); fmt.Sprint(dialErr) != fmt.Sprint(err) {
			t.Errorf("%s: Dial says %v, New %v", name, dialErr, err)
		}
	}
}

// A try that fails leaves nothing behind, and the client can try again.
func TestDialFails(t *testing.T) {
	for name, tt := range map[string]struct {
		serve func(n *network)
		opts  []client.Option
		want  error
		after time.Duration
	}{
		"nobody listens": {func(*network) {}, nil, transporttest.ErrRefused, 0},
		"nobody answers": {
			func(n *network) { n.silent() },
			[]client.Option{client.WithDialTimeout(3 * time.Second)}, context.DeadlineExceeded, 3 * time.Second,
		},
		"no credentials": {
			func(n *network) { n.serve("tcp", nil) },
			[]client.Option{client.WithCredentials(func(context.Context) (map[string]string, error) { return nil, errNoKey })},
			errNoKey, 0,
		},
		"refused": {
			func(n *network) {
				n.serve("tcp", nil, polywire.WithAuth(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
					return nil, polywire.Errorf(polywire.CodeUnauthorized, "wrong password")
				}))
			},
			nil, polywire.ErrConnClosed, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				tt.serve(n)
				c := n.client("tcp", tt.opts...)
				for range 2 {
					start := time.Now()
					err := c.Connect(t.Context())
					if !errors.Is(err, tt.want) || time.Since(start) != tt.after {
						t.Errorf("after %v: %v; want %v after %v", time.Since(start), err, tt.want, tt.after)
					}
					if c.State() != polywire.StateClosed || !errors.Is(c.Err(), tt.want) {
						t.Errorf("state %v, Err %v", c.State(), c.Err())
					}
					receive(t, c.Done())
				}
			})
		})
	}
}

var errNoKey = errors.New("the key is lost")

// silent puts a listener at the address that accepts and says nothing.
func (n *network) silent() {
	l := transporttest.NewListener()
	n.listener = l
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			defer nc.Close()
		}
	}()
	n.t.Cleanup(func() {
		l.Close()
		<-done
	})
}

func TestRefusedByAuthenticator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("ws", nil, polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
			if !h.Hello {
				return nil, polywire.ErrAwaitHello
			}
			return nil, polywire.Errorf(polywire.CodeUnauthorized, "unknown user %q", h.Header["user"])
		}))
		e := newEvents()
		c, err := client.Dial(t.Context(), "ws://server", client.WithNetDial(n.dial), e.option(),
			client.WithCredentials(func(context.Context) (map[string]string, error) { return map[string]string{"user": "eve"}, nil }))
		var refused *polywire.CloseError
		if c != nil || !errors.As(err, &refused) || refused.Code != polywire.CloseUnauthorized ||
			refused.Reason != `unknown user "eve"` || !refused.Remote {
			t.Errorf("Dial: %v (%+v), want a remote 3500 with the reason", err, refused)
		}
		if len(e.connects)+len(e.retries) > 0 {
			t.Error("it connected, or tries again")
		}
	})
}
