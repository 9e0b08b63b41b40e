package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/wire/native"
)

// The sender hears nothing of what he says.
func ExampleConn_Others() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()
	srv.Handle("chat.say", func(ctx context.Context, m *polywire.Message) (any, error) {
		return nil, m.Conn().Others("lobby").Send(ctx, "chat.said", m.Payload())
	})
	url := listen(srv)

	ctx := context.Background()
	heard := make(chan string)
	var ann *client.Client
	for _, name := range []string{"ann", "bob"} {
		c, err := client.Dial(ctx, url)
		check(err)
		defer c.Close()
		c.Handle("chat.said", func(_ context.Context, m *polywire.Message) (any, error) {
			var text string
			err := m.Bind(&text)
			heard <- name + " heard " + text
			return nil, err
		})
		check(c.Subscribe(ctx, "lobby"))
		if name == "ann" {
			ann = c
		}
	}
	check(ann.Call(ctx, "chat.say", "hello", nil))
	fmt.Println(<-heard)
	// Output: bob heard hello
}

// Who comes back with the place that he had come to gets what he has missed.
func ExampleWithHistory() {
	srv, err := polywire.New(polywire.WithWires(native.New()),
		polywire.WithHistory("news", polywire.History{Size: 100, Age: time.Hour}))
	check(err)
	defer srv.Close()
	url := listen(srv)

	ctx := context.Background()
	heard := make(chan string, 3)
	dial := func() *client.Client {
		c, err := client.New(url)
		check(err)
		c.Handle("headline", func(_ context.Context, m *polywire.Message) (any, error) {
			var text string
			err := m.Bind(&text)
			heard <- text
			return nil, err
		})
		check(c.Connect(ctx))
		return c
	}
	first := dial()
	check(first.Subscribe(ctx, "news"))
	check(srv.Room("news").Send(ctx, "headline", "one"))
	fmt.Println(<-heard)
	place, _ := first.Conn().Position("news") // package client remembers it by itself for its reconnects
	check(first.Close())

	check(srv.Room("news").Send(ctx, "headline", "two"))
	check(srv.Room("news").Send(ctx, "headline", "three"))

	second := dial()
	defer second.Close()
	s, err := second.Conn().SubscribeFrom(ctx, "news", place)
	check(err)
	fmt.Println(<-heard, <-heard, s.Recovered)

	kept, err := srv.Room("news").History(ctx, 2)
	check(err)
	for _, m := range kept {
		fmt.Printf("%s %s\n", m.Kind, m.Args[0].Data)
	}
	// Output:
	// one
	// two three true
	// headline "two"
	// headline "three"
}

// Peers join rooms by themselves where this lets them.
func ExampleWithSubscribePolicy() {
	_, c, end := pair(func(*polywire.Server) {},
		polywire.WithSubscribePolicy(func(_ context.Context, c *polywire.Conn, room string) error {
			if strings.HasPrefix(room, "staff:") && c.User() == "" {
				return polywire.Errorf(polywire.CodeForbidden, "staff only")
			}
			return nil
		}))
	defer end()

	ctx := context.Background()
	fmt.Println(c.Subscribe(ctx, "news"))
	fmt.Println(c.Subscribe(ctx, "staff:pay"))
	fmt.Println(c.Publish(ctx, "news", "headline", "me!")) // which nobody may unless WithPublishPolicy says so
	// Output:
	// <nil>
	// forbidden: staff only
	// forbidden: not allowed on this server
}

// The members of a room, on all nodes.
func ExampleTarget_Presence() {
	srv, err := polywire.New(polywire.WithWires(native.New()),
		polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
			if !h.Hello {
				return nil, polywire.ErrAwaitHello
			}
			return &polywire.Identity{User: h.Header["user"]}, nil
		}))
	check(err)
	defer srv.Close()
	srv.Handle("mood", func(_ context.Context, m *polywire.Message) (any, error) {
		var mood string
		if err := m.Bind(&mood); err != nil {
			return nil, err
		}
		return nil, m.Conn().SetPresence(mood)
	})
	url := listen(srv)

	ctx := context.Background()
	for user, mood := range map[string]string{"ann": "busy", "bob": "bored"} {
		c, err := client.Dial(ctx, url, client.WithCredentials(func(context.Context) (map[string]string, error) {
			return map[string]string{"user": user}, nil
		}))
		check(err)
		defer c.Close()
		check(c.Subscribe(ctx, "lobby"))
		check(c.Call(ctx, "mood", mood, nil))
	}
	there, err := srv.Room("lobby").Presence(ctx)
	check(err)
	slices.SortFunc(there, func(a, b polywire.Presence) int { return strings.Compare(a.User, b.User) })
	for _, p := range there {
		fmt.Printf("%s is %s\n", p.User, p.Value)
	}
	// Output:
	// ann is "busy"
	// bob is "bored"
}

// The same key is for the same member, for as long as he is there.
func ExampleByKey() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()
	_, leave := guests(srv, "ann", "bob", "cleo")
	defer leave()

	ctx := context.Background()
	var first, again string
	check(srv.Room("party").Pick(polywire.ByKey("customer 7")).Call(ctx, "name", nil, &first))
	check(srv.Room("party").Pick(polywire.ByKey("customer 7")).Call(ctx, "name", nil, &again))
	fmt.Println(first == again)
	// Output: true
}

// Sending into an empty room is no error, unless it has to be.
func ExampleMustReach() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()

	ctx := context.Background()
	fmt.Println(srv.Room("desert").Send(ctx, "hello", nil))
	err = srv.Room("desert").Send(ctx, "hello", nil, polywire.MustReach())
	fmt.Println(errors.Is(err, polywire.ErrNoConnections))
	// Output:
	// <nil>
	// true
}

// Peers are told that the server goes, and come back: to another one, or when
// it is there again.
func ExampleServer_Shutdown() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	ctx := context.Background()
	gone := make(chan error, 1)
	c, err := client.Dial(ctx, listen(srv), client.WithoutReconnect(),
		client.WithHooks(client.Hooks{Disconnect: func(why error) { gone <- why }}))
	check(err)
	defer c.Close()

	fmt.Println(srv.State())
	check(srv.Shutdown(ctx)) // handlers that run are waited for, as long as ctx says
	fmt.Println(srv.State())
	if why, ok := errors.AsType[*polywire.CloseError](<-gone); ok {
		fmt.Println(why.Code, why.Code.Reconnect())
	}
	// Output:
	// running
	// closed
	// 3001 true
}

// Servers of one cluster share their rooms. Here it is within a process;
// package cluster/nats does it between machines.
func ExampleWithCluster() {
	engine := cluster.NewMemory()
	ctx := context.Background()
	var servers []*polywire.Server
	heard := make(chan string)
	for _, name := range []string{"ann", "bob"} {
		srv, err := polywire.New(polywire.WithWires(native.New()), polywire.WithCluster(engine))
		check(err)
		defer srv.Close()
		servers = append(servers, srv)

		c, err := client.Dial(ctx, listen(srv))
		check(err)
		defer c.Close()
		c.Handle("hello", func(context.Context, *polywire.Message) (any, error) {
			heard <- name
			return nil, nil
		})
		check(c.Subscribe(ctx, "lobby"))
	}
	check(servers[0].Room("lobby").Send(ctx, "hello", nil))
	both := []string{<-heard, <-heard}
	slices.Sort(both)
	fmt.Println(both)
	n, err := servers[1].Room("lobby").Count(ctx)
	check(err)
	fmt.Println(n)
	// Output:
	// [ann bob]
	// 2
}
