package polywiretest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/polywiretest"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/native"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func handler(f func(ctx context.Context, m *polywire.Message) (any, error)) polywire.Handler {
	return f
}

// register is a program's: a chat.
func register(srv *polywire.Server) {
	srv.Handle("join", handler(func(_ context.Context, m *polywire.Message) (any, error) {
		return m.Conn().User(), m.Conn().Join("chat")
	}))
	srv.Handle("say", handler(func(ctx context.Context, m *polywire.Message) (any, error) {
		return nil, m.Conn().Others("chat").Send(ctx, "said", m.Payload())
	}))
}

// both runs a test in real time and in a bubble.
func both(t *testing.T, f func(t *testing.T)) {
	t.Run("real time", f)
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, f) })
}

func TestConversation(t *testing.T) {
	both(t, func(t *testing.T) {
		srv := polywiretest.New(t)
		register(srv.Server)
		ana, bob := srv.Client(polywiretest.As("ana")), srv.Client(polywiretest.As("bob"))
		var user string
		ana.MustCall("join", nil, &user)
		if user != "ana" {
			t.Errorf("the server takes ana for %q", user)
		}
		bob.MustCall("join", nil, nil)
		bob.MustCall("say", "hello", nil)
		if said := polywiretest.Expect[string](ana, "said"); said != "hello" {
			t.Errorf("ana heard %q", said)
		}
		bob.ExpectNone()
		ana.ExpectNone("said")
		bob.MustSend("say", "again")
		ana.Expect("said")
		err := bob.CallError("nobody.has.this", nil, polywire.CodeNotFound)
		if !strings.Contains(err.Error(), "nobody.has.this") {
			t.Error(err)
		}
	})
}

func TestOverEveryWire(t *testing.T) {
	over := []string{
		"ws", "tcp", "polywire+http", "socketio+ws", "socketio+http", "drs+tcp", "drs+ws",
		"ws://any.host/polywire", "socketio+ws://any.host/",
	}
	for _, scheme := range over {
		t.Run(scheme, func(t *testing.T) {
			both(t, func(t *testing.T) {
				srv := polywiretest.New(t)
				register(srv.Server)
				who := "dora"
				options := []polywiretest.Option{polywiretest.Over(scheme), polywiretest.As(who)}
				if scheme == "socketio+http" {
					who, options = "", options[:1]
				}
				dora := srv.Client(options...)
				var user string
				dora.MustCall("join", nil, &user)
				if user != who {
					t.Errorf("the server takes her for %q", user)
				}
				if err := srv.Room("chat").Send(t.Context(), "said", "to all"); err != nil {
					t.Error(err)
				}
				if said := polywiretest.Expect[string](dora, "said"); said != "to all" {
					t.Errorf("she heard %q", said)
				}
			})
		})
	}
}

func TestOwnWires(t *testing.T) {
	srv := polywiretest.New(t, polywire.WithWires(native.New(native.WithPath("/elsewhere")), goomerang.New()))
	if wires := srv.Configuration().Wires; len(wires) != 2 {
		t.Errorf("wires: %v", wires)
	}
	srv.Client(polywiretest.Over("ws://any.host/elsewhere"))
}

func TestOrderAndRooms(t *testing.T) {
	both(t, func(t *testing.T) {
		srv := polywiretest.New(t, polywire.WithPublishPolicy(polywire.AllowPublish))
		a, b := srv.Client(), srv.Client()
		a.MustSubscribe("x", "y")
		b.MustPublish("x", "one", 1)
		b.MustPublish("y", "two", 2)
		b.MustPublish("x", "two", 3)
		if m := a.ExpectIn("x", "two"); string(m.Payload().Data) != "3" {
			t.Errorf("of x came %s", m.Payload().Data)
		}
		for _, want := range []string{"one", "two"} {
			if m := a.Next(); m.Kind() != want {
				t.Errorf("%s came, want %s", m.Kind(), want)
			}
		}
		a.ExpectNone()
	})
}

func TestServerCallsClient(t *testing.T) {
	srv := polywiretest.New(t)
	c := srv.Client(polywiretest.Handle("battery", handler(func(context.Context, *polywire.Message) (any, error) { return 87, nil })))
	var percent int
	if err := srv.All().Call(t.Context(), "battery", nil, &percent); err != nil || percent != 87 {
		t.Errorf("%d, %v", percent, err)
	}
	if err := srv.All().Call(t.Context(), "fuel", nil, &percent); polywire.CodeOf(err) != polywire.CodeNotFound {
		t.Errorf("a call without a handler: %v", err)
	}
	c.ExpectNone()
}

