package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/internal/safehttp"
	"github.com/polywire/polywire/webhook"
)

// Event is what the backend is asked about, or told.
type Event string

// The events.
const (
	Connect    Event = "connect"    // somebody wants to connect
	Disconnect Event = "disconnect" // a connection has ended; the answer does not matter
	Subscribe  Event = "subscribe"  // a client wants to join a room
	Publish    Event = "publish"    // a client wants to send to a room
	Broadcast  Event = "broadcast"  // a client wants to send to everybody
	Message    Event = "message"    // a message of a kind that the backend handles
)

// Events returns those that can be asked for by name; messages are asked for by their kinds.
func Events() []Event { return []Event{Connect, Disconnect, Subscribe, Publish, Broadcast} }

// Defaults of [Options].
const (
	DefaultTimeout        = 5 * time.Second
	DefaultConcurrency    = 64
	DefaultQueue          = 1000
	DefaultMaxAnswerBytes = 1 << 20
)

// Options configure [New]. URL and Secrets are needed.
type Options struct {
	// URL gets the requests. It may be inside: its host, and no other, is
	// connected to; redirects are not followed.
	URL string
	// Secrets sign the requests, as of webhooks; all of them each.
	Secrets []webhook.Secret
	// Events are those that the backend is asked about and told.
	Events []Event
	// AllowDown are events that are allowed when the backend gives no answer.
	// Default: none is. Of connect, subscribe, publish and broadcast.
	AllowDown []Event
	// Headers are names of the HTTP request's headers that connect has. Nil:
	// Authorization, Cookie, Origin and User-Agent.
	Headers []string
	// Timeout of one request, its wait for its turn among it. Zero: 5 s.
	Timeout time.Duration
	// Concurrency is how many requests are made at a time. Zero: 64.
	Concurrency int
	// Queue is how many more wait for their turn, and how many disconnects wait
	// to be told. Zero: 1,000.
	Queue int
	// MaxAnswerBytes bounds an answer. Zero: 1 MiB.
	MaxAnswerBytes int64
	// Logger. Nil: none.
	Logger *slog.Logger
}

// Backend asks. It is safe for concurrent use.
type Backend struct {
	o       Options
	url     *url.URL
	client  *safehttp.Client
	signer  *webhook.Signer
	breaker circuitbreaker.CircuitBreaker[any]
	codecs  *codec.Set
	log     *slog.Logger
	slots   chan struct{}
	waiting atomic.Int64

	counters struct{ asked, failed, shed, lost atomic.Uint64 }

	mu     sync.Mutex // for closed and the sending to gone
	closed bool
	gone   chan disconnected
	ctx    context.Context //nolint:containedctx // of the goroutines below: Close ends it
	cancel context.CancelFunc
	goes   sync.WaitGroup
}

// Stats are figures since the start.
type Stats struct {
	Asked  uint64 // questions, disconnects among them
	Failed uint64 // of them without an answer that counts
	Shed   uint64 // of those without a request: the breaker was open, or the queue full
	Lost   uint64 // disconnects that were not told
	Open   bool   // the breaker keeps requests back
}

// New returns a backend. Close ends it.
func New(o Options) (*Backend, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	b := &Backend{o: o, log: o.Logger, slots: make(chan struct{}, o.Concurrency), gone: make(chan disconnected, o.Queue)}
	var err error
	if b.codecs, err = codec.NewSet(codec.JSON{}, protobuf.Codec{}, msgpack.Codec{}); err != nil {
		return nil, err
	}
	if b.signer, err = webhook.NewSigner(o.Secrets...); err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	if err := b.dialler(); err != nil {
		return nil, fmt.Errorf("backend: %w", err)
	}
	b.breaker = circuitbreaker.NewBuilder[any]().
		WithFailureRateThreshold(breakerRate, breakerSamples, breakerWindow).
		WithDelay(breakerDelay).WithSuccessThreshold(1).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			b.log.Warn("the backend's breaker has changed", "from", e.OldState.String(), "to", e.NewState.String())
		}).Build()
	b.ctx, b.cancel = context.WithCancel(context.Background())
	for range tellers {
		b.goes.Go(b.tell)
	}
	return b, nil
}

