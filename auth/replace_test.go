package auth_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/auth"
)

// What is replaced holds for the next connection and the next refresh; who is
// there stays.
func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := strict()
		got := tokens(t, auth.Static(public("HS256")), o)
		s := newSite(t, got.Options()...)
		ann, err := s.dial("ws://memory", good("ann", time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		stronger := sign("EdDSA", signer("EdDSA"), nil, claims(map[string]any{"aud": "mail"}))
		if _, err := s.dial("ws://memory", stronger); reason(err) == "" {
			t.Fatal("a token of tomorrow is taken")
		}
		o.Audiences = []string{"mail"}
		next := tokens(t, auth.Static(public("EdDSA")), o)
		got.Replace(next)
		next.Close() // it has nothing any more
		if _, err := next.Verify(t.Context(), stronger); err == nil {
			t.Error("what was given away is used")
		}
		if _, err := s.dial("ws://memory", good("ann", time.Hour)); err == nil {
			t.Error("a token of yesterday is taken")
		}
		if _, err := s.dial("socketio+ws://memory/", stronger); err != nil {
			t.Error(err)
		}
		if err := ann.Call(t.Context(), auth.KindRefresh, good("ann", time.Hour), nil); reason(err) != auth.ReasonInvalid {
			t.Errorf("refresh with a token of yesterday: %v", err)
		}
		if err := ann.Call(t.Context(), auth.KindRefresh, stronger, nil); err != nil {
			t.Error(err)
		}
		ended(t, false, ann)
		got.Replace(got)
		if _, err := got.Verify(t.Context(), stronger); err != nil {
			t.Error(err)
		}
	})
}

// A key set that stays is not fetched again, and one that goes is let go of.
func TestReplaceKeySet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := newProvider("a"), newProvider("b")
		o := auth.JWKSOptions{Interval: time.Minute, MaxAge: time.Hour, Client: &http.Client{Transport: p}}
		got := tokens(t, auth.Any(auth.Static(public("HS256")), auth.JWKS(keysURL, o)), strict())
		if err := got.Ready(t.Context()); err != nil || got.Stale() != nil {
			t.Fatal(err, got.Stale())
		}
		p.fetched(t, 1)
		p.fails(func(*http.Request) (*http.Response, error) { return nil, errors.New("away") })
		got.Replace(tokens(t, auth.Any(auth.JWKS(keysURL, o), auth.Static(public("ES256"))), strict()))
		if _, err := got.Verify(t.Context(), p.token("a")); err != nil {
			t.Errorf("a key that was known: %v", err)
		}
		if _, err := got.Verify(t.Context(), good("ann", time.Hour)); reason(err) != auth.ReasonInvalid {
			t.Errorf("a key that was taken away: %v", err)
		}
		p.fetched(t, 0)
		time.Sleep(time.Hour)
		if _, err := got.Verify(t.Context(), p.token("a")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := got.Stale(); err == nil || !strings.Contains(err.Error(), "away") || got.Ready(t.Context()) != nil {
			t.Errorf("the keys cannot be had: stale %v, ready %v", err, got.Ready(t.Context()))
		}
		other := o
		other.Client = &http.Client{Transport: q}
		next := tokens(t, auth.JWKS(keysURL, other), strict())
		if err := next.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		got.Replace(next)
		if _, err := got.Verify(t.Context(), q.token("b")); err != nil {
			t.Error(err)
		}
		if _, err := got.Verify(t.Context(), p.token("a")); reason(err) != auth.ReasonInvalid {
			t.Errorf("a key of a set that is gone: %v", err)
		}
		q.fetched(t, 1)
	})
}

// A token that waits for keys which are let go of meanwhile is asked about again.
func TestReplaceMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider("a")
		p.takes = time.Second
		got := tokens(t, auth.JWKS(keysURL, auth.JWKSOptions{Client: &http.Client{Transport: p}}), strict())
		answer := make(chan error)
		go func() {
			_, err := got.Verify(t.Context(), good("ann", time.Hour))
			answer <- err
		}()
		synctest.Wait()
		got.Replace(tokens(t, auth.Static(public("HS256")), strict()))
		if err := <-answer; err != nil {
			t.Error(err)
		}
		if err := got.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		if n := got.Revoke(func(*polywire.Conn) bool { return true }); n != 0 {
			t.Error(n)
		}
	})
}

func TestReadyWithoutKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider("a")
		p.fails(func(*http.Request) (*http.Response, error) { return body(http.StatusTeapot, nil), nil })
		got := tokens(t, auth.Any(auth.Static(public("HS256")), auth.JWKS(keysURL, auth.JWKSOptions{Interval: time.Minute, Client: &http.Client{Transport: p}})), strict())
		for range 3 {
			if err := got.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "418") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("ready: %v", err)
			}
		}
		p.fetched(t, 1)
		p.fails(nil)
		time.Sleep(time.Minute)
		if err := got.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Whom a list of a configuration names ends with the next recheck, and does
// not come back.
func TestRevokedByList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := auth.Config{Secret: string(secret()), Issuers: []string{issuer}, Audiences: []string{audience}}
		opened := must(cfg.Open(nil))
		s := newSite(t, opened.Options()...)
		ann := must(s.dial("ws://memory", good("ann", time.Hour)))
		bob := must(s.dial("ws://memory", sign("HS256", secret(), nil, claims(map[string]any{"sub": "bob", "jti": "b"}))))
		carl := must(s.dial("ws://memory", sign("HS256", secret(), nil, claims(map[string]any{"sub": "carl", "jti": "c"}))))
		cfg.Revoked = []string{"user:ann", "token:b", "user:c", "token:carl"}
		opened.Tokens.Replace(must(cfg.Open(nil)).Tokens)
		ended(t, false, ann, bob, carl)
		if n, err := opened.Tokens.Recheck(t.Context()); n != 2 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		ended(t, true, ann, bob)
		ended(t, false, carl)
		if _, err := s.dial("ws://memory", good("ann", time.Hour)); reason(err) == "" {
			t.Error("who was revoked is let in")
		}
		for _, bad := range []string{"", "ann", "user:", "token:", "role:admin", "user"} {
			if _, err := (auth.Config{Secret: string(secret()), AnyIssuer: true, AnyAudience: true, Revoked: []string{bad}}).Open(nil); err == nil {
				t.Errorf("revoked %q is taken", bad)
			}
		}
	})
}
