package websocket

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// answering is a NetDial to a server that reads one request, shows it to
// serve, and sends what that returns.
func answering(t *testing.T, serve func(req *http.Request) string) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			req, err := http.ReadRequest(bufio.NewReader(server))
			if err == nil {
				_, _ = io.WriteString(server, serve(req)) // the client may have enough of it
			}
		}()
		t.Cleanup(func() {
			client.Close()
			server.Close()
			<-done
		})
		return client, nil
	}
}

// goodAnswer answers a request, in lines.
func goodAnswer(req *http.Request) []string {
	return []string{
		"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: " + acceptKey(req.Header.Get("Sec-WebSocket-Key")),
	}
}

func TestDialChecksAnswer(t *testing.T) {
	const deflate = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"
	chat := DialOptions{Subprotocols: []string{"chat", "superchat"}}
	with := DialOptions{Compression: new(Compression)}
	rows := []struct {
		name    string
		changes []string
		options DialOptions
		reason  string // of the error, "": none
	}{
		{name: "4.1: good"},
		{name: "4.1: in any case", changes: []string{"Upgrade: WebSocket", "Connection: x, UPGRADE"}},
		{name: "4.1: not 101", changes: []string{"HTTP/1.1 200 OK", "Content-Length: 0"}, reason: "no WebSocket: 200 OK"},
		{name: "4.1: no Upgrade", changes: []string{"-Upgrade"}, reason: "Upgrade"},
		{name: "4.1: another Upgrade", changes: []string{"Upgrade: h2c"}, reason: "Upgrade"},
		{name: "4.1: two Upgrades", changes: []string{"+Upgrade: websocket"}, reason: "Upgrade"},
		{name: "4.1: no Connection", changes: []string{"-Connection"}, reason: "Connection"},
		{name: "4.1: another Connection", changes: []string{"Connection: close"}, reason: "Connection"},
		{name: "4.1: no accept", changes: []string{"-Sec-WebSocket-Accept"}, reason: "Accept"},
		{name: "4.1: wrong accept", changes: []string{"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, reason: "Accept"},
		{name: "4.1: subprotocol", changes: []string{"Sec-WebSocket-Protocol: superchat"}, options: chat},
		{name: "4.1: subprotocol not chosen", options: chat},
		{name: "4.1: subprotocol not offered", changes: []string{"Sec-WebSocket-Protocol: x"}, options: chat, reason: "subprotocol"},
		{name: "4.1: subprotocol though none was offered", changes: []string{"Sec-WebSocket-Protocol: chat"}, reason: "subprotocol"},
		{name: "4.1: two subprotocols", changes: []string{"Sec-WebSocket-Protocol: chat, superchat"}, options: chat, reason: "subprotocol"},
		{name: "9.1: extension though none was offered", changes: []string{deflate}, reason: "extension"},
		{name: "9.1: unknown extension", changes: []string{"Sec-WebSocket-Extensions: x-other"}, options: with, reason: "extension"},
		{name: "9.1: two extensions", changes: []string{deflate + ", x-other"}, options: with, reason: "extension"},
		{name: "9.1: malformed", changes: []string{"Sec-WebSocket-Extensions: a; =b"}, options: with, reason: "malformed"},
		{name: "RFC 7692 5.1: agreed", changes: []string{deflate}, options: with},
		{name: "RFC 7692 5.1: declined", options: with},
		{name: "RFC 7692 7.1.1.2: client without takeover", changes: []string{deflate + "; client_no_context_takeover"}, options: with},
		{name: "RFC 7692 7.1.2.1: server window", changes: []string{deflate + "; server_max_window_bits=9"}, options: with},
		{name: "RFC 7692 7.1.2.1: wrong server window", changes: []string{deflate + "; server_max_window_bits=7"}, options: with, reason: "parameter"},
		{name: "RFC 7692 7.1.2.2: client window though not offered", changes: []string{deflate + "; client_max_window_bits=9"}, options: with, reason: "parameter"},
		{name: "RFC 7692 7.1: unknown parameter", changes: []string{deflate + "; x=1"}, options: with, reason: "parameter"},
		{name: "RFC 7692 7.1: parameter twice", changes: []string{deflate + "; server_no_context_takeover"}, options: with, reason: "parameter"},
		{name: "RFC 7692 7.1.1: takeover", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate"}, options: with, reason: "takeover"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			row.options.NetDial = answering(t, func(req *http.Request) string { return edit(goodAnswer(req), row.changes...) })
			c, resp, err := Dial(t.Context(), "ws://example.com/chat", row.options) //nolint:bodyclose // see Dial
			if c != nil {
				defer c.Close()
			}
			if row.reason == "" {
				if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
					t.Fatal(err)
				}
				if (c.compression != nil) != (resp.Header.Get("Sec-WebSocket-Extensions") != "") || c.Subprotocol() != resp.Header.Get("Sec-WebSocket-Protocol") {
					t.Fatalf("agreed on %q and compression %v", c.Subprotocol(), c.compression)
				}
				return
			}
			var he *HandshakeError
			if !errors.As(err, &he) || !strings.Contains(he.Reason, row.reason) || he.StatusCode != resp.StatusCode {
				t.Fatalf("%v, want %q", err, row.reason)
			}
		})
	}
}

