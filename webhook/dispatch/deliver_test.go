package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
)

func TestDelivered(t *testing.T) {
	virtual(t, nil, func(w *world) {
		w.endpoint("a", nil)
		w.endpoint("b", nil, func(e *webhook.Endpoint) { e.Types = []string{"user.*"} })
		w.endpoint("c", nil, func(e *webhook.Endpoint) { e.Format = webhook.FormatGost; e.Secrets = gost(w.T, "key") })
		w.endpoint("off", nil, func(e *webhook.Endpoint) { e.Disabled = true })
		w.publish("e1", "payment.approved")
		w.publish("e2", "user.created")
		synctest.Wait()
		for id, want := range map[string]int{"a": 2, "b": 1, "c": 2, "off": 0} {
			if got := w.made(id); len(got) != want {
				t.Errorf("%s: %d attempts, want %d", id, len(got), want)
			}
			if n := w.states(id); n[StateDelivered] != want || len(w.entries(id)) != want {
				t.Errorf("%s: %v in the log, want %d delivered", id, n, want)
			}
		}
		body := w.made("b")[0].body
		if want := `{"type":"user.created","timestamp":"2000-01-01T00:00:00Z","data":{"id":"e2"}}`; body != want {
			t.Errorf("got %s, want %s", body, want)
		}
		if want := `{"event":"payment.approved","timestamp":946684800,"data":{"id":"e1"}}`; w.made("c")[0].body != want && w.made("c")[1].body != want {
			t.Errorf("got %s, want %s", w.made("c")[0].body, want)
		}
		s := w.d.Stats()
		if s.Accepted != 2 || s.Delivered != 5 || s.Attempts != 5 || s.Endpoints["a"].Delivered != 2 || s.Endpoints["a"].Breaker != BreakerClosed {
			t.Errorf("stats: %+v", s)
		}
	})
}

func gost(t *testing.T, text string) []webhook.Secret {
	t.Helper()
	s, err := webhook.GostSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return []webhook.Secret{s}
}

// TestSchedule wants all tries at their times, with the same body.
func TestSchedule(t *testing.T) {
	virtual(t, nil, func(w *world) {
		w.endpoint("plain", status(500), func(e *webhook.Endpoint) {}) // the default
		w.endpoint("exact", status(500), schedule(0, time.Second, time.Minute, time.Hour))
		w.endpoint("gost", status(503), func(e *webhook.Endpoint) { e.Format = webhook.FormatGost; e.Secrets = gost(w.T, "key") })
		w.endpoint("late", func(_ context.Context, n int, _ made) webhook.Attempt {
			return answer(map[bool]int{true: 500, false: 200}[n < 3])
		},
			schedule(0, time.Second, time.Minute, time.Hour))
		start := time.Now()
		w.publish("e", "a")
		elapse(30 * 24 * time.Hour)
		for id, want := range map[string][]time.Duration{
			"exact": {0, time.Second, 61 * time.Second, time.Hour + 61*time.Second},
			"gost":  {0, 1e9, 3e9, 6e9, 10e9},
			"late":  {0, time.Second, 61 * time.Second},
		} {
			var got []time.Duration
			for i, m := range w.made(id) {
				got = append(got, m.at.Sub(start))
				if m.try != i+1 || m.body != w.made(id)[0].body {
					t.Errorf("%s: try %d with the number %d and the body %s", id, i+1, m.try, m.body)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: tries after %v, want %v", id, got, want)
			}
		}
		def := w.made("plain")
		if len(def) != 10 {
			t.Fatalf("%d tries, want 10", len(def))
		}
		for i, d := range webhook.DefaultSchedule().Delays()[1:] {
			wait := def[i+1].at.Sub(def[i].at)
			if wait < d*8/10 || wait > d*12/10 {
				t.Errorf("try %d came after %v, want %v", i+2, wait, d)
			}
		}
		if n := w.states("plain"); n[StateScheduled] != 9 || n[StateFailed] != 1 {
			t.Errorf("the log has %v", n)
		}
		if n := w.states("late"); n[StateScheduled] != 2 || n[StateDelivered] != 1 {
			t.Errorf("the log has %v", n)
		}
		first := w.entries("exact")[0]
		if !first.Next.Equal(start.Add(time.Second)) || first.Attempt.Status != 500 {
			t.Errorf("the first attempt in the log: %+v", first)
		}
	})
}

// TestRetryAfter wants receivers to be left alone for as long as they ask.
func TestRetryAfter(t *testing.T) {
	virtual(t, nil, func(w *world) {
		ask := func(d time.Duration) receiver {
			return func(_ context.Context, n int, _ made) webhook.Attempt {
				if n > 1 {
					return answer(200)
				}
				a := answer(429)
				a.RetryAfter = d
				return a
			}
		}
		w.endpoint("hour", ask(time.Hour), schedule(0, time.Minute))
		w.endpoint("short", ask(time.Second), schedule(0, time.Minute))
		w.endpoint("week", ask(7*24*time.Hour), schedule(0, time.Minute))
		w.publish("e", "a")
		elapse(48 * time.Hour)
		for id, want := range map[string]time.Duration{"hour": time.Hour, "short": time.Minute, "week": 24 * time.Hour} {
			m := w.made(id)
			if len(m) != 2 || m[1].at.Sub(m[0].at) != want {
				t.Errorf("%s: %v, want a wait of %v", id, m, want)
			}
		}
	})
}

// TestPublishWaits wants Publish to return no sooner than the queue has all.
func TestPublishWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowDriver{Memory: queue.NewMemory(queue.MemoryOptions{}), confirm: make(chan struct{})}
		w := &world{T: t, mem: NewMemory(MemoryOptions{}), receive: make(map[string]receiver)}
		w.driver = slow.Memory
		var err error
		if w.broker, err = queue.New(slow, queue.Options{}); err != nil {
			t.Fatal(err)
		}
		w.d = w.another(w.broker, nil)
		defer w.close()
		free := sync.OnceFunc(func() { close(slow.confirm) })
		defer free()
		w.endpoint("a", nil)
		w.endpoint("b", nil, func(e *webhook.Endpoint) { e.Ordered = true })
		w.endpoint("c", nil)
		var done atomic.Bool
		go func() {
			w.publish("e", "a")
			done.Store(true)
		}()
		elapse(time.Second)
		for range 2 { // the fan-out, and the ordered one
			if done.Load() {
				t.Error("Publish has returned before the queue had all")
			}
			slow.confirm <- struct{}{}
			synctest.Wait()
		}
		if !done.Load() {
			t.Error("Publish has not returned")
		}
		free()
		synctest.Wait()
		for _, id := range []string{"a", "b", "c"} {
			if len(w.made(id)) != 1 {
				t.Errorf("%s: %d attempts", id, len(w.made(id)))
			}
		}
	})
}

