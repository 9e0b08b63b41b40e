package rabbitmq

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/internal/rabbittest"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/queuetest"
)

// TestSuite is what every driver passes. The broker is stopped and killed in
// it; until then it has the machine for what has to come in time.
func TestSuite(t *testing.T) {
	testenv.Long(t)
	t.Parallel()
	b := timed.Broker(t)
	machine.Lock()
	share := sync.OnceFunc(machine.Unlock)
	defer share()
	var restarts atomic.Int64
	queuetest.Run(t, queuetest.Harness{
		Free: func(t *testing.T) func() bool { return free(t, b) },
		Open: func(t *testing.T) queue.Driver {
			d, err := New(deadline(t), options(b.URL()))
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		Kill: func(_ *testing.T, driver queue.Driver) {
			d := driver.(*Driver)
			cut(d)
			d.publish.link.cancel()
			d.consume.cancel()
		},
		Cut: func(_ *testing.T, d queue.Driver) { cut(d.(*Driver)) },
		Restart: func(t *testing.T) {
			share()
			up.Lock()
			defer up.Unlock()
			if restarts.Add(1)%2 == 1 {
				kill(t, b)
			} else {
				b.Stop(t)
			}
			b.Start(t)
		},
		Delete: func(t *testing.T, q string) {
			onChannel(t, b.URL(), func(ch *amqp.Channel) {
				if _, err := ch.QueueDelete(q, false, false, false); err != nil {
					t.Fatal(err)
				}
			})
		},
	})
}

// free begins to look at the machine; its result says whether nine tenths of it
// have been left to this test since. Only then it can be in time.
func free(t testing.TB, b *rabbittest.Broker) func() bool {
	t.Helper()
	const busy = 0.1
	others := b.Others(t)
	return func() bool { return others() < busy }
}

// noted is how long RabbitMQ 3.10 takes to write down that a quorum queue was
// made: of one that was made just before a kill the node knows the name
// afterwards, and cannot start it. What was published to it is lost.
const noted = 2 * time.Second

// kill kills the broker, after it had time to note its queues.
func kill(t testing.TB, b *rabbittest.Broker) {
	t.Helper()
	<-time.After(noted) // real: the node says nothing when it has written them down
	b.Kill(t)
}

// cut ends the driver's connections without a word.
func cut(d *Driver) {
	for _, l := range []*link{d.publish.link, d.consume} {
		if s, _, _ := l.state(); s != nil {
			_ = s.nc.Close()
		}
	}
}

// onChannel is for what a test does to the broker by itself.
func onChannel(t testing.TB, url string, f func(ch *amqp.Channel)) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	f(ch)
}
