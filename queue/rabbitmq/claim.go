package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

// generation is one channel with the claims that came over it. A channel is
// never used again, so an answer that comes late finds it closed and can reach
// no other message.
type generation struct {
	d       *Driver
	ch      *amqp.Channel
	name    string // of the broker's queue
	ordered bool

	mu       sync.Mutex
	closed   bool
	stopping bool                // nothing comes any more
	open     map[uint64]struct{} // tags without an answer
}

func newGeneration(d *Driver, ch *amqp.Channel, name string, ordered bool) *generation {
	return &generation{d: d, ch: ch, name: name, ordered: ordered, open: make(map[uint64]struct{})}
}

// take notes a message that came.
func (g *generation) take(tag uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[tag] = struct{}{}
}

func (g *generation) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open) == 0
}

func (g *generation) held() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.closed && !g.ch.IsClosed()
}

// answer sends what f does, if the claim still holds.
func (g *generation) answer(tag uint64, f func(ch *amqp.Channel) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, tag)
	if g.closed || g.ch.IsClosed() || f(g.ch) != nil {
		g.d.stale.Add(1)
		return queue.ErrStale
	}
	return nil
}

// giveBack returns one message. Where order matters, what is given back while
// the consumer stops goes all at once, in its order, when it has ended.
func (g *generation) giveBack(tag uint64) error {
	g.mu.Lock()
	wait := g.ordered && g.stopping && !g.closed && !g.ch.IsClosed()
	g.mu.Unlock()
	if wait {
		return nil
	}
	return g.answer(tag, func(ch *amqp.Channel) error { return ch.Nack(tag, false, true) })
}

// stop says that nothing comes any more.
func (g *generation) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopping = true
}

// close gives back all that is unanswered and ends the channel. With the
// channel's end the broker puts them back in their order, and counts them as
// lost; returned one by one some versions do not count them, and a slow queue
// mixes them up.
func (g *generation) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.ch.IsClosed() {
		return
	}
	if !g.ordered {
		for tag := range g.open {
			_ = g.ch.Nack(tag, false, true) // it goes back with the channel otherwise
		}
	}
	settle(g.ch, g.name)
	_ = g.ch.Close()
}

// settle lets the broker take the answers that were sent over a channel. A
// channel of RabbitMQ keeps answers back while its quorum queue is slow, and
// forgets them when it is closed; then what was done comes again.
func settle(ch *amqp.Channel, name string) {
	for range settleRounds {
		if ch.IsClosed() {
			return
		}
		// The queue's process answers behind what it has been told before.
		if _, err := ch.QueueDeclarePassive(name, true, false, false, false, nil); err != nil {
			return
		}
		<-time.After(settleWait) // real: the broker does not say when it has taken them
	}
}

const (
	settleRounds = 4
	settleWait   = 5 * time.Millisecond
)

// claim is the right to one message.
type claim struct {
	g     *generation
	tag   uint64
	queue string
	props properties
	used  atomic.Bool
}

var _ queue.Holder = (*claim)(nil)

// Held implements queue.Holder.
func (c *claim) Held() bool { return !c.used.Load() && c.g.held() }

// Ack implements queue.Claim.
func (c *claim) Ack(context.Context) error {
	if c.used.Swap(true) {
		return queue.ErrStale
	}
	return c.g.answer(c.tag, func(ch *amqp.Channel) error { return ch.Ack(c.tag, false) })
}

// Return implements queue.Claim. RabbitMQ before 4.3 counts it as a delivery
// without an answer.
func (c *claim) Return(context.Context) error {
	if c.used.Swap(true) {
		return queue.ErrStale
	}
	return c.g.giveBack(c.tag)
}

// Extend implements queue.Claim.
func (c *claim) Extend(context.Context) error {
	if !c.Held() {
		return queue.ErrStale
	}
	return nil
}

// Retry implements queue.Claim.
func (c *claim) Retry(ctx context.Context, e *queue.Envelope) error {
	m := c.g.d.outgoing(e)
	c.props.put(&m.msg)
	return c.replace(ctx, m)
}

// Bury implements queue.Claim.
func (c *claim) Bury(ctx context.Context, dead *queue.Dead) error {
	d := c.g.d
	m := &outgoing{queue: c.queue, key: d.names.dead(c.queue), msg: publishing(&dead.Envelope, dead.Fields)}
	c.props.put(&m.msg)
	m.msg.Headers[fieldLetter] = newCursor(time.Now())
	return c.replace(ctx, m)
}

// replace publishes what takes the message's place, and then gives the message
// up. When the connection ends in between, both are there.
func (c *claim) replace(ctx context.Context, m *outgoing) error {
	if !c.Held() {
		c.g.d.stale.Add(1)
		return queue.ErrStale
	}
	if err := c.g.d.publish.publish(ctx, m); err != nil {
		return err
	}
	if err := c.Ack(ctx); err != nil && !errors.Is(err, queue.ErrStale) {
		return err
	}
	return nil
}

// newCursor returns a name for a dead letter; names sort by time.
func newCursor(now time.Time) string {
	return fmt.Sprintf("%016x%s", now.UnixNano(), rand.Text()[:8])
}

// properties are what AMQP says about a message and an envelope does not; they
// go with it when it is published again.
type properties struct {
	correlation, replyTo, app string
	priority                  uint8
}

func propertiesOf(d *amqp.Delivery) properties {
	return properties{correlation: d.CorrelationId, replyTo: d.ReplyTo, app: d.AppId, priority: d.Priority}
}

func (p properties) put(m *amqp.Publishing) {
	m.CorrelationId, m.ReplyTo, m.AppId, m.Priority = p.correlation, p.replyTo, p.app, p.priority
}

// again makes a message of a delivery, as it is. What the broker wrote on it is
// left out: with its trace of dead lettering it would be dropped for going in a circle.
func again(d *amqp.Delivery) amqp.Publishing {
	m := amqp.Publishing{
		DeliveryMode: amqp.Persistent, MessageId: d.MessageId, Timestamp: d.Timestamp,
		ContentType: d.ContentType, Type: d.Type, Body: d.Body,
		Headers: make(amqp.Table, len(d.Headers)),
	}
	propertiesOf(d).put(&m)
	for name, value := range d.Headers {
		if !ofBroker(name) {
			m.Headers[name] = value
		}
	}
	return m
}
