package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/wire/native"
)

// listen serves on a free port and returns the URL to dial.
func listen(srv *polywire.Server) (url string) {
	l, scheme, err := srv.Listen("ws://127.0.0.1:0")
	check(err)
	go srv.Serve(l, scheme) // until the server is closed
	return scheme + "://" + l.Addr().String()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func Example() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	srv.Handle("greet", func(_ context.Context, m *polywire.Message) (any, error) {
		var name string
		if err := m.Bind(&name); err != nil {
			return nil, err
		}
		return "hello " + name, nil
	})
	url := listen(srv) // or http.ListenAndServe(":8080", srv), or srv.ListenAndServe("ws://:8080", "tcp://:7000")

	ctx := context.Background()
	c, err := client.Dial(ctx, url)
	check(err)
	defer c.Close()
	var greeting string
	check(c.Call(ctx, "greet", "ann", &greeting))
	fmt.Println(greeting)

	check(srv.Shutdown(ctx))
	fmt.Println(srv.State())
	// Output:
	// hello ann
	// closed
}

// A server is an http.Handler, so its wires live beside an application's routes.
func ExampleServer() {
	srv, err := polywire.New(
		polywire.WithWires(native.New()),
		polywire.WithHooks(polywire.Hooks{
			Connect: func(c *polywire.Conn) { fmt.Println("connected over", c.Wire()) },
		}),
	)
	check(err)
	defer srv.Close()
	srv.Handle("join", func(ctx context.Context, m *polywire.Message) (any, error) {
		var room string
		if err := m.Bind(&room); err != nil {
			return nil, err
		}
		if err := m.Conn().Join(room); err != nil {
			return nil, err
		}
		return m.Conn().Server().Room(room).Count(ctx)
	})
	url := listen(srv)

	ctx := context.Background()
	for range 3 {
		c, err := client.Dial(ctx, url)
		check(err)
		defer c.Close()
		var members int
		check(c.Call(ctx, "join", "chess", &members))
		fmt.Println("members:", members)
	}
	fmt.Println("rooms:", srv.Rooms())
	// Output:
	// connected over native
	// members: 1
	// connected over native
	// members: 2
	// connected over native
	// members: 3
	// rooms: [chess]
}

func ExampleHandleFunc() {
	type Order struct {
		Item  string
		Count int
	}
	type Receipt struct{ Total int }
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()
	polywire.HandleFunc(srv, "order", func(_ context.Context, in *Order) (*Receipt, error) {
		if in.Count < 1 {
			return nil, polywire.Errorf(polywire.CodeBadRequest, "how many of %s?", in.Item)
		}
		return &Receipt{Total: 3 * in.Count}, nil
	})

	ctx := context.Background()
	c, err := client.Dial(ctx, listen(srv))
	check(err)
	defer c.Close()
	var r Receipt
	check(c.Call(ctx, "order", Order{"tea", 4}, &r))
	fmt.Println("total:", r.Total)
	fmt.Println(c.Call(ctx, "order", Order{Item: "tea"}, &r))
	fmt.Println(polywire.CodeOf(c.Call(ctx, "order", "not an order", &r)))
	// Output:
	// total: 12
	// bad_request: how many of tea?
	// bad_request
}

// guests connects clients that answer "name", each in a room of that name and all in "party".
func guests(srv *polywire.Server, names ...string) (heard chan string, leave func()) {
	heard = make(chan string, 10)
	url := listen(srv)
	var all []*client.Client
	for _, name := range names {
		c, err := client.New(url)
		check(err)
		c.Handle("name", func(context.Context, *polywire.Message) (any, error) { return name, nil })
		c.Handle("say", func(_ context.Context, m *polywire.Message) (any, error) {
			var text string
			err := m.Bind(&text)
			heard <- name + " heard " + text
			return nil, err
		})
		check(c.Connect(context.Background()))
		check(c.Subscribe(context.Background(), "party"))
		check(c.Subscribe(context.Background(), name))
		all = append(all, c)
	}
	return heard, func() {
		for _, c := range all {
			c.Close()
		}
	}
}

func ExampleTarget_Send() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()
	heard, leave := guests(srv, "ann", "bob", "cleo")
	defer leave()

	ctx := context.Background()
	check(srv.Room("bob").Send(ctx, "say", "psst"))
	fmt.Println(<-heard)

	check(srv.To("party", "ann").Except("bob").Send(ctx, "say", "dinner"))
	both := []string{<-heard, <-heard}
	slices.Sort(both)
	fmt.Println(strings.Join(both, "\n"))
	// Output:
	// bob heard psst
	// ann heard dinner
	// cleo heard dinner
}

func ExampleTarget_Call() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()
	_, leave := guests(srv, "ann", "bob", "cleo")
	defer leave()

	ctx := context.Background()
	var answers []polywire.Answer[string]
	check(srv.Room("party").Call(ctx, "name", nil, polywire.Collect(&answers)))
	var names []string
	for _, a := range answers {
		check(a.Err)
		names = append(names, a.Value)
	}
	slices.Sort(names)
	fmt.Println(names)

	var one string
	check(srv.Room("cleo").Call(ctx, "name", nil, &one))
	fmt.Println(one)
	fmt.Println(errors.Is(srv.Room("empty").Call(ctx, "name", nil, &one), polywire.ErrNoConnections))
	// Output:
	// [ann bob cleo]
	// cleo
	// true
}

func ExampleTarget_Pick() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()
	_, leave := guests(srv, "ann", "bob", "cleo")
	defer leave()

	turns := srv.Room("party").Pick(polywire.RoundRobin())
	for range 4 {
		var name string
		check(turns.Call(context.Background(), "name", nil, &name))
		fmt.Println(name)
	}
	// Output:
	// ann
	// bob
	// cleo
	// ann
}

