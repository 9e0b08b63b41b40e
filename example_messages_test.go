package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/socketio"
)

// pair returns a server with handlers, and a client of it.
func pair(register func(srv *polywire.Server), opts ...polywire.Option) (srv *polywire.Server, c *client.Client, end func()) {
	srv, err := polywire.New(append(opts, polywire.WithWires(native.New()))...)
	check(err)
	register(srv)
	c, err = client.Dial(context.Background(), listen(srv))
	check(err)
	return srv, c, func() {
		c.Close()
		srv.Close()
	}
}

// Kinds are exact names, beginnings, or all that is left.
func ExampleServer_Handle() {
	_, c, end := pair(func(srv *polywire.Server) {
		srv.Handle("greet", func(_ context.Context, m *polywire.Message) (any, error) {
			var name string
			if err := m.Bind(&name); err != nil {
				return nil, err // a bad_request, to the caller
			}
			return "hello " + name, nil
		})
		srv.Handle("*", func(_ context.Context, m *polywire.Message) (any, error) {
			return nil, polywire.Errorf(polywire.CodeNotFound, "nobody knows %s", m.Kind())
		})
	})
	defer end()

	ctx := context.Background()
	var greeting string
	check(c.Call(ctx, "greet", "ann", &greeting))
	fmt.Println(greeting)
	fmt.Println(c.Call(ctx, "greet", 7, &greeting) != nil)
	fmt.Println(c.Call(ctx, "sing", nil, nil))
	// Output:
	// hello ann
	// true
	// not_found: nobody knows sing
}

// Details travel with an error, and are decoded when they are asked for.
func ExampleErrorf() {
	type Stock struct{ Left int }
	_, c, end := pair(func(srv *polywire.Server) {
		srv.Handle("buy", func(context.Context, *polywire.Message) (any, error) {
			err := polywire.Errorf("shop.sold_out", "only a few are left")
			err.Details = Stock{Left: 3}
			return nil, err
		})
		srv.Handle("break", func(context.Context, *polywire.Message) (any, error) {
			return nil, errors.New("password of the database: hunter2")
		})
	})
	defer end()

	ctx := context.Background()
	err := c.Call(ctx, "buy", 5, nil)
	if refused, ok := errors.AsType[*polywire.Error](err); ok && refused.Code == "shop.sold_out" {
		var stock Stock
		check(refused.BindDetails(&stock))
		fmt.Println(refused.Message+":", stock.Left)
	}
	fmt.Println(c.Call(ctx, "break", nil, nil)) // the text of other errors stays in the log
	// Output:
	// only a few are left: 3
	// internal: internal error
}

// A handler may ask the peer that asked it.
func ExampleConn_Call() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()
	srv.Handle("delete", func(ctx context.Context, m *polywire.Message) (any, error) {
		var sure bool
		if err := m.Conn().Call(ctx, "sure?", m.Payload(), &sure); err != nil {
			return nil, err
		}
		return map[bool]string{true: "deleted", false: "kept"}[sure], nil
	})

	ctx := context.Background()
	c, err := client.New(listen(srv))
	check(err)
	defer c.Close()
	c.Handle("sure?", func(_ context.Context, m *polywire.Message) (any, error) {
		var file string
		err := m.Bind(&file)
		return file != "novel.txt", err
	})
	check(c.Connect(ctx))
	for _, file := range []string{"draft.txt", "novel.txt"} {
		var answer string
		check(c.Call(ctx, "delete", file, &answer))
		fmt.Println(file, answer)
	}
	// Output:
	// draft.txt deleted
	// novel.txt kept
}

// Several arguments in both directions, as Socket.IO's clients have them.
func ExampleArgs() {
	srv, err := polywire.New(polywire.WithWires(socketio.New()))
	check(err)
	defer srv.Close()
	srv.Handle("divide", func(_ context.Context, m *polywire.Message) (any, error) {
		var a, b int
		if err := m.Bind(&a, &b); err != nil {
			return nil, err
		}
		return polywire.Args{a / b, a % b}, nil
	})

	ctx := context.Background()
	c, err := client.Dial(ctx, "socketio+"+listen(srv))
	check(err)
	defer c.Close()
	var quotient, rest int
	check(c.Call(ctx, "divide", polywire.Args{17, 5}, polywire.Into(&quotient, &rest)))
	fmt.Println(quotient, rest)
	// Output: 3 2
}

