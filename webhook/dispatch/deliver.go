package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
)

var errClosing = errors.New("dispatch: the dispatcher is being closed")

// deliver is the handler of the queues that all endpoints share: it makes one
// attempt, or puts the message back if the endpoint takes no more for now.
func (d *Dispatcher) deliver(ctx context.Context, m *queue.Delivery) error {
	patient := m.Queue != d.queueName(queueFirst)
	del, err := parseDelivery(&m.Message)
	if err != nil {
		return queue.Discard(err)
	}
	if d.repeated(del) {
		return nil
	}
	t, err := d.find(ctx, del.endpoint)
	switch {
	case err != nil:
		return err
	case t == nil:
		d.stats.removed.Add(1)
		return nil
	case t.disabled():
		return d.drop(ctx, t, del)
	}
	p, err := t.gate.enter(ctx, patient)
	if parked, ok := errors.AsType[parkedError](err); ok {
		return d.putBack(ctx, del, parked.wait)
	}
	if err != nil {
		return err
	}
	a := d.attempt(ctx, t, del)
	p.leave(a)
	if a.Verdict() == webhook.Canceled {
		return errClosing // the broker is shutting down, and gives the message back
	}
	return d.settle(ctx, t, del, a)
}

// repeated reports whether the try was made before.
func (d *Dispatcher) repeated(del *delivery) bool {
	if !d.settled.has(del.key(), del.try) {
		return false
	}
	d.stats.repeated.Add(1)
	return true
}

// putBack parks a delivery: a new message takes the place of the one in hand.
func (d *Dispatcher) putBack(ctx context.Context, del *delivery, wait time.Duration) error {
	next := *del
	next.parked++
	m := next.message(d.queueName(queueLate))
	m.Delay = wait
	if err := d.o.Broker.Publish(ctx, m); err != nil {
		return err
	}
	d.stats.parked.Add(1)
	d.hooks.Parked(del.endpoint, del.event.ID, wait)
	return nil
}

func (t *target) disabled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec.Endpoint.Disabled || t.health.disable != ""
}

// attempt makes one.
func (d *Dispatcher) attempt(ctx context.Context, t *target, del *delivery) webhook.Attempt {
	refused := func(err error) webhook.Attempt {
		text := err.Error()
		return webhook.Attempt{
			ID: del.event.ID, Try: del.try, Start: time.Now(), Class: webhook.ClassRequest, Error: text[:min(len(text), 256)],
		}
	}
	dest, err := t.destination(d.o.Client)
	if err != nil {
		return refused(err)
	}
	body, err := del.event.body(t.format())
	if err != nil {
		return refused(err)
	}
	return d.send(ctx, dest, del.event, body, del.try)
}

func (t *target) format() webhook.Format {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec.Endpoint.Format
}

// outcome says what an attempt makes of its delivery.
func (t *target) outcome(del *delivery, a webhook.Attempt) (e Entry, wait time.Duration, again bool) {
	e = Entry{
		Endpoint: del.endpoint, Type: del.event.Type, Attempt: a, Accepted: del.event.Accepted, Replay: del.replay,
		Trace: del.event.Trace,
	}
	t.mu.Lock()
	schedule := t.rec.Endpoint.Schedule
	t.mu.Unlock()
	wait, again = schedule.Next(a, rand.Float64()) //nolint:gosec // spreads load, guards nothing
	switch {
	case a.Verdict() == webhook.Delivered:
		e.State = StateDelivered
	case again:
		e.State, e.Next = StateScheduled, time.Now().Add(wait)
	default:
		e.State = StateFailed
	}
	return e, wait, again
}

// settle does what follows from an attempt: the next try is in the queue before the
// message of this one is given up.
func (d *Dispatcher) settle(ctx context.Context, t *target, del *delivery, a webhook.Attempt) error {
	e, wait, again := t.outcome(del, a)
	if again {
		next := *del
		next.try, next.parked = del.try+1, 0
		m := next.message(d.queueName(queueLate))
		m.Delay = wait
		if err := d.o.Broker.Publish(ctx, m); err != nil {
			return fmt.Errorf("dispatch: the next try could not be queued: %w", err)
		}
	}
	return d.note(ctx, t, del, e)
}

// note keeps an attempt and tells of it. What was delivered is not repeated because
// that fails; what was given up then becomes a dead letter, so that somebody sees it.
func (d *Dispatcher) note(ctx context.Context, t *target, del *delivery, e Entry) error {
	d.settled.add(del.key(), e.Attempt.Try)
	err := d.log(ctx, e)
	t.counts.note(e)
	d.stats.note(e)
	d.judge(ctx, t, e)
	d.hooks.Attempted(e)
	if err == nil {
		return nil
	}
	d.stats.logFailed.Add(1)
	d.hooks.LogFailed(e, err)
	if e.State == StateFailed || e.State == StateDropped {
		return queue.Discard(fmt.Errorf("dispatch: %s, and that could not be kept: %w", e.State, err))
	}
	return nil
}

