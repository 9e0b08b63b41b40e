package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// consumer handles one queue. What is in hand is a list of jobs; workers take
// those that are ready. They are started when there is work and nobody idle.
type consumer struct {
	b     *Broker
	queue string
	h     Handler
	o     HandleOptions
	stats consumerStats

	ctx    context.Context //nolint:containedctx // of the handlers: it ends with the consumer
	cancel context.CancelCauseFunc
	gone   atomic.Bool // handlers' time is over: unanswered claims go back

	life sync.Mutex // held while a session begins or stops

	mu        sync.Mutex
	wake      *sync.Cond // something is ready, or the workers end
	session   *session   // nil: paused
	lingering []*session // stopped, with handlers still running
	closing   bool       // no more sessions
	ended     bool       // no more work
	ready     fifo
	spare     *job // out of hand, by next
	byID      map[string]*job
	lanes     map[string]*lane // by key, where order matters: keys with a message in hand
	done      remembered
	idle      int // workers that wait, less those that have been woken
	workers   int
	trouble   error
	wg        sync.WaitGroup // workers, extenders, returns
}

// lane is the messages of one key behind the one whose turn it is.
type lane struct{ waiting fifo }

// session is one subscription and what it brought.
type session struct {
	c        *consumer
	sub      Subscription
	held     jobs // guarded by c.mu, as is all below
	stopping bool
	empty    chan struct{} // closed when stopping and nothing is held
	force    chan struct{} // closed to end it with something held
	closed   chan struct{} // closed when it has ended
}

var errShutdown = errors.New("queue: the broker shuts down")

