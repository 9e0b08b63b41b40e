package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
)

func TestEndpoints(t *testing.T) {
	virtual(t, nil, func(w *world) {
		ctx := w.Context()
		e := webhook.Endpoint{URL: "https://a.example.com/secret-path", Types: []string{"*"}, Headers: webhook.Headers{"X-Key": "hidden-value"}}
		r, secret, err := w.d.Add(ctx, e)
		if err != nil || r.Endpoint.ID == "" || secret.IsZero() || r.Created.IsZero() {
			t.Fatalf("add: %+v, %v", r, err)
		}
		id := r.Endpoint.ID
		encoded, err := json.Marshal(r.Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		prints := fmt.Sprintf("%v %+v %#v %s %v %+v %s", r, r, r, encoded, w.d.Endpoints(), w.d.Stats(), []any{r, &r})
		for _, hidden := range []string{strings.TrimPrefix(secret.Reveal(), "whsec_"), "hidden-value"} {
			if strings.Contains(prints, hidden) {
				t.Errorf("%s is in %s", hidden, prints)
			}
		}
		own := webhook.GenerateSecret()
		if _, made, err := w.d.Add(ctx, webhook.Endpoint{ID: "own", URL: e.URL, Types: e.Types, Secrets: []webhook.Secret{own}}); err != nil || !made.IsZero() {
			t.Errorf("an endpoint with its own secret: %v, %v", made, err)
		}
		if _, _, err := w.d.Add(ctx, webhook.Endpoint{ID: "own", URL: e.URL, Types: e.Types}); !errors.Is(err, ErrConflict) {
			t.Errorf("added twice: %v", err)
		}
		for name, url := range map[string]string{"inside": "https://10.0.0.1/", "http": "http://a.example.com/", "none": ""} {
			if _, _, err := w.d.Add(ctx, webhook.Endpoint{URL: url, Types: e.Types}); !errors.Is(err, webhook.ErrEndpoint) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := w.d.Update(ctx, id, func(e *webhook.Endpoint) error { e.URL = url; return nil }); !errors.Is(err, webhook.ErrEndpoint) {
				t.Errorf("%s, by an update: %v", name, err)
			}
		}
		for name, change := range map[string]func(e *webhook.Endpoint){
			"id": func(e *webhook.Endpoint) { e.ID = "other" }, "order": func(e *webhook.Endpoint) { e.Ordered = true },
		} {
			if _, err := w.d.Update(ctx, id, func(e *webhook.Endpoint) error { change(e); return nil }); !errors.Is(err, ErrInvalid) {
				t.Errorf("a change of its %s: %v", name, err)
			}
		}
		stop := errors.New("no")
		if _, err := w.d.Update(ctx, id, func(*webhook.Endpoint) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("an update that was refused: %v", err)
		}
		for name, err := range map[string]error{
			"enable": w.d.Enable(ctx, "none"), "disable": w.d.Disable(ctx, "none", ""), "remove": w.d.Remove(ctx, "none"),
			"replay": w.d.Replay(ctx, "none", "e"), "replay of no event": w.d.Replay(ctx, id, "none"),
		} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := w.d.Rotate(ctx, id, RotateOptions{Grace: 1000 * time.Hour}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a grace of 1000 h: %v", err)
		}
		if err := w.d.Remove(ctx, id); err != nil {
			t.Error(err)
		}
		if _, err := w.d.Endpoint(ctx, id); !errors.Is(err, ErrNotFound) || len(w.d.Endpoints()) != 1 {
			t.Errorf("removed: %v, %v", err, w.d.Endpoints())
		}
	})
}

// TestUpdatesAtOnce changes one endpoint from two programs: no change may get lost.
func TestUpdatesAtOnce(t *testing.T) {
	virtual(t, nil, func(w *world) {
		w.endpoint("a", nil, func(e *webhook.Endpoint) { e.Rate = 1; e.Burst = 1 })
		other := w.another(w.broker, func(o *Options) { o.PublishOnly = true })
		var wg sync.WaitGroup
		for _, d := range []*Dispatcher{w.d, other} {
			for range 20 {
				wg.Go(func() {
					if _, err := d.Update(w.Context(), "a", func(e *webhook.Endpoint) error { e.Burst++; return nil }); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		synctest.Wait()
		for _, d := range []*Dispatcher{w.d, other} {
			if n := d.Endpoints()[0].Endpoint.Burst; n != 41 {
				t.Errorf("%d changes", n-1)
			}
		}
		if err := other.Shutdown(w.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestOthersChanges wants what one program changes to hold in another at once.
func TestOthersChanges(t *testing.T) {
	virtual(t, nil, func(w *world) {
		b, err := queue.New(w.driver.Connect(), queue.Options{})
		if err != nil {
			t.Fatal(err)
		}
		other := w.another(b, nil)
		publish := func(id string, want int) {
			t.Helper()
			r, err := other.Publish(w.Context(), webhook.Event{ID: id, Type: "a"})
			if err != nil || r.Endpoints != want {
				t.Errorf("%s goes to %d, want %d: %v", id, r.Endpoints, want, err)
			}
			elapse(time.Minute)
		}
		w.endpoint("a", nil)
		w.endpoint("o", nil, func(e *webhook.Endpoint) { e.Ordered = true })
		synctest.Wait()
		publish("e1", 2)
		if err := w.d.Disable(w.Context(), "a", "by hand"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		publish("e2", 1)
		if err := w.d.Enable(w.Context(), "a"); err != nil {
			t.Error(err)
		}
		if err := w.d.Remove(w.Context(), "o"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		publish("e3", 1)
		w.endpoint("o", nil, func(e *webhook.Endpoint) { e.Ordered = true }) // again
		synctest.Wait()
		publish("e4", 2)
		if a, o := len(w.made("a")), len(w.made("o")); a != 3 || o != 3 {
			t.Errorf("%d and %d attempts", a, o)
		}
		if err := errors.Join(other.Shutdown(w.Context()), b.Shutdown(w.Context())); err != nil {
			t.Error(err)
		}
	})
}

// TestGone wants an endpoint that is gone to be disabled at once, and the operators to
// be told.
func TestGone(t *testing.T) {
	var told atomic.Int64
	virtual(t, func(o *Options) {
		o.Operations = "ops"
		o.Hooks = []Hooks{{Disabled: func(endpoint, _ string) {
			if endpoint == "a" {
				told.Add(1)
			}
		}}}
	}, func(w *world) {
		w.endpoint("ops", nil, func(e *webhook.Endpoint) { e.Types = []string{"none"} })
		w.endpoint("nosy", nil)
		w.endpoint("a", func(_ context.Context, n int, _ made) webhook.Attempt {
			return answer(map[bool]int{true: 500, false: 410}[n <= 3])
		}, schedule(0, time.Hour))
		for i := range 3 {
			w.publish(fmt.Sprint("early", i), "a")
		}
		elapse(time.Minute)
		w.publish("e", "a")
		synctest.Wait()
		r, err := w.d.Endpoint(w.Context(), "a")
		if err != nil || !r.Endpoint.Disabled || !strings.Contains(r.Endpoint.DisabledReason, "410") {
			t.Errorf("got %+v, %v", r.Endpoint.DisabledReason, err)
		}
		elapse(2 * time.Hour)
		if n := w.states("a"); n[StateScheduled] != 3 || n[StateFailed] != 1 || n[StateDropped] != 3 || len(w.made("a")) != 4 {
			t.Errorf("the log has %v", n)
		}
		if len(w.made("ops")) != 1 || !strings.Contains(w.made("ops")[0].body, `"endpoint":"a"`) || told.Load() != 1 {
			t.Errorf("the operators got %v, the hook %d", w.made("ops"), told.Load())
		}
		for _, m := range w.made("nosy") {
			if strings.Contains(m.body, TypeDisabled) {
				t.Errorf("another endpoint got %s", m.body)
			}
		}
		w.mu.Lock()
		w.receive["a"] = nil
		w.mu.Unlock()
		if err := w.d.Enable(w.Context(), "a"); err != nil {
			t.Error(err)
		}
		n, err := w.d.ReplayFailed(w.Context(), "a", time.Time{}, ReplayOptions{})
		elapse(time.Minute)
		if err != nil || n != 4 || w.states("a")[StateDelivered] != 4 {
			t.Errorf("%d replayed, %v, %v", n, w.states("a"), err)
		}
	})
}

// TestLongFailure wants an endpoint that fails for five days to be disabled, and no other.
func TestLongFailure(t *testing.T) {
	virtual(t, nil, func(w *world) {
		start := time.Now()
		w.endpoint("dead", status(500), schedule(0))
		w.endpoint("sick", func(_ context.Context, n int, _ made) webhook.Attempt {
			return answer(map[bool]int{true: 200, false: 500}[n%100 == 0])
		}, schedule(0))
		w.endpoint("rare", status(500), func(e *webhook.Endpoint) { e.Types = []string{"rare"} }, schedule(0))
		for hour := range 15 * 24 {
			w.publish(fmt.Sprint("e", hour), "a")
			if hour%(7*24) == 0 {
				w.publish(fmt.Sprint("r", hour), "rare")
			}
			elapse(time.Hour)
			if hour == 50 { // what was seen outlives the program
				w.close()
				w.open(nil)
			}
		}
		for id, want := range map[string]bool{"dead": true, "sick": false, "rare": false} {
			r, err := w.d.Endpoint(w.Context(), id)
			if err != nil || r.Endpoint.Disabled != want {
				t.Errorf("%s: disabled is %v, want %v: %q %v", id, r.Endpoint.Disabled, want, r.Endpoint.DisabledReason, err)
			}
		}
		m := w.made("dead")
		if last := m[len(m)-1].at.Sub(start); last < 5*24*time.Hour || last > 5*24*time.Hour+2*time.Hour {
			t.Errorf("it was disabled after %v", last)
		}
		if s := w.d.Stats(); s.Disabled != 1 || s.Endpoints["dead"].Enabled || s.Endpoints["sick"].FailingSince.IsZero() {
			t.Errorf("stats: %+v", s)
		}
	})
}

// TestHealthKept wants what is known of an endpoint to be saved when the store is well again.
func TestHealthKept(t *testing.T) {
	bad := &badEndpoints{}
	virtual(t, func(o *Options) { bad.Endpoints = o.Endpoints; o.Endpoints = bad }, func(w *world) {
		w.endpoint("a", status(410))
		bad.broken.Store(true)
		w.publish("e1", "a")
		elapse(time.Minute)
		w.publish("e2", "a")
		elapse(time.Minute)
		if n := len(w.made("a")); n != 1 {
			t.Errorf("%d attempts at one that is gone", n)
		}
		bad.broken.Store(false)
		elapse(time.Minute)
		if r, err := w.d.Endpoint(w.Context(), "a"); err != nil || !r.Endpoint.Disabled {
			t.Errorf("it is not disabled: %v", err)
		}
	})
}

type badEndpoints struct {
	Endpoints

	broken atomic.Bool
}

func (b *badEndpoints) Save(ctx context.Context, r Record) (uint64, error) {
	if b.broken.Load() {
		return 0, errors.New("no room")
	}
	return b.Endpoints.Save(ctx, r)
}

// TestWatchBreaks ends the watch: it is begun again, and what was missed is made up for.
func TestWatchBreaks(t *testing.T) {
	flaky := &flakyEndpoints{}
	virtual(t, func(o *Options) {
		flaky.Endpoints, flaky.end = o.Endpoints, make(chan struct{})
		o.Endpoints = flaky
	}, func(w *world) {
		w.endpoint("a", nil)
		w.endpoint("b", nil)
		synctest.Wait()
		close(flaky.end)
		synctest.Wait()
		if w.d.Stats().Watching == "" {
			t.Error("nobody says that the watch has ended")
		}
		r, err := w.mem.Endpoints.Load(w.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.mem.Endpoints.Delete(w.Context(), "a", r.Revision); err != nil {
			t.Fatal(err)
		}
		elapse(2 * time.Second)
		if got := w.d.Endpoints(); len(got) != 1 || got[0].Endpoint.ID != "b" || w.d.Stats().Watching != "" {
			t.Errorf("got %v, %q", got, w.d.Stats().Watching)
		}
	})
}

type flakyEndpoints struct {
	Endpoints

	end chan struct{}
}

func (f *flakyEndpoints) Watch(ctx context.Context, visit func(Change)) error {
	select {
	case <-f.end:
		return f.Endpoints.Watch(ctx, visit)
	default:
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-f.end:
			cancel()
		case <-ctx.Done():
		}
	}()
	return f.Endpoints.Watch(ctx, visit)
}

// TestStart wants a dispatcher not to start without its endpoints, and not with nonsense.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := NewMemory(MemoryOptions{})
		b, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
		if err != nil {
			t.Fatal(err)
		}
		client, err := webhook.NewClient(webhook.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		good := Options{Broker: b, Client: client, Endpoints: mem.Endpoints, Events: mem.Events, Attempts: mem.Attempts}
		for name, change := range map[string]func(o *Options){
			"broker": func(o *Options) { o.Broker = nil }, "client": func(o *Options) { o.Client = nil },
			"endpoints": func(o *Options) { o.Endpoints = nil }, "name": func(o *Options) { o.Name = "a b" },
			"concurrency": func(o *Options) { o.Concurrency = 5000 }, "lease": func(o *Options) { o.Lease = 1 },
			"breaker": func(o *Options) { o.Breaker.Rate = 2 }, "operations": func(o *Options) { o.Operations = "a.b" },
		} {
			o := good
			change(&o)
			if _, err := New(t.Context(), o); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		silent := good
		silent.Endpoints = silentEndpoints{mem.Endpoints}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := New(ctx, silent); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without endpoints: %v", err)
		}
		defer func() {
			if err := b.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		d, err := New(t.Context(), good)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(t.Context(), good); !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("two with one name: %v", err)
		}
		if err := errors.Join(d.Shutdown(t.Context()), d.Shutdown(t.Context())); err != nil {
			t.Error(err)
		}
		if _, err := d.Publish(t.Context(), webhook.Event{Type: "a"}); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

type silentEndpoints struct{ Endpoints }

func (silentEndpoints) Watch(ctx context.Context, _ func(Change)) error {
	<-ctx.Done()
	return ctx.Err()
}
