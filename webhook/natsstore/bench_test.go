package natsstore_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
// deliveries are under way.
func BenchmarkDeliver(b *testing.B) {
	for name, o := range map[string]natsembed.Options{"sync": {}, "nosync": {NoSync: true}} {
		b.Run(name, func(b *testing.B) { benchDeliver(b, o) })
	}
}

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
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer receiver.Close()
	if _, _, err := s.d.Add(ctx, webhook.Endpoint{URL: receiver.URL, Types: []string{"*"}, Concurrency: 32}); err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	var n atomic.Int64
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for n.Add(1) <= int64(b.N) {
				room <- struct{}{}
				if _, err := s.d.Publish(ctx, webhook.Event{Type: "payment.approved", Data: benchData}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	eventually(b, "all are delivered", func() bool { return done.Load() >= int64(b.N) })
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
	if parked := s.d.Stats().Parked; parked > 0 {
		b.ReportMetric(float64(parked), "parked")
	}
	if err := s.close(ctx); err != nil {
		b.Error(err)
	}
}

// BenchmarkBare is what a program does that only signs and posts, with 32 connections.
func BenchmarkBare(b *testing.B) {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer receiver.Close()
	signer, err := webhook.NewSigner(webhook.GenerateSecret())
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	var n atomic.Int64
	b.ResetTimer()
	for range 32 {
		wg.Go(func() {
			for n.Add(1) <= int64(b.N) {
				body, err := webhook.Event{Type: "payment.approved", Time: time.Now(), Data: benchData}.Body(webhook.FormatStandard)
				if err != nil {
					b.Error(err)
					return
				}
				r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, receiver.URL, bytes.NewReader(body))
				if err == nil {
					err = signer.SetHeaders(r.Header, webhook.NewID(), time.Now(), body)
				}
				if err != nil {
					b.Error(err)
					return
				}
				resp, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkNewest writes a million attempts, which takes minutes, and reads the newest 50 attempts of an endpoint that has one of 200 in a
// log of a million, and of one whose attempts are all at its beginning.
func BenchmarkNewest(b *testing.B) {
	const total, endpoints = 1_000_000, 200
	s := open(b, serve(b, natsembed.Options{NoSync: true}), natsstore.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var n atomic.Int64
	for range 256 {
		wg.Go(func() {
			for i := n.Add(1); i <= total; i = n.Add(1) {
				endpoint := fmt.Sprint("ep_", i%endpoints)
				if i <= 1000 {
					endpoint = "old"
				}
				if err := s.Attempts.Append(ctx, dispatchtest.Entry(endpoint, fmt.Sprint("msg_", i), 1)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, endpoint := range []string{"ep_7", "old"} {
		b.Run(endpoint, func(b *testing.B) {
			var worst time.Duration
			for b.Loop() {
				start := time.Now()
				p, err := s.Attempts.Newest(ctx, endpoint, "", 50)
				if err != nil || len(p.Entries) != 50 {
					b.Fatalf("%d entries, %v", len(p.Entries), err)
				}
				worst = max(worst, time.Since(start))
			}
			b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
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
