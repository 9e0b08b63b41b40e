// Package natsembed runs a NATS server with JetStream inside the process: no
// port unless asked for, an explicit directory under a lock, every
// acknowledged message on the disk, its log through slog. Servers of several
// processes may form a cluster. docs/embedded-nats.md says what each switch
// means and what a power cut can lose.
package natsembed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

var (
	// ErrInUse says that another process has the store directory, or another
	// server of this one.
	ErrInUse = errors.New("natsembed: the directory is in use")
	// ErrClosed says that the server has been shut down.
	ErrClosed = errors.New("natsembed: the server has been shut down")
)

// errPortTaken is met when a port that was free a moment ago is not any more.
var errPortTaken = errors.New("natsembed: the port has been taken")

// Server is a running NATS server. Its methods may be called from any
// goroutine, also after Shutdown.
type Server struct {
	ns      *server.Server
	opts    Options
	log     *slog.Logger
	store   *store
	started chan struct{} // closed when ns.Start has returned

	mu      sync.Mutex
	conns   map[*nats.Conn]struct{} // what Connect gave out, until closed
	stopped bool

	stopOnce sync.Once
	down     chan struct{} // closed when all is over
}

// Start starts a server and returns when it can be used: its streams are
// recovered, and in a cluster a majority of nodes has been found, however long
// that takes; only ctx bounds it, see also NoWait. When ctx ends before that,
// nothing is left running. Later ctx means nothing; call Shutdown. Errors: about the
// options, a directory that another process has, addresses that are taken, ctx's.
func Start(ctx context.Context, o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	st, err := openStore(&o)
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, o, st)
	if err != nil {
		return nil, errors.Join(err, st.close())
	}
	if o.Cluster != nil && !o.Cluster.NoWait {
		if err := s.WaitReady(ctx); err != nil {
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
			defer cancel()
			return nil, errors.Join(err, s.Shutdown(stop))
		}
	}
	return s, nil
}

// start tries again where a port had to be chosen before it could be opened.
func start(ctx context.Context, o Options, st *store) (*Server, error) {
	for tries := 1; ; tries++ {
		cfg, reserved, err := o.config(st)
		if err != nil {
			return nil, err
		}
		s, err := run(ctx, o, cfg, st)
		if err == nil || !reserved || !errors.Is(err, errPortTaken) || tries == 10 {
			return s, err
		}
	}
}

// run starts one server. It owns the store only if it succeeds.
func run(ctx context.Context, o Options, cfg *server.Options, st *store) (*Server, error) {
	ns, err := server.NewServer(cfg)
	if err != nil {
		return nil, fmt.Errorf("natsembed: %w", err)
	}
	lg := newLogger(o.Logger)
	ns.SetLoggerV2(lg, lg.enabled(slog.LevelDebug), lg.enabled(levelTrace), false)
	s := &Server{
		ns: ns, opts: o, log: o.Logger, store: st,
		started: make(chan struct{}), down: make(chan struct{}),
		conns: make(map[*nats.Conn]struct{}),
	}
	go func() {
		defer close(s.started)
		ns.Start()
	}()
	if err := s.waitRunning(ctx, lg); err != nil {
		ns.Shutdown()
		<-s.started
		ns.WaitForShutdown()
		return nil, err
	}
	return s, nil
}

// waitRunning returns when this server does what it can do by itself.
func (s *Server) waitRunning(ctx context.Context, lg *logger) error {
	select {
	case <-s.started:
	case err := <-lg.fatal:
		return err
	case <-ctx.Done():
		return fmt.Errorf("natsembed: start: %w", context.Cause(ctx))
	}
	tick := time.NewTicker(2 * time.Millisecond) // the listeners open a moment later
	defer tick.Stop()
	for {
		select {
		case err := <-lg.fatal:
			return err
		case <-ctx.Done():
			return fmt.Errorf("natsembed: start: %w", context.Cause(ctx))
		case <-tick.C:
		}
		if s.ns.ReadyForConnections(time.Millisecond) {
			return nil
		}
	}
}

// config is the server's own configuration. Reserved says that a port in it
// was free a moment ago, and may not be any more.
func (o Options) config(st *store) (cfg *server.Options, reserved bool, err error) {
	cfg = &server.Options{
		ServerName:             o.Name,
		NoSigs:                 true,
		NoLog:                  true, // SetLoggerV2 gives it one
		MaxPayload:             int32(min(o.MaxPayloadBytes, math.MaxInt32)),
		JetStream:              !o.NoJetStream,
		StoreDir:               st.dir,
		SyncAlways:             !o.NoSync,
		JetStreamMaxStore:      o.MaxStoreBytes,
		JetStreamMaxMemory:     o.MaxMemoryBytes,
		DisableJetStreamBanner: true,
		DontListen:             true,
		LameDuckGracePeriod:    lameDuckGrace,
		LameDuckDuration:       2 * lameDuckGrace,
	}
	if o.Listen != "" {
		cfg.DontListen = false
		cfg.Host, cfg.Port, err = listenAddress(o.Listen)
		if err != nil {
			return nil, false, err
		}
		cfg.TLSConfig = o.TLS
		if !o.Auth.none() {
			cfg.CustomClientAuthentication = clientAuth{o.Auth}
		}
	}
	if o.Cluster == nil {
		return cfg, false, nil
	}
	if o.Listen == "" {
		// The server opens the port for nodes only after one for clients:
		// StartRouting waits for AcceptLoop, and DontListen runs none.
		cfg.DontListen, cfg.Cluster.NoAdvertise = false, true
		cfg.Host, cfg.Port = "127.0.0.1", server.RANDOM_PORT
		cfg.CustomClientAuthentication = nobodyElse{}
	}
	reserved, err = o.Cluster.configure(cfg)
	return cfg, reserved, err
}

