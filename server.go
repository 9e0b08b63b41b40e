package polywire

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/polywire/polywire/internal/sleep"
	"github.com/polywire/polywire/internal/wheel"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/wire"
)

// Server owns listeners, connections and rooms, and gives every message to one
// set of handlers. It is an http.Handler, for the wires that begin with an HTTP
// request, and has listeners of its own; use either or both. Make one with
// [New], register, then serve.
type Server struct {
	cfg           config
	id            string
	state         atomic.Int32
	leaving       atomic.Bool // no new connections: see Drain
	hooks         Hooks
	spaces        spaces
	kinds         kinds
	recovery      *recovery // nil: none
	node          *node     // nil: alone
	history       *history  // nil: none
	presence      *presence // nil: none
	routes        *http.ServeMux
	use           []Middleware
	pipes         []Pipe
	codes         *codeTable
	encodings     map[string][]string // content types by kind, where the application insists
	nodeHandlers  map[string]NodeHandler
	queueHandlers []queueHandler
	mistakes      []error

	startMu sync.Mutex
	active  []Plugin
	doors   map[string]door // by HTTP path
	streams map[string]door // by URL prefix
	sender  Sender          // pipes outwards; nil: none

	conns    table
	limits   admissions
	aliases  aliases
	formats  formats
	counters counters
	reports  reports
	wheel    *wheel.Wheel
	watch    *watch
	handled  contextState // of contexts whose handler is done, and nobody had asked for more
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
		routes:    http.NewServeMux(),
		codes:     &codeTable{codes: make(map[string]uint32), kinds: make(map[uint32]string)},
		watch:     newWatch(),
		closed:    make(chan struct{}),
		reports:   reports{bucket: bucket{tokens: reportBurst}},
		listeners: listeners{opening: make(map[net.Conn]struct{})},
	}
	s.spaces.main = newNamespace(s, mainNamespace, manyShards)
	s.spaces.named = make(map[string]*Namespace)
	s.state.Store(int32(StateNew))
	s.handled.ended.Store(true)
	s.readers.New = func() any { return new(reader) }
	s.scratch.New = func() any { return new(scratch) }
	s.buffers.New = func() any { return &buffer{b: make([]byte, 0, s.cfg.SendBufferBytes)} }
	s.calls.New = func() any { return &call{done: make(chan struct{}, 1)} }
	s.fanouts.New = func() any { return new(fanout) }
	var errs []error
	s.cfg.live = new(live)
	s.cfg.live.Store(&s.cfg)
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
	s.wheel = wheel.New(s.cfg.tick())
	s.limits.accept.all.tokens = float64(s.cfg.AcceptBurst)
	if s.cfg.recovery != nil {
		s.recovery = newRecovery(s, *s.cfg.recovery)
	}
	s.hooks = mergeHooks(s.cfg.hooks)
	id := make([]byte, 6)
	rand.Read(id)
	s.id = hex.EncodeToString(id)
	if s.cfg.cluster != nil {
		s.node = newNode(s)
	}
	if len(s.cfg.history) > 0 {
		s.history = newHistory(s)
	}
	if len(s.cfg.presence) > 0 {
		s.presence = newPresence(s)
	}
	return s, nil
}

// Handle registers a handler for a kind ("chat.say"), a prefix of kinds
// ("chat.*") or everything else ("*"). A mistake is reported when the server
// starts, or to the hooks and the log when it runs already.
func (s *Server) Handle(pattern string, h Handler) { s.spaces.main.Handle(pattern, h) }

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

// Configuration returns the server's bounds, as they are now.
func (s *Server) Configuration() Configuration { return s.now().Configuration }

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
	if s.node != nil {
		if err := s.node.open(); err != nil {
			return err
		}
	}
	if err := s.consume(); err != nil {
		return err
	}
	if s.history != nil {
		s.watching.Go(s.history.run)
	}
	if s.presence != nil {
		s.watching.Go(s.presence.run)
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
	errs := append([]error{s.muxErrs(), s.openDoors()}, s.mistakes...)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, n := range s.everyNamespace() {
		n.handler = s.wrapped(n)
	}
	if len(s.pipes) > 0 {
		s.sender = func(ctx context.Context, o *Outgoing) error { return o.deliver(ctx, o) }
		for _, p := range s.pipes {
			s.sender = p.Sender(s.sender)
		}
	}
	return nil
}

// attach makes a connection of a link, in state opening.
func (s *Server) attach(wl wire.Link, name string, d *dial) (*link, error) {
	l := &link{srv: s, t: wl.Transport, sess: wl.Session, wire: s.counters.wire(name), dial: d, arguments: wl.Arguments, curt: wl.Unanswered}
	_, l.paced = l.t.(transport.Heart)
	l.conn.link, l.conn.ns = l, s.spaces.main
	if wl.Namespaces {
		l.multi = s.newMulti(wl.Request)
	}
	if s.now().MessageRate > 0 {
		l.rate = newRate(s)
	}
	if from := s.cfg.proxies.from(wl.Request); from != nil {
		l.conn.apart.Store(&apart{from: from})
	}
	l.conn.opened = time.Now().UnixNano()
	l.format = s.formats.number(l.sess.Format(), l.t.Framer().Format())
	if err := s.register(l); err != nil {
		if errors.Is(err, ErrNotRunning) && d == nil {
			// It came while the shutdown began. The others are told, too.
			w := transport.NewWriter(l.t.Framer(), nil)
			if w.Frame(transport.Close, transport.AppendClosePayload(nil, uint16(CloseShutdown), reasonShutdown)) == nil {
				_ = l.t.Write(w.Bytes()) // or it has gone already
			}
		}
		l.t.Close() //nolint:errcheck // refused
		return nil, err
	}
	now := s.wheel.Now()
	l.authorize = now + s.wheel.Ticks(s.cfg.AuthTimeout)
	l.lastRead.Store(now)
	l.lastBeat.Store(now)
	first := l.authorize
	if l.paced {
		first = min(first, now+s.wheel.Ticks(s.cfg.HeartbeatInterval))
	}
	s.wheel.Add(&l.timer, l, first)
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
	switch {
	case l.multi == nil:
		l.authenticate(wl.Request, nil)
	case wl.Hello != nil:
		if err := l.knock(wl.Hello); err != nil {
			l.over(err)
			l.end()
			return err
		}
	}
	if !l.fallAsleep() { // until the first message, if it can
		// Not on this goroutine: its stack has grown with the opening.
		l.startReading(0)
	}
	return nil
}

