package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/middleware"
)

// serveFlags configure `polywire serve`.
type serveFlags struct {
	listenFlags
	placeFlags
	wireFlags
	roomFlags
	clusterFlags
	queueRules

	hooks          webhookRules
	allow          []string
	maxMessage     int
	maxOutbox      int
	maxConns       int
	maxPerAddr     int
	handlerTimeout time.Duration
}

// The kinds that the server answers itself.
const (
	kindEcho        = "echo"
	kindTime        = "time"
	kindPresence    = "presence"
	kindPresenceSet = "presence.set"
)

func ownKinds() []string { return []string{kindEcho, kindTime, kindPresence, kindPresenceSet} }

func newServe() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a server",
		Long: `Run a server on which clients of any wire meet in rooms.

Clients subscribe to rooms by themselves. Publishing to rooms and broadcasting
to everybody are refused unless allowed here. The kind "echo" answers with its
payload, "time" with the server's clock, "presence" with who is in the room that
the payload names; "presence.set" sets what others see there of who sends it.

JavaScript clients of Socket.IO, versions 2 to 4, find the server at its usual
path. In rooms they take part with the events $subscribe(room),
$unsubscribe(room), $publish(room, kind, ...) and $broadcast(kind, ...).

Server-sent events of rooms are at /events: curl -N 'localhost:8080/events?room=news'.

  polywire serve
  polywire serve --ws-path /api/v1/ws --without drs,goomerang
  polywire serve --port 9999 --cors https://app.example.com
  polywire serve --host 0.0.0.0 --port 443 --secure --ssl-cert cert.pem \
      --ssl-key key.pem --reject-invalid-hostnames
  polywire serve --listen 127.0.0.1:8080 --listen tcp://127.0.0.1:7000 --allow publish
  polywire serve --listen wss://:8443 --tls-cert cert.pem --tls-key key.pem \
      --origin https://app.example.com

Several servers are one where they share a NATS: one elsewhere, or the one that
each has inside. Then rooms span them all.

  polywire serve --host '' --data-dir /var/lib/polywire --cluster-peers a,b,c \
      --history 'chat:*:size=1000,age=1h' --presence 'chat:*' --recovery
  polywire serve --nats nats://nats.example.com --history news

Work that must not be lost goes to queues, in the same NATS or in a RabbitMQ. A
call is answered with the message's id when the queue has it for good; what is
in a queue waits for a room's server, or for the workers of other programs.
polywire queue shows and manages them.

  polywire serve --data-dir /var/lib/polywire --nats-listen 127.0.0.1:4222 \
      --queue-in 'order.*=orders' --queue-out 'done=feed,kind=order.done'

Webhooks go out to whoever was registered for them, by polywire webhook or the
API, and come in, verified, to a room or a queue.

  polywire serve --data-dir /var/lib/polywire --webhooks --webhook-out 'order.*'
  polywire serve --webhook-in '/hooks/payments=room:payments,secret=env:PAYMENTS_SECRET'

Ends on SIGINT and SIGTERM, after telling every peer.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.serve(c) },
	}
	f.listenFlags.register(c, "127.0.0.1:8080")
	f.placeFlags.register(c)
	f.wireFlags.register(c)
	f.roomFlags.register(c)
	f.clusterFlags.register(c)
	f.queueRules.register(c)
	f.hooks.register(c)
	c.Flags().StringSliceVar(&f.allow, "allow", nil, "what clients may do besides subscribing: publish, broadcast")
	c.Flags().IntVar(&f.maxMessage, "max-message-bytes", 1<<20, "largest inbound message")
	c.Flags().IntVar(&f.maxOutbox, "max-outbox-bytes", 1<<20, "most that may wait for one slow reader")
	c.Flags().IntVar(&f.maxConns, "max-connections", 0, "most connections; 0 is no limit")
	c.Flags().IntVar(&f.maxPerAddr, "max-connections-per-address", 0, "most connections from one address; 0 is no limit")
	c.Flags().DurationVar(&f.handlerTimeout, "handler-timeout", 30*time.Second, "time to handle a message")
	return c
}

func (f *serveFlags) serve(c *cobra.Command) error {
	logger, err := f.logger(c.ErrOrStderr())
	if err != nil {
		return err
	}
	address, err := f.address(c)
	if err != nil {
		return err
	}
	if address != "" {
		f.listen = []string{address}
	}
	f.at.socketio = f.path
	wires, err := f.wires()
	if err != nil {
		return err
	}
	opts := append(baseOptions(logger, wires...),
		polywire.WithMaxMessageBytes(f.maxMessage),
		polywire.WithOutboxBytes(f.maxOutbox),
		polywire.WithMaxConnections(f.maxConns, f.maxPerAddr, 0),
		polywire.WithHandlerTimeout(f.handlerTimeout))
	allowed, err := f.policies()
	if err != nil {
		return err
	}
	placed, err := f.placeFlags.options(f.addresses())
	if err != nil {
		return err
	}
	kept, err := f.roomFlags.options()
	if err != nil {
		return err
	}
	f.fromEnvironment()
	if err := f.clusterFlags.check(&f.roomFlags); err != nil {
		return err
	}
	if err := f.queueRules.check(&f.clusterFlags); err != nil {
		return err
	}
	if err := f.hooks.check(&f.clusterFlags, &f.queueRules); err != nil {
		return err
	}
	opts = slices.Concat(opts, allowed, placed, kept)
	if _, err := polywire.New(opts...); err != nil { // before anything is started
		return err
	}
	e, err := f.start(c.Context(), logger)
	if err != nil {
		return err
	}
	return errors.Join(f.serveWith(c, e, logger, opts), e.close(f.drain))
}

// serveWith serves as one of the servers that an engine connects.
func (f *serveFlags) serveWith(c *cobra.Command, e *engine, logger *slog.Logger, opts []polywire.Option) error {
	s, err := f.hooks.start(c.Context(), e, logger)
	if err != nil {
		return err
	}
	seen, err := f.hooks.remember(c.Context(), e, &f.clusterFlags, logger)
	if err != nil {
		return errors.Join(err, s.close(f.drain))
	}
	defer seen.close()
	return errors.Join(f.serveAs(c, e, s, seen, logger, opts), s.close(f.drain))
}

// serveAs serves, and ends before what sends webhooks does.
func (f *serveFlags) serveAs(c *cobra.Command, e *engine, s *sender, seen *seenHooks, logger *slog.Logger, opts []polywire.Option) error {
	queues, err := f.open(c.Context(), e, logger)
	if err != nil {
		return err
	}
	opts = append(opts, e.options(&f.clusterFlags)...)
	if queues != nil {
		opts = append(opts, polywire.WithQueues(queues))
	}
	srv, err := polywire.New(opts...)
	if err != nil {
		if queues != nil {
			err = errors.Join(err, queues.Close())
		}
		return err
	}
	srv.Use(middleware.Log(logger))
	srv.Handle(kindEcho, polywire.HandlerFunc(echo))
	srv.Handle(kindTime, polywire.HandlerFunc(func(context.Context, *polywire.Message) (any, error) {
		return time.Now().UTC(), nil
	}))
	handleRooms(srv)
	f.handle(srv)
	f.hooks.handle(srv, s, seen, logger)
	if err := e.join(srv); err != nil {
		return err
	}
	return f.run(c.Context(), srv, func(urls []string) {
		for _, u := range urls {
			fmt.Fprintln(c.OutOrStdout(), "listening on", u)
		}
	})
}

func (f *serveFlags) policies() ([]polywire.Option, error) {
	for _, a := range f.allow {
		if a != "publish" && a != "broadcast" {
			return nil, fmt.Errorf("--allow %q: want publish or broadcast", a)
		}
	}
	var opts []polywire.Option
	if slices.Contains(f.allow, "publish") {
		opts = append(opts, polywire.WithPublishPolicy(polywire.AllowAll))
	}
	if slices.Contains(f.allow, "broadcast") {
		opts = append(opts, polywire.WithBroadcastPolicy(polywire.AllowBroadcast))
	}
	return opts, nil
}

// echo answers with the payload as it came.
func echo(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil }
