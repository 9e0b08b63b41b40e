package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/cluster"
	natscluster "github.com/polywire/polywire/cluster/nats"
	"github.com/polywire/polywire/cmd/polywire/internal/cli"
	"github.com/polywire/polywire/natsembed"
)

// secretVariable is for what should not be seen in lists of processes.
const secretVariable = "POLYWIRE_CLUSTER_SECRET" //nolint:gosec // its name

// clusterPort is where nodes meet unless they are told.
const clusterPort = "6222"

// clusterFlags make a server one of several.
type clusterFlags struct {
	nodeName  string
	nats      string
	natsCreds string
	dataDir   string
	noSync    bool
	natsAt    string // where other programs connect to the NATS inside
	natsToken string // that they show
	clusterAt string // where other nodes connect
	advertise string
	peers     []string
	secret    string
}

// embedded reports whether a NATS server inside is asked for.
func (f *clusterFlags) embedded() bool {
	return f.dataDir != "" || f.noSync || f.natsAt != "" || f.clusterAt != "" || f.advertise != "" || len(f.peers) > 0 || f.secret != ""
}

func (f *clusterFlags) check(rooms *roomFlags) error {
	clustered := f.clusterAt != "" || len(f.peers) > 0
	switch {
	case f.nats != "" && f.embedded():
		return errors.New("--nats is a NATS server elsewhere; --data-dir, --no-sync, --nats-listen and --cluster-... are for the one inside: use one or the other")
	case f.natsCreds != "" && f.nats == "":
		return errors.New("--nats-creds is for --nats")
	case f.noSync && f.dataDir == "":
		return errors.New("--no-sync is for what is in --data-dir")
	case !clustered && (f.secret != "" || f.advertise != ""):
		return errors.New("--cluster-secret and --cluster-advertise are for a cluster: --cluster-peers makes one")
	case clustered && f.dataDir == "" && rooms.keep():
		return errors.New("--history and --recovery of a cluster are kept by NATS, which needs a --data-dir")
	case f.nats == "" && f.dataDir == "" && rooms.onDisk():
		return errors.New("--history with storage=disk needs a --data-dir, or --nats")
	case f.natsAt != "" && reached(f.natsAt) && f.natsToken == "":
		return fmt.Errorf("other machines may reach --nats-listen %s: set --nats-token, or %s, which its clients must show", f.natsAt, cli.EnvNATSToken)
	case strings.ContainsAny(f.nodeName, " \t\r\n"):
		return fmt.Errorf("--node-name %q has spaces", f.nodeName)
	}
	return nil
}

// engine is what connects the servers; nil where this one is alone.
type engine struct {
	adapter  cluster.Adapter
	connect  func(...nats.Option) (*nats.Conn, error)
	embedded *natsembed.Server // nil: elsewhere
	log      *slog.Logger

	stop     context.CancelFunc
	watching sync.WaitGroup
}

// start starts the NATS server inside, and waits until it has found the others.
func (f *clusterFlags) start(ctx context.Context, logger *slog.Logger) (*engine, error) {
	e := &engine{log: logger, stop: func() {}}
	connect := natscluster.URL(f.nats, f.natsOptions()...)
	switch {
	case f.embedded():
		o, err := f.natsServer(ctx, logger)
		if err != nil {
			return nil, err
		}
		if o.Cluster != nil {
			logger.Info("looking for the other servers", "at", o.Cluster.Listen, "peers", o.Cluster.Peers)
			defer notFoundYet(logger, o).Stop()
		}
		if e.embedded, err = natsembed.Start(ctx, o); err != nil {
			return nil, err
		}
		connect = e.embedded.Connect
		if at := e.embedded.ClientURL(); at != "" {
			logger.Info("other programs reach the NATS inside", "at", at)
		}
		if o.Cluster != nil {
			logger.Info("the servers' NATS is ready", "server", e.embedded.Name(), "address", e.embedded.ClusterAddr())
			e.watch()
		}
	case f.nats == "":
		return nil, nil //nolint:nilnil // alone
	default:
		logger.Info("connecting to the NATS server", "at", cli.HideUser(f.nats))
	}
	e.connect = connect
	e.adapter = &openedUntil{natscluster.New(natscluster.Options{Connect: connect, Logger: logger}), func(stop func()) func() bool {
		return context.AfterFunc(ctx, stop)
	}}
	return e, nil
}

