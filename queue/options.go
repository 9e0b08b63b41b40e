package queue

import (
	"cmp"
	"fmt"
	"time"
)

// Options are a broker's. The zero value is good.
type Options struct {
	// PublishTimeout bounds a publish whose context has no deadline, with all
	// its attempts. Zero: 30 s; negative: no bound.
	PublishTimeout time.Duration
	// Dedup is for how long an id that was done in this program is remembered:
	// a further delivery of it is acknowledged and not handled. Zero: 2 min;
	// negative: not at all. At most MaxRemembered ids of a queue are.
	Dedup time.Duration
	// Hooks are told what happens, in this order.
	Hooks []Hooks
}

// MaxRemembered is how many ids of a queue are remembered to tell duplicates.
const MaxRemembered = 100_000

func (o Options) withDefaults() Options {
	o.PublishTimeout = cmp.Or(o.PublishTimeout, 30*time.Second)
	o.Dedup = cmp.Or(o.Dedup, 2*time.Minute)
	return o
}

// HandleOptions say how a queue's messages are handled. The zero value is good.
type HandleOptions struct {
	// Concurrency is how many handlers of this queue run at a time, in this
	// program. Zero: 1.
	Concurrency int
	// Prefetch is how many more messages are in hand, so that a worker need not
	// wait for its next one. Zero: as many as Concurrency, or 64 if that is more
	// and Ordered is set; negative: none. At most MaxCredit with Concurrency.
	Prefetch int
	// Ordered makes messages with the same Key wait for each other, in the order
	// in which they were published: retries take place while the message is in
	// hand, and those behind it wait, beyond a crash too. Messages of other keys
	// and without one go on. Only one program has the queue at a time. Messages
	// with a delay take their place when it is over.
	Ordered bool
	// Timeout ends the context of an attempt. The message stays in hand until
	// the handler returns. Zero: 5 min; negative: no bound.
	Timeout time.Duration
	// Lease is for how long the broker leaves a message to a program that does
	// not give a sign of life; while a handler runs signs are given. Zero: the
	// driver's default. Brokers that hold messages for as long as the connection
	// is open take no notice.
	Lease time.Duration
	// MaxAttempts is how often a message is tried before it becomes a dead
	// letter. Zero: 5; negative: for ever.
	MaxAttempts int
	// MaxLost is how often a message may be in the hands of programs that end
	// or lose their connection, before it becomes a dead letter: the one that
	// kills them must not go round for ever. Zero: 100; negative: no bound.
	MaxLost int
	// Backoff is the wait between attempts.
	Backoff Backoff
}

// MaxCredit is how many messages of a queue a program may have in hand.
const MaxCredit = 10_000

func (o HandleOptions) withDefaults() (HandleOptions, error) {
	var err error
	if o.Backoff, err = o.Backoff.withDefaults(); err != nil {
		return o, err
	}
	if o.Concurrency < 0 || o.Lease < 0 {
		return o, fmt.Errorf("%w: negative concurrency or lease", ErrInvalid)
	}
	o.Concurrency = cmp.Or(o.Concurrency, 1)
	switch {
	case o.Prefetch < 0:
		o.Prefetch = 0
	case o.Prefetch == 0 && o.Ordered:
		o.Prefetch = max(o.Concurrency, 64)
	case o.Prefetch == 0:
		o.Prefetch = o.Concurrency
	}
	if o.Concurrency > MaxCredit || o.Prefetch > MaxCredit-o.Concurrency {
		return o, fmt.Errorf("%w: more than %d messages in hand", ErrInvalid, MaxCredit)
	}
	o.Timeout = cmp.Or(o.Timeout, 5*time.Minute)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 5)
	o.MaxLost = cmp.Or(o.MaxLost, 100)
	return o, nil
}
