package auth_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/auth"
)

// provider is an identity provider in memory: an [http.RoundTripper].
type provider struct {
	mu      sync.Mutex
	keys    map[string]ed25519.PrivateKey
	answer  func(r *http.Request) (*http.Response, error) // in place of the set
	takes   time.Duration
	fetches atomic.Int32
}

func newProvider(ids ...string) *provider {
	p := &provider{keys: make(map[string]ed25519.PrivateKey)}
	p.rotate(ids...)
	return p
}

// rotate has keys of these IDs only; those that were there stay as they were.
func (p *provider) rotate(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.keys
	p.keys = make(map[string]ed25519.PrivateKey)
	for _, id := range ids {
		if p.keys[id] = old[id]; p.keys[id] == nil {
			_, p.keys[id], _ = ed25519.GenerateKey(rand.Reader)
		}
	}
}

// fails makes it answer otherwise; nil ends that.
func (p *provider) fails(answer func(r *http.Request) (*http.Response, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *provider) token(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return sign("EdDSA", p.keys[id], map[string]any{"kid": id}, claims(map[string]any{"exp": time.Now().Add(1000 * time.Hour).Unix()}))
}

func body(status int, b []byte) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(b))}
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	p.fetches.Add(1)
	select {
	case <-time.After(p.takes):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answer != nil {
		return p.answer(r)
	}
	public := make(map[string]crypto.PublicKey)
	for id, k := range p.keys {
		public[id] = k.Public()
	}
	return body(http.StatusOK, jwks(public)), nil
}

const keysURL = "https://user:hunter2@id.example.com/keys?apikey=hunter2"

// fetching returns tokens whose keys are the provider's, and checks one.
func fetching(t *testing.T, p *provider, o auth.JWKSOptions) func(raw, want string) {
	t.Helper()
	o.Client = &http.Client{Transport: p}
	got := tokens(t, auth.JWKS(keysURL, o), strict())
	return func(raw, want string) {
		t.Helper()
		_, err := got.Verify(t.Context(), raw)
		if reason(err) != want {
			t.Errorf("got %v, want %q", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error has credentials: %v", err)
		}
	}
}

func (p *provider) fetched(t *testing.T, want int32) {
	t.Helper()
	if n := p.fetches.Swap(0); n != want {
		t.Errorf("the set was fetched %d times, want %d", n, want)
	}
}

func TestKeySetRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider("a")
		check := fetching(t, p, auth.JWKSOptions{Interval: time.Minute, MaxAge: time.Hour})
		old := p.token("a")
		for range 10 {
			check(old, "")
		}
		p.fetched(t, 1)

		// A new key, before the interval is over and after it.
		p.rotate("a", "b")
		young := p.token("b")
		check(young, auth.ReasonInvalid)
		p.fetched(t, 0)
		time.Sleep(time.Minute)
		check(young, "")
		check(old, "")
		p.fetched(t, 1)

		// A key that is gone is good until the set gets old.
		p.rotate("b")
		time.Sleep(time.Hour)
		check(old, "") // and has the set fetched, beside it
		synctest.Wait()
		check(old, auth.ReasonInvalid)
		check(young, "")
		p.fetched(t, 1)
	})
}

func TestKeySetBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider("a")
		p.takes = time.Second
		check := fetching(t, p, auth.JWKSOptions{Interval: time.Minute, MaxAge: time.Hour})
		raw := p.token("a")
		var crowd sync.WaitGroup
		for range 100 { // all at once, before there are any keys
			crowd.Go(func() { check(raw, "") })
		}
		crowd.Wait()
		p.fetched(t, 1)

		stranger := newProvider("x", "y", "z")
		for range 10 {
			for _, kid := range []string{"x", "y", "z"} {
				for range 5 {
					crowd.Go(func() { check(stranger.token(kid), auth.ReasonInvalid) })
				}
			}
			crowd.Wait()
			time.Sleep(59 * time.Second)
		}
		if n := p.fetches.Swap(0); n < 8 || n > 10 {
			t.Errorf("150 tokens of strangers in ten minutes had the set fetched %d times", n)
		}
		// The ID of a key with another algorithm is no reason to fetch.
		time.Sleep(2 * time.Minute)
		check(sign("HS256", secret(), map[string]any{"kid": "a"}, claims(nil)), auth.ReasonInvalid)
		p.fetched(t, 0)
	})
}

