package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
)

var errForbidden = &polywire.Error{Code: polywire.CodeForbidden}

func TestPolicies(t *testing.T) {
	allow := []polywire.Option{
		polywire.WithPublishPolicy(polywire.AllowPublish),
		polywire.WithBroadcastPolicy(polywire.AllowBroadcast),
	}
	refuse := []polywire.Option{
		polywire.WithSubscribePolicy(func(context.Context, *polywire.Conn, string) error { return errors.New("private words") }),
	}
	some := []polywire.Option{
		polywire.WithPublishPolicy(func(_ context.Context, c *polywire.Conn, room, kind string) error {
			if room == "room" && kind == "news" {
				return nil
			}
			return polywire.Errorf(polywire.CodeForbidden, "only news")
		}),
	}
	for _, tt := range []struct {
		name                          string
		opts                          []polywire.Option
		subscribe, publish, broadcast error
	}{
		{"default", nil, nil, errForbidden, errForbidden},
		{"all allowed", allow, nil, nil, nil},
		{"all refused", refuse, errForbidden, errForbidden, errForbidden},
		{"some allowed", some, nil, nil, errForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				srv := n.serve("tcp", nil, tt.opts...)
				heard := make(chan string, 10)
				listener, speaker := n.client("tcp"), n.connected("tcp")
				listener.Handle("news", into(heard))
				connect(t, listener)
				check := func(what string, err, want error, members int) {
					t.Helper()
					if !errors.Is(err, want) || err != nil && strings.Contains(err.Error(), "private") {
						t.Errorf("%s: %v, want %v", what, err, want)
					}
					if want != nil || members == 0 {
						return
					}
					if got := receive(t, heard); got != what {
						t.Errorf("heard %q, want %q", got, what)
					}
				}
				check("subscribe", listener.Subscribe(t.Context(), "room"), tt.subscribe, 0)
				if got := len(srv.Room("room").Conns()) == 1; got != (tt.subscribe == nil) {
					t.Errorf("the room has %d members", len(srv.Room("room").Conns()))
				}
				check("publish", speaker.Publish(t.Context(), "room", "news", "publish"), tt.publish, 1)
				check("broadcast", speaker.Broadcast(t.Context(), "news", "broadcast"), tt.broadcast, 1)
				if got := len(listener.Rooms()) == 1; got != (tt.subscribe == nil) {
					t.Errorf("the client thinks it is in %v", listener.Rooms())
				}
				check("reserved", listener.Subscribe(t.Context(), "$system"), errForbidden, 0)
				if err := listener.Unsubscribe(t.Context(), "room"); err != nil || len(srv.Room("room").Conns()) != 0 {
					t.Errorf("unsubscribe: %v, %d members", err, len(srv.Room("room").Conns()))
				}
				synctest.Wait()
				if len(heard) > 0 {
					t.Errorf("%q was heard besides", <-heard)
				}
			})
		})
	}
}

// Where both sides know a kind's code, its name is not on the wire; where they
// do not, everything works by the name.
func TestCodes(t *testing.T) {
	const kind = "a.kind.with.a.long.name"
	for _, tt := range []struct {
		name           string
		client, server uint32
		named          bool
	}{
		{"both", 7, 7, false},
		{"none", 0, 0, true},
		{"the client alone", 7, 0, true},
		{"the server alone", 0, 7, true},
		{"different ones", 7, 8, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				heard := make(chan string, 10)
				srv := n.serve("tcp", func(s *polywire.Server) { // not masked, as it would be on a WebSocket
					s.Handle(kind, echo)
					if s.Code("other", 99); tt.server != 0 {
						s.Code(kind, tt.server)
					}
				}, polywire.WithPublishPolicy(polywire.AllowPublish))
				c := n.client("tcp")
				c.Handle(kind, into(heard))
				if c.Code("third", 98); tt.client != 0 {
					c.Code(kind, tt.client)
				}
				connect(t, c)
				if err := c.Subscribe(t.Context(), "room"); err != nil {
					t.Fatal(err)
				}
				n.last().forget() // the hello and the welcome name the codes

				if got := call(t, c, kind, "call"); got != "call" {
					t.Errorf("the call answered %q", got)
				}
				if err := c.Publish(t.Context(), "room", kind, "publish"); err != nil {
					t.Error(err)
				}
				if err := srv.All().Send(t.Context(), kind, "all"); err != nil {
					t.Error(err)
				}
				if err := srv.Conn(c.Conn().RemoteID()).Send(t.Context(), kind, "one"); err != nil {
					t.Error(err)
				}
				for _, want := range []string{"publish", "all", "one"} {
					if got := receive(t, heard); got != want {
						t.Errorf("heard %q, want %q", got, want)
					}
				}
				if sent, came := n.last().carried(kind); sent != tt.named || came != tt.named {
					t.Errorf("the kind's name was sent: %v, came: %v, want %v", sent, came, tt.named)
				}
				if sent, came := n.last().carried("publish"); !sent || !came {
					t.Error("the recording misses what was said")
				}
			})
		})
	}
}

