package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

// Waits before a consumer that the broker ended, or did not let begin, is tried again.
const (
	firstWait   = 100 * time.Millisecond
	longestWait = 5 * time.Second
	awayWait    = 10 * time.Millisecond // after a lost connection, which has waits of its own
	// How often an idle consumer looks whether it should be one: a broker that
	// lost track of a consumer gives it nothing, and does not say so.
	lookEvery = 5 * time.Second
	lockWait  = 250 * time.Millisecond // between looks whether a queue's order is free
)

// subscription is one consumer of a queue. Its loop owns its channels.
type subscription struct {
	d     *Driver
	queue string
	o     queue.ConsumeOptions
	r     queue.Receiver

	ctx    context.Context //nolint:containedctx // the loop's own, for its end
	cancel context.CancelFunc

	stop     chan struct{} // closed by Stop
	stopOnce sync.Once
	end      chan struct{} // closed by Close
	endOnce  sync.Once
	stopped  chan struct{} // closed by the loop: Receive is not called any more
	done     chan struct{} // closed by the loop: it has ended

	troubled bool // the receiver knows that it does not work; the loop's own
	relays   sync.WaitGroup
}

// Consume implements queue.Driver. The broker holds claims for as long as the
// connection lives, and by its own consumer timeout (30 minutes, unless
// configured): there is no lease. Ordered takes a lock, a queue "lock.q" that
// belongs to the connection, and waits until no other consumer is left.
func (d *Driver) Consume(_ context.Context, q string, o queue.ConsumeOptions, r queue.Receiver) (queue.Subscription, error) {
	if err := queue.CheckQueue(q); err != nil {
		return nil, err
	}
	if o.Credit < 1 || o.Credit > 65535 { // a short of AMQP's; zero would be no bound
		return nil, fmt.Errorf("%w: credit %d for queue %q", queue.ErrInvalid, o.Credit, q)
	}
	s := &subscription{
		d: d, queue: q, o: o, r: r,
		stop: make(chan struct{}), end: make(chan struct{}), stopped: make(chan struct{}), done: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		s.cancel()
		return nil, queue.ErrClosed
	}
	d.subs[s] = struct{}{}
	go s.run() // ended by Close
	return s, nil
}

// Lease implements queue.Subscription.
func (s *subscription) Lease() time.Duration { return 0 }

