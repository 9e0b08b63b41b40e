package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

// deliveryLimit is as good as none, on every version: how often a message may
// get lost is decided above, and a broker's limit drops what it hits. RabbitMQ 4
// has one of 20 unless a queue says otherwise.
const deliveryLimit = 1 << 30

// topology declares and checks what lies in the broker.
type topology struct{ o *Options }

func (t topology) names() names { return names{t.o.Prefix} }

// quorum are the arguments that all our queues have. What leaves a queue by a
// limit is moved with confirmation, and the queue it goes to may refuse it
// for a while: nothing is dropped on the way.
func (t topology) quorum(deadExchange, deadKey string) amqp.Table {
	args := amqp.Table{
		amqp.QueueTypeArg:  amqp.QueueTypeQuorum,
		"x-delivery-limit": int64(deliveryLimit),
	}
	if t.o.Replicas > 0 {
		args["x-quorum-initial-group-size"] = int64(t.o.Replicas)
	}
	if deadExchange != "" || deadKey != "" {
		args["x-dead-letter-exchange"] = deadExchange
		args["x-dead-letter-strategy"] = "at-least-once"
		args[amqp.QueueOverflowArg] = amqp.QueueOverflowRejectPublish
	}
	if deadKey != "" {
		args["x-dead-letter-routing-key"] = deadKey
	}
	return args
}

// queue declares a user's queue, the one for its dead letters, and its way
// from the ladder.
func (t topology) queue(ch *amqp.Channel, q string) error {
	n := t.names()
	if t.o.Passive {
		return t.passive(ch, n.work(q), n.dead(q))
	}
	if err := declare(ch, n.dead(q), t.quorum("", "")); err != nil {
		return err
	}
	if err := declare(ch, n.work(q), t.quorum("", n.dead(q))); err != nil {
		return err
	}
	if err := exchange(ch, n.due(), false); err != nil {
		return err
	}
	return explain(ch.QueueBind(n.work(q), duePattern(q), n.due(), false, nil))
}

func (t topology) passive(ch *amqp.Channel, names ...string) error {
	for _, name := range names {
		if _, err := ch.QueueDeclarePassive(name, true, false, false, false, nil); err != nil {
			return explain(err)
		}
	}
	return nil
}

// ladder declares the levels, from the shortest up, so that each finds the one
// below it.
func (t topology) ladder(ch *amqp.Channel) error {
	n := t.names()
	below := n.due()
	if t.o.Passive {
		for level := range levels {
			if err := ch.ExchangeDeclarePassive(n.delay(level), amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
				return explain(err)
			}
		}
		return nil
	}
	if err := exchange(ch, below, false); err != nil {
		return err
	}
	for level := range levels {
		name := n.delay(level)
		args := t.quorum(below, "")
		args[amqp.QueueMessageTTLArg] = (unit << level).Milliseconds()
		if err := declare(ch, name, args); err != nil {
			return err
		}
		if err := exchange(ch, name, true); err != nil {
			return err
		}
		if err := ch.QueueBind(name, stepPattern(level, '1'), name, true, nil); err != nil {
			return explain(err)
		}
		if err := ch.ExchangeBind(below, stepPattern(level, '0'), name, true, nil); err != nil {
			return explain(err)
		}
		below = name
	}
	// Whatever was not waited for is answered before this.
	return explain(ch.ExchangeDeclarePassive(below, amqp.ExchangeTopic, true, false, false, false, nil))
}

func declare(ch *amqp.Channel, name string, args amqp.Table) error {
	_, err := ch.QueueDeclare(name, true, false, false, false, args)
	return explain(err)
}

func exchange(ch *amqp.Channel, name string, noWait bool) error {
	return explain(ch.ExchangeDeclare(name, amqp.ExchangeTopic, true, false, false, noWait, nil))
}

// explain gives a broker's error the meaning that package queue has for it.
func explain(err error) error {
	var e *amqp.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, amqp.ErrClosed) || !errors.As(err, &e):
		return unavailable(err)
	}
	switch e.Code {
	case amqp.NotFound:
		return fmt.Errorf("%w: %s", queue.ErrNotFound, e.Reason)
	case amqp.PreconditionFailed:
		if text, differs := difference(e.Reason); differs {
			return fmt.Errorf("%w: %w: %s", queue.ErrRefused, ErrTopology, text)
		}
		return fmt.Errorf("%w: %s", queue.ErrRefused, e.Reason)
	case amqp.AccessRefused, amqp.ResourceLocked, amqp.NotAllowed, amqp.NotImplemented, amqp.ContentTooLarge:
		return fmt.Errorf("%w: %s", queue.ErrRefused, e.Reason)
	default:
		return unavailable(e)
	}
}

