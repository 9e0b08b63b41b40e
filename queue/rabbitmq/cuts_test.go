package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// TestLateAnswers cuts the connection while fifty claims are in hand, a hundred
// times. Late answers say that they are late and touch no other message: all
// that was in hand comes again, and nothing else is missing.
func TestLateAnswers(t *testing.T) {
	testenv.Long(t)
	working(t)
	const rounds, hands = 100, 50
	broker := shared.Broker(t)
	o := options(broker.URL())
	o.MinBackoff, o.MaxBackoff = time.Millisecond, 20*time.Millisecond
	d, q := open(t, o), fresh("late")
	in := newInbox(10 * hands)
	consume(t, d, q, queue.ConsumeOptions{Credit: hands}, in)
	todo := make(map[int]bool) // published, and not acknowledged in time
	for round := range rounds {
		for len(todo) < hands+10 {
			n := round*1000 + len(todo)
			for todo[n] {
				n++
			}
			testenv.Eventually(t, patience, "the broker to take a message", func() bool { return d.Publish(t.Context(), numbered(q, n)).Wait(t.Context()) == nil })
			todo[n] = true
		}
		held := make([]queue.Incoming, 0, hands)
		for len(held) < hands {
			got := in.next(t)
			if !got.Claim.(queue.Holder).Held() {
				continue // it came over the connection before
			}
			held = append(held, got)
		}
		cut(d)
		testenv.Eventually(t, patience, "the cut to be noticed", func() bool { return !held[0].Claim.(queue.Holder).Held() })
		var wg sync.WaitGroup
		for i, got := range held {
			wg.Go(func() {
				var err error
				switch i % 4 {
				case 0:
					err = got.Claim.Ack(t.Context())
				case 1:
					err = got.Claim.Return(t.Context())
				case 2:
					err = got.Claim.Retry(t.Context(), &got.Envelope)
				default:
					err = got.Claim.Bury(t.Context(), &queue.Dead{Envelope: got.Envelope, Reason: queue.ReasonAttempts})
				}
				if !errors.Is(err, queue.ErrStale) {
					t.Errorf("round %d: a late answer: %v", round, err)
				}
			})
		}
		wg.Wait()
		// One good answer a round, to see that the new channel has its own tags.
		got := in.next(t)
		for !got.Claim.(queue.Holder).Held() {
			got = in.next(t)
		}
		if err := got.Claim.Ack(t.Context()); err != nil {
			t.Fatalf("round %d: an answer in time: %v", round, err)
		}
		delete(todo, number(&got.Envelope))
	}
	for len(todo) > 0 {
		got := in.next(t)
		if got.Claim.Ack(t.Context()) == nil {
			if n := number(&got.Envelope); !todo[n] {
				t.Errorf("message %d came after it was acknowledged", n)
			} else {
				delete(todo, n)
			}
		}
	}
	testenv.Eventually(t, patience, "the queue to be empty", func() bool {
		depth, err := d.Inspect(t.Context(), q)
		return err == nil && depth.Waiting == 0 && depth.Dead == 0
	})
	if st := d.Stats(); st.StaleAcks < rounds*hands {
		t.Errorf("%d late answers counted, and there were %d", st.StaleAcks, rounds*hands)
	}
}

// deafConn is a connection whose incoming half can be stopped, for good.
type deafConn struct {
	net.Conn

	deaf *atomic.Bool
	gone chan struct{}
	once sync.Once
}

// deafness is that of the connections that are made from now on.
type deafness struct{ now atomic.Pointer[atomic.Bool] }

// begin makes those of before deaf, and leaves hearing to those to come: what
// was sent to the deaf is lost, however late they read it.
func (d *deafness) begin() { d.now.Swap(new(atomic.Bool)).Store(true) }

