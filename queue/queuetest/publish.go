package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

func everythingArrives(r *run) {
	b := r.open()
	sent := queue.Message{
		Queue: r.queue, ID: "order:4711/a", Key: "customer \u00e9\n", Kind: "orders.cr\u00e9\u00e9",
		Header: map[string]string{
			"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
			"tracestate":  "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
			"X-Mixed":     "Case", "x-mixed": "case", "Empty": "",
			"Odd!#$%&'*+.^_`|~\"(),/;<=>?@[\\]{}": " \tlines\r\nand \u017c\u00f3\u0142\u0107 \u2713 % %41 ",
			strings.Repeat("n", 200):              strings.Repeat("v", 4000),
		},
		Payload: codec.Payload{Type: "application/x; a=\"b c\"", Name: "shop.Order", Data: []byte("\x00\xff{}\r\n")},
	}
	before := time.Now()
	r.publish(b, sent)
	var got *queue.Delivery
	r.handle(b, func(_ context.Context, d *queue.Delivery) error {
		if d.Attempt == 1 {
			got = d
			return errors.New("line one\r\nline two \u2713")
		}
		got.LastError = d.LastError
		compare(r, &d.Message, &sent)
		return nil
	}, queue.HandleOptions{Backoff: queue.Backoff{Min: 50 * time.Millisecond}})
	r.settled()
	compare(r, &got.Message, &sent)
	if got.Attempt != 1 || got.Last || got.Attempts != 0 || got.LastError != "line one\r\nline two \u2713" {
		r.Errorf("attempt %d, last %v, after %d, error %q", got.Attempt, got.Last, got.Attempts, got.LastError)
	}
	if d := got.Published.Sub(before); d < -time.Millisecond || d > time.Minute {
		r.Errorf("published %v after it was", d)
	}
	r.empty(b, 0)
}

// compare checks what a handler or a reader got.
func compare(r *run, got, sent *queue.Message) {
	if got.Queue != sent.Queue || got.ID != sent.ID || got.Key != sent.Key || got.Kind != sent.Kind {
		r.Errorf("got queue %q, id %q, key %q, kind %q", got.Queue, got.ID, got.Key, got.Kind)
	}
	if !maps.Equal(got.Header, sent.Header) {
		r.Errorf("got headers %q, want %q", got.Header, sent.Header)
	}
	if got.Payload.Type != sent.Payload.Type || got.Payload.Name != sent.Payload.Name || !bytes.Equal(got.Payload.Data, sent.Payload.Data) {
		r.Errorf("got payload %.200q, want %.200q", got.Payload, sent.Payload)
	}
	if got.Delay != 0 {
		r.Errorf("got delay %v", got.Delay)
	}
}

func oddNames(r *run) {
	b := r.open()
	suffix := unique("")[:9]
	var mu sync.Mutex
	got := make(map[string]string)
	names := []string{
		"a.b", "a.B", "a b", "a/b", "a*b", "a>b", "a#b", "a%2Eb", "a=b", "a_b", "a-b", `a\b`, "a:b", "a\"b", "a'b", "..", "$a", "@a",
		"\u017c\u00f3\u0142\u0107", "\u2713", strings.Repeat("x", queue.MaxNameBytes-9), strings.Repeat(".", queue.MaxNameBytes-9),
		strings.Repeat("\u00e9", (queue.MaxNameBytes-9)/2),
	}
	for i, name := range names {
		names[i] = name + suffix
		r.publish(b, queue.Message{Queue: names[i], ID: fmt.Sprint("m", i)})
	}
	for _, name := range names {
		err := b.Handle(name, r.ledger.handler(func(_ context.Context, d *queue.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			got[name] += d.ID + d.Queue
			return nil
		}), queue.HandleOptions{})
		if err != nil {
			r.Errorf("%q: %v", name, err)
		}
	}
	r.settled()
	mu.Lock()
	defer mu.Unlock()
	for i, name := range names {
		if got[name] != fmt.Sprint("m", i)+name {
			r.Errorf("%q got %q", name, got[name])
		}
	}
}

func sizes(r *run) {
	b := r.open()
	all := []queue.Message{{ID: "nothing"}, {ID: "typed", Payload: codec.Payload{Type: codec.TypeJSON}}}
	for _, n := range []int{1, 4096, 100_000, r.h.MaxPayloadBytes} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i * 7)
		}
		all = append(all, queue.Message{ID: strconv.Itoa(n), Payload: codec.Payload{Type: codec.TypeBytes, Data: data}})
	}
	sent := make(map[string]queue.Message)
	r.publish(b, all...)
	for _, m := range all {
		sent[m.ID] = m
	}
	r.handle(b, func(_ context.Context, d *queue.Delivery) error {
		if m := sent[d.ID]; d.Payload.Type != m.Payload.Type || !bytes.Equal(d.Payload.Data, m.Payload.Data) {
			r.Errorf("%s: got %q with %d bytes", d.ID, d.Payload.Type, len(d.Payload.Data))
		}
		return nil
	}, queue.HandleOptions{Concurrency: 3})
	r.settled()
}

