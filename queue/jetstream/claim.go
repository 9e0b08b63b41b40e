package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/queue"
)

// The answers that JetStream knows.
const (
	ack      = "+ACK"
	nak      = "-NAK"
	term     = "+TERM"
	progress = "+WPI"
)

// claim is the right to one message, until its lease ends.
type claim struct {
	x      *session
	reply  string
	seq    uint64       // of the message in its stream
	stored int64        // Unix nanoseconds
	until  atomic.Int64 // when its lease ends, by the driver's clock, or over; written with s.mu held

	next, prev *claim // guarded by s.mu
}

// over is in place of the end of a claim's lease when it was answered or lost.
const over = -1

func (c *claim) isOver() bool { return c.until.Load() == over }

// place is what a delivery's reply subject tells.
type place struct {
	delivered uint64 // how often, with this time
	seq       uint64 // in the stream
	stored    int64  // Unix nanoseconds
}

// placeOf reads a reply subject; where is what stands before the figures. They
// are, with dots between them: how often it was delivered, its sequence in the
// stream and in the consumer, when it was stored, how many are behind it, and
// what later servers may add (nats.go has the same in its internal parser).
func placeOf(reply, where string) (p place, ok bool) {
	_, rest, found := strings.Cut(reply, where)
	if !found {
		return p, false
	}
	var figures [4]uint64
	for i := range figures {
		figure, more, dot := strings.Cut(rest, ".")
		n, err := strconv.ParseUint(figure, 10, 63)
		if err != nil || !dot {
			return p, false
		}
		figures[i], rest = n, more
	}
	return place{delivered: figures[0], seq: figures[1], stored: int64(figures[3])}, true
}

// clock is the time by which leases are kept: short, and cheap to compare.
func (d *Driver) clock() int64 { return int64(time.Since(d.made)) }

// claims is a list in the order of arrival.
type claims struct{ first, last *claim }

func (l *claims) add(c *claim) {
	c.prev = l.last
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
}

func (l *claims) remove(c *claim) {
	if c.prev == nil {
		l.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.next, c.prev = nil, nil
}

// drop takes a claim out of the hand. s.mu is held.
func (s *subscription) drop(c *claim) {
	c.until.Store(over)
	s.claims.remove(c)
	s.n--
}

// dropAll is for when all that was in hand is lost. s.mu is held.
func (s *subscription) dropAll() {
	for s.claims.first != nil {
		s.drop(s.claims.first)
	}
	s.returned = nil
}

// expire drops the claims whose lease has ended. s.mu is held.
func (s *subscription) expire(now int64) {
	for c := s.claims.first; c != nil; {
		next := c.next
		if now > c.until.Load() {
			s.late(c)
			if s.ordered {
				return
			}
		}
		c = next
	}
}

// late drops a claim whose lease has ended. Where order matters those behind it
// must not overtake it: all are lost, and come again in their order. s.mu is held.
func (s *subscription) late(c *claim) {
	if !s.ordered {
		s.drop(c)
		return
	}
	s.dropAll()
	if s.session != nil {
		s.session.deaf = true
		s.session.fail(fmt.Errorf("%w: signs of life came too late", queue.ErrUnavailable))
	}
}

// Held implements queue.Holder.
func (c *claim) Held() bool {
	s := c.x.s
	switch until := c.until.Load(); {
	case until == over:
		return false
	case s.d.clock() <= until:
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.isOver() {
		s.late(c)
	}
	return false
}

// used takes a claim that has been answered out of the hand.
func (c *claim) used() {
	s := c.x.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.isOver() {
		s.drop(c)
		s.ask()
	}
}

// say sends an answer that needs no answer. s.mu is not held.
func (c *claim) say(answer []byte) error {
	if !c.Held() {
		return queue.ErrStale
	}
	if err := c.x.l.nc.Publish(c.reply, answer); err != nil {
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	}
	return nil
}

// Ack implements queue.Claim.
func (c *claim) Ack(context.Context) error {
	err := c.say(c.x.ack)
	if err == nil {
		c.used()
	}
	return err
}

// Extend implements queue.Claim.
func (c *claim) Extend(context.Context) error {
	if err := c.say([]byte(progress)); err != nil {
		return err
	}
	s := c.x.s
	s.mu.Lock()
	if !c.isOver() {
		c.until.Store(s.d.clock() + int64(s.lease))
	}
	back := s.returned // where order matters: they wait for this one
	s.mu.Unlock()
	for _, other := range back {
		_ = other.x.l.nc.Publish(other.reply, []byte(progress))
	}
	return nil
}

// Return implements queue.Claim. Where order matters it goes back together
// with all others, when the subscription is closed.
func (c *claim) Return(context.Context) error {
	if s := c.x.s; s.ordered {
		if !c.Held() {
			return queue.ErrStale
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if c.isOver() {
			return queue.ErrStale
		}
		s.drop(c)
		s.returned = append(s.returned, c)
		return nil
	}
	err := c.say([]byte(nak))
	if err == nil {
		c.used()
	}
	return err
}

// Retry implements queue.Claim: the message becomes a new one, under an id
// that makes a second try of the same harmless.
func (c *claim) Retry(ctx context.Context, e *queue.Envelope) error {
	if !c.Held() {
		return queue.ErrStale
	}
	s := c.x.s
	m := s.d.again(e, fmt.Sprintf("retry %d %s", e.Attempts, c.id()))
	if err := s.d.publish(ctx, s.name, m).Wait(ctx); err != nil {
		return err
	}
	return c.settle(ctx, ack)
}

// id is the message's own among all that a queue ever had: sequences begin
// again when a stream is made again.
func (c *claim) id() string {
	return itoa(c.seq) + " " + strconv.FormatInt(c.stored, 10)
}

// Bury implements queue.Claim.
func (c *claim) Bury(ctx context.Context, dead *queue.Dead) error {
	if !c.Held() {
		return queue.ErrStale
	}
	d := c.x.s.d
	m := d.names.letter(dead, fmt.Sprintf("dlq:%s:%s", c.x.stream, c.id()))
	err := d.put(ctx, m)
	if errors.Is(err, nats.ErrNoResponders) { // the first of all
		if _, err = d.makeDead(ctx, c.x.l); err == nil {
			err = d.put(ctx, m)
		}
	}
	if err != nil {
		return translate(err)
	}
	return c.settle(ctx, term)
}

// settle gives the message up, when something else has taken its place, and
// waits until the server has done it: that it comes once more is worth a wait.
func (c *claim) settle(ctx context.Context, answer string) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := c.x.l.nc.RequestWithContext(ctx, c.reply, []byte(answer))
	if errors.Is(err, nats.ErrNoResponders) && c.gone(ctx) {
		err = nil // the consumer, and its claims with it
	}
	if err != nil {
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	}
	c.used()
	return nil
}

// gone reports whether the consumer that delivered the message was deleted.
func (c *claim) gone(ctx context.Context) bool {
	_, err := c.x.l.js.Consumer(ctx, c.x.stream, c.x.consumer)
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}