// listenAddress is host and port as the server wants them: it takes 0 for the
// default port and -1 for any.
func listenAddress(address string) (host string, port int, err error) {
	host, port, err = hostPort(address)
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, err
}

// Name is the server's name, which may have been made by Start.
func (s *Server) Name() string { return s.opts.Name }

// Dir is the directory that has the streams; empty with NoJetStream.
func (s *Server) Dir() string { return s.store.dir }

// ClientURL is where clients of other processes connect; empty without Listen.
func (s *Server) ClientURL() string {
	if s.opts.Listen == "" {
		return ""
	}
	return s.ns.ClientURL()
}

// ClusterAddr is where other nodes connect, as it was bound; nil without Cluster.
func (s *Server) ClusterAddr() net.Addr {
	if a := s.ns.ClusterAddr(); a != nil {
		return a
	}
	return nil
}

// Connect opens a connection within the process. It needs no port and no
// authentication, and connects again for ever until it is closed. What it
// meets asynchronously goes to the log unless opts has a handler. Close it, or
// drain it, before Shutdown; what is still open then is closed by that. After
// Shutdown the error is [ErrClosed].
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	all := append([]nats.Option{
		nats.Name(s.opts.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.IgnoreDiscoveredServers(),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			s.log.Warn("nats connection", "error", err, "subject", subject)
		}),
	}, opts...)
	all = append(all, nats.InProcessServer(inProcess{s}), s.forgetClosed())
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if stopped {
		return nil, ErrClosed
	}
	nc, err := nats.Connect("", all...)
	if err != nil {
		return nil, fmt.Errorf("natsembed: connect: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		nc.Close()
		return nil, ErrClosed
	}
	if !nc.IsClosed() {
		s.conns[nc] = struct{}{}
	}
	return nc, nil
}

// forgetClosed lets go of a connection when it closes, after the caller's own handler.
func (s *Server) forgetClosed() nats.Option {
	return func(o *nats.Options) error {
		theirs := o.ClosedCB
		o.ClosedCB = func(nc *nats.Conn) {
			if theirs != nil {
				theirs(nc)
			}
			s.mu.Lock()
			delete(s.conns, nc)
			s.mu.Unlock()
		}
		return nil
	}
}

// inProcess gives nats.go its pipes to the server.
type inProcess struct{ s *Server }

func (p inProcess) InProcessConn() (net.Conn, error) {
	nc, err := p.s.ns.InProcessConn()
	if err != nil {
		return nil, ErrClosed
	}
	return nc, nil
}

// Times of a shutdown.
const (
	shutdownGrace = 10 * time.Second // of a server that did not get ready
	lameDuckGrace = time.Second
)

// Shutdown closes the connections of Connect, hands the leaders of replicated
// streams to other nodes, stops, and gives the directory free. When it returns
// nil, no goroutine is left. When ctx ends before, it returns ctx's error and
// goes on by itself; call it again to wait for the end.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopOnce.Do(func() { go s.stop(ctx) })
	select {
	case <-s.down:
		return s.store.close()
	case <-ctx.Done():
		return fmt.Errorf("natsembed: shutdown: %w", context.Cause(ctx))
	}
}

func (s *Server) stop(ctx context.Context) {
	defer close(s.down)
	s.mu.Lock()
	s.stopped = true
	open := make([]*nats.Conn, 0, len(s.conns))
	for nc := range s.conns {
		open = append(open, nc)
	}
	s.mu.Unlock()
	for _, nc := range open {
		nc.Close()
	}
	if s.opts.Cluster != nil {
		s.lameDuck(ctx)
	}
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	_ = s.store.close()
}

// lameDuck lets others lead, and tells clients of the port to go there.
func (s *Server) lameDuck(ctx context.Context) {
	cancel := context.AfterFunc(ctx, s.ns.Shutdown)
	defer cancel()
	if s.opts.Listen == "" { // those of Connect, closed just now, need no time to go elsewhere
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range 1000 {
			if s.ns.NumClients() == 0 {
				break
			}
			<-tick.C
		}
	}
	s.ns.LameDuckShutdown()
}
