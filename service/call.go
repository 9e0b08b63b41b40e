package service

import (
	"context"
	"fmt"
	"slices"

	"github.com/polywire/polywire"
)

// Call asks the service and decodes the answer into out; see
// [polywire.Conn.Call]. It takes at most the time of [WithTimeout]. While the
// first connections are being made it waits for them.
//
// Errors: those of [polywire.Conn.Call]; [ErrNotConnected]; [ErrOpen]. A call
// is tried again only as [WithRetry] says.
func (s *Service) Call(ctx context.Context, kind string, v, out any, opts ...polywire.SendOption) error {
	if len(opts) == 0 && s.cfg.retry == nil {
		return s.try(ctx, kind, v, out, callOptions{timeout: s.cfg.timeout, pattern: s.cfg.pattern, send: s.bound})
	}
	o := s.options(opts)
	if s.cfg.retry != nil && (o.idempotent || s.cfg.idempotent[kind]) {
		return s.retried(ctx, kind, v, out, o)
	}
	return s.try(ctx, kind, v, out, o)
}

// try calls once.
func (s *Service) try(ctx context.Context, kind string, v, out any, o callOptions) error {
	l, err := s.pick(o.pattern, true)
	if err == errNoneYet { //nolint:errorlint // as pick returns it
		if o.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, o.timeout)
			defer cancel()
		}
		if err = s.settle(ctx); err == nil {
			l, err = s.pick(o.pattern, true)
		}
	}
	s.calls.Add(1)
	if err != nil {
		s.rejected.Add(1)
		return s.unreachable(kind, err)
	}
	l.to.calls.Add(1)
	err = l.conn.Call(ctx, kind, v, out, o.send...)
	if err != nil || l.to.breaker != nil {
		s.judge(l.to, err)
	}
	return err
}

// judge records how a call to an address has ended.
func (s *Service) judge(to *endpoint, err error) {
	bad := blames(err)
	if bad {
		s.failed.Add(1)
		to.failed.Add(1)
	}
	if to.breaker != nil {
		to.record(err, bad)
	}
}

// Send sends a one-way message; see [polywire.Conn.Send]. It waits while the
// service does not read, as long as ctx says. Errors besides: [ErrNotConnected],
// [ErrOpen]. It is never tried again.
func (s *Service) Send(ctx context.Context, kind string, v any, opts ...polywire.SendOption) error {
	pattern := s.cfg.pattern
	if len(opts) > 0 {
		o := s.options(opts)
		pattern, opts = o.pattern, o.send
	}
	l, err := s.pick(pattern, false)
	if err == errNoneYet { //nolint:errorlint // as pick returns it
		limited, cancel := context.WithTimeout(ctx, s.cfg.timeout)
		if err = s.settle(limited); err == nil {
			l, err = s.pick(pattern, false)
		}
		cancel()
	}
	if err != nil {
		s.rejected.Add(1)
		return s.unreachable(kind, err)
	}
	s.sent.Add(1)
	return l.conn.Send(ctx, kind, v, opts...)
}

// unreachable is the error of a message that was not sent.
func (s *Service) unreachable(kind string, err error) error {
	if err == errNoneYet { //nolint:errorlint // as pick returns it
		err = ErrNotConnected
	}
	if err == ErrNotConnected { //nolint:errorlint // not wrapped yet
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.life != nil {
			if why := s.life.why(); why != nil {
				return fmt.Errorf("service: %q of %q: %w (%w)", kind, s.name, err, why)
			}
		}
	}
	return fmt.Errorf("service: %q of %q: %w", kind, s.name, err)
}

// pick chooses a connection: the pattern's choice, or else the next in turn,
// but none that has ended and none to an address whose breaker is open. Who
// asks takes a permit of that breaker.
func (s *Service) pick(p polywire.Pattern, asks bool) (link, error) {
	links := *s.links.Load()
	if len(links) == 0 {
		return link{}, errNoneYet
	}
	if p != nil {
		return pickBy(p, links, asks)
	}
	err := ErrNotConnected
	n, turn := uint32(len(links)), s.turn.Add(1)
	for i := range n {
		l := links[(turn+i)%n]
		switch {
		case l.conn.Err() != nil:
		case l.to.admits(asks):
			return l, nil
		default:
			err = ErrOpen
		}
	}
	return link{}, err
}

// pickBy lets a pattern choose among the connections, again and again without
// those that cannot be used.
func pickBy(p polywire.Pattern, links []link, asks bool) (link, error) {
	err := ErrNotConnected
	left := slices.Clone(links)
	for len(left) > 0 {
		members := make([]polywire.Member, len(left))
		for i, l := range left {
			members[i] = polywire.MemberOf(l.conn)
		}
		picked := p(members)
		if len(picked) == 0 {
			return link{}, polywire.ErrNoConnections
		}
		at := slices.IndexFunc(left, func(l link) bool { return l.conn == picked[0].Conn() })
		if at < 0 {
			return link{}, polywire.ErrNoConnections
		}
		chosen := left[at]
		switch {
		case chosen.conn.Err() != nil:
			left = slices.Delete(left, at, at+1)
		case chosen.to.admits(asks):
			return chosen, nil
		default:
			err = ErrOpen
			left = slices.DeleteFunc(left, func(l link) bool { return l.to == chosen.to })
		}
	}
	return link{}, err
}

// Future is a call whose answer is waited for later, by as many goroutines as
// like.
type Future struct {
	done chan struct{}
	err  error
}

// Go begins a call and returns at once; out is set when the future is done.
// The call ends with the service's disconnection at the latest.
func (s *Service) Go(ctx context.Context, kind string, v, out any, opts ...polywire.SendOption) *Future {
	f := &Future{done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		f.err = fmt.Errorf("service: %q of %q: %w", kind, s.name, ErrNotConnected)
		close(f.done)
		return f
	}
	s.life.group.Go(func() {
		defer close(f.done)
		f.err = s.Call(ctx, kind, v, out, opts...)
	})
	return f
}

// Done returns a channel that is closed when the call has ended.
func (f *Future) Done() <-chan struct{} { return f.done }

// Wait waits until the call has ended and returns its error, or until ctx
// ends and returns ctx's; the call goes on then.
func (f *Future) Wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
