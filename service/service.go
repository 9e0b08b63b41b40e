// Package service calls other services: it keeps a few connections to each of
// their addresses, finds the addresses, spreads calls over them, gives up in
// time, tries again what may be tried again, and leaves alone what hangs. A
// service may speak any wire of package client.
//
//	services := service.New()
//	defer services.Close()
//	users, err := services.Register("users", []string{"tcp://10.0.0.7:7000", "tcp://10.0.0.8:7000"})
//	...
//	err = users.Call(ctx, "user.get", id, &user)
package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
)

// Errors of this package. Methods return them wrapped or not: use errors.Is.
var (
	// ErrExists is returned by Register for a name that is taken.
	ErrExists = errors.New("service: the name is taken")
	// ErrNotFound is returned by Deregister for a name that nobody has registered.
	ErrNotFound = errors.New("service: no such service")
	// ErrNotConnected is returned while no address of the service can be
	// reached, and after Disconnect. Its code is unavailable.
	ErrNotConnected = fmt.Errorf("service: not connected: %w",
		&polywire.Error{Code: polywire.CodeUnavailable, Message: "not connected"})
	// ErrOpen is returned while the circuit breakers of all addresses are open:
	// the call was not tried. Its code is unavailable.
	ErrOpen = fmt.Errorf("service: circuit breaker open: %w",
		&polywire.Error{Code: polywire.CodeUnavailable, Message: "circuit breaker open"})
)

// Registry knows services by their names. All methods may be called from many
// goroutines at once.
type Registry struct {
	defaults []Option

	mu       sync.Mutex
	services map[string]*Service
	closed   bool
}

// New returns an empty registry. The options hold for every service of it,
// before those that Register is given.
func New(defaults ...Option) *Registry {
	return &Registry{defaults: defaults, services: make(map[string]*Service)}
}

// Register makes a service known and begins to connect to it; it need not be
// there yet. The URLs are those of [client.New]; with [WithResolver] there are
// none. Errors: [ErrExists], [polywire.ErrClosed], or about the URLs and options.
func (r *Registry) Register(name string, urls []string, opts ...Option) (*Service, error) {
	s, err := newService(name, urls, append(slices.Clip(r.defaults), opts...))
	if err != nil {
		return nil, fmt.Errorf("service: %q: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, polywire.ErrClosed
	case r.services[name] != nil:
		return nil, fmt.Errorf("%w: %q", ErrExists, name)
	}
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("service: %q: %w", name, err)
	}
	r.services[name] = s
	return s, nil
}

// Lookup returns the service of a name, nil if there is none.
func (r *Registry) Lookup(name string) *Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.services[name]
}

// Services returns all services, by name.
func (r *Registry) Services() []*Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Service, 0, len(r.services))
	for _, s := range r.services {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Service) int { return cmp.Compare(a.name, b.name) })
	return all
}

// Deregister forgets a service and disconnects it for good; see
// [Service.Disconnect]. Error: [ErrNotFound].
func (r *Registry) Deregister(name string) error {
	r.mu.Lock()
	s := r.services[name]
	delete(r.services, name)
	r.mu.Unlock()
	if s == nil {
		return fmt.Errorf("%w: %q", ErrNotFound, name)
	}
	s.disconnect(true)
	return nil
}

// Close deregisters all services, and waits until their connections have
// ended. No other can be registered afterwards. The error is always nil; it is
// there for [io.Closer].
func (r *Registry) Close() error {
	r.mu.Lock()
	r.closed = true
	all := r.services
	r.services = make(map[string]*Service)
	r.mu.Unlock()
	var group sync.WaitGroup
	for _, s := range all {
		group.Go(func() { s.disconnect(true) })
	}
	group.Wait()
	return nil
}

// Service is another program, at one or several addresses, with some
// connections to each. All methods may be called from many goroutines at once.
type Service struct {
	name  string
	cfg   config
	bound []polywire.SendOption // the default timeout, for every call
	links atomic.Pointer[[]link]
	turn  atomic.Uint32

	calls, sent, failed, retries, rejected atomic.Uint64

	mu       sync.Mutex
	handlers []registration
	life     *life // nil while it is disconnected
	gone     bool  // deregistered
}

// link is an open connection.
type link struct {
	conn *polywire.Conn
	to   *endpoint
}

type registration struct {
	pattern string
	handler polywire.Handler
}

