package middleware_test

import (
	"context"
	"fmt"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/middleware"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/native"
)

// A panic is reported, a slow handler has less time than the server gives it.
func Example() {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	check(err)
	srv.Use(
		middleware.Recover(func(_ context.Context, m *polywire.Message, value any, _ []byte) {
			fmt.Println("reported:", m.Kind(), value)
		}),
		middleware.Timeout(10*time.Millisecond),
	)
	srv.Handle("fall", func(context.Context, *polywire.Message) (any, error) { panic("no ground") })
	srv.Handle("wait", func(ctx context.Context, _ *polywire.Message) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	l := transporttest.NewListener()
	go srv.Serve(l, "tcp") // until the server is closed
	defer srv.Close()

	ctx := context.Background()
	c, err := client.Dial(ctx, "tcp://memory", client.WithNetDial(l.NetDial))
	check(err)
	defer c.Close()
	for _, kind := range []string{"fall", "wait"} {
		fmt.Println(polywire.CodeOf(c.Call(ctx, kind, nil, nil)))
	}
	// Output:
	// reported: fall no ground
	// internal
	// deadline_exceeded
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
