package service_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/service"
)

// zone is a domain name system.
type zone struct {
	mu    sync.Mutex
	hosts map[string][]string
	srv   map[string][]*net.SRV
	asked int
}

var errNoSuchName = errors.New("no such name")

func (z *zone) LookupHost(_ context.Context, name string) ([]string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	if all, ok := z.hosts[name]; ok {
		return all, nil
	}
	return nil, errNoSuchName
}

func (z *zone) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	if all, ok := z.srv[fmt.Sprintf("_%s._%s.%s", service, proto, name)]; ok {
		return name, all, nil
	}
	return "", nil, errNoSuchName
}

func (z *zone) set(name string, addresses ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.hosts == nil {
		z.hosts = make(map[string][]string)
	}
	z.hosts[name] = addresses
	if addresses == nil {
		delete(z.hosts, name)
	}
}

func (z *zone) questions() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked
}

var _ service.Lookup = net.DefaultResolver

func TestDNSResolve(t *testing.T) {
	z := &zone{
		hosts: map[string][]string{
			"both":  {"10.0.0.2", "fd00::1", "10.0.0.1", "10.0.0.2"},
			"six":   {"fd00::2", "10.0.0.1", "fd00::1"},
			"empty": {},
		},
		srv: map[string][]*net.SRV{
			"_users._tcp.example.org": {
				{Target: "two.example.org.", Port: 7002, Priority: 10},
				{Target: "spare.example.org.", Port: 7003, Priority: 20},
				{Target: "one.example.org.", Port: 7001, Priority: 10},
				{Target: ".", Port: 0, Priority: 10},
			},
			"_users._udp.example.org": {{Target: "udp.example.org.", Port: 1}},
		},
	}
	for _, tt := range []struct {
		dns  service.DNS
		want string // hosts, or the error
	}{
		{service.DNS{URL: "tcp://both:7000"}, "10.0.0.1 10.0.0.2"},
		{service.DNS{URL: "tcp://six:7000"}, "fd00::1 fd00::2"},
		{service.DNS{URL: "socketio+http://user:pass@both/admin"}, "10.0.0.1 10.0.0.2"},
		{service.DNS{URL: "tls://example.org", Service: "users"}, "one.example.org:7001 two.example.org:7002"},
		{service.DNS{URL: "tls://example.org", Service: "users", Proto: "udp"}, "udp.example.org:1"},
		{service.DNS{URL: "tls://example.org", Service: "other"}, "no such name"},
		{service.DNS{URL: "tcp://empty:1"}, "has no addresses"},
		{service.DNS{URL: "tcp://unheard:1"}, "no such name"},
		{service.DNS{URL: "unix:///run/a.sock"}, "no name"},
		{service.DNS{URL: "tcp://a:b:c"}, "invalid port"},
	} {
		tt.dns.Lookup = z
		all, err := tt.dns.Resolve(t.Context())
		var hosts []string
		for _, a := range all {
			hosts = append(hosts, a.Host)
			if a.URL != tt.dns.URL {
				t.Errorf("%+v: an address with the URL %q", tt.dns, a.URL)
			}
		}
		if got := strings.Join(hosts, " "); err == nil && got != tt.want || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %q, %v; want %q", tt.dns, got, err, tt.want)
		}
	}
}

