package polywire

import "context"

// cleanup is what is left to do when a message has been answered and nobody
// looks at the result any more.
type cleanup struct {
	do   func(v any)
	with any
	next *cleanup // what was there before
}

// cleanUp does what was left for later. A panic is reported and nothing more:
// the answer is out.
func (l *link) cleanUp(r *request) {
	if r.cleanup == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			_ = l.srv.panickedIn("release after "+r.kind, p) // which reports it
		}
	}()
	for c := r.cleanup; c != nil; c = c.next {
		c.do(c.with)
	}
}

// HandleNew is [HandleFunc] with a constructor, so that values can be used more
// than once: newIn returns the value that the payload is decoded into, and
// release gets it when the handler has returned and the answer is encoded; nil:
// nobody. So the answer may be, or refer to, the argument; but nothing that the
// handler has started may keep it. A value whose handler panicked is not released.
//
// Decoders leave alone what a payload does not mention: with a sync.Pool, clear
// the value before it goes back, or one peer sees what another has sent.
func HandleNew[In, Out any](r Registrar, kind string, newIn func() *In, release func(*In), f func(ctx context.Context, in *In) (*Out, error)) {
	if newIn == nil || f == nil {
		r.Handle(kind, nil) // which reports it
		return
	}
	giveBack := func(v any) {
		if in, ok := v.(*In); ok {
			release(in)
		}
	}
	r.Handle(kind, func(ctx context.Context, m *Message) (any, error) {
		in := newIn()
		err := m.Bind(in)
		var out *Out
		if err == nil {
			out, err = f(ctx, in)
		}
		if release != nil {
			m.cleanup = &cleanup{giveBack, in, m.cleanup}
		}
		if err != nil || out == nil {
			return nil, err
		}
		return out, nil
	})
}

// Rewrite replaces the first argument by a Go value, for the handlers behind a
// pipe or middleware. It is encoded in the content type that the argument came
// in, where v can be said in that.
func (m *Message) Rewrite(v any) error {
	p, err := m.conn.link.srv.cfg.codecs.Marshal(v, m.payload.Type)
	if err != nil {
		return err
	}
	m.payload = p
	return nil
}
