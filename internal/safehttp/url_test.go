package safehttp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

var label63 = strings.Repeat("a", 63)

var urls = []struct {
	raw  string
	want error
}{
	{"https://example.com", nil},
	{"https://example.com/hook?token=1", nil},
	{"https://EXAMPLE.com:8443/", nil},
	{"https://xn--bcher-kva.example/", nil},
	{"https://my_service.example/", nil},
	{"https://3com.example/", nil},
	{"https://0x7g.example.a0/", nil},
	{"https://1.1.1.1/", nil},
	{"https://[2606:4700:4700::1111]/", nil},
	{"https://[2606:4700:4700::1111]:1024/", nil},
	{"https://example.com/żółć", nil},
	{"https://" + label63 + "." + label63 + "." + label63 + ".example/", nil},
	{"", ErrURL},
	{"https://example.com/" + strings.Repeat("a", MaxURLBytes), ErrURL},
	{"http://example.com/", ErrURL},
	{"ftp://example.com/", ErrURL},
	{"file:///etc/passwd", ErrURL},
	{"gopher://example.com/", ErrURL},
	{"unix:///run/docker.sock", ErrURL},
	{"//example.com/", ErrURL},
	{"example.com", ErrURL},
	{"https:example.com", ErrURL},
	{"https:/example.com", ErrURL},
	{"https://", ErrURL},
	{"https:///path", ErrURL},
	{"https://:443/", ErrURL},
	{"https://example.com:/", ErrURL},
	{"https://example.com:0/", ErrURL},
	{"https://example.com:0443/", ErrURL},
	{"https://example.com:22/", ErrURL},
	{"https://example.com:65536/", ErrURL},
	{"https://example.com:-1/", ErrURL},
	{"https://example.com:80:80/", ErrURL},
	{"https://example.com#", ErrURL},
	{"https://example.com/#a", ErrURL},
	{"https://example.com/a b", ErrURL},
	{" https://example.com/", ErrURL},
	{"https://example.com/\r\nX-A: b", ErrURL},
	{"https://example.com/\x00", ErrURL},
	{"https://example.com\\@127.0.0.1/", ErrURL},
	{"https://user@example.com/", ErrURL},
	{"https://@example.com/", ErrURL},
	{"https://example..com/", ErrURL},
	{"https://.example.com/", ErrURL},
	{"https://example.com./", ErrURL},
	{"https://-a.example/", ErrURL},
	{"https://a-.example/", ErrURL},
	{"https://bücher.example/", ErrURL},
	{"https://a,b.example/", ErrURL},
	{"https://" + label63 + "a.example/", ErrURL},
	{"https://" + strings.Repeat("a.", 130) + "example/", ErrURL},
	{"https://1.2.3.4.5/", ErrURL},
	{"https://256.1.1.1/", ErrURL},
	{"https://1.1.1/", ErrURL},
	{"https://example.0x/", ErrURL},
	{"https://example.12/", ErrURL},
	{"https://[::ffff:1.1.1.1]/", nil},
	{"https://[::ffff:10.1.1.1]/", ErrForbidden},
	{"https://127.0.0.1/", ErrForbidden},
	{"https://[::1]/", ErrForbidden},
}

func TestCheckURL(t *testing.T) {
	c := client(t, Options{})
	for _, tt := range urls {
		u, err := c.CheckURL(tt.raw)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%q: got %v, want %v", tt.raw, err, tt.want)
		}
		if err == nil && u == nil {
			t.Errorf("%q: no URL", tt.raw)
		}
	}
	ports := client(t, Options{AllowHTTP: true, Ports: []uint16{443, 9000}})
	for raw, want := range map[string]bool{
		"https://example.com/": true, "https://example.com:9000/": true, "http://example.com:9000/": true,
		"http://example.com/": false, "https://example.com:8443/": false,
	} {
		if _, err := ports.CheckURL(raw); (err == nil) != want {
			t.Errorf("with ports: %s: %v", raw, err)
		}
	}
}

