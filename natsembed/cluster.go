package natsembed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// routeRetries is for nodes that were learned from others and are away: an
	// hour of tries, a second apart. Those in Peers are tried for ever.
	routeRetries = 3600
	// routePing finds nodes that are gone without a word within three of them.
	routePing = 5 * time.Second
	// readyPoll is how often a node looks whether there is a majority.
	readyPoll = 20 * time.Millisecond
)

// configure puts the cluster into the server's configuration. Reserved is
// as in Options.config.
func (c *Cluster) configure(cfg *server.Options) (reserved bool, err error) {
	host, port, err := hostPort(c.Listen)
	if err != nil {
		return false, err
	}
	if port == 0 { // a node must know its own address, see routes
		if port, err = freePort(host); err != nil {
			return false, err
		}
		reserved = true
	}
	cfg.Cluster = server.ClusterOpts{
		Name: c.Name, Host: host, Port: port, Advertise: c.Advertise,
		Username: c.User, Password: c.Password, TLSConfig: c.TLS,
		NoAdvertise:    cfg.Cluster.NoAdvertise,
		ConnectRetries: routeRetries, PingInterval: routePing, MaxPingsOut: 2,
	}
	if c.Password != "" {
		cfg.CustomRouterAuthentication = routeAuth{c.User, c.Password}
	}
	cfg.Routes, err = c.routes(host, port)
	return reserved, err
}

// routes are the addresses that the server calls. Their number is how it
// knows, the first time, how many nodes the cluster will have, so this node's
// own is among them; the server finds that out and does not keep it.
func (c *Cluster) routes(host string, port int) ([]*url.URL, error) {
	own := c.Advertise
	if own == "" {
		own = net.JoinHostPort(host, strconv.Itoa(port))
	}
	var addresses []string
	for _, p := range c.Peers {
		address, err := peerAddress(p)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(addresses, address) {
			addresses = append(addresses, address)
		}
	}
	wildcard := host == "" || net.ParseIP(host).IsUnspecified()
	switch {
	case len(addresses) == 0 && c.Advertise == "" && wildcard:
		addresses = append(addresses, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	case c.Advertise == "" && wildcard: // which of the peers is this one, if any, cannot be said
	case !slices.Contains(addresses, own):
		addresses = append(addresses, own)
	}
	routes := make([]*url.URL, len(addresses))
	for i, a := range addresses {
		routes[i] = &url.URL{Scheme: "nats-route", Host: a}
		if c.Password != "" {
			routes[i].User = url.UserPassword(c.User, c.Password)
		}
	}
	return routes, nil
}

// freePort returns a port that is free now.
func freePort(host string) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, fmt.Errorf("natsembed: cluster: %w", err)
	}
	defer func() { _ = l.Close() }()
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.New("natsembed: cluster: a listener without a port")
	}
	return a.Port, nil
}

// WaitReady returns nil once [Server.Ready] does, or an error when ctx ends or
// the server is shut down.
func (s *Server) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	slow := time.NewTimer(2 * time.Second)
	defer slow.Stop()
	for {
		err := s.Ready()
		if err == nil || errors.Is(err, ErrClosed) {
			return err
		}
		select {
		case <-tick.C:
		case <-slow.C:
			s.log.Info("nats waits", "for", err, "routes", s.ns.NumRoutes())
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}
