package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

// publisher sends messages over one connection and learns which are kept. One
// goroutine writes, so that no caller hangs in a network that takes nothing;
// another waits for the confirmations.
type publisher struct {
	o    *Options
	link *link
	in   chan *outgoing // has room for all that hold a slot
	slot chan struct{}  // one each message from its acceptance to its end
	held *outgoing      // taken from in and not sent, because the broker is blocked; run's own

	mu      sync.Mutex
	closing bool
	flights sync.WaitGroup // accepted messages
	done    chan struct{}

	unroutable atomic.Int64
	refused    atomic.Int64
}

// outgoing is one message on its way. It is the queue.Receipt that callers get.
type outgoing struct {
	exchange, key string
	msg           amqp.Publishing
	queue         string    // to be made when it is missing; empty: none
	due           time.Time // not before; zero: at once
	ladder        bool

	stage  atomic.Int32
	again  bool // it was returned once, and the queue made anew
	nacks  int  // how often the queue could not take it
	result error
	done   chan struct{} // closed when result is known
}

// Stages of a message: one that nobody waits for any more is not sent.
const (
	stageWaiting int32 = iota
	stageSent
	stageGivenUp
)

// failed is a receipt for what never left.
type failed struct{ err error }

func (f failed) Wait(context.Context) error { return f.err }

// Wait implements queue.Receipt.
func (m *outgoing) Wait(ctx context.Context) error {
	select {
	case <-m.done:
		return m.result
	default:
	}
	select {
	case <-m.done:
		return m.result
	case <-ctx.Done():
		m.stage.CompareAndSwap(stageWaiting, stageGivenUp)
		return ctx.Err()
	}
}

func newPublisher(o *Options, l *link) *publisher {
	return &publisher{
		o: o, link: l, done: make(chan struct{}),
		in: make(chan *outgoing, o.Window), slot: make(chan struct{}, o.Window),
	}
}

// send accepts a message, as soon as there is room for it.
func (p *publisher) send(ctx context.Context, m *outgoing) queue.Receipt {
	if len(m.msg.Body) > p.o.MaxMessageBytes {
		return failed{fmt.Errorf("%w: %d bytes, and %d are the bound", queue.ErrTooLarge, len(m.msg.Body), p.o.MaxMessageBytes)}
	}
	if _, _, away := p.link.state(); away != nil {
		return failed{unavailable(away)}
	}
	select {
	case p.slot <- struct{}{}:
	default:
		select {
		case p.slot <- struct{}{}:
		case <-ctx.Done():
			return failed{ctx.Err()}
		case <-p.link.ctx.Done():
			return failed{queue.ErrClosed}
		}
	}
	p.mu.Lock()
	closing := p.closing
	if !closing {
		p.flights.Add(1)
	}
	p.mu.Unlock()
	if closing {
		<-p.slot
		return failed{queue.ErrClosed}
	}
	m.done = make(chan struct{})
	p.in <- m
	return m
}

// publish is send and Wait.
func (p *publisher) publish(ctx context.Context, m *outgoing) error {
	return p.send(ctx, m).Wait(ctx)
}

// end says what became of a message.
func (p *publisher) end(m *outgoing, err error) {
	switch {
	case errors.Is(err, queue.ErrUnroutable):
		p.unroutable.Add(1)
	case errors.Is(err, queue.ErrRefused):
		p.refused.Add(1)
	}
	m.result = err
	close(m.done)
	<-p.slot
	p.flights.Done()
}

// run writes messages to whatever session there is, until the link is closed.
func (p *publisher) run() {
	defer close(p.done)
	for {
		s, changed, away := p.link.state()
		switch {
		case p.link.ctx.Err() != nil:
			p.drop(fmt.Errorf("%w: %w", queue.ErrUnavailable, queue.ErrClosed))
			return
		case s != nil && !s.isLost():
			p.serve(s)
			continue
		case s != nil:
			changed = p.link.changedFrom(s)
		}
		if away == nil { // the next try may succeed
			select {
			case <-changed:
			case <-p.link.ctx.Done():
			}
			continue
		}
		p.dropHeld(unavailable(away))
		select {
		case m := <-p.in:
			p.end(m, unavailable(away))
		case <-changed:
		case <-p.link.ctx.Done():
		}
	}
}

func (p *publisher) dropHeld(err error) {
	if p.held != nil {
		p.end(p.held, err)
		p.held = nil
	}
}

// drop ends all that was accepted and not sent.
func (p *publisher) drop(err error) {
	p.dropHeld(err)
	for {
		select {
		case m := <-p.in:
			p.end(m, err)
		default:
			return
		}
	}
}

