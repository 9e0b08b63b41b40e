// Pipes shows the way of a message through pipes, in both directions: a client
// sends a word, the server's pipes trace it and put it in upper case, and what
// the handler sends goes out through them the other way round. The two sides
// speak JSON over an HTTP Upgrade and know the message by a number. It is the
// example of go-goo message's document, and prints the same lines in the same order.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/wire/native"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const (
	kind = "message"
	code = 10
)

// Message goes from the client to the server and back.
type Message struct {
	Word string
}

// messages keeps messages that have been handled, to be used again.
type messages struct{ pool sync.Pool }

func (m *messages) take() *Message {
	if v, ok := m.pool.Get().(*Message); ok {
		return v
	}
	return new(Message)
}

func (m *messages) put(v *Message) {
	*v = Message{} // what one peer has sent is not for the next
	m.pool.Put(v)
}

// Trace is a pipe that says what passes it.
type Trace struct {
	Name string
	Out  io.Writer
}

// Handler says what comes in.
func (a Trace) Handler(next polywire.Handler) polywire.Handler {
	return func(ctx context.Context, m *polywire.Message) (any, error) {
		var v Message
		if err := m.Bind(&v); err != nil {
			return nil, err
		}
		fmt.Fprintf(a.Out, "%s Trace.Handle: %#v\n", a.Name, &v)
		return next(ctx, m)
	}
}

// Sender says what goes out.
func (a Trace) Sender(next polywire.Sender) polywire.Sender {
	return func(ctx context.Context, o *polywire.Outgoing) error {
		fmt.Fprintf(a.Out, "%s Trace.Send: %#v\n", a.Name, o.Value)
		return next(ctx, o)
	}
}

// Upper is a pipe that puts words that come in into upper case.
type Upper struct {
	Name string
	Out  io.Writer
}

// Handler changes the word.
func (a Upper) Handler(next polywire.Handler) polywire.Handler {
	return func(ctx context.Context, m *polywire.Message) (any, error) {
		var v Message
		if err := m.Bind(&v); err != nil {
			return nil, err
		}
		fmt.Fprintf(a.Out, "%s Upper.Handle: %#v\n", a.Name, &v)
		v.Word = strings.ToUpper(v.Word)
		if err := m.Rewrite(v); err != nil {
			return nil, err
		}
		return next(ctx, m)
	}
}

// Sender leaves what goes out as it is.
func (a Upper) Sender(next polywire.Sender) polywire.Sender {
	return func(ctx context.Context, o *polywire.Outgoing) error {
		fmt.Fprintf(a.Out, "%s Upper.Send: %#v\n", a.Name, o.Value)
		return next(ctx, o)
	}
}

// newServer returns a server that sends each word to everybody, with another one.
func newServer(out io.Writer) (*polywire.Server, error) {
	srv, err := polywire.New(polywire.WithWires(native.New()), polywire.WithMaxConnections(100, 0, 0))
	if err != nil {
		return nil, err
	}
	srv.Code(kind, code)
	srv.Pipe(Trace{"Server Pipe[0]", out}, Upper{"Server Pipe[1]", out}, Trace{"Server Pipe[2]", out})
	var used messages
	polywire.HandleNew(srv, kind, used.take, used.put, func(ctx context.Context, m *Message) (*Message, error) {
		fmt.Fprintf(out, "Server %20s: %#v\n", "Handle", m)
		m.Word += " World"
		fmt.Fprintf(out, "Server %20s: %#v\n", "Send", m)
		// By way of the pipes; polywire.Direct() would send past them.
		return nil, srv.All().Send(ctx, kind, m, polywire.MustReach())
	})
	return srv, nil
}

func run(ctx context.Context, out io.Writer) error {
	srv, err := newServer(out)
	if err != nil {
		return err
	}
	l, scheme, err := srv.Listen("http://127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, scheme) }()
	if err := say(ctx, out, l.Addr().String()); err != nil {
		_ = srv.Close() // the first error says why
		return err
	}
	if err := srv.Shutdown(ctx); err != nil {
		return err
	}
	return <-served
}

// say is the client: it sends one word and waits until it comes back.
func say(ctx context.Context, out io.Writer, address string) error {
	c, err := client.New("polywire+http://"+address, client.WithWires(native.New(native.WithAccept(codec.TypeJSON))))
	if err != nil {
		return err
	}
	c.Code(kind, code)
	back := make(chan struct{})
	polywire.HandleFunc(c, kind, func(_ context.Context, m *Message) (*Message, error) {
		fmt.Fprintf(out, "Client %20s: %#v\n", "Handle", m)
		close(back)
		return nil, nil
	})
	if err := c.Connect(ctx); err != nil {
		return err
	}
	hello := &Message{"Hello"}
	fmt.Fprintf(out, "Client %20s: %#v\n", "Send", hello)
	if err := c.Send(ctx, kind, hello); err != nil {
		return err
	}
	select {
	case <-back:
	case <-ctx.Done():
		return ctx.Err()
	}
	return c.Close()
}
