package native_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/client"
	"github.com/polywire/polywire/codec"
	"github.com/polywire/polywire/codec/msgpack"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/transporttest"
	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/native"
	"github.com/polywire/polywire/wire/wiretest"
)

// frames are written in hex, with spaces where they help to read.
func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// textFrame is a frame of fewer than 256 bytes, in hex.
func textFrame(text string) string { return fmt.Sprintf("01 000000%02x %x ", len(text), text) }

const request = "GET /polywire HTTP/1.1\r\nHost: example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: polywire\r\n"

// What a server says, byte for byte: all bytes here are from the specification.
func TestUpgradeServerBytes(t *testing.T) {
	const (
		callAdd  = "02 00000012 0801 1001 1a03616464 2a055b312c325d 3001" // add [1,2], in JSON
		switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: polywire\r\n"
		has      = "Accept: application/json, application/protobuf, application/msgpack\r\n"
		inProto  = switched + "Polywire-Form: polywire.v1.proto\r\n" + has
	)
	text := `{"type":"call","id":1,"kind":"add","payload":[1,2]}`
	answer := `{"type":"reply","id":1,"payload":3}`
	for name, row := range map[string]struct{ accept, send, head, frames string }{
		"no Accept": {"", unhex(t, callAdd), inProto + "\r\n", unhex(t, "02 00000009 0802 1001 2a0133 3001")},
		"anything":  {"Accept: */*\r\n", unhex(t, callAdd), inProto + "\r\n", unhex(t, "02 00000009 0802 1001 2a0133 3001")},
		"msgpack": {
			"Accept: application/msgpack\r\n", unhex(t, callAdd),
			inProto + "Content-Type: application/msgpack\r\n\r\n", unhex(t, "02 00000009 0802 1001 2a0103 3003"),
		},
		"by weight": {
			"Accept: application/json;q=0.5, text/html, application/*;q=0.1, application/msgpack;q=0.9\r\n", unhex(t, callAdd),
			inProto + "Content-Type: application/msgpack\r\n\r\n", unhex(t, "02 00000009 0802 1001 2a0103 3003"),
		},
		"JSON first": {
			"Accept: application/json, application/msgpack\r\n", unhex(t, callAdd),
			inProto + "Content-Type: application/json\r\n\r\n", unhex(t, "02 00000009 0802 1001 2a0133 3001"),
		},
		"JSON alone": {
			"Accept: application/json\r\n", unhex(t, textFrame(text)),
			switched + "Polywire-Form: polywire.v1.json\r\n" + has + "Content-Type: application/json\r\n\r\n",
			unhex(t, textFrame(answer)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := adding(t)
			s := httptest.NewServer(srv)
			defer s.Close()
			defer srv.Close()
			nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			// The first frame comes with the request, as early as can be.
			if _, err := io.WriteString(nc, request+row.accept+"\r\n"+row.send); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(row.head)+len(row.frames))
			if n, err := io.ReadFull(nc, got); err != nil {
				t.Fatalf("%v after %q", err, got[:n])
			}
			if string(got) != row.head+row.frames {
				t.Errorf("got\n%q, want\n%q", got, row.head+row.frames)
			}
			// A close frame is answered with one, and the connection ends.
			if _, err := io.WriteString(nc, unhex(t, "08 00000002 03e8")); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(nc)
			if err != nil || !bytes.HasPrefix(rest, []byte(unhex(t, "08 00000002 03e8"))) {
				t.Errorf("the end was %x, %v", rest, err)
			}
		})
	}
}

// adding returns a server that can add, in three encodings.
func adding(t *testing.T, o ...polywire.Option) *polywire.Server {
	t.Helper()
	srv, err := polywire.New(append(o, polywire.WithWires(native.New()),
		polywire.WithCodecs(codec.JSON{}, protobuf.Codec{}, msgpack.Codec{}))...)
	if err != nil {
		t.Fatal(err)
	}
	srv.Handle("add", func(_ context.Context, m *polywire.Message) (any, error) {
		var in []int
		if err := m.Bind(&in); err != nil {
			return nil, err
		}
		sum := 0
		for _, n := range in {
			sum += n
		}
		return sum, nil
	})
	srv.Handle("type", func(_ context.Context, m *polywire.Message) (any, error) {
		return m.Payload().Type, nil
	})
	return srv
}