func TestDialRequest(t *testing.T) {
	var got *http.Request
	o := DialOptions{
		Header: http.Header{"X-Token": {"t"}, "host": {"other.example"}, "Sec-Websocket-Key": {"mine"}, "connection": {"close"}},
		NetDial: answering(t, func(req *http.Request) string {
			got = req
			return edit(goodAnswer(req)) + "\x81\x05early"
		}),
		Subprotocols: []string{"a", "b"},
		Compression:  new(Compression),
	}
	c, _, err := Dial(t.Context(), "ws://user:secret@example.com/path?q=1", o) //nolint:bodyclose // see Dial
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	user, password, _ := got.BasicAuth()
	want := map[string]string{
		"X-Token": "t", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Version": "13",
		"Sec-Websocket-Protocol": "a, b", "Sec-Websocket-Extensions": "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
	}
	for name, value := range want {
		if v := got.Header.Values(name); !slices.Equal(v, []string{value}) {
			t.Errorf("%s: %q", name, v)
		}
	}
	if got.Method != http.MethodGet || got.RequestURI != "/path?q=1" || got.Host != "other.example" || user != "user" || password != "secret" || len(got.Header.Get("Sec-WebSocket-Key")) != 24 {
		t.Errorf("%s %s %s %q", got.Method, got.RequestURI, got.Host, got.Header)
	}
	f, ok, err := c.Next() // came with the answer
	for err == nil && !ok {
		if err = c.Wait(); err == nil {
			f, ok, err = c.Next()
		}
	}
	if err != nil || string(f.Data) != "early" {
		t.Fatalf("%q, %v", f.Data, err)
	}
}

func TestDialRefused(t *testing.T) {
	rows := []struct {
		name, answer string
		wait         time.Duration
		body         int
	}{
		{"busy", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy", 7 * time.Second, 4},
		{"busy until a date", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: Sat, 01 Jan 2000 00:01:00 GMT\r\nContent-Length: 0\r\n\r\n", time.Minute, 0},
		{"a date that is over", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: Fri, 31 Dec 1999 00:01:00 GMT\r\nContent-Length: 0\r\n\r\n", 0, 0},
		{"redirects are not followed", "HTTP/1.1 302 Found\r\nLocation: ws://other.example/\r\nContent-Length: 0\r\n\r\n", 0, 0},
		{"a long body", "HTTP/1.1 400 Bad Request\r\nRetry-After: soon\r\nContent-Length: 5000\r\n\r\n" + strings.Repeat("x", 5000), 0, 1024},
		{"a body that does not come", "HTTP/1.1 400 Bad Request\r\nContent-Length: 5000\r\n\r\n" + strings.Repeat("x", 50), 0, 50},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // the year begins with 2000
				dial := answering(t, func(*http.Request) string { return row.answer })
				_, resp, err := Dial(t.Context(), "ws://example.com", DialOptions{NetDial: dial}) //nolint:bodyclose // see Dial
				var he *HandshakeError
				if !errors.As(err, &he) || he.RetryAfter != row.wait || len(he.Body) != row.body || he.StatusCode != resp.StatusCode || he.Proxy {
					t.Fatalf("%+v", err)
				}
				if body, err := io.ReadAll(resp.Body); err != nil || len(body) != row.body {
					t.Fatalf("body of the response: %d, %v", len(body), err)
				}
			})
		})
	}
}

