package natsembed

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"unicode"
)

// What Options means by zero.
const (
	DefaultMaxStoreBytes   = 8 << 30
	DefaultMaxMemoryBytes  = 256 << 20
	DefaultMaxPayloadBytes = 2 << 20
)

// maxPayloadBytes is what the server may keep for one client at all.
const maxPayloadBytes = 64 << 20

// Options are what [Start] is told. Exactly one of Dir, TemporaryDir and
// NoJetStream must be chosen; the rest is good as zero.
type Options struct {
	// Dir is where streams are kept, made if absent, readable by this user only.
	// One process at a time may have it; another gets [ErrInUse].
	Dir string
	// TemporaryDir keeps streams in a new directory of the system's temporary
	// one, removed by Shutdown. What is in it does not outlive the process.
	TemporaryDir bool
	// NoJetStream serves messages only: no streams, and no directory.
	NoJetStream bool

	// Name of the server, without spaces. In a cluster it tells the nodes apart
	// and must stay the same over restarts. Default: made once from the host's
	// name and a random part, and kept in Dir.
	Name string

	// NoSync lets an acknowledgement leave before what it acknowledges is on
	// the disk, and writes to the disk every two minutes only. That is several
	// times faster. The end of the process loses nothing either way; a power
	// cut or a crash of the operating system then loses up to two minutes of
	// acknowledged messages. Streams with three replicas stand it as long as it
	// does not meet two nodes at a time.
	NoSync bool

	// MaxStoreBytes bounds all streams on disk together, default 8 GiB;
	// MaxMemoryBytes those in memory, default 256 MiB. At the bound a publish
	// fails, or the stream drops its oldest, as it was made. Negative is an error.
	MaxStoreBytes, MaxMemoryBytes int64
	// MaxPayloadBytes is the largest message, default 2 MiB, at most 64 MiB.
	MaxPayloadBytes int

	// Listen is host:port for clients of other processes; port 0 takes any.
	// Empty: [Server.Connect] is the only way in, and no port is opened; a node
	// of a cluster has one on the loopback that lets nobody in, as the server
	// cannot do without.
	Listen string
	// Auth is what clients of that port must show. Those of Connect need nothing.
	Auth Auth
	// TLS is for that port; clients must then use it. It needs a certificate.
	TLS *tls.Config
	// InsecureNoAuth lets Listen be an address that other machines reach, with
	// no Auth: everybody there may read, change and delete everything.
	InsecureNoAuth bool

	// Cluster joins the server with those of other processes. Default: alone.
	Cluster *Cluster

	// Logger gets what the server has to say: its notices at Info, and Debug
	// and, four below it, every message's trace if the logger takes those when
	// the server starts. Default: none.
	Logger *slog.Logger
}

// Auth is a token, or a user with a password; zero asks for nothing.
type Auth struct {
	Token          string
	User, Password string
}

func (a Auth) none() bool { return a == Auth{} }

// Cluster says how servers find each other and form one. Streams with replicas
// need a majority of the nodes: two of three, three of five. Two nodes stand
// the loss of none, so use three or five.
type Cluster struct {
	// Name of the cluster, the same on every node. Default "polywire".
	Name string
	// Listen is host:port for the other nodes; port 0 takes any.
	Listen string
	// Advertise is the host:port at which others reach this node, where that is
	// not Listen's: behind a NAT, in a container. Default: the server finds out.
	Advertise string
	// Peers are the addresses of nodes, host:port or nats://host:port. One that
	// is up is enough, the others are learned from it. For a new cluster give
	// every node the same whole list, itself among them: nodes then know how
	// many make a majority. They may start in any order. None: this node waits
	// to be found by others.
	Peers []string
	// User and Password are what nodes show each other, the same on all. User
	// defaults to "polywire"; no Password, no check.
	User, Password string
	// TLS is for connections between nodes, both ways. With ClientAuth
	// tls.RequireAndVerifyClientCert it says who is a node, without Password.
	TLS *tls.Config
	// InsecureNoAuth lets Listen be an address that other machines reach, with
	// neither Password nor certificates of clients: everybody there may become
	// a node.
	InsecureNoAuth bool
	// NoWait lets [Start] return as soon as this node runs, before there is a
	// majority. Streams can be used once [Server.WaitReady] returns.
	NoWait bool
}

