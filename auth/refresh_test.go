package auth_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/client"
)

func quiet() polywire.Option { return polywire.WithHeartbeat(100*time.Hour, time.Hour) }

// callable are the wires on which a client can send.
func callable() []string {
	return []string{"ws://memory", "tcp://memory:1", "socketio+ws://memory/", "socketio+http://memory/", "drs+ws://memory", "drs-msgpack+ws://memory/packed"}
}

func TestRefresh(t *testing.T) {
	for _, at := range callable() {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, append(tokens(t, auth.Static(public("HS256")), strict()).Options(), quiet(), polywire.WithExpiryGrace(10*time.Second))...)
				c, err := s.dial(at, good("ann", time.Minute), bearerHeader(good("ann", time.Minute)))
				if err != nil {
					t.Fatal(err)
				}
				for range 10 {
					time.Sleep(time.Minute)
					raw := good("ann", time.Minute)
					var got auth.Refreshed
					if err := c.Call(t.Context(), auth.KindRefresh, map[string]string{"token": raw}, &got); err != nil {
						t.Fatal(err)
					}
					if got.Expires == nil || time.Until(*got.Expires).Round(2*time.Second) != time.Minute {
						t.Errorf("it expires at %v", got.Expires)
					}
				}
				if err := c.Call(t.Context(), auth.KindRefresh, good("ann", 2*time.Minute), nil); err != nil {
					t.Errorf("a token as text: %v", err)
				}
				start := time.Now()
				<-c.Done()
				closed := (*polywire.CloseError)(nil)
				if !errors.As(c.Err(), &closed) || closed.Code != polywire.CloseExpired && !strings.HasPrefix(at, "socketio") || !closed.Code.Reconnect() {
					t.Errorf("ended with %v", c.Err())
				}
				if took := time.Since(start); took < 129*time.Second || took > 134*time.Second {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
}

func TestRefreshRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := tokens(t, auth.Static(public("HS256")), auth.Options{Issuers: []string{issuer, "https://other.example"}, Audiences: []string{audience}})
		s := newSite(t, append(got.Options(), quiet(), polywire.WithExpiryGrace(0))...)
		c, err := s.dial("ws://memory", good("ann", time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			name string
			v    any
			want string
			code polywire.Code
		}{
			{"another user", good("bob", time.Hour), auth.ReasonOther, polywire.CodeForbidden},
			{"another issuer", sign("HS256", secret(), nil, claims(map[string]any{"iss": "https://other.example"})), auth.ReasonOther, polywire.CodeForbidden},
			{"expired", good("ann", -time.Hour), auth.ReasonExpired, polywire.CodeUnauthorized},
			{"malformed", "x", auth.ReasonInvalid, polywire.CodeUnauthorized},
			{"none", nil, auth.ReasonMissing, polywire.CodeUnauthorized},
			{"a number", 7, auth.ReasonMissing, polywire.CodeUnauthorized},
			{"an object without it", map[string]int{"token": 7}, auth.ReasonMissing, polywire.CodeUnauthorized},
			{"much", strings.Repeat("x", 100<<10), auth.ReasonInvalid, polywire.CodeUnauthorized},
		} {
			err := c.Call(t.Context(), auth.KindRefresh, tc.v, nil)
			if reason(err) != tc.want || polywire.CodeOf(err) != tc.code {
				t.Errorf("%s: %v", tc.name, err)
			}
		}
		// It has all been for nothing.
		start := time.Now()
		<-c.Done()
		if took := time.Since(start); took < time.Minute || took > 62*time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

// A connection that was let in without a token does not get one later.
func TestRefreshOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := strict()
		o.Optional = true
		s := newSite(t, tokens(t, auth.Static(public("HS256")), o).Options()...)
		c, err := s.dial("ws://memory", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Call(t.Context(), auth.KindRefresh, good("ann", time.Hour), nil); reason(err) != auth.ReasonOther {
			t.Error(err)
		}
		if user := s.whoami(); user != "" {
			t.Errorf("it is %q", user)
		}
	})
}

// Bytes are a token, too; and a token that never expires is answered so.
func TestRefreshBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := strict()
		o.NoExpiry = true
		s := newSite(t, append(tokens(t, auth.Static(public("HS256")), o).Options(), quiet(), polywire.WithExpiryGrace(0))...)
		c, err := s.dial("ws://memory", good("ann", time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		raw := sign("HS256", secret(), nil, claims(map[string]any{"exp": nil}))
		if err := c.Call(t.Context(), auth.KindRefresh, []byte(raw), &got); err != nil || len(got) != 0 {
			t.Errorf("%v %v", got, err)
		}
		time.Sleep(time.Hour)
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
}

// A client with a source of tokens stays on every wire on which it can send.
func TestClientRefreshes(t *testing.T) {
	for _, at := range callable() {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, append(tokens(t, auth.Static(public("HS256")), strict()).Options(), quiet(), polywire.WithExpiryGrace(10*time.Second))...)
				source := func(context.Context) (client.Token, error) {
					return client.Token{Text: good("ann", 10*time.Minute)}, nil
				}
				c, err := s.dial(at, "", bearerHeader(good("ann", 10*time.Minute)), client.WithTokens(source))
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				if c.Err() != nil || !c.Connected() {
					t.Errorf("ended: %v", c.Err())
				}
			})
		})
	}
}