// flight is one channel in confirm mode, from its opening to its loss.
type flight struct {
	p       *publisher
	s       *session
	ch      *amqp.Channel
	closes  chan *amqp.Error
	returns chan amqp.Return
	sent    chan sent // has room for all that hold a slot

	exchanges map[string]struct{} // known to be there; the writer's own

	mu       sync.Mutex
	returned map[string]int // unroutable messages whose confirmation is on its way
}

// sent is a message that waits for its confirmation.
type sent struct {
	m            *outgoing
	confirmation confirmation
}

// confirmation is an *amqp.DeferredConfirmation.
type confirmation interface {
	Done() <-chan struct{}
	Acked() bool
}

// serve sends over a session until it is lost. A channel that the broker closes
// is opened again.
func (p *publisher) serve(s *session) {
	for !s.isLost() {
		f, err := p.open(s)
		if err != nil {
			// Without a channel the connection is of no use, and its loss is noticed.
			_ = s.nc.Close()
			<-s.lost
			return
		}
		f.run()
	}
}

func (p *publisher) open(s *session) (*flight, error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	f := &flight{
		p: p, s: s, ch: ch,
		closes: ch.NotifyClose(make(chan *amqp.Error, 1)),
		// As many as can be unconfirmed: the library's reader never waits here.
		returns:   ch.NotifyReturn(make(chan amqp.Return, p.o.Window+1)),
		sent:      make(chan sent, p.o.Window),
		exchanges: make(map[string]struct{}), returned: make(map[string]int),
	}
	return f, ch.Confirm(false)
}

func (f *flight) run() {
	go f.confirm() // ends with the last confirmation, or with the channel
	defer close(f.sent)
	for {
		var in <-chan *outgoing
		var unblocked <-chan struct{}
		if f.p.held == nil {
			in = f.p.in
		} else {
			unblocked = f.s.unblocked()
		}
		select {
		case m := <-in:
			f.p.held = m
			if !f.s.isBlocked() {
				f.send()
			}
		case <-unblocked:
			f.send()
		case <-f.closes: //nolint:errcheck // that it ended is all
			return
		case <-f.s.lost:
			return
		}
	}
}

func (f *flight) send() {
	m := f.p.held
	f.p.held = nil
	f.write(m)
}

// write sends a message, if somebody still waits for it.
func (f *flight) write(m *outgoing) {
	if !m.stage.CompareAndSwap(stageWaiting, stageSent) {
		f.p.end(m, fmt.Errorf("%w: given up before it was sent", queue.ErrUnavailable))
		return
	}
	m.address(names{f.p.o.Prefix}, time.Now())
	fresh, err := f.prepare(m)
	if err != nil {
		f.p.end(m, err)
		return
	}
	for {
		confirmation, err := f.ch.PublishWithDeferredConfirm(m.exchange, m.key, true, false, m.msg)
		if err != nil {
			f.p.end(m, unavailable(err))
			return
		}
		if fresh && m.nacks < firstNos && f.isRefused(confirmation) {
			m.nacks++
			_ = pause(f.p.link.ctx, nackWait<<m.nacks)
			continue
		}
		f.sent <- sent{m, confirmation}
		return
	}
}

// firstTime is how long others wait for the first message to a queue.
const firstTime = time.Second

// isRefused waits for the confirmation of the first message to a queue, before
// others follow: a queue that is being made by somebody else may refuse some of
// many, and their order would be lost.
func (f *flight) isRefused(confirmation *amqp.DeferredConfirmation) bool {
	t := time.NewTimer(firstTime)
	defer t.Stop()
	select {
	case <-confirmation.Done():
		return !confirmation.Acked() && !f.ch.IsClosed()
	case <-t.C:
		return false
	}
}

// prepare sees to it that there is a place for the message. A publish to an
// exchange that is missing would cost the channel, and all that is on it.
func (f *flight) prepare(m *outgoing) (fresh bool, err error) {
	if m.queue != "" {
		return f.s.ensure(m.queue, m.ladder)
	}
	if _, known := f.exchanges[m.exchange]; m.exchange == "" || known {
		return false, nil
	}
	err = f.s.do(func(ch *amqp.Channel) error {
		// The kind is not compared by a passive declaration.
		return explain(ch.ExchangeDeclarePassive(m.exchange, amqp.ExchangeDirect, true, false, false, false, nil))
	})
	if err == nil && len(f.exchanges) < maxKnown {
		f.exchanges[m.exchange] = struct{}{}
	}
	return false, err
}

// outOfTurn is how often a confirmation that does not come lets others pass.
const outOfTurn = 20 * time.Millisecond