// A raw server, by the specification: what the client sends to it byte for byte.
func TestUpgradeClientBytes(t *testing.T) {
	for name, row := range map[string]struct {
		accept  []string
		types   string // as sent
		chosen  string // and answered
		script  []string
		message string
	}{
		"any": {nil, "*/*", "Polywire-Form: polywire.v1.proto\r\n", []string{
			"C", "02 00000002 0808", // hello
			"S", "02 00000006 0809 5a026331" + // welcome, "c1"
				"02 0000000d 1a036e6f77 2a0474727565 3001", // message "now": true
			"C", "02 00000010 0801 1001 1a03616464 2a035b315d 3001", // call add [1]
			"S", "02 00000009 0802 1001 2a0131 3001",
		}, "true"},
		"msgpack or JSON": {
			[]string{codec.TypeMsgpack, codec.TypeJSON}, "application/msgpack, application/json;q=0.9",
			"polywire-form: polywire.v1.proto\r\nContent-Type: application/msgpack\r\nAccept: application/msgpack\r\n",
			[]string{
				"C", "02 00000002 0808",
				"S", "02 00000006 0809 5a026331 02 0000000a 1a036e6f77 2a01c3 3003",
				"C", "02 0000000f 0801 1001 1a03616464 2a029101 3003",
				"S", "02 00000009 0802 1001 2a0101 3003",
			}, "true",
		},
		"JSON": {
			[]string{codec.TypeJSON}, "application/json",
			"Polywire-Form: polywire.v1.json\r\nContent-Type: application/json\r\n", []string{
				"C", textFrame(`{"type":"hello"}`),
				"S", textFrame(`{"type":"welcome","key":"c1"}`) + textFrame(`{"kind":"now","payload":true}`),
				"C", textFrame(`{"type":"call","id":1,"kind":"add","payload":[1]}`),
				"S", textFrame(`{"type":"reply","id":1,"payload":1}`),
			}, "true",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := net.Pipe()
			played := make(chan error, 1)
			go func() { played <- play(t, b, row.types, row.chosen, row.script) }()
			messages := make(chan string, 1)
			c, err := client.New("polywire+http://example.com", client.WithoutReconnect(),
				client.WithWires(native.New(native.WithAccept(row.accept...))),
				client.WithPeer(polywire.WithCodecs(codec.JSON{}, msgpack.Codec{})),
				client.WithNetDial(func(context.Context, string, string) (net.Conn, error) { return a, nil }))
			if err != nil {
				t.Fatal(err)
			}
			c.Handle("now", func(_ context.Context, m *polywire.Message) (any, error) {
				var v bool
				err := m.Bind(&v)
				if v {
					messages <- "true"
				}
				return nil, err
			})
			if err := c.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			if id := c.Conn().Wire(); id != "native" {
				t.Errorf("it speaks %s", id)
			}
			if got := <-messages; got != row.message {
				t.Errorf("message %s", got)
			}
			var sum int
			if err := c.Call(t.Context(), "add", []int{1}, &sum); err != nil || sum != 1 {
				t.Errorf("%d, %v", sum, err)
			}
			if err := <-played; err != nil {
				t.Error(err)
			}
			_ = b.Close()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// play is a server that answers one request and then keeps to a script.
func play(t *testing.T, nc net.Conn, types, chosen string, script []string) error {
	want := "GET /polywire HTTP/1.1\r\nHost: example.com\r\nUser-Agent: Go-http-client/1.1\r\n" +
		"Accept: " + types + "\r\nConnection: Upgrade\r\nUpgrade: polywire\r\n\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != want {
		t.Errorf("the request was %q, %v\nwant %q", got, err, want)
	}
	if _, err := io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: Polywire\r\nConnection: upgrade\r\n"+chosen+"\r\n"); err != nil {
		return err
	}
	for i := 0; i < len(script); i += 2 {
		b := []byte(unhex(t, script[i+1]))
		if script[i] == "S" {
			if _, err := nc.Write(b); err != nil {
				return err
			}
			continue
		}
		got := make([]byte, len(b))
		if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, b) {
			t.Errorf("the client said %x, %v\nwant %x", got, err, b)
		}
	}
	return nil
}