// A pattern of one's own: the last one who came.
func ExamplePattern() {
	newest := func(members []polywire.Member) []polywire.Member {
		last := slices.MaxFunc(members, func(a, b polywire.Member) int { return a.OpenedAt().Compare(b.OpenedAt()) })
		return []polywire.Member{last}
	}
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()
	_, leave := guests(srv, "ann", "bob", "cleo")
	defer leave()

	var name string
	check(srv.Room("party").Pick(newest).Call(context.Background(), "name", nil, &name))
	fmt.Println(name)
	// Output: cleo
}

// trace prints the words that pass it.
type trace struct{ name string }

func (p trace) Handler(next polywire.Handler) polywire.Handler {
	return func(ctx context.Context, m *polywire.Message) (any, error) {
		fmt.Printf("%s in:  %s\n", p.name, m.Payload().Data)
		return next(ctx, m)
	}
}

func (p trace) Sender(next polywire.Sender) polywire.Sender {
	return func(ctx context.Context, o *polywire.Outgoing) error {
		fmt.Printf("%s out: %v\n", p.name, o.Value)
		return next(ctx, o)
	}
}

// upper makes words loud on the way in, and quiet on the way out.
type upper struct{}

func (upper) Handler(next polywire.Handler) polywire.Handler {
	return func(ctx context.Context, m *polywire.Message) (any, error) {
		p := m.Payload()
		p.Data = []byte(strings.ToUpper(string(p.Data)))
		m.SetPayload(p)
		return next(ctx, m)
	}
}

func (upper) Sender(next polywire.Sender) polywire.Sender {
	return func(ctx context.Context, o *polywire.Outgoing) error {
		if word, ok := o.Value.(string); ok {
			o.Value = strings.ToLower(word)
		}
		return next(ctx, o)
	}
}

// What comes in passes the pipes in the order of their registration, and what
// goes out passes them backwards.
func ExamplePipe() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()
	srv.Pipe(trace{"A"}, upper{}, trace{"C"})
	srv.Handle("hello", func(_ context.Context, m *polywire.Message) (any, error) {
		var word string
		if err := m.Bind(&word); err != nil {
			return nil, err
		}
		fmt.Println("handler:", word)
		return word + " WORLD", nil
	})

	ctx := context.Background()
	c, err := client.Dial(ctx, listen(srv))
	check(err)
	defer c.Close()
	var answer string
	check(c.Call(ctx, "hello", "hello", &answer))
	fmt.Println("answer:", answer)
	// Output:
	// A in:  "hello"
	// C in:  "HELLO"
	// handler: HELLO
	// C out: HELLO WORLD
	// A out: hello world
	// answer: hello world
}

// The first middleware is the outermost.
func ExampleServer_Use() {
	named := func(name string) polywire.Middleware {
		return func(next polywire.Handler) polywire.Handler {
			return func(ctx context.Context, m *polywire.Message) (any, error) {
				fmt.Println(name, "before", m.Kind())
				defer fmt.Println(name, "after", m.Kind())
				return next(ctx, m)
			}
		}
	}
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	defer srv.Close()
	srv.Use(named("outer"), named("inner"))
	srv.Handle("ping", func(context.Context, *polywire.Message) (any, error) { return "pong", nil })

	ctx := context.Background()
	c, err := client.Dial(ctx, listen(srv))
	check(err)
	defer c.Close()
	check(c.Call(ctx, "ping", nil, nil))
	// Output:
	// outer before ping
	// inner before ping
	// inner after ping
	// outer after ping
}

func ExampleWithAuth() {
	srv, err := polywire.New(
		polywire.WithWires(native.New()),
		polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
			if !h.Hello { // headers come with the client's first message
				return nil, polywire.ErrAwaitHello
			}
			user, ok := map[string]string{"s3cret": "ann"}[h.Header["token"]]
			if !ok {
				return nil, polywire.Errorf(polywire.CodeUnauthorized, "unknown token")
			}
			return &polywire.Identity{User: user}, nil
		}),
	)
	check(err)
	defer srv.Close()
	srv.Handle("whoami", func(_ context.Context, m *polywire.Message) (any, error) {
		return m.Conn().User(), nil
	})
	url := listen(srv)

	ctx := context.Background()
	for _, token := range []string{"s3cret", "guessed"} {
		c, err := client.Dial(ctx, url, client.WithCredentials(func(context.Context) (map[string]string, error) {
			return map[string]string{"token": token}, nil
		}))
		if refused, ok := errors.AsType[*polywire.CloseError](err); ok {
			fmt.Println(refused.Code, refused.Reason)
			continue
		}
		check(err)
		defer c.Close()
		var user string
		check(c.Call(ctx, "whoami", nil, &user))
		fmt.Println(user)
	}
	// Output:
	// ann
	// 3500 unknown token
}

func ExampleMux() {
	mux := polywire.NewMux()
	for _, pattern := range []string{"chat.say", "chat.*", "chat.admin.*", "*"} {
		mux.Handle(pattern, func(context.Context, *polywire.Message) (any, error) { return pattern, nil })
	}
	for _, kind := range []string{"chat.say", "chat.leave", "chat.admin.ban", "weather"} {
		picked, err := mux.Lookup(kind)(context.Background(), nil)
		check(err)
		fmt.Println(kind, "is for", picked)
	}
	mux.Handle("chat.say", nil)
	fmt.Println(errors.Is(mux.Err(), polywire.ErrConfig))
	// Output:
	// chat.say is for chat.say
	// chat.leave is for chat.*
	// chat.admin.ban is for chat.admin.*
	// weather is for *
	// true
}
