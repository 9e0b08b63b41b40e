package polywire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/polywire/polywire/wire"
)

// door is one way in and the wire that it belongs to.
type door struct {
	wire.Door
	host host
}

// openDoors collects the doors of the wires.
func (s *Server) openDoors() error {
	s.doors, s.streams = make(map[string]door), make(map[string]door)
	var errs []error
	add := func(to map[string]door, key, what string, d door) {
		if other, dup := to[key]; dup {
			errs = append(errs, fmt.Errorf("%w: wires %q and %q both want %s %q", ErrConfig, other.host.wire, d.host.wire, what, key))
			return
		}
		to[key] = d
	}
	for _, w := range s.cfg.wires {
		if c, ok := w.(wire.Checker); ok {
			if err := c.Check(); err != nil {
				errs = append(errs, fmt.Errorf("%w: wire %q: %w", ErrConfig, w.Name(), err))
			}
		}
		for _, d := range w.Doors() {
			open := door{d, host{s, w.Name()}}
			if d.HTTP != nil {
				add(s.doors, d.Path, "path", open)
			}
			if d.Stream != nil {
				add(s.streams, d.Prefix, "listener prefix", open)
			}
		}
	}
	return errors.Join(errs...)
}

// httpDoor returns the door for a path: its own, or the longest that ends in a
// slash above it.
func (s *Server) httpDoor(path string) (door, bool) {
	if d, ok := s.doors[path]; ok {
		return d, true
	}
	for i := strings.LastIndexByte(path, '/'); i >= 0; i = strings.LastIndexByte(path[:i], '/') {
		if d, ok := s.doors[path[:i+1]]; ok {
			return d, true
		}
	}
	return door{}, false
}

// ServeHTTP implements http.Handler: requests for a wire's path open
// connections, all others go to the application's own routes.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.Start(); err != nil {
		if errors.Is(err, ErrClosed) {
			s.refuseHTTP(w, r, "", string(CodeUnavailable), Errorf(CodeUnavailable, "shutting down"))
			return
		}
		s.reportError(nil, err)
		http.Error(w, "the server is not configured correctly", http.StatusInternalServerError)
		return
	}
	if s.misdirected(w, r) {
		s.leaveBody(w, r)
		return
	}
	if s.cfg.proxies != nil {
		r = s.cfg.proxies.origin(r)
	}
	d, ok := s.httpDoor(r.URL.Path)
	if !ok {
		s.routes.ServeHTTP(w, r)
		if r.ContentLength != 0 {
			if _, pattern := s.routes.Handler(r); pattern == "" { // none of them
				s.leaveBody(w, r)
			}
		}
		return
	}
	if d.Continues != nil && d.Continues(r) {
		d.HTTP(d.host, w, r)
		return
	}
	defer s.leaveBody(w, r) // a connection that becomes a link has had none
	if err := s.check(addressOf(r.RemoteAddr)); err != nil {
		s.refuseHTTP(w, r, d.host.wire, refusedLimit, err.(*Error)) //nolint:errorlint,forcetypeassert // made there
		return
	}
	d.HTTP(d.host, w, r)
}

// leaveBody bounds the time for the rest of the body of a request that has been
// answered: net/http reads it, for as long as the client likes.
func (s *Server) leaveBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.cfg.HandshakeTimeout))
	}
}

// listeners are the server's own.
type listeners struct {
	mu      sync.Mutex
	closing bool
	https   []*http.Server
	streams []net.Listener
	opening map[net.Conn]struct{} // streams that are no links yet; nil after the cut
	serving sync.WaitGroup
}

// begin notes that a stream is being opened. False: it is too late.
func (ls *listeners) begin(nc net.Conn) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.opening == nil {
		return false
	}
	ls.opening[nc] = struct{}{}
	return true
}

func (ls *listeners) opened(nc net.Conn) {
	ls.mu.Lock()
	delete(ls.opening, nc)
	ls.mu.Unlock()
}

// cut ends the streams that are being opened.
func (ls *listeners) cut() {
	ls.mu.Lock()
	opening := ls.opening
	ls.opening = nil
	for nc := range opening {
		nc.Close() //nolint:errcheck // cut off
	}
	ls.mu.Unlock()
}

