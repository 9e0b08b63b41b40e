package native_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/stream"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/transport/websocket"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/wiretest"
)

// receive waits for the next frame of a link.
func receive(c transport.Conn) (transport.Frame, error) {
	for {
		f, ok, err := c.Next()
		if ok || err != nil {
			return f, err
		}
		if err := c.Wait(); err != nil {
			return transport.Frame{}, err
		}
	}
}

func writeFrame(t *testing.T, c transport.Conn, ft transport.FrameType, payload string) {
	t.Helper()
	w := transport.NewWriter(c.Framer(), nil)
	if err := w.Frame(ft, []byte(payload)); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(w.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// talk sends a packet from one link to the other.
func talk(t *testing.T, from, to wire.Link) {
	t.Helper()
	if from.Greets == to.Greets {
		t.Error("the dialled link greets, the accepted one does not")
	}
	sent := wire.Packet{Type: wire.Call, ID: 7, Kind: "k", Room: strings.Repeat("x", 2000)}
	w := transport.NewWriter(from.Transport.Framer(), nil)
	if err := from.Session.Encode(&w, &sent); err != nil {
		t.Fatal(err)
	}
	if err := from.Transport.Write(w.Bytes()); err != nil {
		t.Fatal(err)
	}
	f, err := receive(to.Transport)
	if err != nil {
		t.Fatal(err)
	}
	var got wire.Packet
	if ok, err := to.Session.Decode(f, &got); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if diff := wiretest.Diff(got, sent); diff != "" {
		t.Error(diff)
	}
}

func closeLink(t *testing.T, l wire.Link) {
	t.Helper()
	if err := l.Transport.Close(); err != nil {
		t.Error(err)
	}
}

// door returns a server with the protocol's HTTP door.
func door(t *testing.T, p *native.Protocol, host wire.Host) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	d := p.Doors()[0]
	mux.HandleFunc(d.Path, func(w http.ResponseWriter, r *http.Request) { d.HTTP(host, w, r) })
	s := httptest.NewUnstartedServer(mux)
	t.Cleanup(s.Close)
	return s
}

func webSocketURL(s *httptest.Server) string { return "ws" + strings.TrimPrefix(s.URL, "http") }

func parse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestSubprotocols(t *testing.T) {
	host := wiretest.NewHost()
	s := door(t, native.New(), host)
	s.Start()
	for _, row := range []struct {
		offer  []string
		chosen string
		format string
	}{
		{nil, "", "native/json"},
		{[]string{"polywire.v1.json"}, "polywire.v1.json", "native/json"},
		{[]string{"polywire.v1.proto"}, "polywire.v1.proto", "native/proto"},
		{[]string{"polywire.v1.proto", "polywire.v1.json"}, "polywire.v1.proto", "native/proto"},
		{[]string{"polywire.v1.json", "polywire.v1.proto"}, "polywire.v1.json", "native/json"},
		{[]string{"polywire.v9", "chat", "polywire.v1.json"}, "polywire.v1.json", "native/json"},
	} {
		t.Run(strings.Join(row.offer, ","), func(t *testing.T) {
			c, resp, err := websocket.Dial(t.Context(), webSocketURL(s)+native.DefaultPath, websocket.DialOptions{Subprotocols: row.offer})
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			l, err := host.Link(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c.Subprotocol() != row.chosen || l.Session.Format() != row.format {
				t.Errorf("%q, and the server speaks %s", c.Subprotocol(), l.Session.Format())
			}
			if l.Request == nil || l.Request.URL.Path != native.DefaultPath {
				t.Errorf("request %v", l.Request)
			}
			closeLink(t, l)
			_ = c.Close()
		})
	}
}

// Further paths lead to the same door; without a subprotocol it speaks JSON.
func TestPaths(t *testing.T) {
	host := wiretest.NewHost()
	p := native.New(native.WithPath("/rt", "/api/v1/ws"))
	mux := http.NewServeMux()
	var paths []string
	for _, d := range p.Doors() {
		if d.HTTP != nil {
			paths = append(paths, d.Path)
			mux.HandleFunc(d.Path, func(w http.ResponseWriter, r *http.Request) { d.HTTP(host, w, r) })
		}
	}
	if got := strings.Join(paths, " "); got != "/rt /api/v1/ws" {
		t.Fatalf("paths: %s", got)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	c, _, err := websocket.Dial(t.Context(), webSocketURL(s)+"/api/v1/ws", websocket.DialOptions{}) //nolint:bodyclose // needs no closing
	if err != nil {
		t.Fatal(err)
	}
	server, err := host.Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	writeFrame(t, c, transport.Text, `{"kind":"k","id":1,"payload":{"a":1},"headers":{"h":"1"}}`)
	f, err := receive(server.Transport)
	if err != nil {
		t.Fatal(err)
	}
	var got wire.Packet
	if ok, err := server.Session.Decode(f, &got); !ok || err != nil {
		t.Fatal(ok, err)
	}
	want := wire.Packet{
		Type: wire.Call, ID: 1, Kind: "k", Header: map[string]string{"h": "1"},
		Payload: codec.Payload{Type: codec.TypeJSON, Data: []byte(`{"a":1}`)},
	}
	if diff := wiretest.Diff(got, want); diff != "" {
		t.Error(diff)
	}
	closeLink(t, server)
	_ = c.Close()
	client, err := p.Dial(t.Context(), host, parse(t, webSocketURL(s)), wire.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if server, err = host.Link(t.Context()); err != nil || server.Request.URL.Path != "/rt" {
		t.Errorf("%v %v", server.Request, err)
	}
	closeLink(t, client)
	closeLink(t, server)
}

func TestRefusedRequests(t *testing.T) {
	host := wiretest.NewHost()
	host.SetAllowOrigin(func(r *http.Request) bool { return r.Header.Get("Origin") == "" })
	s := door(t, native.New(), host)
	s.Start()
	for name, row := range map[string]struct {
		o      websocket.DialOptions
		status int
	}{
		"only unknown subprotocols": {websocket.DialOptions{Subprotocols: []string{"polywire.v9", "mqtt"}}, http.StatusBadRequest},
		"foreign origin":            {websocket.DialOptions{Header: http.Header{"Origin": {"http://elsewhere"}}}, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := websocket.Dial(t.Context(), webSocketURL(s)+native.DefaultPath, row.o) //nolint:bodyclose // closed by Dial when it fails
			var refused *websocket.HandshakeError
			if !errors.As(err, &refused) || refused.StatusCode != row.status {
				t.Fatalf("%v, want status %d", err, row.status)
			}
			if row.status == http.StatusBadRequest && !strings.Contains(string(refused.Body), "polywire.v1.proto, polywire.v1.json") {
				t.Errorf("the refusal does not name what is spoken: %q", refused.Body)
			}
		})
	}
}

func TestDialWebSocket(t *testing.T) {
	for name, row := range map[string]struct {
		server, client []native.Option
		path           string
		secure         bool
		format         string
	}{
		"default":     {nil, nil, "", false, "native/proto"},
		"JSON":        {nil, []native.Option{native.WithForm(native.JSON)}, "", false, "native/json"},
		"wss":         {nil, nil, "", true, "native/proto"},
		"path in URL": {[]native.Option{native.WithPath("/rt")}, nil, "/rt", false, "native/proto"},
		"path of both": {[]native.Option{native.WithPath("/rt")}, []native.Option{native.WithPath("/rt")},
			"", false, "native/proto"},
		"compressed": {[]native.Option{native.WithCompression(&websocket.Compression{})},
			[]native.Option{native.WithCompression(&websocket.Compression{})}, "", false, "native/proto"},
	} {
		t.Run(name, func(t *testing.T) {
			host := wiretest.NewHost()
			s := door(t, native.New(row.server...), host)
			var o wire.DialOptions
			if row.secure {
				s.StartTLS()
				o.TLS = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"}
				o.TLS.RootCAs.AddCert(s.Certificate())
			} else {
				s.Start()
			}
			o.Header = http.Header{"X-Trace": {"abc"}}
			client, err := native.New(row.client...).Dial(t.Context(), host, parse(t, webSocketURL(s)+row.path), o)
			if err != nil {
				t.Fatal(err)
			}
			server, err := host.Link(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if client.Session.Format() != row.format || server.Session.Format() != row.format {
				t.Errorf("%s and %s", client.Session.Format(), server.Session.Format())
			}
			if got := server.Request.Header.Get("X-Trace"); got != "abc" {
				t.Errorf("X-Trace is %q", got)
			}
			talk(t, client, server)
			talk(t, server, client)
			closeLink(t, client)
			closeLink(t, server)
		})
	}
}

func TestDialElsewhere(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := websocket.Accept(w, r, websocket.AcceptOptions{}); err == nil {
			_ = c.Close()
		}
	}))
	defer plain.Close()
	host := wiretest.NewHost()
	if _, err := native.New().Dial(t.Context(), host, parse(t, webSocketURL(plain)), wire.DialOptions{}); !errors.Is(err, native.ErrNoProtocol) {
		t.Errorf("a WebSocket without subprotocol: %v", err)
	}
	_, err := native.New().Dial(t.Context(), host, parse(t, "gopher://x"), wire.DialOptions{})
	if err == nil || err.Error() != `native: scheme "gopher" is none of ws, wss, tcp, tls, unix, polywire+http, polywire+https` {
		t.Errorf("%v", err)
	}
}

// openings are first frames of clients, and what they are answered with.
func TestStreamOpenings(t *testing.T) {
	for name, row := range map[string]struct {
		frame  transport.FrameType
		offer  string
		answer string // or
		code   wire.CloseCode
	}{
		"proto":                 {transport.Text, "polywire.v1.proto", "polywire.v1.proto", 0},
		"JSON":                  {transport.Text, "polywire.v1.json", "polywire.v1.json", 0},
		"the client's order":    {transport.Text, "polywire.v1.json polywire.v1.proto", "polywire.v1.json", 0},
		"unknown ones":          {transport.Text, "polywire.v9.cbor  x polywire.v1.proto ", "polywire.v1.proto", 0},
		"nothing in common":     {transport.Text, "polywire.v9.cbor", "", wire.CloseProtocol},
		"no names":              {transport.Text, "", "", wire.CloseProtocol},
		"a name that is longer": {transport.Text, "polywire.v1.protobuf", "", wire.CloseProtocol},
		"binary":                {transport.Binary, "polywire.v1.proto", "", wire.CloseBadRequest},
		"ping":                  {transport.Ping, "", "", wire.CloseBadRequest},
		"not UTF-8":             {transport.Text, "\xff", "", wire.CloseCode(transport.CloseInvalidPayload)},
	} {
		t.Run(name, func(t *testing.T) {
			host := wiretest.NewHost()
			a, b := transporttest.ConnPair(0)
			c := stream.New(a, stream.Options{})
			served := make(chan error, 1)
			go func() { served <- native.New().Doors()[1].Stream(host, b) }()
			writeFrame(t, c, row.frame, row.offer)
			f, err := receive(c)
			if serveErr := <-served; (serveErr == nil) != (row.code == 0) {
				t.Errorf("the door returned %v", serveErr)
			}
			var closed *transport.CloseError
			switch {
			case row.code == 0:
				if err != nil || f.Type != transport.Text || string(f.Data) != row.answer {
					t.Errorf("answered %q, %v", f.Data, err)
				}
				l, err := host.Link(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				closeLink(t, l)
			case !errors.As(err, &closed) || closed.Local || wire.CloseCode(closed.Code) != row.code:
				t.Errorf("ended with %v, want %d", err, row.code)
			default:
				if err := c.Wait(); err == nil {
					t.Error("the connection was left open")
				}
			}
			_ = c.Close()
		})
	}
}

func TestStreamOpeningTakesTooLong(t *testing.T) {
	for name, sent := range map[string]string{"nothing": "", "half a frame": "\x01\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := wiretest.NewHost()
				a, b := transporttest.ConnPair(0)
				c := stream.New(a, stream.Options{})
				if _, err := a.Write([]byte(sent)); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if err := native.New().Doors()[1].Stream(host, b); err == nil {
					t.Error("no error")
				}
				if took := time.Since(began); took != host.Limits().HandshakeTimeout {
					t.Errorf("it took %v", took)
				}
				_, err := receive(c)
				var closed *transport.CloseError
				if !errors.As(err, &closed) || wire.CloseCode(closed.Code) != wire.CloseStale {
					t.Errorf("ended with %v", err)
				}
				_ = c.Close()
			})
		})
	}
}

