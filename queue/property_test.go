package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/queue"
)

// workshop is a broker whose handlers wait until they are told how to end.
type workshop struct {
	*bench
	r     *rand.Rand
	hands int
	keys  int // none: order does not matter

	mu      sync.Mutex
	working []*work
	most    int
	left    map[string][]string // ids that are not done, by key, in their order
	n       int                 // of messages so far
}

type work struct {
	d   *queue.Delivery
	end chan error
}

func (w *workshop) handler(_ context.Context, d *queue.Delivery) error {
	mine := &work{d: d, end: make(chan error)}
	w.mu.Lock()
	w.working = append(w.working, mine)
	w.most = max(w.most, len(w.working))
	if first := w.left[d.Key][0]; w.keys > 0 && first != d.ID {
		w.Errorf("%s is handled before %s", d.ID, first)
	}
	w.mu.Unlock()
	return <-mine.end
}

// send publishes n messages in one go.
func (w *workshop) send(n int) {
	ms := make([]queue.Message, n)
	w.mu.Lock()
	for i := range ms {
		ms[i].Queue, ms[i].ID = "q", fmt.Sprint(w.n)
		if w.keys > 0 {
			ms[i].Key = fmt.Sprint("key ", w.r.IntN(w.keys))
		}
		w.left[ms[i].Key] = append(w.left[ms[i].Key], ms[i].ID)
		w.n++
	}
	w.mu.Unlock()
	if err := w.PublishBatch(w.Context(), ms); err != nil {
		w.Fatal(err)
	}
}

// finish ends n handlers at most.
func (w *workshop) finish(n int, err error) {
	w.mu.Lock()
	w.r.Shuffle(len(w.working), func(i, j int) { w.working[i], w.working[j] = w.working[j], w.working[i] })
	n = min(n, len(w.working))
	ended := slices.Clone(w.working[:n])
	w.working = slices.Delete(w.working, 0, n)
	for _, e := range ended {
		if err == nil {
			ids := w.left[e.d.Key]
			i := slices.Index(ids, e.d.ID)
			w.left[e.d.Key] = slices.Delete(ids, i, i+1)
		}
	}
	w.mu.Unlock()
	for _, e := range ended {
		e.end <- err
	}
}

// rest waits until nothing more happens, and compares the hands at work with
// those that should be.
func (w *workshop) rest(paused bool) (idle bool) {
	w.Helper()
	time.Sleep(time.Second) // virtual: retries come
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := 0
	for _, ids := range w.left {
		if waiting += len(ids); w.keys > 0 && len(ids) > 0 {
			waiting += 1 - len(ids)
		}
	}
	if got, want := len(w.working), min(waiting, w.hands); got != want && !paused {
		w.Fatalf("%d hands work, want %d of %d: %v", got, want, w.hands, w.left)
	}
	return waiting == 0
}

// pause pauses the queue, and does not wait for the handlers.
func (w *workshop) pause() {
	ctx, cancel := context.WithTimeout(w.Context(), time.Millisecond)
	defer cancel()
	if err := w.Pause(ctx, "q"); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		w.Fatal(err)
	}
}

// TestHandsAreNeverIdle does at random what can happen to a queue, in bursts.
// Whenever all has come to rest as many handlers are at work as there are
// messages that may be handled, and hands; where order matters it is kept.
func TestHandsAreNeverIdle(t *testing.T) {
	for seed := range uint64(80) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, queue.Options{}, func(b *bench) {
				r := rand.New(rand.NewPCG(seed, 0))
				w := &workshop{bench: b, r: r, hands: 1 + r.IntN(8), left: make(map[string][]string)}
				o := queue.HandleOptions{
					Concurrency: w.hands, Prefetch: r.IntN(12) - 1, Timeout: -1, MaxAttempts: -1,
					Backoff: queue.Backoff{Min: time.Millisecond, Max: time.Millisecond},
				}
				if seed%2 == 1 {
					w.keys, o.Ordered, o.Prefetch = 1+r.IntN(10), true, 5000
				}
				if err := b.Handle("q", w.handler, o); err != nil {
					t.Fatal(err)
				}
				w.play(60)
				for !w.rest(false) {
					w.finish(w.hands, nil)
				}
				b.empty(0)
				if w.most > w.hands {
					t.Errorf("%d at work, of %d hands", w.most, w.hands)
				}
			})
		})
	}
}