// openedUntil is an adapter that ceases to wait for its NATS server when the
// program is to end.
type openedUntil struct {
	cluster.Adapter

	atEnd func(stop func()) (forget func() bool)
}

// Open implements [cluster.Adapter].
func (a *openedUntil) Open(ctx context.Context, self cluster.Node, r cluster.Receiver) (cluster.Bus, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.atEnd(cancel)()
	return a.Adapter.Open(ctx, self, r)
}

// foundWithin is how long the servers of a cluster may take to find each other
// before something is said about it.
const foundWithin = 5 * time.Second

// notFoundYet says what the server inside waits for if that takes long: with a
// directory it is not ready before it has found a majority of the servers.
func notFoundYet(logger *slog.Logger, o natsembed.Options) *time.Timer {
	if len(o.Cluster.Peers) == 0 && !o.NoJetStream { // almost always a mistake
		logger.Warn("no --cluster-peers are given: this server waits for another one that has it among its own", "at", o.Cluster.Listen)
	}
	return time.AfterFunc(foundWithin, func() {
		logger.Warn("less than a majority of the servers have been found: this one waits until they run", "peers", o.Cluster.Peers)
	})
}

func (f *clusterFlags) natsOptions() []nats.Option {
	if f.natsCreds == "" {
		return nil
	}
	return []nats.Option{nats.UserCredentials(f.natsCreds)}
}

// natsServer configures the server inside.
func (f *clusterFlags) natsServer(ctx context.Context, logger *slog.Logger) (natsembed.Options, error) {
	o := natsembed.Options{Dir: f.dataDir, NoJetStream: f.dataDir == "", NoSync: f.noSync, Name: f.nodeName, Logger: quieter(logger)}
	if f.natsAt != "" {
		o.Listen, o.Auth.Token = f.natsAt, f.natsToken
	}
	if f.clusterAt == "" && len(f.peers) == 0 {
		return o, nil
	}
	peers := make([]string, len(f.peers))
	for i, p := range f.peers {
		var err error
		if peers[i], err = peerAddress(p); err != nil {
			return o, err
		}
	}
	at := f.clusterAt
	if at == "" {
		var err error
		if at, err = ownAddress(ctx, peers); err != nil {
			return o, err
		}
	}
	if f.secret == "" && reached(at) {
		return o, fmt.Errorf("other machines may reach %s: set --cluster-secret, or %s, the same on all servers", at, secretVariable)
	}
	o.Cluster = &natsembed.Cluster{Listen: at, Advertise: f.advertise, Peers: peers, Password: f.secret}
	return o, nil
}

// peerAddress adds the port where there is none. URLs are natsembed's to check.
func peerAddress(p string) (string, error) {
	if strings.Contains(p, "://") {
		return p, nil
	}
	host, port, err := net.SplitHostPort(p)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(p, "["), "]"), clusterPort
	}
	_, wrong := strconv.ParseUint(port, 10, 16)
	if strings.Contains(host, ":") && net.ParseIP(host) == nil || host == "" || wrong != nil {
		return "", fmt.Errorf("--cluster-peers %q: want host, or host:port", p)
	}
	return net.JoinHostPort(host, port), nil
}

// quieter says what the NATS server says at Info, every route and election, at
// Debug, and of lines that differ in numbers only one a minute: it tries to
// reach servers that are away all the time.
func quieter(l *slog.Logger) *slog.Logger {
	return slog.New(&quietly{Handler: l.Handler(), said: make(map[string]time.Time)})
}

type quietly struct {
	slog.Handler

	mu   sync.Mutex
	said map[string]time.Time
}

const (
	repeatAfter = time.Minute
	maxSaid     = 1000
)

