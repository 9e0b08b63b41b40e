package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxAddresses is how many addresses of a service are used, the first ones of
// a longer list.
const MaxAddresses = 64

const (
	soonest     = time.Second      // between two questions to a resolver
	resolveTime = 10 * time.Second // for an answer
)

// Address is one place where a service is.
type Address struct {
	// URL is that of [client.New]. Its host is the name in certificates and in
	// HTTP requests.
	URL string
	// Host is where to connect to in place of the URL's host: an IP address or
	// a name, with a port where that differs from the URL's. Empty: the URL's.
	Host string
}

// Resolver finds the addresses of a service: a DNS, a cluster, a list that
// changes. It may be called by several goroutines at once.
type Resolver interface {
	// Resolve returns all addresses there are now; none at all means that the
	// service is nowhere. After an error the addresses stay as they were. ctx
	// ends after 10 s. It is called again as [WithRefresh] says and after
	// [Service.Refresh].
	Resolve(ctx context.Context) ([]Address, error)
}

// ResolverFunc is a function as a [Resolver].
type ResolverFunc func(ctx context.Context) ([]Address, error)

// Resolve calls f.
func (f ResolverFunc) Resolve(ctx context.Context) ([]Address, error) { return f(ctx) }

// Lookup is what [DNS] needs of a *net.Resolver.
type Lookup interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// DNS finds the addresses of a service in the domain name system.
type DNS struct {
	// URL is that of every address. The name in it is looked up, and stays the
	// one that certificates are checked against.
	URL string
	// Service asks for SRV records, _service._proto.name, in place of
	// addresses; those of the lowest priority count, weights do not. Empty: A
	// or AAAA records, of the family that comes first.
	Service string
	Proto   string // of SRV records; default "tcp"
	// Lookup asks; default net.DefaultResolver.
	Lookup Lookup
}

// Resolve asks once.
func (d DNS) Resolve(ctx context.Context) ([]Address, error) {
	u, err := url.Parse(d.URL)
	if err != nil {
		return nil, err
	}
	if u.Hostname() == "" {
		return nil, fmt.Errorf("%s has no name to look up", u.Redacted())
	}
	ask := d.Lookup
	if ask == nil {
		ask = net.DefaultResolver
	}
	var hosts []string
	if d.Service != "" {
		hosts, err = d.srv(ctx, ask, u.Hostname())
	} else {
		hosts, err = addresses(ctx, ask, u.Hostname())
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(hosts) // the same order each time
	all := make([]Address, 0, len(hosts))
	for _, h := range slices.Compact(hosts) {
		all = append(all, Address{URL: d.URL, Host: h})
	}
	return all, nil
}

func (d DNS) srv(ctx context.Context, ask Lookup, name string) ([]string, error) {
	proto := d.Proto
	if proto == "" {
		proto = "tcp"
	}
	_, records, err := ask.LookupSRV(ctx, d.Service, proto, name)
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, r := range records {
		if target := strings.TrimSuffix(r.Target, "."); target != "" && r.Priority == lowest(records) {
			hosts = append(hosts, net.JoinHostPort(target, strconv.Itoa(int(r.Port))))
		}
	}
	return hosts, nil
}

func lowest(records []*net.SRV) uint16 {
	return slices.MinFunc(records, func(a, b *net.SRV) int { return int(a.Priority) - int(b.Priority) }).Priority
}

// addresses returns those of one family: a host with both is one address, not two.
func addresses(ctx context.Context, ask Lookup, name string) ([]string, error) {
	all, err := ask.LookupHost(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New(name + " has no addresses")
	}
	family := is4(all[0])
	return slices.DeleteFunc(slices.Clone(all), func(a string) bool { return is4(a) != family }), nil
}

func is4(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.Unmap().Is4()
}

// connectTo returns where to connect to in place of address, which the URL said.
func (a Address) connectTo(address string) string {
	if a.Host == "" {
		return address
	}
	if _, _, err := net.SplitHostPort(a.Host); err == nil {
		return a.Host
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return a.Host
	}
	return net.JoinHostPort(strings.Trim(a.Host, "[]"), port)
}

// String is the address for people, without a password.
func (a Address) String() string {
	text := a.URL
	if u, err := url.Parse(a.URL); err == nil {
		text = u.Redacted()
	}
	if a.Host != "" {
		text += " at " + a.Host
	}
	return text
}
