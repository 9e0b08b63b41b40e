package queue

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Stats are a broker's figures in this program, since it was made.
type Stats struct {
	Connection    Status
	Published     int64   // messages that the broker has for good
	PublishErrors int64   // publishes that failed
	PublishRate   float64 // a second, over the last ten
	Queues        map[string]QueueStats
}

// QueueStats are the figures of a queue that has a handler in this program.
type QueueStats struct {
	Paused     bool
	Trouble    string  // why it cannot be consumed; empty: it can
	InHand     int     // deliveries that have not been answered, those that run among them
	Running    int64   // handlers
	Received   int64   // deliveries
	Done       int64   // handlers that returned nil
	DoneRate   float64 // a second, over the last ten
	Failed     int64   // handlers that returned an error or panicked
	Panics     int64
	Retried    int64 // failures that will be, or have been, tried again
	Dead       int64 // dead letters made
	Duplicates int64 // deliveries that were not handled because of their id
	Stale      int64 // answers that came too late: the message came again
	Returned   int64 // deliveries given back
	Unsettled  int64 // answers that the broker could not take, and that were tried again
}

// Stats returns the figures.
func (b *Broker) Stats() Stats {
	s := Stats{
		Connection: *b.status.Load(), Published: b.publish.ok.total(), PublishErrors: b.publish.failed.Load(),
		PublishRate: b.publish.ok.rate(), Queues: make(map[string]QueueStats),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, c := range b.consumers {
		s.Queues[name] = c.figures()
	}
	return s
}

// Inspect returns what the driver knows about a queue, with or without a
// handler; ErrNotFound if there is none.
func (b *Broker) Inspect(ctx context.Context, queue string) (Depth, error) {
	if err := CheckQueue(queue); err != nil {
		return Depth{}, err
	}
	return b.driver.Inspect(ctx, queue)
}

// Health is how a broker is.
type Health struct {
	// Live: the program's part works; while this is so a restart heals nothing.
	Live bool
	// Ready: the broker is there, and every queue with a handler can be consumed.
	Ready bool
	// Degraded: something of it works only partly.
	Degraded bool
	// Problems say why, for people.
	Problems []string
}

// Health returns how the broker is, from what is known; it does not ask the
// driver's broker. A broker that takes no messages for now (Blocked) is
// degraded and ready: what it has can still be handled.
func (b *Broker) Health() Health {
	h := Health{Live: true, Ready: true}
	problem := func(ready bool, what string) {
		h.Ready = h.Ready && ready
		h.Degraded = true
		h.Problems = append(h.Problems, what)
	}
	switch s := b.status.Load(); s.Connection {
	case Connected:
	case Blocked:
		problem(true, "blocked: "+s.Reason)
	case Disconnected:
		h.Live = false
		problem(false, "closed")
	default:
		problem(false, "not connected: "+s.Reason)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		problem(false, "shutting down")
	}
	for name, c := range b.consumers {
		c.mu.Lock()
		if c.trouble != nil {
			problem(false, "queue "+name+": "+c.trouble.Error())
		}
		c.mu.Unlock()
	}
	return h
}

type publishStats struct {
	ok     meter
	failed atomic.Int64
}

func (p *publishStats) note(err error) {
	if err != nil {
		p.failed.Add(1)
		return
	}
	p.ok.tick(time.Now())
}

type consumerStats struct {
	done                                             meter
	received, running, failed, panics, retried, dead atomic.Int64
	duplicates, stale, returned, unsettled           atomic.Int64
}

func (c *consumer) figures() QueueStats {
	s := &c.stats
	q := QueueStats{
		Running: s.running.Load(), Received: s.received.Load(), Done: s.done.total(), DoneRate: s.done.rate(),
		Failed: s.failed.Load(), Panics: s.panics.Load(), Retried: s.retried.Load(), Dead: s.dead.Load(),
		Duplicates: s.duplicates.Load(), Stale: s.stale.Load(), Returned: s.returned.Load(), Unsettled: s.unsettled.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	q.Paused = c.session == nil
	if c.trouble != nil {
		q.Trouble = c.trouble.Error()
	}
	sessions := c.lingering
	if c.session != nil {
		sessions = append(slices.Clip(sessions), c.session)
	}
	for _, s := range sessions {
		for j := s.held.first; j != nil; j = j.next {
			q.InHand++
		}
	}
	return q
}

// meterSeconds is over how many whole seconds a rate is taken.
const meterSeconds = 10

// meter counts, and remembers the last seconds.
type meter struct {
	mu      sync.Mutex
	count   int64
	seconds [meterSeconds + 1]int64
	at      int64 // the second that the newest bucket is of
}

func (m *meter) tick(now time.Time) {
	m.mu.Lock()
	m.count++
	m.turn(now)
	m.seconds[m.at%int64(len(m.seconds))]++
	m.mu.Unlock()
}

// turn clears the buckets of the seconds that have gone by. m.mu is held.
func (m *meter) turn(at time.Time) {
	now := at.Unix()
	if gone := now - m.at; gone > 0 {
		for i := range min(gone, int64(len(m.seconds))) {
			m.seconds[(now-i)%int64(len(m.seconds))] = 0
		}
		m.at = now
	}
}

func (m *meter) total() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

func (m *meter) rate() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(time.Now())
	sum := int64(0)
	for i, n := range m.seconds {
		if int64(i) != m.at%int64(len(m.seconds)) { // the running second is not over
			sum += n
		}
	}
	return float64(sum) / meterSeconds
}
