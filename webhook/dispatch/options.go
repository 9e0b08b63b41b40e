package dispatch

import (
	"cmp"
	"fmt"
	"time"

	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
)

// Options are a dispatcher's. Broker, Client and the three stores are needed; zero
// values elsewhere are good.
type Options struct {
	// Broker has the queues. The dispatcher handles those whose names begin with
	// Name and leaves the broker open when it is closed.
	Broker *queue.Broker
	// Client makes the requests, and says where they may go.
	Client *webhook.Client
	// Endpoints, Events and Attempts are the stores.
	Endpoints Endpoints
	Events    Events
	Attempts  Attempts

	// Name begins the names of the queues: letters, digits, '-' and '_', at most 32.
	// Empty: "webhooks". Dispatchers that share the work have the same one.
	Name string
	// PublishOnly makes no deliveries: other programs do.
	PublishOnly bool
	// Concurrency is how many deliveries are in hand at a time, running or about to
	// run. Zero: 2048; at most 4096. Endpoints have limits of their own.
	Concurrency int
	// MaxEventBytes is the most that an event's data may have as JSON. Zero: 256 KiB.
	MaxEventBytes int
	// Lease is for how long the queue leaves a delivery to a program that gives no
	// sign of life. Zero: 30 s; at least 1 s. Signs are given while an attempt
	// runs, however long its timeout.
	Lease time.Duration

	// Breaker keeps attempts away from an endpoint that fails.
	Breaker Breaker
	// DisableAfter is how long an endpoint may fail without a success before it is
	// disabled. Zero: five days; negative: for ever.
	DisableAfter time.Duration
	// Operations is the id of an endpoint that is told what happens to the others,
	// whatever its types; see [TypeDisabled]. Empty: none.
	Operations string
	// LogTimeout is how long a delivery waits for its attempt to be kept, with all
	// tries. Zero: 10 s. After that it goes on without; see Hooks.LogFailed.
	LogTimeout time.Duration

	// Hooks are told what happens, in this order.
	Hooks []Hooks
}

// TypeDisabled is the type of the event that Options.Operations gets when an
// endpoint was disabled by a rule. Its data has "endpoint", "reason" and, of a long
// failure, "failing_since".
const TypeDisabled = "webhook.endpoint.disabled"

// Breaker says when an endpoint is left alone: when it had Samples attempts within
// Window, and the share Rate of them failed, nothing is sent to it for Delay. Then
// one attempt is made, which decides. The zero value is the default.
type Breaker struct {
	Samples int           // zero: 10; negative: no breaker
	Rate    float64       // from 0 to 1; zero: 0.7
	Window  time.Duration // zero: 5 min
	Delay   time.Duration // zero: 30 s
}

// BreakerState is the state of an endpoint's breaker.
type BreakerState int

// The states of a breaker. Zero is invalid.
const (
	BreakerClosed   BreakerState = iota + 1 // attempts are made
	BreakerOpen                             // none are, for a while
	BreakerHalfOpen                         // one is, and decides
)

// String returns a lower-case word.
func (s BreakerState) String() string {
	switch s {
	case BreakerClosed:
		return "closed"
	case BreakerOpen:
		return "open"
	case BreakerHalfOpen:
		return "half-open"
	}
	return fmt.Sprintf("BreakerState(%d)", int(s))
}

