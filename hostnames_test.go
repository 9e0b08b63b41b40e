package polywire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/internal/conntest"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire/native"
)

// certificate makes a self-signed one for names and addresses.
func certificate(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	cert, _ := conntest.Certificate(t, names...)
	return cert
}

func withCertificates(certs ...tls.Certificate) polywire.Option {
	return polywire.WithTLS(&tls.Config{Certificates: certs, MinVersion: tls.VersionTLS12})
}

func TestHostnamesOfRequests(t *testing.T) {
	srv := newServer(t, func(s *polywire.Server) {
		s.HandleHTTP("/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	}, polywire.WithWires(native.New()),
		polywire.WithHostnames(), withCertificates(certificate(t, "Example.com", "*.wild.example", "192.0.2.7"), certificate(t, "second.example")),
		polywire.WithHostnames("more.example.", "::1"))
	var refused uint64
	for host, want := range map[string]int{
		"example.com":                 http.StatusNoContent,
		"EXAMPLE.com:8443":            http.StatusNoContent,
		"example.com.":                http.StatusNoContent,
		"second.example":              http.StatusNoContent,
		"more.example":                http.StatusNoContent,
		"any.wild.example":            http.StatusNoContent,
		"192.0.2.7:80":                http.StatusNoContent,
		"[::1]:80":                    http.StatusNoContent,
		"[0:0::1]":                    http.StatusNoContent,
		"wild.example":                http.StatusMisdirectedRequest,
		"*.wild.example":              http.StatusMisdirectedRequest,
		".wild.example":               http.StatusMisdirectedRequest,
		"two.labels.wild.example":     http.StatusMisdirectedRequest,
		"www.example.com":             http.StatusMisdirectedRequest,
		"example.com.attacker.test":   http.StatusMisdirectedRequest,
		"192.0.2.8":                   http.StatusMisdirectedRequest,
		"[::2]:80":                    http.StatusMisdirectedRequest,
		"":                            http.StatusMisdirectedRequest,
		"localhost":                   http.StatusMisdirectedRequest,
		strings.Repeat("a.", 100_000): http.StatusMisdirectedRequest,
	} {
		for _, path := range []string{"/", "/polywire"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Host = host
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, r)
			if want == http.StatusMisdirectedRequest {
				refused++
			}
			if got := w.Code == http.StatusMisdirectedRequest; got != (want == http.StatusMisdirectedRequest) || path == "/" && w.Code != want {
				t.Errorf("%.40q %s: %d, want %d", host, path, w.Code, want)
			}
		}
	}
	if n := srv.Stats().Refused; n != refused {
		t.Errorf("%d were refused, not %d", n, refused)
	}
}

// TLS clients get no handshake for another name, HTTP requests over it no answer.
func TestHostnamesOfTLS(t *testing.T) {
	for _, c := range []struct {
		name    string
		names   []string
		sni     string // empty: none
		host    string
		code    int // 0: no handshake
		streams bool
	}{
		{"its name", []string{"example.com"}, "example.com", "example.com", http.StatusNotFound, true},
		{"another name", []string{"example.com"}, "example.org", "example.com", 0, false},
		{"another host", []string{"example.com"}, "example.com", "example.org", http.StatusMisdirectedRequest, true},
		{"no name", []string{"example.com"}, "", "example.com", 0, false},
		{"by address", []string{"example.com", "192.0.2.7"}, "", "192.0.2.7", http.StatusNotFound, true},
		{"by another address", []string{"example.com", "192.0.2.7"}, "", "192.0.2.8", http.StatusMisdirectedRequest, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newServer(t, nil, polywire.WithWires(native.New()), polywire.WithHostnames(c.names...), withCertificates(certificate(t, "cert.example")))
			code, err := get(t, srv, c.sni, c.host)
			if code != c.code || (code == 0) != (err != nil) {
				t.Errorf("HTTP: %d, %v", code, err)
			}
			if err := handshake(t, srv, c.sni); (err == nil) != c.streams {
				t.Errorf("stream: %v", err)
			}
		})
	}
}

// serve has the server serve a listener in memory.
func serve(t *testing.T, srv *polywire.Server, scheme string) *transporttest.Listener {
	t.Helper()
	l := transporttest.NewListener()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l, scheme) }()
	t.Cleanup(func() {
		if err := errors.Join(srv.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return l
}

// secure dials with a server name; the certificate is whatever it is.
func secure(ctx context.Context, l *transporttest.Listener, sni string) (net.Conn, error) {
	nc, err := l.NetDial(ctx, "tcp", "memory:1")
	if err != nil {
		return nil, err
	}
	c := tls.Client(nc, &tls.Config{ServerName: sni, InsecureSkipVerify: true}) // names are looked at by the server here
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return c, nil
}

func get(t *testing.T, srv *polywire.Server, sni, host string) (code int, err error) {
	t.Helper()
	l := serve(t, srv, "wss")
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return secure(ctx, l, sni) }}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://memory/elsewhere", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	res, err := transport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

func handshake(t *testing.T, srv *polywire.Server, sni string) error {
	t.Helper()
	c, err := secure(t.Context(), serve(t, srv, "tls"), sni)
	if err != nil {
		return err
	}
	return c.Close()
}

// The application's own GetConfigForClient is still asked, after the names.
func TestHostnamesKeepTheTLSConfig(t *testing.T) {
	var asked []string
	cert := certificate(t, "a.example")
	conf := &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		asked = append(asked, hello.ServerName)
		return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
	}}
	srv := newServer(t, nil, polywire.WithWires(native.New()), polywire.WithTLS(conf), polywire.WithHostnames("a.example"))
	l := serve(t, srv, "tls")
	if c, err := secure(t.Context(), l, "a.example"); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	if c, err := secure(t.Context(), l, "b.example"); err == nil {
		c.Close()
		t.Error("b.example was let in")
	}
	if len(asked) != 1 || asked[0] != "a.example" {
		t.Errorf("asked for %q", asked)
	}
}

func TestHostnamesMistakes(t *testing.T) {
	bad := func(what string, opts ...polywire.Option) {
		t.Helper()
		if _, err := polywire.New(opts...); !errors.Is(err, polywire.ErrConfig) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"", "*", "*.", "a*.example.com", "*.*.com", "https://example.com", "example.com/path", "a b", ".example.com", "a:b:c", "user@host"} {
		bad(name, polywire.WithHostnames(name))
	}
	bad("no certificate", polywire.WithHostnames())
	bad("no static certificate", polywire.WithHostnames(), polywire.WithTLS(&tls.Config{}))
	bad("no names in it", polywire.WithHostnames(), withCertificates(certificate(t)))
	bad("empty", polywire.WithHostnames(), withCertificates(tls.Certificate{}))
	bad("damaged", polywire.WithHostnames(), withCertificates(tls.Certificate{Certificate: [][]byte{{1}}}))
}

// Who comes in over a stream without TLS names no host.
func TestHostnamesOfPlainStreams(t *testing.T) {
	srv := newServer(t, nil, polywire.WithWires(native.New()), polywire.WithHostnames("example.com"))
	l := serve(t, srv, "tcp")
	c, err := client.Dial(t.Context(), "tcp://memory:1", client.WithNetDial(l.NetDial))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), "nothing", nil, nil); polywire.CodeOf(err) != polywire.CodeNotFound {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