// confirm waits for confirmations in the order of sending, in which nearly all
// come. A goroutine for each message would cost more than the rest of it.
func (f *flight) confirm() {
	t := time.NewTimer(outOfTurn)
	defer t.Stop()
	var open []sent
	for first := 0; ; {
		if first == len(open) {
			s, more := <-f.sent
			if !more {
				return
			}
			open, first = append(open[:0], s), 0
		}
		if s := open[first]; s.isConfirmed(t) {
			open[first] = sent{}
			first++
			f.confirmed(s)
			continue
		}
		open, first = f.pass(slices.Delete(open, 0, first)), 0
	}
}

// isConfirmed waits for a confirmation, until others shall have their turn.
func (s *sent) isConfirmed(t *time.Timer) bool {
	select {
	case <-s.confirmation.Done():
		return true
	default:
	}
	t.Reset(outOfTurn)
	select {
	case <-s.confirmation.Done():
		return true
	case <-t.C:
		return false
	}
}

// pass adds all that was sent to those that are waited for, and takes out those
// that are confirmed.
func (f *flight) pass(open []sent) []sent {
	for range len(f.sent) { // nobody else receives
		open = append(open, <-f.sent)
	}
	return slices.DeleteFunc(open, func(s sent) bool {
		select {
		case <-s.confirmation.Done():
			f.confirmed(s)
			return true
		default:
			return false
		}
	})
}

// confirmed says what became of a message when that is known. It does not wait.
func (f *flight) confirmed(s sent) {
	m := s.m
	switch {
	case s.confirmation.Acked():
		if !f.wasReturned(m) {
			f.p.end(m, nil)
			return
		}
		if m.queue == "" || m.again || f.p.o.Passive {
			f.p.end(m, fmt.Errorf("%w: exchange %q, key %q", queue.ErrUnroutable, m.exchange, m.key))
			return
		}
		m.again = true
		go f.resend(m, remakeWait, true)
	case f.ch.IsClosed():
		// The library calls everything refused that is open when the channel ends.
		f.p.end(m, fmt.Errorf("%w: the connection ended before the confirmation", queue.ErrUnavailable))
	case (m.nacks < nackTries || f.s.young(m.queue)) && f.p.link.ctx.Err() == nil:
		m.nacks++
		go f.resend(m, nackWait<<min(m.nacks, nackMax), f.s.young(m.queue))
	default:
		f.p.end(m, fmt.Errorf("%w: the queue is full or cannot store the message", queue.ErrRefused))
	}
}

// A broker says no to what comes to a quorum queue in the moment in which the
// queue is made by somebody else, or finds a new leader: the message is sent
// again, after 50 ms, 100 ms and so on, before no is taken for an answer. The
// making takes a busy broker seconds.
const (
	nackTries = 5
	nackMax   = 5 // doublings
	nackWait  = 25 * time.Millisecond
	firstNos  = 3 // that others wait for, too
	youth     = 10 * time.Second
)

// remakeWait is how long a queue that was deleted is not made anew. RabbitMQ
// (3.10 at least) forgets to tell consumers about the deletion of a quorum queue
// that is back within some milliseconds: the new one gives them messages that
// their channels then swallow.
const remakeWait = 500 * time.Millisecond

// resend sends a message once more, after a wait. anew: its queue is seen to as if it were not
// known.
func (f *flight) resend(m *outgoing, wait time.Duration, anew bool) {
	_ = pause(f.p.link.ctx, wait)
	if anew && m.queue != "" {
		f.s.forget(m.queue)
	}
	m.stage.Store(stageWaiting)
	f.p.in <- m // the slot is still held, so there is room
}

// wasReturned reports whether the broker gave the message back. A return comes
// before the confirmation, and lies in its channel when that is known.
func (f *flight) wasReturned(m *outgoing) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.returns) == 0 && len(f.returned) == 0 {
		return false // as nearly always
	}
	for {
		select {
		case r, ok := <-f.returns:
			if ok {
				f.returned[returnKey(r.Exchange, r.RoutingKey, r.MessageId)]++
				continue
			}
		default:
		}
		break
	}
	key := returnKey(m.exchange, m.key, m.msg.MessageId)
	n := f.returned[key]
	if n > 1 {
		f.returned[key] = n - 1
	} else {
		delete(f.returned, key)
	}
	return n > 0
}

// returnKey tells messages apart as far as their fate can differ.
func returnKey(exchange, key, id string) string {
	return exchange + "\x00" + key + "\x00" + id
}

// close waits for what is on its way until ctx ends, then for run.
func (p *publisher) close(ctx context.Context) error {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	all := make(chan struct{})
	go func() { p.flights.Wait(); close(all) }() // ends when the link is closed at the latest
	var err error
	select {
	case <-all:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.link.close()
	<-p.done
	for {
		select {
		case m := <-p.in: // given back by the broker just before
			p.end(m, fmt.Errorf("%w: %w", queue.ErrUnavailable, queue.ErrClosed))
		case <-all:
			return err
		}
	}
}
