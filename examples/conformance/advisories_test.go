package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What has gone wrong in servers of these protocols before. Whatever one client
// does, it gets no further than its own end: another one, who was there before,
// is served all the time, and so is one that comes afterwards.

func TestAdvisories(t *testing.T) {
	at := target(t)
	for _, row := range []struct {
		id, what string
		attack   func(p *peer)
	}{
		{"CVE-2017-16031", "ids that can be guessed", guessableIDs},
		{"CVE-2020-28481", "credentials for every origin", everyOrigin},
		{"CVE-2020-36048", "a huge body", hugeBody},
		{"CVE-2020-36049", "a huge packet", hugePacket},
		{"CVE-2022-21676", "an invalid frame with the handshake", invalidFrame},
		{"CVE-2022-41940", "a reset while an upgrade is refused", resetWhileRefused},
		{"CVE-2023-31125", "a transport that is a property of every object", inheritedTransport},
		{"CVE-2022-2421", "placeholders that are no number of an attachment", wrongPlaceholders},
		{"CVE-2023-32695", "an event whose name is an object", objectAsName},
		{"CVE-2024-38355", "a packet that makes an error event", errorEvent},
		{"CVE-2026-33151", "attachments without end", endlessAttachments},
		{"CVE-2016-10542", "a message longer than all memory", longestMessage},
		{"CVE-2021-32640", "a header that takes long to read", slowHeader},
		{"CVE-2024-37890", "more headers than one can count", manyHeaders},
		{"CVE-2026-48779", "a message in a hundred thousand fragments", tinyFragments},
		{"GHSA-pxg6-pf52-xh8x", "names of cookies that are more than names", cookies},
	} {
		t.Run(row.id+" "+row.what, func(t *testing.T) {
			p := newPeer(t, at, "/socket.io/", "4")
			bystander := p.open().beating()
			join(p, bystander)
			row.attack(p.within(t))
			bystander.send(`42["message","still here"]`)
			want(t, bystander, `42["message-back","still here"]`)
			join(p, p.open().beating())
			p.on("/engine.io/").poll("b64=1").wantPost("4hello")
		})
	}
}

func guessableIDs(p *peer) {
	seen := make(map[string]bool)
	for range 100 {
		s := p.poll()
		// Half of an id is enough to tell them apart.
		if id := s.sid; len(id) != 20 || seen[id[:10]] {
			p.t.Fatalf("id %q is none of its own", id)
		}
		seen[s.sid[:10]] = true
		s.wantPost("40", "1")
	}
}

func everyOrigin(p *peer) {
	a := p.do(http.MethodGet, p.query("polling"), nil, "Origin", "https://evil.example")
	if a.header.Get("Access-Control-Allow-Origin") == "https://evil.example" || a.header.Get("Access-Control-Allow-Credentials") != "" {
		p.t.Errorf("answered with %v", a.header)
	}
}

// hugeBody: a body is refused where its limit is, not where it ends.
func hugeBody(p *peer) {
	s := p.poll()
	c := p.connect()
	fmt.Fprintf(c, "POST %s%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n", p.path, s.its())
	go func() { _, _ = io.Copy(c, io.LimitReader(endless{'4'}, 2_000_000)) }()
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			p.t.Errorf("status %d, want 413", resp.StatusCode)
		}
	}
	a := p.do(http.MethodPost, s.its(), io.LimitReader(endless{'4'}, 100_000_000))
	if a.err == nil && a.status != http.StatusRequestEntityTooLarge {
		p.t.Errorf("in chunks: %v, want status 413", a)
	}
	s = p.poll() // as many packets as fit in
	begin := time.Now()
	if a := s.post(strings.Repeat("6\x1e", 499_999) + "6"); a.err == nil && a.status != http.StatusOK && a.status != http.StatusBadRequest {
		p.t.Errorf("post: %v", a)
	}
	p.soon("a body of half a million packets", begin)
}