func TestPublic(t *testing.T) {
	tests := []struct {
		addr string
		want bool
	}{
		{"1.1.1.1", true}, {"9.255.255.255", true}, {"11.0.0.0", true}, {"100.63.255.255", true}, {"100.128.0.0", true},
		{"126.255.255.255", true}, {"128.0.0.0", true}, {"169.253.255.255", true}, {"169.255.0.0", true},
		{"172.15.255.255", true}, {"172.32.0.0", true}, {"192.167.255.255", true}, {"192.169.0.0", true},
		{"192.0.1.0", true}, {"198.17.255.255", true}, {"198.20.0.0", true}, {"223.255.255.255", true},
		{"::ffff:1.1.1.1", true}, {"2606:4700:4700::1111", true}, {"2a00:1450::1", true}, {"2001:200::", true}, {"2003::1", true},
		{"0.0.0.0", false}, {"0.255.255.255", false}, {"10.0.0.0", false}, {"10.255.255.255", false},
		{"100.64.0.0", false}, {"100.127.255.255", false}, {"100.100.100.200", false}, {"127.0.0.1", false}, {"127.255.255.255", false},
		{"168.63.129.16", false}, {"169.254.0.0", false}, {"169.254.169.254", false}, {"172.16.0.0", false}, {"172.31.255.255", false},
		{"192.0.0.1", false}, {"192.0.0.192", false}, {"192.0.2.1", false}, {"192.88.99.1", false}, {"192.168.0.0", false}, {"192.168.255.255", false},
		{"198.18.0.0", false}, {"198.19.255.255", false}, {"198.51.100.1", false}, {"203.0.113.1", false},
		{"224.0.0.0", false}, {"239.255.255.255", false}, {"240.0.0.0", false}, {"255.255.255.255", false},
		{"::", false}, {"::1", false}, {"::ffff:127.0.0.1", false}, {"::ffff:10.0.0.1", false}, {"::10.0.0.1", false}, {"::ffff:0:1.1.1.1", false},
		{"64:ff9b::1.1.1.1", false}, {"64:ff9b::7f00:1", false}, {"64:ff9b:1::1", false}, {"100::1", false}, {"100:0:0:1::1", false},
		{"2001::1", false}, {"2001:0:7f00:1::", false}, {"2001:2::1", false}, {"2001:10::1", false}, {"2001:1ff::", false}, {"2001:20::1", false},
		{"2001:db8::1", false}, {"2002::1", false}, {"2002:7f00:1::", false}, {"3fff::1", false}, {"3fff:fff::1", false}, {"4000::1", false},
		{"5f00::1", false}, {"fc00::1", false}, {"fd00:ec2::254", false}, {"fe80::1", false}, {"fe80::1%eth0", false}, {"fec0::1", false}, {"ff02::1", false},
		{"2606:4700::5efe:7f00:1", false}, {"2606:4700::200:5efe:7f00:1", false}, {"2606:4700::1%eth0", false},
	}
	for _, tt := range tests {
		if got := Public(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.addr, got, tt.want)
		}
	}
	if Public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

func TestAllowedNetworks(t *testing.T) {
	c := client(t, Options{AllowNetworks: []netip.Prefix{
		netip.MustParsePrefix("10.1.2.3/16"), netip.MustParsePrefix("fd00:1::/32"), netip.MustParsePrefix("64:ff9b::/96"),
	}})
	for addr, want := range map[string]bool{
		"10.1.0.1": true, "::ffff:10.1.0.1": true, "10.2.0.1": false, "fd00:1::1": true, "fd00:2::1": false, "fd00:1::1%eth0": false,
		"64:ff9b::1.1.1.1": true, "64:ff9b::10.1.0.1": true, "64:ff9b::127.0.0.1": false, "127.0.0.1": false, "1.1.1.1": true,
	} {
		if got := c.permits(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: got %v, want %v", addr, got, want)
		}
	}
}

// FuzzCheckURL wants every accepted URL to name a host that can be read in one way only.
func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{
		"https://example.com/hook", "http://127.1/", "https://[::ffff:7f00:1]:443/", "https://a@b/", "https://0x7f.1/", "https://１.1.1.1/",
	} {
		f.Add(s)
	}
	c, err := New(Options{AllowHTTP: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := c.CheckURL(raw)
		if err != nil {
			if !errors.Is(err, ErrURL) && !errors.Is(err, ErrForbidden) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		host := u.Hostname()
		a, err := netip.ParseAddr(host)
		if err == nil && !Public(a) {
			t.Fatalf("%q leads to %s", raw, a)
		}
		if err != nil && (strings.Trim(host[strings.LastIndexByte(host, '.')+1:], "0123456789") == "" || strings.ContainsAny(host, "%@:[]/\\ ")) {
			t.Fatalf("%q has the host %q", raw, host)
		}
		if u.User != nil || strings.ContainsAny(u.String(), "\r\n\x00 ") {
			t.Fatalf("%q became %q", raw, u)
		}
		if again, err := c.CheckURL(u.String()); err != nil || again.Host != u.Host {
			t.Fatalf("%q became %q, which is refused: %v", raw, u, err)
		}
	})
}