func newService(name string, urls []string, opts []Option) (*Service, error) {
	cfg := defaults()
	for _, o := range opts {
		if err := o.apply(&cfg); err != nil {
			return nil, err
		}
	}
	switch {
	case name == "":
		return nil, errors.New("a service needs a name")
	case cfg.resolver == nil && len(urls) == 0:
		return nil, errors.New("neither URLs nor a resolver")
	case cfg.resolver != nil && len(urls) > 0:
		return nil, errors.New("both URLs and a resolver")
	}
	for _, u := range urls {
		cfg.addresses = append(cfg.addresses, Address{URL: u})
	}
	s := &Service{
		name: name, cfg: cfg, handlers: cfg.handlers,
		bound: []polywire.SendOption{polywire.Timeout(cfg.timeout)},
	}
	s.links.Store(new([]link))
	return s, nil
}

// Name returns the name under which the service was registered.
func (s *Service) Name() string { return s.name }

// Handle registers a handler for what the service sends or asks, over any of
// the connections; see [polywire.Server.Handle]. What the service sends to
// everybody comes over each connection: see [Service.HandleOnce]. It may be
// called at any time; what arrived before has found no handler, see [WithHandler].
func (s *Service) Handle(pattern string, h polywire.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers = append(slices.Clip(s.handlers), registration{pattern, h})
	if s.life == nil {
		return
	}
	for m := range s.life.members() {
		m.client.Handle(pattern, h)
	}
}

// HandleOnce is Handle for what the service sends to everybody: of the
// connections to an address only the first one that is open counts, so that a
// broadcast is handled once. Calls are handled over any connection.
func (s *Service) HandleOnce(pattern string, h polywire.Handler) { s.Handle(pattern, s.once(h)) }

func (s *Service) once(h polywire.Handler) polywire.Handler {
	return func(ctx context.Context, m *polywire.Message) (any, error) {
		if !m.IsCall() && !s.first(m.Conn()) {
			return polywire.NoReply(), nil
		}
		return h(ctx, m)
	}
}

// first reports whether a connection is the first open one to its address.
func (s *Service) first(conn *polywire.Conn) bool {
	links := *s.links.Load()
	at := slices.IndexFunc(links, func(l link) bool { return l.conn == conn })
	return at == 0 || at > 0 && links[at-1].to != links[at].to
}

// Connected reports whether there is a connection.
func (s *Service) Connected() bool { return len(*s.links.Load()) > 0 }

// Connect connects again after Disconnect, or where all addresses have refused
// for good, and waits until there is a connection. When ctx ends before, its
// error comes with the last reason, and the service goes on trying. Other
// errors: [polywire.ErrClosed] when it was deregistered; a refusal for good.
func (s *Service) Connect(ctx context.Context) error {
	if err := s.start(); err != nil {
		return err
	}
	for {
		s.mu.Lock()
		l := s.life
		if l == nil {
			gone := s.gone
			s.mu.Unlock()
			if gone {
				return polywire.ErrClosed
			}
			return ErrNotConnected // disconnected meanwhile
		}
		changed, why, over := l.changed, l.why(), l.over()
		s.mu.Unlock()
		switch {
		case s.Connected():
			return nil
		case over:
			return fmt.Errorf("service: %q refuses for good: %w", s.name, why)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if why == nil {
				return fmt.Errorf("service: connect to %q: %w", s.name, ctx.Err())
			}
			return fmt.Errorf("service: connect to %q: %w (%w)", s.name, ctx.Err(), why)
		}
	}
}

// Disconnect ends all connections in an orderly way, without connecting again,
// and waits until they have ended. Calls in flight fail. It must not be called
// from a handler, which it would wait for.
func (s *Service) Disconnect() { s.disconnect(false) }

func (s *Service) disconnect(forGood bool) {
	s.mu.Lock()
	l := s.life
	s.life = nil
	s.gone = s.gone || forGood
	s.links.Store(new([]link))
	if l != nil {
		l.stop()
		l.tell()
	}
	s.mu.Unlock()
	if l != nil {
		l.group.Wait()
	}
}

// Refresh asks the resolver soon, not when its time has come: for discovery
// that hears of changes. It does not wait.
func (s *Service) Refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != nil {
		s.life.refresh()
	}
}

var _ polywire.Registrar = (*Service)(nil)

// DialError is why an address could not be reached.
type DialError struct {
	URL string // without its password
	Err error
}

// Error names the address.
func (e *DialError) Error() string { return e.URL + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *DialError) Unwrap() error { return e.Err }

// final reports whether a client that ended with err should not come back.
func final(err error) bool {
	var closed *polywire.CloseError
	return errors.Is(err, polywire.ErrConfig) || errors.As(err, &closed) && !closed.Code.Reconnect()
}

// hooks watch a member's client.
func (m *member) hooks() client.Hooks {
	return client.Hooks{
		Connect:    m.up,
		Disconnect: m.down,
		Retry:      m.missed,
	}
}