// hugePacket: what is long takes no longer than its length.
func hugePacket(p *peer) {
	packets := []string{
		"45" + strings.Repeat("1", 900_000) + "-[]",
		"42" + strings.Repeat("[", 900_000),
		`42["message",` + strings.Repeat(`{"a":`, 100_000) + "1",
		"42/" + strings.Repeat("n", 900_000) + `,["message"]`,
	}
	if ours() { // to official servers it is infinite
		packets = append(packets, "42"+strings.Repeat("1", 900_000)+`["message"]`)
	}
	for _, packet := range packets {
		s := p.open().beating()
		join(p, s)
		begin := time.Now()
		s.send(packet)
		wantOver(p.t, s)
		p.soon(fmt.Sprintf("%.20q", packet), begin)
	}
	s := p.open().beating()
	join(p, s)
	depth := 1000
	if ours() { // official servers end with an uncaught exception
		depth = 5000
	}
	deep := strings.Repeat("[", depth) + strings.Repeat("]", depth)
	s.send(`42["message",` + deep + `]`)
	if got, ok := s.next(); ok && got != `42["message-back",`+deep+`]` {
		p.t.Errorf("a deep value came back as %.100q", got)
	}
}

// soon fails the test when something took suspiciously long, even on a machine
// that has other things to do.
func (p *peer) soon(what string, begin time.Time) {
	p.t.Helper()
	if d := time.Since(begin); d > patience/2 {
		p.t.Errorf("%s took %v", what, d)
	}
}

// connect opens a TCP connection to the server.
func (p *peer) connect() net.Conn {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(p.base, "http://"))
	if err != nil {
		p.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

// upgradeRequest is a handshake of a WebSocket.
func (p *peer) upgradeRequest(query, more string) string {
	return "GET " + p.path + query + " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + more + "\r\n"
}

// wantCut wants the server to answer what it likes and to end the connection.
func (p *peer) wantCut(c net.Conn) {
	p.t.Helper()
	if _, err := io.Copy(io.Discard, c); isTimeout(err) {
		p.t.Error("the connection stays open")
	}
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error) //nolint:errorlint // as the network gives it
	return ok && t.Timeout()
}

func invalidFrame(p *peer) {
	for _, frame := range []string{
		"\xf1\x80\x00\x00\x00\x00",                 // reserved bits
		"\x83\x80\x00\x00\x00\x00",                 // a reserved opcode
		"\x81\x0142",                               // not masked
		"\x89\xfe\x00\x7e\x00\x00\x00\x00",         // a long ping
		"\x80\x80\x00\x00\x00\x00",                 // the rest of nothing
		"\x81\x82\x00\x00\x00\x004\xff",            // text that is none
		"\x88\x82\x00\x00\x00\x00\x00\x01",         // a close code that is none
		"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", // a negative length
	} {
		c := p.connect()
		_, _ = io.WriteString(c, p.upgradeRequest(p.query("websocket"), "")+frame)
		p.wantCut(c)
	}
}

func resetWhileRefused(p *peer) {
	for range 20 {
		for _, query := range []string{p.query("abc"), p.query("websocket", "sid=nobody"), "?EIO=9&transport=websocket", p.query("websocket")} {
			c := p.connect()
			_, _ = io.WriteString(c, p.upgradeRequest(query, ""))
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = c.Close()
		}
	}
}

func inheritedTransport(p *peer) {
	for _, name := range []string{"__proto__", "constructor", "toString", "hasOwnProperty", "", "Polling", "polling%00", "websocket,polling", "webtransport"} {
		p.wantError(name, p.do(http.MethodGet, p.query(name), nil), 0)
		p.wantRefused(p.query(name))
	}
}

func wrongPlaceholders(p *peer) {
	nums := []any{`"splice"`, `"0"`, `"length"`, -1, 1, 99, `1e9`, `null`, `true`, `[0]`, `{}`}
	if ours() { // official servers put nothing in its place
		nums = append(nums, 0.5)
	}
	for _, num := range nums {
		for _, packet := range []string{`451-["message",` + placeholder(num) + `]`, `451-["message",{"a":[` + placeholder(num) + `]}]`} {
			fatal(p, packet, "\x00\x01")
		}
	}
}

func objectAsName(p *peer) {
	fatal(p, `42[{"toString":"foo"}]`)
	fatal(p, `42[["message"]]`)
	fatal(p, `451-[`+placeholder(0)+`]`, "\x00\x01")
}