func (o Options) withDefaults() (Options, error) {
	o.MaxStoreBytes = cmp.Or(o.MaxStoreBytes, DefaultMaxStoreBytes)
	o.MaxMemoryBytes = cmp.Or(o.MaxMemoryBytes, DefaultMaxMemoryBytes)
	o.MaxPayloadBytes = cmp.Or(o.MaxPayloadBytes, DefaultMaxPayloadBytes)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Cluster != nil {
		c := *o.Cluster
		c.Name = cmp.Or(c.Name, "polywire")
		if c.Password != "" {
			c.User = cmp.Or(c.User, "polywire")
		}
		o.Cluster = &c
	}
	if err := o.check(); err != nil {
		return o, fmt.Errorf("natsembed: %w", err)
	}
	return o, nil
}

func (o Options) check() error {
	chosen := 0
	for _, b := range []bool{o.Dir != "", o.TemporaryDir, o.NoJetStream} {
		if b {
			chosen++
		}
	}
	switch {
	case chosen != 1:
		return errors.New("choose one of Dir, TemporaryDir and NoJetStream: where streams are kept is not guessed")
	case o.MaxStoreBytes < 0 || o.MaxMemoryBytes < 0:
		return errors.New("a negative bound of storage")
	case o.MaxPayloadBytes < 0 || o.MaxPayloadBytes > maxPayloadBytes:
		return fmt.Errorf("MaxPayloadBytes %d: at most %d", o.MaxPayloadBytes, maxPayloadBytes)
	case hasSpace(o.Name):
		return fmt.Errorf("name %q has spaces", o.Name)
	case o.Auth.Token != "" && (o.Auth.User != "" || o.Auth.Password != ""):
		return errors.New("auth is a token or a user, not both")
	case (o.Auth.User == "") != (o.Auth.Password == ""):
		return errors.New("auth needs a user and a password")
	case o.Listen == "" && (!o.Auth.none() || o.TLS != nil || o.InsecureNoAuth):
		return errors.New("auth and TLS are for the port of Listen, and there is none")
	}
	if o.Listen != "" {
		if err := mayListen(o.Listen, !o.Auth.none() || clientCerts(o.TLS), o.InsecureNoAuth); err != nil {
			return fmt.Errorf("listen %q: %w", o.Listen, err)
		}
	}
	if o.Cluster == nil {
		return nil
	}
	if err := o.Cluster.check(); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if o.TemporaryDir && o.Name == "" {
		return errors.New("a node of a cluster with a temporary directory needs a Name: a new one each time would leave the old ones counted as lost")
	}
	return nil
}

func (c *Cluster) check() error {
	if hasSpace(c.Name) {
		return fmt.Errorf("name %q has spaces", c.Name)
	}
	if c.User != "" && c.Password == "" {
		return errors.New("a user needs a password")
	}
	if err := mayListen(c.Listen, c.Password != "" || clientCerts(c.TLS), c.InsecureNoAuth); err != nil {
		return fmt.Errorf("listen %q: %w", c.Listen, err)
	}
	if c.Advertise != "" {
		if _, port, err := hostPort(c.Advertise); err != nil || port == 0 {
			return fmt.Errorf("advertise %q: want host:port", c.Advertise)
		}
	}
	for _, p := range c.Peers {
		if _, err := peerAddress(p); err != nil {
			return err
		}
	}
	return nil
}

// clientCerts reports whether a TLS configuration tells clients by certificates.
func clientCerts(c *tls.Config) bool {
	return c != nil && c.ClientAuth == tls.RequireAndVerifyClientCert
}

// mayListen refuses an address that is malformed, or reached by others who
// would not have to say who they are.
func mayListen(address string, auth, insecure bool) error {
	host, _, err := hostPort(address)
	switch {
	case err != nil:
		return err
	case auth, insecure, host == "localhost":
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return nil
	}
	return errors.New("other machines may reach this address: set authentication, or InsecureNoAuth if everybody there may do everything")
}

// hostPort takes host:port apart. Host may be empty, the port may be 0.
func hostPort(address string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, errors.New("want host:port")
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q: want 0 to 65535", p)
	}
	return host, int(n), nil
}

// peerAddress returns host:port of a peer.
func peerAddress(peer string) (string, error) {
	address := peer
	if scheme, rest, found := strings.Cut(peer, "://"); found {
		if scheme != "nats" && scheme != "nats-route" && scheme != "tls" {
			return "", fmt.Errorf("peer with the scheme %q: want host:port or nats://host:port", scheme)
		}
		address = strings.TrimSuffix(rest, "/")
	}
	if strings.Contains(address, "@") { // would be in logs and errors
		return "", errors.New("a peer's address has no user or password in it: Cluster has them")
	}
	host, port, err := hostPort(address)
	if err != nil || host == "" || port == 0 || hasSpace(host) {
		return "", fmt.Errorf("peer %q: want host:port or nats://host:port", peer)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

func hasSpace(s string) bool { return strings.ContainsFunc(s, unicode.IsSpace) }
