package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/queue"
)

// Times of a subscription.
const (
	pullExpires = 30 * time.Second
	pullBeat    = 5 * time.Second // the server's signs of life while there is nothing
	pullSilence = 2*pullBeat + time.Second
	minTrouble  = 100 * time.Millisecond // between tries to make it work
	maxTrouble  = 5 * time.Second
	stopWait    = 5 * time.Second
)

// subscription gives the messages of a queue to a receiver. It asks the server
// for as many as there is credit, never for more: what waited in a buffer here
// would lose its lease there.
type subscription struct {
	d       *Driver
	name    string
	r       queue.Receiver
	credit  int
	ordered bool
	lease   time.Duration

	ctx    context.Context //nolint:containedctx // the loop's own, until it is stopped
	cancel context.CancelFunc
	ended  chan struct{} // the loop has
	closed sync.Once

	mu       sync.Mutex
	stopped  bool
	session  *session
	claims   claims    // unanswered
	n        int       // of them
	returned []*claim  // where order matters: to be given back at the end
	made     time.Time // the consumer was; only the loop writes it
	owner    *owner
	trouble  string
}

// session is a subscription at work: there is a consumer, and an inbox.
type session struct {
	s     *subscription
	l     *link
	o     *owner // nil: order does not matter
	pull  string // the subject of requests
	inbox string

	stream, consumer string
	where            string // what stands in reply subjects before the figures
	ack              []byte // the answer that almost all get

	sub  *nats.Subscription
	over chan error // why it cannot go on

	requested int   // guarded by s.mu, as all below
	heard     int64 // by the driver's clock
	deaf      bool  // what still comes is out of order: it comes again
}

// Consume implements queue.Driver. The lease of a queue is one for all
// programs: it is made longer at once where one asks for that, and shorter only
// while nobody consumes.
func (d *Driver) Consume(_ context.Context, name string, o queue.ConsumeOptions, r queue.Receiver) (queue.Subscription, error) {
	s := &subscription{
		d: d, name: name, r: r, credit: max(o.Credit, 1), ordered: o.Ordered,
		lease: max(cmp.Or(o.Lease, d.o.Lease), minLease), ended: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(d.ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		s.cancel()
		return nil, queue.ErrClosed
	}
	d.subs[s] = struct{}{}
	d.wg.Go(s.run)
	return s, nil
}

// Lease implements queue.Subscription.
func (s *subscription) Lease() time.Duration { return s.lease }

// run keeps a session, until the subscription is stopped.
func (s *subscription) run() {
	defer close(s.ended)
	wait := minTrouble
	for s.ctx.Err() == nil {
		began := time.Now()
		err := s.work()
		if s.ctx.Err() != nil {
			return
		}
		if time.Since(began) > 10*time.Second {
			wait = minTrouble
		}
		if err != nil && !errors.Is(err, queue.ErrUnavailable) {
			s.tell(err)
		}
		sleep(s.ctx, wait)
		wait = min(2*wait, maxTrouble)
	}
}

// tell tells the receiver about trouble, or that it is over, once.
func (s *subscription) tell(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	s.mu.Lock()
	same := text == s.trouble
	s.trouble = text
	s.mu.Unlock()
	if same {
		return
	}
	if err != nil {
		s.d.o.Logger.Warn("the queue cannot be consumed", "queue", s.name, "error", err)
	}
	s.r.Trouble(err)
}

// work is one session.
func (s *subscription) work() error {
	l, err := s.d.connected(s.ctx)
	if err != nil {
		return err
	}
	setup, cancel := context.WithTimeout(s.ctx, 2*apiTimeout)
	defer cancel()
	str, err := s.d.makeQueue(setup, l, s.name)
	if err != nil {
		return err
	}
	if s.ordered {
		if err := s.own(l); err != nil {
			return err
		}
		setup, cancel = context.WithTimeout(s.ctx, 2*apiTimeout) // that may have taken long
		defer cancel()
	}
	c, err := s.d.makeConsumer(setup, str, s.name, s.lease)
	remade := false
	if err == nil && s.ordered {
		c, remade, err = s.inOrder(setup, l, str, c)
	}
	if err != nil {
		return err
	}
	info := c.CachedInfo()
	x := &session{
		s: s, l: l, o: s.owned(), pull: l.api + "CONSUMER.MSG.NEXT." + info.Stream + "." + info.Name,
		inbox: l.nc.NewInbox(), over: make(chan error, 1), heard: s.d.clock(),
		stream: info.Stream, consumer: info.Name, where: "." + info.Stream + "." + info.Name + ".",
		ack: []byte(ack),
	}
	if x.sub, err = l.nc.Subscribe(x.inbox, x.take); err != nil {
		return translate(err)
	}
	if again := !s.made.IsZero() && !s.made.Equal(info.Created); again {
		s.mu.Lock()
		s.dropAll() // they were the consumer's before this one
		s.mu.Unlock()
		if !remade {
			s.tell(fmt.Errorf("%w: the consumer was deleted, alone or with its queue, and has been made again", queue.ErrNotFound))
		}
	}
	s.tell(nil)
	s.mu.Lock()
	s.made = info.Created
	s.session = x
	s.ask()
	s.mu.Unlock()
	err = x.watch()
	s.mu.Lock()
	s.session = nil
	x.deaf = s.ordered && !s.stopped
	s.mu.Unlock()
	x.end()
	return err
}

// inOrder returns a consumer that gives out first, in their order, what was
// delivered before to an owner that is gone, or over a connection that is.
// Leases would end in any order.
func (s *subscription) inOrder(ctx context.Context, l *link, str jetstream.Stream, c jetstream.Consumer) (jetstream.Consumer, bool, error) {
	o, info := s.owned(), c.CachedInfo()
	if o == nil || !o.forced && !s.made.Equal(info.Created) || info.NumAckPending == 0 {
		return c, false, nil
	}
	err := o.lose(ctx, l, info.Delivered.Stream, str.CachedInfo().State.FirstSeq)
	if err == nil {
		c, err = s.d.remakeConsumer(ctx, str, s.name, c)
	}
	if err == nil {
		o.forced = false
	}
	return c, true, err
}

// watch returns when the session cannot go on.
func (x *session) watch() error {
	s := x.s
	every := min(s.lease/4, time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	overdue := time.NewTimer(overdueFirst)
	defer overdue.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case err := <-x.over:
			return err
		case <-x.l.closed:
			return fmt.Errorf("%w: the connection was closed", queue.ErrUnavailable)
		case <-s.lost():
			return fmt.Errorf("%w: the queue is in another program's hands", queue.ErrUnavailable)
		case <-overdue.C:
			overdue.Reset(s.d.rescue(s.ctx, x.l, s.name))
		case <-tick.C:
			s.mu.Lock()
			now := s.d.clock()
			s.expire(now)
			silent := x.requested > 0 && now-x.heard > int64(pullSilence) && x.l.nc.IsConnected()
			s.ask()
			s.mu.Unlock()
			if silent {
				return fmt.Errorf("%w: nothing from the server for %v", queue.ErrUnavailable, pullSilence)
			}
		}
	}
}

