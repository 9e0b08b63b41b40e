package polywire

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// LiveOption is an option that [Server.Reconfigure] takes as well.
type LiveOption interface {
	Option
	clear(c *config) // takes back what options of this kind have added up
}

// liveOption is an option that says all there is to say of its kind.
type liveOption struct {
	set   func(c *config) error
	begin func(c *config) // nil: nothing adds up
}

func (o liveOption) apply(c *config) error { return o.set(c) }

func (o liveOption) clear(c *config) {
	if o.begin != nil {
		o.begin(c)
	}
}

// live is the configuration as it is now. All but what live options change is
// as it was in the beginning.
type live struct{ atomic.Pointer[config] }

// now returns the configuration with what has been changed at run time.
func (s *Server) now() *config { return s.cfg.live.Load() }

// Reconfigure changes options of a server that may be running. Those that are
// given take the place of what was there of their kind; [WithOrigins] and
// [WithHostnames] given several times add up with one another. Connections that
// are there stay. Limits of how many and how fast hold for connections and
// messages that come from then on; a rate, or a limit for an address or a user
// where there was none before, for the connections that come from then on.
//
// With an error nothing has changed; it wraps [ErrConfig]. It may be called at
// any time, from any goroutine.
func (s *Server) Reconfigure(opts ...LiveOption) error {
	s.startMu.Lock() // one after the other
	defer s.startMu.Unlock()
	next := *s.now()
	for _, o := range opts {
		o.clear(&next)
	}
	var errs []error
	for _, o := range opts {
		if err := o.apply(&next); err != nil {
			errs = append(errs, fmt.Errorf("%w: %w", ErrConfig, err))
		}
	}
	if next.hosts != s.now().hosts { // what is in use is not touched
		if err := next.certificateNames(); err != nil {
			errs = append(errs, fmt.Errorf("%w: %w", ErrConfig, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.cfg.live.Store(&next)
	return nil
}
