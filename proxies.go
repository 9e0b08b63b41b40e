package polywire

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxies are those whose word about a client's address counts.
type proxies struct {
	prefixes []netip.Prefix
	unix     bool
}

// WithTrustedProxies names the proxies through which clients come: addresses
// ("10.0.0.7"), prefixes ("10.0.0.0/8"), or "unix" for a proxy that connects by
// a unix socket. For an HTTP request of theirs the client's address is the last
// one in X-Forwarded-For that is not a proxy's own: [Conn.RemoteAddr], the
// [Handshake], the limits for each address and the log have that one. Nobody
// else's X-Forwarded-For counts. Default: none.
func WithTrustedProxies(from ...string) Option {
	return optionFunc(func(c *config) error {
		if c.proxies == nil {
			c.proxies = new(proxies)
		}
		for _, f := range from {
			if f == "unix" {
				c.proxies.unix = true
				continue
			}
			p, err := netip.ParsePrefix(f)
			if err != nil {
				a, err := netip.ParseAddr(f)
				if err != nil || a.Zone() != "" {
					return fmt.Errorf("trusted proxy %q is neither an address nor a prefix", f)
				}
				p = netip.PrefixFrom(a, a.BitLen())
			}
			if a := p.Addr(); a.Is4In6() {
				return fmt.Errorf("trusted proxy %q: write the IPv4 address as one", f)
			}
			c.proxies.prefixes = append(c.proxies.prefixes, p.Masked())
		}
		return nil
	})
}

func (p *proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p.prefixes, func(prefix netip.Prefix) bool { return prefix.Contains(a) })
}

// maxForwarded is how many addresses of X-Forwarded-For are looked at.
const maxForwarded = 32

// origin returns the request as if its client had connected itself.
func (p *proxies) origin(r *http.Request) *http.Request {
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err != nil {
		if nameless := r.RemoteAddr == "" || r.RemoteAddr == "@"; !nameless || !p.unix {
			return r
		}
	} else if !p.trusts(at.Addr().Unmap().WithZone("")) {
		return r
	}
	var client netip.Addr
	looked := 0
	for _, line := range slices.Backward(r.Header.Values("X-Forwarded-For")) {
		for rest, more := line, true; more; looked++ {
			var last string
			i := strings.LastIndexByte(rest, ',')
			last, more = strings.TrimSpace(rest[i+1:]), i >= 0
			rest = rest[:max(i, 0)]
			a, ok := forwarded(last)
			if !ok || looked >= maxForwarded {
				return p.as(r, client)
			}
			client = a
			if !p.trusts(a) {
				return p.as(r, client)
			}
		}
	}
	return p.as(r, client)
}

// forwarded reads an address, with or without a port.
func forwarded(s string) (netip.Addr, bool) {
	if at, err := netip.ParseAddrPort(s); err == nil {
		return at.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return a.Unmap().WithZone(""), err == nil
}

// as returns the request with the address of its client; an invalid one
// changes nothing.
func (*proxies) as(r *http.Request, client netip.Addr) *http.Request {
	if !client.IsValid() {
		return r
	}
	own := *r
	own.RemoteAddr = netip.AddrPortFrom(client, 0).String()
	return &own
}

// from returns the address that a request's client has, if a proxy told it.
func (p *proxies) from(r *http.Request) *net.TCPAddr {
	if p == nil || r == nil {
		return nil
	}
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || at.Port() != 0 { // no real client has port 0
		return nil
	}
	return net.TCPAddrFromAddrPort(at)
}