func TestUpgradeRefused(t *testing.T) {
	host := wiretest.NewHost()
	host.SetContentTypes(codec.TypeJSON, codec.TypeMsgpack, codec.TypeBytes, codec.TypeParts)
	host.SetAllowOrigin(func(r *http.Request) bool { return r.Header.Get("Origin") == "" })
	serve := native.New().Doors()[0].HTTP
	for name, row := range map[string]struct {
		change func(r *http.Request)
		status int
		header http.Header // of the answer
	}{
		"POST":       {func(r *http.Request) { r.Method = http.MethodPost }, 405, http.Header{"Allow": {"GET"}}},
		"HEAD":       {func(r *http.Request) { r.Method = http.MethodHead }, 405, http.Header{"Allow": {"GET"}}},
		"HTTP/1.0":   {func(r *http.Request) { r.ProtoMinor = 0 }, 400, nil},
		"HTTP/2":     {func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 2, 0 }, 400, nil},
		"a protocol": {func(r *http.Request) { r.Header.Set("Upgrade", "GHMS/0.1") }, 426, http.Header{"Upgrade": {"polywire, websocket"}, "Connection": {"Upgrade"}}},
		"a version":  {func(r *http.Request) { r.Header.Set("Upgrade", "polywire/2") }, 426, http.Header{"Upgrade": {"polywire, websocket"}}},
		"no upgrade": {func(r *http.Request) { r.Header.Del("Upgrade") }, 426, http.Header{"Upgrade": {"websocket"}}},
		"no Connection": {
			func(r *http.Request) { r.Header.Del("Connection") }, 426, http.Header{"Upgrade": {"polywire, websocket"}},
		},
		"another Connection": {func(r *http.Request) { r.Header.Set("Connection", "keep-alive, upgrades") }, 426, nil},
		"a body":             {func(r *http.Request) { r.ContentLength = 3 }, 400, nil},
		"a chunked body":     {func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }, 400, nil},
		"foreign origin":     {func(r *http.Request) { r.Header.Set("Origin", "https://elsewhere.example") }, 403, nil},
		"no encoding": {
			func(r *http.Request) { r.Header.Set("Accept", "application/protobuf, text/*") }, 406,
			http.Header{"Accept": {"application/json, application/msgpack"}},
		},
		"nothing at all": {func(r *http.Request) { r.Header.Set("Accept", "*/*;q=0") }, 406, nil},
		"bytes":          {func(r *http.Request) { r.Header.Set("Accept", codec.TypeBytes) }, 406, nil},
		"malformed":      {func(r *http.Request) { r.Header.Set("Accept", "json") }, 400, nil},
		"too much":       {func(r *http.Request) { r.Header.Set("Accept", strings.Repeat("a/b,", 33)) }, 400, nil},
		"a recorder":     {func(*http.Request) {}, 500, nil}, // which cannot hand over
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/polywire", nil)
			r.Header.Set("Connection", "keep-alive, UPGRADE")
			r.Header.Set("Upgrade", "chat, Polywire")
			row.change(r)
			w := httptest.NewRecorder()
			serve(host, w, r)
			if w.Code != row.status {
				t.Errorf("status %d, want %d", w.Code, row.status)
			}
			for name, want := range row.header {
				if got := w.Header().Values(name); !slices.Equal(got, want) {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if w.Code == 406 && w.Body.String() != "no encoding in common: this server has application/json, application/msgpack\n" {
				t.Errorf("the refusal says %q", w.Body)
			}
		})
	}
}

// Who asks for both gets a WebSocket.
func TestUpgradeToWebSocketFirst(t *testing.T) {
	s := door(t, native.New(), wiretest.NewHost())
	s.Start()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+native.DefaultPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"polywire, websocket"}, "Sec-Websocket-Version": {"7"}}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("Sec-WebSocket-Version"); resp.StatusCode != http.StatusUpgradeRequired || got != "13" {
		t.Errorf("status %d, version %q", resp.StatusCode, got)
	}
}

