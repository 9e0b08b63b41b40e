// Goomerang has the programs of Goomerang's document on its own wire, whose
// clients are served as they are: a handler that replies with a header,
// middleware in its order, a broadcast, a topic, a call whose answer is one of
// two messages, a route beside it, a panic that is survived.
//
// Messages are of types that come with protobuf: StringValue for the document's
// MessageV1, BoolValue for SuccessReplyV1, and Int32Value for BadReplyV1.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/middleware"
	"github.com/polywire/polywire/wire/goomerang"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	messageV1 = "google.protobuf.StringValue"
	goodReply = "google.protobuf.BoolValue"
	badReply  = "google.protobuf.Int32Value"
	topic     = "topic.a"
)

// traced is a middleware that says what passes it.
func traced(out io.Writer, name string) polywire.Middleware {
	return func(next polywire.Handler) polywire.Handler {
		return func(ctx context.Context, m *polywire.Message) (any, error) {
			fmt.Fprintf(out, "%s: received message of kind: %q\n", name, m.Kind())
			return next(ctx, m)
		}
	}
}

func newServer(out io.Writer) (*polywire.Server, error) {
	srv, err := polywire.New(
		polywire.WithWires(goomerang.New()),
		polywire.WithCodecs(protobuf.Codec{}, codec.JSON{}),
		polywire.WithPublishPolicy(polywire.AllowPublish),
		polywire.WithBroadcastPolicy(polywire.AllowBroadcast),
	)
	if err != nil {
		return nil, err
	}
	// The order of registration is that of execution.
	srv.Use(
		middleware.Recover(func(_ context.Context, _ *polywire.Message, v any, _ []byte) { fmt.Fprintln(out, "panic detected:", v) }),
		traced(out, "Middleware1"), traced(out, "Middleware2"),
	)
	srv.Handle(messageV1, func(_ context.Context, m *polywire.Message) (any, error) {
		var in wrapperspb.StringValue
		if err := m.Bind(&in); err != nil {
			return nil, err
		}
		switch in.GetValue() {
		case "":
			m.SetReplyHeader("status", "KO")
			return wrapperspb.Int32(400), nil
		case "panic":
			panic("as it was asked to")
		}
		m.SetReplyHeader("status", "OK")
		return wrapperspb.Bool(true), nil
	})
	// More logic in the same port.
	srv.HandleHTTP("/health", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok")) // the client may be gone
	}))
	return srv, nil
}

func run(ctx context.Context, out io.Writer) (err error) {
	srv, err := newServer(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Shutdown(context.WithoutCancel(ctx))) }()
	l, scheme, err := srv.Listen("ws://127.0.0.1:0")
	if err != nil {
		return err
	}
	go srv.Serve(l, scheme) //nolint:errcheck // clients find out if it fails
	address := l.Addr().String()

	one, err := newPeer(ctx, address)
	if err != nil {
		return err
	}
	defer one.Close() //nolint:errcheck // over either way
	two, err := newPeer(ctx, address)
	if err != nil {
		return err
	}
	defer two.Close() //nolint:errcheck // over either way
	if err := calls(ctx, out, one); err != nil {
		return err
	}
	if err := many(ctx, out, srv, one, two); err != nil {
		return err
	}
	return health(ctx, out, address)
}

// peer is a client that keeps what it is sent.
type peer struct {
	*client.Client

	got chan string
}

func newPeer(ctx context.Context, address string) (*peer, error) {
	c, err := client.New("goomerang+ws://"+address,
		client.WithWires(goomerang.New()), client.WithPeer(polywire.WithCodecs(protobuf.Codec{}, codec.JSON{})))
	if err != nil {
		return nil, err
	}
	p := &peer{c, make(chan string, 10)}
	polywire.HandleFunc(c, messageV1, func(_ context.Context, in *wrapperspb.StringValue) (*wrapperspb.BoolValue, error) {
		p.got <- in.GetValue()
		return nil, nil
	})
	return p, c.Connect(ctx)
}

// calls are the synchronous sends.
func calls(ctx context.Context, out io.Writer, c *peer) error {
	for _, text := range []string{"my message !", "", "panic"} {
		var (
			answer polywire.Payload
			header map[string]string
		)
		if err := c.Call(ctx, messageV1, wrapperspb.String(text), &answer, polywire.ReplyHeaders(&header)); err != nil {
			fmt.Fprintf(out, "%q fails: %v\n", text, err)
			continue
		}
		fmt.Fprintf(out, "%q is answered with status %s and %s\n", text, header["status"], answer.Name)
	}
	return nil
}

// many are broadcasts and publications, from both sides.
func many(ctx context.Context, out io.Writer, srv *polywire.Server, one, two *peer) error {
	if err := two.Subscribe(ctx, topic); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		send func() error
		to   []*peer
	}{
		{"a client's broadcast", func() error { return one.Broadcast(ctx, messageV1, wrapperspb.String("to all, me too")) }, []*peer{one, two}},
		{"the server's broadcast", func() error { return srv.All().Send(ctx, messageV1, wrapperspb.String("a message for everyone !")) }, []*peer{one, two}},
		{"a client's publication", func() error { return one.Publish(ctx, topic, messageV1, wrapperspb.String("to subscribers")) }, []*peer{two}},
		{"the server's publication", func() error { return srv.Room(topic).Send(ctx, messageV1, wrapperspb.String("to them again")) }, []*peer{two}},
	} {
		if err := step.send(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		for i, p := range step.to {
			select {
			case text := <-p.got:
				fmt.Fprintf(out, "%s, receiver %d of %d: %s\n", step.what, i+1, len(step.to), text)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return two.Unsubscribe(ctx, topic)
}

// health asks the route.
func health(ctx context.Context, out io.Writer, address string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/health", nil)
	if err != nil {
		return err
	}
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(resp.Body)
	fmt.Fprintf(out, "/health: %s\n", text)
	return err
}