// A peer that reads nothing does not hold the door up.
func TestStreamRefusalDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := transporttest.ConnPair(8)
		c := stream.New(a, stream.Options{})
		served := make(chan error, 1)
		go func() { served <- native.New().Doors()[1].Stream(wiretest.NewHost(), b) }()
		writeFrame(t, c, transport.Text, "nothing in common")
		if err := <-served; err == nil {
			t.Error("no error")
		}
		_ = c.Close()
	})
}

// The opening's deadline ends with the opening.
func TestStreamDeadlineIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := wiretest.NewHost()
		a, b := transporttest.ConnPair(0)
		served := make(chan error, 1)
		go func() { served <- native.New().Doors()[1].Stream(host, b) }()
		client, err := native.New().Dial(t.Context(), host, parse(t, "tcp://memory"), wire.DialOptions{
			NetDial: func(context.Context, string, string) (net.Conn, error) { return a, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-served; err != nil {
			t.Fatal(err)
		}
		server, err := host.Link(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour) // of the bubble's time
		talk(t, client, server)
		talk(t, server, client)
		closeLink(t, client)
		closeLink(t, server)
	})
}

func TestDialStreams(t *testing.T) {
	certificates := httptest.NewUnstartedServer(nil)
	certificates.StartTLS()
	defer certificates.Close()
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"}
	config.RootCAs.AddCert(certificates.Certificate())
	listen := func(network, address string) net.Listener {
		l, err := new(net.ListenConfig).Listen(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	socket := filepath.Join(t.TempDir(), "s")
	for name, row := range map[string]struct {
		l   net.Listener
		url func(net.Addr) string
	}{
		"tcp":  {listen("tcp", "127.0.0.1:0"), func(a net.Addr) string { return "tcp://" + a.String() }},
		"unix": {listen("unix", socket), func(net.Addr) string { return "unix://" + socket }},
		"tls": {tls.NewListener(listen("tcp", "127.0.0.1:0"), &tls.Config{Certificates: certificates.TLS.Certificates}),
			func(a net.Addr) string { return "tls://" + a.String() }},
	} {
		t.Run(name, func(t *testing.T) {
			host := wiretest.NewHost()
			served := make(chan error, 1)
			go func() {
				nc, err := row.l.Accept()
				if err == nil {
					err = native.New().Doors()[1].Stream(host, nc)
				}
				served <- err
			}()
			client, err := native.New(native.WithForm(native.JSON)).Dial(t.Context(), host, parse(t, row.url(row.l.Addr())), wire.DialOptions{TLS: config})
			if err != nil {
				t.Fatal(err)
			}
			if err := <-served; err != nil {
				t.Fatal(err)
			}
			server, err := host.Link(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := server.Session.Format(); got != "native/json" {
				t.Errorf("the server speaks %s", got)
			}
			talk(t, client, server)
			talk(t, server, client)
			closeLink(t, client)
			closeLink(t, server)
			_ = row.l.Close()
		})
	}
}

func TestDialStreamFails(t *testing.T) {
	for name, row := range map[string]struct {
		answer func(t *testing.T, c transport.Conn)
		want   error
	}{
		"refusal": {func(t *testing.T, c transport.Conn) {
			writeFrame(t, c, transport.Close, string(transport.AppendClosePayload(nil, uint16(wire.CloseProtocol), "no")))
		}, native.ErrNoProtocol},
		"nonsense": {func(t *testing.T, c transport.Conn) { writeFrame(t, c, transport.Text, "hello?") }, native.ErrNoProtocol},
		"silence":  {func(*testing.T, transport.Conn) {}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := transporttest.ConnPair(0)
				c := stream.New(b, stream.Options{})
				row.answer(t, c)
				_, err := native.New().Dial(t.Context(), wiretest.NewHost(), parse(t, "tcp://memory"), wire.DialOptions{
					NetDial: func(context.Context, string, string) (net.Conn, error) { return a, nil },
				})
				if !errors.Is(err, row.want) {
					t.Errorf("%v, want %v", err, row.want)
				}
				if f, err := receive(c); err != nil || string(f.Data) != "polywire.v1.proto polywire.v1.json" {
					t.Errorf("offered %q, %v", f.Data, err)
				}
				if _, err := receive(c); err == nil {
					t.Error("the connection was left open")
				}
				_ = c.Close()
			})
		})
	}
}

func TestDialIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := transporttest.ConnPair(0)
		ctx, cancel := context.WithCancel(t.Context())
		dialled := make(chan error, 1)
		go func() {
			_, err := native.New().Dial(ctx, wiretest.NewHost(), parse(t, "tcp://memory"), wire.DialOptions{
				NetDial: func(context.Context, string, string) (net.Conn, error) { return a, nil },
			})
			dialled <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-dialled; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		_ = b.Close()
	})
}

func TestProtocol(t *testing.T) {
	p := native.New(native.WithPath("/rt"))
	doors := p.Doors()
	if p.Name() != "native" || len(doors) != 2 || doors[0].Path != "/rt" || doors[0].HTTP == nil || doors[1].Stream == nil || doors[1].Prefix != "" {
		t.Errorf("%s: %+v", p.Name(), doors)
	}
	if got := native.Form(9).String(); got != "unknown form" {
		t.Error(got)
	}
}
