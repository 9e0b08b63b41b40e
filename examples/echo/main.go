// Echo is the smallest whole program: a server with two handlers, reached over
// WebSocket and over plain TCP, and a client of each.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

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

// Words is what the typed handler takes.
type Words struct {
	Words []string `json:"words"`
}

// Joined is what it answers.
type Joined struct {
	Text  string `json:"text"`
	Bytes int    `json:"bytes"`
}

func run(ctx context.Context, out io.Writer) error {
	srv, err := polywire.New(polywire.WithWires(native.New()))
	if err != nil {
		return err
	}
	defer srv.Close() //nolint:errcheck // over either way

	// An answer is any value; a payload goes back as it came, whatever it is.
	srv.Handle("echo", func(_ context.Context, m *polywire.Message) (any, error) {
		return m.Payload(), nil
	})
	// A typed handler gets its argument decoded.
	polywire.HandleFunc(srv, "join", func(_ context.Context, in *Words) (*Joined, error) {
		if len(in.Words) == 0 {
			return nil, polywire.Errorf(polywire.CodeBadRequest, "no words to join")
		}
		text := strings.Join(in.Words, " ")
		return &Joined{Text: text, Bytes: len(text)}, nil
	})

	for _, address := range []string{"ws://127.0.0.1:0", "tcp://127.0.0.1:0"} {
		l, scheme, err := srv.Listen(address)
		if err != nil {
			return err
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l, scheme) }()
		if err := talk(ctx, out, scheme, l.Addr().String()); err != nil {
			return err
		}
		select {
		case err := <-served: // it ends before the server does only when it fails
			return err
		default:
		}
	}
	if err := srv.Shutdown(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "server:", srv.State())
	return err
}

// talk is the client.
func talk(ctx context.Context, out io.Writer, scheme, address string) error {
	c, err := client.Dial(ctx, scheme+"://"+address)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // over either way

	var text string
	if err := c.Call(ctx, "echo", "hello over "+scheme, &text); err != nil {
		return err
	}
	fmt.Fprintln(out, "echo:", text)

	var joined Joined
	if err := c.Call(ctx, "join", Words{[]string{"one", "application", "every", "wire"}}, &joined); err != nil {
		return err
	}
	fmt.Fprintf(out, "join: %s (%d bytes)\n", joined.Text, joined.Bytes)

	// An error comes back with its code.
	err = c.Call(ctx, "join", Words{}, &joined)
	_, err = fmt.Fprintln(out, "error:", err)
	return err
}
