package jetstream

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/queue"
)

// Options are a driver's. Either URLs or Connect is needed; zero values
// elsewhere are good.
type Options struct {
	// URLs are servers of one NATS cluster: "nats://host:4222", or tls. They are
	// tried again for as long as the driver is open. Passwords go into NATS, as
	// options, and not into URLs that end in logs.
	URLs []string
	// NATS are options for the connection: credentials, TLS, a name.
	NATS []nats.Option
	// Connect opens the connection in place of URLs: natsembed's Server.Connect.
	// It passes the options on. It is called again if the connection is closed.
	Connect func(opts ...nats.Option) (*nats.Conn, error)
	// Domain is the JetStream domain, where the servers have several.
	Domain string

	// Optional lets [New] return at once: the driver connects when the server
	// comes. Otherwise New fails when it cannot be reached.
	Optional bool

	// Prefix begins the names of all streams and subjects: letters, digits, '-'
	// and '_', at most MaxPrefixBytes. Empty: "polywire". Programs with different
	// prefixes see nothing of each other.
	Prefix string
	// Replicas is on how many servers of a cluster a message is kept: 1, 3 or 5.
	// Zero: 1. Existing queues with fewer get more; those with more keep them.
	Replicas int
	// Dedup is the window in which a second message with an ID is dropped. Zero:
	// 2 min; at least 100 ms; negative: the least. It holds for queues that are made from now on.
	Dedup time.Duration
	// Lease is how long a message stays with a program that gives no sign of
	// life, where [queue.HandleOptions] do not say. Zero: 30 s; at least a second.
	Lease time.Duration
	// Window is how many messages may be unconfirmed at a time. Zero: 1024; at
	// most MaxWindow.
	Window int

	// Logger gets what an operator wants to know: connections lost and made,
	// queues that had to be made again. Nil: nothing is logged.
	Logger *slog.Logger
}

// Limits of options.
const (
	MaxWindow      = 10_000
	MaxPrefixBytes = 12
)

const (
	minDedup = 100 * time.Millisecond // the server's
	minLease = time.Second
)

func (o Options) withDefaults() (Options, error) {
	o.Prefix = cmp.Or(o.Prefix, "polywire")
	o.Replicas = cmp.Or(o.Replicas, 1)
	o.Dedup = max(cmp.Or(o.Dedup, 2*time.Minute), minDedup)
	o.Lease = cmp.Or(o.Lease, 30*time.Second)
	o.Window = cmp.Or(o.Window, 1024)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var why string
	switch {
	case (len(o.URLs) == 0) == (o.Connect == nil):
		why = "either URLs or Connect must be given"
	case len(o.Prefix) > MaxPrefixBytes || encodeName(o.Prefix) != o.Prefix:
		why = fmt.Sprintf("prefix %.100q", o.Prefix)
	case o.Replicas != 1 && o.Replicas != 3 && o.Replicas != 5:
		why = fmt.Sprintf("%d replicas: 1, 3 or 5", o.Replicas)
	case o.Lease < minLease:
		why = fmt.Sprintf("lease %v: at least %v", o.Lease, minLease)
	case o.Window < 0 || o.Window > MaxWindow:
		why = fmt.Sprintf("window %d: at most %d", o.Window, MaxWindow)
	case strings.ContainsAny(o.Domain, ".*> \t\r\n"):
		why = fmt.Sprintf("domain %.100q", o.Domain)
	default:
		return o, nil
	}
	return o, fmt.Errorf("%w: %w", queue.ErrInvalid, errors.New(why))
}

// connect opens a connection that comes back by itself.
func connect(o *Options, more ...nats.Option) (*nats.Conn, error) {
	opts := append([]nats.Option{
		nats.Name("polywire queue"),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 250*time.Millisecond),
	}, o.NATS...)
	opts = append(opts,
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), // who publishes shall know that it is away
	)
	opts = append(opts, more...)
	if o.Connect != nil {
		return o.Connect(opts...)
	}
	return nats.Connect(strings.Join(o.URLs, ","), opts...)
}
