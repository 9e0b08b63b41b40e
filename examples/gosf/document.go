package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/reply"
	"github.com/polywire/polywire/wire/socketio"
)

// statement is the document's controller with a body: it takes an argument out
// of it, or its default.
func statement(_ context.Context, in *reply.Message) (*reply.Message, error) {
	text, ok := in.Body["statement"].(string)
	if !ok {
		text = "that I love you."
	}
	return reply.Success("Hello World, I'd just like to say " + text), nil
}

// join puts a client into a room. What only services are to see goes no further.
func join(ctx context.Context, in *reply.Message) (*reply.Message, error) {
	if in.Text == "" {
		failed := reply.Failure("no_room", map[string]any{"known": []string{"chat", "friends"}})
		failed.Meta = map[string]any{"secret": "for services"}
		return failed.WithoutMeta(), nil
	}
	return reply.Success("joined " + in.Text), polywire.MessageFrom(ctx).Conn().Join(in.Text)
}

// say is the controller with a client's broadcast: it answers nothing.
func say(ctx context.Context, in *reply.Message) (*reply.Message, error) {
	m := polywire.MessageFrom(ctx)
	return nil, m.Conn().Others("friends").Send(ctx, m.Kind(), reply.Success(in.Text))
}

// journal keeps what the hooks log, by connection; broadcasts and ends apart.
type journal struct {
	mu    sync.Mutex
	order []string
	lines map[string][]string
}

func (j *journal) log(of string, text ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lines[of] == nil {
		j.order = append(j.order, of)
	}
	j.lines[of] = append(j.lines[of], strings.Join(text, ""))
}

// hooks are the document's, with its texts.
func (j *journal) hooks() polywire.Hooks {
	request := func(m *polywire.Message, before, after string) { j.log(m.Conn().ID(), before, m.Kind(), after) }
	broadcast := func(b *polywire.Broadcast, what string) {
		room := "everybody"
		if len(b.Rooms) > 0 {
			room = strings.Join(b.Rooms, ", ")
		}
		j.log("broadcasts", "Broadcast for ", b.Kind, " endpoint ", what, " to ", room, ".")
	}
	return polywire.Hooks{
		Connect:      func(c *polywire.Conn) { j.log(c.ID(), "Client connected.") },
		Disconnect:   func(c *polywire.Conn, _ *polywire.CloseError) { j.log("ends", "Client disconnected.") },
		BeforeHandle: func(m *polywire.Message) { request(m, "Request received for ", " endpoint.") },
		AfterHandle: func(m *polywire.Message, _ time.Duration, _ any, _ error) {
			request(m, "Request for ", " endpoint was processed by the controller.")
		},
		BeforeReply:     func(m *polywire.Message, _ any, _ error) { request(m, "Response for ", " endpoint is being prepared.") },
		AfterReply:      func(m *polywire.Message, _ any, _ error) { request(m, "Response for ", " endpoint was sent.") },
		BeforeBroadcast: func(b *polywire.Broadcast) { broadcast(b, "is preparing to send") },
		AfterBroadcast:  func(b *polywire.Broadcast) { broadcast(b, "was sent") },
	}
}

// document has the rest of the document's programs: a controller with a body, a
// failure, rooms, broadcasts of all three kinds, and what its hooks log.
func document(ctx context.Context, out io.Writer) error {
	j := &journal{lines: make(map[string][]string)}
	srv, err := polywire.New(polywire.WithWires(socketio.New()), polywire.WithEndpointReplies(), polywire.WithHooks(j.hooks()))
	if err != nil {
		return err
	}
	defer srv.Close() //nolint:errcheck // over either way
	polywire.HandleFunc(srv, "sample", statement)
	polywire.HandleFunc(srv, "join", join)
	polywire.HandleFunc(srv, "say", say)
	l, scheme, err := srv.Listen("ws://127.0.0.1:0")
	if err != nil {
		return err
	}
	go srv.Serve(l, scheme) //nolint:errcheck // clients find out if it fails
	if err := talk(ctx, out, srv, "socketio+"+scheme+"://"+l.Addr().String()); err != nil {
		return err
	}
	if err := srv.Shutdown(context.WithoutCancel(ctx)); err != nil { // it waits for the hooks
		return err
	}
	for _, of := range j.order {
		for _, line := range j.lines[of] {
			fmt.Fprintln(out, line)
		}
	}
	return nil
}

// talk is what the clients do, and the broadcasts of the server.
func talk(ctx context.Context, out io.Writer, srv *polywire.Server, url string) error {
	heard := make(chan string, 10)
	bob, err := client.New(url, client.WithWires(socketio.New()))
	if err != nil {
		return err
	}
	for _, endpoint := range []string{"example", "say"} {
		polywire.HandleFunc(bob, endpoint, func(_ context.Context, in *reply.Message) (*reply.Message, error) {
			heard <- fmt.Sprintf("%s: success %v, text %q", endpoint, in.Success, in.Text)
			return nil, nil
		})
	}
	ann, err := client.Dial(ctx, url, client.WithWires(socketio.New()))
	if err != nil {
		return err
	}
	defer ann.Close() //nolint:errcheck // over either way
	defer bob.Close() //nolint:errcheck // over either way
	for _, body := range []map[string]any{nil, {"statement": "hi."}} {
		if err := ask(ctx, out, ann, "sample", &reply.Message{Body: body}); err != nil {
			return err
		}
	}
	if err := bob.Connect(ctx); err != nil {
		return err
	}
	for _, room := range []string{"", "chat", "friends"} {
		if err := ask(ctx, out, bob, "join", &reply.Message{Text: room}); err != nil {
			return err
		}
	}
	for _, send := range []func() error{
		func() error { return srv.All().Send(ctx, "example", reply.Success("Hello World")) },
		func() error { return srv.Room("chat").Send(ctx, "example", reply.Success("Hello chat")) },
		func() error { return ann.Send(ctx, "say", &reply.Message{Text: "Hello friends"}) },
	} {
		if err := send(); err != nil {
			return err
		}
		select {
		case line := <-heard:
			fmt.Fprintln(out, line)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ask is a request with an acknowledgement.
func ask(ctx context.Context, out io.Writer, c *client.Client, endpoint string, in *reply.Message) error {
	var answer reply.Message
	if err := c.Call(ctx, endpoint, in, &answer); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s: success %v, text %q, body %v, meta %v\n", endpoint, answer.Success, answer.Text, answer.Body, answer.Meta)
	return err
}