// close stops them all. HTTP requests that are being answered have until ctx ends.
func (ls *listeners) close(ctx context.Context) (errs []error) {
	ls.mu.Lock()
	ls.closing = true
	https, streams := ls.https, ls.streams
	ls.mu.Unlock()
	for _, l := range streams {
		errs = appendClosing(errs, l.Close())
	}
	for _, h := range https {
		if h.Shutdown(ctx) != nil {
			errs = appendClosing(errs, h.Close())
		}
	}
	return errs
}

func (ls *listeners) add(h *http.Server, l net.Listener) error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closing {
		return ErrClosed
	}
	if h != nil {
		ls.https = append(ls.https, h)
	} else {
		ls.streams = append(ls.streams, l)
	}
	ls.serving.Add(1)
	return nil
}

// ListenAndServe listens on addresses and serves until the server is shut down
// or closed (nil, also where that was before), or until one of them fails.
// Addresses are URLs:
//
//	ws://host:port, http://  HTTP and all wires that begin with it
//	wss://, https://         the same with [WithTLS]
//	tcp://, tls://, unix:///path       streams of the native wire
//	drs+tcp:// and so on               streams of the wire with that prefix
//
// An empty host is every address, port 0 any free one. A unix socket that
// nobody listens on any more is replaced.
func (s *Server) ListenAndServe(addresses ...string) error {
	if len(addresses) == 0 {
		return fmt.Errorf("%w: no address to listen on", ErrConfig)
	}
	failed := make(chan error, len(addresses))
	for _, a := range addresses {
		l, scheme, err := s.Listen(a)
		if err == nil {
			go func() { failed <- s.Serve(l, scheme) }() // ends with the server
			continue
		}
		if errors.Is(err, ErrClosed) {
			<-s.closed
			return nil
		}
		return errors.Join(err, s.Close())
	}
	for range addresses {
		if err := <-failed; err != nil {
			return errors.Join(err, s.Close())
		}
	}
	<-s.closed
	return nil
}

// Listen opens a listener for an address of [Server.ListenAndServe], and
// returns it with the scheme to give to [Server.Serve]: a port 0 is known then.
// It starts the server if nothing else has. Errors: those of [Server.Start], one
// that wraps [ErrConfig] for an address that cannot be, and the system's.
func (s *Server) Listen(address string) (l net.Listener, scheme string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", fmt.Errorf("%w: address %q: %w", ErrConfig, address, err)
	}
	if err := s.Start(); err != nil {
		return nil, "", err
	}
	if _, err := s.servedBy(u.Scheme); err != nil {
		return nil, "", fmt.Errorf("address %q: %w", address, err)
	}
	if u.Scheme == "unix" || strings.HasSuffix(u.Scheme, "+unix") {
		l, err = listenUnix(u.Path)
	} else {
		if u.Port() == "" {
			return nil, "", fmt.Errorf("%w: address %q has no port", ErrConfig, address)
		}
		l, err = net.Listen("tcp", u.Host)
	}
	if err != nil {
		return nil, "", fmt.Errorf("polywire: listen on %q: %w", address, err)
	}
	return l, u.Scheme, nil
}

