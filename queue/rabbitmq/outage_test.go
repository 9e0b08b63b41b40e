package rabbitmq

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/rabbittest"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// outage is a broker that is gone while messages are published and handled.
type outage struct {
	d     *Driver
	l     *ledger
	p     *producer
	since time.Time
}

func beginOutage(t *testing.T, broker *rabbittest.Broker, end func(testing.TB)) *outage {
	t.Helper()
	o := &outage{d: open(t, options(broker.URL())), l: newLedger()}
	q := fresh("stopped")
	o.p = produce(t, handling(t, o.d, q, o.l, queue.HandleOptions{Concurrency: 10}), q, o.l)
	o.p.more(t, 300)
	end(t)
	o.since = time.Now()
	return o
}

// wait returns when the broker has been away for so long.
func (o *outage) wait(long time.Duration) {
	<-time.After(time.Until(o.since.Add(long))) // real: the broker is away for so long
}

// end starts the broker again.
func (o *outage) end(t *testing.T, broker *rabbittest.Broker) {
	t.Helper()
	long := time.Since(o.since)
	if st := o.d.Status(); st.Connection != queue.Connecting || st.Reason == "" {
		t.Errorf("after %v without it: %+v", long, st)
	}
	broker.Start(t)
	o.p.more(t, 300)
	o.p.end()
	o.l.settled(t)
	if st := o.d.Status(); st.Connection != queue.Connected || st.Reconnects < 2 {
		t.Errorf("back after %v: %+v", long, st)
	}
	t.Logf("back after %v: %v; %+v", long, o.l, o.d.Stats())
}

// TestStopped takes the broker away while messages are published and handled:
// for longer than the library's own recovery would try, and for a moment.
func TestStopped(t *testing.T) {
	testenv.Long(t)
	broker := away.Broker(t)
	o := beginOutage(t, broker, func(t testing.TB) { kill(t, broker) })
	t.Parallel() // it waits
	o.wait(40 * time.Second)
	machine.RLock()
	defer machine.RUnlock()
	o.end(t, broker)
	o = beginOutage(t, broker, broker.Stop)
	o.wait(5 * time.Second)
	o.end(t, broker)
}

// TestAbsentAtStart starts the program before the broker.
func TestAbsentAtStart(t *testing.T) {
	broker := harming(t)
	broker.Stop(t)
	running := false
	t.Cleanup(func() {
		if !running {
			broker.Start(t)
		}
	})
	if _, err := New(t.Context(), options(broker.URL())); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("a broker that is needed and not there: %v", err)
	}
	o := options(broker.URL())
	o.Optional = true
	d, l, q := open(t, o), newLedger(), fresh("absent")
	b := handling(t, d, q, l, queue.HandleOptions{})
	var states []queue.Connection
	var mu sync.Mutex
	d.Report(func(s queue.Status) { mu.Lock(); states = append(states, s.Connection); mu.Unlock() })
	testenv.Eventually(t, patience, "the broker to be known away", func() bool { return d.Publish(t.Context(), numbered(q, 1)).Wait(t.Context()) != nil })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Publish(ctx, queue.Message{Queue: q}); !errors.Is(err, queue.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("published to nobody: %v", err)
	}
	if _, err := d.Inspect(t.Context(), q); !errors.Is(err, queue.ErrUnavailable) {
		t.Errorf("inspected nobody: %v", err)
	}
	sent := make(chan error, 1)
	go func() { sent <- b.Publish(deadline(t), queue.Message{Queue: q, ID: "early"}) }()
	l.accept("early")
	broker.Start(t)
	running = true
	if err := <-sent; err != nil {
		t.Errorf("published while the broker came: %v", err)
	}
	l.settled(t)
	testenv.Eventually(t, patience, "the connection to be told", func() bool { // which may be after it is used
		mu.Lock()
		defer mu.Unlock()
		return len(states) > 1 && states[len(states)-1] == queue.Connected
	})
	mu.Lock()
	defer mu.Unlock()
	if states[0] != queue.Connecting {
		t.Errorf("states told: %v", states)
	}
}

// TestPaused lets the broker stand still: nothing closes, nothing answers.
func TestPaused(t *testing.T) {
	broker := harming(t)
	o := options(broker.URL())
	o.Heartbeat = time.Second
	o.DialTimeout = 2 * time.Second
	d, l, q := open(t, o), newLedger(), fresh("paused")
	b := handling(t, d, q, l, queue.HandleOptions{Concurrency: 5})
	p := produce(t, b, q, l)
	p.more(t, 100)
	broker.Pause(t)
	testenv.Eventually(t, patience, "the silence to be noticed", func() bool { return d.Status().Connection == queue.Connecting })
	broker.Resume(t)
	p.more(t, 100)
	p.end()
	l.settled(t)
}

// TestAlarm raises the broker's alarms, as a full memory and a full disk do:
// publishers wait for as long as their contexts let them, what was accepted is
// handled meanwhile, it is told, and all goes on afterwards.
func TestAlarm(t *testing.T) {
	broker := harming(t)
	for name, alarm := range map[string]func(testing.TB, bool){"memory": broker.MemoryAlarm, "disk": broker.DiskAlarm} {
		t.Run(name, func(t *testing.T) {
			o, log := watched(broker.URL())
			d, l, q := open(t, o), newLedger(), fresh("alarm")
			b := handling(t, d, q, l, queue.HandleOptions{Concurrency: 5})
			p := produce(t, b, q, l)
			p.more(t, 100)
			alarm(t, true)
			on := true
			defer func() {
				if on {
					alarm(t, false)
				}
			}()
			testenv.Eventually(t, patience, "the block is told", func() bool { return d.Status().Connection == queue.Blocked })
			if st := d.Status(); st.Reason == "" {
				t.Errorf("without a reason: %+v", st)
			}
			l.settled(t)
			// What is given up before it was sent is not sent later.
			short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if err := b.Publish(short, queue.Message{Queue: q, ID: "given-up"}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("published during the alarm: %v", err)
			}
			waiting := b.Send(t.Context(), queue.Message{Queue: q, ID: "patient"})
			alarm(t, false)
			on = false
			if err := waiting.Wait(deadline(t)); err != nil {
				t.Errorf("after the alarm: %v", err)
			}
			l.accept("patient")
			p.more(t, 100)
			p.end()
			l.settled(t)
			if done, dead := l.times("given-up"); done+dead != 0 {
				t.Error("what was given up came all the same")
			}
			if st := d.Status(); st.Connection != queue.Connected || st.Reconnects > brokersFault(log) {
				t.Errorf("afterwards: %+v", st)
			}
			t.Log(l)
		})
	}
}

// TestFirstURLIsDead goes on to the next broker of the list.
func TestFirstURLIsDead(t *testing.T) {
	working(t)
	broker := shared.Broker(t)
	o := options(broker.URL())
	o.URLs = []string{"amqp://guest:guest@127.0.0.1:1/", broker.URL()}
	d := open(t, o)
	publish(t, d, numbered(fresh("rotated"), 1))
}