// upgraded opens a link through a server of its own.
func upgraded(t *testing.T, secure bool, limit int, o ...native.Option) (dialled, accepted wire.Link) {
	t.Helper()
	host := wiretest.NewHost()
	host.SetContentTypes(codec.TypeJSON, codec.TypeProtobuf, codec.TypeMsgpack)
	if limit > 0 {
		l := host.Limits()
		l.MessageBytes = limit
		host.SetLimits(l)
	}
	s := door(t, native.New(), host)
	u := "polywire+http"
	var options wire.DialOptions
	if secure {
		s.StartTLS()
		u = "polywire+https"
		options.TLS = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"}
		options.TLS.RootCAs.AddCert(s.Certificate())
	} else {
		s.Start()
	}
	_, address, _ := strings.Cut(s.URL, "://")
	options.Header = http.Header{"X-Trace": {"abc"}, "Upgrade": {"h2c"}, "host": {"example.com"}}
	target := parse(t, u+"://me:secret@"+address)
	dialled, err := native.New(o...).Dial(t.Context(), host, target, options)
	if err != nil {
		t.Fatal(err)
	}
	if accepted, err = host.Link(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := accepted.Request; r.Header.Get("X-Trace") != "abc" || r.Host != "example.com" || r.Header.Get("Authorization") != "Basic bWU6c2VjcmV0" {
		t.Errorf("request %+v", r)
	}
	t.Cleanup(func() { // what the test has not closed
		_ = dialled.Transport.Close()
		_ = accepted.Transport.Close()
	})
	return dialled, accepted
}

func TestDialUpgrade(t *testing.T) {
	for name, row := range map[string]struct {
		o      []native.Option
		secure bool
		format string
		types  []string
	}{
		"any":            {nil, false, "native/proto", nil},
		"https":          {nil, true, "native/proto", nil},
		"JSON":           {[]native.Option{native.WithAccept(codec.TypeJSON)}, false, "native/json", []string{codec.TypeJSON, codec.TypeBytes}},
		"protobuf alone": {[]native.Option{native.WithAccept(codec.TypeProtobuf)}, true, "native/proto application/protobuf application/octet-stream", []string{codec.TypeProtobuf, codec.TypeBytes}},
		"msgpack before JSON": {
			[]native.Option{native.WithAccept(codec.TypeMsgpack, codec.TypeJSON)}, false,
			"native/proto application/msgpack application/json application/octet-stream", []string{codec.TypeMsgpack, codec.TypeJSON, codec.TypeBytes},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := upgraded(t, row.secure, 0, row.o...)
			if s.Session.Format() != row.format || !slices.Equal(s.Session.ContentTypes(), row.types) {
				t.Errorf("the server speaks %s, %q", s.Session.Format(), s.Session.ContentTypes())
			}
			if got := c.Session.ContentTypes(); len(row.types) > 0 && got[0] != row.types[0] {
				t.Errorf("the client prefers %q", got)
			}
			if carrier, ok := s.Session.(wire.Carrier); !ok || !carrier.Carries("text/plain") {
				t.Error("not every payload can be said")
			}
			talk(t, c, s)
			talk(t, s, c)
		})
	}
}

func TestUpgradeTransport(t *testing.T) {
	for name, row := range map[string]struct {
		secure bool
		limit  int
	}{"http": {false, 200}, "https": {true, 0}} {
		t.Run(name, func(t *testing.T) {
			open := func(t *testing.T) (a, b transport.Conn) {
				c, s := upgraded(t, row.secure, row.limit)
				return c.Transport, s.Transport
			}
			transporttest.Run(t, transporttest.Features{MaxMessageBytes: row.limit, SharedFormat: true}, open)
		})
	}
}

func TestUpgradeSession(t *testing.T) {
	c, s := upgraded(t, false, 0, native.WithAccept(codec.TypeMsgpack, codec.TypeJSON))
	wiretest.Run(t, wiretest.Wire{
		New:       func(wire.Host) (client, server wire.Session) { return c.Session, s.Session }, // they have no state
		FrameType: transport.Binary,
	})
}