// Stop implements queue.Subscription.
func (s *subscription) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() { close(s.stop) })
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shutdown implements queue.Subscription.
func (s *subscription) Shutdown(ctx context.Context) error {
	s.stopOnce.Do(func() { close(s.stop) })
	s.endOnce.Do(func() { close(s.end); s.cancel() })
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run subscribes, again and again.
func (s *subscription) run() {
	defer func() {
		s.relays.Wait()
		s.d.mu.Lock()
		delete(s.d.subs, s)
		s.d.mu.Unlock()
		close(s.done)
	}()
	var once sync.Once
	haveStopped := func() { once.Do(func() { close(s.stopped) }) }
	defer haveStopped()
	// A stop ends the waits of what comes before the first message, too.
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go func() { // ends with the loop
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for wait := firstWait; ; {
		start := time.Now()
		err := s.session(ctx, haveStopped)
		if ctx.Err() != nil || errors.Is(err, queue.ErrClosed) {
			return
		}
		now := awayWait
		if !errors.Is(err, queue.ErrUnavailable) {
			s.trouble(err)
			if time.Since(start) >= stable {
				wait = firstWait
			}
			now, wait = wait, min(2*wait, longestWait)
		}
		if pause(ctx, now) != nil {
			return
		}
	}
}

// trouble tells the receiver, nil once after errors.
func (s *subscription) trouble(err error) {
	if err == nil && !s.troubled {
		return
	}
	s.troubled = err != nil
	if err != nil {
		s.d.o.Logger.Warn("rabbitmq: queue cannot be consumed", "queue", s.queue, "error", err)
	}
	s.r.Trouble(err)
}

// session consumes over one connection. It returns why that ended.
func (s *subscription) session(ctx context.Context, haveStopped func()) error {
	conn, err := s.d.consume.use(ctx, true)
	if err != nil {
		return err
	}
	ensured := make(chan error, 1)
	go func() { // ends with the call, or with the session
		_, err := conn.ensure(s.queue, false)
		ensured <- err
	}()
	select {
	case err = <-ensured:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	if s.o.Ordered {
		release, err := s.lock(ctx, conn)
		if err != nil {
			return err
		}
		defer release()
	}
	ch, err := conn.conn.Channel()
	if err != nil {
		return explain(err)
	}
	g := newGeneration(s.d, ch, s.d.names.work(s.queue), s.o.Ordered)
	defer g.close()
	return s.consume(conn, ch, g, haveStopped)
}

// consume brings the messages of one channel.
func (s *subscription) consume(conn *session, ch *amqp.Channel, g *generation, haveStopped func()) error {
	if err := ch.Qos(s.o.Credit, 0, false); err != nil {
		return explain(err)
	}
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	canceled := ch.NotifyCancel(make(chan string, 1))
	tag := s.d.o.Name + "-" + rand.Text()
	deliveries, err := ch.Consume(s.d.names.work(s.queue), tag, false, false, false, false, nil)
	if err != nil {
		conn.forget(s.queue)
		return explain(err)
	}
	s.trouble(nil)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	came, waiting := false, 0
	for {
		select {
		case m, ok := <-deliveries:
			if !ok {
				return s.ended(conn, closes, canceled)
			}
			came = true
			s.receive(g, &m)
		case <-look.C:
			if came || !g.idle() || !s.hasWork(conn) {
				came, waiting = false, 0
			} else if waiting++; waiting == 2 {
				return fmt.Errorf("%w: queue %q has messages and gives none to an idle consumer", queue.ErrUnavailable, s.queue)
			}
		case <-s.stop:
			s.finish(ch, g, tag, deliveries)
			haveStopped()
			select { // claims stay good
			case <-s.end:
			case <-conn.lost:
			case <-closes: //nolint:errcheck // that it ended is all
			}
			return ctxErr(s.ctx)
		}
	}
}

// hasWork reports whether messages wait in the queue.
func (s *subscription) hasWork(conn *session) bool {
	ctx, cancel := context.WithTimeout(s.ctx, lookEvery)
	defer cancel()
	n, err := conn.count(ctx, s.d.names.work(s.queue))
	return err == nil && n > 0
}

func ctxErr(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return queue.ErrClosed
}

// finish ends the coming of messages. What is on its way goes back.
func (s *subscription) finish(ch *amqp.Channel, g *generation, tag string, deliveries <-chan amqp.Delivery) {
	g.stop()
	canceled := make(chan struct{})
	go func() { // ends with the broker's answer, or with the session
		defer close(canceled)
		_ = ch.Cancel(tag, false)
	}()
	for m := range deliveries {
		g.take(m.DeliveryTag)
		_ = g.giveBack(m.DeliveryTag) // it goes back with the channel otherwise
	}
	<-canceled
}

// ended says why there are no more deliveries, although nobody stopped them.
func (s *subscription) ended(conn *session, closes <-chan *amqp.Error, canceled <-chan string) error {
	// Both are closed when the channel ends, and may then say nothing.
	select {
	case _, told := <-canceled:
		if !told {
			break
		}
		s.d.cancels.Add(1)
		conn.forget(s.queue)
		return fmt.Errorf("%w: the broker ended the consumer of queue %q: the queue was deleted or moved, or a message was held for too long",
			queue.ErrNotFound, s.queue)
	default:
	}
	select {
	case err := <-closes:
		if why := explain(amqpError(err)); why != nil && !errors.Is(why, queue.ErrUnavailable) {
			s.d.cancels.Add(1)
			return fmt.Errorf("the broker closed the channel of queue %q: %w", s.queue, why)
		}
	default:
	}
	why := conn.reason()
	if why == nil {
		why = errors.New("the channel was closed")
	}
	return unavailable(why)
}

// amqpError is e as an error: nil if it is nil.
func amqpError(e *amqp.Error) error {
	if e == nil {
		return nil
	}
	return e
}

func (s *subscription) receive(g *generation, m *amqp.Delivery) {
	g.take(m.DeliveryTag)
	c := &claim{g: g, tag: m.DeliveryTag, queue: s.queue, props: propertiesOf(m)}
	if left := rest(m); left > 0 {
		s.relays.Go(func() { s.relay(c, m, left) })
		return
	}
	s.r.Receive(queue.Incoming{Envelope: received(s.queue, m).Envelope, Lost: lost(m), Claim: c})
}

// relayTime bounds one try to send a message down the ladder once more.
const relayTime = 15 * time.Second

// relay sends a message on whose delay is longer than one walk.
func (s *subscription) relay(c *claim, m *amqp.Delivery, left time.Duration) {
	out := &outgoing{queue: s.queue, due: time.Now().Add(left), msg: again(m)}
	ctx, cancel := context.WithTimeout(s.ctx, relayTime)
	defer cancel()
	if err := c.replace(ctx, out); err != nil && !errors.Is(err, queue.ErrStale) {
		_ = c.Return(ctx) // it comes again
	}
}

// lock waits until this subscription is the only one of its queue, in this
// program and in others. The lock goes with the connection, so that nobody else
// has it before the broker took back what this one held.
func (s *subscription) lock(ctx context.Context, conn *session) (release func(), err error) {
	for !s.claimOrder() {
		if err := pause(ctx, lockWait); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			s.freeOrder()
		}
	}()
	name := s.d.names.lock(s.queue)
	for {
		err := conn.doContext(ctx, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(name, false, false, true, false, nil)
			return err
		})
		var e *amqp.Error
		if err == nil {
			break
		}
		if !errors.As(err, &e) || e.Code != amqp.ResourceLocked {
			return nil, explain(err)
		}
		if err := pause(ctx, lockWait); err != nil {
			return nil, err
		}
	}
	release = func() {
		_ = conn.do(func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete(name, false, false, false)
			return err
		})
		s.freeOrder()
	}
	if err := s.awaitAlone(ctx, conn); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// awaitAlone waits until the queue has no consumer: then what a former one held
// is back in its place.
func (s *subscription) awaitAlone(ctx context.Context, conn *session) error {
	for tries := 0; ; tries++ {
		consumers := 0
		err := conn.doContext(ctx, func(ch *amqp.Channel) error {
			q, err := ch.QueueDeclarePassive(s.d.names.work(s.queue), true, false, false, false, nil)
			consumers = q.Consumers
			return err
		})
		if err != nil {
			conn.forget(s.queue)
			return explain(err)
		}
		if consumers == 0 {
			return nil
		}
		if tries == 20 {
			s.trouble(fmt.Errorf("%w: queue %q has %d consumers that do not keep its order", queue.ErrRefused, s.queue, consumers))
		}
		if err := pause(ctx, lockWait); err != nil {
			return err
		}
	}
}

// claimOrder takes the queue's order within this driver.
func (s *subscription) claimOrder() bool {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.d.orderly[s.queue] != nil {
		return false
	}
	s.d.orderly[s.queue] = s
	return true
}

func (s *subscription) freeOrder() {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.d.orderly[s.queue] == s {
		delete(s.d.orderly, s.queue)
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
