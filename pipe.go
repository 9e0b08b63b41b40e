package polywire

import (
	"context"
	"time"
)

// Pipe wraps handling and sending. With pipes A, B and C registered in this
// order, a message goes in through A, B and C to the handler, and what is sent
// (by a [Target], a [Conn], or as a reply) goes out through C, B and A.
type Pipe interface {
	// Handler wraps the handling of messages.
	Handler(next Handler) Handler
	// Sender wraps the sending of messages.
	Sender(next Sender) Sender
}

// Sender is a step on the way out: it passes the message on, changed or not, or
// refuses with an error.
type Sender func(ctx context.Context, o *Outgoing) error

// Outgoing is a message on its way out. A pipe may change the fields.
type Outgoing struct {
	Kind   string
	Header map[string]string
	Value  any // the Go value or Payload to send

	conn    *Conn
	reply   bool
	call    bool
	deliver func(ctx context.Context, o *Outgoing) error
}

// Conn returns the only receiver, nil if there may be several.
func (o *Outgoing) Conn() *Conn { return o.conn }

// IsReply reports whether this is the answer to a call; Kind is the call's then.
func (o *Outgoing) IsReply() bool { return o.reply }

// IsCall reports whether Send returns with the receiver's answer, or that it has
// done what it was asked for, and not when the message is queued.
func (o *Outgoing) IsCall() bool { return o.call }

// SendOption changes how one message is sent.
type SendOption interface{ applySend(o *sendOptions) }

type sendOptions struct {
	header map[string]string
	answer answerOptions
	direct bool
	flags  sendFlags
}

// answerOptions are about the answer of a call.
type answerOptions struct {
	header *map[string]string // where the answer's headers go
	within time.Duration      // the longest wait; not positive: what the context says
	// subscription is where the answer to one goes; nil: nowhere.
	subscription *Subscription
}

// sendFlags are how a one-way message is sent.
type sendFlags struct {
	volatile     bool
	uncompressed bool
	inTurn       bool // only while there is room: see sendInTurn
	reach        bool // somebody must get it
}

type sendOptionFunc func(o *sendOptions)

func (f sendOptionFunc) applySend(o *sendOptions) { f(o) }

// WithHeader adds a header to the message.
func WithHeader(name, value string) SendOption {
	return sendOptionFunc(func(o *sendOptions) {
		if o.header == nil {
			o.header = make(map[string]string)
		}
		o.header[name] = value
	})
}

// ReplyHeaders stores the headers of a call's answer in *into; nil where it
// has none. It has no effect on one-way messages and on calls to a [Target].
func ReplyHeaders(into *map[string]string) SendOption {
	return sendOptionFunc(func(o *sendOptions) { o.answer.header = into })
}

// Timeout bounds the wait for a call's answer; an earlier end of the context
// wins. It does what context.WithTimeout does, for a fraction of the cost, and
// pipes do not see it. Not positive: as long as the context says, and where that
// says nothing [WithHandlerTimeout]. The error wraps context.DeadlineExceeded. It has no effect
// on one-way messages.
func Timeout(d time.Duration) SendOption { return timeout(d) }

type timeout time.Duration

func (t timeout) applySend(o *sendOptions) { o.answer.within = t.CallTimeout() }

// CallTimeout is for package service, whose calls may be several.
func (t timeout) CallTimeout() time.Duration { return time.Duration(t) }

// Direct sends past the pipes.
func Direct() SendOption { return sendOptionFunc(func(o *sendOptions) { o.direct = true }) }

// Volatile says that the message is worth nothing later: a receiver that
// cannot take it now (a write to it is under way, or it does not poll just now)
// goes without, which the hook Dropped is told. It has no effect on calls.
func Volatile() SendOption { return sendOptionFunc(func(o *sendOptions) { o.flags.volatile = true }) }

// Uncompressed sends the message as it is to peers whose links compress what
// is worth it: a JPEG, say. It has no effect on calls.
func Uncompressed() SendOption {
	return sendOptionFunc(func(o *sendOptions) { o.flags.uncompressed = true })
}

// MustReach makes [Target.Send] fail with [ErrNoConnections] when nobody was
// there to get the message, or nobody could take it. It has no effect on calls,
// which fail so anyway, and on what is sent to one connection.
func MustReach() SendOption { return sendOptionFunc(func(o *sendOptions) { o.flags.reach = true }) }

func applySend(opts []SendOption) sendOptions {
	if len(opts) == 0 { // what options may write to lies on the heap
		return sendOptions{}
	}
	var o sendOptions
	for _, opt := range opts {
		opt.applySend(&o)
	}
	return o
}

// throughPipes runs deliver behind the pipes, or at once where there are none.
func (s *Server) throughPipes(ctx context.Context, o *Outgoing, direct bool) error {
	if s.sender == nil || direct {
		return o.deliver(ctx, o)
	}
	return s.sender(ctx, o)
}