// MarshalText is String.
func (s BreakerState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

const maxConcurrency = 4096

func (o Options) withDefaults() (Options, error) {
	o.Name = cmp.Or(o.Name, "webhooks")
	o.Concurrency = cmp.Or(o.Concurrency, 2048)
	o.MaxEventBytes = cmp.Or(o.MaxEventBytes, 256<<10)
	o.Lease = cmp.Or(o.Lease, 30*time.Second)
	o.DisableAfter = cmp.Or(o.DisableAfter, 5*24*time.Hour)
	o.LogTimeout = cmp.Or(o.LogTimeout, 10*time.Second)
	b := &o.Breaker
	b.Samples, b.Rate = cmp.Or(b.Samples, 10), cmp.Or(b.Rate, 0.7)
	b.Window, b.Delay = cmp.Or(b.Window, 5*time.Minute), cmp.Or(b.Delay, 30*time.Second)
	switch {
	case o.Broker == nil || o.Client == nil:
		return o, fmt.Errorf("%w: a dispatcher needs a broker and a client", ErrInvalid)
	case o.Endpoints == nil || o.Events == nil || o.Attempts == nil:
		return o, fmt.Errorf("%w: a dispatcher needs stores of endpoints, events and attempts", ErrInvalid)
	case !validName(o.Name):
		return o, fmt.Errorf("%w: name %.100q", ErrInvalid, o.Name)
	case o.Concurrency < 1 || o.Concurrency > maxConcurrency:
		return o, fmt.Errorf("%w: concurrency %d is not between 1 and %d", ErrInvalid, o.Concurrency, maxConcurrency)
	case o.MaxEventBytes < 1 || o.Lease < time.Second || o.LogTimeout < 0:
		return o, fmt.Errorf("%w: a size or a time is too small", ErrInvalid)
	case !(b.Rate > 0 && b.Rate <= 1) || b.Window < time.Second || b.Delay <= 0:
		return o, fmt.Errorf("%w: breaker %+v", ErrInvalid, *b)
	case o.Operations != "" && !validID(o.Operations):
		return o, fmt.Errorf("%w: the operations' endpoint: %w", ErrInvalid, webhook.ErrID)
	}
	return o, nil
}

func validName(s string) bool {
	for i := range len(s) {
		switch ch := s[i]; {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', ch == '-', ch == '_':
		default:
			return false
		}
	}
	return len(s) <= 32
}

// Hooks observe a dispatcher; they never change what it does. Every field may be
// nil. They run where the thing happens, so they should be quick and must not
// panic; many may run at the same time. Nothing that they get has secrets in it.
type Hooks struct {
	// Published is called when Publish has ended: with how many endpoints the event
	// goes to, and its result.
	Published func(e webhook.Event, endpoints int, took time.Duration, err error)
	// Attempted is called after an attempt was made and its delivery's state changed,
	// and for a delivery that was given up without one.
	Attempted func(e Entry)
	// Parked is called when a delivery goes back to the queue without an attempt,
	// because its endpoint takes no more for now.
	Parked func(endpoint, event string, wait time.Duration)
	// BreakerChanged is called when an endpoint's breaker changes its state here.
	BreakerChanged func(endpoint string, from, to BreakerState)
	// Disabled is called when a rule has disabled an endpoint.
	Disabled func(endpoint, reason string)
	// LogFailed is called when an attempt could not be kept. What the receiver has
	// is not sent again for that.
	LogFailed func(e Entry, err error)
	// Trouble is called when something failed that is tried again: the watch of
	// endpoints, a change of one, an operational event.
	Trouble func(err error)
}

// mergeHooks returns hooks that call all, with no nil field.
func mergeHooks(all []Hooks) Hooks {
	return Hooks{
		Published: func(e webhook.Event, endpoints int, took time.Duration, err error) {
			each(all, func(h Hooks) bool { return h.Published != nil }, func(h Hooks) { h.Published(e, endpoints, took, err) })
		},
		Attempted: func(e Entry) {
			each(all, func(h Hooks) bool { return h.Attempted != nil }, func(h Hooks) { h.Attempted(e) })
		},
		Parked: func(endpoint, event string, wait time.Duration) {
			each(all, func(h Hooks) bool { return h.Parked != nil }, func(h Hooks) { h.Parked(endpoint, event, wait) })
		},
		BreakerChanged: func(endpoint string, from, to BreakerState) {
			each(all, func(h Hooks) bool { return h.BreakerChanged != nil }, func(h Hooks) { h.BreakerChanged(endpoint, from, to) })
		},
		Disabled: func(endpoint, reason string) {
			each(all, func(h Hooks) bool { return h.Disabled != nil }, func(h Hooks) { h.Disabled(endpoint, reason) })
		},
		LogFailed: func(e Entry, err error) {
			each(all, func(h Hooks) bool { return h.LogFailed != nil }, func(h Hooks) { h.LogFailed(e, err) })
		},
		Trouble: func(err error) {
			each(all, func(h Hooks) bool { return h.Trouble != nil }, func(h Hooks) { h.Trouble(err) })
		},
	}
}

func each(all []Hooks, has func(Hooks) bool, call func(Hooks)) {
	for _, h := range all {
		if has(h) {
			call(h)
		}
	}
}
