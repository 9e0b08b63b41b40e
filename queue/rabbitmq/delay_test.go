package rabbitmq

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/rabbittest"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// TestDelays sends a thousand messages with random delays of one to ten
// seconds, and then a thousand with a delay of one, behind one of an hour. Each
// has to come within a second of its time, and none before it. That second is
// asked of a machine that is free for it.
func TestDelays(t *testing.T) {
	testenv.Long(t)
	const each = 1000
	broker := startAll(t)
	for _, c := range []struct {
		name  string
		delay func() time.Duration
	}{
		{"random", func() time.Duration { return time.Second + rand.N(9*time.Second) }},
		{"a second", func() time.Duration { return time.Second }},
	} {
		t.Run(c.name, func(t *testing.T) {
			isFree := free(t, broker)
			d, q, in := open(t, options(broker.URL())), fresh("delays"), newInbox(each+1)
			consume(t, d, q, queue.ConsumeOptions{Credit: 100}, in)
			hour := numbered(q, each)
			hour.At = time.Now().Add(time.Hour)
			publish(t, d, hour)
			start := time.Now()
			batch := make([]*queue.Envelope, each)
			for n := range batch {
				batch[n] = numbered(q, n)
				batch[n].At = start.Add(c.delay())
			}
			publish(t, d, batch...)
			published := time.Since(start)
			worst := receiveInTime(t, in, batch, start.Add(published))
			inTime := isFree()
			t.Logf("published in %v, the latest came %v after its time; machine free: %v", published, worst, inTime)
			if worst > time.Second && inTime {
				t.Errorf("a message came %v after its time", worst)
			}
		})
	}
}

// startAll starts the brokers that most tests are for, and returns the one that
// is for this.
func startAll(t *testing.T) *rabbittest.Broker {
	t.Helper()
	all := []*rabbittest.Shared{&timed, &away, &shared}
	for _, s := range all {
		s.Start(t)
	}
	for _, s := range all { // none of them starts beside what is timed
		s.Broker(t)
	}
	return timed.Broker(t)
}

// receiveInTime takes each message once, and says how late the latest was, by
// its time or, where that is later, by when all were published.
func receiveInTime(t *testing.T, in *inbox, batch []*queue.Envelope, published time.Time) (worst time.Duration) {
	t.Helper()
	seen := make([]bool, len(batch))
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
		worst = max(worst, min(late, now.Sub(published)))
		if err := got.Claim.Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return worst
}
