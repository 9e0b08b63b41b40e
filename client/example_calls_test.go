package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/native"
)

// The deadline of the context bounds a call; nothing is tried a second time.
func ExampleClient_Call() {
	srv, url := exampleServer(func(srv *polywire.Server) {
		srv.Handle("add", func(_ context.Context, m *polywire.Message) (any, error) {
			var numbers []int
			if err := m.Bind(&numbers); err != nil {
				return nil, err
			}
			sum := 0
			for _, n := range numbers {
				sum += n
			}
			return sum, nil
		})
		srv.Handle("ponder", func(ctx context.Context, _ *polywire.Message) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
	})
	defer srv.Close()

	ctx := context.Background()
	c, err := client.Dial(ctx, url)
	check(err)
	defer c.Close()
	var sum int
	check(c.Call(ctx, "add", []int{1, 2, 3}, &sum))
	fmt.Println(sum)

	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	fmt.Println(polywire.CodeOf(c.Call(short, "ponder", nil, nil)))
	// Output:
	// 6
	// deadline_exceeded
}

// Credentials are asked for before each try to connect, so that they are of then.
func ExampleWithCredentials() {
	srv, url := exampleServer(func(srv *polywire.Server) {
		srv.Handle("whoami", func(_ context.Context, m *polywire.Message) (any, error) {
			return m.Conn().User(), nil
		})
	}, polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
		if !h.Hello {
			return nil, polywire.ErrAwaitHello
		}
		return &polywire.Identity{User: h.Header["user"]}, nil
	}))
	defer srv.Close()

	ctx := context.Background()
	c, err := client.Dial(ctx, url, client.WithCredentials(func(context.Context) (map[string]string, error) {
		return map[string]string{"user": "ann"}, nil // a token, in earnest
	}))
	check(err)
	defer c.Close()
	var user string
	check(c.Call(ctx, "whoami", nil, &user))
	fmt.Println(user)
	// Output: ann
}

// A client comes back by itself and subscribes again to its rooms.
func ExampleHooks() {
	srv, url := exampleServer(func(*polywire.Server) {})
	defer srv.Close()

	connected := make(chan bool, 1)
	c, err := client.New(url,
		client.WithBackoff(time.Millisecond, time.Second),
		client.WithHooks(client.Hooks{Connect: func(*polywire.Conn) { connected <- true }}))
	check(err)
	defer c.Close()
	ctx := context.Background()
	check(c.Connect(ctx))
	<-connected
	check(c.Subscribe(ctx, "news"))

	// The server asks everybody to come back, perhaps to another one.
	check(srv.All().Disconnect(ctx, polywire.CloseForceReconnect, "rebalancing"))
	<-connected
	fmt.Println(c.State(), c.Rooms())
	// Output: running [news]
}

// The connection may be made of anything; here it is memory.
func ExampleWithNetDial() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()
	l := transporttest.NewListener()
	go srv.Serve(l, "tcp") // until the server is closed

	c, err := client.Dial(context.Background(), "tcp://memory", client.WithNetDial(l.NetDial))
	check(err)
	fmt.Println(c.Connected(), c.Conn().Wire())
	check(c.Close())
	fmt.Println(errors.Is(c.Send(context.Background(), "hello", nil), polywire.ErrClosed))
	// Output:
	// true native
	// true
}
