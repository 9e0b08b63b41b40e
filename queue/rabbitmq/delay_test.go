package rabbitmq

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// TestDelays sends a thousand messages with random delays of one to ten
// seconds, behind one of an hour. Each has to come within a second of its time,
// and none before it.
func TestDelays(t *testing.T) {
	testenv.Long(t)
	const messages = 1000
	d := openShared(t)
	q := fresh("delays")
	in := newInbox(messages + 1)
	consume(t, d, q, queue.ConsumeOptions{Credit: 100}, in)

	hour := numbered(q, messages)
	hour.At = time.Now().Add(time.Hour)
	publish(t, d, hour)
	due := make([]time.Time, messages)
	batch := make([]*queue.Envelope, messages)
	for n := range batch {
		batch[n] = numbered(q, n)
		due[n] = time.Now().Add(time.Second + rand.N(9*time.Second))
		batch[n].At = due[n]
	}
	start := time.Now()
	publish(t, d, batch...)
	t.Logf("published in %v", time.Since(start))

	var worst time.Duration
	seen := make([]bool, messages)
	for range messages {
		got := in.next(t)
		now := time.Now()
		n := number(&got.Envelope)
		if n < 0 || n >= messages || seen[n] {
			t.Fatalf("message %d came, and was not expected", n)
		}
		seen[n] = true
		late := now.Sub(due[n])
		if late < 0 || late > time.Second {
			t.Errorf("message %d came %v after its time", n, late)
		}
		worst = max(worst, late)
		if err := got.Claim.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("the latest came %v after its time", worst)
}
