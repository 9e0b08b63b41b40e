package polywire_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire"
)

type baseKey struct{}

// A context that outlives its handler is over, and knows nothing of the
// messages that come after, whatever it was asked before.
func TestContextIsKept(t *testing.T) {
	for _, c := range []struct {
		name string
		ask  func(context.Context) // in the handler
	}{
		{"nothing asked", func(context.Context) {}},
		{"a value asked", func(ctx context.Context) { polywire.MessageFrom(ctx) }},
		{"its end asked", func(ctx context.Context) { ctx.Done() }},
		{"its error asked", func(ctx context.Context) { _ = ctx.Err() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var kept context.Context
				look := func() {
					if m := polywire.MessageFrom(kept); m != nil {
						t.Errorf("it has the message %q", m.Kind())
					}
					if err := kept.Err(); !errors.Is(err, context.Canceled) {
						t.Errorf("its error is %v", err)
					}
					select {
					case <-kept.Done():
					default:
						t.Error("it goes on")
					}
					if v := kept.Value(baseKey{}); v != "base" {
						t.Errorf("the base context's value is %v", v)
					}
				}
				srv := newServer(t, func(s *polywire.Server) {
					s.Handle("keep", func(ctx context.Context, m *polywire.Message) (any, error) {
						c.ask(ctx)
						if kept = ctx; polywire.MessageFrom(ctx) != m {
							t.Error("another message")
						}
						return nil, nil
					})
					s.Handle("look", func(ctx context.Context, m *polywire.Message) (any, error) {
						look()
						if polywire.MessageFrom(ctx) != m || ctx.Err() != nil {
							t.Error("its own context is not its own")
						}
						return nil, nil
					})
				}, polywire.WithBaseContext(context.WithValue(t.Context(), baseKey{}, "base")))
				p := connect(t, srv)
				defer p.end()
				p.send(call(1, "keep", ""), call(2, "look", ""), call(3, "look", ""))
				for id := range 3 {
					if got := p.receive(); got.ID != uint64(id+1) || got.Type != wire.Reply {
						t.Errorf("%+v", got)
					}
				}
				look()
			})
		})
	}
}

// What a message was given is not there for the next one.
func TestMessagesShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(t, func(s *polywire.Server) {
			s.Handle("*", func(_ context.Context, m *polywire.Message) (any, error) {
				seen := fmt.Sprint(m.Header("h"), m.Value("v"), m.Room(), len(m.Args()))
				if m.Kind() == "full" {
					m.SetHeader("h", "left")
					m.SetValue("v", "left")
					m.SetReplyHeader("r", "left")
					m.SetPayload(polywire.Payload{Type: "text/plain", Data: []byte("left")})
				}
				return seen, nil
			})
		})
		p := connect(t, srv)
		defer p.end()
		full := call(1, "full", "x")
		full.Header = map[string]string{"h": "its own"}
		empty := call(2, "empty", "")
		empty.Payload = polywire.Payload{}
		p.send(full, empty, full, empty)
		for i := range 4 {
			got := p.receive()
			want, header := `"its own<nil>1"`, "left"
			if i%2 == 1 {
				want, header = `"<nil>0"`, ""
			}
			if string(got.Payload.Data) != want || got.Header["r"] != header {
				t.Errorf("answer %d: %s, header %q; want %s", i+1, got.Payload.Data, got.Header["r"], want)
			}
		}
	})
}

// Goroutines that go on ask a context while its handler ends and the next
// message comes: with the race detector this is about what they touch.
func TestContextEndsUnderQuestions(t *testing.T) {
	var wg sync.WaitGroup
	srv := newServer(t, func(s *polywire.Server) {
		s.Handle("go", func(ctx context.Context, m *polywire.Message) (any, error) {
			c := m.Conn()
			for _, ask := range []func(){
				func() { polywire.MessageFrom(ctx) },
				func() { <-ctx.Done() },
				func() { _ = ctx.Err() },
				func() { _ = c.Send(ctx, "news", "x") },
				func() {
					derived, cancel := context.WithCancel(ctx)
					defer cancel()
					<-derived.Done()
				},
			} {
				wg.Go(ask)
			}
			return nil, nil
		})
	})
	p := connect(t, srv)
	defer p.end()
	const calls = 200
	for id := range calls {
		p.send(call(uint64(id+1), "go", ""))
		for p.receive().Type != wire.Reply {
		}
	}
	wg.Wait()
}
