// Conformance is the server that the official test suites of Engine.IO 4,
// Engine.IO 3 and Socket.IO 5 want to meet, with their times, limits and
// handlers. They look for it at http://localhost:3000:
//
//	go run ./examples/conformance          Engine.IO 4 and Socket.IO 5
//	go run ./examples/conformance --eio3   Engine.IO 3, too
//
// The tests beside it perform the suites in Go, against it or any other server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/transport/engineio"
	"github.com/polywire/polywire/wire/socketio"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.SetOutput(out)
	address := flags.String("address", "localhost", "where to listen; localhost is both 127.0.0.1 and ::1")
	port := flags.Int("port", 3000, "TCP port, 0 for any")
	eio3 := flags.Bool("eio3", false, "serve clients of Engine.IO 3 as well")
	t := official()
	flags.DurationVar(&t.interval, "ping-interval", t.interval, "time between pings; the official suites count on this and on the other times")
	flags.DurationVar(&t.timeout, "ping-timeout", t.timeout, "time to answer a ping")
	flags.DurationVar(&t.connect, "connect-timeout", t.connect, "time to join a namespace")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	srv, err := newServer(*eio3, t)
	if err != nil {
		return err
	}
	// At once: sessions that poll would be waited for, and nobody misses them.
	defer srv.Close() //nolint:errcheck // over either way

	served, url, err := serve(srv, *address, *port)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "listening on", url)
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		return nil
	}
}

// times are those of a server.
type times struct{ interval, timeout, connect time.Duration }

// official are the times that the suites count on.
func official() times { return times{300 * time.Millisecond, 200 * time.Millisecond, time.Second} }

// newServer returns the whole set-up: Socket.IO, and beside it an Engine.IO
// that knows nothing of it. The options are added to those of Socket.IO.
func newServer(eio3 bool, t times, more ...polywire.Option) (*polywire.Server, error) {
	engine := engineio.Options{
		NoV3: !eio3,
		CORS: &engineio.CORS{AnyOrigin: true},
	}
	echoes, err := polywire.New(append(limits(t), polywire.WithWires(echo{engine}))...)
	if err != nil {
		return nil, err
	}
	echoes.Handle(echoKind, func(ctx context.Context, m *polywire.Message) (any, error) {
		return nil, m.Conn().Send(ctx, echoKind, m.Payload())
	})

	srv, err := polywire.New(append(append(limits(t), more...),
		polywire.WithWires(socketio.New(socketio.WithEngine(engine))),
		polywire.WithHooks(polywire.Hooks{
			Connect: tellAuth,
			Status: func(_, to polywire.State) {
				if to == polywire.StateClosing || to == polywire.StateClosed {
					echoes.Close() //nolint:errcheck // there is nothing to lose
				}
			},
		}))...)
	if err != nil {
		return nil, err
	}
	srv.HandleHTTP("/engine.io/", echoes)
	srv.Namespace("/").Admit(keepAuth)
	srv.Namespace("/custom").Admit(keepAuth)
	srv.Handle("message", func(ctx context.Context, m *polywire.Message) (any, error) {
		return nil, m.Conn().Send(ctx, "message-back", arguments(m))
	})
	srv.Handle("message-with-ack", func(_ context.Context, m *polywire.Message) (any, error) {
		return arguments(m), nil
	})
	return srv, nil
}

// limits are what the suites count on.
func limits(t times) []polywire.Option {
	return []polywire.Option{
		polywire.WithHeartbeat(t.interval, t.timeout),
		polywire.WithAuthTimeout(t.connect),
		polywire.WithMaxMessageBytes(1_000_000),
		polywire.WithOrigins("*"),
	}
}

// arguments are those of a message, to send back as they came.
func arguments(m *polywire.Message) polywire.Args {
	args := polywire.Args{}
	for _, a := range m.Args() {
		args = append(args, a)
	}
	return args
}

type authKey struct{}

// keepAuth lets everybody in and remembers what they came with.
func keepAuth(_ context.Context, h *polywire.Handshake) error {
	if !h.Payload.Empty() {
		h.Conn.SetValue(authKey{}, h.Payload.Clone())
	}
	return nil
}

// tellAuth says it to them, before anything else.
func tellAuth(c *polywire.Conn) {
	auth := c.Value(authKey{})
	if auth == nil {
		auth = struct{}{}
	}
	_ = c.Send(context.Background(), "auth", auth) // it fails when they have left
}

// serve listens and serves in the background. served gets the first error.
func serve(srv *polywire.Server, address string, port int) (served <-chan error, url string, err error) {
	hosts := []string{address}
	if address == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	failed := make(chan error, len(hosts))
	var missing error
	for _, host := range hosts {
		l, scheme, err := srv.Listen("ws://" + net.JoinHostPort(host, strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
			missing = err // a machine may have one of the two
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			port, missing = tcp.Port, nil
		}
		url = "http://" + net.JoinHostPort(address, strconv.Itoa(port))
		go func() { failed <- srv.Serve(l, scheme) }()
	}
	if url == "" {
		return nil, "", missing
	}
	return failed, url, nil
}