func TestKeySetFailures(t *testing.T) {
	valid := jwks(map[string]crypto.PublicKey{"a": signing().ed.Public()})
	for name, answer := range map[string]func(r *http.Request) (*http.Response, error){
		"no connection": func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") },
		"status":        func(*http.Request) (*http.Response, error) { return body(http.StatusInternalServerError, valid), nil },
		"not found":     func(*http.Request) (*http.Response, error) { return body(http.StatusNotFound, valid), nil },
		"no set":        func(*http.Request) (*http.Response, error) { return body(http.StatusOK, []byte("<html>")), nil },
		"no keys":       func(*http.Request) (*http.Response, error) { return body(http.StatusOK, []byte(`{"keys":[]}`)), nil },
		"too large": func(*http.Request) (*http.Response, error) {
			return body(http.StatusOK, append(bytes.Repeat([]byte(" "), 256<<10), valid...)), nil
		},
		"endless": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(endless{})}, nil
		},
		"never": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"redirect to plain HTTP": func(*http.Request) (*http.Response, error) {
			resp := body(http.StatusFound, nil)
			resp.Header.Set("Location", "http://id.example.com/keys")
			return resp, nil
		},
		"redirects": func(*http.Request) (*http.Response, error) {
			resp := body(http.StatusFound, nil)
			resp.Header.Set("Location", "/keys")
			return resp, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProvider("a")
				check := fetching(t, p, auth.JWKSOptions{Interval: time.Minute, MaxAge: time.Hour})
				raw := p.token("a")
				p.fails(answer)
				start := time.Now()
				check(raw, auth.ReasonUnavailable)
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				check(raw, auth.ReasonUnavailable) // and is not tried again so soon
				p.fails(nil)
				time.Sleep(time.Minute)
				check(raw, "")
				// What is known stays when it fails later.
				p.fails(answer)
				time.Sleep(2 * time.Hour)
				check(raw, "")
				synctest.Wait()
				time.Sleep(10 * time.Second)
				check(raw, "")
				other := newProvider("b")
				check(other.token("b"), auth.ReasonUnavailable)
			})
		})
	}
}

// endless is a body of spaces.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

func TestKeySetWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider("a")
		p.takes = 4 * time.Second
		got := tokens(t, auth.JWKS(keysURL, auth.JWKSOptions{Client: &http.Client{Transport: p}}), strict())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := got.Verify(ctx, p.token("a")); reason(err) != auth.ReasonUnavailable || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		got.Close() // ends the fetch
		if time.Since(start) != time.Second {
			t.Errorf("closed after %v", time.Since(start))
		}
	})
}

func TestKeySetReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider("a")
		s := auth.JWKS(keysURL, auth.JWKSOptions{Client: &http.Client{Transport: p}})
		tokens(t, s, strict())
		p.fails(func(*http.Request) (*http.Response, error) { return body(http.StatusTeapot, nil), nil })
		for range 3 {
			if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "418") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("ready: %v", err)
			}
		}
		p.fails(nil)
		time.Sleep(time.Minute)
		if err := s.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		p.fetched(t, 2)
		if err := auth.JWKS("", auth.JWKSOptions{}).Ready(t.Context()); err == nil {
			t.Error("a set without a place is ready")
		}
	})
}

func TestKeySetFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "keys.json")
		got := tokens(t, auth.JWKS(file, auth.JWKSOptions{Interval: time.Minute, AllowSecrets: true}), strict())
		raw := sign("EdDSA", signer("EdDSA"), map[string]any{"kid": "a"}, claims(nil))
		if _, err := got.Verify(t.Context(), raw); reason(err) != auth.ReasonUnavailable {
			t.Errorf("without a file: %v", err)
		}
		if err := os.WriteFile(file, jwks(map[string]crypto.PublicKey{"a": signing().ed.Public()}), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := got.Verify(t.Context(), raw); err != nil {
			t.Error(err)
		}
	})
}

// Keys of several places: one that is away does not hinder the others' tokens.
func TestAny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider("a")
		both := auth.Any(auth.Static(public("HS256")), auth.JWKS(keysURL, auth.JWKSOptions{Client: &http.Client{Transport: p}, Interval: time.Minute}))
		got := tokens(t, both, strict())
		p.fails(func(*http.Request) (*http.Response, error) { return nil, errors.New("away") })
		if _, err := got.Verify(t.Context(), good("ann", time.Hour)); err != nil {
			t.Error(err)
		}
		if _, err := got.Verify(t.Context(), p.token("a")); reason(err) != auth.ReasonUnavailable {
			t.Error(err)
		}
		p.fails(nil)
		time.Sleep(time.Minute)
		if _, err := got.Verify(t.Context(), p.token("a")); err != nil {
			t.Error(err)
		}
	})
}
