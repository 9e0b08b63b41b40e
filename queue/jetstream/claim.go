package jetstream

import (
	"context"
	"errors"
	"fmt"
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
	s     *subscription
	l     *link
	reply string
	meta  *nats.MsgMetadata

	// Guarded by s.mu.
	until      time.Time
	over       bool // answered or lost
	next, prev *claim
}

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
	c.over = true
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
func (s *subscription) expire(now time.Time) {
	for c := s.claims.first; c != nil; {
		next := c.next
		if now.After(c.until) {
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
		s.session.fail(fmt.Errorf("%w: signs of life came too late", queue.ErrUnavailable))
	}
}

// held reports whether the claim is. s.mu is held.
func (c *claim) held() bool {
	if !c.over && time.Now().After(c.until) {
		c.s.late(c)
	}
	return !c.over
}

// Held implements queue.Holder.
func (c *claim) Held() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.held()
}

// used takes a claim that has been answered out of the hand.
func (c *claim) used() {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.over {
		s.drop(c)
		s.ask()
	}
}

// say sends an answer that needs no answer. s.mu is not held.
func (c *claim) say(answer string) error {
	if !c.Held() {
		return queue.ErrStale
	}
	if err := c.l.nc.Publish(c.reply, []byte(answer)); err != nil {
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	}
	return nil
}

// Ack implements queue.Claim.
func (c *claim) Ack(context.Context) error {
	err := c.say(ack)
	if err == nil {
		c.used()
	}
	return err
}

// Extend implements queue.Claim.
func (c *claim) Extend(context.Context) error {
	if err := c.say(progress); err != nil {
		return err
	}
	until := time.Now().Add(c.s.lease)
	c.s.mu.Lock()
	c.until = until
	back := c.s.returned // they wait for this one
	c.s.mu.Unlock()
	for _, other := range back {
		_ = other.l.nc.Publish(other.reply, []byte(progress))
	}
	return nil
}

// Return implements queue.Claim. Where order matters it goes back together
// with all others, when the subscription is closed.
func (c *claim) Return(context.Context) error {
	if c.s.ordered {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if !c.held() {
			return queue.ErrStale
		}
		c.s.drop(c)
		c.s.returned = append(c.s.returned, c)
		return nil
	}
	err := c.say(nak)
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
	m := c.s.d.again(e, fmt.Sprintf("retry %d %s", e.Attempts, c.id()))
	if err := c.s.d.publish(ctx, c.s.name, m).Wait(ctx); err != nil {
		return err
	}
	return c.settle(ctx, ack)
}

// id is the message's own among all that a queue ever had: sequences begin
// again when a stream is made again.
func (c *claim) id() string {
	return itoa(c.meta.Sequence.Stream) + " " + itoa(uint64(c.meta.Timestamp.UnixNano()))
}

// Bury implements queue.Claim.
func (c *claim) Bury(ctx context.Context, dead *queue.Dead) error {
	if !c.Held() {
		return queue.ErrStale
	}
	d := c.s.d
	m := d.names.letter(dead, fmt.Sprintf("dlq:%s:%s", c.meta.Stream, c.id()))
	err := d.put(ctx, m)
	if errors.Is(err, nats.ErrNoResponders) { // the first of all
		if _, err = d.makeDead(ctx, c.l); err == nil {
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
	_, err := c.l.nc.RequestWithContext(ctx, c.reply, []byte(answer))
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
	_, err := c.l.js.Consumer(ctx, c.meta.Stream, c.meta.Consumer)
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}