// The breaker opens when half of 20 requests or more failed within 10 s, and
// tries again after 2 s.
const (
	breakerRate    = 0.5
	breakerSamples = 20
	breakerWindow  = 10 * time.Second
	breakerDelay   = 2 * time.Second
)

func (o *Options) complete() error {
	for _, e := range o.Events {
		if !slices.Contains(Events(), e) {
			return fmt.Errorf("event %.32q: want some of %v", string(e), Events())
		}
	}
	for _, e := range o.AllowDown {
		if e == Disconnect || !slices.Contains(o.Events, e) {
			return fmt.Errorf("event %.32q cannot be allowed when the backend is down: want one that is asked for", string(e))
		}
	}
	if o.Timeout < 0 || o.Concurrency < 0 || o.Queue < 0 || o.MaxAnswerBytes < 0 {
		return errors.New("bounds must not be negative")
	}
	set(&o.Timeout, DefaultTimeout)
	set(&o.Concurrency, DefaultConcurrency)
	set(&o.Queue, DefaultQueue)
	set(&o.MaxAnswerBytes, DefaultMaxAnswerBytes)
	if o.Headers == nil {
		o.Headers = []string{"Authorization", "Cookie", "Origin", "User-Agent"}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func set[T int | int64 | time.Duration](to *T, v T) {
	if *to == 0 {
		*to = v
	}
}

// dialler makes the client, which may connect to the URL's host only.
func (b *Backend) dialler() error {
	u, err := url.Parse(b.o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("want a URL with http or https") // its text may have a secret
	}
	ports := map[string]uint16{"http": 80, "https": 443}
	port := ports[u.Scheme]
	if text := u.Port(); text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return errors.New("the URL's port is none")
		}
		port = uint16(n)
	}
	o := safehttp.Options{AllowHTTP: u.Scheme == "http", Ports: []uint16{port}}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		a = a.Unmap()
		o.AllowNetworks = []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}
	} else {
		o.AllowHosts = []string{u.Hostname()}
	}
	if b.client, err = safehttp.New(o); err != nil {
		return err
	}
	b.url, err = b.client.CheckURL(b.o.URL)
	return err
}

// Host returns the host that is asked, for logs.
func (b *Backend) Host() string {
	if _, port, err := net.SplitHostPort(b.url.Host); err == nil && port != "" {
		return b.url.Host
	}
	return b.url.Hostname()
}

// Stats returns the figures.
func (b *Backend) Stats() Stats {
	c := &b.counters
	return Stats{c.asked.Load(), c.failed.Load(), c.shed.Load(), c.lost.Load(), b.breaker.IsOpen()}
}

// Close tells of the disconnects that wait, until ctx ends, and ends the
// backend. It is called after the server's Shutdown.
func (b *Backend) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.gone)
	}
	b.mu.Unlock()
	defer b.client.Close()
	defer b.cancel()
	done := make(chan struct{})
	go func() {
		b.goes.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		b.cancel()
		<-done
		return ctx.Err()
	}
}

// wants reports whether the backend is asked about an event.
func (b *Backend) wants(e Event) bool { return slices.Contains(b.o.Events, e) }

// refusal is what a peer is told when the backend gave no answer that counts;
// nil: it is allowed then.
func (b *Backend) refusal(e Event, err error) error {
	if !errors.Is(err, errDown) {
		return err
	}
	if slices.Contains(b.o.AllowDown, e) && !errors.Is(err, errRequest) {
		return nil
	}
	told := polywire.Errorf(polywire.CodeUnavailable, "cannot be decided now; try again")
	return fmt.Errorf("%w: %w", told, err) // the peer is told the first, the log has both
}
