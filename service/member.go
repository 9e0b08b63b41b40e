package service

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/backoff"
)

// errNoneYet is what pick says where there is no connection at all.
var errNoneYet = errors.New("no connection yet")

// life is the time from Connect to Disconnect. The service's mutex guards it.
type life struct {
	ctx       context.Context //nolint:containedctx // it is the life
	stop      context.CancelFunc
	group     sync.WaitGroup // joined by those who hold the mutex and see that the life goes on
	endpoints []*endpoint
	again     chan struct{} // asks the resolver; holds one
	resolved  bool
	problem   error         // of the resolver
	settled   chan struct{} // closed when there is a connection, or none could be made
	calm      bool          // settled is closed
	changed   chan struct{} // closed and replaced on each change
}

// endpoint is one address.
type endpoint struct {
	address       Address
	members       []*member
	breaker       circuitbreaker.CircuitBreaker[any] // or nil
	calls, failed atomic.Uint64
}

// member is one connection to an address, or the try to get one.
type member struct {
	svc     *Service
	life    *life
	to      *endpoint
	client  *client.Client
	retired chan struct{} // closed when the address is gone

	conn  *polywire.Conn // the following are guarded by the service's mutex
	why   error          // why there is none
	tried bool
	ended bool // for good
}

// members returns all members of all addresses.
func (l *life) members() iter.Seq[*member] {
	return func(yield func(*member) bool) {
		for _, e := range l.endpoints {
			for _, m := range e.members {
				if !yield(m) {
					return
				}
			}
		}
	}
}

// tell wakes those who wait for a change. The service's mutex must be held.
func (l *life) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// refresh asks the resolver soon.
func (l *life) refresh() {
	select {
	case l.again <- struct{}{}:
	default:
	}
}

// why is a reason for having no connection; nil where none is known yet.
func (l *life) why() error {
	for m := range l.members() {
		if m.conn == nil && m.why != nil {
			return &DialError{URL: m.to.address.String(), Err: m.why}
		}
	}
	return l.problem
}

// over reports whether nobody tries to connect any more.
func (l *life) over() bool {
	if len(l.endpoints) == 0 {
		return false
	}
	for m := range l.members() {
		if !m.ended {
			return false
		}
	}
	return true
}

// start begins a life, or wakes members that had given up.
func (s *Service) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
		return polywire.ErrClosed
	case s.life != nil:
		for m := range s.life.members() {
			if m.ended {
				m.ended = false
				s.life.group.Go(m.run)
			}
		}
		return nil
	}
	l := &life{again: make(chan struct{}, 1), settled: make(chan struct{}), changed: make(chan struct{})}
	l.ctx, l.stop = context.WithCancel(context.Background())
	s.life = l
	if s.cfg.resolver != nil {
		l.group.Go(func() { s.resolve(l) })
		return nil
	}
	fresh, err := s.adopt(l, s.cfg.addresses)
	if err != nil {
		l.stop()
		s.life = nil
		return err
	}
	l.resolved = true
	l.begin(fresh)
	return nil
}

// begin lets members connect.
func (l *life) begin(fresh []*member) {
	for _, m := range fresh {
		l.group.Go(m.run)
	}
}

// resolve asks the resolver again and again.
func (s *Service) resolve(l *life) {
	wait := &backoff.Backoff{Min: soonest, Max: s.cfg.every}
	for {
		ctx, cancel := context.WithTimeout(l.ctx, resolveTime)
		found, err := s.cfg.resolver.Resolve(ctx)
		cancel()
		if l.ctx.Err() != nil {
			return
		}
		s.resolved(l, found, err)
		pause := s.cfg.every
		if err != nil {
			pause = max(wait.Next(), soonest)
		} else {
			wait.Reset()
		}
		if !sleep(l.ctx, nil, soonest) || !sleep(l.ctx, l.again, pause-soonest) {
			return
		}
	}
}

// sleep waits, less when something comes over wake. It reports whether ctx lives on.
func sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
		return false
	}
	return true
}

func (s *Service) resolved(l *life, found []Address, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != l {
		return
	}
	l.resolved, l.problem = true, err
	if err == nil {
		var fresh []*member
		fresh, l.problem = s.adopt(l, found)
		l.begin(fresh)
	}
	s.publish(l)
}

// adopt makes the endpoints those of the addresses, and returns the new ones'
// members. The error is about addresses that cannot be dialled at all.
func (s *Service) adopt(l *life, addresses []Address) (fresh []*member, err error) {
	var all []*endpoint
	known := func(in []*endpoint, a Address) int {
		return slices.IndexFunc(in, func(e *endpoint) bool { return e.address == a })
	}
	for _, a := range addresses[:min(len(addresses), MaxAddresses)] {
		if known(all, a) >= 0 {
			continue
		}
		if i := known(l.endpoints, a); i >= 0 {
			all = append(all, l.endpoints[i])
			continue
		}
		e, why := s.endpoint(l, a)
		if why != nil {
			err = errors.Join(err, why)
			continue
		}
		all = append(all, e)
		fresh = append(fresh, e.members...)
	}
	for _, e := range l.endpoints {
		if known(all, e.address) < 0 {
			for _, m := range e.members {
				close(m.retired)
			}
		}
	}
	l.endpoints = all
	return fresh, err
}

