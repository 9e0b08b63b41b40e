package safehttp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

func client(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// post makes a request to a URL as a caller does.
func post(t *testing.T, c *Client, raw string) (*http.Response, error) {
	t.Helper()
	u, err := c.CheckURL(raw)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	return c.Do(r)
}

// sentinel is a server that counts the connections that are opened to it.
func sentinel(t *testing.T, listen string, h http.Handler) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		testenv.Missing(t, "the address "+listen)
	}
	return sentinelOn(t, l, h)
}

func sentinelOn(t *testing.T, l net.Listener, h http.Handler) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	opened := new(atomic.Int64)
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s, opened
}

// onOnePort listens on two addresses with the same port. Somebody else may have
// that of the first on the second, so there are several tries.
func onOnePort(t *testing.T, first, second string) [2]net.Listener {
	t.Helper()
	for range 10 {
		a, err := net.Listen("tcp", first+":0")
		if err != nil {
			t.Fatal(err)
		}
		_, p, err := net.SplitHostPort(a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := net.Listen("tcp", net.JoinHostPort(second, p))
		if err == nil {
			return [2]net.Listener{a, b}
		}
		a.Close()
	}
	testenv.Missing(t, "the address "+second)
	return [2]net.Listener{}
}

func port(t *testing.T, s *httptest.Server) string {
	t.Helper()
	_, p, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })

// TestNothingReachesInside sends every form of an inside address to a server
// that listens there: it sees no connection.
func TestNothingReachesInside(t *testing.T) {
	s, opened := sentinel(t, "127.0.0.1:0", ok)
	n := &names{answers: map[string][][]netip.Addr{
		"inside.example":  {{netip.MustParseAddr("127.0.0.1")}},
		"six.example":     {{netip.MustParseAddr("::1")}},
		"mapped.example":  {{netip.MustParseAddr("::ffff:127.0.0.1")}},
		"zero.example":    {{netip.MustParseAddr("0.0.0.0")}},
		"private.example": {{netip.MustParseAddr("10.0.0.1")}},
		"nat64.example":   {{netip.MustParseAddr("64:ff9b::7f00:1")}},
		"both.example":    {{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}},
	}}
	hosts := []string{
		"127.0.0.1", "127.1", "127.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0", "00", "0x0",
		"2130706433", "0x7f000001", "0X7F000001", "017700000001", "0177.0.0.1", "0177.0.0.01", "0x7f.0.0.1", "0x7f.1",
		"127.0.0.0x1", "127.0.0.1.", "127.0.0.01", "127.000.000.001", "4294967295", "18446744071562067969",
		"[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:0:127.0.0.1]",
		"[::127.0.0.1]", "[::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]",
		"[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]", "[::1%25lo]", "[fec0::1]", "[fd00:ec2::254]",
		"[2001:4860::5efe:7f00:1]", "[2001:4860::200:5efe:7f00:1]", "[127.0.0.1]", "[5f00::1]", "[ff02::1]",
		"localhost", "LOCALHOST", "localhost.", "a.localhost",
		"10.0.0.1", "172.16.0.1", "192.168.0.1", "100.100.100.200", "169.254.169.254", "168.63.129.16", "224.0.0.1", "255.255.255.255",
		"a@127.0.0.1", "example.com@127.0.0.1", "a:b@127.0.0.1", "@127.0.0.1", "127.0.0.1#@example.com", "127.0.0.1\\@example.com", "127.0.0.1%2f@example.com",
		"%31%32%37.0.0.1", "１２７.０.０.１", "①②⑦.⓪.⓪.①", "127。0。0。1", "127.0.0.1%00", "127.0.0.1%0d%0a", "127.0.0.1%20", "ⓛocalhost", "%e2%93%9bocalhost",
		"inside.example", "INSIDE.example", "six.example", "mapped.example", "zero.example", "private.example", "nat64.example", "both.example",
	}
	forms := []string{"http://%s:" + port(t, s) + "/", "https://%s:" + port(t, s) + "/"}
	for _, localhost := range []string{"localhost", "a.localhost"} {
		n.answers[localhost] = [][]netip.Addr{{netip.MustParseAddr("127.0.0.1")}}
	}
	c := client(t, Options{AllowHTTP: true, Resolver: n.resolver()})
	for _, host := range hosts {
		for _, form := range forms {
			raw := fmt.Sprintf(form, host)
			resp, err := post(t, c, raw)
			if err == nil {
				resp.Body.Close()
			}
			if !errors.Is(err, ErrForbidden) && !errors.Is(err, ErrURL) {
				t.Errorf("%s: got %v, want a refusal", raw, err)
			}
		}
	}
	if got := opened.Load(); got != 0 {
		t.Fatalf("%d connections were opened", got)
	}

	// The server is there, and seen when it is allowed.
	for name, o := range map[string]Options{
		"network": {AllowHTTP: true, Resolver: n.resolver(), AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
		"host":    {AllowHTTP: true, Resolver: n.resolver(), AllowHosts: []string{"Inside.example"}},
	} {
		before := opened.Load()
		resp, err := post(t, client(t, o), "http://inside.example:"+port(t, s)+"/")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		resp.Body.Close()
		if opened.Load() != before+1 {
			t.Errorf("%s: no connection was seen", name)
		}
	}
}

// TestDialIsCheckedByItself has addresses come to the dialler that no check of
// a URL has seen.
func TestDialIsCheckedByItself(t *testing.T) {
	s, opened := sentinel(t, "127.0.0.1:0", ok)
	n := &names{answers: map[string][][]netip.Addr{"inside.example": {{netip.MustParseAddr("127.0.0.1")}}}}
	c := client(t, Options{Resolver: n.resolver()})
	for _, host := range []string{"127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::", "", "inside.example", "127.0.0.1%lo"} {
		conn, err := c.dial(t.Context(), "tcp", net.JoinHostPort(host, port(t, s)))
		if err == nil {
			conn.Close()
		}
		if err == nil || opened.Load() != 0 {
			t.Errorf("%q: a connection was opened (%v)", host, err)
		}
	}
	for _, network := range []string{"tcp", "udp4", "unix", "ip4"} {
		if err := c.control(t.Context(), network, "1.1.1.1:443", nil); !errors.Is(err, ErrForbidden) {
			t.Errorf("network %s: got %v", network, err)
		}
	}
	for _, address := range []string{"1.1.1.1:22", "1.1.1.1", "name:443", "[::ffff:10.0.0.1]:443"} {
		if err := c.control(t.Context(), "tcp4", address, nil); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: got %v", address, err)
		}
	}
	if err := c.control(t.Context(), "tcp4", "1.1.1.1:443", nil); err != nil {
		t.Errorf("a public address: %v", err)
	}
}

