package rabbitmq

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// TestFullQueue meets a bound that an operator has set.
func TestFullQueue(t *testing.T) {
	t.Parallel() // no is taken for an answer after seconds
	broker := shared.Broker(t)
	d, q := openShared(t), fresh("full")
	broker.Eval(t, fmt.Sprintf(`rabbit_policy:set(<<"/">>, <<%q>>, <<"^%s$">>, [{<<"max-length">>, 3}], 0, <<"queues">>, <<"test">>)`, q, q))
	var err error
	for n := 0; err == nil && n < 100; n++ {
		err = d.Publish(t.Context(), numbered(q, n)).Wait(deadline(t))
	}
	if !errors.Is(err, queue.ErrRefused) {
		t.Errorf("published to a full queue: %v", err)
	}
	if d.Stats().Refused != 1 {
		t.Errorf("counted: %+v", d.Stats())
	}
	in := newInbox(100)
	consume(t, d, q, queue.ConsumeOptions{Credit: 1}, in)
	if err := in.next(t).Claim.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, patience, "room", func() bool {
		select {
		case got := <-in.come:
			_ = got.Claim.Ack(t.Context())
		default:
		}
		return d.Publish(t.Context(), numbered(q, 1000)).Wait(deadline(t)) == nil
	})
}

// TestQueueMadeByMany has several programs make the same queue at once, each
// publishing to it. The broker says no to some at first.
func TestQueueMadeByMany(t *testing.T) {
	working(t)
	const programs, rounds = 5, 10
	var all []*Driver
	for range programs {
		all = append(all, openShared(t))
	}
	for range rounds {
		q, in := fresh("many"), newInbox(100)
		sub := consume(t, all[0], q, queue.ConsumeOptions{Credit: 10}, in)
		var wg sync.WaitGroup
		for i, d := range all {
			wg.Go(func() {
				if err := d.Publish(t.Context(), numbered(q, i)).Wait(deadline(t)); err != nil {
					t.Errorf("program %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		for range all {
			if err := in.next(t).Claim.Ack(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := sub.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
