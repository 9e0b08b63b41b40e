package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func login(text string) string {
	b, _ := json.Marshal(map[string]string{"token": text})
	return string(b)
}

func TestLogin(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	state := func(want sessionState) {
		t.Helper()
		var got sessionState
		if _, body := w.ask(http.MethodGet, apiPath+"session", ""); json.Unmarshal([]byte(body), &got) != nil || got != want {
			t.Errorf("%s, want %+v", body, want)
		}
	}
	state(sessionState{TokenNeeded: true})
	if resp, body := w.ask(http.MethodGet, apiPath+"overview", ""); resp.Code != 401 || !strings.Contains(body, codeUnauthorized) || resp.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("nobody: %s %s", resp.Status, body)
	}
	if resp, body := w.ask(http.MethodPost, apiPath+"login", login("wrong")); resp.Code != 401 || len(resp.Cookies()) > 0 {
		t.Errorf("a wrong token: %s %s", resp.Status, body)
	}
	resp, body := w.ask(http.MethodPost, apiPath+"login", login(token))
	if resp.Code != http.StatusNoContent || body != "" || len(resp.Cookies()) != 1 {
		t.Fatalf("%s %s %v", resp.Status, body, resp.Cookies())
	}
	k := resp.Cookies()[0]
	_, port, _ := strings.Cut(strings.TrimPrefix(w.url, "http://"), ":")
	if !k.HttpOnly || k.Secure || k.SameSite != http.SameSiteStrictMode || k.Path != "/" || k.Domain != "" || k.Name != cookieName+"_"+port ||
		k.MaxAge != int(sessionAge/time.Second) || len(k.Value) < 26 {
		t.Errorf("the cookie: %+v", k)
	}
	state(sessionState{TokenNeeded: true, LoggedIn: true})
	if resp, _ := w.ask(http.MethodGet, apiPath+"overview", ""); resp.Code != 200 {
		t.Errorf("with the cookie: %s", resp.Status)
	}
	if resp, _ := w.ask(http.MethodGet, apiPath+"overview", "", "Cookie: "+k.Name+"="+k.Value+"x"); resp.Code != 200 {
		t.Errorf("with another cookie first: %s", resp.Status) // the jar's own is there, too
	}
	for _, site := range []string{"cross-site", "same-site"} {
		if resp, _ := w.ask(http.MethodPost, apiPath+"logout", "{}", "Sec-Fetch-Site: "+site); resp.Code != 403 {
			t.Errorf("a page of another site has logged out: %s", resp.Status)
		}
	}
	if resp, _ := w.ask(http.MethodPost, apiPath+"login", login(token), "Origin: https://evil.example.com"); resp.Code != 403 {
		t.Errorf("a page of another site has logged in: %s", resp.Status)
	}
	resp, _ = w.ask(http.MethodPost, apiPath+"logout", "")
	if resp.Code != http.StatusNoContent || len(resp.Cookies()) != 1 || resp.Cookies()[0].MaxAge >= 0 {
		t.Errorf("%s %v", resp.Status, resp.Cookies())
	}
	state(sessionState{TokenNeeded: true})
	if resp, _ := w.ask(http.MethodGet, apiPath+"overview", "", "Cookie: "+k.Name+"="+k.Value); resp.Code != 401 {
		t.Errorf("with the cookie of a session that is over: %s", resp.Status)
	}
	if text := w.log.String(); strings.Contains(text, token) || strings.Contains(text, k.Value) || !strings.Contains(text, "logged in") {
		t.Errorf("the log: %s", text)
	}
	resp, _ = w.ask(http.MethodPost, apiPath+"login", login(token), "X-Forwarded-Proto: https")
	if k := resp.Cookies(); len(k) != 1 || !k[0].Secure {
		t.Errorf("behind a proxy with TLS: %v", k)
	}
}

// The cookie opens what else is on the listener, as the token does.
func TestLoginOpensTheListener(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	if resp, _ := w.ask(http.MethodGet, "/debug/pprof/", ""); resp.Code != 401 {
		t.Error(resp.Status)
	}
	w.ask(http.MethodPost, apiPath+"login", login(token))
	if resp, _ := w.ask(http.MethodGet, "/debug/pprof/", ""); resp.Code != 200 {
		t.Error(resp.Status)
	}
}

