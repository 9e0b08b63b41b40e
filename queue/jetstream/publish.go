package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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

// acks matches confirmations with messages, on one connection.
type acks struct {
	d      *Driver
	nc     *nats.Conn
	prefix string // of the subjects that confirmations come on

	mu      sync.Mutex
	next    uint64
	pending map[uint64]*receipt
	heard   time.Time // the last confirmation
}

func (a *acks) send(r *receipt) {
	r.sent = time.Now()
	a.mu.Lock()
	a.next++
	id := a.next
	a.pending[id] = r
	a.mu.Unlock()
	r.m.Reply = a.prefix + strconv.FormatUint(id, 36)
	if err := a.nc.PublishMsg(r.m); err != nil && a.drop(id) != nil {
		r.end(translate(err))
	}
}

// drop takes a receipt out; nil: it is decided.
func (a *acks) drop(id uint64) *receipt {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.pending[id]
	delete(a.pending, id)
	return r
}

// confirm is called with each confirmation.
func (a *acks) confirm(m *nats.Msg) {
	id, err := strconv.ParseUint(m.Subject[len(a.prefix):], 36, 64)
	if err != nil {
		return
	}
	now := time.Now()
	a.mu.Lock()
	r := a.pending[id]
	delete(a.pending, id)
	a.heard = now
	a.mu.Unlock()
	if r == nil {
		return // given up meanwhile
	}
	err = confirmed(m)
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

// confirmed reads a confirmation.
func confirmed(m *nats.Msg) error {
	if len(m.Data) == 0 {
		if m.Header.Get(headerStatus) == "503" {
			return nats.ErrNoResponders
		}
		return fmt.Errorf("%w: a confirmation that says nothing", queue.ErrUnavailable)
	}
	if !bytes.Contains(m.Data, []byte(`"error"`)) && bytes.HasPrefix(m.Data, []byte("{")) {
		return nil
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return fmt.Errorf("%w: confirmation: %w", queue.ErrUnavailable, err)
	}
	if ack.Error != nil {
		return ack.Error
	}
	return nil
}

// fail ends all that is unconfirmed.
func (a *acks) fail(err error) {
	a.mu.Lock()
	all := a.pending
	a.pending = make(map[uint64]*receipt)
	a.mu.Unlock()
	for _, r := range all {
		r.end(err)
	}
}

// sweep gives up what the server does not answer. A slow disk is no reason as
// long as confirmations come.
func (a *acks) sweep() {
	now := time.Now()
	var late []*receipt
	a.mu.Lock()
	silent := now.Sub(a.heard) > ackPatience
	for id, r := range a.pending {
		if age := now.Sub(r.sent); age > ackPatience && silent || age > 6*ackPatience {
			late = append(late, r)
			delete(a.pending, id)
		}
	}
	a.mu.Unlock()
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
