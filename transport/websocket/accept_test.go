package websocket

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// goodRequest is the example of RFC 6455 section 1.3, in lines.
func goodRequest() []string {
	return []string{
		"GET /chat HTTP/1.1", "Host: server.example.com", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
	}
}

// edit replaces the line that begins like one of the changes ("Name: value"
// by its name, the first line by its method), or adds it; "-Name" takes it out.
func edit(lines []string, changes ...string) string {
	for _, change := range changes {
		name, _, isHeader := strings.Cut(change, ":")
		drop := strings.HasPrefix(change, "-")
		found := false
		for i, line := range lines {
			lineName, _, _ := strings.Cut(line, ":")
			if i == 0 && !isHeader && !drop {
				lines[0], found = change, true
			} else if i > 0 && strings.EqualFold(lineName, strings.TrimPrefix(name, "-")) {
				lines[i], found = change, true
				if drop {
					lines = append(lines[:i], lines[i+1:]...)
				}
				break
			}
		}
		if !found && !drop {
			lines = append(lines, strings.TrimPrefix(change, "+"))
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// hijackable is a ResponseWriter on one end of a pipe.
type hijackable struct {
	*httptest.ResponseRecorder
	nc   net.Conn
	rest *bufio.Reader
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.nc, bufio.NewReadWriter(h.rest, bufio.NewWriter(h.nc)), nil
}

// handshake has Accept answer a request, and returns what the client sees.
func handshake(t *testing.T, request string, o AcceptOptions) (*Conn, *http.Response, error) {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	r := bufio.NewReader(strings.NewReader(request))
	req, err := http.ReadRequest(r)
	if err != nil {
		t.Fatal(err)
	}
	w := &hijackable{httptest.NewRecorder(), server, r}
	w.Header().Set("X-Middleware", "was here")
	answers := make(chan *http.Response, 1)
	go func() {
		resp, _ := http.ReadResponse(bufio.NewReader(client), req) //nolint:bodyclose // it has none
		answers <- resp
	}()
	c, err := Accept(w, req, o)
	if err != nil {
		client.Close()
		<-answers
		return nil, w.Result(), err
	}
	t.Cleanup(func() { c.Close() })
	resp := <-answers
	if resp == nil {
		t.Fatal("no answer to an accepted request")
	}
	return c, resp, nil
}

func TestAcceptRefuses(t *testing.T) {
	rows := []struct {
		name    string
		changes []string
		options AcceptOptions
		status  int
		header  string // of the answer: "Name: value"
	}{
		{name: "4.2.1: not GET", changes: []string{"POST /chat HTTP/1.1"}, status: 405, header: "Allow: GET"},
		{name: "4.2.1: HTTP/1.0", changes: []string{"GET /chat HTTP/1.0"}, status: 400},
		{name: "4.2.1: no Upgrade", changes: []string{"-Upgrade"}, status: 426, header: "Upgrade: websocket"},
		{name: "4.2.1: another Upgrade", changes: []string{"Upgrade: h2c"}, status: 426, header: "Upgrade: websocket"},
		{name: "4.2.1: no Connection", changes: []string{"-Connection"}, status: 426, header: "Upgrade: websocket"},
		{name: "4.2.1: another Connection", changes: []string{"Connection: keep-alive"}, status: 426},
		{name: "4.4: no version", changes: []string{"-Sec-WebSocket-Version"}, status: 426, header: "Sec-WebSocket-Version: 13"},
		{name: "4.4: version 8", changes: []string{"Sec-WebSocket-Version: 8"}, status: 426, header: "Sec-WebSocket-Version: 13"},
		{name: "4.4: two versions", changes: []string{"+Sec-WebSocket-Version: 13"}, status: 426},
		{name: "4.2.1: no key", changes: []string{"-Sec-WebSocket-Key"}, status: 400},
		{name: "11.3.1: two keys", changes: []string{"+Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, status: 400},
		{name: "4.1: key of 15 bytes", changes: []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"}, status: 400},
		{name: "4.1: key is not base64", changes: []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!=="}, status: 400},
		{name: "a body", changes: []string{"Content-Length: 3"}, status: 400},
		{name: "a chunked body", changes: []string{"Transfer-Encoding: chunked"}, status: 400},
		{name: "10.2: foreign origin", changes: []string{"Origin: https://evil.example"}, status: 403},
		{name: "10.2: origin of the same name with another port", changes: []string{"Origin: https://server.example.com:8443"}, status: 403},
		{name: "10.2: origin null", changes: []string{"Origin: null"}, status: 403},
		{name: "10.2: two origins", changes: []string{"Origin: http://server.example.com", "+Origin: http://server.example.com"}, status: 403},
		{name: "10.2: not allowed", options: AcceptOptions{AllowOrigin: func(*http.Request) bool { return false }}, status: 403},
		{name: "11.3.4: malformed subprotocols", changes: []string{"Sec-WebSocket-Protocol: a b"}, status: 400},
		{name: "no subprotocol in common", changes: []string{"Sec-WebSocket-Protocol: b"}, options: AcceptOptions{Subprotocols: []string{"a"}, RequireSubprotocol: true}, status: 400},
		{name: "no subprotocol", options: AcceptOptions{Subprotocols: []string{"a"}, RequireSubprotocol: true}, status: 400},
		{name: "9.1: malformed extensions", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate;"}, status: 400},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, resp, err := handshake(t, edit(goodRequest(), row.changes...), row.options) //nolint:bodyclose // a recorder has nothing to close
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.StatusCode != row.status || resp.StatusCode != row.status {
				t.Fatalf("status %d, %v; want %d", resp.StatusCode, err, row.status)
			}
			if body, _ := io.ReadAll(resp.Body); strings.TrimSpace(string(body)) != refused.Reason || refused.Reason == "" {
				t.Errorf("body %q, reason %q", body, refused.Reason)
			}
			if name, value, _ := strings.Cut(row.header, ": "); resp.Header.Get(name) != value && name != "" {
				t.Errorf("header %v has not %s", resp.Header, row.header)
			}
		})
	}
}

func TestAcceptAnswers(t *testing.T) {
	const deflateAnswer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	ab := AcceptOptions{Subprotocols: []string{"a", "b"}}
	with := AcceptOptions{Compression: new(Compression)}
	rows := []struct {
		name        string
		changes     []string
		options     AcceptOptions
		subprotocol string
		extensions  string
	}{
		{name: "1.3: the example"},
		{name: "4.2.1: in any case", changes: []string{"Upgrade: WebSocket", "Connection: keep-alive, UPGRADE"}},
		{name: "same origin", changes: []string{"Origin: http://Server.Example.com"}},
		{name: "foreign origin allowed", changes: []string{"Origin: https://other.example"}, options: AcceptOptions{AllowOrigin: func(*http.Request) bool { return true }}},
		{name: "none of the subprotocols", changes: []string{"Sec-WebSocket-Protocol: x, y"}, options: ab},
		{name: "the server's preference", changes: []string{"Sec-WebSocket-Protocol: b, a"}, options: ab, subprotocol: "a"},
		{name: "subprotocols in two headers", changes: []string{"Sec-WebSocket-Protocol: x", "+Sec-WebSocket-Protocol: b"}, options: AcceptOptions{Subprotocols: []string{"a", "b"}, RequireSubprotocol: true}, subprotocol: "b"},
		{name: "subprotocols differ in case", changes: []string{"Sec-WebSocket-Protocol: A"}, options: ab},
		{name: "compression is off", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate"}},
		{name: "compression is not offered", options: with},
		{name: "RFC 7692 5: plain offer", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate"}, options: with, extensions: deflateAnswer},
		{name: "what browsers offer", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"}, options: with, extensions: deflateAnswer},
		{name: "7.1: takeover parameters", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"}, options: with, extensions: deflateAnswer},
		{name: "7.1.2.2: client window", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=10"}, options: with, extensions: deflateAnswer},
		{name: "7.1.2.2: quoted", changes: []string{`Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits="10"`}, options: with, extensions: deflateAnswer},
		{name: "7.1.2.2: client window too large", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=16"}, options: with},
		{name: "7.1.2.2: leading zero", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=08"}, options: with},
		{name: "7.1.2.1: full server window", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=15"}, options: with, extensions: deflateAnswer + "; server_max_window_bits=15"},
		{name: "7.1.2.1: server window that flate has not", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10"}, options: with},
		{name: "7.1.2.1: server window without value", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits"}, options: with},
		{name: "7.1.1: value where none may be", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover=1"}, options: with},
		{name: "7.1: parameter twice", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; server_no_context_takeover"}, options: with},
		{name: "7.1: unknown parameter", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; x"}, options: with},
		{name: "5.1: the second offer", changes: []string{"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10, permessage-deflate"}, options: with, extensions: deflateAnswer},
		{name: "5.1: the second header", changes: []string{"Sec-WebSocket-Extensions: x-other; a=b", "+Sec-WebSocket-Extensions: permessage-deflate"}, options: with, extensions: deflateAnswer},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			row.options.Header = http.Header{"X-Own": {"yes\r\nX-Injected: 1"}, "Connection": {"close"}}
			c, resp, err := handshake(t, edit(goodRequest(), row.changes...), row.options) //nolint:bodyclose // it has none
			if err != nil {
				t.Fatal(err)
			}
			h := resp.Header
			if resp.StatusCode != http.StatusSwitchingProtocols || h.Get("Upgrade") != "websocket" || h.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Errorf("%d %v", resp.StatusCode, h)
			}
			if h.Get("X-Middleware") != "was here" || h.Get("X-Own") == "" || h.Get("X-Injected") != "" || len(h.Values("Connection")) != 1 {
				t.Errorf("further headers: %v", h)
			}
			if c.Subprotocol() != row.subprotocol || h.Get("Sec-WebSocket-Protocol") != row.subprotocol {
				t.Errorf("subprotocol %q, header %q", c.Subprotocol(), h.Get("Sec-WebSocket-Protocol"))
			}
			if got := h.Get("Sec-WebSocket-Extensions"); got != row.extensions || (c.compression != nil) != (got != "") {
				t.Errorf("extensions %q", got)
			}
		})
	}
}

// What a client sends right behind its request is not lost.
func TestAcceptKeepsEarlyBytes(t *testing.T) {
	request := edit(goodRequest()) + string(encode([]part{{first: 0x81, payload: "early"}}, true))
	c, _, err := handshake(t, request, AcceptOptions{}) //nolint:bodyclose // it has none
	if err != nil {
		t.Fatal(err)
	}
	f, ok, err := c.Next()
	if !ok || err != nil || string(f.Data) != "early" {
		t.Fatalf("%q, %v, %v", f.Data, ok, err)
	}
}

func TestAcceptWithoutHijacker(t *testing.T) {
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(edit(goodRequest()))))
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if _, err = Accept(w, req, AcceptOptions{}); !errors.Is(err, http.ErrNotSupported) || w.Code != http.StatusInternalServerError {
		t.Fatalf("%d, %v", w.Code, err)
	}
}

// A client that does not read its answer is not waited for.
func TestAcceptTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for given, want := range map[time.Duration]time.Duration{0: DefaultHandshakeTimeout, time.Second: time.Second} {
			client, server := net.Pipe()
			req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(edit(goodRequest()))))
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			w := &hijackable{httptest.NewRecorder(), server, bufio.NewReader(server)}
			if _, err := Accept(w, req, AcceptOptions{HandshakeTimeout: given}); err == nil {
				t.Fatal("accepted")
			}
			if took := time.Since(began); took != want {
				t.Fatalf("took %v, want %v", took, want)
			}
			client.Close()
		}
	})
}

// deadlines remembers the last deadline that was set.
type deadlines struct {
	net.Conn
	set []time.Time
}

func (d *deadlines) SetDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return d.Conn.SetDeadline(at)
}

// The deadlines of the HTTP server end with the handshake.
func TestAcceptClearsDeadlines(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(edit(goodRequest()))))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = http.ReadResponse(bufio.NewReader(client), req) }() //nolint:bodyclose // it has none
	nc := &deadlines{Conn: server}
	c, err := Accept(&hijackable{httptest.NewRecorder(), nc, bufio.NewReader(server)}, req, AcceptOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if len(nc.set) == 0 || !nc.set[len(nc.set)-1].IsZero() {
		t.Fatalf("deadlines set: %v", nc.set)
	}
}
