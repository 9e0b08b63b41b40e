package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Broker publishes and handles by way of one driver. It is running from [New]
// until [Broker.Shutdown] or [Broker.Close]. Its methods may be called by many
// goroutines at once, handlers among them.
type Broker struct {
	driver Driver
	opts   Options
	hooks  Hooks

	status  atomic.Pointer[Status]
	publish publishStats
	quit    chan struct{} // closed when publishing is over

	mu        sync.Mutex
	consumers map[string]*consumer
	closing   bool          // handlers finish, and may publish
	ended     chan struct{} // closed when the shutdown is complete
	endedWith error
}

// cancelGrace is how long handlers have to return when a shutdown's time is
// over and their contexts have ended.
const cancelGrace = 500 * time.Millisecond

// settleTime bounds one try of an answer to the driver.
const settleTime = 15 * time.Second

// New returns a broker that uses d, which is the broker's from now on: it
// closes the driver when it is shut down. The only error is that d is nil.
func New(d Driver, o Options) (*Broker, error) {
	if d == nil {
		return nil, fmt.Errorf("%w: no driver", ErrInvalid)
	}
	b := &Broker{
		driver: d, opts: o.withDefaults(), hooks: mergeHooks(o.Hooks),
		consumers: make(map[string]*consumer),
		quit:      make(chan struct{}), ended: make(chan struct{}),
	}
	b.status.Store(&Status{Connection: Connected, Since: time.Now()})
	if r, ok := d.(Reporter); ok {
		r.Report(b.report)
	}
	return b, nil
}

func (b *Broker) report(s Status) {
	b.status.Store(&s)
	b.hooks.Status(s)
}

// Driver returns the driver, for what only its kind of broker can do.
func (b *Broker) Driver() Driver { return b.driver }

// Handle begins to give the messages of a queue to h: at least once each, at
// most o.Concurrency at a time. It does not wait for the broker: what cannot be
// consumed shows in [Broker.Health] and [Hooks]. A queue takes one handler.
// Errors: [ErrInvalid], [ErrClosed].
func (b *Broker) Handle(queue string, h Handler, o HandleOptions) error {
	if err := CheckQueue(queue); err != nil {
		return err
	}
	if h == nil {
		return fmt.Errorf("%w: no handler for queue %q", ErrInvalid, queue)
	}
	o, err := o.withDefaults()
	if err != nil {
		return fmt.Errorf("queue %q: %w", queue, err)
	}
	c := newConsumer(b, queue, h, o)
	b.mu.Lock()
	switch {
	case b.closing:
		err = ErrClosed
	case b.consumers[queue] != nil:
		err = fmt.Errorf("%w: queue %q has a handler already", ErrInvalid, queue)
	default:
		b.consumers[queue] = c
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	if err := c.start(); err != nil {
		b.mu.Lock()
		delete(b.consumers, queue)
		b.mu.Unlock()
		return err
	}
	return nil
}

// Pause stops handling a queue in this program. What has not been started goes
// back to the queue; it waits until what runs has ended. When ctx ends first
// the queue is paused all the same, and the error is ctx's: so it is for a
// handler that pauses its own queue, which waits for itself.
func (b *Broker) Pause(ctx context.Context, queue string) error {
	c, err := b.consumer(queue)
	if err != nil {
		return err
	}
	return c.pause(ctx)
}

// Resume goes on with a paused queue; nothing happens to one that is not. Errors:
// [ErrNotFound] for a queue without a handler here, [ErrClosed].
func (b *Broker) Resume(queue string) error {
	c, err := b.consumer(queue)
	if err != nil {
		return err
	}
	return c.start()
}

func (b *Broker) consumer(queue string) (*consumer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return nil, ErrClosed
	}
	c := b.consumers[queue]
	if c == nil {
		return nil, fmt.Errorf("%w: queue %q has no handler here", ErrNotFound, queue)
	}
	return c, nil
}

// Shutdown ends the broker with nothing lost: no more messages are taken, what
// has not been started goes back to its queue, handlers that run end and may
// publish meanwhile, and then the driver is closed. When ctx is done first, the
// contexts of the handlers end, those that do not return within half a second
// lose their messages to whoever takes the queue next, and the error is ctx's.
// Further calls wait for the first.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	first := !b.closing
	b.closing = true
	b.mu.Unlock()
	if first {
		err := b.shutdown(ctx)
		b.endedWith = err
		close(b.ended)
		return err
	}
	select {
	case <-b.ended:
		return b.endedWith
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close is a Shutdown that does not wait for handlers, except for the moment
// in which they learn about it. The error is the driver's, of its closing.
func (b *Broker) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (b *Broker) shutdown(ctx context.Context) error {
	b.mu.Lock()
	consumers := make([]*consumer, 0, len(b.consumers))
	for _, c := range b.consumers {
		consumers = append(consumers, c)
	}
	b.mu.Unlock()
	var wg sync.WaitGroup
	errs := make([]error, len(consumers)+1)
	for i, c := range consumers {
		wg.Go(func() { errs[i] = c.shutdown(ctx) })
	}
	wg.Wait()

	close(b.quit)
	closing, cancel := withGrace(ctx)
	defer cancel()
	errs[len(consumers)] = b.driver.Shutdown(closing)
	b.report(Status{Connection: Disconnected, Since: time.Now(), Reconnects: b.status.Load().Reconnects})
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.Join(errs...)
}

// withGrace returns ctx, or one that lives for a moment when ctx is over.
func withGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
}