func TestIdentities(t *testing.T) {
	refusing := func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
		return nil, polywire.Errorf(polywire.CodeUnauthorized, "who are you")
	}
	srv := polywiretest.New(t, polywire.WithAuth(polywiretest.Auth(refusing)))
	srv.Handle("role", handler(func(_ context.Context, m *polywire.Message) (any, error) {
		return m.Conn().Identity().Claims["role"], nil
	}))
	admin := srv.Client(polywiretest.AsIdentity(polywire.Identity{User: "eve", Claims: map[string]any{"role": "admin"}}))
	var role string
	admin.MustCall("role", nil, &role)
	if role != "admin" {
		t.Errorf("role %q", role)
	}
	_, err := srv.Dial()
	var closed *polywire.CloseError
	if !errors.As(err, &closed) || closed.Code != polywire.CloseUnauthorized {
		t.Errorf("somebody unknown: %v", err)
	}
}

func TestIdentityThatNobodyAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := polywiretest.New(t, polywire.WithAuth(func(context.Context, *polywire.Handshake) (*polywire.Identity, error) {
			return &polywire.Identity{}, nil
		}))
		if _, err := deaf.Dial(polywiretest.As("ana")); err == nil || !strings.Contains(err.Error(), "polywiretest.Auth") {
			t.Errorf("an identity that nobody asks for: %v", err)
		}
	})
}

// An identity ends after an hour, which takes no time.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		srv := polywiretest.New(t, polywire.WithExpiryGrace(time.Second))
		c := srv.Client(polywiretest.AsIdentity(polywire.Identity{User: "ana", Expires: began.Add(time.Hour)}))
		time.Sleep(59 * time.Minute)
		c.MustSend("still.here", nil)
		time.Sleep(2 * time.Minute)
		c.ExpectClosed(polywire.CloseExpired)
	})
}

func TestClosedAndBroken(t *testing.T) {
	both(t, func(t *testing.T) {
		srv := polywiretest.New(t, polywire.WithHistory("log", polywire.History{}))
		c := srv.Client()
		if err := srv.All().Disconnect(t.Context(), polywire.CloseForceDisconnect, "enough"); err != nil {
			t.Fatal(err)
		}
		if why := c.ExpectClosed(polywire.CloseForceDisconnect); why.Reason != "enough" || !why.Remote {
			t.Errorf("%+v", why)
		}

		back := make(chan struct{}, 2)
		again := srv.Client(polywiretest.Reconnect(), polywiretest.With(client.WithBackoff(time.Millisecond, time.Millisecond),
			client.WithHooks(client.Hooks{Connect: func(*polywire.Conn) { back <- struct{}{} }})))
		<-back
		again.MustSubscribe("log")
		again.Break()
		if err := srv.Room("log").Send(t.Context(), "missed", 1); err != nil {
			t.Fatal(err)
		}
		<-back
		again.Expect("missed")
		again.ExpectNone()
	})
}

func TestCluster(t *testing.T) {
	both(t, func(t *testing.T) {
		nodes, memory := polywiretest.Cluster(t, 2, polywire.New)
		for _, n := range nodes {
			register(n.Server)
		}
		a, b := nodes[0].Client(), nodes[1].Client(polywiretest.As("bob"))
		a.MustCall("join", nil, nil)
		b.MustCall("say", "over there", nil)
		if said := polywiretest.Expect[string](a, "said"); said != "over there" {
			t.Errorf("heard %q", said)
		}
		memory.Fail()
		b.CallError("say", "nobody hears this", polywire.CodeUnavailable)
		memory.Restore()
	})
}

func TestQueues(t *testing.T) {
	both(t, func(t *testing.T) {
		srv := polywiretest.New(t, polywire.WithQueues(polywiretest.Queues(t, queue.Options{})))
		srv.Handle("order", handler(func(ctx context.Context, m *polywire.Message) (any, error) {
			return nil, m.Server().Queues().Publish(ctx, queue.Message{Queue: "orders", Payload: m.Payload()})
		}))
		srv.HandleQueue("orders", handler(func(ctx context.Context, m *polywire.Message) (any, error) {
			return nil, m.Server().All().Send(ctx, "ordered", m.Payload())
		}), queue.HandleOptions{})
		c := srv.Client()
		c.MustCall("order", "tea", nil)
		c.Expect("ordered")
		polywiretest.ExpectDone(t, srv.Queues(), "orders")
	})
}

// A program's own server, which has been started or shut down already.
func TestServe(t *testing.T) {
	own, err := polywire.New(polywire.WithWires(native.New()))
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	srv := polywiretest.Serve(t, own)
	c := srv.Client()
	if err := own.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.ExpectClosed(polywire.CloseShutdown)
	if _, err := srv.Dial(); err == nil {
		t.Error("connected to a server that has ended")
	}
}