func TestLoginWithoutToken(t *testing.T) {
	w := newWorld(t, worldOptions{})
	var s sessionState
	w.get("session", &s)
	if s != (sessionState{LoggedIn: true}) {
		t.Errorf("%+v", s)
	}
	if resp, body := w.ask(http.MethodPost, apiPath+"login", login(token)); resp.Code != 404 {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, _ := w.ask(http.MethodGet, apiPath+"overview", ""); resp.Code != 200 {
		t.Error(resp.Status)
	}
}

// However many tokens are tried at once, few are looked at.
func TestLoginGuessing(t *testing.T) {
	w := newWorld(t, worldOptions{token: token})
	var refused, limited atomic.Int32
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			switch resp, body := w.ask(http.MethodPost, apiPath+"login", login(fmt.Sprint("guess ", i))); resp.Code {
			case http.StatusUnauthorized:
				refused.Add(1)
			case http.StatusTooManyRequests:
				limited.Add(1)
				if resp.Header.Get("Retry-After") == "" {
					t.Error("when to come again is not said")
				}
			default:
				t.Errorf("%s %s", resp.Status, body)
			}
		})
	}
	wg.Wait()
	// A minute may have ended meanwhile.
	if n := refused.Load(); n < maxTries || n > 3*maxTries || n+limited.Load() != 40 {
		t.Errorf("%d tokens were looked at, %d not", n, limited.Load())
	}
	if resp, _ := w.ask(http.MethodGet, apiPath+"overview", "", bearer); resp.Code != 200 {
		t.Errorf("who has the token is locked out: %s", resp.Status)
	}
}

func TestTries(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	one, other := networkOf("192.0.2.1:1"), networkOf("192.0.2.2:1")
	tr := newTries()
	for range maxTries {
		if wait := tr.take(one, now); wait != 0 {
			t.Fatalf("wait %s", wait)
		}
	}
	if wait := tr.take(one, now.Add(time.Second)); wait != triesSpan-time.Second {
		t.Errorf("after %d: wait %s", maxTries, wait)
	}
	if wait := tr.take(other, now); wait != 0 {
		t.Errorf("another address waits %s", wait)
	}
	tr.back(one)
	if wait := tr.take(one, now); wait != 0 {
		t.Errorf("one was right, wait %s", wait)
	}
	if wait := tr.take(one, now.Add(triesSpan)); wait != 0 {
		t.Errorf("a minute later: wait %s", wait)
	}
	tr.back(other) // of the minute before
	if tr.all != 1 {
		t.Errorf("%d tries", tr.all)
	}
	for i := range 1000 {
		tr.take(networkOf(fmt.Sprintf("10.0.%d.%d:9", i/200, i%200)), now.Add(triesSpan))
	}
	if tr.all != maxAllTries || len(tr.from) > maxAllTries {
		t.Errorf("%d tries of %d addresses", tr.all, len(tr.from))
	}
}

func TestNetworkOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:80": "192.0.2.7/32", "[::ffff:192.0.2.7]:80": "192.0.2.7/32", "[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1": "fe80::/64", "": "invalid Prefix", "x": "invalid Prefix", "name:80": "invalid Prefix",
	} {
		if got := networkOf(remote); got.String() != want {
			t.Errorf("%q: %s, want %s", remote, got, want)
		}
	}
	if networkOf("x") != (netip.Prefix{}) {
		t.Error("those without an address count as one")
	}
}

func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions()
		ids := make([]string, maxSessions+3)
		for i := range ids {
			ids[i] = s.begin(time.Now())
			time.Sleep(time.Second)
		}
		for i, id := range ids {
			if got := s.has(id, time.Now()); got != (i >= 3) {
				t.Errorf("session %d: %v", i, got)
			}
		}
		if len(s.all) != maxSessions {
			t.Errorf("%d sessions", len(s.all))
		}
		s.end(ids[5])
		if s.has(ids[5], time.Now()) || s.has("", time.Now()) || s.has(strings.Repeat("x", 4000), time.Now()) {
			t.Error("that is no session")
		}
		time.Sleep(sessionAge)
		if s.has(ids[len(ids)-1], time.Now()) {
			t.Error("it has no end")
		}
		s.begin(time.Now())
		if len(s.all) != 1 {
			t.Errorf("%d are kept that are over", len(s.all)-1)
		}
	})
}

func TestCookieOf(t *testing.T) {
	for host, want := range map[string]string{
		"localhost:9090": cookieName + "_9090", "localhost": cookieName, "[::1]:80": cookieName + "_80", "[::1]": cookieName,
		"a:http": cookieName, "a:123456": cookieName, "": cookieName, "a:": cookieName + "_",
	} {
		if got := cookieOf(&http.Request{Host: host}); got != want {
			t.Errorf("%q: %s", host, got)
		}
	}
}