// listenUnix listens on a socket file, replacing one that nobody listens on.
func listenUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if c, dialErr := new(net.Dialer).DialContext(context.Background(), "unix", path); dialErr == nil {
		c.Close() //nolint:errcheck // somebody is there
		return nil, err
	} else if !errors.Is(dialErr, syscall.ECONNREFUSED) {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// served is how connections of a scheme are handled.
type served struct {
	http   bool
	tls    bool
	stream door
}

func (s *Server) servedBy(scheme string) (served, error) {
	prefix, base, cut := strings.Cut(scheme, "+")
	if !cut {
		prefix, base = "", scheme
	}
	var by served
	switch base {
	case "ws", "http":
		by.http = true
	case "wss", "https":
		by.http, by.tls = true, true
	case "tcp", "unix":
	case "tls":
		by.tls = true
	default:
		return by, fmt.Errorf("%w: unknown scheme %q", ErrConfig, scheme)
	}
	if by.tls && s.cfg.tls == nil {
		return by, fmt.Errorf("%w: scheme %q needs WithTLS", ErrConfig, scheme)
	}
	if by.http {
		return by, nil
	}
	var ok bool
	if by.stream, ok = s.streams[prefix]; !ok {
		return by, fmt.Errorf("%w: no wire serves %q", ErrConfig, scheme)
	}
	return by, nil
}

// Serve accepts connections on l until the server ends (nil) or l fails. On a
// server that has ended before, it returns nil at once: whoever calls it on a
// goroutine need not know which came first. The scheme says what they are; see
// [Server.ListenAndServe]. For wss and tls the listener is a plain one. l is
// closed when Serve returns.
func (s *Server) Serve(l net.Listener, scheme string) error {
	defer l.Close() //nolint:errcheck // closed by Shutdown, too
	if err := s.serve(l, scheme); !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

func (s *Server) serve(l net.Listener, scheme string) error {
	if err := s.Start(); err != nil {
		return err
	}
	by, err := s.servedBy(scheme)
	if err != nil {
		return err
	}
	if by.http {
		return s.serveHTTP(l, by.tls)
	}
	if err := s.listeners.add(nil, l); err != nil {
		return err
	}
	defer s.listeners.serving.Done()
	return s.acceptStreams(l, by)
}

func (s *Server) serveHTTP(l net.Listener, secure bool) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.cfg.HandshakeTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(s.cfg.logger.Handler(), slog.LevelDebug),
	}
	if s.cfg.httpServer != nil {
		s.cfg.httpServer(h)
	}
	if err := s.listeners.add(h, nil); err != nil {
		return err
	}
	defer s.listeners.serving.Done()
	if secure {
		t := s.cfg.tls.Clone()
		t.NextProtos = []string{"http/1.1"} // WebSocket upgrades need it
		l = tls.NewListener(l, t)
	}
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("polywire: serve HTTP: %w", err)
	}
	return nil
}

// acceptStreams accepts until l is closed. Running out of file descriptors and
// the like pass, so it tries again.
func (s *Server) acceptStreams(l net.Listener, by served) error {
	var wait time.Duration
	for {
		nc, err := l.Accept()
		if err == nil {
			wait = 0
			if !s.openStream(nc, by) {
				return nil
			}
			continue
		}
		if s.State() != StateRunning {
			return nil
		}
		var timeout interface{ Temporary() bool }
		if !errors.As(err, &timeout) || !timeout.Temporary() {
			return fmt.Errorf("polywire: accept: %w", err)
		}
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		s.reportError(nil, fmt.Errorf("polywire: accept, trying again: %w", err))
		select {
		case <-time.After(wait):
		case <-s.closed:
			return nil
		}
	}
}

// openStream takes a connection through TLS and its wire's opening, on a
// goroutine of its own. False: the server is closing.
func (s *Server) openStream(nc net.Conn, by served) bool {
	if err := s.check(hostOf(nc.RemoteAddr())); err != nil {
		s.refused(by.stream.host.wire, nc.RemoteAddr(), refusedLimit, err)
		nc.Close() //nolint:errcheck // refused
		return true
	}
	if s.State() != StateRunning || !s.listeners.begin(nc) {
		nc.Close() //nolint:errcheck // too late
		return false
	}
	s.listeners.serving.Go(func() { // bounded by the handshake timeout
		defer s.listeners.opened(nc)
		if by.tls {
			ctx, cancel := context.WithTimeout(context.Background(), s.cfg.HandshakeTimeout)
			defer cancel()
			secure := tls.Server(nc, s.cfg.tls)
			if err := secure.HandshakeContext(ctx); err != nil {
				nc.Close() //nolint:errcheck // failed
				s.refused(by.stream.host.wire, nc.RemoteAddr(), refusedHandshake, err)
				s.cfg.logger.Debug("polywire: TLS handshake", "remote", addressText(nc.RemoteAddr()), "error", err)
				return
			}
			nc = secure
		}
		if err := by.stream.Stream(by.stream.host, nc); err != nil {
			s.cfg.logger.Debug("polywire: opening failed", "remote", addressText(nc.RemoteAddr()), "error", err)
		}
	})
	return true
}
