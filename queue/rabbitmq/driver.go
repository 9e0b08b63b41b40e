package rabbitmq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

// Driver is a queue.Driver, a queue.Reporter and a queue.Purger. It has one
// connection for publishing, which the broker may block, and one for all else.
// Its methods may be called by many goroutines at once.
type Driver struct {
	o       Options
	names   names
	publish *publisher
	consume *link

	mu      sync.Mutex
	subs    map[*subscription]struct{}
	orderly map[string]*subscription // who has a queue in order, in this program
	closing bool
	ended   chan struct{}

	reports  sync.Mutex // one report at a time
	reporter func(queue.Status)
	last     queue.Status

	stale   atomic.Int64
	cancels atomic.Int64
}

var (
	_ queue.Driver   = (*Driver)(nil)
	_ queue.Reporter = (*Driver)(nil)
	_ queue.Purger   = (*Driver)(nil)
)

// New returns a driver that connects, and connects again whenever a connection
// is lost, until it is closed. Unless [Options.Optional] is set it waits for
// the first connections, and fails when no broker can be reached or ctx ends.
func New(ctx context.Context, o Options) (*Driver, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Driver{
		o: o, names: names{o.Prefix}, ended: make(chan struct{}),
		subs: make(map[*subscription]struct{}), orderly: make(map[string]*subscription),
	}
	d.consume = newLink(&d.o, "consume", d.report)
	d.publish = newPublisher(&d.o, newLink(&d.o, "publish", d.report))
	go d.consume.run()      // ended by Close
	go d.publish.link.run() // ended by Close
	go d.publish.run()      // ended by Close
	if o.Optional {
		return d, nil
	}
	for _, l := range []*link{d.publish.link, d.consume} {
		if _, err := l.use(ctx, false); err != nil {
			return nil, errors.Join(err, d.Shutdown(ctx))
		}
	}
	return d, nil
}

// Publish implements queue.Driver. A message that the broker gave back because
// its queue was deleted is published again, after the queue was made anew; one
// that it refuses is, too, for about a second, or ten while the queue is new. IDs
// are not remembered: what was published twice is there twice, until the
// consumers' own memory of what was done tells.
func (d *Driver) Publish(ctx context.Context, e *queue.Envelope) queue.Receipt {
	return d.publish.send(ctx, d.outgoing(e))
}

// outgoing makes a message for its queue, or for the ladder.
func (d *Driver) outgoing(e *queue.Envelope) *outgoing {
	return &outgoing{queue: e.Queue, key: d.names.work(e.Queue), due: e.At, msg: publishing(e, e.Fields)}
}

// address sends a message that is not due yet onto the ladder. That is done
// when it is written: it may have waited for a broker that was away or blocked.
func (m *outgoing) address(n names, now time.Time) {
	if m.due.IsZero() {
		return
	}
	m.exchange, m.key, m.ladder = "", n.work(m.queue), false
	delete(m.msg.Headers, fieldRest)
	units, left := delayUnits(m.due.Sub(now))
	if units == 0 {
		return
	}
	key, level := delayKey(units, m.queue)
	m.exchange, m.key, m.ladder = n.delay(level), key, true
	if left > 0 {
		m.msg.Headers[fieldRest] = left.String()
	}
}

// Inspect implements queue.Driver. Delayed and Unacked are -1: the protocol
// does not tell. Nor does it tell the age of the oldest.
func (d *Driver) Inspect(ctx context.Context, q string) (queue.Depth, error) {
	depth := queue.Depth{Delayed: -1, Unacked: -1}
	s, err := d.consume.use(ctx, false)
	if err != nil {
		return depth, err
	}
	if depth.Waiting, err = s.count(ctx, d.names.work(q)); err != nil {
		return depth, err
	}
	depth.Dead, err = s.count(ctx, d.names.dead(q))
	if errors.Is(err, queue.ErrNotFound) {
		err = nil // a queue that others made, and that nothing was published to
	}
	return depth, err
}

