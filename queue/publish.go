package queue

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	crand "crypto/rand"
)

// Waits between the attempts to publish to a broker that is away.
const (
	firstWait   = 50 * time.Millisecond
	longestWait = 2 * time.Second
)

// Publish returns nil only when the broker has the message for good. While the
// broker is away it tries again, with the same ID, until ctx is done or
// [Options.PublishTimeout] is over: then the error wraps ErrUnavailable and
// ctx's, and the broker may or may not have it. The message is the caller's
// again when Publish has returned.
func (b *Broker) Publish(ctx context.Context, m Message) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	return b.Send(ctx, m).Wait(ctx)
}

// Pending is a message that has been sent and is not known to be kept. It is for
// one goroutine at a time.
type Pending struct {
	b       *Broker
	e       Envelope
	receipt Receipt
	err     error // where there is no receipt: what came of it
	sent    bool  // the driver had it at least once
	start   time.Time
}

// ID returns the message's id, made or given.
func (p *Pending) ID() string { return p.e.ID }

// Send is the first half of [Broker.Publish]: it hands the message to the
// broker and does not wait for its confirmation, only for room when very many
// are unconfirmed, PublishTimeout at most. The message's payload and header may not be changed until
// Wait has returned; without Wait nobody knows what became of it.
func (b *Broker) Send(ctx context.Context, m Message) *Pending {
	p := &Pending{b: b, start: time.Now()}
	if p.err = p.e.prepare(m, p.start); p.err == nil {
		ctx, cancel := b.bounded(ctx)
		defer cancel()
		p.send(ctx)
	}
	return p
}

func (p *Pending) send(ctx context.Context) {
	p.receipt = nil
	select {
	case <-p.b.quit:
		p.err = ErrClosed
		return
	default:
	}
	if p.err = ctx.Err(); p.err == nil {
		p.sent = true
		p.receipt = p.b.driver.Publish(ctx, &p.e)
	}
}

// Wait is the second half: nil when the broker has the message for good. It
// may be called once.
func (p *Pending) Wait(ctx context.Context) error {
	ctx, cancel := p.b.bounded(ctx)
	defer cancel()
	for wait := firstWait; p.again(ctx) && p.b.sleep(ctx, wait); wait = min(2*wait, longestWait) {
		p.send(ctx)
	}
	return p.end(ctx)
}

// again waits for the receipt, and reports whether to send once more.
func (p *Pending) again(ctx context.Context) bool {
	if p.receipt != nil {
		p.err = p.receipt.Wait(ctx)
		p.receipt = nil
	}
	return errors.Is(p.err, ErrUnavailable) && ctx.Err() == nil
}

// end reports what became of it.
func (p *Pending) end(ctx context.Context) error {
	over := ctx.Err()
	switch unsure := errors.Is(p.err, ErrUnavailable); {
	case p.err == nil || over == nil:
	case unsure && !errors.Is(p.err, over):
		p.err = fmt.Errorf("%w: %w", p.err, over)
	case !unsure && p.sent && errors.Is(p.err, over):
		p.err = fmt.Errorf("%w: %w", ErrUnavailable, p.err)
	}
	p.b.publish.note(p.err)
	p.b.hooks.Published(&p.e.Message, time.Since(p.start), p.err)
	return p.err
}

// bounded applies PublishTimeout to a context without a deadline.
func (b *Broker) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has || b.opts.PublishTimeout < 0 {
		return ctx, func() {}
	}
	lazy := withLazyTimeout(ctx, b.opts.PublishTimeout)
	return lazy, lazy.stop
}

// sleep reports false when there is no sense in going on.
func (b *Broker) sleep(ctx context.Context, d time.Duration) bool {
	d = d/2 + time.Duration(rand.Int64N(int64(d))) //nolint:gosec // spreads load, guards nothing
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-b.quit:
		return false
	}
}

// PublishBatch publishes many: all are on their way before it waits for the
// first. nil when the broker has all of them, and else a [*BatchError].
func (b *Broker) PublishBatch(ctx context.Context, ms []Message) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	batch := make([]Pending, len(ms))
	left := make([]*Pending, len(ms))
	start := time.Now()
	for i, m := range ms {
		p := &batch[i]
		p.b, p.start, left[i] = b, start, p
		p.err = p.e.prepare(m, start)
	}
	for wait := firstWait; len(left) > 0; wait = min(2*wait, longestWait) {
		if left = b.round(ctx, left); len(left) > 0 && !b.sleep(ctx, wait) {
			break
		}
	}
	var failed *BatchError
	for i := range batch {
		if err := batch[i].end(ctx); err != nil {
			if failed == nil {
				failed = &BatchError{Errs: make([]error, len(ms))}
			}
			failed.Errs[i] = err
		}
	}
	if failed != nil {
		return failed
	}
	return nil
}

// round sends messages, waits for all, and returns those to be sent again.
func (b *Broker) round(ctx context.Context, batch []*Pending) []*Pending {
	for _, p := range batch {
		if p.err == nil || errors.Is(p.err, ErrUnavailable) {
			p.send(ctx)
		}
	}
	again := batch[:0]
	for _, p := range batch {
		if p.again(ctx) {
			again = append(again, p)
		}
	}
	return again
}

// BatchError says which messages of a batch may not be kept by the broker.
type BatchError struct {
	Errs []error // one for each message of the batch, nil for those that are kept
}

// Error counts them and names the first error.
func (e *BatchError) Error() string {
	errs := e.Unwrap()
	if len(errs) == 0 {
		return "queue: batch"
	}
	return fmt.Sprintf("queue: %d of %d messages not published; first: %v", len(errs), len(e.Errs), errs[0])
}

// Unwrap returns the errors that are not nil.
func (e *BatchError) Unwrap() []error {
	var errs []error
	for _, err := range e.Errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// prepare makes an envelope of what a user wants to publish.
func (e *Envelope) prepare(m Message, now time.Time) error {
	if err := m.check(); err != nil {
		return err
	}
	if m.ID == "" {
		m.ID = NewID(now)
	}
	if m.Delay > 0 {
		m.At, m.Delay = now.Add(m.Delay), 0
	}
	e.Message, e.Published = m, now
	return nil
}

// NewID returns an id as Publish makes it: a random UUID of version 7, which
// sort by time (RFC 9562, 5.7), to a quarter of a microsecond.
func NewID(now time.Time) string {
	var id [16]byte
	_, _ = crand.Read(id[:]) // it never fails
	ms := now.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	fraction := (now.UnixNano() % 1e6) << 12 / 1e6
	id[6], id[7] = 0x70|byte(fraction>>8)&0x0f, byte(fraction)
	id[8] = 0x80 | id[8]&0x3f
	var s [36]byte
	hex.Encode(s[0:8], id[0:4])
	hex.Encode(s[9:13], id[4:6])
	hex.Encode(s[14:18], id[6:8])
	hex.Encode(s[19:23], id[8:10])
	hex.Encode(s[24:], id[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}