var unequal = regexp.MustCompile(`inequivalent arg '([^']*)' for (\w+) '(.*)' in vhost '.*': received (.*) but current is (.*)$`)

// difference puts the broker's complaint about a declaration into words that
// say what to do; false: it complains about something else.
func difference(reason string) (string, bool) {
	m := unequal.FindStringSubmatch(reason)
	if m == nil {
		return reason, strings.Contains(reason, "inequivalent")
	}
	ours, theirs := plain(m[4]), plain(m[5])
	return fmt.Sprintf("%s %q has %s %s, and %s is needed; one that something else declared cannot be used: delete it when it is empty, or take another name or prefix",
		m[2], m[3], m[1], theirs, ours), true
}

// plain takes the broker's way of writing a value to the value.
func plain(s string) string {
	if s == "none" {
		return "unset"
	}
	if s = strings.TrimPrefix(s, "the value "); strings.Contains(s, "' of type") {
		s, _, _ = strings.Cut(s, "' of type")
	}
	if s = strings.Trim(s, "'"); s == "" {
		return `""`
	}
	return s
}

// admin is a session's channel for calls that wait for an answer. A call that
// the broker refuses costs the channel, and the next one gets a new one.
type admin struct {
	topology topology

	mu      sync.Mutex
	ch      *amqp.Channel
	ensured map[string]struct{} // queues that are there, as far as this session knows
	ladder  bool

	firsts sync.Mutex
	first  map[string]time.Time // when the session first saw to the queues
}

// do runs f with the channel. Calls take place one after the other.
func (s *session) do(f func(ch *amqp.Channel) error) error {
	s.admin.mu.Lock()
	defer s.admin.mu.Unlock()
	return s.doLocked(f)
}

func (s *session) doLocked(f func(ch *amqp.Channel) error) error {
	a := &s.admin
	if a.ch == nil || a.ch.IsClosed() {
		ch, err := s.conn.Channel()
		if err != nil {
			return explain(err)
		}
		a.ch = ch
	}
	err := f(a.ch)
	if err != nil && !a.ch.IsClosed() && errors.Is(err, amqp.ErrCommandInvalid) {
		_ = a.ch.Close() // answers would be taken for those of other calls
	}
	return err
}

// doContext is do for callers who may give up; the call itself goes on.
func (s *session) doContext(ctx context.Context, f func(ch *amqp.Channel) error) error {
	result := make(chan error, 1)
	go func() { result <- s.do(f) }() // ends with the call, or with the session
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ensure makes the queue, unless it is known to be there, and the ladder when
// the message is to take it. fresh: it was not known.
func (s *session) ensure(q string, ladder bool) (fresh bool, err error) {
	a := &s.admin
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.ensured[q]; !known {
		if err := s.doLocked(func(ch *amqp.Channel) error { return a.topology.queue(ch, q) }); err != nil {
			return false, err
		}
		if a.ensured == nil || len(a.ensured) >= maxKnown {
			a.ensured = make(map[string]struct{})
		}
		a.ensured[q] = struct{}{}
		s.meet(q)
		fresh = true
	}
	if ladder && !a.ladder {
		if err := s.doLocked(a.topology.ladder); err != nil {
			return false, err
		}
		a.ladder = true
	}
	return fresh, nil
}

// meet notes when the session first saw to a queue.
func (s *session) meet(q string) {
	a := &s.admin
	a.firsts.Lock()
	defer a.firsts.Unlock()
	if _, known := a.first[q]; known {
		return
	}
	if a.first == nil || len(a.first) >= maxKnown {
		a.first = make(map[string]time.Time)
	}
	a.first[q] = time.Now()
}

// young reports whether the session first saw to the queue within youth.
func (s *session) young(q string) bool {
	a := &s.admin
	a.firsts.Lock()
	defer a.firsts.Unlock()
	since, known := a.first[q]
	return known && time.Since(since) < youth
}

// maxKnown bounds the names that a session remembers.
const maxKnown = 10_000

// forget says that the queue, or the ladder, may have been deleted.
func (s *session) forget(q string) {
	s.admin.mu.Lock()
	defer s.admin.mu.Unlock()
	delete(s.admin.ensured, q)
	s.admin.ladder = false
}