func TestDialFails(t *testing.T) {
	endless := func(*http.Request) string {
		return "HTTP/1.1 101 Switching Protocols\r\n" + strings.Repeat("X-Fill: 0123456789\r\n", 8000)
	}
	garbage := func(*http.Request) string { return "\x16\x03\x01 what?\r\n\r\n" }
	refused := errors.New("refused")
	failing := func(context.Context, string, string) (net.Conn, error) { return nil, refused }
	rows := []struct {
		name, url string
		options   DialOptions
		want      string
	}{
		{"3: scheme", "http://example.com", DialOptions{}, "neither ws nor wss"},
		{"3: fragment", "ws://example.com/#a", DialOptions{}, "fragment"},
		{"3: empty fragment", "ws://example.com/#", DialOptions{}, "fragment"},
		{"3: no host", "ws:///path", DialOptions{}, "no host"},
		{"3: no URL", "ws://[::1", DialOptions{}, "missing ']'"},
		{"4.1: subprotocol", "ws://example.com", DialOptions{Subprotocols: []string{"a,b"}}, "subprotocol"},
		{"endless header", "ws://example.com", DialOptions{NetDial: answering(t, endless)}, "more than 65536 bytes"},
		{"no HTTP", "ws://example.com", DialOptions{NetDial: answering(t, garbage)}, "malformed"},
		{"no connection", "ws://example.com", DialOptions{NetDial: failing}, "refused"},
		{"no proxy", "ws://example.com", DialOptions{Proxy: func(*http.Request) (*url.URL, error) { return nil, refused }}, "choosing a proxy: refused"},
		{"unknown proxy", "ws://example.com", DialOptions{Proxy: http.ProxyURL(&url.URL{Scheme: "socks5", Host: "p"})}, "socks5"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c, _, err := Dial(t.Context(), row.url, row.options) //nolint:bodyclose // see Dial
			if c != nil || err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("%v, want %q", err, row.want)
			}
		})
	}
}

// A server that says nothing costs as much time as is allowed, no more.
func TestDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := []struct {
			url                    string
			context, timeout, want time.Duration
		}{
			{"ws://a", time.Hour, 0, DefaultHandshakeTimeout},
			{"ws://a", time.Hour, time.Second, time.Second},
			{"ws://a", time.Minute, time.Hour, time.Minute},
			{"wss://a", time.Hour, time.Second, time.Second},
		}
		silent := func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, server) }()
			return client, nil
		}
		for _, row := range rows {
			ctx, cancel := context.WithTimeout(t.Context(), row.context)
			began := time.Now()
			_, _, err := Dial(ctx, row.url, DialOptions{NetDial: silent, HandshakeTimeout: row.timeout}) //nolint:bodyclose // see Dial
			cancel()
			if took := time.Since(began); took != row.want || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("took %v, want %v: %v", took, row.want, err)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("why")
		time.AfterFunc(time.Second, func() { cancel(why) })
		if _, _, err := Dial(ctx, "ws://a", DialOptions{NetDial: silent}); !errors.Is(err, why) { //nolint:bodyclose // see Dial
			t.Fatal(err)
		}
	})
}

func TestDialTLS(t *testing.T) {
	u, roots, accepted := accepting(t, true, AcceptOptions{})
	if !strings.HasPrefix(u, "wss://") {
		t.Fatal(u)
	}
	if _, _, err := Dial(t.Context(), u, DialOptions{}); err == nil || !strings.Contains(err.Error(), "certificate") { //nolint:bodyclose // see Dial
		t.Fatalf("a certificate that nobody knows: %v", err)
	}
	config := &tls.Config{RootCAs: roots, ServerName: "other.invalid"}
	if _, _, err := Dial(t.Context(), u, DialOptions{TLS: config}); err == nil || !strings.Contains(err.Error(), "other.invalid") { //nolint:bodyclose // see Dial
		t.Fatalf("a certificate of somebody else: %v", err)
	}
	config = &tls.Config{RootCAs: roots}
	c, _, err := Dial(t.Context(), u, DialOptions{TLS: config}) //nolint:bodyclose // see Dial
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer (<-accepted).Close()
	state := c.NetConn().(*tls.Conn).ConnectionState()
	if state.NegotiatedProtocol != "http/1.1" || state.ServerName == "other.invalid" {
		t.Fatalf("%+v", state)
	}
	if config.ServerName != "" || config.NextProtos != nil {
		t.Fatal("the caller's TLS configuration has changed")
	}
}

