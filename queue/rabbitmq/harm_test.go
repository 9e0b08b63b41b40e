package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// hands is a handler's hold on messages: it lets go when the gate opens.
type hands struct {
	running atomic.Int64

	mu   sync.Mutex
	gate chan struct{}
}

func newHands() *hands { return &hands{gate: make(chan struct{})} }

// hold waits for the gate of its time.
func (h *hands) hold() {
	h.running.Add(1)
	defer h.running.Add(-1)
	h.mu.Lock()
	gate := h.gate
	h.mu.Unlock()
	<-gate
}

// letGo opens the gate for those who run. Those who come later find a new one.
func (h *hands) letGo() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.gate)
	h.gate = make(chan struct{})
}

// full waits until n handlers run.
func (h *hands) full(t testing.TB, n int64) {
	t.Helper()
	testenv.Eventually(t, patience, fmt.Sprintf("%d handlers run", n), func() bool { return h.running.Load() == n })
}

// TestCutUnderHandlers cuts the connection while fifty handlers run, a hundred
// times. Their answers come late, whatever they are, and touch no other message.
func TestCutUnderHandlers(t *testing.T) {
	testenv.Long(t)
	working(t)
	const rounds, hold = 100, 50
	o := options(shared.Broker(t).URL())
	o.MinBackoff, o.MaxBackoff = time.Millisecond, 20*time.Millisecond
	d, l, q, h := open(t, o), newLedger(), fresh("cut"), newHands()
	b := l.broker(t, d)
	var free atomic.Bool // nobody is held any more
	err := b.Handle(q, func(_ context.Context, m *queue.Delivery) error {
		if !free.Load() {
			h.hold()
		}
		switch {
		case strings.HasSuffix(m.ID, "3") && m.Attempt == 1:
			return errors.New("once")
		case strings.HasSuffix(m.ID, "7"):
			return queue.Discard(errors.New("never"))
		}
		l.finish(m.ID)
		return nil
	}, queue.HandleOptions{Concurrency: hold, MaxLost: -1, Backoff: queue.Backoff{Min: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		l.send(t, b, q, fmt.Sprintf("%02d-", round), 2*hold)
		h.full(t, hold)
		s, _, _ := d.consume.state()
		cut(d)
		testenv.Eventually(t, patience, "the cut is noticed", s.isLost)
		h.letGo()
	}
	free.Store(true)
	testenv.Eventually(t, patience, "all is done or dead", func() bool {
		if h.running.Load() > 0 {
			h.letGo()
		}
		return len(l.open()) == 0
	})
	dead := int64(0)
	for id := range l.accepted {
		if strings.HasSuffix(id, "7") {
			dead++
			if done, n := l.times(id); done > 0 || n == 0 {
				t.Errorf("%s was done %d times and died %d times", id, done, n)
			}
		}
	}
	testenv.Eventually(t, patience, "the queue is empty, but for its dead letters", func() bool {
		depth, err := b.Inspect(t.Context(), q)
		return err == nil && depth.Waiting == 0 && depth.Dead >= dead
	})
	if st := b.Stats().Queues[q]; st.Stale < rounds*hold {
		t.Errorf("%d late answers counted, and there were %d", st.Stale, rounds*hold)
	}
	if n := d.Status().Reconnects; n < rounds {
		t.Errorf("%d connections made anew in %d rounds", n, rounds)
	}
	t.Logf("%v; %+v", l, b.Stats().Queues[q])
}

// TestQueueDeleted deletes the queue under its consumer, with messages in hand
// and without. What is accepted afterwards is in a new queue, and done.
func TestQueueDeleted(t *testing.T) {
	t.Parallel() // it waits
	const rounds, hold = 6, 10
	broker := shared.Broker(t)
	o, log := watched(broker.URL())
	d, l, q, h := open(t, o), newLedger(), fresh("deleted"), newHands()
	b := l.broker(t, d)
	err := b.Handle(q, func(_ context.Context, m *queue.Delivery) error {
		if strings.HasPrefix(m.ID, "held") {
			h.hold()
		}
		l.finish(m.ID)
		return nil
	}, queue.HandleOptions{Concurrency: 2 * hold})
	if err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		l.send(t, b, q, fmt.Sprintf("before-%d-", round), hold)
		l.settled(t)
		if round%2 == 1 {
			l.send(t, b, q, fmt.Sprintf("held-%d-", round), hold)
			h.full(t, hold)
		}
		onChannel(t, broker.URL(), func(ch *amqp.Channel) {
			if _, err := ch.QueueDelete(q, false, false, false); err != nil {
				t.Fatal(err)
			}
		})
		l.send(t, b, q, fmt.Sprintf("after-%d-", round), hold)
		h.letGo()
		l.settled(t)
	}
	if n := d.Stats().Cancels; n == 0 {
		t.Error("no end of a consumer was counted")
	}
	if st := b.Stats().Queues[q]; st.Stale == 0 {
		t.Error("answers to what was deleted are not counted as late")
	}
	if n := d.Status().Reconnects; n > brokersFault(log) {
		t.Errorf("it cost %d connections: %s", n, log)
	}
	testenv.Eventually(t, patience, "the queue is empty", func() bool {
		depth, err := b.Inspect(t.Context(), q)
		return err == nil && depth.Waiting == 0 && depth.Dead == 0
	})
	t.Logf("%v; %+v", l, d.Stats())
}

// TestSlowHandlers holds messages, and has others wait behind them in hand, for
// longer than the broker waits for a sign of life: the connection gives them,
// and nothing comes again.
func TestSlowHandlers(t *testing.T) {
	testenv.Long(t)
	t.Parallel()
	const heartbeat, work, slow = 4 * time.Second, 14 * time.Second, 10
	broker := timed.Broker(t)
	up.RLock()
	t.Cleanup(up.RUnlock)
	isFree := free(t, broker) // else a sign of life may come too late
	o, log := watched(broker.URL())
	o.Heartbeat = heartbeat
	d, l, q := open(t, o), newLedger(), fresh("slow")
	b := l.broker(t, d)
	var begun atomic.Int64
	err := b.Handle(q, func(ctx context.Context, m *queue.Delivery) error {
		if begun.Add(1) <= slow {
			select {
			case <-time.After(work):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		l.finish(m.ID)
		return nil
	}, queue.HandleOptions{Concurrency: slow, Prefetch: slow})
	if err != nil {
		t.Fatal(err)
	}
	l.send(t, b, q, "slow-", 2*slow)
	l.settled(t)
	testenv.Eventually(t, patience, "all answers are given", func() bool { return b.Stats().Queues[q].InHand == 0 })
	st, again := b.Stats().Queues[q], d.Status().Reconnects-brokersFault(log)
	if again > 0 && !isFree() {
		t.Logf("others want the machine: %d connections made anew; %+v", again, st)
		return
	}
	if st.Received != 2*slow || st.Done != 2*slow || st.Stale != 0 || again > 0 {
		t.Errorf("%d messages, %d connections made anew: %+v", 2*slow, again, st)
	}
}
