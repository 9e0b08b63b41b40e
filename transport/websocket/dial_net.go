package websocket

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// connect opens the connection for a request: through a proxy if there is one,
// with TLS if the scheme says so.
func connect(ctx context.Context, req *http.Request, o DialOptions) (net.Conn, *http.Response, error) {
	var proxy *url.URL
	if o.Proxy != nil {
		var err error
		if proxy, err = o.Proxy(req); err != nil {
			return nil, nil, fmt.Errorf("websocket: choosing a proxy: %w", err)
		}
	}
	address := hostPort(req.URL)
	var nc net.Conn
	var err error
	if proxy == nil {
		nc, err = netDial(ctx, o, address)
	} else {
		var resp *http.Response
		if nc, resp, err = connectProxy(ctx, o, proxy, address); resp != nil {
			return nil, resp, err
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("websocket: %w", err)
	}
	if req.URL.Scheme != "https" {
		return nc, nil, nil
	}
	secure, err := startTLS(ctx, nc, o.TLS, req.URL.Hostname())
	if err != nil {
		_ = nc.Close() // the first error says why
		return nil, nil, fmt.Errorf("websocket: %w", err)
	}
	return secure, nil, nil
}

// hostPort returns what to connect to for a URL.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func netDial(ctx context.Context, o DialOptions, address string) (net.Conn, error) {
	if o.NetDial != nil {
		return o.NetDial(ctx, "tcp", address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// startTLS speaks TLS on nc, with HTTP/1.1, the only version that RFC 6455 is for.
func startTLS(ctx context.Context, nc net.Conn, config *tls.Config, host string) (net.Conn, error) {
	if config == nil {
		config = new(tls.Config)
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	config.NextProtos = []string{"http/1.1"}
	secure := tls.Client(nc, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure, nil
}

// connectProxy opens a tunnel through an HTTP proxy (RFC 9110 section 9.3.6).
// When the proxy refuses there is its answer.
func connectProxy(ctx context.Context, o DialOptions, proxy *url.URL, address string) (net.Conn, *http.Response, error) {
	if proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, nil, fmt.Errorf("proxies of scheme %q are not supported", proxy.Scheme)
	}
	nc, err := netDial(ctx, o, hostPort(proxy))
	if err != nil {
		return nil, nil, err
	}
	below := nc
	if proxy.Scheme == "https" {
		config := o.TLS.Clone()
		if config != nil {
			config.ServerName = "" // it is the server's
		}
		if nc, err = startTLS(ctx, below, config, proxy.Hostname()); err != nil {
			_ = below.Close() // the first error says why
			return nil, nil, err
		}
	}
	tunnel, resp, err := bounded(ctx, nc, func() (net.Conn, *http.Response, error) { return tunnel(nc, proxy, address) })
	if err != nil {
		_ = nc.Close() // the first error says why
		return nil, resp, err
	}
	return tunnel, nil, nil
}

// tunnel asks the proxy at the other end of nc for a connection to address.
func tunnel(nc net.Conn, proxy *url.URL, address string) (net.Conn, *http.Response, error) {
	ask := func(w io.Writer) error {
		credentials := ""
		if proxy.User != nil {
			password, _ := proxy.User.Password()
			credentials = "Proxy-Authorization: Basic " +
				base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)) + "\r\n"
		}
		_, err := fmt.Fprintf(w, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", address, address, credentials)
		return err
	}
	r, resp, err := roundTrip(nc, ask, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, resp, err
	}
	if resp.StatusCode != http.StatusOK {
		e := refusal(resp, errors.New("no tunnel: "+resp.Status))
		e.Proxy = true
		return nil, resp, e
	}
	if r.Buffered() > 0 {
		return nil, nil, errors.New("the proxy sent bytes that nobody asked for")
	}
	return nc, nil, nil
}
