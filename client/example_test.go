package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/wire/native"
)

// exampleServer serves on a free port and returns the URL to dial.
func exampleServer(register func(srv *polywire.Server), opts ...polywire.Option) (srv *polywire.Server, url string) {
	srv, err := polywire.New(append(opts, polywire.WithWires(native.New()))...)
	check(err)
	register(srv)
	l, scheme, err := srv.Listen("ws://127.0.0.1:0")
	check(err)
	go srv.Serve(l, scheme) // until the server is closed
	return srv, scheme + "://" + l.Addr().String()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleDial() {
	srv, url := exampleServer(func(srv *polywire.Server) {
		srv.Handle("greet", func(_ context.Context, m *polywire.Message) (any, error) {
			var name string
			if err := m.Bind(&name); err != nil {
				return nil, err
			}
			return "hello " + name, nil
		})
	})
	defer srv.Close()

	ctx := context.Background()
	c, err := client.Dial(ctx, url)
	check(err)
	defer c.Close()

	var greeting string
	check(c.Call(ctx, "greet", "ann", &greeting))
	fmt.Println(greeting)

	err = c.Call(ctx, "unheard of", nil, nil)
	fmt.Println(polywire.CodeOf(err))
	// Output:
	// hello ann
	// not_found
}

// Register handlers before Connect when the first message must not be missed.
func ExampleClient_Handle() {
	srv, url := exampleServer(func(*polywire.Server) {})
	defer srv.Close()

	c, err := client.New(url)
	check(err)
	defer c.Close()
	c.Handle("battery", func(context.Context, *polywire.Message) (any, error) {
		return 87, nil
	})
	ctx := context.Background()
	check(c.Connect(ctx))

	var percent int
	check(srv.All().Call(ctx, "battery", nil, &percent))
	fmt.Println("the server was told:", percent)
	// Output: the server was told: 87
}

func ExampleClient_Subscribe() {
	srv, url := exampleServer(func(*polywire.Server) {}, polywire.WithPublishPolicy(polywire.AllowPublish))
	defer srv.Close()

	ctx := context.Background()
	c, err := client.Dial(ctx, url)
	check(err)
	defer c.Close()
	heard := make(chan string)
	c.Handle("weather", func(_ context.Context, m *polywire.Message) (any, error) {
		var text string
		err := m.Bind(&text)
		heard <- m.Room() + ": " + text
		return nil, err
	})
	check(c.Subscribe(ctx, "hamburg"))
	check(c.Publish(ctx, "hamburg", "weather", "rain"))
	fmt.Println(<-heard)
	// Output: hamburg: rain
}

// The server says whether a client is to come back.
func ExampleClient_Err() {
	srv, url := exampleServer(func(*polywire.Server) {})
	defer srv.Close()

	c, err := client.Dial(context.Background(), url)
	check(err)
	defer c.Close()
	check(srv.All().Disconnect(context.Background(), polywire.CloseForceDisconnect, "this account was closed"))

	<-c.Done()
	if why, ok := errors.AsType[*polywire.CloseError](c.Err()); ok {
		fmt.Println(why.Code, why.Reason)
	}
	// Output: 3503 this account was closed
}