// Names are looked up again, and connections follow.
func TestDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		one, two := n.serve("10.0.0.1:7000"), n.serve("10.0.0.2:7000")
		z := &zone{}
		s := n.register(nil, service.WithResolver(service.DNS{URL: "tcp://users:7000", Lookup: z}), service.WithRefresh(10*time.Second))
		synctest.Wait()
		if stats := s.Stats(); !errors.Is(stats.Resolve, errNoSuchName) || stats.Health != service.HealthDown {
			t.Errorf("stats: %+v", stats)
		}
		if err := s.Call(t.Context(), "who", nil, nil); !errors.Is(err, service.ErrNotConnected) || !errors.Is(err, errNoSuchName) {
			t.Errorf("before the name is known: %v", err)
		}
		z.set("users", "10.0.0.1")
		if err := s.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := who(t, s); got != "10.0.0.1:7000" {
			t.Errorf("it is at %q", got)
		}
		z.set("users", "10.0.0.2", "10.0.0.1")
		<-time.After(11 * time.Second)
		found := map[string]bool{}
		for range 4 {
			found[who(t, s)] = true
		}
		if len(found) != 2 || s.Stats().Wanted != 4 {
			t.Errorf("calls went to %v", found)
		}
		// What is on its way to an address that goes is answered; then it is left.
		answered := s.Go(t.Context(), "never", nil, nil, service.Pick(func(all []polywire.Member) []polywire.Member {
			return all[:1] // of the first address by name
		}))
		synctest.Wait()
		z.set("users", "10.0.0.2")
		<-time.After(time.Second)
		s.Refresh()
		synctest.Wait()
		for range 4 {
			if got := who(t, s); got != "10.0.0.2:7000" {
				t.Errorf("it is at %q", got)
			}
		}
		if err := answered.Wait(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call to the address that went: %v", err)
		}
		<-time.After(5 * time.Second)
		if len(one.All().Conns()) != 0 || len(two.All().Conns()) != 2 {
			t.Errorf("%d and %d connections", len(one.All().Conns()), len(two.All().Conns()))
		}
		// An error changes nothing, an empty answer does.
		z.set("users")
		<-time.After(20 * time.Second)
		if got := who(t, s); got != "10.0.0.2:7000" || s.Stats().Resolve == nil {
			t.Errorf("it is at %q: %+v", got, s.Stats())
		}
	})
}

// The resolver is asked often enough, and not too often.
func TestRefreshIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("10.0.0.1:7000")
		z := &zone{}
		z.set("users", "10.0.0.1")
		s := n.register(nil, service.WithResolver(service.DNS{URL: "tcp://users:7000", Lookup: z}))
		if err := s.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := z.questions()
		<-time.After(5*time.Minute + time.Second) // not at the moment of an answer
		if got := z.questions() - before; got != 10 {
			t.Errorf("asked %d times in 5 minutes", got)
		}
		before = z.questions()
		for range 100 {
			s.Refresh()
			<-time.After(100 * time.Millisecond)
		}
		if got := z.questions() - before; got < 5 || got > 11 {
			t.Errorf("asked %d times in 10 s", got)
		}
		s.Disconnect()
		s.Refresh()
		before = z.questions()
		<-time.After(time.Minute)
		if z.questions() != before {
			t.Error("asked while disconnected")
		}
	})
}

// Discovery of another kind: addresses with URLs of their own, doubles, bad
// ones, and more than are used.
func TestResolverOfAnyKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.serve("a:1")
		var mu sync.Mutex
		list := []service.Address{{URL: "tcp://a:1"}, {URL: "gopher://b"}, {URL: "tcp://a:1"}}
		s := n.register(nil, service.WithConnections(1), service.WithResolver(service.ResolverFunc(func(context.Context) ([]service.Address, error) {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(list), nil
		})))
		if got := who(t, s); got != "a:1" {
			t.Errorf("it is at %q", got)
		}
		if stats := s.Stats(); stats.Wanted != 1 || stats.Resolve == nil || !strings.Contains(stats.Resolve.Error(), "gopher") {
			t.Errorf("stats: %+v", stats)
		}
		mu.Lock()
		list = nil
		for i := range 2 * service.MaxAddresses {
			list = append(list, service.Address{URL: "tcp://a:1", Host: fmt.Sprint("host-", i)})
		}
		mu.Unlock()
		<-time.After(time.Second)
		s.Refresh()
		synctest.Wait()
		if stats := s.Stats(); stats.Wanted != service.MaxAddresses || stats.Resolve != nil {
			t.Errorf("%d connections are wanted: %v", stats.Wanted, stats.Resolve)
		}
		if got := n.tried("host-0:1"); got == 0 {
			t.Error("the host was not dialled with the URL's port")
		}
		mu.Lock()
		list = nil
		mu.Unlock()
		<-time.After(time.Second)
		s.Refresh()
		<-time.After(time.Minute)
		if stats := s.Stats(); stats.Wanted != 0 || s.Connected() {
			t.Errorf("stats: %+v", stats)
		}
	})
}
