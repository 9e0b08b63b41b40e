package dispatch

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/queue"
	"github.com/polywire/polywire/webhook"
)

// patience bounds waits for real things.
const patience = 60 * time.Second

// real is a dispatcher in real time, whose receivers are HTTP servers on the loopback.
type real struct {
	*testing.T

	mem *Memory
	d   *Dispatcher
}

func newReal(t *testing.T, change func(o *Options)) *real {
	t.Helper()
	b, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := webhook.NewClient(webhook.ClientOptions{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if err != nil {
		t.Fatal(err)
	}
	r := &real{T: t, mem: NewMemory(MemoryOptions{})}
	o := Options{Broker: b, Client: client, Endpoints: r.mem.Endpoints, Events: r.mem.Events, Attempts: r.mem.Attempts}
	if change != nil {
		change(&o)
	}
	if r.d, err = New(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.d.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		client.Close()
	})
	return r
}

func (r *real) serve(h http.HandlerFunc) string {
	r.Helper()
	s := httptest.NewServer(h)
	r.Cleanup(s.Close)
	return s.URL
}

func (r *real) add(e webhook.Endpoint) webhook.Secret {
	r.Helper()
	e.Types = append(e.Types, "*")
	_, secret, err := r.d.Add(r.Context(), e)
	if err != nil {
		r.Fatal(err)
	}
	return secret
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	testenv.Eventually(tb, patience, what, ok)
}

// bomb is 64 MiB of zeros, packed.
func bomb() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for range 64 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	_ = z.Close()
	return b.Bytes()
}

// badReceiver is one that does what it should not, and what is to come of it.
type badReceiver struct {
	h     http.HandlerFunc
	class webhook.Class
	state State
	wait  time.Duration // until the next try, at least
}

func badReceivers(sentinel string, release chan struct{}) map[string]badReceiver {
	packed := bomb()
	retryAfter := func(value string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}
	return map[string]badReceiver{
		"good":     {func(http.ResponseWriter, *http.Request) {}, webhook.ClassOK, StateDelivered, 0},
		"error":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, webhook.ClassStatus, StateScheduled, time.Hour},
		"gone":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }, webhook.ClassGone, StateFailed, 0},
		"seconds":  {retryAfter("7200"), webhook.ClassThrottled, StateScheduled, 2 * time.Hour},
		"date":     {retryAfter(time.Now().Add(3 * time.Hour).UTC().Format(http.TimeFormat)), webhook.ClassThrottled, StateScheduled, 3*time.Hour - 2*time.Second},
		"nonsense": {retryAfter("soon, I hope"), webhook.ClassThrottled, StateScheduled, time.Hour},
		"negative": {retryAfter("-5"), webhook.ClassThrottled, StateScheduled, time.Hour},
		"eternal":  {retryAfter(strings.Repeat("9", 40)), webhook.ClassThrottled, StateScheduled, 24 * time.Hour},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, sentinel, http.StatusMovedPermanently)
		}, webhook.ClassRedirect, StateScheduled, time.Hour},
		"hang": {func(_ http.ResponseWriter, r *http.Request) { waitFor(r, release) }, webhook.ClassTimeout, StateScheduled, time.Hour},
		"drip": {func(w http.ResponseWriter, r *http.Request) {
			for range 1000 {
				_, _ = w.Write([]byte("."))
				_ = http.NewResponseController(w).Flush()
				if !sleep(r.Context(), 50*time.Millisecond) {
					return
				}
			}
		}, webhook.ClassOK, StateDelivered, 0}, // 200 came in time
		"drip head": {hijack(func(c net.Conn) {
			for _, ch := range "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1000) {
				if _, err := c.Write([]byte(string(ch))); err != nil {
					return
				}
				sleep(context.Background(), 20*time.Millisecond)
			}
		}), webhook.ClassTimeout, StateScheduled, time.Hour},
		"huge": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			block := make([]byte, 1<<20)
			for range 1024 {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}, webhook.ClassStatus, StateScheduled, time.Hour},
		"bomb": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed)
		}, webhook.ClassOK, StateDelivered, 0},
		"reset": {hijack(func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }), webhook.ClassConnect, StateScheduled, time.Hour},
		"rude":  {hijack(func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n") }), webhook.ClassProtocol, StateScheduled, time.Hour},
	}
}