func newConsumer(b *Broker, queue string, h Handler, o HandleOptions) *consumer {
	c := &consumer{
		b: b, queue: queue, h: h, o: o, byID: make(map[string]*job), lanes: make(map[string]*lane),
		done: newRemembered(b.opts.Dedup),
	}
	c.wake = sync.NewCond(&c.mu)
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// start begins a subscription, unless there is one.
func (c *consumer) start() error {
	c.life.Lock()
	defer c.life.Unlock()
	s := &session{c: c, empty: make(chan struct{}), force: make(chan struct{}), closed: make(chan struct{})}
	c.mu.Lock()
	if c.closing || c.session != nil {
		closing := c.closing
		c.mu.Unlock()
		if closing {
			return ErrClosed
		}
		return nil
	}
	c.session = s
	c.mu.Unlock()

	o := ConsumeOptions{Credit: c.o.Concurrency + c.o.Prefetch, Ordered: c.o.Ordered, Lease: c.o.Lease}
	sub, err := c.b.driver.Consume(c.ctx, c.queue, o, s)
	if err != nil {
		c.mu.Lock()
		c.session = nil
		c.mu.Unlock()
		return err
	}
	s.sub = sub
	if lease := sub.Lease(); lease > 0 {
		c.wg.Go(func() { s.extend(lease) })
	}
	return nil
}

// Receive takes a message from the driver.
func (s *session) Receive(in Incoming) {
	c := s.c
	c.stats.received.Add(1)
	remembers := in.ID != "" && c.done.age > 0
	var id digest
	if remembers {
		id = c.done.digest(in.ID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.stopping {
		if !c.ended { // else it comes back with the driver's end
			claim := in.Claim
			c.wg.Go(func() { c.giveBack(claim) })
		}
		return
	}
	j := newJob(s, &in)
	j.digest = id
	s.held.add(j)
	if remembers {
		if first := c.byID[j.id]; first != nil {
			first.twins = append(first.twins, j)
			return
		}
		j.known = true
		c.byID[j.id] = j
		_, known := c.done.when(id)
		j.duplicate = known && c.done.has(id, time.Now())
	}
	c.enqueue(j)
}

// enqueue finds a job's place. c.mu is held.
func (c *consumer) enqueue(j *job) {
	if c.o.Ordered && j.key != "" && !j.duplicate {
		if l := c.lanes[j.key]; l != nil {
			l.waiting.push(j)
			return
		}
		j.lane = &lane{}
		c.lanes[j.key] = j.lane
	}
	c.push(j)
}

// push makes a job ready, and sees to it that somebody takes it. c.mu is held.
func (c *consumer) push(j *job) {
	c.ready.push(j)
	switch {
	case c.idle > 0:
		c.idle-- // here, not when it wakes: the next push has to find another
		c.wake.Signal()
	case c.workers < c.o.Concurrency:
		c.workers++
		c.wg.Go(c.work)
	}
}

// work is a worker.
func (c *consumer) work() {
	var j *job
	defer func() {
		if j != nil { // the handler ended this goroutine: another goes on
			c.wg.Go(func() { c.proceed(j) })
		}
	}()
	c.mu.Lock()
	for {
		if j = c.ready.pop(); j == nil {
			if c.ended {
				c.workers--
				c.mu.Unlock()
				return
			}
			c.idle++
			c.wake.Wait()
			continue
		}
		j.running = true
		c.mu.Unlock()
		out := c.outcome(j)
		c.mu.Lock()
		c.finish(j, out)
	}
}

// proceed takes the place of a worker whose goroutine ended in a handler.
func (c *consumer) proceed(j *job) {
	out := c.failed(j, errGoexit)
	c.mu.Lock()
	c.finish(j, out)
	c.mu.Unlock()
	c.work()
}

// Trouble is told by the driver.
func (s *session) Trouble(err error) {
	s.c.mu.Lock()
	current := s.c.session == s
	if current {
		s.c.trouble = err
	}
	s.c.mu.Unlock()
	if current {
		s.c.b.hooks.Trouble(s.c.queue, err)
	}
}

// extend keeps what is in hand alive, until the session is closed.
func (s *session) extend(lease time.Duration) {
	every := max(lease/3, time.Millisecond)
	t := time.NewTicker(every)
	defer t.Stop()
	var batch []*job
	for {
		select {
		case <-s.closed:
			return
		case <-t.C:
		}
		s.c.mu.Lock()
		batch = batch[:0]
		for j := s.held.first; j != nil; j = j.next {
			j.lent++
			batch = append(batch, j)
		}
		s.c.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), every)
		for _, j := range batch {
			if j.answered.Load() {
				continue
			}
			if errors.Is(j.claim.Extend(ctx), ErrStale) {
				j.stale.Store(true)
			}
		}
		cancel()
		s.c.mu.Lock()
		for _, j := range batch {
			j.lent--
		}
		s.c.mu.Unlock()
		clear(batch)
	}
}

// pause ends the subscription and waits for what runs.
func (c *consumer) pause(ctx context.Context) error {
	c.life.Lock()
	c.mu.Lock()
	s := c.session
	c.session, c.trouble = nil, nil
	if s != nil {
		c.lingering = append(c.lingering, s)
	}
	sessions := slices.Clone(c.lingering)
	c.mu.Unlock()
	if s != nil {
		s.stop(ctx)
	}
	c.life.Unlock()
	for _, s := range sessions {
		select {
		case <-s.closed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// stop ends the coming of messages and gives back what nobody works on. The
// session ends with the last handler.
func (s *session) stop(ctx context.Context) {
	_ = s.sub.Stop(ctx) // whatever comes all the same goes back at once
	c := s.c
	c.mu.Lock()
	s.stopping = true
	var back []*job
	for j := s.held.first; j != nil; j = j.next {
		if !j.running || j.waiting {
			back = append(back, j)
		}
	}
	for _, j := range back {
		c.withdraw(j)
	}
	c.mu.Unlock()
	for _, j := range back {
		if ctx.Err() != nil {
			break // the session's end sees to the rest
		}
		c.giveBack(j.claim)
	}
	c.mu.Lock()
	s.checkEmpty()
	c.mu.Unlock()
	c.wg.Go(s.end)
}

// withdraw takes a job that nobody works on out of all lists. c.mu is held.
func (c *consumer) withdraw(j *job) {
	j.answered.Store(true)
	if j.waiting {
		j.waiting = false
		j.timer.Stop()
	}
	c.ready.remove(j)
	if first := c.byID[j.id]; j.known && first == j {
		delete(c.byID, j.id)
	} else if first != nil {
		first.twins = without(first.twins, j)
	}
	if l := c.lanes[j.key]; l != nil {
		l.waiting.remove(j)
		if j.lane == l {
			delete(c.lanes, j.key)
		}
	}
	j.session.held.remove(j)
}

// giveBack returns a claim; what cannot be returned comes back by itself.
func (c *consumer) giveBack(claim Claim) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	if claim.Return(ctx) == nil {
		c.stats.returned.Add(1)
	}
}

// checkEmpty notes that a stopped session holds nothing any more. c.mu is held.
func (s *session) checkEmpty() {
	if s.stopping && s.held.first == nil {
		select {
		case <-s.empty:
		default:
			close(s.empty)
		}
	}
}

// end gives the subscription up when nothing is held, or it is forced to.
func (s *session) end() {
	select {
	case <-s.empty:
	case <-s.force:
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	_ = s.sub.Shutdown(ctx) // what it holds still comes back by itself
	c := s.c
	c.mu.Lock()
	c.lingering = slices.DeleteFunc(c.lingering, func(other *session) bool { return other == s })
	if c.session == nil && len(c.lingering) == 0 {
		c.spare = nil
	}
	c.mu.Unlock()
	close(s.closed)
}

// shutdown ends the consumer: in peace until ctx is done, then without waiting.
func (c *consumer) shutdown(ctx context.Context) error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	err := c.pause(ctx)
	if err != nil {
		c.giveUp(ctx)
	}
	c.cancel(ErrClosed)
	c.mu.Lock()
	c.ended = true
	c.wake.Broadcast()
	c.mu.Unlock()
	if err == nil {
		c.wg.Wait()
	}
	return err
}

// giveUp ends the handlers' contexts, waits a moment, and gives back what is
// held all the same.
func (c *consumer) giveUp(ctx context.Context) {
	c.gone.Store(true)
	c.cancel(errShutdown)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer cancel()
	c.mu.Lock()
	sessions := slices.Clone(c.lingering)
	c.mu.Unlock()
	for _, s := range sessions {
		select {
		case <-s.empty:
		case <-grace.Done():
		}
		close(s.force)
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer cancel()
	for _, s := range sessions {
		select {
		case <-s.closed:
		case <-ending.Done():
		}
	}
}