// Enabled implements [slog.Handler].
func (q *quietly) Enabled(ctx context.Context, level slog.Level) bool {
	if level == slog.LevelInfo {
		level = slog.LevelDebug
	}
	return q.Handler.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (q *quietly) Handle(ctx context.Context, r slog.Record) error {
	if r.Level > slog.LevelInfo && q.again(r.Message, r.Time) {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

// again reports whether this has just been said.
func (q *quietly) again(text string, now time.Time) bool {
	text = strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, text)
	q.mu.Lock()
	defer q.mu.Unlock()
	if before, ok := q.said[text]; ok && now.Sub(before) < repeatAfter {
		return true
	}
	if len(q.said) >= maxSaid {
		clear(q.said)
	}
	q.said[text] = now
	return false
}

// reached reports whether other machines may reach an address.
func reached(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// ownAddress is that of the peers which is this machine's.
func ownAddress(ctx context.Context, peers []string) (string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("--cluster-peers: %w", err)
	}
	local := func(ip net.IP) bool {
		return ip.IsLoopback() || slices.ContainsFunc(addrs, func(a net.Addr) bool {
			n, ok := a.(*net.IPNet)
			return ok && n.IP.Equal(ip)
		})
	}
	var own, ports []string
	for _, p := range peers {
		host, port, err := net.SplitHostPort(p[strings.LastIndexByte(p, '/')+1:])
		if err != nil {
			return "", fmt.Errorf("--cluster-peers %q: want host:port", p)
		}
		ports = append(ports, port)
		lookup, cancel := context.WithTimeout(ctx, 5*time.Second)
		ips, err := net.DefaultResolver.LookupIP(lookup, "ip", host)
		cancel()
		if err == nil && slices.ContainsFunc(ips, local) {
			own = append(own, net.JoinHostPort(host, port))
		}
	}
	ports = slices.Compact(ports)
	switch {
	case len(own) == 1:
		return own[0], nil
	case len(own) > 1:
		return "", fmt.Errorf("several of --cluster-peers are this machine's (%s): --cluster-listen says which one is this server's", strings.Join(own, ", "))
	case len(ports) > 1:
		return "", errors.New("none of --cluster-peers is this machine's: say --cluster-listen")
	}
	return net.JoinHostPort("", ports[0]), nil
}

// watch tells when the servers have lost each other, and are back.
func (e *engine) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	e.watching.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for there := true; ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := e.embedded.Ready()
			switch {
			case there && err != nil:
				e.log.Warn("less than a majority of the servers can be reached: nothing is kept until there are more", "error", err)
			case !there && err == nil:
				e.log.Info("a majority of the servers can be reached again")
			}
			there = err == nil
		}
	})
}

// options returns the server's.
func (e *engine) options(f *clusterFlags) []polywire.Option {
	if e == nil {
		return nil
	}
	return []polywire.Option{
		polywire.WithCluster(e.adapter), polywire.WithNodeName(e.name(f)),
		polywire.WithHooks(polywire.Hooks{
			NodeJoined: func(n cluster.Node) { e.log.Info("a server has joined the cluster", "node", n.ID, "name", n.Name) },
			NodeLeft:   func(n cluster.Node) { e.log.Info("a server has left the cluster", "node", n.ID, "name", n.Name) },
		}),
	}
}

func (e *engine) name(f *clusterFlags) string {
	if f.nodeName == "" && e.embedded != nil {
		return e.embedded.Name()
	}
	return f.nodeName
}

// join lets the server come into the cluster.
func (e *engine) join(ctx context.Context, srv *polywire.Server) error {
	if e == nil {
		return nil
	}
	if err := srv.Start(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // what it waited for does not matter any more
		}
		return errors.Join(err, srv.Close())
	}
	e.log.Info("joined the cluster", "node", srv.Nodes().ID(), "nodes", len(srv.Nodes().List()))
	return nil
}

// close ends the NATS server inside.
func (e *engine) close(within time.Duration) error {
	if e == nil || e.embedded == nil {
		return nil
	}
	e.stop()
	e.watching.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return e.embedded.Shutdown(ctx)
}