// TestReceivers has one endpoint for each kind of bad receiver: all are recorded for
// what they are, in bounded memory, and a good one beside them has its event.
func TestReceivers(t *testing.T) {
	var attempts atomic.Int64
	r := newReal(t, func(o *Options) {
		o.Hooks = []Hooks{{Attempted: func(Entry) { attempts.Add(1) }}}
	})
	release := make(chan struct{})
	var once sync.Once
	unblock := func() { once.Do(func() { close(release) }) }
	t.Cleanup(unblock)
	var inside atomic.Int64
	sentinel := r.serve(func(http.ResponseWriter, *http.Request) { inside.Add(1) })
	tests := badReceivers(sentinel, release)
	schedule, err := webhook.NewSchedule(0, 0, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for id, tt := range tests {
		timeout := 30 * time.Second // for a busy machine
		switch {
		case tt.class == webhook.ClassTimeout: // it takes all of it
			timeout = 500 * time.Millisecond
		case id == "drip": // and so does this, whose status has to come in time
			timeout = 3 * time.Second
		}
		r.add(webhook.Endpoint{ID: strings.ReplaceAll(id, " ", "-"), URL: r.serve(tt.h), Timeout: timeout, Schedule: schedule})
	}
	// A port that the system gives nobody.
	r.add(webhook.Endpoint{ID: "closed", URL: "http://127.0.0.1:1025", Schedule: schedule})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := r.d.Publish(t.Context(), webhook.Event{ID: "e", Type: "a", Data: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all have an attempt", func() bool { return attempts.Load() == int64(len(tests)+1) })
	unblock()
	runtime.ReadMemStats(&after)
	entries, err := r.mem.Attempts.Of(t.Context(), "e", time.Time{})
	if err != nil || len(entries) != len(tests)+1 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("%d MiB were allocated", grown>>20)
	}
	for _, e := range entries {
		tt := tests[strings.ReplaceAll(e.Endpoint, "-", " ")]
		if e.Endpoint == "closed" {
			tt.class, tt.state, tt.wait = webhook.ClassConnect, StateScheduled, time.Hour
		}
		if e.Attempt.Class != tt.class || e.State != tt.state || len(e.Attempt.Body) > webhook.MaxAttemptBodyBytes {
			t.Errorf("%s: %v, %s, %d bytes, want %v, %s: %s", e.Endpoint, e.Attempt.Class, e.State, len(e.Attempt.Body), tt.class, tt.state, e.Attempt.Error)
		}
		if wait := e.Next.Sub(e.Attempt.Start); tt.wait > 0 && (wait < tt.wait || wait > tt.wait+time.Minute) {
			t.Errorf("%s: the next try is after %v, want %v", e.Endpoint, wait, tt.wait)
		}
	}
	if inside.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func waitFor(r *http.Request, release chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-release:
	}
}

// hijack answers by hand.
func hijack(f func(c net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		f(c)
		_ = c.Close()
	}
}

// TestRotation replaces a secret again and again while events go out: the receiver, who
// learns each new one a moment later, verifies all.
func TestRotation(t *testing.T) {
	var open sync.Map // events that were not delivered yet
	room := make(chan struct{}, 50)
	r := newReal(t, func(o *Options) {
		o.Hooks = []Hooks{{Attempted: func(e Entry) {
			open.Delete(e.Attempt.ID)
			<-room
		}}}
	})
	// barrier waits for all events that are published by now.
	barrier := func() {
		t.Helper()
		var ids []any
		open.Range(func(id, _ any) bool { ids = append(ids, id); return true })
		eventually(t, "all events so far are delivered", func() bool {
			return !slices.ContainsFunc(ids, func(id any) bool { _, there := open.Load(id); return there })
		})
	}
	var known atomic.Pointer[webhook.Verifier]
	var failed atomic.Pointer[error]
	var n atomic.Int64
	learn := func(s webhook.Secret) { // and forget the one before
		v, err := webhook.NewVerifier(webhook.VerifierOptions{}, s)
		if err != nil {
			t.Fatal(err)
		}
		known.Store(v)
	}
	url := r.serve(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		if _, err := known.Load().Verify(req.Header, body); err != nil {
			failed.Store(&err)
			w.WriteHeader(http.StatusUnauthorized)
		}
		n.Add(1)
	})
	learn(r.add(webhook.Endpoint{ID: "a", URL: url}))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case room <- struct{}{}:
				}
				id := fmt.Sprint("e", k, "-", i)
				open.Store(id, true)
				if _, err := r.d.Publish(t.Context(), webhook.Event{ID: id, Type: "a"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		secret, err := r.d.Rotate(t.Context(), "a", RotateOptions{Grace: time.Hour})
		if err != nil {
			// A signer has sixteen at most: the oldest has to go first.
			if _, err := r.d.Update(t.Context(), "a", func(e *webhook.Endpoint) error { e.Secrets = e.Secrets[:1]; return nil }); err != nil {
				t.Fatal(err)
			}
			continue
		}
		barrier() // what goes out from here on has both signatures
		before := n.Load()
		eventually(t, "events go out under two secrets", func() bool { return n.Load() > before+20 })
		learn(secret)
		eventually(t, "and under the new one", func() bool { return n.Load() > before+40 })
	}
	close(stop)
	wg.Wait()
	if err := failed.Load(); err != nil {
		t.Errorf("one of %d was not verified: %v", n.Load(), *err)
	}
}

// TestRetired wants a secret to sign until its grace is over, and no longer.
func TestRetired(t *testing.T) {
	r := newReal(t, nil)
	signatures := make(chan int, 10)
	url := r.serve(func(_ http.ResponseWriter, req *http.Request) {
		signatures <- len(strings.Fields(req.Header.Get("Webhook-Signature")))
	})
	r.add(webhook.Endpoint{ID: "a", URL: url})
	publish := func() int {
		t.Helper()
		if _, err := r.d.Publish(t.Context(), webhook.Event{Type: "a"}); err != nil {
			t.Fatal(err)
		}
		return <-signatures
	}
	if n := publish(); n != 1 {
		t.Errorf("%d signatures", n)
	}
	start := time.Now()
	if _, err := r.d.Rotate(t.Context(), "a", RotateOptions{Grace: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if n := publish(); n != 2 && time.Since(start) < 2*time.Second {
		t.Errorf("%d signatures within the grace", n)
	}
	eventually(t, "the old secret signs no more", func() bool { return publish() == 1 })
	if took := time.Since(start); took < 2*time.Second {
		t.Errorf("it did so after %v", took)
	}
	if _, err := r.d.Rotate(t.Context(), "a", RotateOptions{Grace: -1}); err != nil {
		t.Fatal(err)
	}
	if n := publish(); n != 1 {
		t.Errorf("%d signatures after a rotation without grace", n)
	}
}

// TestTraceless wants each request of one event to be the same but for its time.
func TestTraceless(t *testing.T) {
	r := newReal(t, nil)
	type request struct{ id, body, stamp string }
	got := make(chan request, 10)
	url := r.serve(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		got <- request{req.Header.Get("Webhook-Id"), string(body), req.Header.Get("Webhook-Timestamp")}
		w.WriteHeader(http.StatusBadGateway)
	})
	schedule, err := webhook.NewSchedule(0, 0, 1100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	r.add(webhook.Endpoint{ID: "a", URL: url, Schedule: schedule})
	if _, err := r.d.Publish(t.Context(), webhook.Event{ID: "msg", Type: "a", Data: "<ż>"}); err != nil {
		t.Fatal(err)
	}
	first, second := <-got, <-got
	one, _ := strconv.Atoi(first.stamp)
	two, _ := strconv.Atoi(second.stamp)
	if first.id != "msg" || second.id != "msg" || first.body != second.body || two <= one || !strings.Contains(first.body, "<ż>") {
		t.Errorf("got %+v and %+v", first, second)
	}
}
