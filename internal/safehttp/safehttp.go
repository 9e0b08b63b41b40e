// Package safehttp makes HTTP requests to addresses that strangers chose. It
// checks the address of each connection at the moment it is dialled, after
// names were resolved, so that no form of URL, no redirect and no name that
// changes its mind reaches an inside network.
package safehttp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrForbidden is in every error about an address that may not be connected to.
var ErrForbidden = errors.New("the address is not allowed")

// Limits of the client. They bound what one peer can cost.
const (
	dialTimeout    = 10 * time.Second
	tlsTimeout     = 10 * time.Second
	maxHeaderBytes = 32 << 10
	idleTimeout    = 60 * time.Second
	maxIdle        = 1024
	maxIdlePerHost = 128
)

// Options say where a [Client] may connect to. The zero value is public
// addresses by https.
type Options struct {
	// AllowNetworks are inside networks that may be connected to, as
	// 10.1.0.0/16. An IPv4 network is written as one, not in a mapped form.
	AllowNetworks []netip.Prefix
	// AllowHosts are names, in ASCII, that may resolve to any address.
	AllowHosts []string
	// AllowHTTP also permits URLs with http. What is sent can then be read and
	// changed on its way.
	AllowHTTP bool
	// Ports are the only ones allowed. Default: 80, 443, and all from 1024.
	Ports []uint16
	// Proxy makes all requests, which then resolves names and has to refuse
	// inside addresses; only literal ones are refused before it is asked. Its
	// scheme is http, https or socks5. Nil: none; the environment is not read.
	Proxy *url.URL
	// TLS is for certificates of your own. Verification is on, with the
	// system's roots and TLS 1.2 or later, unless it says otherwise.
	TLS *tls.Config
	// Resolver resolves names. Nil: net.DefaultResolver.
	Resolver *net.Resolver
}

// Client makes requests. It is safe for concurrent use and keeps idle
// connections for 60 s.
type Client struct {
	networks  []netip.Prefix
	hosts     map[string]bool
	ports     map[uint16]bool
	http      bool
	proxy     string // its host and port
	dialer    net.Dialer
	transport *http.Transport
}

// New returns a client, or an error about the options.
func New(o Options) (*Client, error) {
	c := &Client{
		hosts: make(map[string]bool, len(o.AllowHosts)),
		ports: make(map[uint16]bool, len(o.Ports)),
		http:  o.AllowHTTP,
		dialer: net.Dialer{
			Timeout:  dialTimeout,
			Resolver: o.Resolver,
		},
	}
	for _, p := range o.AllowNetworks {
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("safehttp: %s is no network to allow", p)
		}
		c.networks = append(c.networks, p.Masked())
	}
	for _, h := range o.AllowHosts {
		if err := checkName(h); err != nil {
			return nil, fmt.Errorf("safehttp: %q is no host to allow", h)
		}
		c.hosts[strings.ToLower(h)] = true
	}
	for _, p := range o.Ports {
		if p == 0 {
			return nil, errors.New("safehttp: port 0 cannot be allowed")
		}
		c.ports[p] = true
	}
	return c, c.build(o)
}

func (c *Client) build(o Options) error {
	c.transport = &http.Transport{
		DialContext:            c.dial,
		TLSHandshakeTimeout:    tlsTimeout,
		DisableCompression:     true, // what arrives is what was sent: no bomb unfolds here
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if o.TLS != nil {
		c.transport.TLSClientConfig = o.TLS.Clone()
	}
	if o.Proxy == nil {
		return nil
	}
	port := map[string]string{"http": "80", "https": "443", "socks5": "1080"}[o.Proxy.Scheme]
	if port == "" || o.Proxy.Hostname() == "" {
		return errors.New("safehttp: the proxy's URL needs a host and the scheme http, https or socks5")
	}
	if p := o.Proxy.Port(); p != "" {
		port = p
	}
	c.proxy = net.JoinHostPort(o.Proxy.Hostname(), port)
	c.transport.Proxy = http.ProxyURL(o.Proxy)
	return nil
}

// Do makes one request whose URL came from [Client.CheckURL], and follows no
// redirect: the answer is whatever the first server said. It asks for an
// unencoded body and never decodes one. The request's context bounds
// everything, the reading of the body included; it needs a deadline. Close the
// body: the connection is kept only if all of it was read. Errors have no URL
// in them.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	if r.URL.User != nil || r.URL.Host == "" {
		return nil, badURL("it has a user name or no host")
	}
	r.Header.Set("Accept-Encoding", "identity")
	return c.transport.RoundTrip(r) // no http.Client: no redirects, no cookies, no url.Error
}

// Close closes idle connections. Requests in flight go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// dial connects to a host and port: the proxy's, if there is one.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := c.dialer
	if c.proxy != "" {
		if !strings.EqualFold(address, c.proxy) {
			return nil, fmt.Errorf("%w: not the proxy's", ErrForbidden)
		}
		return d.DialContext(ctx, network, address)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if !c.hosts[strings.ToLower(host)] {
		d.ControlContext = c.control
	}
	return d.DialContext(ctx, network, address)
}

// control runs between the making of a socket and its connecting, for each
// address that a name has. The address is the very one that is connected to.
func (c *Client) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if !slices.Contains([]string{"tcp4", "tcp6"}, network) {
		return fmt.Errorf("%w: network %s", ErrForbidden, network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: it does not parse", ErrForbidden)
	}
	if !c.permits(to.Addr()) || !c.portAllowed(to.Port()) {
		return fmt.Errorf("%w: %s", ErrForbidden, to.Addr().Unmap())
	}
	return nil
}
