package queue

import (
	"context"
	"time"
)

// Driver is what a kind of broker has to do. Drivers hold no policy: they do
// not retry handlers, count attempts or run anything of the user's. Methods may
// be called by many goroutines at once. A driver connects by itself, and
// connects again for as long as it is open; that the broker is away makes
// Publish fail with ErrUnavailable, and subscriptions wait.
//
// Drivers may also be a [Reporter], [Lister], [Purger] or [Browser].
type Driver interface {
	// Publish hands a message to the broker, and makes its queue if there is
	// none. It waits only while too many are unconfirmed, until ctx ends;
	// confirmations make room, whether anybody waits for them or not. What goes
	// wrong the receipt says. The envelope has an ID, At in place of Delay,
	// and valid fields; it is not changed before the receipt's Wait returned. A
	// message whose ID the driver has seen within its window counts as published.
	Publish(ctx context.Context, e *Envelope) Receipt
	// Consume begins to give the messages of a queue to r, and makes the queue
	// if there is none. It does not wait for the broker. An error says that the
	// queue can never be consumed like this; what may heal goes to r.Trouble.
	Consume(ctx context.Context, queue string, o ConsumeOptions, r Receiver) (Subscription, error)
	// WalkDead calls visit for the dead letters of a queue, oldest first, and
	// does what it says. It begins behind the letter whose Cursor is after;
	// empty: at the oldest. It ends when visit says so, ctx is done (with its
	// error), or all that were there when it began have been visited; those
	// that die meanwhile are not. visit may take its time. A letter may be
	// invisible to other walks until this one ends.
	WalkDead(ctx context.Context, queue, after string, visit Visit) error
	// Inspect returns figures about a queue; ErrNotFound if there is none.
	Inspect(ctx context.Context, queue string) (Depth, error)
	// Shutdown ends subscriptions as their Shutdown does, waits for unconfirmed
	// messages until ctx ends, and gives up the connections; receipts that are
	// left then end with ErrUnavailable. After it Publish gives ErrClosed.
	Shutdown(ctx context.Context) error
}

// Receipt stands for a message that has been handed to a broker.
type Receipt interface {
	// Wait returns nil when the broker has the message for good: its own
	// durability, not the network's. ErrUnavailable: it may or may not have it.
	// ErrUnroutable, ErrRefused, ErrTooLarge, ErrClosed: it does not. It returns
	// ctx's error when that ends first. It is called once at most.
	Wait(ctx context.Context) error
}

// ConsumeOptions say how a subscription gets its messages.
type ConsumeOptions struct {
	// Credit is how many claims may be unanswered at a time; at least 1. The
	// driver holds no more than that, in buffers of its own neither.
	Credit int
	// Ordered asks for the messages in the order in which they were published,
	// given to one of the queue's subscriptions only at a time, among all
	// programs; when it ends another takes over. Those that it returned or lost
	// come before those that never were delivered. Delayed ones come at their time.
	Ordered bool
	// Lease is how long a claim may stay unanswered without Extend; zero: the
	// driver's default. Drivers whose claims live as long as the connection
	// take no notice.
	Lease time.Duration
}

// Receiver takes what a subscription brings.
type Receiver interface {
	// Receive takes a message. It returns at once, and is called by one
	// goroutine at a time. Everything in the delivery is the receiver's to keep.
	Receive(in Incoming)
	// Trouble tells why the subscription does not work (the queue is declared
	// otherwise, was deleted, the right is missing). The driver keeps trying;
	// nil says that it works again.
	Trouble(err error)
}

// Incoming is a message with the claim to it.
type Incoming struct {
	Envelope

	// Lost is how often the broker gave it out before without an answer; see [Delivery].
	Lost int
	// Claim is how it is answered.
	Claim Claim
}

// Claim is the right to one message, until it is answered by one of Ack,
// Retry, Bury and Return. After nil the claim is used up. ErrStale: it was lost
// before, and nothing has changed; never may the answer touch another message.
// After another error it is still held and can be answered again; the broker
// may have done it all the same, so that the message comes twice. Methods of
// one claim are not called at the same time, except Extend, which may come late.
//
// A claim may also be a [Holder].
type Claim interface {
	// Ack gives the message up: it is done. It does not wait for the broker:
	// should the answer get lost on the way, the message comes again.
	Ack(ctx context.Context) error
	// Retry puts the message back as e says: with its new Attempts and
	// LastError, which its next delivery must show, and not before e.At. nil: the
	// broker has that for good. The rest of e is as it was delivered. It is no
	// duplicate of itself.
	Retry(ctx context.Context, e *Envelope) error
	// Bury makes the message a dead letter of its queue. nil: the broker has
	// that for good.
	Bury(ctx context.Context, d *Dead) error
	// Return gives the message back as if it had never been delivered, to be
	// delivered soon; the driver sees to it that this counts as little as its
	// broker lets it.
	Return(ctx context.Context) error
	// Extend begins the lease anew.
	Extend(ctx context.Context) error
}

