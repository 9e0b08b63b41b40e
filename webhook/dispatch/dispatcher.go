package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
)

// Dispatcher delivers events to endpoints. It runs from [New] until
// [Dispatcher.Shutdown]. Its methods may be called by many goroutines at once. Several
// programs may share the work: their dispatchers have the same Name, stores and
// queue. Limits of rate and concurrency hold for each of them.
type Dispatcher struct {
	o     Options
	hooks Hooks
	crowd *crowd
	stats counters
	send  sender

	settled settled

	ctx     context.Context //nolint:containedctx // of what the dispatcher does by itself
	cancel  context.CancelFunc
	closing chan struct{} // closed when no more is begun
	once    sync.Once
	wg      sync.WaitGroup

	mu       sync.RWMutex
	closed   bool
	targets  map[string]*target
	wanted   map[string][]*target // by type, made on demand, dropped with each change
	ordered  map[string]*ownQueue // by endpoint
	begun    map[string]bool      // those whose queue has brought something
	watching error                // why changes are not seen for now
	gone     uint64               // how many removals have been seen
	removed  map[string]uint64    // which number those had that were seen of late
}

// sender makes one attempt: webhook's Destination.Deliver.
type sender func(ctx context.Context, to *webhook.Destination, e Stored, body []byte, try int) webhook.Attempt

func deliverHTTP(ctx context.Context, to *webhook.Destination, e Stored, body []byte, try int) webhook.Attempt {
	return to.Deliver(ctx, e.ID, e.Type, body, try)
}

// Patience and bounds of the dispatcher.
const (
	storeTimeout = 10 * time.Second // of one request
	watchWait    = time.Second      // before a broken watch is tried again
	healthEvery  = 10 * time.Second
	maxWanted    = 1000 // types that are remembered
	maxRemoved   = 1000 // endpoints
)

// New returns a running dispatcher. It waits until the endpoints are known; when
// ctx ends before that it fails, and ctx means nothing after. A broker takes one
// dispatcher with a name.
func New(ctx context.Context, o Options) (*Dispatcher, error) { return start(ctx, o, deliverHTTP) }

func start(ctx context.Context, o Options, send sender) (*Dispatcher, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Dispatcher{
		o: o, send: send, hooks: mergeHooks(o.Hooks), crowd: &crowd{most: max(o.Concurrency/2, 1)}, closing: make(chan struct{}),
		targets: make(map[string]*target), wanted: make(map[string][]*target), ordered: make(map[string]*ownQueue), begun: make(map[string]bool),
		removed: make(map[string]uint64),
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	ready := make(chan struct{})
	d.wg.Go(func() { d.watch(sync.OnceFunc(func() { close(ready) })) })
	select {
	case <-ready:
		if !d.o.PublishOnly {
			if err = d.recall(ctx); err == nil {
				err = d.handleQueues()
			}
		}
	case <-ctx.Done():
		d.mu.RLock()
		err = errors.Join(ctx.Err(), d.watching)
		d.mu.RUnlock()
	}
	if err != nil {
		d.cancel()
		d.wg.Wait()
		return nil, fmt.Errorf("dispatch: the dispatcher cannot start: %w", err)
	}
	d.wg.Go(d.keepHealth)
	return d, nil
}

// queueName returns the name of one of the dispatcher's queues.
func (d *Dispatcher) queueName(part string) string {
	if part == "" {
		return d.o.Name
	}
	return d.o.Name + "-" + part
}

// The queues: first tries; retries and what was put back; events for several
// endpoints. An endpoint whose order matters has one of its own.
const (
	queueFirst  = ""
	queueLate   = "late"
	queueFanout = "fanout"
)

// handleQueues begins to make deliveries.
func (d *Dispatcher) handleQueues() error {
	o := queue.HandleOptions{
		Concurrency: d.o.Concurrency, Prefetch: -1, Timeout: -1, Lease: d.o.Lease, MaxAttempts: -1, MaxLost: -1,
		Backoff: queue.Backoff{Min: time.Second, Max: time.Minute},
	}
	if err := d.o.Broker.Handle(d.queueName(queueFirst), d.deliver, o); err != nil {
		return err
	}
	if err := d.o.Broker.Handle(d.queueName(queueLate), d.deliver, o); err != nil {
		return err
	}
	o.Concurrency = 8
	return d.o.Broker.Handle(d.queueName(queueFanout), d.spread, o)
}

// target is an endpoint as this program knows it.
type target struct {
	id   string
	gate *gate

	mu      sync.Mutex
	rec     Record
	dest    *webhook.Destination // nil: it cannot be used, see why
	why     error
	until   time.Time     // when dest is to be made anew; zero: with the next change
	changed chan struct{} // closed with each change
	removed bool
	health  health

	counts endpointCounters
}

// record returns the endpoint as it is known here.
func (t *target) record() Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec.clone()
}