// bulk is many of everything at once.
func bulk(r *run) {
	const publishers, each = 4, 500
	b := r.open()
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			ms := numbered(fmt.Sprint("p", p), each)
			for part := 0; part < each; part += 100 {
				r.publish(b, ms[part:part+100]...)
			}
		})
	}
	r.handle(b, func(_ context.Context, d *queue.Delivery) error {
		if d.Attempt == 1 && strings.HasSuffix(d.ID, "7") {
			return errors.New("once")
		}
		return nil
	}, queue.HandleOptions{Concurrency: 10, Backoff: queue.Backoff{Min: 20 * time.Millisecond}})
	wg.Wait()
	r.settled()
	r.empty(b, 0)
	if n := r.ledger.duplicates(); n != 0 {
		r.Errorf("%d messages were done twice, and nothing had happened", n)
	}
	// The broker may know the last answer before it has been noted here.
	r.until("nothing is in hand", func() bool { return b.Stats().Queues[r.queue].InHand == 0 })
	s := b.Stats()
	if q := s.Queues[r.queue]; s.Published != publishers*each || q.Done != publishers*each || q.Failed != publishers*each/10 {
		r.Errorf("stats: %+v", s)
	}
}

func publishThatCannotBe(r *run) {
	b := r.open()
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	if err := b.Publish(ctx, queue.Message{Queue: r.queue}); !errors.Is(err, context.Canceled) {
		r.Errorf("with a context that is done: %v", err)
	}
	var batch *queue.BatchError
	err := b.PublishBatch(r.Context(), []queue.Message{{Queue: r.queue, ID: "good"}, {Queue: ""}, {Queue: r.queue, ID: "better"}})
	if !errors.As(err, &batch) || batch.Errs[0] != nil || !errors.Is(batch.Errs[1], queue.ErrInvalid) || batch.Errs[2] != nil {
		r.Errorf("a batch with one that is wrong: %v", err)
	}
	r.ledger.accept("good")
	r.ledger.accept("better")
	r.handle(b, done, queue.HandleOptions{})
	r.settled()
	r.empty(b, 0)
}

func dedup(r *run) {
	b := r.open()
	g := newGate()
	r.handle(b, func(ctx context.Context, d *queue.Delivery) error { return g.pass(ctx) }, queue.HandleOptions{Concurrency: 4})
	r.publish(b, queue.Message{ID: "same"})
	r.until("it is handled", func() bool { return g.waiting.Load() == 1 })
	r.publish(b, queue.Message{ID: "same"}, queue.Message{ID: "same"}, queue.Message{ID: "other"})
	r.until("the other one is handled, too", func() bool { return g.waiting.Load() == 2 })
	r.watch(200*time.Millisecond, "two handlers run", func() bool { return g.waiting.Load() == 2 })
	g.open()
	r.settled()
	r.publish(b, queue.Message{ID: "same"}, queue.Message{ID: "last"})
	r.settled()
	r.empty(b, 0)
	if n := len(r.ledger.of("same")); n != 1 {
		r.Errorf("handled %d times", n)
	}
}

func dedupInTheBroker(r *run) {
	b := r.open()
	r.publish(b, queue.Message{ID: "same"}, queue.Message{ID: "same"}, queue.Message{ID: "other"})
	r.publish(b, queue.Message{ID: "same"})
	r.until("two wait", func() bool {
		d, err := b.Inspect(r.Context(), r.queue)
		return err == nil && d.Waiting == 2
	})
	elsewhere := unique("q")
	if err := b.Publish(r.Context(), queue.Message{Queue: elsewhere, ID: "same"}); err != nil {
		r.Error(err)
	}
	r.until("another queue has one of that id", func() bool {
		d, err := b.Inspect(r.Context(), elsewhere)
		return err == nil && d.Waiting == 1
	})
	// What dies and is replayed is no duplicate of itself.
	r.handle(b, func(_ context.Context, d *queue.Delivery) error {
		if d.ID == "same" && r.ledger.deadTimes("same") == 0 && len(r.ledger.of("same")) == 0 {
			return queue.Discard(nil)
		}
		return nil
	}, queue.HandleOptions{})
	r.settled()
	r.ledger.again("same")
	if n, err := b.Dead(r.queue).Replay(r.Context(), queue.DeadFilter{}, queue.ReplayOptions{}); n != 1 || err != nil {
		r.Errorf("replayed %d, %v", n, err)
	}
	r.settled()
}
