package rabbitmq

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// TestDeclaredOtherwise meets a queue of other users' making.
func TestDeclaredOtherwise(t *testing.T) {
	t.Parallel() // it waits
	broker := shared.Broker(t)
	d, q := openShared(t), fresh("classic")
	onChannel(t, broker.URL(), func(ch *amqp.Channel) {
		if _, err := ch.QueueDeclare(q, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	})
	check := func(err error) bool {
		return errors.Is(err, ErrTopology) && errors.Is(err, queue.ErrRefused) && strings.Contains(err.Error(), q) &&
			strings.Contains(err.Error(), `has x-dead-letter-exchange unset, and "" is needed`)
	}
	if err := d.Publish(t.Context(), numbered(q, 1)).Wait(deadline(t)); !check(err) {
		t.Errorf("published: %v", err)
	}
	in := newInbox(10)
	consume(t, d, q, queue.ConsumeOptions{Credit: 1}, in)
	testenv.Eventually(t, patience, "the trouble", func() bool { return len(in.seen()) > 0 })
	if err := in.seen()[0]; !check(err) {
		t.Errorf("consumed: %v", err)
	}
	good := fresh("good")
	publish(t, d, numbered(good, 1)) // nobody else is harmed
	if n := d.Status().Reconnects; n != 0 {
		t.Errorf("it cost %d connections", n)
	}
	onChannel(t, broker.URL(), func(ch *amqp.Channel) {
		if _, err := ch.QueueDelete(q, false, false, false); err != nil {
			t.Fatal(err)
		}
	})
	testenv.Eventually(t, patience, "the end of the trouble", func() bool { seen := in.seen(); return seen[len(seen)-1] == nil })
	publish(t, d, numbered(q, 2))
	if got := in.next(t); number(&got.Envelope) != 2 {
		t.Errorf("message %d came", number(&got.Envelope))
	}
}

// TestPassive leaves making queues to others.
func TestPassive(t *testing.T) {
	working(t)
	broker := shared.Broker(t)
	maker, q := openShared(t), fresh("passive")
	o := options(broker.URL())
	o.Passive = true
	d := open(t, o)
	if err := d.Publish(t.Context(), numbered(q, 1)).Wait(deadline(t)); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("published to a queue that is missing: %v", err)
	}
	in := newInbox(10)
	consume(t, d, q, queue.ConsumeOptions{Credit: 1}, in)
	testenv.Eventually(t, patience, "the trouble", func() bool { seen := in.seen(); return len(seen) > 0 && errors.Is(seen[0], queue.ErrNotFound) })
	publish(t, maker, numbered(q, 2))
	got := in.next(t)
	if err := got.Claim.Ack(t.Context()); err != nil || number(&got.Envelope) != 2 {
		t.Errorf("message %d came, %v", number(&got.Envelope), err)
	}
	publish(t, d, numbered(q, 3))
	if got = in.next(t); number(&got.Envelope) != 3 {
		t.Errorf("message %d came", number(&got.Envelope))
	}
	_ = got.Claim.Ack(t.Context())

	// It is reported that the queue is gone, and it is not made anew.
	onChannel(t, broker.URL(), func(ch *amqp.Channel) {
		if _, err := ch.QueueDelete(q, false, false, false); err != nil {
			t.Fatal(err)
		}
	})
	testenv.Eventually(t, patience, "the trouble to come back", func() bool { seen := in.seen(); return errors.Is(seen[len(seen)-1], queue.ErrNotFound) })
	testenv.Eventually(t, patience, "a publisher to be told", func() bool {
		err := d.Publish(t.Context(), numbered(q, 4)).Wait(deadline(t))
		return errors.Is(err, queue.ErrNotFound) || errors.Is(err, queue.ErrUnroutable)
	})
	if d.Stats().Cancels == 0 {
		t.Error("the broker's cancel was not counted")
	}
}