// watch follows the endpoints. ready is called when all are known.
func (d *Dispatcher) watch(ready func()) {
	for d.ctx.Err() == nil {
		told := make(map[string]bool) // nil once all that are there have been told
		err := d.o.Endpoints.Watch(d.ctx, func(c Change) {
			switch {
			case c.ID == "":
				d.forget(told)
				told = nil
				d.noteWatch(nil)
				ready()
				return
			case told != nil:
				told[c.ID] = true
			}
			d.follow(c)
		})
		if d.ctx.Err() != nil {
			return
		}
		err = fmt.Errorf("dispatch: watching the endpoints: %w", err)
		d.noteWatch(err)
		d.hooks.Trouble(err)
		sleep(d.ctx, watchWait)
	}
}

func (d *Dispatcher) noteWatch(err error) {
	d.mu.Lock()
	d.watching = err
	d.mu.Unlock()
}

// forget removes the endpoints that a new watch did not tell of.
func (d *Dispatcher) forget(told map[string]bool) {
	d.mu.RLock()
	var gone []string
	for id := range d.targets {
		if !told[id] {
			gone = append(gone, id)
		}
	}
	d.mu.RUnlock()
	for _, id := range gone {
		d.follow(Change{ID: id})
	}
}

// follow takes a change. That an endpoint was removed is looked up: it may have
// been added again.
func (d *Dispatcher) follow(c Change) {
	if c.Record != nil {
		d.apply(*c.Record, watched)
		return
	}
	seen := d.removals()
	ctx, cancel := context.WithTimeout(d.ctx, storeTimeout)
	defer cancel()
	switch r, err := d.o.Endpoints.Load(ctx, c.ID); {
	case err == nil:
		d.apply(r, seen)
	case errors.Is(err, ErrNotFound):
		d.remove(c.ID)
	default:
		d.hooks.Trouble(err) // attempts look it up again
	}
}

// apply takes what a store says about an endpoint, unless newer is known, and
// returns its target. What was read or saved when so many removals had been seen
// (see removals) means nothing if the endpoint was removed since: then it is nil.
func (d *Dispatcher) apply(r Record, seen uint64) *target {
	id := r.Endpoint.ID
	d.mu.Lock()
	if d.removed[id] > seen {
		d.mu.Unlock()
		return nil
	}
	t := d.targets[id]
	if t == nil {
		t = &target{id: id, changed: make(chan struct{})}
		t.gate = newGate(d.crowd, d.o.Breaker, func(from, to BreakerState) { d.hooks.BreakerChanged(id, from, to) })
	}
	t.mu.Lock()
	if r.Revision > t.rec.Revision {
		t.rec = r.clone()
		t.rec.Endpoint = t.rec.Endpoint.WithDefaults()
		t.gate.set(t.rec.Endpoint)
		t.prepare(d.o.Client, time.Now())
		t.health.follow(r)
		t.wake()
	}
	ordered := t.rec.Endpoint.Ordered
	t.mu.Unlock()
	d.targets[id] = t // nobody finds it, or remembers who wants what, before it is complete
	clear(d.wanted)
	if ordered {
		d.wantOrdered(id, true)
	}
	d.mu.Unlock()
	return t
}

