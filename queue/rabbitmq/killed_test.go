package rabbitmq

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
)

// Variables that make this test's program a worker instead.
const (
	workerURL   = "POLYWIRE_TEST_RABBIT_URL"
	workerQueue = "POLYWIRE_TEST_RABBIT_QUEUE"
)

// work handles a queue until the process is killed. It says what it has done
// before the message is acknowledged.
func work(url, q string) error {
	d, err := New(context.Background(), options(url))
	if err != nil {
		return err
	}
	b, err := queue.New(d, queue.Options{})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	err = b.Handle(q, func(_ context.Context, d *queue.Delivery) error {
		if d.Attempt == 1 && strings.HasSuffix(d.ID, "7") {
			return errors.New("once")
		}
		mu.Lock()
		defer mu.Unlock()
		<-time.After(time.Millisecond) // real: work, for the killer to fall into
		_, err := fmt.Println(d.ID)
		return err
	}, queue.HandleOptions{Concurrency: 20, Backoff: queue.Backoff{Min: 100 * time.Millisecond}})
	if err != nil {
		return err
	}
	select {}
}

// TestWorkerKilled kills the worker's process every second while it works
// through 5,000 messages. Each of them is done at least once.
func TestWorkerKilled(t *testing.T) {
	testenv.Long(t)
	working(t)
	const messages = 5000
	broker := shared.Broker(t)
	d, l, q := openShared(t), newLedger(), fresh("killed")
	es := make([]*queue.Envelope, messages)
	for i := range es {
		es[i] = numbered(q, i)
		l.accept(es[i].ID)
	}
	publish(t, d, es...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	kills := 0
	for end := time.Now().Add(2 * patience); len(l.open()) > 0; kills++ {
		if time.Now().After(end) {
			t.Fatalf("lost: %v", l)
		}
		runWorker(t, self, broker.URL(), q, l)
	}
	testenv.Eventually(t, patience, "the queue to be empty", func() bool {
		depth, err := d.Inspect(t.Context(), q)
		if err == nil && depth.Waiting > 0 { // done, and not acknowledged before the end
			runWorker(t, self, broker.URL(), q, l)
		}
		return err == nil && depth.Waiting == 0 && depth.Dead == 0
	})
	twice := 0
	for _, n := range l.done {
		if n > 1 {
			twice++
		}
	}
	t.Logf("killed %d times, %d messages done more than once; %v", kills, twice, l)
}

// runWorker runs a worker, notes what it does, and kills it a second after the
// first of that: a busy machine takes long to start one.
func runWorker(t *testing.T, self, url, q string, l *ledger) {
	t.Helper()
	const idle, busy = 10 * time.Second, time.Second
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	end := time.AfterFunc(idle, cancel)
	defer end.Stop()
	begun := false
	cmd := exec.CommandContext(ctx, self) // ended by kill -9
	cmd.Env = append(os.Environ(), workerURL+"="+url, workerQueue+"="+q)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if id := lines.Text(); strings.HasPrefix(id, q+"/") {
			l.finish(id)
		}
		if !begun {
			begun = end.Reset(busy)
		}
	}
	if err := cmd.Wait(); ctx.Err() == nil {
		t.Fatalf("the worker ended by itself: %v", err)
	}
}