// tracePipe notes what passes it.
type tracePipe struct {
	name string
	log  *[]string
}

func (p tracePipe) Handler(next polywire.Handler) polywire.Handler {
	return func(ctx context.Context, m *polywire.Message) (any, error) {
		*p.log = append(*p.log, p.name+" in")
		return next(ctx, m)
	}
}

func (p tracePipe) Sender(next polywire.Sender) polywire.Sender {
	return func(ctx context.Context, o *polywire.Outgoing) error {
		*p.log = append(*p.log, p.name+" out")
		if o.Kind == "stop" {
			return errStopped
		}
		return next(ctx, o)
	}
}

var errStopped = errors.New("the pipe does not let it through")

func TestMiddlewareAndPipes(t *testing.T) {
	var log []string
	note := func(name string) polywire.Middleware {
		return func(next polywire.Handler) polywire.Handler {
			return func(ctx context.Context, m *polywire.Message) (any, error) {
				log = append(log, name)
				return next(ctx, m)
			}
		}
	}
	for _, tt := range []struct {
		name string
		do   func(ctx context.Context, srv *polywire.Server, c *client.Client) error
		want string
		err  error
	}{
		{"incoming call", func(ctx context.Context, srv *polywire.Server, _ *client.Client) error {
			return srv.All().Call(ctx, "echo", "x", nil)
		}, "m1 m2 A in B in handler B out A out", nil},
		{"send", func(ctx context.Context, _ *polywire.Server, c *client.Client) error {
			return c.Send(ctx, "echo", "x")
		}, "B out A out", nil},
		{"call", func(ctx context.Context, _ *polywire.Server, c *client.Client) error {
			return c.Call(ctx, "echo", "x", nil)
		}, "B out A out", nil},
		{"broadcast", func(ctx context.Context, _ *polywire.Server, c *client.Client) error {
			return c.Broadcast(ctx, "unheard", "x")
		}, "B out A out m1 m2 A in B in", nil},
		{"direct", func(ctx context.Context, _ *polywire.Server, c *client.Client) error {
			return c.Call(ctx, "echo", "x", nil, polywire.Direct())
		}, "", nil},
		{"stopped", func(ctx context.Context, _ *polywire.Server, c *client.Client) error {
			return c.Call(ctx, "stop", "x", nil)
		}, "B out", errStopped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				srv := n.serve("tcp", func(s *polywire.Server) { s.Handle("echo", echo) },
					polywire.WithBroadcastPolicy(polywire.AllowBroadcast))
				c := n.client("tcp")
				c.Use(note("m1"), note("m2"))
				c.Pipe(tracePipe{"A", &log}, tracePipe{"B", &log})
				c.Handle("echo", func(ctx context.Context, m *polywire.Message) (any, error) {
					log = append(log, "handler")
					return echo(ctx, m)
				})
				connect(t, c)
				log = nil
				if err := tt.do(t.Context(), srv, c); !errors.Is(err, tt.err) {
					t.Errorf("%v, want %v", err, tt.err)
				}
				synctest.Wait()
				if got := strings.Join(log, " "); got != tt.want {
					t.Errorf("it went through %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// Headers travel in both directions, and a typed handler works on a client.
func TestHeadersAndTypedHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type sum struct{ A, B int }
		n := newNetwork(t)
		srv := n.serve("ws", func(s *polywire.Server) {
			s.Handle("tell", func(_ context.Context, m *polywire.Message) (any, error) { return m.Header("trace"), nil })
		})
		c := n.client("ws")
		polywire.HandleFunc(c, "add", func(_ context.Context, in *sum) (*int, error) {
			total := in.A + in.B
			return &total, nil
		})
		connect(t, c)
		var out string
		if err := c.Call(t.Context(), "tell", nil, &out, polywire.WithHeader("trace", "1234")); err != nil || out != "1234" {
			t.Errorf("the header is %q, %v", out, err)
		}
		var total int
		if err := srv.All().Call(t.Context(), "add", sum{2, 3}, &total); err != nil || total != 5 {
			t.Errorf("2 and 3 is %d, %v", total, err)
		}
		err := srv.All().Call(t.Context(), "add", "text", &total)
		if !errors.Is(err, &polywire.Error{Code: polywire.CodeBadRequest}) {
			t.Errorf("a text where numbers belong: %v", err)
		}
	})
}

// A hello that cannot be sent ends the try, and leaves nothing behind that
// Close would wait for.
func TestHelloThatCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("ws", nil)
		c := n.client("ws", client.WithCredentials(func(context.Context) (map[string]string, error) {
			return map[string]string{"token": "\xff is not UTF-8"}, nil
		}))
		if err := c.Connect(t.Context()); err == nil {
			t.Error("it was sent")
		}
		closedByItself := c.Err()
		if closedByItself == nil || c.State() != polywire.StateClosed {
			t.Errorf("state %v, Err %v", c.State(), closedByItself)
		}
	})
}