// Patience with the store of attempts.
const (
	logRetry   = 50 * time.Millisecond
	logImpeded = 250 * time.Millisecond // while it is known to fail
	logMemory  = 10 * time.Second
)

// log keeps an attempt. While the store is known to fail it waits less, so that
// deliveries go on.
func (d *Dispatcher) log(ctx context.Context, e Entry) error {
	patience := d.o.LogTimeout
	if failed := d.stats.logFailedAt.Load(); failed != 0 && time.Since(time.Unix(0, failed)) < logMemory {
		patience = min(patience, logImpeded)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for wait := logRetry; ; wait *= 2 {
		err := d.o.Attempts.Append(ctx, e)
		if err == nil {
			d.stats.logFailedAt.Store(0)
			return nil
		}
		if !sleep(ctx, wait) {
			d.stats.logFailedAt.Store(time.Now().UnixNano())
			return err
		}
	}
}

// drop gives up a delivery to a disabled endpoint.
func (d *Dispatcher) drop(ctx context.Context, t *target, del *delivery) error {
	return d.note(ctx, t, del, Entry{
		Endpoint: del.endpoint, Type: del.event.Type, State: StateDropped, Accepted: del.event.Accepted, Replay: del.replay,
		Attempt: webhook.Attempt{
			ID: del.event.ID, Try: del.try, Start: time.Now(), Class: webhook.ClassCanceled, Error: "the endpoint is disabled",
		},
	})
}

// deliverOrdered is the handler of an endpoint's own queue. It holds the message, and
// with it the turn, through all tries.
func (d *Dispatcher) deliverOrdered(ctx context.Context, m *queue.Delivery) error {
	del, err := parseDelivery(&m.Message)
	if err != nil {
		return queue.Discard(err)
	}
	var due time.Time
	if m.Lost > 0 || m.Attempts > 0 || d.firstOf(del.endpoint) {
		var done bool
		if due, done = d.resume(ctx, del); done {
			d.stats.repeated.Add(1)
			return nil
		}
	}
	for {
		t, err := d.find(ctx, del.endpoint)
		switch {
		case err != nil:
			return err
		case t == nil:
			d.stats.removed.Add(1)
			return nil
		}
		if err := d.waitUntil(ctx, t, due); err != nil {
			return err
		}
		if t.gone() {
			continue
		}
		if t.disabled() {
			return d.drop(ctx, t, del)
		}
		p, err := t.gate.enter(ctx, true)
		if parked, ok := errors.AsType[parkedError](err); ok {
			due = time.Now().Add(parked.wait)
			continue
		}
		if err != nil {
			return err
		}
		a := d.attempt(ctx, t, del)
		p.leave(a)
		if a.Verdict() == webhook.Canceled {
			return errClosing
		}
		e, wait, again := t.outcome(del, a)
		if err := d.note(ctx, t, del, e); err != nil || !again {
			return err
		}
		del.try++
		due = time.Now().Add(wait)
	}
}

func (t *target) gone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.removed
}

// waitUntil waits for a time, or until the endpoint is disabled or removed.
func (d *Dispatcher) waitUntil(ctx context.Context, t *target, due time.Time) error {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		t.mu.Lock()
		over, changed := t.removed || t.rec.Endpoint.Disabled || t.health.disable != "", t.changed
		t.mu.Unlock()
		select {
		case <-d.closing:
			return errClosing
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if over || !time.Now().Before(due) {
			return nil
		}
		select {
		case <-timer.C:
		case <-changed:
		case <-d.closing:
		case <-ctx.Done():
		}
	}
}

// firstOf reports whether this is the first delivery of an ordered endpoint here: another
// run of the program, or another program, may have begun with it.
func (d *Dispatcher) firstOf(endpoint string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := !d.begun[endpoint]
	d.begun[endpoint] = true
	return first
}

// resume finds out how far the tries of a delivery have come that another run of
// this program had in hand, or this one before.
func (d *Dispatcher) resume(ctx context.Context, del *delivery) (due time.Time, done bool) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	entries, err := d.o.Attempts.Of(ctx, del.event.ID, del.event.Accepted)
	if err != nil {
		d.hooks.Trouble(fmt.Errorf("dispatch: the attempts of an ordered delivery: %w", err)) // they begin anew
		return time.Time{}, false
	}
	for _, e := range entries {
		switch {
		case e.Endpoint != del.endpoint || e.Replay != del.replay:
		case e.State.Final():
			return time.Time{}, true
		case e.Attempt.Try >= del.try:
			del.try, due = e.Attempt.Try+1, e.Next
		}
	}
	return due, false
}