// TestNameThatChangesItsMind has a name lead to an allowed address first, and
// inside the second time, between the check of the URL and the dial too.
func TestNameThatChangesItsMind(t *testing.T) {
	both := onOnePort(t, "127.0.0.1", "127.0.0.2")
	_, opened := sentinelOn(t, both[0], ok)
	outside, reached := sentinelOn(t, both[1], ok)
	n := &names{answers: map[string][][]netip.Addr{"rebind.example": {
		{netip.MustParseAddr("127.0.0.2")}, {netip.MustParseAddr("127.0.0.1")},
	}}}
	c := client(t, Options{
		AllowHTTP: true, Resolver: n.resolver(),
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")},
	})
	target := "http://rebind.example:" + port(t, outside) + "/"
	resp, err := post(t, c, target)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	c.Close()                                                        // the next request dials again
	if _, err := post(t, c, target); !errors.Is(err, ErrForbidden) { //nolint:bodyclose // there is none
		t.Errorf("second request: got %v, want %v", err, ErrForbidden)
	}
	if opened.Load() != 0 || reached.Load() != 1 {
		t.Errorf("inside saw %d connections, want 0; outside %d, want 1", opened.Load(), reached.Load())
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	inside, opened := sentinel(t, "127.0.0.1:0", ok)
	for _, status := range []int{301, 302, 303, 307, 308} {
		outside, _ := sentinel(t, "127.0.0.2:0", http.RedirectHandler(inside.URL, status))
		c := client(t, Options{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}})
		resp, err := post(t, c, outside.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("got status %d, want %d", resp.StatusCode, status)
		}
	}
	if opened.Load() != 0 {
		t.Errorf("%d connections were opened inside", opened.Load())
	}
}

