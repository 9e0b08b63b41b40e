package drs_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/wiretest"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// site is a server with both encodings on every door.
type site struct {
	*polywire.Server

	urls  []string
	roots *x509.CertPool
}

func newSite(t *testing.T, opts ...polywire.Option) *site {
	t.Helper()
	certificate := httptest.NewUnstartedServer(nil) // for its certificate alone
	certificate.StartTLS()
	defer certificate.Close()
	s := &site{roots: x509.NewCertPool()}
	s.roots.AddCert(certificate.Certificate())
	var err error
	s.Server, err = polywire.New(append([]polywire.Option{
		polywire.WithWires(drs.New(), drs.New(drs.WithEncoding(drs.Msgpack), drs.WithPath("/packed"))),
		codecs(), polywire.WithLogger(discard()),
		polywire.WithTLS(&tls.Config{Certificates: certificate.TLS.Certificates}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	handle(s)
	served := make(chan error, 10)
	listen := func(address string, names ...string) {
		l, scheme, err := s.Listen(address)
		if err != nil {
			t.Fatal(err)
		}
		go func() { served <- s.Serve(l, scheme) }()
		for _, name := range names {
			s.urls = append(s.urls, name+"://"+l.Addr().String())
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"drs", "drs-msgpack"} {
		listen(name+"+tcp://127.0.0.1:0", name+"+tcp")
		listen(name+"+tls://127.0.0.1:0", name+"+tls")
		listen(name+"+unix://"+filepath.Join(dir, name), name+"+unix")
	}
	listen("ws://127.0.0.1:0", "drs+ws", "drs-msgpack+ws")
	listen("wss://127.0.0.1:0", "drs+wss", "drs-msgpack+wss")
	t.Cleanup(func() {
		s.Close()
		for range 8 {
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// A client and a server of ours over everything.
func TestRoundTrips(t *testing.T) {
	s := newSite(t)
	s.Handle("ask back", func(ctx context.Context, m *polywire.Message) (any, error) {
		var n int
		err := m.Conn().Call(ctx, "double", m.Payload(), &n)
		return n, err
	})
	if len(s.urls) != 10 {
		t.Fatal(s.urls)
	}
	for _, url := range s.urls {
		t.Run(url, func(t *testing.T) {
			c, err := client.Dial(t.Context(), url, client.WithPeer(codecs(), polywire.WithLogger(discard())),
				client.WithWires(drs.New(), drs.New(drs.WithEncoding(drs.Msgpack), drs.WithPath("/packed"))),
				client.WithTLS(&tls.Config{RootCAs: s.roots, ServerName: "example.com"}))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.Handle("double", func(_ context.Context, m *polywire.Message) (any, error) {
				var n int
				err := m.Bind(&n)
				return 2 * n, err
			})
			in := map[string]any{"text": strings.Repeat("žluťoučký 馬\n\"", 5000), "list": []any{true, nil}}
			var out map[string]any
			if err := c.Call(t.Context(), "echo", in, &out); err != nil || out["text"] != in["text"] {
				t.Errorf("echo: %v", err)
			}
			var n int
			if err := c.Call(t.Context(), "ask back", 21, &n); err != nil || n != 42 {
				t.Errorf("asked back: %d, %v", n, err)
			}
			var data []byte
			if err := c.Call(t.Context(), "echo", []byte("\x00\xff"), &data); err != nil || string(data) != "\x00\xff" {
				t.Errorf("bytes: %q, %v", data, err)
			}
			var failed *polywire.Error
			if err := c.Call(t.Context(), "taken", nil, nil); !errors.As(err, &failed) || !failed.Remote() || failed.Error() != "conflict: taken" {
				t.Errorf("an error: %v", err)
			}
			if failed.Fault() {
				t.Error("an error is a fault")
			}
			if err := c.Call(t.Context(), "unheard", nil, nil); !errors.As(err, &failed) || failed.Code != polywire.CodeNotFound || !failed.Fault() {
				t.Errorf("no handler: %v", err)
			}
			if err := c.Call(t.Context(), "fails", nil, nil); polywire.CodeOf(err) != polywire.CodeInternal || strings.Contains(err.Error(), "secret") {
				t.Errorf("a fault: %v", err)
			}
			var now int64
			if err := c.Call(t.Context(), "drs.ping", nil, &now); err != nil || now < 1_700_000_000_000 {
				t.Errorf("the time: %d, %v", now, err)
			}
		})
	}
}

// The options that a client dials with are for the server's authenticator.
func TestDialOptions(t *testing.T) {
	s := newSite(t, polywire.WithAuth(func(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
		if h.Request == nil || h.Request.URL.Query().Get("token") != "good" {
			return nil, polywire.Errorf(polywire.CodeForbidden, "not you")
		}
		return &polywire.Identity{User: "somebody"}, nil
	}))
	ws := s.urls[6]
	dial := func(query string) error {
		c, err := client.Dial(t.Context(), ws+query, client.WithWires(drs.New()), client.WithoutReconnect())
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Call(t.Context(), "echo", 1, nil)
	}
	if err := dial("?token=good"); err != nil {
		t.Error(err)
	}
	var closed *polywire.CloseError
	if err := dial("?token=bad"); !errors.As(err, &closed) || closed.Code != polywire.CloseForbidden {
		t.Errorf("%v", err)
	}
}

func TestDialFails(t *testing.T) {
	host := wiretest.NewHost()
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }
	for raw, want := range map[string]string{
		"drs+tcp://h:1":          "refused",
		"drs+tls://h:1":          "refused",
		"drs+unix:///s":          "refused",
		"drs+ws://h:1":           "refused",
		"drs-msgpack+tcp://h:1":  "none of drs+tcp",
		"tcp://h:1":              "none of drs+tcp",
		"drs+smoke://h:1":        "none of drs+tcp",
		"drs+wss://h:1/sock?a=b": "refused",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			continue
		}
		if _, err := drs.New().Dial(t.Context(), host, u, wire.DialOptions{NetDial: refuse}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", raw, err, want)
		}
	}
}

// Whoever is no WebSocket is told so, and a raw one is served at the path.
func TestRawWebSocket(t *testing.T) {
	s := newSite(t)
	conn, resp, err := websocket.Dial(t.Context(), strings.TrimPrefix(s.urls[6], "drs+")+"/socket?token=x", websocket.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = resp.Body.Close()
	for _, e := range exchanges[:10] {
		for _, tail := range []string{"", "\n"} {
			frame, err := exchange(conn, e.ask+tail)
			if err != nil || frame != e.answer {
				t.Errorf("%s: %s, %v", e.ask, frame, err)
			}
		}
	}
}

// exchange sends a text message and returns the next one.
func exchange(c transport.Conn, text string) (string, error) {
	w := transport.NewWriter(c.Framer(), nil)
	if err := w.Frame(transport.Text, []byte(text)); err != nil {
		return "", err
	}
	if err := c.Write(w.Bytes()); err != nil {
		return "", err
	}
	for {
		f, ok, err := c.Next()
		switch {
		case err != nil:
			return "", err
		case ok && f.Type == transport.Text:
			return string(f.Data), nil
		case ok:
			return "", errors.New("a " + f.Type.String() + " frame")
		}
		if err := c.Wait(); err != nil {
			return "", err
		}
	}
}
