package safehttp

import (
	"encoding/binary"
	"net/netip"
)

// notPublic are the networks that no stranger may make us connect to. The
// sources are the IANA registries of special-purpose addresses for IPv4 and
// IPv6, and two clouds that answer for a machine's secrets elsewhere.
//
//nolint:gochecknoglobals // a constant table of values that Go has no constants for
var notPublic = prefixes(
	"0.0.0.0/8",            // this network; 0.0.0.0 is this host
	"10.0.0.0/8",           // private
	"100.64.0.0/10",        // shared by carriers; Alibaba's metadata
	"127.0.0.0/8",          // loopback
	"168.63.129.16/32",     // Azure's host agent
	"169.254.0.0/16",       // link local; most clouds' metadata
	"172.16.0.0/12",        // private
	"192.0.0.0/24",         // protocol assignments; Oracle's metadata
	"192.0.2.0/24",         // documentation
	"192.88.99.0/24",       // 6to4 relays
	"192.168.0.0/16",       // private
	"198.18.0.0/15",        // benchmarking
	"198.51.100.0/24",      // documentation
	"203.0.113.0/24",       // documentation
	"224.0.0.0/4",          // multicast
	"240.0.0.0/4",          // reserved; broadcast
	"2001::/23",            // protocol assignments: Teredo, benchmarking, ORCHID
	"2001:db8::/32",        // documentation
	"2002::/16",            // 6to4: an IPv4 address inside
	"2620:4f:8000::/48",    // AS112, a sink of names
	"3fff::/20",            // documentation
	"2001:4:112::/48",      // AS112
	"::/3",                 // unspecified, loopback, mapped, NAT64, discard-only
	"4000::/2", "8000::/1", // 5f00::/16, fc00::/7, fe80::/10, fec0::/10, ff00::/8, and nothing yet
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// Public reports whether an address belongs to the public internet as far as
// the registries say: not loopback, private, link local, shared, multicast,
// reserved or for documentation, and not a form of IPv6 that has an IPv4
// address inside (mapped ones are taken as the IPv4 address that they are).
func Public(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return !isISATAP(a)
}

// isISATAP finds tunnels (RFC 5214): their last 32 bits are an IPv4 address.
func isISATAP(a netip.Addr) bool {
	if !a.Is6() {
		return false
	}
	b := a.As16()
	return binary.BigEndian.Uint32(b[8:])&^0x02000000 == 0x00005efe
}

// nat64 returns the IPv4 address that a NAT64 gateway would take out of a
// (RFC 6052, the well-known prefix).
func nat64(a netip.Addr) (netip.Addr, bool) {
	if !netip.PrefixFrom(wellKnownNAT64(), 96).Contains(a) {
		return netip.Addr{}, false
	}
	b := a.As16()
	return netip.AddrFrom4([4]byte(b[12:])), true
}

func wellKnownNAT64() netip.Addr { return netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b}) }

// permits reports whether a connection to an address may be opened. An allowed
// NAT64 network lets through what would be allowed without it.
func (c *Client) permits(a netip.Addr) bool {
	if Public(a) {
		return true
	}
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	for _, p := range c.networks {
		if !p.Contains(a) {
			continue
		}
		if inner, ok := nat64(a); ok {
			return c.permits(inner)
		}
		return true
	}
	return false
}