// slowDriver confirms what Publish publishes when it is told to.
type slowDriver struct {
	*queue.Memory

	confirm chan struct{}
}

func (d *slowDriver) Publish(ctx context.Context, e *queue.Envelope) queue.Receipt {
	r := d.Memory.Publish(ctx, e)
	if e.Queue == "webhooks" || e.Queue == "webhooks-late" {
		return r
	}
	return slowReceipt{d, r}
}

type slowReceipt struct {
	d *slowDriver
	r queue.Receipt
}

func (r slowReceipt) Wait(ctx context.Context) error {
	select {
	case <-r.d.confirm:
		return r.r.Wait(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestPublishTwice wants an event that is published again, as after an error, once.
func TestPublishTwice(t *testing.T) {
	virtual(t, nil, func(w *world) {
		w.endpoint("a", nil)
		w.publish("one", "a")
		w.publish("one", "a")
		w.endpoint("b", nil)
		w.endpoint("o", nil, func(e *webhook.Endpoint) { e.Ordered = true })
		w.publish("all", "a")
		w.publish("all", "a")
		synctest.Wait()
		if a, b, o := len(w.made("a")), len(w.made("b")), len(w.made("o")); a != 2 || b != 1 || o != 1 {
			t.Errorf("%d, %d and %d attempts", a, b, o)
		}
	})
}

func TestPublishRefused(t *testing.T) {
	virtual(t, func(o *Options) { o.MaxEventBytes = 100 }, func(w *world) {
		w.endpoint("a", nil)
		for name, e := range map[string]webhook.Event{
			"no type":    {Data: 1},
			"type":       {Type: "a b", Data: 1},
			"id":         {ID: "a.b", Type: "a"},
			"data":       {Type: "a", Data: make(chan int)},
			"large data": {Type: "a", Data: make([]byte, 100)},
			"time":       {Type: "a", Time: time.Unix(-1, 0)},
		} {
			if _, err := w.d.Publish(w.Context(), e); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.mem.Events.log.limit = 0
		synctest.Wait()
		if n := len(w.made("a")); n != 0 {
			t.Errorf("%d attempts", n)
		}
		if s := w.d.Stats(); s.Refused != 6 || s.Accepted != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// fullEvents is a store without room.
type fullEvents struct {
	Events

	full atomic.Bool
}

func (e *fullEvents) Bounded() bool { return true }

func (e *fullEvents) Append(ctx context.Context, s Stored) error {
	if e.full.Load() {
		return ErrFull
	}
	return e.Events.Append(ctx, s)
}

// TestFull wants an event that the store has no room for to be refused and not delivered,
// and what was accepted before to be delivered all the same.
func TestFull(t *testing.T) {
	var store *fullEvents
	virtual(t, func(o *Options) {
		store = &fullEvents{Events: o.Events}
		o.Events = store
	}, func(w *world) {
		w.endpoint("a", nil)
		w.endpoint("o", func(_ context.Context, n int, _ made) webhook.Attempt {
			return answer(map[bool]int{true: 500, false: 200}[n == 1])
		}, schedule(0, time.Minute), func(e *webhook.Endpoint) { e.Ordered = true })
		w.publish("before", "a")
		synctest.Wait()
		store.full.Store(true)
		if _, err := w.d.Publish(w.Context(), webhook.Event{ID: "refused", Type: "a"}); !errors.Is(err, ErrFull) {
			t.Errorf("got %v, want ErrFull", err)
		}
		elapse(time.Hour)
		store.full.Store(false)
		w.publish("after", "a")
		elapse(time.Hour)
		for id, want := range map[string][]string{"a": {"before", "after"}, "o": {"before", "before", "after"}} {
			var got []string
			for _, m := range w.made(id) {
				got = append(got, m.event)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s got %v, want %v", id, got, want)
			}
		}
	})
}

// TestFanoutOnce ends a program in the middle of a fan-out.
func TestFanoutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, mem: NewMemory(MemoryOptions{}), receive: make(map[string]receiver)}
		w.driver = queue.NewMemory(queue.MemoryOptions{})
		first := w.driver.Connect()
		cut := &cuttingDriver{Memory: first, after: 40}
		b, err := queue.New(cut, queue.Options{PublishTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		dying := w.another(b, nil)
		w.d, w.broker = dying, b
		defer w.close() // of whichever it is then
		const endpoints = 60
		for i := range endpoints {
			w.endpoint(fmt.Sprint("e", i), nil)
		}
		w.publish("event", "a") // the 1st message; 39 of the fan-out follow
		synctest.Wait()
		first.Kill()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = dying.Shutdown(ctx)
		_ = b.Close()
		w.open(nil)
		elapse(time.Minute)
		for i := range endpoints {
			id := fmt.Sprint("e", i)
			if n := len(w.made(id)); n < 1 || n > 2 {
				t.Errorf("%s: %d attempts", id, n)
			}
		}
		if n := len(w.attempts); n > endpoints+40 {
			t.Errorf("%d attempts for %d endpoints", n, endpoints)
		}
	})
}

// cuttingDriver loses its broker after so many messages.
type cuttingDriver struct {
	*queue.Memory

	n     atomic.Int64
	after int64
}

type lostReceipt struct{}

func (lostReceipt) Wait(context.Context) error { return queue.ErrUnavailable }

func (d *cuttingDriver) Publish(ctx context.Context, e *queue.Envelope) queue.Receipt {
	if d.n.Add(1) > d.after {
		return lostReceipt{}
	}
	return d.Memory.Publish(ctx, e)
}

// TestRestart closes the dispatcher with deliveries in all places.
func TestRestart(t *testing.T) {
	virtual(t, nil, func(w *world) {
		w.endpoint("slow", after(10*time.Second, 200), func(e *webhook.Endpoint) { e.Concurrency = 2 })
		w.endpoint("failing", func(_ context.Context, n int, _ made) webhook.Attempt {
			return answer(map[bool]int{true: 500, false: 200}[n <= 5])
		},
			schedule(0, time.Hour, time.Hour))
		w.endpoint("ordered", func(_ context.Context, n int, _ made) webhook.Attempt {
			return answer(map[bool]int{true: 500, false: 200}[n == 1])
		},
			schedule(0, time.Hour), func(e *webhook.Endpoint) { e.Ordered = true })
		for i := range 5 {
			w.publish(fmt.Sprint("e", i), "a")
		}
		elapse(3 * time.Second)
		w.close()
		w.open(nil)
		elapse(3 * time.Hour)
		for _, id := range []string{"slow", "failing", "ordered"} {
			if n := w.states(id)[StateDelivered]; n != 5 {
				t.Errorf("%s: %d delivered, want 5", id, n)
			}
		}
		if n := len(w.made("failing")); n != 10 {
			t.Errorf("failing: %d attempts, want 10", n)
		}
		m := w.made("ordered")
		if len(m) != 6 || m[0].event != m[1].event || m[1].try != 2 || m[1].at.Sub(m[0].at) != time.Hour {
			t.Errorf("ordered: %v, want the second try an hour after the first", m)
		}
	})
}

// TestLogFails wants what a receiver has to stay delivered though the store of attempts
// fails, and what was given up to be seen.
func TestLogFails(t *testing.T) {
	bad := &badAttempts{}
	var failed atomic.Int64
	virtual(t, func(o *Options) {
		o.Attempts = bad
		o.Hooks = []Hooks{{LogFailed: func(Entry, error) { failed.Add(1) }}}
	}, func(w *world) {
		w.endpoint("ok", nil)
		w.endpoint("bad", status(500), schedule(0, time.Minute))
		for i := range 20 {
			w.publish(fmt.Sprint("e", i), "a")
		}
		elapse(time.Hour)
		if n := len(w.made("ok")); n != 20 {
			t.Errorf("%d attempts, want 20", n)
		}
		if n := len(w.made("bad")); n != 40 {
			t.Errorf("%d attempts, want 40", n)
		}
		if failed.Load() != 60 || w.d.Stats().LogFailed != 60 {
			t.Errorf("%d calls of the hook, %+v", failed.Load(), w.d.Stats())
		}
		page, err := w.broker.Dead("webhooks-late").List(w.Context(), queue.DeadFilter{}, "", 0)
		if err != nil || len(page.Letters) != 20 {
			t.Errorf("%d dead letters, %v, want the 20 that failed", len(page.Letters), err)
		}
		bad.well.Store(true)
		w.publish("again", "a")
		elapse(time.Hour)
		if failed.Load() != 60 || bad.kept.Load() != 3 {
			t.Errorf("%d kept, %d failed", bad.kept.Load(), failed.Load()-60)
		}
	})
}

type badAttempts struct {
	MemoryAttempts

	well atomic.Bool
	kept atomic.Int64
}

func (b *badAttempts) Append(context.Context, Entry) error {
	if !b.well.Load() {
		return errors.New("no room")
	}
	b.kept.Add(1)
	return nil
}

// TestOrdered wants events one by one, in their order, whatever fails.
func TestOrdered(t *testing.T) {
	virtual(t, nil, func(w *world) {
		var running, most atomic.Int64
		w.endpoint("o", func(ctx context.Context, n int, m made) webhook.Attempt {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			sleep(ctx, time.Second)
			if m.event == "e3" && m.try < 3 || m.event == "e5" {
				return answer(500)
			}
			return answer(200)
		}, schedule(0, time.Minute, time.Hour), func(e *webhook.Endpoint) { e.Ordered = true })
		w.endpoint("other", nil)
		for i := range 10 {
			w.publish(fmt.Sprint("e", i), "a")
		}
		elapse(24 * time.Hour)
		var order []string
		for _, e := range w.entries("o") {
			if e.State.Final() {
				order = append(order, e.Attempt.ID)
			}
		}
		if want := []string{"e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9"}; !slices.Equal(order, want) {
			t.Errorf("got %v", order)
		}
		if most.Load() != 1 || len(w.made("o")) != 14 || len(w.made("other")) != 10 {
			t.Errorf("%d at a time, %d and %d attempts", most.Load(), len(w.made("o")), len(w.made("other")))
		}
		// One that waits does not hold up its end.
		w.publish("e5", "a")
		w.publish("e20", "a")
		elapse(30 * time.Second)
		if err := w.d.Remove(w.Context(), "o"); err != nil {
			t.Error(err)
		}
		elapse(time.Hour)
		if n := len(w.made("o")); n != 15 {
			t.Errorf("%d attempts, want 15", n)
		}
	})
}

// TestNotOurs puts messages of others into the queues.
func TestNotOurs(t *testing.T) {
	virtual(t, nil, func(w *world) {
		for _, name := range []string{"webhooks", "webhooks-late", "webhooks-fanout"} {
			if err := w.broker.Publish(w.Context(), queue.Message{Queue: name, Kind: "x"}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			page, err := w.broker.Dead(name).List(w.Context(), queue.DeadFilter{}, "", 0)
			if err != nil || len(page.Letters) != 1 || page.Letters[0].Reason != queue.ReasonDiscarded {
				t.Errorf("%s: %v, %v", name, page, err)
			}
		}
	})
}
