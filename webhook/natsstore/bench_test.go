package natsstore_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/webhook"
	"github.com/polywire/polywire/webhook/dispatch"
	"github.com/polywire/polywire/webhook/dispatch/dispatchtest"
	"github.com/polywire/polywire/webhook/natsstore"
)

// benchData is what the events carry, some 200 bytes.
var benchData = map[string]any{
	"order": 123456, "status": "approved", "amount": "129.90", "currency": "EUR",
	"note": "a payment as they come, with a few words for people to read, and a reference", "ref": "c0ffee00-5198-4599-803e-771906343485",
}

// BenchmarkDeliver is durable deliveries to a local receiver: Publish returned, the
// request was answered, the attempt kept. Publishers are 64 at a time; at most 512
// deliveries are under way. Beside it, in slices by turns so that whatever else the
// machine does meets both, is a bare loop with 32 connections that only signs and posts.
//
// cpu-us/delivery and bare-us/delivery are the CPU time of this process, which has the
// sender, the NATS server and the receiver of both; cpu-ratio is the first through the
// second. deliveries/s counts the time of the slices of deliveries only.
func BenchmarkDeliver(b *testing.B) {
	for name, o := range map[string]natsembed.Options{"sync": {}, "nosync": {NoSync: true}} {
		b.Run(name, func(b *testing.B) { benchDeliver(b, o) })
	}
}

// benchSlice is how many deliveries a slice has.
const benchSlice = 1000

func benchDeliver(b *testing.B, so natsembed.Options) {
	so.Dir = b.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	room := make(chan struct{}, 512)
	var done atomic.Int64
	s, err := newSender(ctx, so, func(o *dispatch.Options) {
		o.Hooks = []dispatch.Hooks{{Attempted: func(e dispatch.Entry) {
			if e.State != dispatch.StateDelivered {
				b.Errorf("an attempt became %s: %s", e.State, e.Attempt.Error)
			}
			done.Add(1)
			<-room
		}}}
	})
	if err != nil {
		b.Fatal(err)
	}
	receiver := benchReceiver(b)
	if _, _, err := s.d.Add(ctx, webhook.Endpoint{URL: receiver, Types: []string{"*"}, Concurrency: 32}); err != nil {
		b.Fatal(err)
	}
	bare := newBare(b, receiver)
	deliver := func(n int) {
		want := done.Load() + int64(n)
		parallel(64, n, func() error {
			room <- struct{}{}
			_, err := s.d.Publish(ctx, webhook.Event{Type: "payment.approved", Data: benchData})
			return err
		}, b.Error)
		eventually(b, "all are delivered", func() bool { return done.Load() >= want })
	}
	deliver(benchSlice) // warm
	parallel(32, benchSlice, bare, b.Error)
	var ours, theirs spent
	b.ResetTimer()
	for left := b.N; left > 0; left -= benchSlice {
		n := min(left, benchSlice)
		ours.measure(b, n, func() { deliver(n) })
		theirs.measure(b, n, func() { parallel(32, n, bare, b.Error) })
	}
	b.StopTimer()
	b.ReportMetric(float64(ours.n)/ours.took.Seconds(), "deliveries/s")
	b.ReportMetric(ours.each(), "cpu-us/delivery")
	b.ReportMetric(theirs.each(), "bare-us/delivery")
	b.ReportMetric(ours.each()/theirs.each(), "cpu-ratio")
	if parked := s.d.Stats().Parked; parked > 0 {
		b.ReportMetric(float64(parked), "parked")
	}
	if err := s.close(ctx); err != nil {
		b.Error(err)
	}
}

// BenchmarkBare is what a program does that only signs and posts, with 32 connections.
func BenchmarkBare(b *testing.B) {
	bare := newBare(b, benchReceiver(b))
	var all spent
	b.ResetTimer()
	all.measure(b, b.N, func() { parallel(32, b.N, bare, b.Error) })
	b.ReportMetric(float64(all.n)/all.took.Seconds(), "deliveries/s")
	b.ReportMetric(all.each(), "cpu-us/delivery")
}

// spent is the time and the CPU time of this process that so many deliveries took.
type spent struct {
	n         int
	took, cpu time.Duration
}

func (s *spent) measure(b *testing.B, n int, f func()) {
	b.Helper()
	runtime.GC() // what the others left is not to be ours
	start, before := time.Now(), cpuTime(b)
	f()
	s.n, s.took, s.cpu = s.n+n, s.took+time.Since(start), s.cpu+cpuTime(b)-before
}

// each is microseconds of CPU time a delivery.
func (s *spent) each() float64 { return float64(s.cpu.Microseconds()) / float64(s.n) }

