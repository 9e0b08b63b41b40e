package polywire_test

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/wire"
)

// slowText takes its time to be encoded, and is large.
type slowText struct{ pause func() }

func (s slowText) MarshalJSON() ([]byte, error) {
	s.pause()
	return json.Marshal(strings.Repeat("x", 10_000))
}

// Messages that come together share looks at the clock. Each has its own time all the same.
func TestHandledOfBatch(t *testing.T) {
	for _, name := range []string{"alone", "before a reply", "after a reply"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pause := func() { <-time.After(5 * time.Millisecond) }
				var hooks polywire.Hooks
				switch name {
				case "before a reply":
					hooks.BeforeReply = func(*polywire.Message, any, error) { pause() }
				case "after a reply":
					hooks.AfterReply = func(*polywire.Message, any, error) { pause() }
				}
				said := &told{}
				srv := newServer(t, func(s *polywire.Server) {
					for kind, d := range map[string]time.Duration{"none": 0, "three": 3 * time.Millisecond, "four": 4 * time.Millisecond} {
						s.Handle(kind, func(context.Context, *polywire.Message) (any, error) {
							if d > 0 {
								<-time.After(d)
							}
							return kind, nil
						})
					}
					s.Handle("large", func(context.Context, *polywire.Message) (any, error) { return slowText{pause}, nil })
				}, unlogged(), polywire.WithHooks(hooks, polywire.Hooks{
					AfterHandle: func(m *polywire.Message, took time.Duration, _ any, _ error) { said.add("%d %s", m.ID(), took) },
				}))
				p := connect(t, srv)
				p.send(call(1, "none", "x"), call(2, "three", "x"), call(3, "four", "x"), wire.Packet{Type: wire.Ping, ID: 9})
				for range 4 {
					p.receive()
				}
				p.send(call(4, "large", "x"), call(5, "none", "x"), call(6, "none", "x"))
				for range 3 {
					p.receive()
				}
				time.Sleep(time.Second) // hooks are done
				if got, want := said.take(), "1 0s; 2 3ms; 3 4ms; 4 0s; 5 0s; 6 0s"; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				p.end()
			})
		})
	}
}

// Whoever wants no bound gives the largest one.
func TestHandlerTimeoutForever(t *testing.T) {
	for _, concurrency := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			srv := newServer(t, func(s *polywire.Server) {
				s.Handle("wait", func(ctx context.Context, _ *polywire.Message) (any, error) {
					select {
					case <-ctx.Done():
						return nil, ctx.Err()
					case <-time.After(time.Second):
						return "done", nil
					}
				})
			}, polywire.WithHandlerTimeout(math.MaxInt64), polywire.WithConcurrency(concurrency))
			p := connect(t, srv)
			time.Sleep(time.Second) // the server's clock has begun
			p.send(call(1, "wait", "x"))
			if got := p.receive(); got.Type != wire.Reply {
				t.Errorf("concurrency %d: %+v", concurrency, got)
			}
		})
	}
}
