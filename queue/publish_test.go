package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

func TestPublishOutlivesAnOutage(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		back := time.Now().Add(10 * time.Second)
		tries := 0
		b.d.publish = func(e *queue.Envelope, send func() queue.Receipt) queue.Receipt {
			tries++
			if time.Now().Before(back) {
				return receipt{fmt.Errorf("%w: refused", queue.ErrUnavailable)}
			}
			return send()
		}
		b.send("a")
		if took := time.Since(back); took < 0 || took > 4*time.Second || tries > 30 {
			t.Errorf("%v after it was back, by %d tries", took, tries)
		}
		b.send("a")
		if d, err := b.Inspect(b.Context(), "q"); err != nil || d.Waiting != 1 {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

func TestPublishEnds(t *testing.T) {
	away := func(*queue.Envelope, func() queue.Receipt) queue.Receipt { return receipt{queue.ErrUnavailable} }
	silent := func(*queue.Envelope, func() queue.Receipt) queue.Receipt { return never{} }
	refused := func(*queue.Envelope, func() queue.Receipt) queue.Receipt { return receipt{queue.ErrRefused} }
	for name, c := range map[string]struct {
		publish func(*queue.Envelope, func() queue.Receipt) queue.Receipt
		o       queue.Options
		bound   time.Duration // of the context
		took    time.Duration
		want    []error
		not     error
	}{
		"away":           {away, queue.Options{}, 0, 30 * time.Second, []error{queue.ErrUnavailable, context.DeadlineExceeded}, nil},
		"away, own":      {away, queue.Options{}, time.Minute, time.Minute, []error{queue.ErrUnavailable, context.DeadlineExceeded}, nil},
		"away, option":   {away, queue.Options{PublishTimeout: time.Second}, 0, time.Second, []error{queue.ErrUnavailable}, nil},
		"silent":         {silent, queue.Options{}, 0, 30 * time.Second, []error{queue.ErrUnavailable, context.DeadlineExceeded}, nil},
		"refused":        {refused, queue.Options{}, 0, 0, []error{queue.ErrRefused}, queue.ErrUnavailable},
		"no time at all": {away, queue.Options{}, time.Nanosecond, time.Nanosecond, []error{context.DeadlineExceeded}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.o, func(b *bench) {
				b.d.publish = c.publish
				for _, batch := range []bool{false, true} {
					ctx, cancel := b.Context(), func() {}
					if c.bound > 0 {
						ctx, cancel = context.WithTimeout(ctx, c.bound)
					}
					start := time.Now()
					m := queue.Message{Queue: "q"}
					err := b.Publish(ctx, m)
					if batch {
						start = time.Now()
						cancel()
						ctx, cancel = b.Context(), func() {}
						if c.bound > 0 {
							ctx, cancel = context.WithTimeout(ctx, c.bound)
						}
						err = b.PublishBatch(ctx, []queue.Message{m, m})
					}
					took := time.Since(start)
					cancel()
					for _, want := range c.want {
						if !errors.Is(err, want) {
							t.Errorf("batch %v: %v is not %v", batch, err, want)
						}
					}
					if c.not != nil && errors.Is(err, c.not) || took != c.took {
						t.Errorf("batch %v: %v after %v", batch, err, took)
					}
				}
				if s := b.Stats(); s.PublishErrors != 4 || s.Published != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// A broker that is shut down lets publishes go that wait for an outage's end.
func TestShutdownWhilePublishing(t *testing.T) {
	inBubble(t, queue.Options{PublishTimeout: -1}, func(b *bench) {
		b.d.publish = func(*queue.Envelope, func() queue.Receipt) queue.Receipt { return receipt{queue.ErrUnavailable} }
		ended := make(chan error, 1)
		go func() { ended <- b.Publish(b.Context(), queue.Message{Queue: "q"}) }()
		pass(time.Hour)
		if err := b.Shutdown(b.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		select {
		case err := <-ended:
			if !errors.Is(err, queue.ErrUnavailable) {
				t.Error(err)
			}
		default:
			t.Error("it still publishes")
		}
	})
}

func TestPendingAndBatches(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		p := b.Send(b.Context(), queue.Message{Queue: "q", ID: "a"})
		if err := p.Wait(b.Context()); err != nil || p.ID() != "a" {
			t.Errorf("%q, %v", p.ID(), err)
		}
		if p := b.Send(b.Context(), queue.Message{}); !errors.Is(p.Wait(b.Context()), queue.ErrInvalid) {
			t.Error("a message for no queue was sent")
		}
		fail := map[string]int{"b": 3, "c": 1}
		b.d.publish = func(e *queue.Envelope, send func() queue.Receipt) queue.Receipt {
			switch {
			case e.ID == "d":
				return receipt{queue.ErrUnroutable}
			case fail[e.ID] > 0:
				fail[e.ID]--
				return receipt{queue.ErrUnavailable}
			}
			return send()
		}
		ms := []queue.Message{{Queue: "q", ID: "b"}, {Queue: "q", ID: "c"}, {Queue: "q", ID: "d"}, {Queue: "q", ID: "e"}}
		err := b.PublishBatch(b.Context(), ms)
		batch, ok := errors.AsType[*queue.BatchError](err)
		if !ok || len(batch.Unwrap()) != 1 || !errors.Is(batch.Errs[2], queue.ErrUnroutable) || !strings.Contains(err.Error(), "1 of 4") {
			t.Error(err)
		}
		if d, err := b.Inspect(b.Context(), "q"); err != nil || d.Waiting != 4 {
			t.Errorf("%+v, %v", d, err)
		}
		if err := b.PublishBatch(b.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

func TestMessagesThatAreInvalid(t *testing.T) {
	long := strings.Repeat("x", 300)
	many := make(map[string]string)
	for i := range queue.MaxHeaders + 1 {
		many[fmt.Sprint(i)] = ""
	}
	inBubble(t, queue.Options{}, func(b *bench) {
		for _, m := range []queue.Message{
			{}, {Queue: " q"}, {Queue: "q "}, {Queue: "a\nb"}, {Queue: "\xff"}, {Queue: long}, {Queue: "a\u200bb"},
			{Queue: "q", ID: "a b"}, {Queue: "q", ID: "\u00e9"}, {Queue: "q", ID: long}, {Queue: "q", Key: "\xff"}, {Queue: "q", Key: long},
			{Queue: "q", Kind: "\xff"}, {Queue: "q", Kind: long}, {Queue: "q", Payload: codec.Payload{Type: "\xff"}},
			{Queue: "q", Payload: codec.Payload{Name: long}}, {Queue: "q", Delay: -1}, {Queue: "q", Delay: queue.MaxDelay + 1},
			{Queue: "q", Delay: 1, At: time.Now()}, {Queue: "q", At: time.Now().Add(2 * queue.MaxDelay)}, {Queue: "q", At: time.Unix(-1e10, 0)},
			{Queue: "q", Header: many}, {Queue: "q", Header: map[string]string{"": "x"}}, {Queue: "q", Header: map[string]string{"a b": "x"}},
			{Queue: "q", Header: map[string]string{"a:b": "x"}}, {Queue: "q", Header: map[string]string{"Polywire-ID": "x"}},
			{Queue: "q", Header: map[string]string{"a": "\xff"}}, {Queue: "q", Header: map[string]string{"a": strings.Repeat("x", queue.MaxHeaderBytes)}},
			{Queue: "q", Header: map[string]string{long: "x"}},
		} {
			if err := b.Publish(b.Context(), m); !errors.Is(err, queue.ErrInvalid) {
				t.Errorf("%.200v: %v", m, err)
			}
		}
		if names, err := b.Queues(b.Context()); len(names) != 0 || err != nil {
			t.Errorf("%q, %v", names, err)
		}
	})
}

func TestNewID(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var made []string
	for i := range 2000 {
		made = append(made, queue.NewID(start.Add(time.Duration(i)*777*time.Nanosecond)))
	}
	if !slices.IsSorted(made) {
		t.Error("they do not sort by time")
	}
	if got := made[0]; !strings.HasPrefix(got, "019b7ca9-8c88-7000-") || len(got) != 36 || !strings.ContainsAny(got[19:20], "89ab") {
		t.Error(got)
	}
	if a, b := queue.NewID(start), queue.NewID(start); a == b {
		t.Error("two are the same")
	}
}

func TestRates(t *testing.T) {
	inBubble(t, queue.Options{}, func(b *bench) {
		b.handle(queue.HandleOptions{}, ok)
		for i := range 60 {
			b.send(fmt.Sprint(i))
			pass(500 * time.Millisecond)
		}
		synctest.Wait()
		if s := b.Stats(); s.PublishRate != 2 || s.Queues["q"].DoneRate != 2 || s.Published != 60 || s.Queues["q"].Done != 60 {
			t.Errorf("%+v", s)
		}
		pass(time.Minute)
		if s := b.Stats(); s.PublishRate != 0 || s.Queues["q"].DoneRate != 0 {
			t.Errorf("%+v", s)
		}
	})
}