func TestEnvironmentProxyIsIgnored(t *testing.T) {
	proxy, opened := sentinel(t, "127.0.0.1:0", ok)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	server, reached := sentinel(t, "127.0.0.2:0", ok)
	allow := []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	resp, err := post(t, client(t, Options{AllowHTTP: true, AllowNetworks: allow}), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if opened.Load() != 0 || reached.Load() != 1 {
		t.Errorf("the proxy saw %d connections, want 0; the server %d, want 1", opened.Load(), reached.Load())
	}
}

// TestProxy has a configured proxy get every request, but none to a literal
// inside address.
func TestProxy(t *testing.T) {
	var asked atomic.Pointer[string]
	proxy, opened := sentinel(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := r.URL.String()
		asked.Store(&to)
	}))
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, Options{AllowHTTP: true, Proxy: u, Resolver: new(names).resolver()})
	resp, err := post(t, c, "http://receiver.example/hook")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := asked.Load(); got == nil || *got != "http://receiver.example/hook" {
		t.Errorf("the proxy was not asked for the URL: %v", got)
	}
	before := opened.Load()
	if _, err := post(t, c, "http://127.0.0.1:"+port(t, proxy)); !errors.Is(err, ErrForbidden) { //nolint:bodyclose // there is none
		t.Errorf("a literal address: got %v, want %v", err, ErrForbidden)
	}
	if opened.Load() != before {
		t.Error("the proxy was asked for an inside address")
	}
	for _, bad := range []string{"ftp://proxy:1", "//proxy", "http://"} {
		p, err := url.Parse(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(Options{Proxy: p}); err == nil {
			t.Errorf("proxy %q is accepted", bad)
		}
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	s := httptest.NewUnstartedServer(ok)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	allow := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	_, err := post(t, client(t, Options{AllowNetworks: allow}), s.URL) //nolint:bodyclose // there is none
	if _, unknown := errors.AsType[*tls.CertificateVerificationError](err); !unknown {
		t.Errorf("a certificate by nobody: got %v", err)
	}
	trusting := client(t, Options{AllowNetworks: allow, TLS: s.Client().Transport.(*http.Transport).TLSClientConfig})
	resp, err := post(t, trusting, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// TestNothingIsUnpacked wants the bytes that were sent, though they say that
// they are a gzip stream.
func TestNothingIsUnpacked(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(make([]byte, 10<<20))
	w.Close()
	var asked atomic.Pointer[string]
	s, _ := sentinel(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		encoding := r.Header.Get("Accept-Encoding")
		asked.Store(&encoding)
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}))
	resp, err := post(t, client(t, Options{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(body, packed.Bytes()) {
		t.Errorf("got %d bytes and %v, want the %d that were sent", len(body), err, packed.Len())
	}
	if *asked.Load() != "identity" {
		t.Errorf("it asked for %q", *asked.Load())
	}
}

func TestBigResponseHeaderIsRefused(t *testing.T) {
	s, _ := sentinel(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Big", strings.Repeat("a", 64<<10))
	}))
	c := client(t, Options{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if _, err := post(t, c, s.URL); err == nil { //nolint:bodyclose // there is none
		t.Error("64 KiB of header were accepted")
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no network":     {AllowNetworks: []netip.Prefix{{}}},
		"mapped network": {AllowNetworks: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}},
		"host":           {AllowHosts: []string{"a b"}},
		"number as host": {AllowHosts: []string{"127.1"}},
		"port":           {Ports: []uint16{0}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestErrorsHaveNoURL(t *testing.T) {
	n := &names{answers: map[string][][]netip.Addr{"inside.example": {{netip.MustParseAddr("127.0.0.1")}}}}
	c := client(t, Options{Resolver: n.resolver()})
	for _, raw := range []string{
		"https://inside.example/path-secret?token=secret", "https://user:secret@example.com/", "https://h/%zzsecret",
		"ftp://h/secret", "https://h/secret\n", "https://none.example/secret",
	} {
		_, err := post(t, c, raw) //nolint:bodyclose // there is none
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", raw, err)
		}
	}
}
