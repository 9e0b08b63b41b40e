package dispatch

import (
	"context"
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

// TestAddedIsWanted wants an endpoint to get all events from the end of Add on,
// whatever is published at the same time.
func TestAddedIsWanted(t *testing.T) {
	w := &world{T: t, mem: NewMemory(MemoryOptions{}), receive: make(map[string]receiver)}
	w.driver = queue.NewMemory(queue.MemoryOptions{})
	w.open(nil)
	defer w.close()
	var wg sync.WaitGroup
	var over atomic.Bool
	defer wg.Wait()
	defer over.Store(true)
	for range 2 {
		wg.Go(func() {
			for !over.Load() { // asks who wants it, and so remembers it
				w.d.wanting("a")
			}
		})
	}
	for i := range 300 {
		id := fmt.Sprint("e", i)
		w.endpoint(id, nil)
		if !slices.ContainsFunc(w.d.wanting("a"), func(t *target) bool { return t.id == id }) {
			t.Fatalf("%s was added, and no event goes to it", id)
		}
		if _, err := w.d.Update(t.Context(), id, func(e *webhook.Endpoint) error { e.Types = []string{"b"}; return nil }); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(w.d.wanting("a"), func(t *target) bool { return t.id == id }) {
			t.Fatalf("%s wants other types now, and gets the old ones", id)
		}
	}
}

// TestFoundIsComplete wants deliveries to a new endpoint, which many workers look up at
// once, to be made at once.
func TestFoundIsComplete(t *testing.T) {
	for range 30 {
		virtual(t, nil, func(w *world) {
			w.endpoint("a", nil)
			w.d.remove("a") // this program does not know it
			for i := range 50 {
				del := delivery{endpoint: "a", try: 1, event: Stored{ID: fmt.Sprint("e", i), Type: "a", Data: []byte("1"), Time: time.Now(), Accepted: time.Now()}}
				if err := w.broker.Publish(t.Context(), del.message("webhooks")); err != nil {
					t.Fatal(err)
				}
			}
			elapse(5 * time.Second)
			if n := w.states("a")[StateDelivered]; n != 50 {
				t.Errorf("%d of 50 were delivered", n)
			}
		})
	}
}

// meddled is a store of endpoints with somebody else at it.
type meddled struct {
	*MemoryEndpoints

	saved func(r Record) // is called before Save returns
}

func (m *meddled) Save(ctx context.Context, r Record) (uint64, error) {
	revision, err := m.MemoryEndpoints.Save(ctx, r)
	if err == nil && m.saved != nil {
		r.Revision = revision
		m.saved(r)
	}
	return revision, err
}

// TestRemovedStaysRemoved removes an endpoint while this program saves a change of it.
func TestRemovedStaysRemoved(t *testing.T) {
	var store *meddled
	virtual(t, func(o *Options) {
		store = &meddled{MemoryEndpoints: o.Endpoints.(*MemoryEndpoints)}
		o.Endpoints = store
	}, func(w *world) {
		w.endpoint("a", nil)
		store.saved = func(r Record) {
			if err := store.Delete(t.Context(), "a", r.Revision); err != nil {
				t.Error(err)
			}
			synctest.Wait() // it is known here
		}
		if _, err := w.d.Rotate(t.Context(), "a", RotateOptions{}); err != nil {
			t.Error(err)
		}
		store.saved = nil
		if l := w.d.Endpoints(); len(l) != 0 {
			t.Errorf("it is listed: %v", l)
		}
		w.publish("e", "a")
		elapse(time.Minute)
		if n := len(w.made("a")); n != 0 {
			t.Errorf("%d attempts at an endpoint that is not there", n)
		}
		w.endpoint("a", nil)
		w.publish("f", "a")
		elapse(time.Minute)
		if n := len(w.made("a")); n != 1 {
			t.Errorf("%d attempts at one that was added again", n)
		}
	})
}

// TestOrderedAgain removes an ordered endpoint whose attempt hangs, by another program,
// and adds it again: nobody else waits for that, and its events are delivered.
func TestOrderedAgain(t *testing.T) {
	virtual(t, nil, func(w *world) {
		ordered := func(e *webhook.Endpoint) { e.Ordered = true }
		w.endpoint("o", after(8*time.Second, 200), ordered)
		w.publish("e0", "a")
		elapse(time.Second)
		other := w.another(w.broker, func(o *Options) { o.PublishOnly = true })
		defer func() {
			if err := other.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		if err := other.Remove(t.Context(), "o"); err != nil {
			t.Fatal(err)
		}
		add := webhook.Endpoint{ID: "quick", URL: "https://quick.example.com/", Types: []string{"*"}}
		if _, _, err := other.Add(t.Context(), add); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if l := w.d.Endpoints(); len(l) != 1 || l[0].Endpoint.ID != "quick" {
			t.Errorf("what another program changes waits for an attempt: %v", l)
		}
		again := webhook.Endpoint{ID: "o", URL: "https://o.example.com/", Types: []string{"*"}, Ordered: true}
		if _, _, err := other.Add(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 3 {
			w.publish(fmt.Sprint("f", i), "a")
		}
		elapse(5 * time.Minute)
		var got []string
		for _, e := range w.entries("o") {
			got = append(got, e.Attempt.ID)
		}
		if want := []string{"e0", "f0", "f1", "f2"}; !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
	})
}

// TestToldOnce has a store that takes long to learn that an endpoint was disabled: the
// operations' endpoint is told once.
func TestToldOnce(t *testing.T) {
	virtual(t, func(o *Options) {
		store := &meddled{MemoryEndpoints: o.Endpoints.(*MemoryEndpoints)}
		store.saved = func(r Record) {
			if r.Endpoint.Disabled {
				sleep(context.Background(), 9*time.Second)
			}
		}
		o.Endpoints, o.Operations = store, "ops"
	}, func(w *world) {
		w.endpoint("ops", nil, func(e *webhook.Endpoint) { e.Types = []string{"none"} })
		w.endpoint("a", status(410))
		elapse(8 * time.Second) // in the middle of the next save the state is looked at
		w.publish("e", "a")
		elapse(time.Hour)
		if n := len(w.made("ops")); n != 1 {
			t.Errorf("it was told %d times", n)
		}
	})
}
