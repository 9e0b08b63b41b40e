package service

import (
	"github.com/polywire/polywire"
)

// Health is how well a service can be reached.
type Health int

// The grades.
const (
	HealthDown    Health = iota + 1 // no connection
	HealthPartial                   // a connection is missing, or a breaker is not closed
	HealthUp                        // all connections, all breakers closed
)

// String returns the grade's name in lower case.
func (h Health) String() string {
	switch h {
	case HealthDown:
		return "down"
	case HealthPartial:
		return "partial"
	case HealthUp:
		return "up"
	}
	return "unknown"
}

// Stats are a service's figures since it was registered, and how it is now.
type Stats struct {
	Name     string
	Health   Health
	Open     int    // connections now
	Wanted   int    // connections there should be
	Calls    uint64 // tries to call, those that were rejected too
	Sent     uint64 // one-way messages
	Failed   uint64 // calls that the service is to blame for; see [Breaker]
	Retries  uint64 // tries after a call's first one
	Rejected uint64 // messages that went nowhere: no connection, or open breakers
	// Resolve is what the resolver's last answer was wrong with, nil mostly.
	Resolve   error
	Addresses []AddressStats
}

// AddressStats are the figures of one address since it was found.
type AddressStats struct {
	Address Address
	Open    int
	Wanted  int
	Breaker BreakerState // zero without one
	Calls   uint64
	Failed  uint64
	// Why is the reason why a connection is missing, nil if none is.
	Why error
}

// Stats returns the figures. They are read one by one, so a sum over several
// may be off by what happens meanwhile.
func (s *Service) Stats() Stats {
	stats := Stats{
		Name: s.name, Health: HealthDown,
		Calls: s.calls.Load(), Sent: s.sent.Load(), Failed: s.failed.Load(),
		Retries: s.retries.Load(), Rejected: s.rejected.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		return stats
	}
	stats.Resolve = s.life.problem
	calm := true
	for _, e := range s.life.endpoints {
		a := e.stats()
		calm = calm && (a.Breaker == 0 || a.Breaker == BreakerClosed)
		stats.Open += a.Open
		stats.Wanted += a.Wanted
		stats.Addresses = append(stats.Addresses, a)
	}
	switch {
	case stats.Open == 0:
	case stats.Open < stats.Wanted || !calm:
		stats.Health = HealthPartial
	default:
		stats.Health = HealthUp
	}
	return stats
}

func (e *endpoint) stats() AddressStats {
	a := AddressStats{Address: e.address, Wanted: len(e.members), Calls: e.calls.Load(), Failed: e.failed.Load()}
	if e.breaker != nil {
		a.Breaker = breakerState(e.breaker.State())
	}
	for _, m := range e.members {
		switch {
		case m.conn != nil:
			a.Open++
		case a.Why == nil:
			a.Why = m.why
		}
	}
	return a
}

// Stats returns the figures of all services, by name.
func (r *Registry) Stats() []Stats {
	services := r.Services()
	all := make([]Stats, len(services))
	for i, s := range services {
		all[i] = s.Stats()
	}
	return all
}

// Conns returns the open connections, for what this package does not do:
// subscriptions, identities, closing one.
func (s *Service) Conns() []*polywire.Conn {
	links := *s.links.Load()
	all := make([]*polywire.Conn, len(links))
	for i, l := range links {
		all[i] = l.conn
	}
	return all
}
