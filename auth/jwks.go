package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// JWKSOptions are those of [JWKS]. The zero value is good.
type JWKSOptions struct {
	// Interval is the least time between two fetches, for a key that is not
	// known or after a failure. Zero: 30 s.
	Interval time.Duration
	// MaxAge is how old the set may get before it is fetched again, beside the
	// tokens that are verified meanwhile. Zero: 15 minutes.
	MaxAge time.Duration
	// Timeout bounds a fetch. Zero: 5 s.
	Timeout time.Duration
	// MaxBytes bounds the set. Zero: 256 KiB.
	MaxBytes int64
	// Client fetches; its Timeout and CheckRedirect are not used. Nil: one with
	// the system's roots and proxy.
	Client *http.Client
	// InsecureHTTP allows http:// to other hosts than this one.
	InsecureHTTP bool
	// AllowSecrets takes secrets for HS256 and so on from the set. Only for
	// sets that nobody else can read; never with a URL.
	AllowSecrets bool
}

// KeySet is a JSON Web Key Set that is fetched when it is needed. Make one with
// [JWKS]. Its methods may be called by many goroutines at once.
type KeySet struct {
	at      string
	url     *url.URL // nil: a file
	o       JWKSOptions
	client  http.Client
	invalid error

	ctx    context.Context //nolint:containedctx // ends fetches that run when the set is closed
	cancel context.CancelFunc
	goes   sync.WaitGroup

	mu      sync.Mutex
	keys    []Key
	fetched time.Time // when keys came; zero: never
	tried   time.Time
	err     error         // of the last fetch
	flight  chan struct{} // closed at the end of the fetch that runs; nil: none does
	closed  bool
}

// JWKS returns the keys of a set at an https:// URL or in a file, given by its
// path. It is read with the first token. A token whose key is not in the set
// has it read again, once in an interval however many there are; when that
// fails, the keys that are known stay. A mistake in where is reported by [JWT].
func JWKS(where string, o JWKSOptions) *KeySet {
	o.Interval = cmp.Or(max(o.Interval, 0), 30*time.Second)
	o.MaxAge = cmp.Or(max(o.MaxAge, 0), 15*time.Minute)
	o.Timeout = cmp.Or(max(o.Timeout, 0), 5*time.Second)
	o.MaxBytes = cmp.Or(max(o.MaxBytes, 0), 256<<10)
	s := &KeySet{at: where, o: o}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if o.Client != nil {
		s.client = *o.Client
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t = t.Clone()
		t.DisableKeepAlives = true // it is not needed again for a while
		s.client.Transport = t
	}
	s.client.Timeout = o.Timeout
	s.client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return errors.New("too many redirects")
		}
		return s.allow(r.URL)
	}
	if strings.Contains(where, "://") {
		u, err := url.Parse(where)
		switch {
		case err != nil:
			s.invalid = errors.New("auth: the URL of the key set is malformed")
		case o.AllowSecrets:
			s.invalid = errors.New("auth: no secrets from a URL")
		default:
			s.url, s.invalid = u, s.allow(u)
		}
	} else if where == "" {
		s.invalid = errors.New("auth: a key set needs a URL or a file")
	}
	return s
}

// allow says why a URL is not fetched from.
func (s *KeySet) allow(u *url.URL) error {
	switch {
	case u.Host == "":
		return errors.New("auth: the URL of the key set has no host")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("auth: a key set is not fetched by %q", u.Scheme)
	case s.o.InsecureHTTP:
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return errors.New("auth: a key set is fetched by https, unless InsecureHTTP says otherwise")
}

// String returns where the set is, without credentials.
func (s *KeySet) String() string {
	if s.url == nil {
		return "key set " + s.at
	}
	return "key set " + s.url.Scheme + "://" + s.url.Host + s.url.Path
}

func (s *KeySet) check() error { return s.invalid }

// close ends a fetch that runs, and waits for it.
func (s *KeySet) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.goes.Wait()
}

// Ready fetches the set if it has not been, and returns why there are no keys;
// nil if there are some. It is a check for /readyz.
func (s *KeySet) Ready(ctx context.Context) error {
	if s.invalid != nil {
		return s.invalid
	}
	s.mu.Lock()
	if !s.fetched.IsZero() {
		s.mu.Unlock()
		return nil
	}
	f := s.start()
	s.mu.Unlock()
	if err := wait(ctx, f); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetched.IsZero() {
		return s.err
	}
	return nil
}

// Stale returns why the set was not fetched when that was last tried, while
// the keys of before are used on; nil: it was, or has never been.
func (s *KeySet) Stale() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetched.IsZero() {
		return nil
	}
	return s.err
}

func (s *KeySet) lookup(ctx context.Context, kid, alg string) ([]Key, error) {
	s.mu.Lock()
	found := candidates(s.keys, kid, alg)
	if len(found) > 0 {
		if time.Since(s.fetched) >= s.o.MaxAge {
			s.start()
		}
		s.mu.Unlock()
		return found, nil
	}
	if kid != "" && slices.ContainsFunc(s.keys, func(k Key) bool { return k.id == kid }) {
		s.mu.Unlock()
		return nil, errUnknownKey // of that algorithm: another set would not have it either
	}
	f := s.start()
	s.mu.Unlock()
	if err := wait(ctx, f); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found = candidates(s.keys, kid, alg); len(found) > 0 {
		return found, nil
	}
	if s.err != nil || s.fetched.IsZero() {
		return nil, &unavailableError{s.err}
	}
	return nil, errUnknownKey
}

// wait waits for a fetch; nil: none runs.
func wait(ctx context.Context, f <-chan struct{}) error {
	if f == nil {
		return nil
	}
	select {
	case <-f:
		return nil
	case <-ctx.Done():
		return &unavailableError{ctx.Err()}
	}
}

// start fetches the set, unless that was tried just now, and returns the end of
// the fetch that runs; nil: none does. s.mu is held.
func (s *KeySet) start() <-chan struct{} {
	now := time.Now()
	if s.flight != nil {
		return s.flight
	}
	if s.closed || !s.tried.IsZero() && now.Sub(s.tried) < s.o.Interval {
		return nil
	}
	f := make(chan struct{})
	s.flight, s.tried = f, now
	s.goes.Go(func() { // ends with the time of a fetch, or with close
		defer close(f)
		keys, err := s.fetch()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight, s.err = nil, err
		if err == nil {
			s.keys, s.fetched = keys, now
		}
	})
	return f
}

func (s *KeySet) fetch() ([]Key, error) {
	read := s.download
	if s.url == nil {
		read = s.readFile
	}
	text, err := read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	if int64(len(text)) > s.o.MaxBytes {
		return nil, fmt.Errorf("%s: more than %d bytes", s, s.o.MaxBytes)
	}
	keys, err := ParseJWKS(text, s.o.AllowSecrets)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	return keys, nil
}

func (s *KeySet) readFile() ([]byte, error) {
	f, err := os.Open(s.at)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was read
	return io.ReadAll(io.LimitReader(f, s.o.MaxBytes+1))
}

func (s *KeySet) download() ([]byte, error) {
	r, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return nil, errors.New("malformed URL")
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(r)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // the URL may have credentials
		}
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered with %d", resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, s.o.MaxBytes+1))
}
