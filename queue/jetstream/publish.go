package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire/internal/natsack"
	"github.com/polywire/polywire/queue"
)

// target is a queue that is published to.
type target struct {
	name string

	mu      sync.Mutex
	ready   bool // the stream was there
	opening bool
	backlog []*receipt // wait for the stream
}

// receipt stands for a message that may be unconfirmed.
type receipt struct {
	d    *Driver
	to   *target // nil: not a queue's
	m    *nats.Msg
	sent time.Time
	done chan error
}

// Wait implements queue.Receipt.
func (r *receipt) Wait(ctx context.Context) error {
	select {
	case err := <-r.done:
		return err
	default:
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end decides the receipt. It is called once.
func (r *receipt) end(err error) {
	<-r.d.slots
	r.done <- err
}

// decided is the receipt of something that was never sent.
type decided struct{ err error }

func (r decided) Wait(context.Context) error { return r.err }

// Publish implements queue.Driver.
func (d *Driver) Publish(ctx context.Context, e *queue.Envelope) queue.Receipt {
	return d.publish(ctx, e.Queue, d.first(e))
}

// publish sends a message to a queue, whose stream is made if need be.
func (d *Driver) publish(ctx context.Context, name string, m *nats.Msg) queue.Receipt {
	r, err := d.take(ctx, m)
	if err != nil {
		return decided{err}
	}
	t := d.target(name)
	r.to = t
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ready {
		d.send(r)
		return r
	}
	if !t.opening {
		if !d.begin(func() { d.open(t) }) {
			r.end(queue.ErrClosed)
			return r
		}
		t.opening = true
	}
	t.backlog = append(t.backlog, r)
	return r
}

// take waits for a slot.
func (d *Driver) take(ctx context.Context, m *nats.Msg) (*receipt, error) {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return nil, queue.ErrClosed
	}
	select {
	case d.slots <- struct{}{}:
	default:
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-d.ctx.Done():
			return nil, queue.ErrClosed
		}
	}
	return &receipt{d: d, m: m, done: make(chan error, 1)}, nil
}

func (d *Driver) target(name string) *target {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.queues[name]
	if t == nil {
		t = &target{name: name}
		d.queues[name] = t
	}
	return t
}

// open makes a queue's stream, and sends what waited for it.
func (d *Driver) open(t *target) {
	ctx, cancel := context.WithTimeout(d.ctx, apiTimeout)
	defer cancel()
	err := queue.ErrUnavailable
	if l := d.current(); l != nil {
		_, err = d.makeQueue(ctx, l, t.name)
	} else {
		d.mu.Lock()
		err = fmt.Errorf("%w: %s", err, d.reasons)
		d.mu.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := t.backlog
	t.opening, t.backlog, t.ready = false, nil, err == nil
	for _, r := range waiting {
		if err != nil {
			r.end(translate(err))
		} else {
			d.send(r)
		}
	}
}

// send gives a message to the connection.
func (d *Driver) send(r *receipt) {
	if l := d.current(); l != nil {
		l.acks.send(r)
		return
	}
	r.end(fmt.Errorf("%w: not connected", queue.ErrUnavailable))
}

// put publishes to a stream that is no queue's, or of which it is known that
// it is there, and waits for the confirmation.
func (d *Driver) put(ctx context.Context, m *nats.Msg) error {
	r, err := d.take(ctx, m)
	if err != nil {
		return err
	}
	d.send(r)
	return r.Wait(ctx)
}

// acks are the receipts that are unconfirmed on one connection.
type acks struct {
	d     *Driver
	book  *natsack.Book[*receipt]
	heard atomic.Int64 // when the last confirmation came, in nanoseconds since 1970
}

func newAcks(d *Driver, nc *nats.Conn) (*acks, error) {
	a := &acks{d: d}
	var err error
	a.book, err = natsack.New(nc, a.confirm)
	return a, err
}

func (a *acks) send(r *receipt) {
	r.sent = time.Now()
	if _, err := a.book.Send(r.m, r); err != nil {
		r.end(translate(err))
	}
}

// confirm is called with each confirmation.
func (a *acks) confirm(r *receipt, err error) {
	a.heard.Store(time.Now().UnixNano())
	if errors.Is(err, nats.ErrNoResponders) && r.to != nil {
		r.to.mu.Lock()
		r.to.ready = false // deleted, perhaps: it is made again
		r.to.mu.Unlock()
	}
	if err != nil {
		err = translate(err)
	}
	switch {
	case err == nil && a.d.isFull():
		a.d.full(nil)
	case errors.Is(err, queue.ErrRefused):
		a.d.full(err)
	}
	r.end(err)
}

func (d *Driver) isFull() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.refused.IsZero()
}

// fail ends all that is unconfirmed.
func (a *acks) fail(err error) {
	for _, r := range a.book.Take(func(*receipt) bool { return true }) {
		r.end(err)
	}
}

// sweep gives up what the server does not answer. A slow disk is no reason as
// long as confirmations come.
func (a *acks) sweep() {
	now := time.Now()
	silent := now.UnixNano()-a.heard.Load() > int64(ackPatience)
	late := a.book.Take(func(r *receipt) bool {
		age := now.Sub(r.sent)
		return age > ackPatience && silent || age > 6*ackPatience
	})
	if len(late) == 0 {
		return
	}
	a.d.mu.Lock()
	why := a.d.reasons
	a.d.mu.Unlock()
	for _, r := range late {
		r.end(fmt.Errorf("%w: no confirmation; %s", queue.ErrUnavailable, why))
	}
}