// parallel calls f n times, so many at a time.
func parallel(at, n int, f func() error, fail func(...any)) {
	var wg sync.WaitGroup
	var begun atomic.Int64
	for range at {
		wg.Go(func() {
			for begun.Add(1) <= int64(n) {
				if err := f(); err != nil {
					fail(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func benchReceiver(b *testing.B) string {
	b.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	b.Cleanup(receiver.Close)
	return receiver.URL
}

// newBare returns what signs one event and posts it.
func newBare(b *testing.B, url string) func() error {
	b.Helper()
	signer, err := webhook.NewSigner(webhook.GenerateSecret())
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: 20 * time.Second}
	b.Cleanup(client.CloseIdleConnections)
	return func() error {
		body, err := webhook.Event{Type: "payment.approved", Time: time.Now(), Data: benchData}.Body(webhook.FormatStandard)
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		if err := signer.SetHeaders(r.Header, webhook.NewID(), time.Now(), body); err != nil {
			return err
		}
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.Body.Close()
	}
}

// BenchmarkNewest writes a million attempts, which takes minutes, and reads the newest
// 50 attempts of an endpoint that has one of 200 in them, of one whose attempts are all
// at their beginning, and of all endpoints. It reports the median, the 99th percentile
// and the worst of the reads, in milliseconds.
func BenchmarkNewest(b *testing.B) {
	const total, endpoints = 1_000_000, 200
	s := open(b, serve(b, natsembed.Options{NoSync: true}), natsstore.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var n atomic.Int64
	parallel(256, total, func() error {
		i := n.Add(1)
		endpoint := fmt.Sprint("ep_", i%endpoints)
		if i <= 1000 {
			endpoint = "old"
		}
		return s.Attempts.Append(ctx, dispatchtest.Entry(endpoint, fmt.Sprint("msg_", i), 1))
	}, b.Fatal)
	for name, endpoint := range map[string]string{"ep_7": "ep_7", "old": "old", "all": ""} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			before := cpuTime(b)
			for b.Loop() {
				start := time.Now()
				p, err := s.Attempts.Newest(ctx, endpoint, "", 50)
				if err != nil || len(p.Entries) != 50 {
					b.Fatalf("%d entries, %v", len(p.Entries), err)
				}
				took = append(took, time.Since(start))
			}
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(len(took)), "cpu-ms/page")
			slices.Sort(took)
			for unit, d := range map[string]time.Duration{"p50-ms": took[len(took)/2], "p99-ms": took[len(took)*99/100], "max-ms": took[len(took)-1]} {
				b.ReportMetric(float64(d.Microseconds())/1000, unit)
			}
		})
	}
}

// BenchmarkNeighbour is how long events take to a good receiver, that answers after 20
// ms: alone, and beside one that hangs with 5,000 queued for it.
func BenchmarkNeighbour(b *testing.B) {
	for name, queued := range map[string]int{"alone": 0, "beside": 5000} {
		b.Run(name, func(b *testing.B) { benchNeighbour(b, queued) })
	}
}

func benchNeighbour(b *testing.B, queued int) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var mu sync.Mutex
	sent := make(map[string]time.Time)
	var took []time.Duration
	s, err := newSender(ctx, natsembed.Options{Dir: b.TempDir(), NoSync: true}, nil)
	if err != nil {
		b.Fatal(err)
	}
	release := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/hang" {
			select {
			case <-release:
			case <-r.Context().Done():
			}
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		pause(20 * time.Millisecond) // the work
		mu.Lock()
		took = append(took, time.Since(sent[r.Header.Get("Webhook-Id")]))
		mu.Unlock()
	}))
	defer receiver.Close()
	for _, id := range []string{"good", "hang"} {
		if _, _, err := s.d.Add(ctx, webhook.Endpoint{ID: id, URL: receiver.URL + "/" + id, Types: []string{id}}); err != nil {
			b.Fatal(err)
		}
	}
	for range queued {
		if _, err := s.d.Publish(ctx, webhook.Event{Type: "hang", Data: benchData}); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		id := webhook.NewID()
		mu.Lock()
		sent[id] = time.Now()
		mu.Unlock()
		if _, err := s.d.Publish(ctx, webhook.Event{ID: id, Type: "good", Data: benchData}); err != nil {
			b.Fatal(err)
		}
		pause(5 * time.Millisecond)
	}
	eventually(b, "all are there", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(took) >= b.N
	})
	b.StopTimer()
	close(release)
	mu.Lock()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	mu.Unlock()
	if err := s.close(ctx); err != nil {
		b.Error(err)
	}
}