// end takes the session's inbox away. What the server sent before it learnt
// that goes back. It waits for that.
func (x *session) end() {
	gone := make(chan struct{})
	x.sub.SetClosedHandler(func(string) { close(gone) })
	if x.sub.Drain() != nil {
		_ = x.sub.Unsubscribe()
		return
	}
	t := time.NewTimer(stopWait)
	defer t.Stop()
	select {
	case <-gone:
	case <-x.l.closed:
	case <-t.C:
	}
}

// reconnected begins anew to ask: the server has forgotten what was asked.
// Where order matters, what was on its way would come behind all others.
func (s *subscription) reconnected(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.session
	switch {
	case x == nil || x.l != l:
	case s.ordered:
		x.deaf = true
		x.fail(fmt.Errorf("%w: the connection was lost for a moment", queue.ErrUnavailable))
	default:
		x.requested, x.heard = 0, s.d.clock()
		s.ask()
	}
}

// ask asks for messages if there is credit. s.mu is held. Few larger requests
// are cheaper than many small ones.
func (s *subscription) ask() {
	x := s.session
	if x == nil || s.stopped {
		return
	}
	free := s.credit - s.n - x.requested
	if free <= 0 || x.requested > 0 && free < (s.credit+1)/2 {
		return
	}
	req := make([]byte, 0, 80)
	req = append(req, `{"batch":`...)
	req = strconv.AppendInt(req, int64(free), 10)
	req = append(req, `,"expires":`...)
	req = strconv.AppendInt(req, int64(pullExpires), 10)
	req = append(req, `,"idle_heartbeat":`...)
	req = strconv.AppendInt(req, int64(pullBeat), 10)
	req = append(req, '}')
	if x.l.nc.PublishRequest(x.pull, x.inbox, req) == nil {
		if x.requested == 0 {
			x.heard = s.d.clock()
		}
		x.requested += free
	}
}

