package queue

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// MemoryOptions are those of [NewMemory]. The zero value is good.
type MemoryOptions struct {
	// Lease is how long a message stays with a program that gives no sign of
	// life, where [HandleOptions] do not say. Zero: 30 s.
	Lease time.Duration
	// Dedup is the window in which a second message with an ID is dropped.
	// Zero: 2 min; negative: none. At most MaxRemembered ids are kept.
	Dedup time.Duration
	// MaxBytes is how much all messages of all queues may be; more are refused.
	// Zero: 256 MiB.
	MaxBytes int64
}

// Memory is a connection to a broker in this program's memory: a driver for
// tests and for programs whose work may be lost with them. It keeps time by
// timers, so that tests can make it virtual. It makes queues on first use. Its
// methods may be called by many goroutines at once.
type Memory struct {
	store  *store
	subs   map[*memorySub]struct{} // guarded by the store, as is all below
	epoch  int                     // claims of an older one are stale
	closed bool
}

// store is the broker behind connections.
type store struct {
	o    MemoryOptions
	mu   sync.Mutex
	free *sync.Cond // a Receive has returned

	queues map[string]*memoryQueue
	seen   remembered
	seq    uint64
	bytes  int64
}

// NewMemory returns a connection to a new, empty broker.
func NewMemory(o MemoryOptions) *Memory {
	o.Lease = cmp.Or(o.Lease, 30*time.Second)
	o.Dedup = cmp.Or(o.Dedup, 2*time.Minute)
	o.MaxBytes = cmp.Or(o.MaxBytes, 256<<20)
	s := &store{o: o, queues: make(map[string]*memoryQueue), seen: newRemembered(o.Dedup)}
	s.free = sync.NewCond(&s.mu)
	return (&Memory{store: s}).Connect()
}

// Connect returns another connection to the same broker, as another program
// would have one.
func (m *Memory) Connect() *Memory {
	return &Memory{store: m.store, subs: make(map[*memorySub]struct{})}
}

// Kill ends the connection as a killed program would: nothing is given back,
// and what it has in hand comes again when its leases run out.
func (m *Memory) Kill() {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	m.closed = true
	m.epoch++
	for sub := range m.subs {
		sub.end()
	}
}

// Cut ends the connection and makes it again, as a network does: what is in
// hand is lost at once and comes again, to whoever has the queue.
func (m *Memory) Cut() {
	s := m.store
	s.mu.Lock()
	defer s.mu.Unlock()
	m.epoch++
	for _, q := range s.queues {
		for c := range q.unacked {
			if c.sub.m == m {
				q.lose(c)
			}
		}
	}
}

// result is the receipt of something that is decided.
type result struct{ err error }

func (r result) Wait(context.Context) error { return r.err }

// Publish keeps a copy of the message.
func (m *Memory) Publish(_ context.Context, e *Envelope) Receipt {
	s := m.store
	size := int64(len(e.Payload.Data))
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	id := s.seen.digest(e.Queue + "\n" + e.ID)
	switch {
	case m.closed:
		return result{ErrClosed}
	case s.seen.has(id, now):
		return result{}
	case size > s.o.MaxBytes-s.bytes:
		return result{fmt.Errorf("%w: the memory for messages is full", ErrRefused)}
	}
	s.seen.add(id, now)
	s.bytes += size
	s.queue(e.Queue).add(&memoryMessage{e: e.clone()})
	return result{}
}

// clone returns a copy that shares nothing.
func (e *Envelope) clone() Envelope {
	c := *e
	c.Header = maps.Clone(e.Header)
	c.Payload = e.Payload.Clone()
	return c
}

// Consume begins to give messages to r, each in a goroutine of the driver's.
func (m *Memory) Consume(_ context.Context, queue string, o ConsumeOptions, r Receiver) (Subscription, error) {
	s := m.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	q := s.queue(queue)
	sub := &memorySub{m: m, q: q, r: r, o: o, credit: max(o.Credit, 1), lease: cmp.Or(o.Lease, s.o.Lease)}
	m.subs[sub] = struct{}{}
	q.subs = append(q.subs, sub)
	q.kick()
	return sub, nil
}

// Inspect returns the figures of a queue.
func (m *Memory) Inspect(_ context.Context, queue string) (Depth, error) {
	s := m.store
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[queue]
	switch {
	case m.closed:
		return Depth{}, ErrClosed
	case q == nil:
		return Depth{}, fmt.Errorf("%w: queue %q", ErrNotFound, queue)
	}
	d := Depth{
		Waiting: int64(len(q.waiting)), Delayed: int64(len(q.delayed)),
		Unacked: int64(len(q.unacked)), Dead: int64(len(q.dead)),
	}
	if len(q.waiting) > 0 {
		d.Oldest = q.waiting[0].e.Published
	}
	return d, nil
}

// Shutdown gives back what is in hand.
func (m *Memory) Shutdown(ctx context.Context) error {
	m.store.mu.Lock()
	m.closed = true
	subs := slices.Collect(maps.Keys(m.subs))
	m.store.mu.Unlock()
	for _, sub := range subs {
		_ = sub.Shutdown(ctx)
	}
	return nil
}

// Queues returns the names of all queues that were used.
func (m *Memory) Queues(context.Context) ([]string, error) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	return slices.Sorted(maps.Keys(m.store.queues)), nil
}

// Purge removes what waits in a queue.
func (m *Memory) Purge(_ context.Context, queue string) (int64, error) {
	s := m.store
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[queue]
	if q == nil {
		return 0, fmt.Errorf("%w: queue %q", ErrNotFound, queue)
	}
	n := int64(len(q.waiting) + len(q.delayed))
	for _, heap := range []*messages{&q.waiting, &q.delayed} {
		for _, msg := range *heap {
			s.bytes -= int64(len(msg.e.Payload.Data))
		}
		*heap = nil
	}
	q.schedule()
	return n, nil
}

// Browse shows what waits in a queue.
func (m *Memory) Browse(_ context.Context, queue string, limit int, visit func(e *Envelope) bool) error {
	s := m.store
	s.mu.Lock()
	q := s.queues[queue]
	if q == nil {
		s.mu.Unlock()
		return fmt.Errorf("%w: queue %q", ErrNotFound, queue)
	}
	sorted := slices.Clone(q.waiting)
	slices.SortFunc(sorted, func(a, b *memoryMessage) int { return cmp.Compare(a.seq, b.seq) })
	shown := make([]Envelope, 0, min(len(sorted), max(limit, 0)))
	for _, msg := range sorted[:cap(shown)] {
		shown = append(shown, msg.e.clone())
	}
	s.mu.Unlock()
	for i := range shown {
		if !visit(&shown[i]) {
			break
		}
	}
	return nil
}

// WalkDead visits dead letters; others may do so at the same time.
func (m *Memory) WalkDead(ctx context.Context, queue, after string, visit Visit) error {
	s := m.store
	from, err := parseCursor(after)
	if err != nil {
		return err
	}
	s.mu.Lock()
	q := s.queues[queue]
	last := s.seq
	closed := m.closed
	s.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case q == nil:
		return fmt.Errorf("%w: queue %q", ErrNotFound, queue)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		i := q.deadAfter(from)
		if i == len(q.dead) || q.dead[i].seq > last {
			s.mu.Unlock()
			return nil
		}
		from = q.dead[i].seq
		d := q.dead[i].d
		d.Envelope = d.Envelope.clone()
		s.mu.Unlock()
		v, next := visit(&d)
		s.mu.Lock()
		q.judge(from, v)
		s.mu.Unlock()
		if !next {
			return nil
		}
	}
}