// watched is for apply: a watch tells changes in their order.
const watched = math.MaxUint64

// removals is how many removals have been seen here.
func (d *Dispatcher) removals() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.gone
}

// wake tells those who wait that the endpoint has changed. t.mu is held.
func (t *target) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// prepare makes the destination with the secrets that sign now. t.mu is held.
func (t *target) prepare(c *webhook.Client, now time.Time) {
	var e webhook.Endpoint
	e, t.until = t.rec.signing(now)
	t.dest, t.why = c.Prepare(e)
}

// destination returns where an attempt goes, now.
func (t *target) destination(c *webhook.Client) (*webhook.Destination, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); !t.until.IsZero() && !now.Before(t.until) {
		t.prepare(c, now)
	}
	return t.dest, t.why
}

// remove forgets an endpoint.
func (d *Dispatcher) remove(id string) {
	d.mu.Lock()
	t := d.targets[id]
	delete(d.targets, id)
	delete(d.begun, id)
	clear(d.wanted)
	d.gone++
	if d.removed[id] = d.gone; len(d.removed) > maxRemoved {
		maps.DeleteFunc(d.removed, func(_ string, at uint64) bool { return at+maxRemoved/2 < d.gone })
	}
	d.wantOrdered(id, false)
	d.mu.Unlock()
	if t != nil {
		t.mu.Lock()
		t.removed = true
		t.wake()
		t.mu.Unlock()
	}
}

// find returns the target of an endpoint: nil if there is none. One that is not
// known here yet is looked up.
func (d *Dispatcher) find(ctx context.Context, id string) (*target, error) {
	d.mu.RLock()
	t := d.targets[id]
	d.mu.RUnlock()
	if t != nil {
		return t, nil
	}
	seen := d.removals()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	r, err := d.o.Endpoints.Load(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return d.apply(r, seen), nil
}

// wanting returns the endpoints that want a type, sorted by id.
func (d *Dispatcher) wanting(eventType string) []*target {
	d.mu.RLock()
	ts, ok := d.wanted[eventType]
	d.mu.RUnlock()
	if ok {
		return ts
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.targets {
		t.mu.Lock()
		wants := t.rec.Endpoint.Wants(eventType)
		t.mu.Unlock()
		if wants {
			ts = append(ts, t)
		}
	}
	slices.SortFunc(ts, func(a, b *target) int { return cmp.Compare(a.id, b.id) })
	if len(d.wanted) >= maxWanted {
		clear(d.wanted)
	}
	d.wanted[eventType] = ts
	return ts
}

// Shutdown ends the dispatcher: no more deliveries are begun, and those that run end
// or, when ctx is done first, are left to the broker's shutdown. What waits stays
// in the queue. Further calls wait for the first, and return nil.
func (d *Dispatcher) Shutdown(ctx context.Context) error {
	var err error
	d.once.Do(func() { err = d.close(ctx) })
	return err
}

func (d *Dispatcher) close(ctx context.Context) error {
	d.mu.Lock()
	d.closed = true
	names := []string{d.queueName(queueFanout), d.queueName(queueFirst), d.queueName(queueLate)}
	for id, q := range d.ordered {
		if q.runs && !q.changes { // who is at it will see that it is not wanted any more
			names = append(names, d.queueName(orderedPart(id)))
		}
	}
	d.mu.Unlock()
	close(d.closing)
	var err error
	if !d.o.PublishOnly {
		errs := make([]error, len(names))
		var wg sync.WaitGroup
		for i, name := range names {
			wg.Go(func() { errs[i] = d.o.Broker.Pause(ctx, name) })
		}
		wg.Wait()
		for i, e := range errs {
			if errors.Is(e, queue.ErrClosed) { // the broker was shut down before
				errs[i] = nil
			}
		}
		err = errors.Join(errs...)
	}
	d.flushHealth(ctx)
	d.cancel()
	d.wg.Wait()
	return err
}