// count returns how many messages of a queue wait.
func (s *session) count(ctx context.Context, name string) (int64, error) {
	var n int64
	err := s.doContext(ctx, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		n = int64(q.Messages)
		return explain(err)
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Report implements queue.Reporter. Of the two connections the worse one
// counts.
func (d *Driver) Report(f func(queue.Status)) {
	d.reports.Lock()
	defer d.reports.Unlock()
	d.reporter = f
	d.last = d.Status()
	f(d.last)
}

// Status is how the connections are.
func (d *Driver) Status() queue.Status {
	a, b := d.publish.link.status(), d.consume.status()
	worse := a
	if rank(b.Connection) > rank(a.Connection) {
		worse = b
	}
	worse.Reconnects = a.Reconnects + b.Reconnects
	return worse
}

// rank orders the states from good to bad.
func rank(c queue.Connection) int {
	switch c {
	case queue.Connected:
		return 0
	case queue.Blocked:
		return 1
	case queue.Connecting:
		return 2
	default:
		return 3
	}
}

func (d *Driver) report() {
	d.reports.Lock()
	defer d.reports.Unlock()
	if d.reporter == nil {
		return
	}
	now := d.Status()
	if same := now; d.last.Connection == same.Connection && d.last.Reason == same.Reason && d.last.Reconnects == same.Reconnects {
		return
	}
	d.last = now
	d.reporter(now)
}

// Stats counts what went otherwise than usual since the driver was made.
type Stats struct {
	StaleAcks  int64 // answers to claims whose connection was gone; nothing was sent
	Cancels    int64 // consumers that the broker ended: queue deleted, leader moved, timeout
	Unroutable int64 // messages that no queue took
	Refused    int64 // messages that the broker did not take, or a queue that could not be made
}

// Stats returns the counters.
func (d *Driver) Stats() Stats {
	return Stats{
		StaleAcks: d.stale.Load(), Cancels: d.cancels.Load(),
		Unroutable: d.publish.unroutable.Load(), Refused: d.publish.refused.Load(),
	}
}

// Purge implements queue.Purger. Messages with a delay lie among those of other
// queues: each of the ladder's queues is walked through for them, which may
// delay the others by as long as the walk takes. The number counts all.
func (d *Driver) Purge(ctx context.Context, q string) (int64, error) {
	s, err := d.consume.use(ctx, false)
	if err != nil {
		return 0, err
	}
	var n int
	err = s.doContext(ctx, func(ch *amqp.Channel) error {
		var err error
		n, err = ch.QueuePurge(d.names.work(q), false)
		return explain(err)
	})
	if err != nil {
		return 0, err
	}
	purged := int64(n)
	suffix := "." + word(q)
	for level := range levels {
		var removed int64
		err := d.walk(ctx, d.names.delay(level), func(m *amqp.Delivery) (bool, bool, error) {
			ours := strings.HasSuffix(m.RoutingKey, suffix)
			if ours {
				removed++
			}
			return ours, true, nil
		})
		purged += removed
		switch {
		case errors.Is(err, queue.ErrNotFound): // no message was ever delayed
			return purged, nil
		case err != nil:
			return purged, fmt.Errorf("level %d of the delays: %w", level, err)
		}
	}
	return purged, nil
}

// Shutdown implements queue.Driver. Further calls wait for the first.
func (d *Driver) Shutdown(ctx context.Context) error {
	d.mu.Lock()
	first := !d.closing
	d.closing = true
	subs := make([]*subscription, 0, len(d.subs))
	for s := range d.subs {
		subs = append(subs, s)
	}
	d.mu.Unlock()
	if !first {
		select {
		case <-d.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer close(d.ended)
	var wg sync.WaitGroup
	errs := make([]error, len(subs)+1)
	for i, s := range subs {
		wg.Go(func() { errs[i] = s.Shutdown(ctx) })
	}
	wg.Wait()
	errs[len(subs)] = d.publish.close(ctx)
	d.consume.close()
	for _, s := range subs {
		<-s.done // without a connection it ends
	}
	return cmp.Or(ctx.Err(), errors.Join(errs...))
}
