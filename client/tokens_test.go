package client_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/client"
)

// source makes tokens: "token-1" and so on.
type source struct {
	mu    sync.Mutex
	made  int
	lasts time.Duration // zero: for ever
	jwt   bool          // it says its time itself
	fails error
}

func (s *source) token(context.Context) (client.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return client.Token{}, s.fails
	}
	s.made++
	t := client.Token{Text: fmt.Sprintf("token-%d", s.made)}
	switch {
	case s.lasts == 0:
	case s.jwt:
		t.Text = "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d,"n":%d}`, time.Now().Add(s.lasts).Unix(), s.made)) + ".c2ln"
	default:
		t.Expires = time.Now().Add(s.lasts)
	}
	return t, nil
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

// later returns what comes next, if it does within a day.
func later[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(24 * time.Hour):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// gatekeeper is a server that notes which tokens it was shown.
type gatekeeper struct {
	hellos  chan string
	shown   chan string
	at      chan time.Time
	answer  func(text string) (any, error)
	expires time.Duration // of the identity; zero: never
}

func newGatekeeper() *gatekeeper {
	return &gatekeeper{hellos: make(chan string, 1000), shown: make(chan string, 1000), at: make(chan time.Time, 1000)}
}

func (g *gatekeeper) options() []polywire.Option {
	return []polywire.Option{
		polywire.WithExpiryGrace(0), polywire.WithHeartbeat(1000*time.Hour, time.Hour),
		polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
			if !h.Hello {
				return nil, polywire.ErrAwaitHello
			}
			g.hellos <- h.Header["authorization"]
			id := &polywire.Identity{User: "ann"}
			if g.expires > 0 {
				id.Expires = time.Now().Add(g.expires)
			}
			return id, nil
		}),
	}
}

func (g *gatekeeper) setup(s *polywire.Server) {
	if g.answer == nil {
		return
	}
	s.Handle(auth.KindRefresh, func(_ context.Context, m *polywire.Message) (any, error) {
		var text string
		if err := m.Bind(&text); err != nil {
			return nil, err
		}
		g.shown <- text
		g.at <- time.Now()
		return g.answer(text)
	})
}

func accept(string) (any, error) { return auth.Refreshed{}, nil }

// calm is a client that checks nothing else.
func calm(more ...client.Option) []client.Option {
	return append(more, client.WithPositionCheck(-1), client.WithPeer(polywire.WithHeartbeat(1000*time.Hour, time.Hour)))
}

// A later token is shown when about three quarters of the time of the one
// before have passed, whoever says when it ends.
func TestTokensAreRefreshed(t *testing.T) {
	for name, s := range map[string]*source{"told": {lasts: time.Hour}, "JWT": {lasts: time.Hour, jwt: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGatekeeper()
				g.answer = accept
				n := newNetwork(t)
				n.serve("tcp", g.setup, g.options()...)
				n.connected("tcp", calm(client.WithTokens(s.token), client.WithCredentials(func(context.Context) (map[string]string, error) {
					return map[string]string{"other": "1", "authorization": "x"}, nil
				}))...)
				last, before := later(t, g.hellos), time.Now()
				if !strings.HasPrefix(last, "Bearer ") {
					t.Errorf("the hello has %q", last)
				}
				for range 4 {
					next, at := later(t, g.shown), later(t, g.at)
					if next == last || "Bearer "+next == last || next == "" {
						t.Errorf("%q again", next)
					}
					if took := at.Sub(before); took < 38*time.Minute || took > 45*time.Minute {
						t.Errorf("after %v", took)
					}
					last, before = next, at
				}
			})
		})
	}
}

// The server's word about when a token ends counts.
func TestServerSaysWhenATokenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGatekeeper()
		g.answer = func(string) (any, error) {
			at := time.Now().Add(time.Minute)
			return auth.Refreshed{Expires: &at}, nil
		}
		n := newNetwork(t)
		n.serve("tcp", g.setup, g.options()...)
		n.connected("tcp", calm(client.WithTokens((&source{lasts: time.Hour}).token))...)
		later(t, g.shown)
		before := later(t, g.at)
		later(t, g.shown)
		if took := later(t, g.at).Sub(before); took > 45*time.Second {
			t.Errorf("after %v", took)
		}
	})
}

