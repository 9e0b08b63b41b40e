package polywire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/polywire/polywire/cluster"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/wire"
)

// Option configures a [Server] (and the peer that a client is built on).
type Option interface{ apply(c *config) error }

type optionFunc func(c *config) error

func (f optionFunc) apply(c *config) error { return f(c) }

// Configuration is a server's bounds in plain data, as hooks and consoles show
// them. The zero value of a field is never its default: see each option.
type Configuration struct {
	MaxMessageBytes          int           // an inbound message
	MaxFragments             int           // of one message; 0: no limit
	MaxSendBytes             int           // an outbound message; 0: no limit
	SendBufferBytes          int           // what a write buffer begins with
	OutboxBytes              int           // queued to one connection
	TotalOutboxBytes         int64         // queued to all connections
	InboxMessages            int           // read but not yet handled, of one connection
	MaxOpenCalls             int           // to one connection
	HandshakeTimeout         time.Duration // from accept to the end of the opening
	AuthTimeout              time.Duration // from the opening to the identity
	ExpiryGrace              time.Duration // from the identity's end to the connection's
	HeartbeatInterval        time.Duration // quiet time before a ping
	HeartbeatTimeout         time.Duration // time to answer it
	HandlerTimeout           time.Duration // time to handle a message
	WriteTimeout             time.Duration // time that one write may be stuck
	CloseTimeout             time.Duration // time to wait for the peer's close
	SleepAfter               time.Duration // quiet time before the goroutine goes
	Concurrency              int           // messages of one connection at once
	MaxRoomNameBytes         int           // of a room
	MaxSubscriptions         int           // rooms that a peer joined itself
	MaxNamespaces            int           // connections on one link
	MaxConnecting            int           // of them, waiting to be let in
	MaxOpening               int           // links that are nobody's yet; 0: no limit
	MessageRate              float64       // messages of one link a second; 0: no limit
	MessageBurst             int           // messages at once, over that rate
	UserMessageRate          float64       // messages of one user a second; 0: no limit
	UserMessageBurst         int           // messages at once, over that rate
	AcceptRate               float64       // connections a second; 0: no limit
	AcceptBurst              int           // connections at once, over that rate
	AcceptRatePerAddress     float64       // connections of one address a second; 0: no limit
	AcceptBurstPerAddress    int           // connections at once, over that rate
	EndpointReplies          bool          // see WithEndpointReplies
	MaxConnections           int           // 0: no limit
	MaxConnectionsPerAddress int           // 0: no limit
	MaxConnectionsPerUser    int           // 0: no limit
	RetryAfter               time.Duration // in the refusal of a connection over the limit
	Wires                    []string      // names
	ContentTypes             []string      // of the codecs
}

type config struct {
	Configuration
	wires      []wire.Protocol
	codecList  []codec.Codec
	codecs     *codec.Set
	auth       Authenticator
	logger     *slog.Logger
	hooks      []Hooks
	plugins    []Plugin
	tls        *tls.Config
	origins    map[string]bool // nil: same origin only
	hosts      *hostnames      // nil: any
	proxies    *proxies        // nil: none
	subscribe  func(ctx context.Context, c *Conn, room string) error
	publish    func(ctx context.Context, c *Conn, room, kind string) error
	broadcast  func(ctx context.Context, c *Conn, kind string) error
	recovery   *Sessions
	history    []historyPolicy
	cluster    cluster.Adapter // nil: alone
	nodeName   string
	queues     *queue.Broker   // nil: none
	presence   []string        // patterns of rooms
	base       context.Context //nolint:containedctx // the parent of every handler's context, given once
	httpServer func(*http.Server)
	live       *live
}

func defaultConfig() config {
	return config{
		Configuration: Configuration{
			MaxMessageBytes:   1 << 20,
			SendBufferBytes:   1 << 10,
			OutboxBytes:       1 << 20,
			TotalOutboxBytes:  1 << 30,
			InboxMessages:     256,
			MaxOpenCalls:      1000,
			HandshakeTimeout:  5 * time.Second,
			AuthTimeout:       10 * time.Second,
			ExpiryGrace:       25 * time.Second,
			HeartbeatInterval: 25 * time.Second,
			HeartbeatTimeout:  20 * time.Second,
			HandlerTimeout:    30 * time.Second,
			WriteTimeout:      10 * time.Second,
			CloseTimeout:      5 * time.Second,
			SleepAfter:        time.Second,
			Concurrency:       1,
			MaxRoomNameBytes:  255,
			MaxSubscriptions:  128,
			MaxNamespaces:     32,
			MaxConnecting:     8,
			MaxOpening:        10_000,
			RetryAfter:        5 * time.Second,
		},
		logger:    slog.New(slog.DiscardHandler),
		subscribe: func(context.Context, *Conn, string) error { return nil },
		publish:   refuse[string],
		broadcast: func(ctx context.Context, c *Conn, kind string) error { return refuse(ctx, c, "", kind) },
		base:      context.Background(),
	}
}

