package rabbitmq

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(workerURL); url != "" {
		var err error
		switch q, kind := os.Getenv(workerQueue), os.Getenv(workerStart); kind {
		case "":
			err = work(url, q)
		default:
			err = start(kind, url, q)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testenv.Together(atOnce)
	testenv.VerifyNoLeaks(shared.Main(timed.Main(away.Main(harmed.Main(m)))))
}

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// options are quick to come back.
func options(url string) Options {
	return Options{URLs: []string{url}, MinBackoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond}
}

func open(t testing.TB, o Options) *Driver {
	t.Helper()
	d, err := New(deadline(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := d.Shutdown(ctx); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return d
}

func openShared(t testing.TB) *Driver {
	t.Helper()
	return open(t, options(shared.Broker(t).URL()))
}

// deadline is the test's patience as a context.
func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// fresh returns a queue's name that nobody else has.
func fresh(what string) string { return what + "-" + rand.Text()[:8] }

// numbered makes a message whose payload and id say its number.
func numbered(q string, n int) *queue.Envelope {
	return &queue.Envelope{
		Message: queue.Message{
			Queue: q, ID: fmt.Sprintf("%s/%d", q, n),
			Payload: codec.Payload{Type: "application/octet-stream", Data: binary.BigEndian.AppendUint64(nil, uint64(n))},
		},
		Published: time.Now(),
	}
}

func number(e *queue.Envelope) int {
	if len(e.Payload.Data) != 8 {
		return -1
	}
	return int(binary.BigEndian.Uint64(e.Payload.Data))
}

// inbox is a receiver that keeps what comes.
type inbox struct {
	come chan queue.Incoming

	mu       sync.Mutex
	troubles []error
}

func newInbox(room int) *inbox { return &inbox{come: make(chan queue.Incoming, room)} }

func (b *inbox) Receive(in queue.Incoming) { b.come <- in }

func (b *inbox) Trouble(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.troubles = append(b.troubles, err)
}

func (b *inbox) seen() []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]error(nil), b.troubles...)
}

// next returns the next message, or fails the test.
func (b *inbox) next(t testing.TB) queue.Incoming {
	t.Helper()
	select {
	case in := <-b.come:
		return in
	case <-time.After(patience):
		t.Fatal("no message came")
		return queue.Incoming{}
	}
}

func consume(t testing.TB, d *Driver, q string, o queue.ConsumeOptions, r queue.Receiver) queue.Subscription {
	t.Helper()
	s, err := d.Consume(context.Background(), q, o, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("closing the subscription of %q: %v", q, err)
		}
	})
	return s
}

func publish(t testing.TB, d *Driver, es ...*queue.Envelope) {
	t.Helper()
	ctx := deadline(t)
	receipts := make([]queue.Receipt, len(es))
	for i, e := range es {
		receipts[i] = d.Publish(ctx, e)
	}
	for i, r := range receipts {
		if err := r.Wait(ctx); err != nil {
			t.Fatalf("publishing %q: %v", es[i].ID, err)
		}
	}
}
