package polywire

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// hostnames are those that the server answers to.
type hostnames struct {
	certificate bool // those of WithTLS as well
	names       map[string]bool
}

// WithHostnames refuses whoever asks for another host: an HTTP request gets 421
// Misdirected Request, a TLS client no handshake. Names are those of DNS, where
// "*.example.com" is any one label before that, and IP addresses; without any,
// those in the certificates of [WithTLS]. Given several times they add up.
// Ports do not matter. A TLS client that names no host, since it was given an
// address, is refused unless an address is among the names.
//
// It holds for every listener and for [Server.ServeHTTP]; a plain tcp:// or
// unix:// stream names no host.
func WithHostnames(names ...string) LiveOption {
	return liveOption{func(c *config) error {
		if c.hosts == nil {
			c.hosts = &hostnames{names: make(map[string]bool)}
		}
		if len(names) == 0 {
			c.hosts.certificate = true
		}
		for _, n := range names {
			if err := c.hosts.add(n); err != nil {
				return err
			}
		}
		return nil
	}, func(c *config) { c.hosts = nil }}
}

// WithAnyHostname takes back what [WithHostnames] has said; the default.
func WithAnyHostname() LiveOption {
	forget := func(c *config) { c.hosts = nil }
	return liveOption{func(c *config) error { forget(c); return nil }, forget}
}

// add adds a name in the form in which it is looked up.
func (h *hostnames) add(name string) error {
	n := canonicalHost(name)
	if _, err := netip.ParseAddr(n); err != nil {
		base := strings.TrimPrefix(n, "*.")
		if base == "" || base[0] == '.' || strings.ContainsAny(base, "*:[]") || strings.ContainsAny(name, "/@ \t") {
			return fmt.Errorf("hostname %q is neither a name nor an IP address", name)
		}
	}
	h.names[n] = true
	return nil
}

// canonicalHost is the host of a Host header or a server name in the form in
// which names are compared.
func canonicalHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// allow reports whether a host is one of the names.
func (h *hostnames) allow(host string) bool {
	host = canonicalHost(host)
	if h.names[host] {
		return !strings.HasPrefix(host, "*")
	}
	_, base, cut := strings.Cut(host, ".")
	return cut && host[0] != '.' && h.names["*."+base]
}

// allowAddresses reports whether one may come by address.
func (h *hostnames) allowAddresses() bool {
	for n := range h.names {
		if _, err := netip.ParseAddr(n); err == nil {
			return true
		}
	}
	return false
}

// certificateNames adds those of the certificates, where they are asked for.
func (c *config) certificateNames() error {
	if c.hosts == nil || !c.hosts.certificate {
		return nil
	}
	return c.hosts.addCertificates(c.tls)
}

// finishHostnames adds the certificates' names and has TLS refuse the others.
func (c *config) finishHostnames() error {
	if err := c.certificateNames(); err != nil || c.tls == nil {
		return err
	}
	next := c.tls.GetConfigForClient
	c.tls.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		hosts := c.live.Load().hosts
		if hosts != nil && (hello.ServerName == "" && !hosts.allowAddresses() || hello.ServerName != "" && !hosts.allow(hello.ServerName)) {
			return nil, fmt.Errorf("polywire: no host %q here", hello.ServerName)
		}
		if next == nil {
			return nil, nil //nolint:nilnil // the configuration as it is
		}
		return next(hello)
	}
	return nil
}

func (h *hostnames) addCertificates(t *tls.Config) error {
	if t == nil || len(t.Certificates) == 0 {
		return errors.New("WithHostnames without names needs WithTLS with certificates")
	}
	for _, pair := range t.Certificates {
		leaf := pair.Leaf
		if leaf == nil {
			if len(pair.Certificate) == 0 {
				return errors.New("WithHostnames: an empty certificate")
			}
			var err error
			if leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
				return fmt.Errorf("WithHostnames: %w", err)
			}
		}
		if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
			return fmt.Errorf("WithHostnames: the certificate of %q has no names (subjectAltName)", leaf.Subject)
		}
		for _, n := range leaf.DNSNames {
			if err := h.add(n); err != nil {
				return err
			}
		}
		for _, ip := range leaf.IPAddresses {
			if err := h.add(ip.String()); err != nil {
				return err
			}
		}
	}
	return nil
}

// misdirected answers a request for another host; false: it is for this one.
func (s *Server) misdirected(w http.ResponseWriter, r *http.Request) bool {
	if hosts := s.now().hosts; hosts == nil || hosts.allow(r.Host) {
		return false
	}
	s.refused("", httpAddr(r.RemoteAddr), refusedHost, nil)
	w.Header().Set("Connection", "close")
	http.Error(w, "this server does not answer to that host name", http.StatusMisdirectedRequest)
	return true
}
