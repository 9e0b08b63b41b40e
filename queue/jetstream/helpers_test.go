package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/queue/jetstream"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// broker is an embedded server that a test may stop and start again.
type broker struct {
	t testing.TB
	o natsembed.Options

	mu sync.Mutex
	s  *natsembed.Server
}

func newBroker(t testing.TB, o natsembed.Options) *broker {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	b := &broker{t: t, o: o}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := natsembed.Start(ctx, b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	b.s = s
	b.mu.Unlock()
}

func (b *broker) stop() {
	b.t.Helper()
	b.mu.Lock()
	s := b.s
	b.s = nil
	b.mu.Unlock()
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		b.t.Error(err)
	}
}

// connect is for Options.Connect.
func (b *broker) connect(opts ...nats.Option) (*nats.Conn, error) {
	b.mu.Lock()
	s := b.s
	b.mu.Unlock()
	if s == nil {
		return nil, errors.New("the server is stopped")
	}
	return s.Connect(opts...)
}

// url is where other processes find the server.
func (b *broker) url() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.s.ClientURL()
}

func (b *broker) stats() (natsembed.Stats, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.s.Stats()
}

// driver opens a driver, which the caller or the broker made of it closes.
func (b *broker) driver(o jetstream.Options) *jetstream.Driver {
	b.t.Helper()
	if o.Connect == nil && o.URLs == nil {
		o.Connect = b.connect
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d, err := jetstream.New(ctx, o)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// open opens a queue.Broker, closed with the test.
func (b *broker) open(o jetstream.Options) *queue.Broker {
	b.t.Helper()
	q, err := queue.New(b.driver(o), queue.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := q.Close(); err != nil {
			b.t.Log(err)
		}
	})
	return q
}

// streams is a connection to look behind the driver's back.
func (b *broker) streams() natsjs.JetStream {
	b.t.Helper()
	nc, err := b.connect()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	js, err := natsjs.New(nc)
	if err != nil {
		b.t.Fatal(err)
	}
	return js
}

// within returns a context that ends when the test has waited long enough.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// ledger counts what was done by id.
type ledger struct {
	mu   sync.Mutex
	done map[string]int
}

func newLedger() *ledger { return &ledger{done: make(map[string]int)} }

func (l *ledger) add(id string) {
	l.mu.Lock()
	l.done[id]++
	l.mu.Unlock()
}

func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.done)
}

// missing returns how many of the ids were not done, and one of them.
func (l *ledger) missing(ids []string) (n int, one string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if l.done[id] == 0 {
			n, one = n+1, id
		}
	}
	return n, one
}

// repeats returns how many were done more than once.
func (l *ledger) repeats() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, times := range l.done {
		if times > 1 {
			n++
		}
	}
	return n
}

// batch makes messages with numbered ids.
func batch(name, prefix string, n int) ([]queue.Message, []string) {
	ms, ids := make([]queue.Message, n), make([]string, n)
	for i := range ms {
		ids[i] = fmt.Sprintf("%s-%d", prefix, i)
		ms[i] = queue.Message{Queue: name, ID: ids[i]}
		ms[i].Payload.Data = []byte(ids[i])
	}
	return ms, ids
}
