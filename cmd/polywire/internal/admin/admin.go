// Package admin is the listener for those who run a server: is it alive, is it
// ready, profiles, and whatever else is mounted on it. It is never part of the
// listeners that clients reach.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/polywire/polywire/observe/health"
)

// MinTokenBytes is the least of a token.
const MinTokenBytes = 16

// Options say where the listener is, and who may ask.
type Options struct {
	// Address is host:port. Without a Token it must be one of this machine's
	// loopback addresses, or "localhost".
	Address string
	// Token is what everything but /livez and /readyz asks for: as
	// "Authorization: Bearer TOKEN", or as the password of any user. Empty:
	// whoever reaches the address may ask.
	Token string
	// Hostnames are names by which it may be asked besides localhost and
	// addresses. A name that is not known is refused, so that no page of
	// somebody else's domain that leads here reads an answer.
	Hostnames []string
	// Checks answer /livez and /readyz. Required.
	Checks *health.Checks
	// Logger: nil is nowhere.
	Logger *slog.Logger
}

// Server is the listener. Mount handlers before Serve.
type Server struct {
	o      Options
	digest [sha256.Size]byte
	names  map[string]bool
	mux    *http.ServeMux
	admit  []func(r *http.Request) bool
	http   *http.Server
	cross  *http.CrossOriginProtection
}

// New returns a server that has /livez, /readyz and /debug/pprof/. The error
// says what is wrong with the options.
func New(o Options) (*Server, error) {
	if err := Check(o.Address, o.Token); err != nil {
		return nil, err
	}
	if o.Checks == nil {
		return nil, errors.New("admin: no checks")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, digest: sha256.Sum256([]byte(o.Token)), names: map[string]bool{"localhost": true}, mux: http.NewServeMux(), cross: http.NewCrossOriginProtection()}
	for _, n := range o.Hostnames {
		s.names[strings.ToLower(strings.TrimSuffix(n, "."))] = true
	}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       time.Minute, // no time to write: profiles and streams of events take theirs
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	s.Open("GET /livez", s.probe(o.Checks.Livez()))
	s.Open("GET /readyz", s.probe(o.Checks.Readyz()))
	s.Handle("GET /debug/pprof/", http.HandlerFunc(pprof.Index))
	s.Handle("GET /debug/pprof/cmdline", http.HandlerFunc(noArguments))
	s.Handle("GET /debug/pprof/profile", http.HandlerFunc(pprof.Profile))
	s.Handle("GET /debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
	s.Handle("POST /debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
	s.Handle("GET /debug/pprof/trace", http.HandlerFunc(pprof.Trace))
	return s, nil
}

// Check says what is wrong with an address and a token.
func Check(address, token string) error {
	host, _, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return fmt.Errorf("%q: want host:port", address)
	case token != "" && len(token) < MinTokenBytes:
		return fmt.Errorf("the token has %d characters, fewer than %d", len(token), MinTokenBytes)
	case token == "" && !loopback(host):
		return fmt.Errorf("other machines may reach %s: it needs a token", address)
	}
	return nil
}

// loopback reports whether only this machine reaches a host.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Handle mounts a handler for a pattern of http.ServeMux, for those who show
// the token. This is where the console and the HTTP API are put.
func (s *Server) Handle(pattern string, h http.Handler) {
	s.mux.Handle(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.Authorized(r) {
			s.o.Logger.Info("a request to the admin listener was refused", "from", r.RemoteAddr, "path", r.URL.Path)
			w.Header().Add("WWW-Authenticate", `Bearer realm="polywire"`)
			w.Header().Add("WWW-Authenticate", `Basic realm="polywire", charset="UTF-8"`)
			http.Error(w, "the token is missing, or wrong", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	}))
}

// Open mounts a handler for everybody who reaches the address: a page to log in
// at, say.
func (s *Server) Open(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Admit adds another way of being authorized than by the token: a cookie that a
// page to log in at has set, say.
func (s *Server) Admit(f func(r *http.Request) bool) { s.admit = append(s.admit, f) }

// Authorized reports whether a request shows the token, or there is none.
func (s *Server) Authorized(r *http.Request) bool {
	if s.o.Token == "" || s.IsToken(shownToken(r)) {
		return true
	}
	for _, f := range s.admit {
		if f(r) {
			return true
		}
	}
	return false
}

// Guarded reports whether there is a token.
func (s *Server) Guarded() bool { return s.o.Token != "" }

// IsToken compares in a time that does not depend on the text.
func (s *Server) IsToken(text string) bool {
	digest := sha256.Sum256([]byte(text))
	return s.o.Token != "" && subtle.ConstantTimeCompare(digest[:], s.digest[:]) == 1
}

func shownToken(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// serve is what every request goes through.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if !s.known(r.Host) {
		s.o.Logger.Info("a request to the admin listener was for another host", "from", r.RemoteAddr, "host", r.Host)
		http.Error(w, "this listener does not answer to that host name; admin.hostnames lists more", http.StatusMisdirectedRequest)
		return
	}
	if err := s.foreign(r); err != nil {
		s.o.Logger.Info("a request of another site to the admin listener was refused", "from", r.RemoteAddr, "origin", r.Header.Get("Origin"))
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// known reports whether a host is one by which the listener may be asked. A
// page of another domain whose name was made to lead here has that name.
func (s *Server) known(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if _, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")); err == nil {
		return true
	}
	return s.names[strings.ToLower(strings.TrimSuffix(host, "."))]
}

// foreign says why a request that a page of another site has made is refused.
// That somebody follows a link to here is none.
func (s *Server) foreign(r *http.Request) error {
	if err := s.cross.Check(r); err != nil {
		return err
	}
	refused := errors.New("cross-origin request refused")
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return refused
		}
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "", "same-origin", "none":
		return nil
	}
	if r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" {
		return nil
	}
	return refused
}

// probe tells details to those alone who show the token.
func (s *Server) probe(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Authorized(r) {
			h.ServeHTTP(w, r)
			return
		}
		code := &status{header: make(http.Header), code: http.StatusOK}
		h.ServeHTTP(code, r)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code.code)
		text := "ok\n"
		if code.code != http.StatusOK {
			text = "failed\n"
		}
		_, _ = io.WriteString(w, text) // the client may be gone
	})
}

// status keeps the status of an answer, and nothing else.
type status struct {
	header http.Header
	code   int
}

func (s *status) Header() http.Header         { return s.header }
func (s *status) Write(b []byte) (int, error) { return len(b), nil }
func (s *status) WriteHeader(code int)        { s.code = code }

// noArguments stands where pprof shows the command line, which may have secrets.
func noArguments(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "polywire") // the client may be gone
}

// Listen opens the listener.
func (s *Server) Listen() (net.Listener, error) {
	l, err := net.Listen("tcp", s.o.Address)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return l, nil
}

// Serve answers until Shutdown (nil), or l fails.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// Shutdown ends it. What is still being answered when ctx ends is cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	if s.http.Shutdown(ctx) != nil {
		return s.http.Close()
	}
	return nil
}