// play does so many bursts.
func (w *workshop) play(bursts int) {
	paused := false
	for range bursts {
		for range 1 + w.r.IntN(4) {
			switch n := w.r.IntN(2 * w.hands); w.r.IntN(10) {
			case 0, 1, 2:
				w.send(n)
			case 3, 4, 5:
				w.finish(n, nil)
			case 6, 7:
				w.finish(1, errors.New("again"))
			case 8: // the order's owner ends with its last handler: another does not begin before
				if paused = w.keys == 0; paused {
					w.pause()
				}
			default:
				if paused = false; w.Resume("q") != nil {
					w.Fatal("resume")
				}
			}
		}
		w.rest(paused)
	}
	if err := w.Resume("q"); err != nil {
		w.Fatal(err)
	}
}

// TestKeysTakeTurns has many messages of a key in front of one of another.
func TestKeysTakeTurns(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		var got []string
		err := b.Handle("q", func(_ context.Context, d *queue.Delivery) error {
			pass(time.Millisecond)
			got = append(got, d.Key)
			return nil
		}, queue.HandleOptions{Ordered: true, Prefetch: 40})
		if err != nil {
			t.Fatal(err)
		}
		ms := make([]queue.Message, 31)
		for i := range ms {
			ms[i].Queue, ms[i].Key = "q", "many"
		}
		ms[30].Key = "one"
		if err := b.PublishBatch(b.Context(), ms); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		synctest.Wait()
		if at := slices.Index(got, "one"); len(got) != len(ms) || at > 2 {
			t.Errorf("%d handled, the other key as number %d", len(got), at)
		}
	})
}

// TestOneIDUnderTwoKeys has two messages in hand with the same id. The second
// one's key is handled, and later messages of the first's are.
func TestOneIDUnderTwoKeys(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		b.d.Memory = queue.NewMemory(queue.MemoryOptions{Dedup: -1})
		runs := 0
		err := b.Handle("q", func(_ context.Context, d *queue.Delivery) error {
			pass(time.Second)
			if runs++; runs == 1 {
				return queue.Discard(nil)
			}
			return nil
		}, queue.HandleOptions{Ordered: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, pair := range [][]queue.Message{{{ID: "x", Key: "a"}, {ID: "x", Key: "b"}}, {{ID: "y", Key: "a"}, {ID: "z", Key: "b"}}} {
			for i := range pair {
				pair[i].Queue = "q"
			}
			if err := b.PublishBatch(b.Context(), pair); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
		}
		synctest.Wait()
		if runs != 4 {
			t.Errorf("%d runs", runs)
		}
		b.empty(1)
	})
}

// TestHandlerEndsItsGoroutine has handlers that call runtime.Goexit, as the
// Fatal of a test does: they failed, and the hands stay as many as they were.
func TestHandlerEndsItsGoroutine(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		b.handle(quick(), func(d *queue.Delivery) error {
			if d.Attempt < 3 {
				runtime.Goexit()
			}
			return nil
		})
		b.send("a")
		b.send("b")
		pass(time.Minute)
		b.happened("attempt 1, retried 1, attempt 1, retried 1, attempt 2, retried 2, attempt 2, retried 2, attempt 3, attempt 3")
		b.empty(0)
		if s := b.Stats().Queues["q"]; s.Running != 0 || s.Failed != 4 || s.Panics != 0 {
			t.Errorf("%+v", s)
		}
		if err := b.Shutdown(b.Context()); err != nil {
			t.Error(err)
		}
	})
}
