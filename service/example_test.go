package service_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/service"
	"github.com/polywire/polywire/wire/native"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// program is another program, at an address of its own.
func program(register func(srv *polywire.Server)) (url string, end func()) {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	register(srv)
	l, scheme, err := srv.Listen("tcp://127.0.0.1:0")
	check(err)
	go srv.Serve(l, scheme) // until the server is closed
	return scheme + "://" + l.Addr().String(), func() { srv.Close() }
}

// Other programs by name; each has some connections to each address.
func ExampleRegistry_Register() {
	url, end := program(func(srv *polywire.Server) {
		srv.Handle("user.name", func(_ context.Context, m *polywire.Message) (any, error) {
			var id int
			if err := m.Bind(&id); err != nil {
				return nil, err
			}
			return map[int]string{1: "ann", 2: "bob"}[id], nil
		})
	})
	defer end()

	services := service.New(service.WithTimeout(30 * time.Second))
	defer services.Close()
	users, err := services.Register("users", []string{url}, service.WithConnections(1))
	check(err)

	ctx := context.Background()
	var name string
	check(users.Call(ctx, "user.name", 1, &name)) // waits for the first connection, up to the timeout
	fmt.Println(name)

	var first, second string // two calls at a time
	a, b := users.Go(ctx, "user.name", 1, &first), users.Go(ctx, "user.name", 2, &second)
	check(errors.Join(a.Wait(ctx), b.Wait(ctx)))
	fmt.Println(first, second)
	// Output:
	// ann
	// ann bob
}

// Only what may be done twice is tried again.
func ExampleWithRetry() {
	var calls atomic.Int32
	url, end := program(func(srv *polywire.Server) {
		srv.Handle("*", func(_ context.Context, m *polywire.Message) (any, error) {
			if calls.Add(1)%2 == 1 {
				return nil, polywire.Errorf(polywire.CodeUnavailable, "starting")
			}
			return m.Kind() + " done", nil
		})
	})
	defer end()

	services := service.New(
		service.WithTimeout(30*time.Second),
		service.WithRetry(service.Retry{Tries: 3, Wait: time.Millisecond}),
		service.WithIdempotent("stock.get"),
	)
	defer services.Close()
	stock, err := services.Register("stock", []string{url}, service.WithConnections(1))
	check(err)

	ctx := context.Background()
	for _, kind := range []string{"stock.get", "stock.take"} {
		var answer string
		err := stock.Call(ctx, kind, nil, &answer)
		fmt.Printf("%q %v\n", answer, err)
	}
	// Output:
	// "stock.get done" <nil>
	// "" unavailable: starting
}