func TestDialUpgradeFails(t *testing.T) {
	const head = "HTTP/1.1 101 Switching Protocols\r\n"
	for name, row := range map[string]struct {
		accept []string
		answer string
		want   error
		says   string
	}{
		"no codec": {[]string{codec.TypeMsgpack}, "", native.ErrNoEncoding, `there is no codec for "application/msgpack" among application/json`},
		"406": {
			nil, "HTTP/1.1 406 Not Acceptable\r\nContent-Length: 4\r\n\r\nnone", native.ErrNoEncoding,
			"native: the server answered 406: none",
		},
		"426":                {nil, "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", native.ErrNoProtocol, "426"},
		"200":                {nil, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + strings.Repeat("x", 2000), nil, strings.Repeat("x", 1024)},
		"another protocol":   {nil, head + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", native.ErrNoProtocol, "another protocol"},
		"no protocol":        {nil, head + "Connection: Upgrade\r\n\r\n", native.ErrNoProtocol, "another protocol"},
		"no Connection":      {nil, head + "Upgrade: polywire\r\n\r\n", native.ErrNoProtocol, "another protocol"},
		"no form":            {nil, head + "Connection: Upgrade\r\nUpgrade: polywire\r\n\r\n", native.ErrNoProtocol, "names no form"},
		"an unasked type":    {[]string{codec.TypeJSON}, head + "Connection: Upgrade\r\nUpgrade: polywire\r\nPolywire-Form: polywire.v1.proto\r\nContent-Type: text/plain\r\n\r\n", native.ErrNoProtocol, "not what was asked for"},
		"not HTTP":           {nil, "hello\r\n\r\n", nil, "malformed HTTP"},
		"an endless header":  {nil, head + "X: " + strings.Repeat("x", 80<<10), nil, "65536"},
		"nothing":            {nil, "", context.DeadlineExceeded, ""},
		"half of the answer": {nil, head, context.DeadlineExceeded, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				go func() {
					if _, err := http.ReadRequest(bufio.NewReader(b)); err == nil {
						_, _ = io.WriteString(b, row.answer) // the client may have gone
					}
				}()
				u := &url.URL{Scheme: "polywire+http", Host: "example.com"}
				_, err := native.New(native.WithAccept(row.accept...)).Dial(t.Context(), wiretest.NewHost(), u, wire.DialOptions{
					NetDial: func(context.Context, string, string) (net.Conn, error) { return a, nil },
				})
				if err == nil || row.want != nil && !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.says) {
					t.Errorf("%v, want %v, %q", err, row.want, row.says)
				}
				_ = b.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := b.Read(make([]byte, 1)); name != "no codec" && !errors.Is(err, io.EOF) {
					t.Errorf("the connection was left open: %v", err)
				}
				_, _ = a.Close(), b.Close()
			})
		})
	}
}

// Both sides, whole: every encoding through client and server.
func TestUpgradeRoundTrips(t *testing.T) {
	rows := []struct {
		accept []string
		sent   string
	}{
		{nil, codec.TypeMsgpack}, // the client's own first codec
		{[]string{codec.TypeJSON}, codec.TypeJSON},
		{[]string{codec.TypeMsgpack}, codec.TypeMsgpack},
		{[]string{codec.TypeJSON, codec.TypeMsgpack}, codec.TypeJSON},
	}
	srv := adding(t, polywire.WithMaxConnections(len(rows), 0, 0))
	s := httptest.NewServer(srv)
	defer s.Close()
	defer srv.Close()
	target := "polywire+" + s.URL
	for _, row := range rows {
		c, err := client.Dial(t.Context(), target, client.WithWires(native.New(native.WithAccept(row.accept...))),
			client.WithPeer(polywire.WithCodecs(msgpack.Codec{}, codec.JSON{})))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var sum int
		if err := c.Call(t.Context(), "add", []int{1, 2, 3}, &sum); err != nil || sum != 6 {
			t.Errorf("%q: %d, %v", row.accept, sum, err)
		}
		var sent string
		if err := c.Call(t.Context(), "type", 1, &sent); err != nil || sent != row.sent {
			t.Errorf("%q: sent in %q (%v), want %q", row.accept, sent, err, row.sent)
		}
	}
	// There is no room for another one, which HTTP says before any upgrade.
	_, err := client.Dial(t.Context(), target)
	if refused, ok := errors.AsType[*native.RefusedError](err); !ok || refused.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a connection too many: %v", err)
	}
}

func TestRefusalsThatAreFinal(t *testing.T) {
	for status, want := range map[int]bool{101: true, 200: true, 403: true, 406: true, 426: true, 408: false, 429: false, 500: false, 503: false} {
		if got := (&native.RefusedError{StatusCode: status}).Final(); got != want {
			t.Errorf("%d is final: %t", status, got)
		}
	}
}
