package polywire

import "context"

// Handler answers messages: a function, or a method of a type with more to it.
// For a call, a returned error becomes the wire's error form, [NoReply] sends
// nothing, and any other value is the reply: nil an empty one, a [Payload] as it
// is, [Args] several arguments, anything else encoded by the application's
// codecs. For a one-way message the value is ignored and an error goes to the
// hooks and the log.
//
// ctx ends when the time to handle is over, when the connection ends, and when
// the handler returns.
type Handler func(ctx context.Context, m *Message) (any, error)

type noReply struct{}

// NoReply is returned by handlers that do not answer a call: the caller waits
// until its time is over, or is answered in another way.
func NoReply() any { return noReply{} }

// Answerer is implemented by a handler's results that want something of the
// message that they answer, such as an id of the application's own.
type Answerer interface {
	// Answer returns what to send in place of the result.
	Answer(m *Message) any
}

// Middleware wraps a handler. It sees every message, also of unknown kinds.
type Middleware func(next Handler) Handler

// Chain returns a handler that runs others in order on the same message, which
// they may tell each other something by (see [Message.SetValue]). The first
// error ends it; the result is the last one's.
func Chain(handlers ...Handler) Handler {
	return func(ctx context.Context, m *Message) (result any, err error) {
		for _, h := range handlers {
			if result, err = h(ctx, m); err != nil {
				return nil, err
			}
		}
		return result, nil
	}
}

// HandleFunc registers a typed handler: the payload is decoded into a new In,
// and a payload that does not decode is refused with [CodeBadRequest]. A nil
// Out is an empty reply. [MessageFrom] finds the message in ctx.
func HandleFunc[In, Out any](r Registrar, kind string, f func(ctx context.Context, in *In) (*Out, error)) {
	r.Handle(kind, func(ctx context.Context, m *Message) (any, error) {
		in := new(In)
		if err := m.Bind(in); err != nil {
			return nil, err
		}
		out, err := f(ctx, in)
		if err != nil || out == nil {
			return nil, err
		}
		return out, nil
	})
}

// Registrar is what handlers are registered on: a [Server], a [Mux], a client.
type Registrar interface {
	// Handle registers a handler for a kind, a prefix ("chat.*") or all else ("*").
	Handle(pattern string, h Handler)
}

type messageKey struct{}

// MessageFrom returns the message that is being handled under ctx. It is nil
// when there is none, also when its handler has returned: a goroutine that goes
// on then takes what it needs from the message before.
func MessageFrom(ctx context.Context) *Message {
	m, _ := ctx.Value(messageKey{}).(*Message)
	return m
}

// connFrom returns the connection of the message whose context ctx is, or nil.
func connFrom(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}