// What goes wrong with a token is told, and tried again, ever slower.
func TestTokenTrouble(t *testing.T) {
	for _, what := range []string{"no token", "refused"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, g, e, n := &source{lasts: time.Hour}, newGatekeeper(), newEvents(), newNetwork(t)
				var refuse atomic.Bool
				g.answer = func(string) (any, error) {
					if refuse.Load() {
						return nil, polywire.Errorf(polywire.CodeUnavailable, "token_unavailable")
					}
					return auth.Refreshed{}, nil
				}
				n.serve("tcp", g.setup, g.options()...)
				c := n.connected("tcp", calm(client.WithTokens(s.token), e.option())...)
				if what == "refused" {
					refuse.Store(true)
				} else {
					s.fail(errors.New("the identity provider is away"))
				}
				for range 8 {
					if err := later(t, e.errors); !strings.HasPrefix(err.Error(), "client: token: ") {
						t.Error(err)
					}
				}
				if since := time.Since(c.Conn().OpenedAt()); since < 38*time.Minute || since > 50*time.Minute {
					t.Errorf("eight tries by %v", since)
				}
				for len(g.shown) > 0 {
					<-g.shown
				}
				refuse.Store(false)
				s.fail(nil)
				later(t, g.shown)
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				if len(g.shown) > 0 || len(e.errors) > 0 || !c.Connected() {
					t.Errorf("%d tokens, %d errors within a third of its time", len(g.shown), len(e.errors))
				}
			})
		})
	}
}

// A server that knows of no refreshing is asked once; the connection that
// follows begins with a new token.
func TestNoRefreshing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, e, n := newGatekeeper(), newEvents(), newNetwork(t)
		g.expires = time.Hour
		n.serve("tcp", g.setup, g.options()...)
		n.connected("tcp", calm(client.WithTokens((&source{lasts: time.Hour}).token), e.option())...)
		if got := later(t, g.hellos); got != "Bearer token-1" {
			t.Error(got)
		}
		if err := later(t, e.errors); polywire.CodeOf(err) != polywire.CodeNotFound {
			t.Error(err)
		}
		why := later(t, e.disconnects)
		if closed := (*polywire.CloseError)(nil); !errors.As(why, &closed) || closed.Code != polywire.CloseExpired {
			t.Error(why)
		}
		if got := later(t, g.hellos); got != "Bearer token-3" || len(e.errors) > 0 {
			t.Errorf("%s, %d errors", got, len(e.errors))
		}
	})
}

// A token without an end is not refreshed, nor is one that says nonsense; and
// a source that fails is a failed try to connect.
func TestTokensThatStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, n := newGatekeeper(), newNetwork(t)
		g.answer = accept
		n.serve("tcp", g.setup, g.options()...)
		payload := func(text string) string { return "e30." + base64.RawURLEncoding.EncodeToString([]byte(text)) + ".c2ln" }
		for _, text := range []string{"opaque", "a.b", "a.b.c", "a.%.c", payload(`{}`), payload(`{"exp":"x"}`), payload(`{"exp":-1}`), payload(`{"exp":1e300}`), payload(`[`)} {
			c := n.connected("tcp", calm(client.WithTokens(func(context.Context) (client.Token, error) { return client.Token{Text: text}, nil }))...)
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			if len(g.shown) > 0 || !c.Connected() {
				t.Errorf("%q: %d tokens were shown", text, len(g.shown))
			}
			c.Close()
		}
		away := errors.New("away")
		c := n.client("tcp", client.WithTokens(func(context.Context) (client.Token, error) { return client.Token{}, away }))
		if err := c.Connect(t.Context()); !errors.Is(err, away) {
			t.Error(err)
		}
		if _, err := client.New("tcp://a:1", client.WithTokens(nil)); err == nil {
			t.Error("no source is taken")
		}
	})
}

// Closing does not wait for a source of tokens that is at work.
func TestCloseWhileATokenIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, n := newGatekeeper(), newNetwork(t)
		g.answer = accept
		n.serve("tcp", g.setup, g.options()...)
		asked := make(chan struct{}, 10)
		c := n.connected("tcp", calm(client.WithTokens(func(ctx context.Context) (client.Token, error) {
			asked <- struct{}{}
			if len(g.hellos) > 0 {
				<-ctx.Done()
			}
			return client.Token{Text: "t", Expires: time.Now().Add(time.Hour)}, ctx.Err()
		}))...)
		<-asked
		<-asked
		before := time.Now()
		if err := c.Close(); err != nil || time.Since(before) > 0 {
			t.Errorf("%v after %v", err, time.Since(before))
		}
	})
}
