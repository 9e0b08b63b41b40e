package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// ledger notes what the broker accepted and what was done. Nothing may be lost.
type ledger struct {
	mu       sync.Mutex
	accepted map[string]bool
	done     map[string]int
}

func newLedger() *ledger {
	return &ledger{accepted: make(map[string]bool), done: make(map[string]int)}
}

func (l *ledger) accept(id string) { l.mu.Lock(); l.accepted[id] = true; l.mu.Unlock() }
func (l *ledger) finish(id string) { l.mu.Lock(); l.done[id]++; l.mu.Unlock() }

// open returns what was accepted and is not done, sorted.
func (l *ledger) open() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for id := range l.accepted {
		if l.done[id] == 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (l *ledger) String() string {
	open := l.open()
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("accepted %d, done %d, open %d %.5q", len(l.accepted), len(l.done), len(open), open)
}

func (l *ledger) settled(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(patience); len(l.open()) > 0; <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("lost: %v", l)
		}
	}
}

// handling makes a broker that handles a queue and notes it.
func handling(t testing.TB, d *Driver, q string, l *ledger, o queue.HandleOptions) *queue.Broker {
	t.Helper()
	b, err := queue.New(d, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if l != nil {
		err = b.Handle(q, func(_ context.Context, d *queue.Delivery) error { l.finish(d.ID); return nil }, o)
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return b
}

// producer publishes without a pause until it is stopped, and notes what was accepted.
type producer struct {
	stop chan struct{}
	wg   sync.WaitGroup
	sent atomic.Int64
}

func produce(t testing.TB, b *queue.Broker, q string, l *ledger) *producer {
	p := &producer{stop: make(chan struct{})}
	for range 4 {
		p.wg.Go(func() {
			for {
				select {
				case <-p.stop:
					return
				default:
				}
				id := fmt.Sprintf("m%06d", p.sent.Add(1))
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				err := b.Publish(ctx, queue.Message{Queue: q, ID: id, Payload: codec.Payload{Type: "text/plain", Data: []byte(id)}})
				cancel()
				if err != nil {
					t.Errorf("publishing %s: %v", id, err)
					return
				}
				l.accept(id)
			}
		})
	}
	t.Cleanup(p.end)
	return p
}

func (p *producer) end() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.wg.Wait()
}

// TestStopped takes the broker away while messages are published and handled:
// for a moment, and for longer than the library's own recovery would try.
func TestStopped(t *testing.T) {
	testenv.Long(t)
	broker := shared.Broker(t)
	for _, c := range []struct {
		away time.Duration
		end  func(t testing.TB)
	}{
		{5 * time.Second, broker.Stop},
		{40 * time.Second, func(t testing.TB) { kill(t, broker) }},
	} {
		t.Run(c.away.String(), func(t *testing.T) {
			d, l, q := open(t, options(broker.URL())), newLedger(), fresh("stopped")
			b := handling(t, d, q, l, queue.HandleOptions{Concurrency: 10})
			p := produce(t, b, q, l)
			await(t, "hundreds of messages", func() bool { return p.sent.Load() > 300 })
			c.end(t)
			<-time.After(c.away)
			if st := d.Status(); st.Connection != queue.Connecting || st.Reason == "" {
				t.Errorf("while it is away: %+v", st)
			}
			sent := p.sent.Load()
			broker.Start(t)
			await(t, "hundreds more", func() bool { return p.sent.Load() > sent+300 })
			p.end()
			l.settled(t)
			if st := d.Status(); st.Connection != queue.Connected || st.Reconnects < 2 {
				t.Errorf("afterwards: %+v", st)
			}
			t.Logf("%v; %+v", l, d.Stats())
		})
	}
}

// TestAbsentAtStart starts the program before the broker.
func TestAbsentAtStart(t *testing.T) {
	broker := shared.Broker(t)
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
	await(t, "the broker to be known away", func() bool { return d.Publish(t.Context(), numbered(q, 1)).Wait(t.Context()) != nil })
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
	mu.Lock()
	defer mu.Unlock()
	if len(states) < 2 || states[0] != queue.Connecting || states[len(states)-1] != queue.Connected {
		t.Errorf("states told: %v", states)
	}
}

// TestPaused lets the broker stand still: nothing closes, nothing answers.
func TestPaused(t *testing.T) {
	broker := shared.Broker(t)
	o := options(broker.URL())
	o.Heartbeat = time.Second
	o.DialTimeout = 2 * time.Second
	d, l, q := open(t, o), newLedger(), fresh("paused")
	b := handling(t, d, q, l, queue.HandleOptions{Concurrency: 5})
	p := produce(t, b, q, l)
	await(t, "some messages", func() bool { return p.sent.Load() > 100 })
	broker.Pause(t)
	await(t, "the silence to be noticed", func() bool { return d.Status().Connection == queue.Connecting })
	broker.Resume(t)
	sent := p.sent.Load()
	await(t, "more messages", func() bool { return p.sent.Load() > sent+100 })
	p.end()
	l.settled(t)
}

// TestAlarm raises the broker's alarms: publishers wait for as long as their
// contexts let them, what is in the queue is handled meanwhile, and it is told.
func TestAlarm(t *testing.T) {
	broker := shared.Broker(t)
	for name, alarm := range map[string]func(testing.TB, bool){"memory": broker.MemoryAlarm, "disk": broker.DiskAlarm} {
		t.Run(name, func(t *testing.T) {
			d, q := open(t, options(broker.URL())), fresh("alarm")
			publish(t, d, numbered(q, 0), numbered(q, 1))
			alarm(t, true)
			on := true
			defer func() {
				if on {
					alarm(t, false)
				}
			}()
			// The broker blocks a connection when it next publishes.
			short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if err := d.Publish(short, numbered(q, 2)).Wait(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("published during the alarm: %v", err)
			}
			await(t, "the block to be told", func() bool { return d.Status().Connection == queue.Blocked })
			if st := d.Status(); st.Reason == "" {
				t.Errorf("without a reason: %+v", st)
			}
			// One that was given up before it was sent is not sent later.
			short, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := d.Publish(short, numbered(q, 3)).Wait(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("published while blocked: %v", err)
			}
			in := newInbox(10)
			consume(t, d, q, queue.ConsumeOptions{Credit: 10}, in)
			for n := range 2 {
				got := in.next(t)
				if err := got.Claim.Ack(t.Context()); err != nil || number(&got.Envelope) != n {
					t.Errorf("during the alarm message %d came, %v", number(&got.Envelope), err)
				}
			}
			waiting := d.Publish(t.Context(), numbered(q, 4))
			alarm(t, false)
			on = false
			if err := waiting.Wait(deadline(t)); err != nil {
				t.Errorf("after the alarm: %v", err)
			}
			for seen := -1; seen != 4; { // the second may have been sent, and come first
				got := in.next(t)
				if seen = number(&got.Envelope); seen != 2 && seen != 4 {
					t.Errorf("after the alarm message %d came", seen)
				}
				_ = got.Claim.Ack(t.Context())
			}
			await(t, "all to be well", func() bool { return d.Status().Connection == queue.Connected })
		})
	}
}

// TestFirstURLIsDead goes on to the next broker of the list.
func TestFirstURLIsDead(t *testing.T) {
	broker := shared.Broker(t)
	o := options(broker.URL())
	o.URLs = []string{"amqp://guest:guest@127.0.0.1:1/", broker.URL()}
	d := open(t, o)
	publish(t, d, numbered(fresh("rotated"), 1))
}
