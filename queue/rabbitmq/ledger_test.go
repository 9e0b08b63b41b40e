package rabbitmq

import (
	"context"
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

// ledger notes what the broker accepted, what was done, and what is a dead
// letter. Nothing may be lost.
type ledger struct {
	mu       sync.Mutex
	accepted map[string]bool
	done     map[string]int
	dead     map[string]int
}

func newLedger() *ledger {
	return &ledger{accepted: make(map[string]bool), done: make(map[string]int), dead: make(map[string]int)}
}

func (l *ledger) accept(id string)   { l.mu.Lock(); l.accepted[id] = true; l.mu.Unlock() }
func (l *ledger) finish(id string)   { l.mu.Lock(); l.done[id]++; l.mu.Unlock() }
func (l *ledger) bury(d *queue.Dead) { l.mu.Lock(); l.dead[d.ID]++; l.mu.Unlock() }

// times returns how often a message was done and died.
func (l *ledger) times(id string) (done, dead int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done[id], l.dead[id]
}

// open returns what was accepted and is neither done nor dead, sorted.
func (l *ledger) open() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for id := range l.accepted {
		if l.done[id]+l.dead[id] == 0 {
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
	return fmt.Sprintf("accepted %d, done %d, dead %d, open %d %.5q", len(l.accepted), len(l.done), len(l.dead), len(open), open)
}

// settled waits until nothing is open.
func (l *ledger) settled(t testing.TB) {
	t.Helper()
	defer func() {
		if len(l.open()) > 0 {
			t.Logf("lost: %v", l)
		}
	}()
	testenv.Eventually(t, patience, "all that was accepted is done or dead", func() bool { return len(l.open()) == 0 })
}

// finishing is a handler that notes what it does.
func (l *ledger) finishing(_ context.Context, d *queue.Delivery) error {
	l.finish(d.ID)
	return nil
}

// broker makes a broker that notes what dies.
func (l *ledger) broker(t testing.TB, d *Driver) *queue.Broker {
	t.Helper()
	b, err := queue.New(d, queue.Options{Hooks: []queue.Hooks{{Buried: l.bury}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return b
}

// handling makes a broker that handles a queue and notes it.
func handling(t testing.TB, d *Driver, q string, l *ledger, o queue.HandleOptions) *queue.Broker {
	t.Helper()
	b := l.broker(t, d)
	if err := b.Handle(q, l.finishing, o); err != nil {
		t.Fatal(err)
	}
	return b
}

// send publishes so many messages and notes them as accepted.
func (l *ledger) send(t testing.TB, b *queue.Broker, q, prefix string, n int) {
	t.Helper()
	ms := make([]queue.Message, n)
	for i := range ms {
		ms[i].Queue, ms[i].ID = q, fmt.Sprintf("%s%03d", prefix, i)
	}
	if err := b.PublishBatch(deadline(t), ms); err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		l.accept(m.ID)
	}
}

// longest bounds a publish of a producer's: the broker may be away, and start
// on a busy machine.
const longest = 5 * time.Minute

// producer publishes without a pause until it is stopped, and notes what was accepted.
type producer struct {
	stop     chan struct{}
	wg       sync.WaitGroup
	sent     atomic.Int64 // begun
	accepted atomic.Int64
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
				ctx, cancel := context.WithTimeout(context.Background(), longest)
				err := b.Publish(ctx, queue.Message{Queue: q, ID: id, Payload: codec.Payload{Type: "text/plain", Data: []byte(id)}})
				cancel()
				if err != nil {
					t.Errorf("publishing %s: %v", id, err)
					return
				}
				l.accept(id)
				p.accepted.Add(1)
			}
		})
	}
	t.Cleanup(p.end)
	return p
}

// more waits until n more messages were accepted.
func (p *producer) more(t testing.TB, n int64) {
	t.Helper()
	n += p.accepted.Load()
	testenv.Eventually(t, patience, fmt.Sprintf("%d messages were accepted", n), func() bool { return p.accepted.Load() >= n })
}

func (p *producer) end() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.wg.Wait()
}
