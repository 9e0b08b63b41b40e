package dispatch

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// counters are those of a dispatcher.
type counters struct {
	accepted, refused                atomic.Int64
	attempts, delivered, retried     atomic.Int64
	failed, dropped, parked, removed atomic.Int64
	repeated, logFailed, disabled    atomic.Int64
	logFailedAt                      atomic.Int64 // Unix nanoseconds; zero: the last one was kept
}

func (c *counters) published(err error) {
	if err == nil {
		c.accepted.Add(1)
	} else {
		c.refused.Add(1)
	}
}

func (c *counters) note(e Entry) {
	if e.State != StateDropped {
		c.attempts.Add(1)
	}
	switch e.State {
	case StateDelivered:
		c.delivered.Add(1)
	case StateScheduled:
		c.retried.Add(1)
	case StateFailed:
		c.failed.Add(1)
	case StateDropped:
		c.dropped.Add(1)
	}
}

type endpointCounters struct{ attempts, delivered, failed, dropped atomic.Int64 }

func (c *endpointCounters) note(e Entry) {
	switch e.State {
	case StateDropped:
		c.dropped.Add(1)
		return
	case StateDelivered:
		c.delivered.Add(1)
	case StateFailed:
		c.failed.Add(1)
	case StateScheduled:
	}
	c.attempts.Add(1)
}

// Stats are a dispatcher's figures in this program, since it was made.
type Stats struct {
	Accepted  int64 // events whose Publish returned nil
	Refused   int64 // and an error
	Attempts  int64
	Delivered int64 // deliveries that a receiver has
	Retried   int64 // attempts that failed and are made again
	Failed    int64 // deliveries whose last try failed
	Dropped   int64 // deliveries given up because their endpoint is disabled
	Removed   int64 // deliveries given up because their endpoint was removed
	Parked    int64 // times that a delivery was put back because its endpoint took no more
	Repeated  int64 // deliveries that the queue brought again after they were made
	LogFailed int64 // attempts that could not be kept
	Disabled  int64 // endpoints disabled by a rule
	// Watching is empty while changes of endpoints are seen at once, else it says
	// why not.
	Watching  string
	Endpoints map[string]EndpointStats
}

// EndpointStats are the figures of one endpoint in this program.
type EndpointStats struct {
	Enabled   bool
	Breaker   BreakerState
	Running   int           // attempts
	Waiting   int           // deliveries in hand that are about to run
	Took      time.Duration // by an attempt, of late
	Attempts  int64
	Delivered int64
	Failed    int64 // deliveries
	Dropped   int64
	Parked    int64
	// FailingSince is when the first attempt after a success failed; zero: all is well.
	FailingSince time.Time
	LastSuccess  time.Time // seen here; zero: none
}

// Stats returns the figures.
func (d *Dispatcher) Stats() Stats {
	c := &d.stats
	s := Stats{
		Accepted: c.accepted.Load(), Refused: c.refused.Load(), Attempts: c.attempts.Load(), Delivered: c.delivered.Load(),
		Retried: c.retried.Load(), Failed: c.failed.Load(), Dropped: c.dropped.Load(), Removed: c.removed.Load(),
		Parked: c.parked.Load(), Repeated: c.repeated.Load(), LogFailed: c.logFailed.Load(), Disabled: c.disabled.Load(),
	}
	d.mu.RLock()
	if d.watching != nil {
		s.Watching = d.watching.Error()
	}
	ts := slices.Collect(maps.Values(d.targets))
	d.mu.RUnlock()
	s.Endpoints = make(map[string]EndpointStats, len(ts))
	for _, t := range ts {
		s.Endpoints[t.id] = t.figures()
	}
	return s
}

func (t *target) figures() EndpointStats {
	g := t.gate.stats()
	t.mu.Lock()
	defer t.mu.Unlock()
	return EndpointStats{
		Enabled: !t.rec.Endpoint.Disabled && t.health.disable == "", Breaker: g.breaker,
		Running: g.running, Waiting: g.waiting, Took: g.took, Parked: g.parked,
		Attempts: t.counts.attempts.Load(), Delivered: t.counts.delivered.Load(),
		Failed: t.counts.failed.Load(), Dropped: t.counts.dropped.Load(),
		FailingSince: t.health.since, LastSuccess: t.health.lastSuccess,
	}
}