func (s *Service) endpoint(l *life, a Address) (*endpoint, error) {
	e := &endpoint{address: a}
	if s.cfg.breaker != nil {
		e.breaker = s.cfg.breaker.breakerOf(a.String())
	}
	for range s.cfg.connections {
		m := &member{svc: s, life: l, to: e, retired: make(chan struct{})}
		opts := append([]client.Option{client.WithBackoff(s.cfg.shortest, s.cfg.longest)}, s.cfg.client...)
		opts = append(opts, client.WithHooks(m.hooks()))
		if dial := s.dialer(a); dial != nil {
			opts = append(opts, client.WithNetDial(dial))
		}
		var err error
		if m.client, err = client.New(a.URL, opts...); err != nil {
			return nil, err
		}
		for _, h := range s.handlers {
			m.client.Handle(h.pattern, h.handler)
		}
		e.members = append(e.members, m)
	}
	return e, nil
}

// dialer returns what opens network connections to an address; nil: as usual.
func (s *Service) dialer(a Address) func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := s.cfg.netDial
	if a.Host == "" {
		return dial
	}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, network, a.connectTo(address))
	}
}

// publish makes the open connections those that are picked from. The service's
// mutex must be held.
func (s *Service) publish(l *life) {
	if s.life != l {
		return
	}
	links := make([]link, 0, len(*s.links.Load())+1)
	tried := true
	for m := range l.members() {
		tried = tried && m.tried
		if m.conn != nil {
			links = append(links, link{m.conn, m.to})
		}
	}
	s.links.Store(&links)
	if !l.calm && (len(links) > 0 || l.resolved && tried) {
		l.calm = true
		close(l.settled)
	}
	l.tell()
}

// settle waits until there is a connection, or none could be made at first.
func (s *Service) settle(ctx context.Context) error {
	s.mu.Lock()
	l := s.life
	s.mu.Unlock()
	if l == nil {
		return ErrNotConnected
	}
	select {
	case <-l.settled:
		return nil
	case <-l.ctx.Done():
		return ErrNotConnected
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lasting is how long a connection lasts that lets the backoff begin anew.
const lasting = 10 * time.Second

// run keeps the member connected until the life is over, the address is gone,
// or the service refuses for good. Package client does the most of it; it does
// not repeat a first try that failed.
func (m *member) run() {
	wait := &backoff.Backoff{Min: m.svc.cfg.shortest, Max: m.svc.cfg.longest}
	for {
		began := time.Now()
		err := m.client.Connect(m.life.ctx)
		if err == nil && !m.stay() {
			_ = m.client.Close() // has no error to tell
			return
		}
		if err == nil {
			err = m.client.Err()
		}
		if m.life.ctx.Err() != nil || m.failed(err) {
			return
		}
		if time.Since(began) >= lasting {
			wait.Reset()
		}
		if !sleep(m.life.ctx, m.retired, wait.Next()) || m.isRetired() {
			return
		}
	}
}

// stay waits while the client is at work, and reports whether it has ended by
// itself. An address that is gone gets the time to answer what it was asked.
func (m *member) stay() bool {
	select {
	case <-m.client.Done():
		return true
	case <-m.retired:
		sleep(m.life.ctx, nil, m.svc.cfg.timeout)
	case <-m.life.ctx.Done():
	}
	return false
}

func (m *member) isRetired() bool {
	select {
	case <-m.retired:
		return true
	default:
		return false
	}
}

// failed notes why a client has ended, and reports whether that is for good.
func (m *member) failed(why error) bool {
	if why == nil {
		why = fmt.Errorf("service: %w", polywire.ErrConnClosed)
	}
	m.svc.mu.Lock()
	defer m.svc.mu.Unlock()
	m.conn, m.why, m.tried, m.ended = nil, why, true, final(why)
	m.svc.publish(m.life)
	return m.ended
}

// up is called when there is a connection.
func (m *member) up(conn *polywire.Conn) {
	m.svc.mu.Lock()
	defer m.svc.mu.Unlock()
	m.conn, m.why, m.tried = conn, nil, true
	m.svc.publish(m.life)
}

// down is called when a connection has ended.
func (m *member) down(why error) {
	m.svc.mu.Lock()
	defer m.svc.mu.Unlock()
	m.conn, m.why = nil, why
	m.life.refresh()
	m.svc.publish(m.life)
}

// missed is called before the client waits for another try.
func (m *member) missed(_ int, _ time.Duration, why error) {
	m.svc.mu.Lock()
	defer m.svc.mu.Unlock()
	m.why = why
	m.svc.publish(m.life)
}