// proxied makes every connection one to a proxy, which knows one user.
func proxied(t *testing.T, seen *[]string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "proxy.example:3128" {
			return nil, fmt.Errorf("dialled %s past the proxy", address)
		}
		client, proxy := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer proxy.Close()
			serveProxy(proxy, seen)
		}()
		t.Cleanup(func() {
			client.Close()
			<-done
		})
		return client, nil
	}
}

func serveProxy(nc net.Conn, seen *[]string) {
	r := bufio.NewReader(nc)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	*seen = append(*seen, req.Method+" "+req.RequestURI+" "+req.Host)
	if req.Header.Get("Proxy-Authorization") != "Basic dXNlcjpzZWNyZXQ=" {
		_, _ = io.WriteString(nc, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 3\r\n\r\nwho")
		return
	}
	target, err := net.Conn(nil), errors.ErrUnsupported
	if !strings.Contains(req.Host, ".invalid:") { // the machine's resolver takes its time
		target, err = net.Dial("tcp", req.Host)
	}
	if err != nil {
		_, _ = io.WriteString(nc, "HTTP/1.1 502 Bad Gateway\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
		return
	}
	defer target.Close()
	_, _ = io.WriteString(nc, "HTTP/1.1 200 Connection established\r\n\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(nc, target)
		nc.Close()
	}()
	_, _ = io.Copy(target, r)
	target.Close()
	<-done
}

func TestDialThroughProxy(t *testing.T) {
	for _, secure := range []bool{false, true} {
		u, roots, accepted := accepting(t, secure, AcceptOptions{})
		var seen []string
		asked := ""
		o := DialOptions{
			TLS:     &tls.Config{RootCAs: roots},
			NetDial: proxied(t, &seen),
			Proxy: func(req *http.Request) (*url.URL, error) {
				asked = req.URL.String()
				return url.Parse("http://user:secret@proxy.example:3128")
			},
		}
		c, _, err := Dial(t.Context(), u+"/x", o) //nolint:bodyclose // see Dial
		if err != nil {
			t.Fatal(err)
		}
		_, host, _ := strings.Cut(u, "://")
		if want := "CONNECT " + host + " " + host; !slices.Equal(seen, []string{want}) || asked != strings.Replace(u, "ws", "http", 1)+"/x" {
			t.Fatalf("the proxy saw %q, its chooser %s", seen, asked)
		}
		server := <-accepted
		all, err := c.Framer().End(append(c.Framer().Begin(nil), "hello"...), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Write(all); err != nil {
			t.Fatal(err)
		}
		if err := server.Wait(); err != nil {
			t.Fatal(err)
		}
		if f, ok, err := server.Next(); !ok || err != nil || string(f.Data) != "hello" {
			t.Fatal(string(f.Data), ok, err)
		}
		c.Close()
		server.Close()
	}
}

func TestDialRefusedByProxy(t *testing.T) {
	for proxy, status := range map[string]int{"http://proxy.example:3128": 407, "http://user:secret@proxy.example:3128": 502} {
		u, err := url.Parse(proxy)
		if err != nil {
			t.Fatal(err)
		}
		var seen []string
		_, resp, err := Dial(t.Context(), "ws://host.invalid", DialOptions{NetDial: proxied(t, &seen), Proxy: http.ProxyURL(u)}) //nolint:bodyclose // see Dial
		var he *HandshakeError
		if !errors.As(err, &he) || !he.Proxy || he.StatusCode != status || resp.StatusCode != status {
			t.Fatalf("%v, want %d", err, status)
		}
		if !slices.Equal(seen, []string{"CONNECT host.invalid:80 host.invalid:80"}) {
			t.Fatalf("the proxy saw %q", seen)
		}
	}
}
