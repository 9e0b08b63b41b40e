package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/codec/protobuf"
)

// peerFlags are those of every command that talks to a server.
type peerFlags struct {
	url      string
	headers  []string
	timeout  time.Duration
	insecure bool
}

func (f *peerFlags) register(c *cobra.Command) {
	def := "ws://127.0.0.1:8080"
	if env := os.Getenv("POLYWIRE_URL"); env != "" {
		def = env
	}
	c.Flags().StringVarP(&f.url, "url", "u", def, "server `URL`: ws, wss, tcp, tls, unix, socketio+http, sse+http, ... (POLYWIRE_URL)")
	c.Flags().StringArrayVarP(&f.headers, "header", "H", nil, "`name=value` for the server's authenticator; may be repeated")
	c.Flags().DurationVar(&f.timeout, "timeout", 10*time.Second, "time to connect, and to wait for an answer")
	c.Flags().BoolVar(&f.insecure, "insecure-skip-verify", false, "do not verify the server's certificate")
}

// dial connects; the caller closes.
func (f *peerFlags) dial(ctx context.Context, opts ...client.Option) (*client.Client, error) {
	cl, err := f.client(opts...)
	if err != nil {
		return nil, err
	}
	if err := cl.Connect(ctx); err != nil {
		return nil, err
	}
	return cl, nil
}

// client makes what is to be connected.
func (f *peerFlags) client(opts ...client.Option) (*client.Client, error) {
	if f.timeout <= 0 {
		return nil, fmt.Errorf("--timeout %v: want more than nothing", f.timeout)
	}
	if !strings.Contains(f.url, "://") {
		f.url = "ws://" + f.url
	}
	headers := make(map[string]string)
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--header %q: want name=value", h)
		}
		headers[name] = value
	}
	opts = append(opts,
		client.WithWires(everyWire(wirePlaces{})...),
		client.WithDialTimeout(f.timeout),
		client.WithPeer(polywire.WithCodecs(codec.JSON{}, protobuf.Codec{}, msgpack.Codec{})),
		client.WithCredentials(func(context.Context) (map[string]string, error) { return headers, nil }))
	if f.insecure {
		opts = append(opts, client.WithTLS(&tls.Config{InsecureSkipVerify: true})) //nolint:gosec // asked for by name
	}
	return client.New(f.url, opts...)
}

func newCall() *cobra.Command {
	var f peerFlags
	c := &cobra.Command{
		Use:   "call KIND [JSON | -]",
		Short: "Ask a server and print its answer",
		Long: `Send a message of a kind, wait for the answer and print it as JSON.
The payload is an argument or comes from standard input.

  polywire call time
  polywire call echo '{"a": 1}'
  echo '[1,2,3]' | polywire call echo --url tcp://127.0.0.1:7000

An error from the server is printed with its code, and the exit status is 1.`,
		Args: cli.Args,
		RunE: func(c *cobra.Command, args []string) error {
			v, err := cli.Payload(c, args, 1)
			if err != nil {
				return err
			}
			return f.with(c, func(ctx context.Context, cl *client.Client) error {
				var answer []polywire.Payload
				if err := cl.Call(ctx, args[0], v, &answer); err != nil {
					return describe(err)
				}
				return printPayload(c.OutOrStdout(), answer...)
			})
		},
	}
	f.register(c)
	return c
}

func newPub() *cobra.Command {
	var f peerFlags
	var everybody bool
	c := &cobra.Command{
		Use:   "pub ROOM KIND [JSON | -]",
		Short: "Publish a message to a room",
		Long: `Publish a message to all members of a room, where the server allows it, or with
--all to everybody (then without ROOM).

  polywire pub news headline '{"text": "hello"}'
  polywire pub --all headline '"hello"'`,
		Args: func(c *cobra.Command, args []string) error {
			if everybody {
				return cli.ArgsAs("KIND [JSON | -] --all", c, args)
			}
			return cli.Args(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			room := ""
			if !everybody {
				room, args = args[0], args[1:]
			}
			v, err := cli.Payload(c, args, 1)
			if err != nil {
				return err
			}
			return f.with(c, func(ctx context.Context, cl *client.Client) error {
				if everybody {
					return describe(cl.Broadcast(ctx, args[0], v))
				}
				return describe(cl.Publish(ctx, room, args[0], v))
			})
		},
	}
	f.register(c)
	c.Flags().BoolVar(&everybody, "all", false, "to everybody, not to a room")
	return c
}

// with runs f on a connection.
func (f *peerFlags) with(c *cobra.Command, do func(ctx context.Context, cl *client.Client) error) (err error) {
	cl, err := f.dial(c.Context(), client.WithoutReconnect())
	if err != nil {
		return describe(err)
	}
	defer func() { err = errors.Join(err, cl.Close()) }()
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	return do(ctx, cl)
}

// describe shortens an error for people.
func describe(err error) error {
	var e *polywire.Error
	if errors.As(err, &e) && e.Remote() {
		var details polywire.Payload
		if e.BindDetails(&details) == nil && len(details.Data) > 0 {
			return fmt.Errorf("the server answered: %w %s", e, details.Data)
		}
		return fmt.Errorf("the server answered: %w", e)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w\n\nnobody listens there: polywire serve starts a server, and --url says where it is", err)
	}
	return err
}

// printPayload writes a payload as one line of JSON, bytes as a string of Base64.
func printPayload(w io.Writer, p ...polywire.Payload) error {
	text, err := cli.PayloadJSON(p...)
	if err == nil {
		_, err = fmt.Fprintf(w, "%s\n", text)
	}
	return err
}
