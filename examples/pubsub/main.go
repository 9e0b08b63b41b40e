// Pubsub is a match with its audience: a reporter publishes to a room, two fans
// have subscribed to it, and a policy keeps the fans from publishing themselves. It is
// what Goomerang's document calls publish and subscribe, with its middleware, on the
// native wire.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/wire/native"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const room = "match"

// Score is what is published.
type Score struct {
	Home int `json:"home"`
	Away int `json:"away"`
}

func run(ctx context.Context, out io.Writer) error {
	srv, err := newServer(out)
	if err != nil {
		return err
	}
	defer srv.Close() //nolint:errcheck // over either way
	l, scheme, err := srv.Listen("ws://127.0.0.1:0")
	if err != nil {
		return err
	}
	go srv.Serve(l, scheme) //nolint:errcheck // clients find out if it fails
	url := scheme + "://" + l.Addr().String()

	var fans []*fan
	for _, name := range []string{"ann", "bob"} {
		f, err := newFan(ctx, url, name)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // over either way
		fans = append(fans, f)
	}
	reporter, err := client.Dial(ctx, url, as("reporter"))
	if err != nil {
		return err
	}
	defer reporter.Close() //nolint:errcheck // over either way

	var audience int
	if err := reporter.Call(ctx, "audience", nil, &audience); err != nil {
		return err
	}
	fmt.Fprintln(out, "audience:", audience)
	for _, score := range []Score{{1, 0}, {1, 1}} {
		if err := reporter.Publish(ctx, room, "score", score); err != nil {
			return err
		}
		for _, f := range fans {
			select {
			case s := <-f.scores:
				fmt.Fprintf(out, "%s sees %d:%d\n", f.name, s.Home, s.Away)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	err = fans[0].Publish(ctx, room, "score", Score{9, 0})
	fmt.Fprintln(out, "ann may not:", err)
	return srv.Shutdown(ctx)
}

// newServer returns the server with its middleware, policies and handlers.
func newServer(out io.Writer) (*polywire.Server, error) {
	srv, err := polywire.New(
		polywire.WithWires(native.New()),
		polywire.WithAuth(authenticate),
		polywire.WithPublishPolicy(func(_ context.Context, c *polywire.Conn, _, _ string) error {
			if c.User() != "reporter" {
				return polywire.Errorf(polywire.CodeForbidden, "only the reporter publishes")
			}
			return nil
		}),
	)
	if err != nil {
		return nil, err
	}
	srv.Use(func(next polywire.Handler) polywire.Handler {
		return func(ctx context.Context, m *polywire.Message) (any, error) {
			fmt.Fprintf(out, "%s asks for the %s\n", m.Conn().User(), m.Kind())
			return next(ctx, m)
		}
	})
	srv.Handle("audience", func(ctx context.Context, _ *polywire.Message) (any, error) {
		return srv.Room(room).Count(ctx)
	})
	return srv, nil
}

// authenticate believes every name. A real one would want a proof of it.
func authenticate(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
	if !h.Hello {
		return nil, polywire.ErrAwaitHello
	}
	if h.Header["user"] == "" {
		return nil, polywire.Errorf(polywire.CodeUnauthorized, "who are you?")
	}
	return &polywire.Identity{User: h.Header["user"]}, nil
}

// as makes a client say its name.
func as(name string) client.Option {
	return client.WithCredentials(func(context.Context) (map[string]string, error) {
		return map[string]string{"user": name}, nil
	})
}

// fan is a client that has subscribed.
type fan struct {
	*client.Client
	name   string
	scores chan Score
}

func newFan(ctx context.Context, url, name string) (*fan, error) {
	c, err := client.New(url, as(name))
	if err != nil {
		return nil, err
	}
	f := &fan{Client: c, name: name, scores: make(chan Score, 10)}
	polywire.HandleFunc(c, "score", func(_ context.Context, s *Score) (*Score, error) {
		f.scores <- *s
		return nil, nil
	})
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	// The subscription outlives the connection: the client renews it.
	if err := c.Subscribe(ctx, room); err != nil {
		c.Close() //nolint:errcheck // the first error counts
		return nil, err
	}
	return f, nil
}
