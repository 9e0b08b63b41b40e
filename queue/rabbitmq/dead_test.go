package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// bury makes dead letters of numbered messages.
func bury(t testing.TB, d *Driver, q string, n int) {
	t.Helper()
	in := newInbox(n)
	sub := consume(t, d, q, queue.ConsumeOptions{Credit: 100}, in)
	es := make([]*queue.Envelope, n)
	for i := range es {
		es[i] = numbered(q, i)
	}
	publish(t, d, es...)
	for range n {
		got := in.next(t)
		dead := queue.Dead{Envelope: got.Envelope, Reason: queue.ReasonDiscarded, Stack: "stack", Died: time.Now()}
		if err := got.Claim.Bury(t.Context(), &dead); err != nil {
			t.Fatal(err)
		}
	}
	if err := sub.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// walked returns the numbers and cursors that a walk visits.
func walked(t testing.TB, d *Driver, q, after string) (numbers []int, cursors []string) {
	t.Helper()
	err := d.WalkDead(deadline(t), q, after, func(letter *queue.Dead) (queue.Verdict, bool) {
		numbers = append(numbers, number(&letter.Envelope))
		cursors = append(cursors, letter.Cursor)
		return queue.Keep, true
	})
	if err != nil {
		t.Fatal(err)
	}
	return numbers, cursors
}

// TestWalks goes through more letters than one channel holds. They stay, in
// their order, whatever a walk did not remove.
func TestWalks(t *testing.T) {
	testenv.Long(t)
	working(t)
	const letters = 700
	d, q := openShared(t), fresh("walks")
	if numbers, _ := walked(t, d, q, ""); len(numbers) != 0 {
		t.Errorf("letters of a queue that is not there: %v", numbers)
	}
	bury(t, d, q, letters)
	want := make([]int, letters)
	for i := range want {
		want[i] = i
	}
	var cursors []string
	for range 3 {
		var got []int
		if got, cursors = walked(t, d, q, ""); !slices.Equal(got, want) {
			t.Fatalf("a walk saw %d letters, not in order: %v", len(got), got)
		}
	}
	if got, _ := walked(t, d, q, cursors[499]); !slices.Equal(got, want[500:]) {
		t.Errorf("behind letter 499 there are %v", got)
	}

	// Every third is removed, and the walk ends at 600.
	err := d.WalkDead(deadline(t), q, "", func(letter *queue.Dead) (queue.Verdict, bool) {
		n := number(&letter.Envelope)
		if n%3 == 0 {
			return queue.Remove, n < 600
		}
		return queue.Keep, n < 600
	})
	if err != nil {
		t.Fatal(err)
	}
	want = slices.DeleteFunc(want, func(n int) bool { return n <= 600 && n%3 == 0 })
	if got, _ := walked(t, d, q, ""); !slices.Equal(got, want) {
		t.Errorf("after some were removed a walk saw %d letters, want %d", len(got), len(want))
	}

	// A walk whose visitor gives up ends with the context's error and loses nothing.
	ctx, cancel := context.WithCancel(t.Context())
	err = d.WalkDead(ctx, q, "", func(*queue.Dead) (queue.Verdict, bool) { cancel(); return queue.Keep, true })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	// Nor does one whose connection is cut.
	err = d.WalkDead(deadline(t), q, "", func(*queue.Dead) (queue.Verdict, bool) { cut(d); return queue.Keep, true })
	if !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("cut: %v", err)
	}
	testenv.Eventually(t, patience, "all letters to be back", func() bool {
		depth, err := d.Inspect(t.Context(), q)
		return err == nil && depth.Dead == int64(len(want))
	})
	got, _ := walked(t, d, q, "")
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("after a cut a walk saw %d letters, want %d", len(got), len(want))
	}
}