// Kind implements [wire.Host].
func (h host) Kind(b []byte) string { return h.s.kinds.intern(b) }

// AllowOrigin implements [wire.Host].
func (h host) AllowOrigin(r *http.Request) bool { return h.s.now().allowOrigin(r) }

// ContentTypes implements [wire.Host].
func (h host) ContentTypes() []string { return h.s.cfg.ContentTypes }

// Limits implements [wire.Host].
func (h host) Limits() wire.Limits {
	return wire.Limits{
		MessageBytes:     h.s.cfg.MaxMessageBytes,
		Fragments:        h.s.cfg.MaxFragments,
		HandshakeTimeout: h.s.cfg.HandshakeTimeout,
		HeaderBytes:      maxHeaderBytes,

		HeartbeatInterval: h.s.cfg.HeartbeatInterval,
		HeartbeatTimeout:  h.s.cfg.HeartbeatTimeout,
	}
}

// Host returns what the server offers to a wire of the given name, for
// dialling; see [Server.Connect].
func (s *Server) Host(wireName string) wire.Host { return host{s, wireName} }

const maxHeaderBytes = 64 << 10

// Shutdown ends the server gracefully: no new connections and no new requests;
// each peer is told once its running handlers are done, and has until
// [WithCloseTimeout] to close; then plugins are deactivated. When ctx ends
// first, everything that is left is cut off and ctx's error returned, joined
// with what went wrong while listeners, connections and plugins were closed.
// A second call waits like the first.
func (s *Server) Shutdown(ctx context.Context) error {
	errs, late := s.stop(ctx)
	return errors.Join(append(errs, late)...)
}

// stop shuts down, and says apart what failed and whether ctx was faster.
func (s *Server) stop(ctx context.Context) (errs []error, late error) {
	s.startMu.Lock()
	if s.become(StateNew, StateClosing) || s.become(StateRunning, StateClosing) {
		s.startMu.Unlock()
		return s.shutdown(ctx)
	}
	s.startMu.Unlock()
	select {
	case <-s.closed:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Server) shutdown(ctx context.Context) (errs []error, late error) {
	closed := make(chan struct{})
	go func() { // ends with the last HTTP request, at the latest with ctx
		errs = s.listeners.close(ctx)
		close(closed)
	}()
	s.conns.eachLink(func(l *link) { l.drain() })
	done := make(chan struct{})
	go func() { // ends with the last link, at the latest after the cut below
		<-closed
		s.listeners.serving.Wait()
		s.goes.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		late = ctx.Err()
		<-closed
		s.listeners.cut()
		s.conns.eachLink(func(l *link) { errs = appendClosing(errs, l.cutOff(l.goodbye())) })
	}
	return append(errs, s.finish(ctx)...), late
}

// appendClosing appends an error of closing something that was open, unless it
// only says that somebody else has closed it already.
func appendClosing(errs []error, err error) []error {
	for _, gone := range []error{net.ErrClosed, io.ErrClosedPipe, io.EOF, syscall.EPIPE, syscall.ECONNRESET} {
		if errors.Is(err, gone) {
			return errs
		}
	}
	if err == nil {
		return errs
	}
	return append(errs, fmt.Errorf("polywire: closing: %w", err))
}

// finish stops what serves the links, once.
func (s *Server) finish(ctx context.Context) (errs []error) {
	for _, p := range slices.Backward(s.active) {
		if err := p.Deactivate(ctx); err != nil {
			errs = append(errs, fmt.Errorf("polywire: plugin %T: %w", p, err))
		}
	}
	if q := s.cfg.queues; q != nil {
		if err := q.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("polywire: queues: %w", err))
		}
	}
	if s.history != nil {
		close(s.history.stop)
	}
	if s.presence != nil {
		close(s.presence.stop)
	}
	if s.node != nil {
		if err := s.node.close(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	s.wheel.Stop()
	s.watch.stop()
	s.watching.Wait()
	s.sleepers.close()
	s.become(StateClosing, StateClosed)
	close(s.closed)
	return errs
}

// Close ends the server at once: listeners and connections are closed without
// a word, contexts of running handlers end. It does not wait for handlers. The
// error joins what went wrong while listeners, connections and plugins were
// closed; that a plugin had no time is not among it.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	errs, _ := s.stop(ctx) // the time that it had was none
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, context.Canceled) })...)
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
	if c := s.find(token); c != nil {
		c.link.wake()
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
