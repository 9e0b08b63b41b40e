package main

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/testenv"
	"github.com/polywire/polywire/webhook"
)

// reloads has a program read its settings again, which have some text now, and
// waits for what it says of that.
type reloads struct {
	*program

	t    *testing.T
	file string
}

func (r *reloads) with(content string) {
	r.t.Helper()
	rewrite(r.t, r.file, content)
	r.again("the settings were read again\" changed=")
}

func (r *reloads) refuses(content, why string) {
	r.t.Helper()
	rewrite(r.t, r.file, content)
	before := strings.Count(r.said(), why)
	r.again("nothing was changed\" error=")
	if log := r.said(); strings.Count(log, why) <= before {
		r.t.Errorf("the log does not say %q", why)
	}
}

func (r *reloads) again(pattern string) {
	r.t.Helper()
	before := strings.Count(r.said(), pattern)
	r.signal(syscall.SIGHUP)
	testenv.Eventually(r.t, 2*patience, "it has read its settings: "+pattern, func() bool { return strings.Count(r.said(), pattern) > before })
}

// Secrets, issuers, rules of rooms and keys of the API hold anew when they are
// read again, and who is revoked ends; what is wrong changes nothing.
func TestReloadAuth(t *testing.T) {
	dir := t.TempDir()
	secret, key := filepath.Join(dir, "secret"), filepath.Join(dir, "key")
	rewrite(t, secret, authSecret)
	rewrite(t, key, "the-first-key-of-the-api")
	begin := fmt.Sprintf("listen: 127.0.0.1:0\napi: {keys: ['ops=file:%s,read']}\nauth:\n  secret: file:%s\n  audiences: chat\n", key, secret)
	rest := "  issuers: test\n  rooms: ['a=subscribe']\n"
	file := settingsFile(t, begin+rest)
	p := &reloads{program: startProgram(t, nil, "serve", "--config", file), t: t, file: file}
	url := last(p.line())
	may := func(c *client.Client, room string, want polywire.Code) {
		t.Helper()
		if err := c.Subscribe(t.Context(), room); polywire.CodeOf(err) != want {
			t.Errorf("subscribe to %q: %v", room, err)
		}
	}
	dial := func(user string, change jwt.MapClaims, ok bool) *client.Client {
		t.Helper()
		c, err := dialAs(t, url, signed(t, user, change))
		if (err == nil) != ok {
			t.Fatalf("%s %v: %v", user, change, err)
		}
		return c
	}
	stats := func(key string, want int) {
		t.Helper()
		if code, text := getAs(t, url, "/api/v1/stats", key); code != want {
			t.Errorf("the API: %d %s", code, text)
		}
	}
	ann := dial("ann", nil, true)
	bob := dial("bob", jwt.MapClaims{"jti": "b"}, true)
	may(ann, "a", "")
	may(ann, "b", polywire.CodeForbidden)
	stats("the-first-key-of-the-api", http.StatusOK)

	rewrite(t, key, "the-second-key-of-the-api")
	p.with(begin + "  issuers: [test, other]\n  rooms: ['b=subscribe']\n")
	may(ann, "b", "")
	may(ann, "a", polywire.CodeForbidden)
	dial("carl", jwt.MapClaims{"iss": "other"}, true)
	stats("the-second-key-of-the-api", http.StatusOK)
	stats("the-first-key-of-the-api", http.StatusUnauthorized)

	// What is wrong changes nothing, whatever else has changed.
	p.refuses(begin+"  issuers: [test]\n  rooms: ['{=subscribe', 'c=subscribe']\n", "auth.rooms")
	p.refuses(begin+rest+"  audience: x\n", "did you mean auth.audiences")
	p.refuses("listen: 127.0.0.1:0\n", "with a restart")
	p.refuses(strings.Replace(begin, "api:", "#", 1)+rest, "the API begins or ends with a restart")
	p.refuses(begin+rest+"  jwks: "+filepath.Join(dir, "nowhere")+"\n", "auth.jwks")
	rewrite(t, secret, "short")
	p.refuses(begin+rest, "32")
	may(ann, "b", "")
	dial("carl", jwt.MapClaims{"iss": "other"}, true)
	stats("the-second-key-of-the-api", http.StatusOK)

	// Another secret is for who comes; who is there stays, unless revoked.
	rewrite(t, secret, strings.ToUpper(authSecret))
	p.with(begin + rest + "  revoked: ['token:b', 'user:carl']\n")
	eventually(t, "who is revoked has ended", func() bool { return bob.Err() != nil })
	if ann.Err() != nil {
		t.Error(ann.Err())
	}
	dial("ann", nil, false)
	if log := p.said(); strings.Contains(log, authSecret) || strings.Contains(log, "-key-of-the-api") {
		t.Error("a secret is in the log")
	}
}

