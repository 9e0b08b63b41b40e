package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/cmd/polywire/internal/config"
)

// serveFlags are the settings of `polywire serve`; see settings.go.
type serveFlags struct {
	listenFlags
	placeFlags
	wireFlags
	roomFlags
	clusterFlags
	queueRules
	adminFlags

	auth           authFlags
	hooks          webhookRules
	api            apiRules
	backend        backendRules
	traces         traceFlags
	allow          []string
	maxMessage     int
	maxOutbox      int
	maxConns       int
	maxPerAddr     int
	maxPerUser     int
	maxOpening     int
	messageRate    float64
	messageBurst   int
	handlerTimeout time.Duration

	set  *config.Set
	file string // --config
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
	f := newServeFlags()
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a server",
		Long: `Run a server on which clients of any wire meet in rooms.

Every setting is a flag, a variable and a key in a file, and the first of them
that is given holds. polywire config shows and checks them.

Clients subscribe to rooms by themselves. Publishing to rooms and broadcasting
to everybody are refused unless allowed here. The kind "echo" answers with its
payload, "time" with the server's clock, "presence" with who is in the room that
the payload names; "presence.set" sets what others see there of who sends it.

JavaScript clients of Socket.IO, versions 2 to 4, find the server at its usual
path. In rooms they take part with the events $subscribe(room),
$unsubscribe(room), $publish(room, kind, ...) and $broadcast(kind, ...).

Server-sent events of rooms are at /events: curl -N 'localhost:8080/events?room=news'.

Everybody may connect, unless there are keys: then it takes a token (JWT) of an
issuer for this audience. Rules say who may do what in which rooms.

  polywire serve --auth-jwks https://id.example.com/jwks.json \
      --auth-issuer https://id.example.com --auth-audience chat \
      --auth-room 'user-{sub}=subscribe' --auth-room 'team:*=subscribe,publish'

  polywire serve
  polywire serve --config polywire.yaml
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
		Args: cli.Args,
		RunE: func(c *cobra.Command, _ []string) error { return f.serve(c) },
	}
	f.register(c)
	return c
}

// plan is what the settings mean, before anything is started.
type plan struct {
	logger  *slog.Logger
	level   *slog.LevelVar
	doors   *doors
	options []polywire.Option
}

// prepare makes a plan of the settings, or says all that is wrong with them.
func (f *serveFlags) prepare(log io.Writer) (*plan, error) {
	if err := f.load(); err != nil {
		return nil, err
	}
	f.leaveShared()
	return f.plan(log)
}

// plan makes one of settings that are loaded.
func (f *serveFlags) plan(log io.Writer) (*plan, error) {
	p := &plan{doors: newDoors()}
	p.doors.allow(f.allow)
	var errs []error
	failed := func(err error) { errs = append(errs, err) }
	p.logger, p.level = f.logger(log)
	address, err := f.address(f.set)
	failed(err)
	if address != "" {
		f.listen = []string{address}
	}
	f.at.socketio = f.path
	wires, err := f.wires()
	failed(err)
	placed, err := f.placeFlags.options(f.addresses())
	failed(err)
	failed(f.clusterFlags.check(&f.roomFlags))
	failed(f.queueRules.check(&f.clusterFlags))
	failed(f.hooks.check(&f.clusterFlags, &f.queueRules))
	failed(f.api.check(f.hooks.hooks))
	failed(f.backend.check(&f.queueRules, &f.hooks))
	failed(f.adminFlags.check())
	failed(f.traces.check())
	let, err := f.auth.options(f.allow, p.logger)
	failed(err)
	p.doors.change(func(d *doorway) { d.rooms = f.auth.rooms() })
	p.options = slices.Concat(baseOptions(p.logger, wires...), f.limits(), p.doors.options(), let, placed, f.roomFlags.options())
	if errors.Join(errs...) == nil {
		_, err := polywire.New(p.options...)
		failed(err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, f.set.Explain(err)
	}
	return p, nil
}

// leaveShared leaves out what stands in a variable that is shared with the
// tools, and has no use here.
func (f *serveFlags) leaveShared() {
	shared := func(key string) bool { return f.set.Source(key) == config.Environment }
	if shared("nats.url") && f.set.Strongest("data.dir", "data.no_sync", "nats.listen", "cluster.listen", "cluster.advertise", "cluster.peers", "cluster.secret") > config.Environment {
		f.nats = ""
	}
	if shared("cluster.secret") && f.clusterAt == "" && len(f.peers) == 0 {
		f.secret = ""
	}
	if shared("queues.amqp") && !f.queueRules.used() {
		f.amqp = nil
	}
	if shared("webhooks.api_key") && !f.hooks.on {
		f.hooks.apiKey = ""
	}
}

func (f *serveFlags) limits() []polywire.Option {
	opts, _ := optionsOf(f.liveLimits(), nil)
	return append(opts,
		polywire.WithMaxMessageBytes(f.maxMessage),
		polywire.WithOutboxBytes(f.maxOutbox),
		polywire.WithHandlerTimeout(f.handlerTimeout))
}

// liveLimits are those that can change at run time.
func (f *serveFlags) liveLimits() []polywire.LiveOption {
	opts := []polywire.LiveOption{
		polywire.WithMaxConnections(f.maxConns, f.maxPerAddr, f.maxPerUser),
		polywire.WithMaxOpening(f.maxOpening),
		polywire.WithMessageRate(0, 0),
	}
	if f.messageRate > 0 {
		opts = append(opts, polywire.WithMessageRate(f.messageRate, f.burst()))
	}
	return append(opts, f.auth.rates()...)
}

// burst is how many messages may come at once over the rate.
func (f *serveFlags) burst() int {
	if f.messageBurst > 0 {
		return f.messageBurst
	}
	return max(1, int(min(2*f.messageRate, math.MaxInt32)))
}

// echo answers with the payload as it came.
func echo(_ context.Context, m *polywire.Message) (any, error) { return m.Payload(), nil }
