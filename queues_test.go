package polywire_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/queue"
)

func newQueues(t *testing.T) *queue.Broker {
	t.Helper()
	b, err := queue.New(queue.NewMemory(queue.MemoryOptions{}), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A queue's messages meet the same middleware and handlers as all others, and
// those may send to rooms and enqueue.
func TestHandleQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newQueues(t)
		seen := make(chan string, 10)
		srv := newServer(t, func(s *polywire.Server) {
			s.Use(func(next polywire.Handler) polywire.Handler {
				return func(ctx context.Context, m *polywire.Message) (any, error) {
					seen <- m.Wire() + " " + m.From() + " " + m.Kind() + " " + m.Header("h")
					return next(ctx, m)
				}
			})
			s.HandleQueue("orders", func(ctx context.Context, m *polywire.Message) (any, error) {
				var text string
				if err := m.Bind(&text); err != nil {
					return nil, queue.Discard(err)
				}
				if m.Conn() != nil || polywire.MessageFrom(ctx) != m || m.Delivery().Queue != "orders" {
					t.Errorf("%+v", m)
				}
				if m.Delivery().Attempt == 1 {
					return nil, errors.New("not yet")
				}
				return nil, m.Server().All().Send(ctx, "done", text)
			}, queue.HandleOptions{})
			s.Handle("order", func(ctx context.Context, m *polywire.Message) (any, error) {
				return nil, m.Server().Queues().Publish(ctx, queue.Message{
					Queue: "orders", Kind: "order.new", Header: map[string]string{"h": "v"}, Payload: m.Payload().Clone(),
				})
			})
		}, polywire.WithQueues(b))
		peers, conns := crowd(t, srv, 1)
		peers[0].send(call(1, "order", "tea"))
		if answer := peers[0].receive(); answer.ID != 1 || answer.Err != nil {
			t.Fatalf("%+v", answer)
		}
		if m := peers[0].receive(); m.Kind != "done" || string(m.Payload.Data) != `"tea"` {
			t.Errorf("%+v", m)
		}
		// Without a kind of its own a message goes by the queue's name; one that
		// does not decode is dead at once.
		if err := b.Publish(t.Context(), queue.Message{Queue: "orders", Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte("{")}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		close(seen)
		var got []string
		for s := range seen {
			got = append(got, s)
		}
		want := []string{"plain " + conns[0].ID() + " order ", "queue orders order.new v", "queue orders order.new v", "queue orders orders "}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestHandleQueueMistakes(t *testing.T) {
	b := newQueues(t)
	defer b.Close()
	h := func(context.Context, *polywire.Message) (any, error) { return nil, nil }
	for name, setup := range map[string]func(*polywire.Server){
		"no handler": func(s *polywire.Server) { s.HandleQueue("q", nil, queue.HandleOptions{}) },
		"no name":    func(s *polywire.Server) { s.HandleQueue("", h, queue.HandleOptions{}) },
		"twice": func(s *polywire.Server) {
			s.HandleQueue("q", h, queue.HandleOptions{})
			s.HandleQueue("q", h, queue.HandleOptions{})
		},
		"a bad option": func(s *polywire.Server) { s.HandleQueue("q", h, queue.HandleOptions{Concurrency: -1}) },
	} {
		b := newQueues(t)
		srv, err := polywire.New(polywire.WithQueues(b))
		if err != nil {
			t.Fatal(err)
		}
		setup(srv)
		if err := srv.Start(); !errors.Is(err, polywire.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		_ = srv.Close()
	}
	srv, _ := polywire.New()
	srv.HandleQueue("q", h, queue.HandleOptions{})
	if err := srv.Start(); !errors.Is(err, polywire.ErrConfig) {
		t.Errorf("without a broker: %v", err)
	}
	if _, err := polywire.New(polywire.WithQueues(nil)); err == nil {
		t.Error("no broker is accepted")
	}
}