func errorEvent(p *peer) {
	exchange(p, []string{`42["error","x"]`, `42["error",{"message":"x"}]`, `42["message"]`}, `42["message-back"]`)
	fatal(p, `42["error"`)
	for _, open := range carriers() { // before anybody listens
		l := open.open(p)
		l.send("44")
		wantOver(p.t, l)
	}
}

func endlessAttachments(p *peer) {
	counts := []string{"11", "1000000", "9007199254740993", "99999999999999999999", "1e3"}
	if ours() { // official servers read whatever JavaScript takes for a number
		counts = append(counts, "+1", "0x1", "1e0", " 1")
	}
	for _, count := range counts {
		fatal(p, "45"+count+`-["message"]`)
		fatal(p, "46"+count+`-1[]`)
	}
}

// longestMessage: a length is not believed before the bytes are there.
func longestMessage(p *peer) {
	for _, head := range []string{
		"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"\x82\xff\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00",
	} {
		c := p.connect()
		_, _ = io.WriteString(c, p.upgradeRequest(p.query("websocket"), "")+head)
		p.wantCut(c)
	}
}

func slowHeader(p *peer) {
	for _, header := range []string{
		"Sec-WebSocket-Protocol: a" + strings.Repeat(" ", 7000) + "b\r\n",
		"Sec-WebSocket-Extensions: permessage-deflate; a=\"" + strings.Repeat(`\"`, 3000) + "\r\n",
		"Sec-WebSocket-Extensions: " + strings.Repeat("permessage-deflate;", 380) + "\r\n",
		"Sec-WebSocket-Extensions: constructor, __proto__\r\n",
		"Cookie: " + strings.Repeat("a=b; ", 1500) + "\r\n",
		"Origin: " + strings.Repeat("\xff", 100) + "\r\n",
	} {
		begin := time.Now()
		c := p.connect()
		_, _ = io.WriteString(c, p.upgradeRequest(p.query("websocket"), header))
		line, err := bufio.NewReader(c).ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "HTTP/1.1 101 ") && !strings.HasPrefix(line, "HTTP/1.1 4") {
			p.t.Errorf("%.40q was answered by %q", header, line)
		}
		p.soon(fmt.Sprintf("%.40q", header), begin)
	}
}

func manyHeaders(p *peer) {
	var b bytes.Buffer
	for i := range 3000 {
		fmt.Fprintf(&b, "X%d: y\r\n", i)
	}
	c := p.connect()
	_, _ = io.WriteString(c, p.upgradeRequest(p.query("websocket"), b.String()))
	line, err := bufio.NewReader(c).ReadString('\n')
	if isTimeout(err) || err == nil && !strings.HasPrefix(line, "HTTP/1.1 ") {
		p.t.Errorf("answered by %q, %v", line, err)
	}
}

// tinyFragments: a message of many is put together or refused, quickly.
func tinyFragments(p *peer) {
	s := p.open().beating()
	join(p, s)
	fragment := []byte{0x00, 0x81, 0, 0, 0, 0, 'a'}
	const count = 100_000
	b := []byte{0x01, 0x80 | 22, 0, 0, 0, 0}
	b = append(b, `42["message-with-ack",`...)
	b[1] = 0x80 | byte(len(b)-6)
	b = append(b, 0x00, 0x81, 0, 0, 0, 0, '"')
	for range count {
		b = append(b, fragment...)
	}
	b = append(b, 0x80, 0x82, 0, 0, 0, 0, '"', ']')
	begin := time.Now()
	s.raw(b...)
	s.send(`42["message","after"]`)
	mayEnd(p, s, `42["message-back","after"]`)
	p.soon("putting a message together", begin)
}

func cookies(p *peer) {
	a := p.do(http.MethodGet, p.query("polling"), nil, "Cookie", "io=x; Path=/; a=\x01b")
	if a.err == nil && a.header.Get("Set-Cookie") != "" {
		p.t.Errorf("answered with the cookie %q", a.header.Get("Set-Cookie"))
	}
}

// endless is a reader without an end.
type endless struct{ b byte }

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = e.b
	}
	return len(b), nil
}