// TestHeldForTooLong has the broker end a channel whose consumer holds a message
// beyond the broker's own time. The consumer comes back, and the message too.
func TestHeldForTooLong(t *testing.T) {
	broker := harming(t)
	before := broker.Eval(t, `{application:get_env(rabbit, consumer_timeout, 1800000), application:get_env(rabbit, channel_tick_interval, 60000)}`)
	// Long enough for a busy machine to answer in time what comes again.
	broker.Eval(t, `{application:set_env(rabbit, consumer_timeout, 4000), application:set_env(rabbit, channel_tick_interval, 100)}`)
	t.Cleanup(func() {
		broker.Eval(t, `begin {A, B} = `+before+`, {application:set_env(rabbit, consumer_timeout, A), application:set_env(rabbit, channel_tick_interval, B)} end`)
	})
	d, q := open(t, options(broker.URL())), fresh("held")
	in := newInbox(10)
	consume(t, d, q, queue.ConsumeOptions{Credit: 1}, in)
	publish(t, d, numbered(q, 1), numbered(q, 2))
	first := in.next(t)
	second := in.next(t)
	if number(&second.Envelope) != 1 || second.Lost != 1 {
		t.Errorf("message %d came, lost %d times", number(&second.Envelope), second.Lost)
	}
	if err := first.Claim.Ack(t.Context()); !errors.Is(err, queue.ErrStale) {
		t.Errorf("the late answer: %v", err)
	}
	if err := second.Claim.Ack(t.Context()); err != nil {
		t.Errorf("the answer in time: %v", err)
	}
	third := in.next(t)
	if err := third.Claim.Ack(t.Context()); err != nil || number(&third.Envelope) != 2 {
		t.Errorf("message %d came, %v", number(&third.Envelope), err)
	}
	testenv.Eventually(t, patience, "the end of the trouble", func() bool { seen := in.seen(); return len(seen) > 1 && seen[len(seen)-1] == nil })
	if seen := in.seen(); !errors.Is(seen[0], queue.ErrRefused) {
		t.Errorf("told: %v", seen)
	}
}

// TestCloseGivesBackInOrder holds messages, closes, and consumes again.
func TestCloseGivesBackInOrder(t *testing.T) {
	working(t)
	const messages, hands = 200, 100
	d, q := openShared(t), fresh("order")
	es := make([]*queue.Envelope, messages)
	for i := range es {
		es[i] = numbered(q, i)
	}
	publish(t, d, es...)
	in := newInbox(messages)
	sub := consume(t, d, q, queue.ConsumeOptions{Credit: hands, Ordered: true}, in)
	held := make([]queue.Incoming, hands)
	for i := range held {
		held[i] = in.next(t)
	}
	next := newInbox(messages)
	consume(t, openShared(t), q, queue.ConsumeOptions{Credit: hands, Ordered: true}, next)
	if err := sub.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(next.come); n != 0 {
		t.Errorf("%d messages came to another one although some are in hand", n)
	}
	for _, i := range []int{50, 20, 70} {
		if err := held[i].Claim.Return(t.Context()); err != nil {
			t.Errorf("given back after the stop: %v", err)
		}
	}
	if err := sub.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []int
	for range messages {
		m := next.next(t)
		got = append(got, number(&m.Envelope))
		if err := m.Claim.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.IsSorted(got) {
		t.Errorf("they came as %v", got)
	}
}

// TestCutGivesBackInOrder loses the connection with messages in hand.
func TestCutGivesBackInOrder(t *testing.T) {
	working(t)
	const messages, hands = 300, 150
	d, q := openShared(t), fresh("order")
	es := make([]*queue.Envelope, messages)
	for i := range es {
		es[i] = numbered(q, i)
	}
	publish(t, d, es...)
	in := newInbox(messages + hands)
	consume(t, d, q, queue.ConsumeOptions{Credit: hands, Ordered: true}, in)
	for range hands {
		in.next(t)
	}
	cut(d)
	for n := range messages {
		m := in.next(t)
		if err := m.Claim.Ack(t.Context()); err != nil || number(&m.Envelope) != n {
			t.Fatalf("message %d came in place of %d, %v", number(&m.Envelope), n, err)
		}
	}
}

// TestOrderedBesideOthers does not take a queue that somebody reads without order.
func TestOrderedBesideOthers(t *testing.T) {
	t.Parallel() // it is told after seconds
	d, q := openShared(t), fresh("beside")
	plain, ordered := newInbox(10), newInbox(10)
	sub := consume(t, d, q, queue.ConsumeOptions{Credit: 1}, plain)
	publish(t, d, numbered(q, 1))
	got := plain.next(t)
	consume(t, d, q, queue.ConsumeOptions{Credit: 1, Ordered: true}, ordered)
	testenv.Eventually(t, patience, "the trouble", func() bool { seen := ordered.seen(); return len(seen) > 0 && errors.Is(seen[0], queue.ErrRefused) })
	if err := got.Claim.Return(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := sub.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ordered.next(t); number(&got.Envelope) != 1 {
		t.Errorf("message %d came", number(&got.Envelope))
	}
}

func TestBadConsumers(t *testing.T) {
	working(t)
	d := openShared(t)
	for _, c := range []struct {
		q string
		o queue.ConsumeOptions
	}{{"", queue.ConsumeOptions{Credit: 1}}, {"q\n", queue.ConsumeOptions{Credit: 1}}, {"q", queue.ConsumeOptions{}}, {"q", queue.ConsumeOptions{Credit: 1 << 20}}} {
		if _, err := d.Consume(t.Context(), c.q, c.o, newInbox(1)); !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("%q, %+v: %v", c.q, c.o, err)
		}
	}
	if err := d.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Consume(t.Context(), "q", queue.ConsumeOptions{Credit: 1}, newInbox(1)); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("after closing: %v", err)
	}
	if err := d.Publish(t.Context(), numbered("q", 1)).Wait(t.Context()); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("published after closing: %v", err)
	}
}