// The wait for an answer ends to the millisecond, and the earlier of the two bounds wins.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("tcp", func(s *polywire.Server) {
			s.Handle("never", func(context.Context, *polywire.Message) (any, error) { return polywire.NoReply(), nil })
			s.Handle("echo", echo)
		})
		c := n.connected("tcp")
		for _, tt := range []struct {
			within, deadline, want time.Duration
		}{
			{300 * time.Millisecond, 0, 300 * time.Millisecond},
			{2 * time.Second, 0, 2 * time.Second}, // a second one on the same connection
			{2 * time.Second, time.Minute, 2 * time.Second},
			{time.Minute, time.Second, time.Second},
			{90 * time.Second, 0, 90 * time.Second}, // longer than what holds otherwise
			{-1, time.Second, time.Second},
		} {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if tt.deadline > 0 {
				ctx, cancel = context.WithTimeout(ctx, tt.deadline)
			}
			start := time.Now()
			err := c.Call(ctx, "never", nil, nil, polywire.Timeout(tt.within))
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != tt.want {
				t.Errorf("within %v, deadline %v: %v after %v", tt.within, tt.deadline, err, took)
			}
			cancel()
			var out string
			if err := c.Call(t.Context(), "echo", "hi", &out, polywire.Timeout(time.Second)); err != nil || out != "hi" {
				t.Errorf("a call that is answered: %q, %v", out, err)
			}
		}
	})
}

// The bound holds, too, for a call that waits until the server reads.
func TestTimeoutWhileNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		hold := make(chan struct{})
		n.serve("tcp", func(s *polywire.Server) {
			s.Handle("hold", func(context.Context, *polywire.Message) (any, error) { <-hold; return nil, nil })
		}, polywire.WithMaxMessageBytes(4<<20))
		c := n.connected("tcp")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var senders sync.WaitGroup
		for range 20 {
			senders.Go(func() { _ = c.Send(ctx, "hold", make([]byte, 256<<10)) }) // some of them for as long as nobody reads
		}
		synctest.Wait()
		start := time.Now()
		err := c.Call(t.Context(), "hold", nil, nil, polywire.Timeout(2*time.Second))
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 2*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		cancel()
		close(hold)
		senders.Wait()
	})
}
