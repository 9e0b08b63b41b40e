package console

import (
	"crypto/rand"
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of sessions and of tries to begin one.
const (
	maxSessions   = 64 // the oldest goes
	sessionAge    = 12 * time.Hour
	maxShown      = 8 // sessions by one request
	maxTokenBytes = 512
	triesSpan     = time.Minute
	maxTries      = 5   // of one address in that time that are wrong
	maxAllTries   = 100 // of all
)

// cookieName begins the names of cookies; the port follows, since browsers give
// a cookie to every port of a host.
const cookieName = "polywire_console"

// sessions are those who have shown the token.
type sessions struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]time.Time // until when, by the digest of the id
}

func newSessions() *sessions { return &sessions{all: make(map[[sha256.Size]byte]time.Time)} }

// begin returns the id of a new session.
func (s *sessions) begin(now time.Time) string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	for len(s.all) >= maxSessions {
		var oldest [sha256.Size]byte
		first := time.Time{}
		for digest, until := range s.all {
			if first.IsZero() || until.Before(first) {
				oldest, first = digest, until
			}
		}
		delete(s.all, oldest)
	}
	s.all[sha256.Sum256([]byte(id))] = now.Add(sessionAge)
	return id
}

// forget drops those that are over.
func (s *sessions) forget(now time.Time) {
	for digest, until := range s.all {
		if !now.Before(until) {
			delete(s.all, digest)
		}
	}
}

// has finds a session by the digest of its id: how long that takes tells nothing.
func (s *sessions) has(id string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.all[sha256.Sum256([]byte(id))]
	return ok && now.Before(until)
}

func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(id)))
}

// tries counts wrong tokens.
type tries struct {
	mu    sync.Mutex
	since time.Time
	from  map[netip.Prefix]int // not more than maxAllTries
	all   int
}

func newTries() *tries { return &tries{from: make(map[netip.Prefix]int)} }

// take counts a try of an address, which may be taken back when the token was
// right; else it says how long to wait.
func (t *tries) take(from netip.Prefix, now time.Time) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.since) >= triesSpan {
		t.since, t.all = now, 0
		clear(t.from)
	}
	if t.all >= maxAllTries || t.from[from] >= maxTries {
		return t.since.Add(triesSpan).Sub(now)
	}
	t.all++
	t.from[from]++
	return 0
}

// back takes a try back.
func (t *tries) back(from netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.from[from] > 0 { // or a new minute has begun
		t.from[from]--
		t.all--
	}
}

// networkOf is what counts as one address: of IPv6 what one line gets.
func networkOf(remote string) netip.Prefix {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// cookieOf is the name of the cookie for the host that a request is for.
func cookieOf(r *http.Request) string {
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil || len(port) > 5 || strings.Trim(port, "0123456789") != "" {
		return cookieName
	}
	return cookieName + "_" + port
}

// shownSessions are the ids that a request shows: another program of the host
// may have set a cookie of the same name.
func shownSessions(r *http.Request) (ids []string) {
	for _, k := range r.CookiesNamed(cookieOf(r)) {
		if len(ids) < maxShown {
			ids = append(ids, k.Value)
		}
	}
	return ids
}

// loggedIn reports whether a request shows a session.
func (c *Console) loggedIn(r *http.Request) bool {
	now := time.Now()
	return slices.ContainsFunc(shownSessions(r), func(id string) bool { return c.sessions.has(id, now) })
}

type sessionState struct {
	TokenNeeded bool `json:"token_needed"`
	LoggedIn    bool `json:"logged_in"`
}

func (c *Console) session(r *request) (any, error) {
	return sessionState{c.o.Admin.Guarded(), c.o.Admin.Authorized(r.Request)}, nil
}

type loginRequest struct {
	Token string `json:"token"`
}

func (c *Console) login(r *request) (any, error) {
	in, err := bind[loginRequest](r)
	switch {
	case err != nil:
		return nil, err
	case !c.o.Admin.Guarded():
		return nil, problem{http.StatusNotFound, codeNotFound, "this listener has no token: nobody needs to log in", 0}
	case len(in.Token) > maxTokenBytes:
		return nil, wrong("token: at most %d bytes", maxTokenBytes)
	}
	from, now := networkOf(r.RemoteAddr), time.Now()
	if wait := c.tries.take(from, now); wait > 0 {
		return nil, problem{http.StatusTooManyRequests, codeTooMany, "too many wrong tokens: wait a minute", wait}
	}
	if !c.o.Admin.IsToken(in.Token) {
		c.o.Logger.Info("a wrong token was shown to the console", "from", r.RemoteAddr)
		return nil, problem{http.StatusUnauthorized, codeUnauthorized, "the token is wrong", 0}
	}
	c.tries.back(from)
	c.o.Logger.Info("somebody has logged in to the console", "from", r.RemoteAddr)
	http.SetCookie(r.w, c.cookie(r.Request, c.sessions.begin(now), int(sessionAge/time.Second)))
	return nil, nil
}

func (c *Console) logout(r *request) (any, error) {
	if _, err := bind[struct{}](r); err != nil {
		return nil, err
	}
	for _, id := range shownSessions(r.Request) {
		c.sessions.end(id)
	}
	http.SetCookie(r.w, c.cookie(r.Request, "", -1))
	return nil, nil
}

// cookie is for this host alone, out of reach for scripts and other sites.
func (c *Console) cookie(r *http.Request, value string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure where that can be
		Name: cookieOf(r), Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		// A proxy may speak TLS for the listener, which itself does not.
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}