// TestBrokersOwnDead has the broker give a message up, by a policy of its
// operator's. It is kept, and the letter says who did it.
func TestBrokersOwnDead(t *testing.T) {
	working(t)
	broker := shared.Broker(t)
	d, q := openShared(t), fresh("policy")
	broker.Eval(t, fmt.Sprintf(`rabbit_policy:set(<<"/">>, <<%q>>, <<"^%s$">>, [{<<"message-ttl">>, 50}], 0, <<"queues">>, <<"test">>)`, q, q))
	publish(t, d, numbered(q, 7))
	testenv.Eventually(t, patience, "the message to die", func() bool {
		depth, err := d.Inspect(t.Context(), q)
		return err == nil && depth.Dead == 1 && depth.Waiting == 0
	})
	var letter queue.Dead
	err := d.WalkDead(deadline(t), q, "", func(l *queue.Dead) (queue.Verdict, bool) { letter = *l; return queue.Remove, true })
	if err != nil {
		t.Fatal(err)
	}
	if letter.Reason != queue.ReasonBroker || letter.LastError != "the broker gave it up: expired" || letter.Died.IsZero() ||
		letter.Cursor == "" || number(&letter.Envelope) != 7 {
		t.Errorf("the letter: %+v", letter)
	}
}

// TestPurgeLeavesOthersDelays purges a queue with delayed messages; those of
// another queue, on the same levels, come at their time.
func TestPurgeLeavesOthersDelays(t *testing.T) {
	t.Parallel()
	const each = 100
	d, q, other := openShared(t), fresh("purged"), fresh("other")
	due := time.Now().Add(10 * time.Second)
	es := []*queue.Envelope{numbered(q, 1000), numbered(q, 1001)}
	for i := range each {
		a, b := numbered(q, i), numbered(other, i)
		a.At, b.At = due, due
		es = append(es, a, b)
	}
	long := numbered(q, 2000)
	long.At = due.Add(100 * time.Hour)
	publish(t, d, append(es, long)...)
	if n, err := d.Purge(deadline(t), q); n != each+3 || err != nil {
		t.Errorf("purged %d, %v, want %d", n, err, each+3)
	}
	// An answer that gets lost in the broker leaves its message, for the next purge.
	testenv.Eventually(t, patience, "nothing to be left", func() bool { n, err := d.Purge(deadline(t), q); return n == 0 && err == nil })
	in, gone := newInbox(each), newInbox(each)
	consume(t, d, other, queue.ConsumeOptions{Credit: each}, in)
	consume(t, d, q, queue.ConsumeOptions{Credit: each}, gone)
	for range each {
		got := in.next(t)
		if late := time.Since(due); late < 0 {
			t.Errorf("message %d came %v before its time", number(&got.Envelope), -late)
		}
		if err := got.Claim.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(gone.come); n != 0 {
		t.Errorf("%d purged messages came", n)
	}
}

// TestLongDelayIsWalkedAgain has a message arrive with a rest of its delay.
func TestLongDelayIsWalkedAgain(t *testing.T) {
	t.Parallel() // it waits
	broker := shared.Broker(t)
	d, q := openShared(t), fresh("rest")
	in := newInbox(10)
	consume(t, d, q, queue.ConsumeOptions{Credit: 1}, in)
	first := numbered(q, 1)
	publish(t, d, first) // makes the queue
	if err := in.next(t).Claim.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m := publishing(first, first.Fields)
	m.Headers[fieldRest] = time.Second.String()
	m.CorrelationId = "c"
	onChannel(t, broker.URL(), func(ch *amqp.Channel) {
		if err := ch.Confirm(false); err != nil {
			t.Fatal(err)
		}
		confirmation, err := ch.PublishWithDeferredConfirm("", q, true, false, m)
		if err != nil || !confirmation.Wait() {
			t.Fatal(err)
		}
	})
	got := in.next(t)
	if took := time.Since(start); took < time.Second {
		t.Errorf("it came after %v", took)
	}
	if number(&got.Envelope) != 1 || got.ID != first.ID || got.Attempts != 0 || got.Claim.(*claim).props.correlation != "c" {
		t.Errorf("it came as %+v", got.Envelope)
	}
	if err := got.Claim.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
}