// take is called with each message and each sign of the server's, by one
// goroutine.
func (x *session) take(m *nats.Msg) {
	s := x.s
	if m.Reply == "" {
		x.sign(m)
		return
	}
	at, ok := placeOf(m.Reply, x.where)
	if !ok {
		return // nobody's
	}
	dead := received(s.name, m.Header, m.Data)
	if dead.Published.IsZero() && dead.ID == "" {
		dead.ID = m.Subject + "." + itoa(at.seq) // somebody else's, who gave none
	}
	now := s.d.clock()
	c := &claim{x: x, reply: m.Reply, seq: at.seq, stored: at.stored}
	c.until.Store(now + int64(s.lease))
	s.mu.Lock()
	x.requested = max(x.requested-1, 0)
	x.heard = now
	if x.deaf {
		s.mu.Unlock()
		return
	}
	stopped := s.stopped
	if !stopped && !dead.At.IsZero() && x.hold(m, &dead.Envelope, at) {
		s.ask()
		s.mu.Unlock()
		return
	}
	s.claims.add(c)
	s.n++
	s.mu.Unlock()
	if stopped {
		_ = c.Return(s.ctx) // or it comes back by itself
		return
	}
	n := lost(&dead.Envelope, at)
	if x.o != nil {
		n += x.o.lostBefore(at.seq)
	}
	s.r.Receive(queue.Incoming{Envelope: dead.Envelope, Lost: n, Claim: c})
}

// hold sends back a message that came before its time, to come again at that.
// Clocks that differ must not hold it for long: it is done twice at most.
func (x *session) hold(m *nats.Msg, e *queue.Envelope, at place) bool {
	wait := time.Until(e.At)
	if wait <= time.Millisecond || at.delivered > 2 {
		return false
	}
	wait = min(wait, 2*early)
	return x.l.nc.Publish(m.Reply, fmt.Appendf(nil, `%s {"delay":%d}`, nak, wait)) == nil
}

// lost is how often a message was given out before without an answer. One time
// was to hold it, if it came before its time.
func lost(e *queue.Envelope, at place) int {
	n := int(min(at.delivered, math.MaxInt32)) - 1
	if !e.At.IsZero() && time.Unix(0, at.stored).Before(e.At) {
		n--
	}
	return max(n, 0)
}

// sign reads what the server has to say about requests.
func (x *session) sign(m *nats.Msg) {
	s := x.s
	status, text := m.Header.Get(headerStatus), m.Header.Get(headerDescription)
	s.mu.Lock()
	defer s.mu.Unlock()
	x.heard = s.d.clock()
	if left, err := strconv.Atoi(m.Header.Get(headerPending)); err == nil && status != "100" {
		x.requested = max(x.requested-left, 0)
	}
	switch {
	case status == "100", status == "404", status == "408":
		s.ask()
	case status == "409" && text == "Leadership Change":
		x.requested = 0 // asked again by the next tick
	default:
		x.fail(fmt.Errorf("%w: requests for messages: %s %s", x.cause(status, text), status, text))
	}
}

// cause tells what heals by itself, unseen, from what people should know.
func (x *session) cause(status, text string) error {
	if status == "503" || status == "409" && text == "Server Shutdown" {
		return queue.ErrUnavailable
	}
	if text == "Consumer Deleted" {
		return queue.ErrNotFound
	}
	return queue.ErrRefused
}

func (x *session) fail(err error) {
	select {
	case x.over <- err:
	default:
	}
}

// Stop implements queue.Subscription.
func (s *subscription) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shutdown implements queue.Subscription.
func (s *subscription) Shutdown(ctx context.Context) error {
	err := s.Stop(ctx)
	s.closed.Do(func() {
		s.giveBack()
		if l := s.d.current(); l != nil {
			err = errors.Join(err, l.flush(ctx))
		}
		s.mu.Lock()
		o := s.owner
		s.owner = nil
		s.mu.Unlock()
		if o != nil {
			o.release()
		}
		s.d.mu.Lock()
		delete(s.d.subs, s)
		s.d.mu.Unlock()
	})
	return err
}

// giveBack returns all that is unanswered, oldest first: the server gives it
// out again in the order in which it came back.
func (s *subscription) giveBack() {
	s.mu.Lock()
	all := s.returned
	s.returned = nil
	for c := s.claims.first; c != nil; c = c.next {
		all = append(all, c)
	}
	for _, c := range all {
		if !c.isOver() {
			s.drop(c)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *claim) int { return cmp.Compare(a.seq, b.seq) })
	for _, c := range all {
		_ = c.x.l.nc.Publish(c.reply, []byte(nak)) // or its lease ends
	}
}
