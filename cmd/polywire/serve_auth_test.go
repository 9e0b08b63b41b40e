package main

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
	"github.com/polywire/polywire/client"
)

const authSecret = "a secret of tests, with more than 32 bytes"

// signed is a token for a user.
func signed(t *testing.T, user string, change jwt.MapClaims) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": "test", "aud": "chat", "sub": user, "exp": time.Now().Add(time.Hour).Unix(), "rooms": []string{"extra:*"}}
	maps.Copy(claims, change)
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(authSecret))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func dialAs(t *testing.T, url, raw string) (*client.Client, error) {
	t.Helper()
	c, err := client.Dial(t.Context(), url, client.WithoutReconnect(), client.WithCredentials(func(context.Context) (map[string]string, error) {
		return map[string]string{"authorization": "Bearer " + raw}, nil
	}))
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func TestServeAuth(t *testing.T) {
	t.Setenv("THE_SECRET", authSecret)
	file := settingsFile(t, `
listen: 127.0.0.1:0
rooms: {presence: ['*']}
auth:
  secret: env:THE_SECRET
  issuers: test
  audiences: [mail, chat]
  query: access_token
  rooms: ['user-{sub}=subscribe', 'team:*=subscribe,publish,kind=chat.*']
  subscribe_claim: rooms
`)
	url := last(start(t, 1, "serve", "--config", file)[0])
	for name, raw := range map[string]string{
		"none": "", "nonsense": "x", "expired": signed(t, "ann", jwt.MapClaims{"exp": 1}), "for others": signed(t, "ann", jwt.MapClaims{"aud": "x"}),
	} {
		_, err := dialAs(t, url, raw)
		if closed := (*polywire.CloseError)(nil); !errors.As(err, &closed) || closed.Code != polywire.CloseUnauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := dialAs(t, url, signed(t, "ann", nil))
	if err != nil {
		t.Fatal(err)
	}
	for room, want := range map[string]polywire.Code{"user-ann": "", "team:a": "", "extra:1": "", "user-bob": polywire.CodeForbidden, "lobby": polywire.CodeForbidden} {
		if err := c.Subscribe(t.Context(), room); polywire.CodeOf(err) != want {
			t.Errorf("subscribe to %q: %v", room, err)
		}
		// Who is there is told to those who may come.
		if err := c.Call(t.Context(), "presence", room, nil); polywire.CodeOf(err) != want {
			t.Errorf("presence of %q: %v", room, err)
		}
	}
	for kind, want := range map[string]polywire.Code{"chat.said": "", "admin.kick": polywire.CodeForbidden} {
		if err := c.Publish(t.Context(), "team:a", kind, 1); polywire.CodeOf(err) != want {
			t.Errorf("publish %q: %v", kind, err)
		}
	}
	if err := c.Call(t.Context(), auth.KindRefresh, signed(t, "ann", nil), nil); err != nil {
		t.Errorf("refresh: %v", err)
	}
	for query, want := range map[string]int{"room=user-ann": 401, "room=user-bob&access_token=" + signed(t, "ann", nil): 403} {
		resp, err := http.Get("http" + strings.TrimPrefix(url, "ws") + "/events?" + query)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("events of %s: %s", query, resp.Status)
		}
	}
}

func TestServeAuthWrong(t *testing.T) {
	t.Setenv("THE_SECRET", authSecret)
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	const good = " --auth-secret env:THE_SECRET --auth-issuer a --auth-audience b"
	for _, c := range []struct{ args, want string }{
		{"--auth-issuer a", "need one of --auth-secret"},
		{"--auth-room lobby=subscribe", "need one of --auth-secret"},
		{"--auth-secret env:THE_SECRET --auth-audience b", "want Issuers"},
		{"--auth-secret env:THE_SECRET --auth-issuer a", "want Audiences"},
		{good + " --auth-any-issuer", "want Issuers"},
		{"--auth-secret short --auth-issuer a --auth-audience b", "at least 32"},
		{good + " --auth-algorithm none", `algorithm "none"`},
		{good + " --auth-room lobby", "subscribe,publish"},
		{good + " --auth-room {a}{b}=subscribe", "between two holes"},
		{good + " --auth-room lobby=subscribe --allow publish", "one of them"},
		{"--auth-public-keys /nowhere/at/all --auth-issuer a --auth-audience b", "--auth-public-keys"},
		{"--auth-public-keys " + key + " --auth-issuer a --auth-audience b", "no public key"},
		{"--auth-jwks http://id.example.com/ --auth-issuer a --auth-audience b", "https"},
		{"--trusted-proxy example.com", "neither an address nor a prefix"},
	} {
		_, _, err := run(t, "", append([]string{"serve", "--port", "0"}, strings.Fields(c.args)...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), authSecret) {
			t.Errorf("polywire serve %s: %v, want %q", c.args, err, c.want)
		}
	}
}

// A proxy's word counts where it is trusted, and rates are kept to.
func TestServeRates(t *testing.T) {
	url := "http" + strings.TrimPrefix(last(start(t, 1, "serve", "--port", "0", "--trusted-proxy", "127.0.0.0/8,::1",
		"--accept-rate-per-address", "0.001", "--accept-burst-per-address", "2")[0]), "ws")
	ask := func(from string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/polywire", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-For", from)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for i, want := range []int{426, 426, 503} {
		if got := ask("2001:db8::" + string(rune('1'+i))); got != want {
			t.Errorf("request %d of a network: %d", i, got)
		}
	}
	if got := ask("192.0.2.1"); got != 426 {
		t.Errorf("another address: %d", got)
	}
	http.DefaultClient.CloseIdleConnections()
}
