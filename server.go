package polywire

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/polywire/polywire/internal/sleep"
	"github.com/polywire/polywire/internal/wheel"
	"github.com/polywire/polywire/wire"
)

// Server owns listeners, connections and rooms, and gives every message to one
// set of handlers. It is an http.Handler, for the wires that begin with an HTTP
// request, and has listeners of its own; use either or both. Make one with
// [New], register, then serve.
type Server struct {
	cfg      config
	id       string
	state    atomic.Int32
	hooks    Hooks
	mux      *Mux
	routes   *http.ServeMux
	use      []Middleware
	pipes    []Pipe
	codes    *codeTable
	mistakes []error

	startMu sync.Mutex
	active  []Plugin
	doors   map[string]door // by HTTP path
	streams map[string]door // by URL prefix
	handler Handler         // middleware, pipes and mux
	sender  Sender          // pipes outwards; nil: none

	conns    table
	limits   admissions
	rooms    *rooms
	formats  formats
	counters counters
	wheel    *wheel.Wheel
	watch    *watch
	sleepers sleepers

	goes      sync.WaitGroup // links, and goroutines that work for them
	watching  sync.WaitGroup
	listeners listeners
	closed    chan struct{}

	readers, scratch, buffers, fanouts, calls sync.Pool
}

// New returns a server in state New. The error is about the options, and wraps
// [ErrConfig]; mistakes in registrations come with the first Serve.
func New(opts ...Option) (*Server, error) {
	s := &Server{
		cfg:       defaultConfig(),
		mux:       NewMux(),
		routes:    http.NewServeMux(),
		codes:     &codeTable{codes: make(map[string]uint32), kinds: make(map[uint32]string)},
		rooms:     newRooms(),
		wheel:     wheel.New(),
		watch:     newWatch(),
		closed:    make(chan struct{}),
		listeners: listeners{opening: make(map[net.Conn]struct{})},
	}
	s.state.Store(int32(StateNew))
	s.readers.New = func() any { return new(reader) }
	s.scratch.New = func() any { return new(scratch) }
	s.buffers.New = func() any { return &buffer{b: make([]byte, 0, smallBytes)} }
	s.calls.New = func() any { return &call{done: make(chan struct{}, 1)} }
	s.fanouts.New = func() any { return new(fanout) }
	var errs []error
	for _, o := range opts {
		if err := o.apply(&s.cfg); err != nil {
			errs = append(errs, fmt.Errorf("%w: %w", ErrConfig, err))
		}
	}
	if err := s.cfg.finish(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	s.hooks = mergeHooks(s.cfg.hooks)
	id := make([]byte, 6)
	rand.Read(id)
	s.id = hex.EncodeToString(id)
	return s, nil
}

// Handle registers a handler for a kind ("chat.say"), a prefix of kinds
// ("chat.*") or everything else ("*"). A mistake is reported when the server
// starts, or to the hooks and the log when it runs already.
func (s *Server) Handle(pattern string, h Handler) {
	before := s.mux.Err()
	s.mux.Handle(pattern, h)
	if err := s.mux.Err(); s.State() != StateNew && before == nil && err != nil {
		s.reportError(nil, err)
	}
}

// Use adds middleware around all handlers. The first registered is the outermost.
func (s *Server) Use(mw ...Middleware) {
	if s.State() != StateNew {
		s.misconfigured("middleware registered after the start")
		return
	}
	s.use = append(s.use, mw...)
}

// Pipe adds pipes around handling and sending; see [Pipe] for their order.
// They are inside of all middleware.
func (s *Server) Pipe(p ...Pipe) {
	if s.State() != StateNew {
		s.misconfigured("pipe registered after the start")
		return
	}
	s.pipes = append(s.pipes, p...)
}

// Hook adds observers, for plugins. See also [WithHooks].
func (s *Server) Hook(h Hooks) {
	if s.State() != StateNew {
		s.misconfigured("hooks registered after the start")
		return
	}
	s.cfg.hooks = append(s.cfg.hooks, h)
	s.hooks = mergeHooks(s.cfg.hooks)
}

// HandleHTTP serves an HTTP route of the application's own on the same port,
// with the patterns of http.ServeMux. The paths of wires come first.
func (s *Server) HandleHTTP(pattern string, h http.Handler) {
	defer func() { // ServeMux panics on a bad or duplicate pattern
		if p := recover(); p != nil {
			s.misconfigured("HTTP route %q: %v", pattern, p)
		}
	}()
	s.routes.Handle(pattern, h)
}

// Configuration returns the server's bounds.
func (s *Server) Configuration() Configuration { return s.cfg.Configuration }

// Start makes the server ready without serving anything yet; the Serve methods
// do it by themselves. Errors wrap [ErrConfig], or are a plugin's, or [ErrClosed].
func (s *Server) Start() error {
	s.startMu.Lock()
	defer s.startMu.Unlock()
	switch s.State() {
	case StateNew:
	case StateRunning:
		return nil
	default:
		return ErrClosed
	}
	if err := s.prepare(); err != nil {
		return err
	}
	s.watching.Go(s.watch.run)
	s.become(StateNew, StateRunning)
	if h := s.hooks.Configuration; h != nil {
		h(s.Configuration())
	}
	return nil
}

// prepare activates the plugins and builds what the messages go through.
func (s *Server) prepare() error {
	for _, p := range s.cfg.plugins[len(s.active):] {
		if err := p.Activate(s); err != nil {
			return fmt.Errorf("polywire: plugin %T: %w", p, err)
		}
		s.active = append(s.active, p)
	}
	errs := append([]error{s.mux.Err(), s.openDoors()}, s.mistakes...)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.handler = s.mux.Handler()
	for _, p := range slices.Backward(s.pipes) {
		s.handler = p.Handler(s.handler)
	}
	for _, wrap := range slices.Backward(s.use) {
		s.handler = wrap(s.handler)
	}
	if len(s.pipes) > 0 {
		s.sender = SenderFunc(func(ctx context.Context, o *Outgoing) error { return o.deliver(ctx, o) })
		for _, p := range s.pipes {
			s.sender = p.Sender(s.sender)
		}
	}
	return nil
}

// attach makes a connection of a link, in state opening.
func (s *Server) attach(wl wire.Link, name string, d *dial) (*link, error) {
	l := &link{srv: s, t: wl.Transport, sess: wl.Session, wire: name, dial: d}
	l.conn.link = l
	l.conn.opened = time.Now().UnixNano()
	l.format = s.formats.number(l.sess.Format(), l.t.Framer().Format())
	if err := s.register(l); err != nil {
		l.t.Close() //nolint:errcheck // refused
		return nil, err
	}
	now := s.wheel.Now()
	l.authorize = now + wheel.Ticks(s.cfg.AuthTimeout)
	l.lastRead.Store(now)
	s.wheel.Add(&l.timer, l, l.authorize)
	return l, nil
}

// host is the server as one of its wires sees it.
type host struct {
	s    *Server
	wire string
}

// Attach implements [wire.Host].
func (h host) Attach(wl wire.Link) error {
	l, err := h.s.attach(wl, h.wire, nil)
	if err != nil {
		return err
	}
	l.authenticate(wl.Request, nil)
	if !l.fallAsleep() { // until the first message, if it can
		// Not on this goroutine: its stack has grown with the opening.
		l.startReading(0)
	}
	return nil
}

// Kind implements [wire.Host].
func (h host) Kind(b []byte) string { return h.s.mux.intern(b) }

// AllowOrigin implements [wire.Host].
func (h host) AllowOrigin(r *http.Request) bool { return h.s.cfg.allowOrigin(r) }

// Limits implements [wire.Host].
func (h host) Limits() wire.Limits {
	return wire.Limits{
		MessageBytes:     h.s.cfg.MaxMessageBytes,
		Fragments:        h.s.cfg.MaxFragments,
		HandshakeTimeout: h.s.cfg.HandshakeTimeout,
		HeaderBytes:      maxHeaderBytes,
	}
}

// Host returns what the server offers to a wire of the given name, for
// dialling; see [Server.Connect].
func (s *Server) Host(wireName string) wire.Host { return host{s, wireName} }

const maxHeaderBytes = 64 << 10

// Shutdown ends the server gracefully: no new connections and no new requests;
// each peer is told once its running handlers are done, and has until
// [WithCloseTimeout] to close; then plugins are deactivated. When ctx ends
// first, everything that is left is cut off and ctx's error returned.
// A second call waits like the first.
func (s *Server) Shutdown(ctx context.Context) error {
	s.startMu.Lock()
	if s.become(StateNew, StateClosing) || s.become(StateRunning, StateClosing) {
		s.startMu.Unlock()
		return s.shutdown(ctx)
	}
	s.startMu.Unlock()
	select {
	case <-s.closed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) shutdown(ctx context.Context) error {
	closed := make(chan struct{})
	go func() { // ends with the last HTTP request, at the latest with ctx
		s.listeners.close(ctx)
		close(closed)
	}()
	s.conns.each(func(l *link) { l.drain() })
	done := make(chan struct{})
	go func() { // ends with the last link, at the latest after the cut below
		<-closed
		s.listeners.serving.Wait()
		s.goes.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		<-closed
		s.listeners.cut()
		s.conns.each(func(l *link) { l.kill(l.goodbye()) })
	}
	return errors.Join(err, s.finish(ctx))
}

// finish stops what serves the links, once.
func (s *Server) finish(ctx context.Context) error {
	var errs []error
	for _, p := range slices.Backward(s.active) {
		if err := p.Deactivate(ctx); err != nil {
			errs = append(errs, fmt.Errorf("polywire: plugin %T: %w", p, err))
		}
	}
	s.wheel.Stop()
	s.watch.stop()
	s.watching.Wait()
	s.sleepers.close()
	s.become(StateClosing, StateClosed)
	close(s.closed)
	return errors.Join(errs...)
}

// Close ends the server at once: listeners and connections are closed without
// a word, contexts of running handlers end. It does not wait for handlers.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.Shutdown(ctx)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// table holds all links. A link's slot and serial find it without a map.
type table struct {
	mu     sync.RWMutex
	slots  []*link
	free   []uint32
	serial uint32
}

func (t *table) each(f func(*link)) {
	t.mu.RLock()
	all := make([]*link, 0, len(t.slots)-len(t.free))
	for _, l := range t.slots {
		if l != nil {
			all = append(all, l)
		}
	}
	t.mu.RUnlock()
	for _, l := range all {
		f(l)
	}
}

// eachConn calls f for every open connection. f must not block or end a connection.
func (s *Server) eachConn(f func(*Conn)) {
	s.conns.mu.RLock()
	defer s.conns.mu.RUnlock()
	for _, l := range s.conns.slots {
		if l != nil && l.phase.Load() == phaseOpen {
			f(&l.conn)
		}
	}
}

// find returns the link of a connection's token, nil if it is gone.
func (s *Server) find(token uint64) *link {
	slot, serial := uint32(token), uint32(token>>32)
	s.conns.mu.RLock()
	defer s.conns.mu.RUnlock()
	if int(slot) < len(s.conns.slots) {
		if l := s.conns.slots[slot]; l != nil && l.conn.serial == serial {
			return l
		}
	}
	return nil
}

// register gives the link a place, if there is one for it.
func (s *Server) register(l *link) error {
	if err := s.limits.add(&s.cfg, hostOf(l.conn.RemoteAddr()), l.dial != nil); err != nil {
		s.counters.refused.Add(1)
		return err
	}
	t := &s.conns
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.State() != StateRunning { // under the lock: Shutdown sees all links or none comes
		s.limits.remove(hostOf(l.conn.RemoteAddr()), "")
		return ErrNotRunning
	}
	t.serial++
	l.conn.serial = t.serial
	if n := len(t.free); n > 0 {
		l.conn.slot = t.free[n-1]
		t.free = t.free[:n-1]
		t.slots[l.conn.slot] = l
	} else {
		l.conn.slot = uint32(len(t.slots))
		t.slots = append(t.slots, l)
	}
	s.counters.open.Add(1)
	s.goes.Add(1)
	return nil
}

// unregister is the end of a link that was registered.
func (s *Server) unregister(l *link) {
	t := &s.conns
	t.mu.Lock()
	t.slots[l.conn.slot] = nil
	t.free = append(t.free, l.conn.slot)
	t.mu.Unlock()
	s.limits.remove(hostOf(l.conn.RemoteAddr()), l.conn.User())
	why := l.cause.Load()
	if l.opened.Load() {
		if h := s.hooks.Disconnect; h != nil {
			h(&l.conn, why)
		}
		s.cfg.logger.Info("polywire: connection ended", "conn", l.conn.ID(), "wire", l.wire,
			"code", why.Code, "reason", why.Reason, "remote_closed", why.Remote, "lasted", time.Since(l.conn.OpenedAt()))
	}
	s.counters.open.Add(-1) // who sees none open may rely on all hooks having run
	s.goes.Done()
}

// sleepers has the poller that watches connections without a goroutine, made
// for the first of them.
type sleepers struct {
	mu     sync.Mutex
	poller *sleep.Poller
	none   bool // there is none on this system, or no more
}

// add gives a connection to the poller; false: it has to keep its goroutine.
func (s *sleepers) add(raw syscall.RawConn, token uint64, wake func(token uint64)) bool {
	s.mu.Lock()
	if s.poller == nil && !s.none {
		var err error
		s.poller, err = sleep.New(wake)
		s.none = err != nil
	}
	poller := s.poller
	s.mu.Unlock()
	return poller != nil && poller.Add(raw, token) == nil
}

func (s *sleepers) close() {
	s.mu.Lock()
	poller := s.poller
	s.poller, s.none = nil, true
	s.mu.Unlock()
	if poller != nil {
		poller.Close() //nolint:errcheck // nothing to lose
	}
}

// wake gives a connection that has something to read a goroutine.
func (s *Server) wake(token uint64) {
	if l := s.find(token); l != nil {
		l.wake()
	}
}

// formats numbers the forms that encoded bytes can have, from 1.
type formats struct {
	mu      sync.Mutex
	numbers map[string]uint32
}

func (f *formats) number(session, framer string) uint32 {
	if session == "" || framer == "" {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := session + " in " + framer
	n, ok := f.numbers[key]
	if !ok {
		if f.numbers == nil {
			f.numbers = make(map[string]uint32)
		}
		n = uint32(len(f.numbers) + 1)
		f.numbers[key] = n
	}
	return n
}

var (
	_ http.Handler = (*Server)(nil)
	_ wire.Host    = host{}
)