// Steps of one handler tell each other something, and the first error ends it.
func ExampleChain() {
	type account struct{ name string }
	find := func(_ context.Context, m *polywire.Message) (any, error) {
		var name string
		if err := m.Bind(&name); err != nil {
			return nil, err
		}
		if name == "eve" {
			return nil, polywire.Errorf(polywire.CodeForbidden, "not you")
		}
		m.SetValue("account", account{name})
		return nil, nil
	}
	greet := func(_ context.Context, m *polywire.Message) (any, error) {
		return "welcome " + m.Value("account").(account).name, nil
	}
	_, c, end := pair(func(srv *polywire.Server) { srv.Handle("enter", polywire.Chain(find, greet)) })
	defer end()

	for _, name := range []string{"ann", "eve"} {
		var answer string
		err := c.Call(context.Background(), "enter", name, &answer)
		fmt.Println(answer, err)
	}
	// Output:
	// welcome ann <nil>
	//  forbidden: not you
}

// A typed handler finds its message, and the connection, in its context.
func ExampleMessageFrom() {
	type Wish struct{ Room string }
	type Done struct{ Members int }
	srv, c, end := pair(func(srv *polywire.Server) {
		polywire.HandleFunc(srv, "join", func(ctx context.Context, in *Wish) (*Done, error) {
			m := polywire.MessageFrom(ctx)
			if err := m.Conn().Join(in.Room); err != nil {
				return nil, err
			}
			n, err := m.Server().Room(in.Room).Count(ctx)
			return &Done{n}, err
		})
	})
	defer end()

	var done Done
	check(c.Call(context.Background(), "join", Wish{"chess"}, &done))
	fmt.Println(done.Members, srv.Rooms())
	// Output: 1 [chess]
}

// Hooks watch, and change nothing.
func ExampleHooks() {
	_, c, end := pair(func(srv *polywire.Server) {
		srv.Handle("add", func(context.Context, *polywire.Message) (any, error) { return 3, nil })
		srv.Handle("fall", func(context.Context, *polywire.Message) (any, error) { panic("over") })
	}, polywire.WithHooks(polywire.Hooks{
		AfterHandle: func(m *polywire.Message, took time.Duration, _ any, err error) {
			fmt.Printf("%s took less than an hour: %t, %q\n", m.Kind(), took < time.Hour, polywire.CodeOf(err))
		},
	}))
	defer end()

	ctx := context.Background()
	check(c.Call(ctx, "add", nil, nil))
	_ = c.Call(ctx, "fall", nil, nil)
	// Output:
	// add took less than an hour: true, ""
	// fall took less than an hour: true, "internal"
}

// Without Timeout the wait ends with the context, or after 30 s.
func ExampleTimeout() {
	_, c, end := pair(func(srv *polywire.Server) {
		srv.Handle("silence", func(context.Context, *polywire.Message) (any, error) {
			return polywire.NoReply(), nil
		})
	})
	defer end()

	err := c.Call(context.Background(), "silence", nil, nil, polywire.Timeout(time.Millisecond))
	fmt.Println(errors.Is(err, context.DeadlineExceeded), polywire.CodeOf(err))
	// Output: true deadline_exceeded
}

// Headers go both ways, on wires that carry them.
func ExampleWithHeader() {
	_, c, end := pair(func(srv *polywire.Server) {
		srv.Handle("page", func(_ context.Context, m *polywire.Message) (any, error) {
			m.SetReplyHeader("language", m.Header("language"))
			return "Moin", nil
		})
	})
	defer end()

	var page string
	var header map[string]string
	check(c.Call(context.Background(), "page", nil, &page, polywire.WithHeader("language", "nds"), polywire.ReplyHeaders(&header)))
	fmt.Println(page, header["language"])
	// Output: Moin nds
}

// Messages of a queue go to a handler like any other, and come again until it
// has returned nil.
func ExampleServer_HandleQueue() {
	broker, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	check(err)
	srv, err := polywire.New(polywire.WithWires(native.New()), polywire.WithQueues(broker))
	check(err)
	defer srv.Close()
	done := make(chan string)
	srv.HandleQueue("mails", func(_ context.Context, m *polywire.Message) (any, error) {
		if m.Delivery().Attempt == 1 {
			return nil, errors.New("no connection to the mail server")
		}
		var to string
		err := m.Bind(&to)
		done <- fmt.Sprintf("%s to %s, attempt %d", m.Kind(), to, m.Delivery().Attempt)
		return nil, err
	}, queue.HandleOptions{Backoff: queue.Backoff{Min: 10 * time.Millisecond}})
	check(srv.Start())

	check(broker.Publish(context.Background(), queue.Message{
		Queue: "mails", Kind: "mail.welcome", Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte(`"ann@example.com"`)},
	}))
	fmt.Println(<-done)
	// Output: mail.welcome to ann@example.com, attempt 2
}
