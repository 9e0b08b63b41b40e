package rabbitmq

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

// Options are a driver's. URLs is needed; zero values elsewhere are good.
type Options struct {
	// URLs are the brokers of one cluster: "amqp://user:password@host:5672/vhost",
	// or amqps. They are tried in this order, and again from the next one on when
	// a connection is lost. Credentials appear in no error and no log.
	URLs []string
	// TLS is for amqps. Nil: the system's roots and the URL's host.
	TLS *tls.Config
	// Dial opens the connections below AMQP's. Nil: a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Name is what the broker's own tools call the connections. Empty: "polywire".
	Name string

	// Optional lets [New] return at once: the driver connects when the broker
	// comes. Otherwise New fails when no broker can be reached.
	Optional bool
	// DialTimeout bounds one try, the handshake included. Zero: 10 s.
	DialTimeout time.Duration
	// Heartbeat is how often both sides give a sign of life; a peer that was
	// silent for three times as long is given up. Zero: 10 s; less than 5 s makes
	// false alarms on a busy broker. A "heartbeat" in the URL goes before.
	Heartbeat time.Duration
	// MinBackoff and MaxBackoff bound the wait between rounds of tries; it
	// doubles, and a random part of it is taken. Zero: 0.5 s and 30 s.
	MinBackoff, MaxBackoff time.Duration

	// Window is how many messages may be unconfirmed at a time. Zero: 512; at
	// most MaxWindow.
	Window int
	// MaxMessageBytes bounds a payload; larger ones are refused before they are
	// sent, because a broker ends the channel of all for one that is too large.
	// Zero: 16 MiB, RabbitMQ 4's own bound.
	MaxMessageBytes int

	// Prefix stands in front of the name of every queue and exchange of the
	// driver's. Printable UTF-8, at most MaxPrefixBytes.
	Prefix string
	// Replicas is on how many nodes of a cluster a new queue is kept; odd. Zero:
	// the broker's default (3 at most).
	Replicas int
	// Passive leaves making queues to others: what is missing is reported, and
	// nothing is declared.
	Passive bool

	// Logger gets what an operator wants to know: connections lost and made,
	// queues that are declared otherwise. Nil: nothing is logged.
	Logger *slog.Logger
}

// Limits of options.
const (
	MaxWindow      = 10_000
	MaxPrefixBytes = 60
)

// ErrTopology says that a queue or an exchange exists and is declared in
// another way than the driver needs it; the text says what differs. It comes
// together with queue.ErrRefused.
var ErrTopology = errors.New("rabbitmq: declared otherwise")

func (o Options) withDefaults() (Options, error) {
	if len(o.URLs) == 0 {
		return o, fmt.Errorf("%w: no URL of a broker", queue.ErrInvalid)
	}
	for i, u := range o.URLs {
		if _, err := amqp.ParseURI(u); err != nil {
			// The parser's error quotes the URL, with its password.
			return o, fmt.Errorf("%w: URL %d of %d cannot be read; it wants to be amqp://user:password@host:port/vhost, with special characters as %%XX",
				queue.ErrInvalid, i+1, len(o.URLs))
		}
	}
	if o.DialTimeout < 0 || o.Heartbeat < 0 || o.MinBackoff < 0 || o.MaxBackoff < 0 {
		return o, fmt.Errorf("%w: negative time", queue.ErrInvalid)
	}
	if o.Window < 0 || o.Window > MaxWindow || o.MaxMessageBytes < 0 || o.Replicas < 0 {
		return o, fmt.Errorf("%w: window, message size or replicas out of range", queue.ErrInvalid)
	}
	if o.Prefix != "" {
		if len(o.Prefix) > MaxPrefixBytes {
			return o, fmt.Errorf("%w: prefix longer than %d bytes", queue.ErrInvalid, MaxPrefixBytes)
		}
		if err := queue.CheckQueue(o.Prefix); err != nil {
			return o, fmt.Errorf("prefix: %w", err)
		}
	}
	o.Name = cmp.Or(o.Name, "polywire")
	o.DialTimeout = cmp.Or(o.DialTimeout, 10*time.Second)
	o.Heartbeat = cmp.Or(o.Heartbeat, 10*time.Second)
	o.MinBackoff = cmp.Or(o.MinBackoff, 500*time.Millisecond)
	o.MaxBackoff = max(cmp.Or(o.MaxBackoff, 30*time.Second), o.MinBackoff)
	o.Window = cmp.Or(o.Window, 512)
	o.MaxMessageBytes = cmp.Or(o.MaxMessageBytes, 16<<20)
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