func TestTooLarge(t *testing.T) {
	working(t)
	broker := shared.Broker(t)
	o := options(broker.URL())
	o.MaxMessageBytes = 7
	d, q := open(t, o), fresh("large")
	if err := d.Publish(t.Context(), numbered(q, 1)).Wait(t.Context()); !errors.Is(err, queue.ErrTooLarge) {
		t.Errorf("eight bytes where seven are allowed: %v", err)
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}
func (l *lines) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.text.String() }

// TestNoPasswordIsLogged logs in with a wrong password, and looks at all that is told.
func TestNoPasswordIsLogged(t *testing.T) {
	t.Parallel() // it waits
	broker := shared.Broker(t)
	var log lines
	o := options("amqp://guest:s3cret@" + broker.Addr() + "/")
	o.Optional = true
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	d := open(t, o)
	testenv.Eventually(t, patience, "the refusal", func() bool {
		return strings.Contains(log.String(), "403") || strings.Contains(d.Status().Reason, "username")
	})
	if all := log.String() + d.Status().Reason; strings.Contains(all, "s3cret") {
		t.Errorf("the password was told: %s", all)
	}
}

// TestClient uses the words of RabbitMQ's users.
func TestClient(t *testing.T) {
	t.Parallel() // it waits
	broker := shared.Broker(t)
	type order struct {
		ID     int    `json:"order_id"`
		Status string `json:"status"`
	}
	c, err := NewClient(deadline(t), options(broker.URL()), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q := fresh("orders_queue")
	got := make(chan order, 10)
	failures := 0
	err = c.RegisterConsumer(q, SimpleAckHandler(func(_ context.Context, o order) error {
		if o.ID == 2 && failures == 0 {
			failures++
			return errors.New("once")
		}
		got <- o
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, "the queue", func() bool {
		return c.PublishMessage(t.Context(), "", q, map[string]any{"order_id": 1, "status": "processing"}) == nil
	})
	if err := c.PublishMessage(t.Context(), "", q, order{ID: 2}); err != nil {
		t.Fatal(err)
	}
	if err := c.PublishMessage(t.Context(), "", q, "no order"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []order{{1, "processing"}, {ID: 2}} {
		select {
		case o := <-got:
			if o != want {
				t.Errorf("%+v came, want %+v", o, want)
			}
		case <-time.After(patience):
			t.Fatalf("%+v did not come", want)
		}
	}
	testenv.Eventually(t, patience, "the dead letter", func() bool { depth, err := c.Inspect(t.Context(), q); return err == nil && depth.Dead == 1 })
	page, err := c.Dead(q).List(t.Context(), queue.DeadFilter{}, "", 10)
	if err != nil || len(page.Letters) != 1 || string(page.Letters[0].Payload.Data) != `"no order"` || page.Letters[0].Reason != queue.ReasonDiscarded {
		t.Errorf("dead letters: %+v, %v", page, err)
	}
	if err := c.PublishMessage(t.Context(), "", q, func() {}); !errors.Is(err, queue.ErrInvalid) {
		t.Errorf("a function as JSON: %v", err)
	}
	if err := c.PublishMessage(t.Context(), "", strings.Repeat("x", 256), 1); !errors.Is(err, queue.ErrInvalid) {
		t.Errorf("a key of 256 bytes: %v", err)
	}
}