// A key set is waited for before anybody is asked for its keys, and its state
// is seen at /readyz.
func TestReloadKeySet(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "1", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	var away atomic.Bool
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write(set)
	}))
	defer issuer.Close()
	raw, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"iss": "test", "aud": "chat", "sub": "ann", "exp": 4e9}).SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	begin := "listen: 127.0.0.1:0\nadmin: {listen: '127.0.0.1:0'}\nauth:\n  issuers: test\n  audiences: chat\n"
	withSecret, withSet := begin+"  secret: "+authSecret+"\n", begin+"  jwks: "+issuer.URL+"\n"
	file := settingsFile(t, withSecret)
	p := &reloads{program: startProgram(t, nil, "serve", "--config", file), t: t, file: file}
	url := last(p.line())
	away.Store(true)
	p.refuses(withSet, "502")
	if _, err := dialAs(t, url, signed(t, "ann", nil)); err != nil {
		t.Error(err)
	}
	away.Store(false)
	p.with(withSet)
	away.Store(true)
	if _, err := dialAs(t, url, raw); err != nil {
		t.Error(err)
	}
	if _, err := dialAs(t, url, signed(t, "ann", nil)); err == nil {
		t.Error("the secret is still taken")
	}
	p.with(withSet + "  leeway: 3s\n") // the set that is there stays
	if _, err := dialAs(t, url, raw); err != nil {
		t.Error(err)
	}
	if code, text := read(t, oneShot(), adminOf(p.program)+"/readyz", ""); code != http.StatusOK || !strings.Contains(text, "auth") {
		t.Errorf("%d %s", code, text)
	}
	// Without the keys a server is not ready.
	second := startProgram(t, nil, "serve", "--config", file)
	second.line()
	if code, text := read(t, oneShot(), adminOf(second)+"/readyz", ""); code != http.StatusServiceUnavailable || !strings.Contains(text, "502") {
		t.Errorf("%d %s", code, text)
	}
}

// Another backend is asked, about other events and kinds, from when the
// settings are read again.
func TestReloadBackend(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(webhook.GenerateSecret().Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	backend := func(decision, reply string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			answer := decision
			if strings.Contains(readAll(r.Body), `"type":"message"`) {
				answer = reply
			}
			_, _ = w.Write([]byte(answer))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	first, second := backend(`{"allow":true}`, `{"reply":"first"}`), backend(`{"allow":false,"message":"the second says no"}`, `{"reply":"second"}`)
	settings := func(url, events, kinds string) string {
		return fmt.Sprintf("listen: 127.0.0.1:0\nallow: [publish]\nbackend: {url: '%s', secret: 'file:%s', events: [%s], kinds: [%s], timeout: 1m}\n", url, secret, events, kinds)
	}
	file := settingsFile(t, settings(first, "publish", "order.new, order.old"))
	p := &reloads{program: startProgram(t, nil, "serve", "--config", file), t: t, file: file}
	c, err := client.Dial(t.Context(), last(p.line()), client.WithoutReconnect())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	asks := func(kind, want string) {
		t.Helper()
		var got string
		err := c.Call(t.Context(), kind, 1, &got)
		if want == "" && polywire.CodeOf(err) != polywire.CodeNotFound || want != "" && (err != nil || got != want) {
			t.Errorf("%s: %q, %v", kind, got, err)
		}
	}
	publishes := func(want string) {
		t.Helper()
		err := c.Publish(t.Context(), "a", "k", 1)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("publish: %v, want %q", err, want)
		}
	}
	asks("order.new", "first")
	asks("bill.new", "")
	publishes("")

	p.with(settings(second, "publish, subscribe, disconnect", "order.*, bill.new"))
	asks("order.new", "second")
	asks("bill.new", "second")
	publishes("the second says no")
	for _, err := range []error{c.Subscribe(t.Context(), "a"), c.Call(t.Context(), "presence", "a", nil)} {
		if err == nil || !strings.Contains(err.Error(), "the second says no") {
			t.Error(err)
		}
	}

	p.refuses(settings(second, "connect", "order.new"), "connect begins with a restart")
	p.refuses(settings(second, "", ""), "which say what it is asked")
	p.refuses(settings("ftp://x", "publish", ""), "http or https")
	p.refuses("listen: 127.0.0.1:0\nallow: [publish]\n", "a backend begins or ends with a restart")
	p.refuses(settings(second, "publish", "echo"), "registered twice")
	asks("bill.new", "second")

	p.with(settings(first, "subscribe", "bill.new"))
	asks("order.new", "")
	asks("order.any", "")
	asks("bill.new", "first")
	publishes("")
	p.signal(syscall.SIGTERM)
	if err := p.ends(); err != nil {
		t.Error(err)
	}
}
