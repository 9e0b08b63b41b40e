// Package queue is work that must not be lost: messages that a broker keeps
// until a handler has done them. [New] makes a [Broker], which publishes and
// handles, out of a [Driver], which knows one kind of broker. What a word
// promises is the same on every driver, and docs/queues.md says it at length:
// everything that can be decided once (retries, dead letters, order by key,
// timeouts, shutdown) is decided here, and the drivers only move messages.
// [Memory] is the driver for tests and small programs.
package queue

import (
	"context"
	"errors"
	"time"

	"github.com/polywire/polywire/codec"
)

// Limits of what can be published.
const (
	MaxNameBytes   = 80        // of a queue's name
	MaxIDBytes     = 128       // of a message's id
	MaxKeyBytes    = 255       // of its key, and of its kind
	MaxHeaders     = 64        // of a message
	MaxHeaderBytes = 16 << 10  // of all names and values of a message's headers
	MaxErrorBytes  = 1 << 10   // of an error's text that is kept; longer ones are cut
	MaxStackBytes  = 8 << 10   // of a stack that is kept
	MaxDelay       = 365 * day // of a message or a retry
)

const day = 24 * time.Hour

// Errors; test for them with errors.Is.
var (
	// ErrInvalid says that a name, a message or an option cannot be used.
	ErrInvalid = errors.New("queue: invalid")
	// ErrClosed says that the broker, or the driver, has been closed.
	ErrClosed = errors.New("queue: closed")
	// ErrUnavailable says that the broker cannot be reached, or did not confirm
	// in time: it may or may not have the message.
	ErrUnavailable = errors.New("queue: the broker is not available")
	// ErrUnroutable says that the broker has no queue for the message.
	ErrUnroutable = errors.New("queue: the message cannot be routed to a queue")
	// ErrRefused says that the broker is there and does not take the message:
	// the queue or the disk is full, or the right to do so is missing.
	ErrRefused = errors.New("queue: the broker refused")
	// ErrTooLarge says that the broker does not carry a message of this size.
	ErrTooLarge = errors.New("queue: message too large")
	// ErrStale says that a claim is no longer held: its connection or its lease
	// has ended, and the message is or will be delivered again.
	ErrStale = errors.New("queue: the message is no longer in hand")
	// ErrNotFound says that there is no such queue or dead letter.
	ErrNotFound = errors.New("queue: not found")
	// ErrUnsupported says that the driver cannot do this.
	ErrUnsupported = errors.New("queue: not supported by this driver")
)

// Message is what is published, and what a delivery brings.
type Message struct {
	// Queue is where it goes: 1 to MaxNameBytes bytes of printable UTF-8 that
	// neither begin nor end with a space. Drivers make queues on their first use.
	Queue string
	// ID tells messages apart: of several with the same one within the driver's
	// window only the first is kept. Empty: one is made. Visible ASCII.
	ID string
	// Key groups messages whose order matters; see [HandleOptions.Ordered].
	// Any valid UTF-8; empty: none.
	Key string
	// Kind is the routing name for handlers; any valid UTF-8, may be empty.
	Kind string
	// Header is carried as it is: "traceparent" and "tracestate" for instance.
	// Names are visible ASCII without ':', matter in their case, and do not
	// begin with "polywire-". Values are any valid UTF-8.
	Header map[string]string
	// Payload is the content; may be empty.
	Payload codec.Payload
	// At is when it may be delivered first; the zero time, or one in the past: now.
	At time.Time
	// Delay is At said from now on; positive, with At zero. In what a driver or
	// a handler sees it is zero.
	Delay time.Duration
}

// Envelope is a message on its way: with what its broker knows about it.
type Envelope struct {
	Message

	// Published is when Publish was first called, by that program's clock; the
	// zero time for a message that somebody else put into the broker.
	Published time.Time
	// Attempts is how many runs of a handler have failed since it was
	// published or replayed.
	Attempts int
	// LastError is the text of the last failure.
	LastError string
}

// Delivery is one attempt at a message. The handler may keep it and its bytes,
// and does not change them.
type Delivery struct {
	Envelope

	// Attempt is the number of this one, from 1.
	Attempt int
	// Last says that a failure of this attempt makes the message a dead letter.
	Last bool
	// Lost is how often the message was given out before without an answer,
	// because a program ended or lost its connection; as far as the broker tells.
	Lost int
}

// Handler does the work of a delivery. nil: it is done for good. An error: it
// is tried again as [HandleOptions] say; see [Discard] and [RetryAfter]. A
// panic is an error. The context ends with the handler's timeout, and when a
// shutdown's time is over.
type Handler func(ctx context.Context, d *Delivery) error

// Publisher is the half of a [Broker] that programs which only publish need.
type Publisher interface {
	// Publish returns nil only when the broker has the message for good, as
	// durable as its driver documents. After an error it may have it or not:
	// publish again with the same ID.
	Publish(ctx context.Context, m Message) error
	// PublishBatch publishes many, which share their waits. It returns nil when
	// the broker has all of them, and else a [*BatchError].
	PublishBatch(ctx context.Context, ms []Message) error
}

// Consumer is the other half.
type Consumer interface {
	// Handle begins to give the messages of a queue to h. A broker takes one
	// handler for each queue.
	Handle(queue string, h Handler, o HandleOptions) error
}

var (
	_ Publisher = (*Broker)(nil)
	_ Consumer  = (*Broker)(nil)
)