func (c *deafConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.deaf.Load() && err == nil { // what was read is lost on the wire
		<-c.gone
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *deafConn) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

// TestConfirmLost loses a confirmation on the wire. The driver says that it
// does not know; the broker above publishes again, and the message is done once.
func TestConfirmLost(t *testing.T) {
	working(t)
	broker := shared.Broker(t)
	other := openShared(t)
	var deaf deafness
	deaf.now.Store(new(atomic.Bool))
	o := options(broker.URL())
	o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &deafConn{Conn: nc, deaf: deaf.now.Load(), gone: make(chan struct{})}, nil
	}
	d, l, q := open(t, o), newLedger(), fresh("confirm")
	publish(t, d, numbered(q, 0)) // makes the queue
	waiting := func(n int64) func() bool {
		return func() bool {
			depth, err := other.Inspect(t.Context(), q)
			return err == nil && depth.Waiting == n
		}
	}
	testenv.Eventually(t, patience, "the first message", waiting(1))

	deaf.begin()
	receipt := d.Publish(t.Context(), numbered(q, 1))
	testenv.Eventually(t, patience, "the broker to have it", waiting(2))
	cut(d)
	if err := receipt.Wait(deadline(t)); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("without its confirmation: %v", err)
	}

	testenv.Eventually(t, patience, "a new connection", func() bool { return d.Publish(t.Context(), numbered(q, 2)).Wait(t.Context()) == nil })
	b, err := queue.New(d, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	deaf.begin()
	sent := make(chan error, 1)
	go func() { sent <- b.Publish(deadline(t), queue.Message{Queue: q, ID: "twice"}) }()
	testenv.Eventually(t, patience, "the broker to have it", waiting(4))
	cut(d)
	if err := <-sent; err != nil {
		t.Errorf("published again: %v", err)
	}
	testenv.Eventually(t, patience, "the broker to have it twice", waiting(5))
	for _, id := range []string{numbered(q, 0).ID, numbered(q, 1).ID, numbered(q, 2).ID, "twice"} {
		l.accept(id)
	}
	handling(t, other, q, l, queue.HandleOptions{})
	l.settled(t)
	testenv.Eventually(t, patience, "the queue to be empty", waiting(0))
	for id, n := range l.done {
		if n != 1 {
			t.Errorf("%s was done %d times", id, n)
		}
	}
}

// TestUnroutable publishes to what is not there, beside what is.
func TestUnroutable(t *testing.T) {
	working(t)
	broker := shared.Broker(t)
	o, log := watched(broker.URL())
	c, err := NewClient(deadline(t), o, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	exchange := fresh("exchange")
	onChannel(t, broker.URL(), func(ch *amqp.Channel) {
		if err := ch.ExchangeDeclare(exchange, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	})
	q := fresh("there")
	l := newLedger()
	if err := c.RegisterConsumer(q, func(_ context.Context, d *queue.Delivery) error { l.finish(string(d.Payload.Data)); return nil }); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, "the queue", func() bool { return c.PublishMessage(t.Context(), "", q, "first") == nil })
	before := c.RabbitMQ().Stats().Unroutable
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if err := c.PublishMessage(t.Context(), "", q, i); err != nil {
				t.Errorf("to a queue that is there: %v", err)
			}
			l.accept(fmt.Sprint(i))
		})
		wg.Go(func() {
			if err := c.PublishMessage(t.Context(), "", "not "+q, i); !errors.Is(err, queue.ErrUnroutable) {
				t.Errorf("to a queue that is not there: %v", err)
			}
		})
		wg.Go(func() {
			if err := c.PublishMessage(t.Context(), exchange, "key", i); !errors.Is(err, queue.ErrUnroutable) {
				t.Errorf("to an exchange without queues: %v", err)
			}
		})
		wg.Go(func() {
			if err := c.PublishMessage(t.Context(), "not "+exchange, "key", i); !errors.Is(err, queue.ErrNotFound) {
				t.Errorf("to an exchange that is not there: %v", err)
			}
		})
	}
	wg.Wait()
	l.settled(t)
	if n := c.RabbitMQ().Stats().Unroutable - before; n != 200 {
		t.Errorf("%d unroutable messages counted, and there were 200", n)
	}
	if st := c.RabbitMQ().Status(); st.Reconnects > brokersFault(log) {
		t.Errorf("it cost %d connections: %s", st.Reconnects, log)
	}
}