// Holder is implemented by claims that can be lost with their connection.
type Holder interface {
	// Held reports whether the claim still holds, as far as is known without
	// asking the broker. What is lost before its handler ran is not run.
	Held() bool
}

// Subscription is one consumer of a queue. It survives outages of the broker.
type Subscription interface {
	// Stop ends the coming of messages: after it returned nil Receive is not
	// called any more. Claims stay good and can be answered.
	Stop(ctx context.Context) error
	// Shutdown is Stop, and gives back what is still unanswered.
	Shutdown(ctx context.Context) error
	// Lease is how long a claim lives without Extend; zero: as long as the connection.
	Lease() time.Duration
}

// Visit looks at a dead letter, which is the visitor's to keep, and says what
// becomes of it, and whether to go on with the next. The verdict has been
// carried out, and confirmed by the broker, when visit is called again or
// WalkDead returns nil; that it cannot be is WalkDead's error.
type Visit func(d *Dead) (v Verdict, next bool)

// Verdict is what becomes of a dead letter.
type Verdict int

// The verdicts.
const (
	Keep   Verdict = iota // it stays
	Replay                // it is published again with Attempts zero, then removed; it is no duplicate of itself
	Remove                // it is gone
)

// String returns "keep", "replay" or "remove".
func (v Verdict) String() string {
	switch v {
	case Replay:
		return "replay"
	case Remove:
		return "remove"
	default:
		return "keep"
	}
}

// Reason is why a message became a dead letter.
type Reason string

// The reasons.
const (
	ReasonDiscarded Reason = "discarded" // the handler said so, by Discard
	ReasonAttempts  Reason = "attempts"  // the last attempt failed
	ReasonLost      Reason = "lost"      // too many programs ended or lost their connection with it in hand
	ReasonBroker    Reason = "broker"    // the broker gave it up, by a limit of its own
)

// Dead is a dead letter. Attempts and LastError of the envelope include the last attempt.
type Dead struct {
	Envelope

	Reason Reason
	Stack  string // of the panic, or of the call of Discard; may be empty
	Died   time.Time
	// Cursor is its place among the dead letters of its queue, for the driver
	// that gave it. It holds until the letter is replayed or removed.
	Cursor string
}

// Depth is how much a queue holds. Minus one: the broker does not tell.
type Depth struct {
	Waiting int64     // could be delivered now
	Delayed int64     // wait for their time
	Unacked int64     // given out and not answered, to all programs
	Dead    int64     // dead letters
	Oldest  time.Time // when the oldest that waits was published; zero: none waits, or not known
}

// Connection is the state of a driver's connection.
type Connection int

// The states of a connection. Zero is invalid.
const (
	Connecting   Connection = iota + 1 // not there yet, or lost and tried again
	Connected                          // all is well
	Blocked                            // there, but the broker takes no messages for now (its alarm)
	Disconnected                       // closed for good
)

// String returns the name in lower case.
func (c Connection) String() string {
	switch c {
	case Connecting:
		return "connecting"
	case Connected:
		return "connected"
	case Blocked:
		return "blocked"
	case Disconnected:
		return "disconnected"
	default:
		return "invalid"
	}
}

// Status is what a driver tells about its connection.
type Status struct {
	Connection Connection
	Reason     string    // for people: the last error, or the broker's words
	Since      time.Time // of this state
	Reconnects int64     // connections made after the first
}

// Reporter is implemented by drivers whose connection can fail. Those without
// it count as connected.
type Reporter interface {
	// Report makes the driver call f with its status: now, and on each change,
	// one after the other. f returns at once. A later call takes f's place.
	Report(f func(Status))
}

// Lister is implemented by drivers that know the names of their queues.
type Lister interface {
	// Queues returns the names, sorted.
	Queues(ctx context.Context) ([]string, error)
}

// Purger is implemented by drivers that can empty a queue.
type Purger interface {
	// Purge removes the messages that wait, delayed ones too, and returns how
	// many, or -1 if the broker does not tell. Dead letters stay.
	Purge(ctx context.Context, queue string) (int64, error)
}

// Browser is implemented by drivers that can show messages without taking them.
type Browser interface {
	// Browse calls visit for messages that wait, oldest first, at most limit.
	Browse(ctx context.Context, queue string, limit int, visit func(e *Envelope) (next bool)) error
}
