package rabbitmq

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// TestDelays sends a thousand messages with random delays of one to ten
// seconds, and a thousand with a delay of one, behind one of an hour. Each has
// to come within a second of its time, and none before it. That second is asked
// of a machine that is free for it.
func TestDelays(t *testing.T) {
	testenv.Long(t)
	const each = 1000
	const punctual = time.Second
	isFree := free(t, shared.Broker(t))
	d := openShared(t)
	q := fresh("delays")
	in := newInbox(2*each + 1)
	consume(t, d, q, queue.ConsumeOptions{Credit: 100}, in)

	hour := numbered(q, 2*each)
	hour.At = time.Now().Add(time.Hour)
	publish(t, d, hour)
	start := time.Now()
	batch := make([]*queue.Envelope, 2*each)
	for n := range batch {
		batch[n] = numbered(q, n)
		batch[n].At = start.Add(time.Second)
		if n < each {
			batch[n].At = start.Add(time.Second + rand.N(9*time.Second))
		}
	}
	publish(t, d, batch...)
	published := time.Since(start)

	var worst time.Duration
	seen := make([]bool, 2*each)
	for range batch {
		got := in.next(t)
		now, n := time.Now(), number(&got.Envelope)
		if n < 0 || n >= len(seen) || seen[n] {
			t.Fatalf("message %d came, and was not expected", n)
		}
		seen[n] = true
		late := now.Sub(batch[n].At)
		if late < 0 {
			t.Errorf("message %d came %v before its time", n, -late)
		}
		worst = max(worst, late)
		if err := got.Claim.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	inTime := isFree()
	t.Logf("published in %v, the latest came %v after its time; machine free: %v", published, worst, inTime)
	if worst > punctual && inTime {
		t.Errorf("a message came %v after its time", worst)
	}
}