func refuse[T any](context.Context, *Conn, T, string) error {
	return Errorf(CodeForbidden, "not allowed on this server")
}

// tick is the resolution of the server's clock: half a second, or finer where
// heartbeats are faster than usual.
func (c *config) tick() time.Duration {
	shortest := min(c.HeartbeatInterval, c.HeartbeatTimeout, 2*c.AuthTimeout)
	return min(max(shortest/40, 5*time.Millisecond), 500*time.Millisecond)
}

func (c *config) finish() error {
	var err error
	if c.codecs, err = codec.NewSet(c.codecList...); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	names := make(map[string]bool)
	for _, w := range c.wires {
		if names[w.Name()] {
			return fmt.Errorf("%w: wire %q given twice", ErrConfig, w.Name())
		}
		names[w.Name()] = true
		c.Wires = append(c.Wires, w.Name())
	}
	c.ContentTypes = c.codecs.ContentTypes()
	if err := c.finishHostnames(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// WithWires adds the message languages that the server speaks.
func WithWires(wires ...wire.Protocol) Option {
	return optionFunc(func(c *config) error {
		for _, w := range wires {
			if w == nil {
				return errors.New("a wire is nil")
			}
		}
		c.wires = append(c.wires, wires...)
		return nil
	})
}

// WithCodecs sets the payload codecs, in order of preference. JSON and raw
// bytes are always there; JSON is the default for Go values.
func WithCodecs(codecs ...codec.Codec) Option {
	return optionFunc(func(c *config) error { c.codecList = append(c.codecList, codecs...); return nil })
}

// WithLogger sets where the server writes what it has to say; default: nowhere.
func WithLogger(l *slog.Logger) Option {
	return optionFunc(func(c *config) error {
		if l == nil {
			return errors.New("the logger is nil")
		}
		c.logger = l
		return nil
	})
}

// WithHooks adds observers. They run in the order in which they were given.
func WithHooks(h ...Hooks) Option {
	return optionFunc(func(c *config) error { c.hooks = append(c.hooks, h...); return nil })
}

// WithPlugins adds plugins, activated in this order when the server starts.
func WithPlugins(p ...Plugin) Option {
	return optionFunc(func(c *config) error { c.plugins = append(c.plugins, p...); return nil })
}

// WithTLS sets the configuration for wss:// and tls:// listeners. It is cloned.
func WithTLS(t *tls.Config) Option {
	return optionFunc(func(c *config) error { c.tls = t.Clone(); return nil })
}

// WithHTTPServer lets f adjust the http.Server of each ws:// and wss:// listener.
func WithHTTPServer(f func(*http.Server)) Option {
	return optionFunc(func(c *config) error { c.httpServer = f; return nil })
}

// WithBaseContext sets the parent of every handler's context, for its values.
// Default: context.Background().
func WithBaseContext(ctx context.Context) Option {
	return optionFunc(func(c *config) error { c.base = ctx; return nil })
}

// WithOrigins lists the web origins whose pages may connect, such as
// "https://example.com", besides the server's own; "*" allows all. Requests
// without an Origin header are not from browsers and always allowed.
func WithOrigins(origins ...string) LiveOption {
	return liveOption{func(c *config) error {
		if c.origins == nil {
			c.origins = make(map[string]bool)
		}
		for _, o := range origins {
			u, err := url.Parse(o)
			if o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || strings.Trim(u.Path, "/") != "") {
				return fmt.Errorf("origin %q is not of the form https://host[:port]", o)
			}
			c.origins[strings.ToLower(strings.TrimRight(o, "/"))] = true
		}
		return nil
	}, func(c *config) { c.origins = nil }}
}

func (c *config) allowOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || c.origins["*"] || c.origins[strings.ToLower(origin)] {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

// WithSubscribePolicy decides whether a peer may join a room by itself. An
// error refuses; [CodeForbidden] if it is no *[Error]. Default: every room
// whose name does not begin with "$"; those are refused before any policy.
func WithSubscribePolicy(f func(ctx context.Context, c *Conn, room string) error) Option {
	return optionFunc(func(c *config) error { c.subscribe = f; return nil })
}

// WithPublishPolicy decides whether a peer may publish to a room. Default: refused.
func WithPublishPolicy(f func(ctx context.Context, c *Conn, room, kind string) error) Option {
	return optionFunc(func(c *config) error { c.publish = f; return nil })
}

// WithBroadcastPolicy decides whether a peer may send to everybody. Default: refused.
func WithBroadcastPolicy(f func(ctx context.Context, c *Conn, kind string) error) Option {
	return optionFunc(func(c *config) error { c.broadcast = f; return nil })
}

// AllowPublish is a policy for [WithPublishPolicy]: everybody may publish everywhere.
func AllowPublish(context.Context, *Conn, string, string) error { return nil }

// AllowBroadcast is a policy for [WithBroadcastPolicy]: everybody may send to everybody.
func AllowBroadcast(context.Context, *Conn, string) error { return nil }

// number makes an option of a bound that must be at least low.
func number[T int | int64 | time.Duration](name string, v, low T, field func(c *config) *T) liveOption {
	return liveOption{set: func(c *config) error {
		if v < low {
			return fmt.Errorf("%s is %v, must be at least %v", name, v, low)
		}
		*field(c) = v
		return nil
	}}
}

// WithMaxMessageBytes bounds an inbound message, put together and inflated.
// Default 1 MiB. A larger one ends the connection with close code 1009.
func WithMaxMessageBytes(n int) Option {
	return number("MaxMessageBytes", n, 1, func(c *config) *int { return &c.MaxMessageBytes })
}

// WithMaxSendBytes bounds an outbound message, its arguments together. Default
// 0: only the peer's limit does. Sending a larger one fails with [CodeTooLarge].
func WithMaxSendBytes(n int) Option {
	return number("MaxSendBytes", n, 0, func(c *config) *int { return &c.MaxSendBytes })
}

// WithSendBufferBytes sets what a buffer for writing begins with. It grows when
// more is queued. Default 1,024, at most 64 KiB: larger ones are not kept.
func WithSendBufferBytes(n int) Option {
	if n > keepBytes {
		return optionFunc(func(*config) error { return fmt.Errorf("SendBufferBytes is %d, must be at most %d", n, keepBytes) })
	}
	return number("SendBufferBytes", n, 1, func(c *config) *int { return &c.SendBufferBytes })
}

// WithMaxFragments bounds the fragments of one inbound message. Default 0: as
// many as fit into its bytes.
func WithMaxFragments(n int) Option {
	return number("MaxFragments", n, 0, func(c *config) *int { return &c.MaxFragments })
}

// WithOutboxBytes bounds what is queued to one connection. Default 1 MiB. A
// connection over it is closed with [CloseSlow]. A single message may be larger,
// where no more than half of that is queued before it.
func WithOutboxBytes(n int) Option {
	return number("OutboxBytes", n, 1, func(c *config) *int { return &c.OutboxBytes })
}

// WithTotalOutboxBytes bounds what is queued to all connections. Default 1 GiB.
func WithTotalOutboxBytes(n int64) Option {
	return number("TotalOutboxBytes", n, 1, func(c *config) *int64 { return &c.TotalOutboxBytes })
}

// WithInboxMessages bounds the messages of one connection that are read but not yet
// handled; their bytes are bounded by the message size. Default 256. A full
// inbox stops the reading, and TCP holds the peer back; while handlers wait for
// answers of the peer there is room for [WithMaxOpenCalls] more.
func WithInboxMessages(messages int) Option {
	return number("InboxMessages", messages, 1, func(c *config) *int { return &c.InboxMessages })
}

// WithMaxOpenCalls bounds the calls to one connection that wait for an answer.
// Default 1,000; a further one fails with [CodeTooManyRequests].
func WithMaxOpenCalls(n int) Option {
	return number("MaxOpenCalls", n, 1, func(c *config) *int { return &c.MaxOpenCalls })
}

// WithHandshakeTimeout bounds the opening of a link. Default 5 s.
func WithHandshakeTimeout(d time.Duration) Option {
	return number("HandshakeTimeout", d, 1, func(c *config) *time.Duration { return &c.HandshakeTimeout })
}

// WithAuthTimeout bounds the time until a connection has an identity. Default
// 10 s; then it is closed with [CloseStale].
func WithAuthTimeout(d time.Duration) Option {
	return number("AuthTimeout", d, 1, func(c *config) *time.Duration { return &c.AuthTimeout })
}

// WithHeartbeat sets the quiet time before a ping and the time to answer it.
// Defaults 25 s and 20 s, rounded to half seconds; no answer closes with [CloseNoPong].
func WithHeartbeat(interval, timeout time.Duration) Option {
	return optionFunc(func(c *config) error {
		if interval <= 0 || timeout <= 0 {
			return errors.New("heartbeat times must be positive")
		}
		c.HeartbeatInterval, c.HeartbeatTimeout = interval, timeout
		return nil
	})
}

// WithHandlerTimeout bounds the time to handle a message, from the moment when
// its handler could begin, after which the caller is answered with
// [CodeDeadlineExceeded]. Default 30 s; more than a hundred years are a hundred.
func WithHandlerTimeout(d time.Duration) Option {
	const years = 100 * 365 * 24 * time.Hour // what is added to it is still a time
	return number("HandlerTimeout", min(d, years), 1, func(c *config) *time.Duration { return &c.HandlerTimeout })
}

// WithWriteTimeout bounds the time that a write may be stuck. Default 10 s;
// then the connection is closed with [CloseWriteError].
func WithWriteTimeout(d time.Duration) Option {
	return number("WriteTimeout", d, 1, func(c *config) *time.Duration { return &c.WriteTimeout })
}

// WithCloseTimeout bounds the wait for the peer's close frame. Default 5 s.
func WithCloseTimeout(d time.Duration) Option {
	return number("CloseTimeout", d, 1, func(c *config) *time.Duration { return &c.CloseTimeout })
}

// WithSleepAfter sets the quiet time after which a plain TCP or unix
// connection gives its goroutine back (Linux). Default 1 s. Dialled ones keep
// theirs: a poller for a client's single connection would save nothing.
func WithSleepAfter(d time.Duration) Option {
	return number("SleepAfter", d, 1, func(c *config) *time.Duration { return &c.SleepAfter })
}

// WithConcurrency lets n messages of one connection be handled at once.
// Default 1: in order.
func WithConcurrency(n int) Option {
	return number("Concurrency", n, 1, func(c *config) *int { return &c.Concurrency })
}

// WithMaxSubscriptions bounds the rooms that a peer may join by itself. Default
// 128; one more fails with [CodeTooManyRequests].
func WithMaxSubscriptions(n int) Option {
	return number("MaxSubscriptions", n, 0, func(c *config) *int { return &c.MaxSubscriptions })
}

// WithMaxRoomNameBytes bounds the names of rooms. Default 255.
func WithMaxRoomNameBytes(n int) Option {
	return number("MaxRoomNameBytes", n, 1, func(c *config) *int { return &c.MaxRoomNameBytes })
}

// WithMaxConnections bounds the connections of the server, of one remote
// address and of one user; 0 is no limit, the default of each. IPv6 addresses
// count by their /64, the least that a host is given. Over the first
// two an HTTP client gets 503 with Retry-After before any upgrade (see
// [WithRetryAfter]), and a stream is closed at once; over the last one a user
// gets [CloseConnectionLimit].
func WithMaxConnections(total, perAddress, perUser int) LiveOption {
	return liveOption{set: func(c *config) error {
		if total < 0 || perAddress < 0 || perUser < 0 {
			return errors.New("connection limits must not be negative")
		}
		c.MaxConnections, c.MaxConnectionsPerAddress, c.MaxConnectionsPerUser = total, perAddress, perUser
		return nil
	}}
}

// WithMaxNamespaces bounds the connections that share one link, on wires with
// namespaces, and those of them that wait for doorkeepers. Defaults 32 and 8;
// one more is refused.
func WithMaxNamespaces(joined, connecting int) Option {
	return optionFunc(func(c *config) error {
		if joined < 1 || connecting < 1 {
			return errors.New("the bounds of namespaces must be at least 1")
		}
		c.MaxNamespaces, c.MaxConnecting = joined, connecting
		return nil
	})
}

// WithMaxOpening bounds the links that are being opened: accepted, and without
// an identity yet. Default 10,000; 0 is no limit. One more is refused as by
// [WithMaxConnections].
func WithMaxOpening(n int) LiveOption {
	return number("MaxOpening", n, 0, func(c *config) *int { return &c.MaxOpening })
}

// WithEndpointReplies lets a handler's answer go out a second time, as a
// one-way message of the request's own kind to whoever sent it, also when that
// was no call (GOSF's way). nil is neither. See [Answerer] for answers that
// copy something of the request.
func WithEndpointReplies() Option {
	return optionFunc(func(c *config) error { c.EndpointReplies = true; return nil })
}

// WithRetryAfter sets when an HTTP client that was refused for a limit may try
// again, in whole seconds. Default 5 s.
func WithRetryAfter(d time.Duration) LiveOption {
	return number("RetryAfter", d, 0, func(c *config) *time.Duration { return &c.RetryAfter })
}
