package dispatch

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
)

// made is an attempt that a receiver has seen.
type made struct {
	endpoint, event string
	try             int
	at              time.Time
	body            string
}

// world is a dispatcher in virtual time, with receivers that are functions.
type world struct {
	*testing.T

	mem    *Memory
	driver *queue.Memory
	broker *queue.Broker
	d      *Dispatcher

	mu       sync.Mutex
	receive  map[string]receiver // by host
	attempts []made
	ends     []time.Time // of the attempts, in no order
}

// receiver answers attempt number n, from 1, that it gets.
type receiver func(ctx context.Context, n int, m made) webhook.Attempt

// virtual runs a test in virtual time.
func virtual(t *testing.T, change func(o *Options), test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, mem: NewMemory(MemoryOptions{Age: 365 * 24 * time.Hour}), receive: make(map[string]receiver)}
		w.driver = queue.NewMemory(queue.MemoryOptions{})
		w.open(change)
		defer w.close() // also when the test gives up: what runs on would be taken for a deadlock
		test(w)
	})
}

// open starts the dispatcher on another connection to the same queues.
func (w *world) open(change func(o *Options)) {
	w.Helper()
	w.driver = w.driver.Connect()
	var err error
	if w.broker, err = queue.New(w.driver, queue.Options{}); err != nil {
		w.Fatal(err)
	}
	w.d = w.another(w.broker, change)
}

func (w *world) another(b *queue.Broker, change func(o *Options)) *Dispatcher {
	w.Helper()
	client, err := webhook.NewClient(webhook.ClientOptions{})
	if err != nil {
		w.Fatal(err)
	}
	o := Options{Broker: b, Client: client, Endpoints: w.mem.Endpoints, Events: w.mem.Events, Attempts: w.mem.Attempts}
	if change != nil {
		change(&o)
	}
	d, err := start(w.Context(), o, w.send)
	if err != nil {
		w.Fatal(err)
	}
	return d
}

func (w *world) close() {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := w.d.Shutdown(ctx); err != nil {
		w.Errorf("close: %v", err)
	}
	if err := w.broker.Shutdown(ctx); err != nil {
		w.Errorf("shutdown: %v", err)
	}
}

// send is the network: the host that a destination prints is who receives.
func (w *world) send(ctx context.Context, to *webhook.Destination, e Stored, body []byte, try int) webhook.Attempt {
	var host string
	if _, err := fmt.Sscanf(to.String(), "webhook destination %q", &host); err != nil {
		panic(err)
	}
	id := host[:len(host)-len(".example.com")]
	m := made{endpoint: id, event: e.ID, try: try, at: time.Now(), body: string(body)}
	w.mu.Lock()
	w.attempts = append(w.attempts, m)
	n := 0
	for _, a := range w.attempts {
		if a.endpoint == id {
			n++
		}
	}
	f := w.receive[id]
	w.mu.Unlock()
	a := webhook.Attempt{Class: webhook.ClassOK, Status: 200}
	if f != nil {
		a = f(ctx, n, m)
	}
	a.ID, a.Try, a.Start, a.Duration = e.ID, try, m.at, time.Since(m.at)
	w.mu.Lock()
	w.ends = append(w.ends, time.Now())
	w.mu.Unlock()
	return a
}

// endpoint adds one, whose requests f receives; nil: 200 at once.
func (w *world) endpoint(id string, f receiver, change ...func(e *webhook.Endpoint)) {
	w.Helper()
	w.mu.Lock()
	w.receive[id] = f
	w.mu.Unlock()
	e := webhook.Endpoint{ID: id, URL: "https://" + id + ".example.com/hook", Types: []string{"*"}}
	for _, c := range change {
		c(&e)
	}
	if _, _, err := w.d.Add(w.Context(), e); err != nil {
		w.Fatal(err)
	}
}

func (w *world) publish(id, eventType string) {
	w.Helper()
	r, err := w.d.Publish(w.Context(), webhook.Event{ID: id, Type: eventType, Data: map[string]string{"id": id}})
	if err != nil || r.ID == "" {
		w.Fatalf("publish: %+v, %v", r, err)
	}
}

// made returns the attempts at an endpoint.
func (w *world) made(endpoint string) []made {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []made
	for _, m := range w.attempts {
		if m.endpoint == endpoint {
			all = append(all, m)
		}
	}
	return all
}

// entries returns an endpoint's log, oldest first.
func (w *world) entries(endpoint string) []Entry {
	w.Helper()
	var all []Entry
	err := w.mem.Attempts.Scan(w.Context(), endpoint, time.Time{}, time.Time{}, func(e Entry) bool {
		all = append(all, e)
		return true
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// states returns how often each state is in an endpoint's log.
func (w *world) states(endpoint string) map[State]int {
	w.Helper()
	n := make(map[State]int)
	for _, e := range w.entries(endpoint) {
		n[e.State]++
	}
	return n
}

// elapse lets time pass, and all that is due happen.
func elapse(d time.Duration) {
	sleep(context.Background(), d)
	synctest.Wait()
}

func status(code int) receiver {
	return func(context.Context, int, made) webhook.Attempt { return answer(code) }
}

func answer(code int) webhook.Attempt {
	class := webhook.ClassStatus
	switch code {
	case 200:
		class = webhook.ClassOK
	case 410:
		class = webhook.ClassGone
	case 429:
		class = webhook.ClassThrottled
	}
	return webhook.Attempt{Class: class, Status: code}
}

// after answers when a time is over.
func after(d time.Duration, code int) receiver {
	return func(ctx context.Context, _ int, _ made) webhook.Attempt {
		if !sleep(ctx, d) {
			return webhook.Attempt{Class: webhook.ClassCanceled}
		}
		return answer(code)
	}
}

func schedule(delays ...time.Duration) func(e *webhook.Endpoint) {
	return func(e *webhook.Endpoint) {
		s, err := webhook.NewSchedule(0, delays...)
		if err != nil {
			panic(err)
		}
		e.Schedule = s
	}
}
