package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
)

// Corners of Engine.IO that no official suite looks into.

func TestEngineEdges4(t *testing.T) {
	perform(t, target(t), "/engine.io/", "4", 35, append(engineEdges(), []trial{
		{"a ping from the client ends the session: polling", func(p *peer) { ends(p, "2") }},
		{"a ping from the client ends the session: WebSocket", func(p *peer) { endsSocket(p, "2") }},
		{"a payload that ends in a separator", func(p *peer) { ends(p, "4hello\x1e") }},
		{"two separators", func(p *peer) { ends(p, "4hello\x1e\x1e4hello") }},
		{"base64 that is none", func(p *peer) { endsOr(p, "b!!!!A", "", "b") }},
		{"binary content", binaryContent4},
		{"base64 without padding", func(p *peer) {
			s := p.poll()
			s.wantPost("bAQIDBA")
			s.wantGet("bAQIDBA==")
		}},
		{"text that begins with b", func(p *peer) { pollEcho(p, "4bAQIDBA==") }},
		{"base64 in a text frame is binary", func(p *peer) {
			s := p.open()
			s.send("bAQIDBA==")
			want(p.t, s, "\x00\x01\x02\x03\x04")
		}},
		{"a WebSocket that asked for base64", func(p *peer) {
			s := p.open("b64=1")
			s.send("bAQIDBA==", "\x00\x01\x02\x03\x04")
			want(p.t, s, "bAQIDBA==", "bAQIDBA==")
		}},
		{"one byte too much in a body", bodyLimit},
		{"one byte too much in a frame", frameLimit},
	}...))
}

func TestEngineEdges3(t *testing.T) {
	perform(t, targetEIO3(t), "/engine.io/", "3", 32, append(engineEdges(), []trial{
		{"a pong from the client ends the session: polling", func(p *peer) { ends(p, "1:3") }},
		{"a pong from the client ends the session: WebSocket", func(p *peer) { endsSocket(p, "3") }},
		{"a length without a packet", func(p *peer) { ends(p, "6:4hel") }},
		{"a length that is none", func(p *peer) { ends(p, "6a:4hello") }},
		{"a length that is negative", func(p *peer) { ends(p, "-1:4hello") }},
		{"a length beyond all numbers", func(p *peer) { ends(p, strings.Repeat("9", 400)+":4hello") }},
		{"digits and nothing else", func(p *peer) { ends(p, "6:4hello12") }},
		{"lengths are UTF-16", func(p *peer) { pollEcho(p, "4€", "4😀", "4a😀€b") }},
		{"a binary payload cut off", func(p *peer) {
			endsOr(p, "\x00\x09\xff4hello", "application/octet-stream", "6:4hello")
		}},
	}...))
}

func engineEdges() []trial {
	return []trial{
		{"an empty body", func(p *peer) { ends(p, "") }},
		{"an unknown packet type", func(p *peer) { ends(p, p.payload("7")) }},
		{"what comes before a bad packet is heard", heardBefore},
		{"packets that mean nothing here are ignored: polling", func(p *peer) {
			s := p.poll()
			s.wantPost("6", "5", "0", "4still here")
			s.wantGet(p.payload("4still here"))
		}},
		{"packets that mean nothing here are ignored: WebSocket", func(p *peer) {
			s := p.open()
			s.send("6", "5", "0", "4still here")
			want(p.t, s, "4still here")
		}},
		{"an empty message", func(p *peer) {
			pollEcho(p, "4")
			socketEcho(p, "4")
		}},
		{"an empty binary message", func(p *peer) { socketEcho(p, binaryMark) }},
		{"a message in fragments", fragments},
		{"a poll and a post at once", pollAndPost},
		{"two posts at once", duplicatePost},
		{"a session that is not there", func(p *peer) {
			p.wantError("poll", p.do(http.MethodGet, p.query("polling", "sid=nobody"), nil), 1)
			p.wantError("post", p.do(http.MethodPost, p.query("polling", "sid=nobody"), strings.NewReader("4")), 1)
			p.wantRefused(p.query("websocket", "sid=nobody"))
		}},
		{"a session that is no name", func(p *peer) {
			for _, sid := range []string{"__proto__", "constructor", "%00", "%ff%fe", strings.Repeat("a", 4000)} {
				p.wantError(sid, p.do(http.MethodGet, p.query("polling", "sid="+sid), nil), 1)
			}
		}},
		{"a WebSocket without an upgrade", func(p *peer) {
			p.wantError("GET", p.do(http.MethodGet, p.query("websocket"), nil), 3)
		}},
		{"the transport is looked at before the rest", func(p *peer) {
			p.wantError("POST", p.do(http.MethodPost, p.query("abc", "sid=nobody"), strings.NewReader("4")), 0)
			p.wantError("no session", p.do(http.MethodPost, "?EIO=5&transport=polling&sid=nobody", strings.NewReader("4")), 1)
		}},
		{"methods that nobody knows", func(p *peer) {
			s := p.poll()
			a := p.do(http.MethodDelete, s.its(), nil)
			if a.err != nil || a.status < 400 {
				p.t.Errorf("DELETE: %v, want an error", a)
			}
		}},
		{"cross origin", crossOrigin},
		{"a large answer is compressed", compressed},
		{"an upgrade given up", upgradeGivenUp},
		{"an upgrade that is none", upgradeInvalid},
		{"an upgrade begun twice", upgradeTwice},
		{"an upgrade without a probe", func(p *peer) {
			s := p.poll()
			ws := p.mustDial(p.query("websocket", "sid="+s.sid))
			ws.send("5", "4hello")
			want(p.t, ws, "4hello")
		}},
		{"messages while upgrading come once and in order", upgradeWithTraffic},
		{"a poll given up while upgrading", upgradeCancelled},
	}
}

// ends posts a body that ends the session.
func ends(p *peer, body string) {
	p.t.Helper()
	s := p.poll()
	if a := s.post(body); a.err == nil && a.status != http.StatusOK && a.status != http.StatusBadRequest {
		p.t.Errorf("post: %v, want status 400", a)
	}
	s.wantGone()
}

// endsOr is for what official servers overlook: they make echo of it.
func endsOr(p *peer, body, contentType, echo string) {
	p.t.Helper()
	s := p.poll()
	s.post(body, "Content-Type", contentType)
	if a := s.get(); a.status != http.StatusOK || a.body != echo {
		p.wantError("poll of a session that is over", a, 1)
	}
}

func endsSocket(p *peer, packet string) {
	p.t.Helper()
	s := p.open().beating()
	s.write(transport.Text, packet)
	wantOver(p.t, s)
}

// heardBefore: one bad packet does not undo the good ones before it.
func heardBefore(p *peer) {
	s := p.open().beating()
	s.send("4hello", "abc")
	want(p.t, s, "4hello")
	wantOver(p.t, s)
}

func binaryContent4(p *peer) {
	s := p.poll()
	a := s.post("\x01\x02", "Content-Type", "application/octet-stream")
	if a.err == nil && a.status != http.StatusBadRequest {
		p.t.Errorf("post: %v, want status 400", a)
	}
	s.wantGone()
}

// bodyLimit: a body of 1,000,000 bytes is taken. A longer one is not, whether
// it says its length or not, and harms the session no more than that.
func bodyLimit(p *peer) {
	s := p.poll()
	most := strings.Repeat("a", 1_000_000-1)
	s.wantPost("4" + most)
	s.wantGet("4" + most)
	p.wantStatus("too long", s.post("4"+most+"b"), http.StatusRequestEntityTooLarge)
	s = p.poll()
	a := p.do(http.MethodPost, s.its(), io.MultiReader(strings.NewReader("4"+most), strings.NewReader("b")))
	p.wantStatus("too long, in chunks", a, http.StatusRequestEntityTooLarge)
	a = p.do(http.MethodPost, s.its(), io.MultiReader(strings.NewReader("4hello\x1e"), strings.NewReader("4world")))
	p.wantStatus("in chunks", a, http.StatusOK)
	s.wantGet("4hello\x1e4world")
}

// frameLimit: a message of 1,000,000 bytes is taken, the type of a text one
// counted. A longer one closes with a code and no reason.
func frameLimit(p *peer) {
	s := p.open()
	socketEcho(p, binaryMark+strings.Repeat("a", 1_000_000))
	s.send("4" + strings.Repeat("a", 1_000_000))
	wantOver(p.t, s)
	var closed *transport.CloseError
	if !errors.As(s.err, &closed) || closed.Code != transport.CloseTooBig || closed.Reason != "" {
		p.t.Errorf("closed by %v, want 1009 without a reason", s.err)
	}
}

func fragments(p *peer) {
	s := p.open()
	zero := []byte{0, 0, 0, 0} // a mask that leaves everything as it is
	frame := func(first byte, text string) []byte {
		return append(append([]byte{first, 0x80 | byte(len(text))}, zero...), text...)
	}
	s.raw(bytes.Join([][]byte{frame(0x01, "4he"), frame(0x00, ""), frame(0x00, "ll"), frame(0x80, "o")}, nil)...)
	want(p.t, s, "4hello")
}

func pollAndPost(p *peer) {
	s := p.poll()
	pending := make(chan answer, 1)
	go func() { pending <- s.get() }()
	s.wantPost("4hello")
	if a := <-pending; a.body != p.payload("4hello") {
		p.t.Errorf("poll: %v", a)
	}
}

// duplicatePost: the session is over; the first body never ends.
func duplicatePost(p *peer) {
	p.unseen(func(wait time.Duration) (done bool) {
		s := p.poll()
		r, w := io.Pipe()
		first := make(chan answer, 1)
		go func() { first <- p.do(http.MethodPost, s.its(), r) }()
		_, _ = io.WriteString(w, "4") // part of it is on its way
		<-time.After(wait)            // real: nothing tells a client that its post has begun
		a := s.post(p.payload("4hello"))
		_ = w.Close()
		b := <-first
		if a.err == nil && a.status == http.StatusOK {
			return false // it was the only one
		}
		if a.err == nil && a.status != http.StatusBadRequest {
			p.t.Errorf("second post: %v, want status 400", a)
		}
		if b.err == nil && b.status == http.StatusOK {
			p.t.Errorf("first post: %v, want it to fail", b)
		}
		s.wantGone()
		return true
	})
}

func crossOrigin(p *peer) {
	const page = "https://page.example"
	for name, a := range map[string]answer{
		"handshake": p.do(http.MethodGet, p.query("polling"), nil, "Origin", page),
		"an error":  p.do(http.MethodGet, p.query("polling", "sid=nobody"), nil, "Origin", page),
	} {
		if got := a.header.Get("Access-Control-Allow-Origin"); got != "*" {
			p.t.Errorf("%s: Access-Control-Allow-Origin %q, want *", name, got)
		}
		if got := a.header.Get("Access-Control-Allow-Credentials"); got != "" {
			p.t.Errorf("%s: Access-Control-Allow-Credentials %q: everybody and credentials do not go together", name, got)
		}
	}
	a := p.do(http.MethodOptions, p.query("polling"), nil, "Origin", page,
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-mine")
	if a.status != http.StatusNoContent || a.body != "" ||
		a.header.Get("Access-Control-Allow-Origin") != "*" ||
		a.header.Get("Access-Control-Allow-Headers") != "x-mine" ||
		!strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "POST") {
		p.t.Errorf("preflight: %v %v", a, a.header)
	}
	if _, err := p.dial(p.query("websocket"), "Origin", page); err != nil {
		p.t.Errorf("WebSocket from another origin: %v", err)
	}
}

func compressed(p *peer) {
	s := p.poll("b64=1")
	text := "4" + strings.Repeat("a", 2000)
	s.wantPost(text)
	a := p.do(http.MethodGet, s.its(), nil, "Accept-Encoding", "gzip")
	if a.header.Get("Content-Encoding") != "gzip" {
		p.t.Fatalf("%v of %v, want it compressed", a.status, a.header)
	}
	r, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		p.t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != p.payload(text) {
		p.t.Errorf("%d bytes, %v", len(b), err)
	}
}

// upgradeGivenUp: a probe that ends leaves the session where it was.
func upgradeGivenUp(p *peer) {
	s := p.poll()
	for range 3 {
		_ = retryProbe(p, s).c.Close()
	}
	s.wantPost("4hello")
	for a := s.get(); a.body != p.payload("4hello"); a = s.get() {
		if a.body != p.payload("6") {
			p.t.Fatalf("poll: %v", a)
		}
	}
	ws := retryProbe(p, s)
	ws.send("5", "4again")
	want(p.t, ws, "4again")
}

// retryProbe probes until the server knows that the last probe has ended.
func retryProbe(p *peer, s *polling) *socket {
	p.t.Helper()
	var ws *socket
	eventually(p.t, "a probe is answered again", func() bool {
		var err error
		if ws, err = p.dial(p.query("websocket", "sid="+s.sid)); err != nil {
			return false
		}
		ws.send("2probe")
		got, ok := ws.next()
		return ok && got == "3probe"
	})
	return ws
}

func upgradeInvalid(p *peer) {
	for _, packet := range []string{"4hello", "2", "2wrong", "abc", "\x00\x01"} {
		s := p.poll()
		ws := p.mustDial(p.query("websocket", "sid="+s.sid))
		ws.write(transport.Text, packet)
		wantOver(p.t, ws)
		s.wantPost("4hello")
		s.wantGet(p.payload("4hello"))
	}
}

// upgradeTwice: the second WebSocket is refused and the first one goes on.
func upgradeTwice(p *peer) {
	s := p.poll()
	ws := p.mustDial(p.query("websocket", "sid="+s.sid))
	ws.send("2probe")
	want(p.t, ws, "3probe")
	p.wantRefused(p.query("websocket", "sid="+s.sid))
	ws.send("5", "4hello")
	want(p.t, ws, "4hello")
}

// upgradeWithTraffic: whatever is said while the transports change arrives
// once, and in order.
func upgradeWithTraffic(p *peer) {
	s := p.poll("b64=1")
	ws := p.mustDial(p.query("websocket", "sid="+s.sid))
	ws.send("2probe")
	want(p.t, ws, "3probe")
	s.wantPost("4one", "4two")
	var got []string
	for len(got) < 2 {
		a := s.get()
		p.wantStatus("poll", a, http.StatusOK)
		for _, packet := range p.packets(a.body) {
			if packet != "6" {
				got = append(got, packet)
			}
		}
	}
	if strings.Join(got, " ") != "4one 4two" {
		p.t.Fatalf("got %q", got)
	}
	s.wantPost("4three") // it waits for the next poll, which never comes
	ws.send("5", "4four")
	want(p.t, ws, "4three", "4four")
}

// upgradeCancelled: a poll that is given up is the end, probe or not.
func upgradeCancelled(p *peer) {
	p.unseen(func(time.Duration) (done bool) {
		s := p.poll()
		ws := p.mustDial(p.query("websocket", "sid="+s.sid))
		ws.send("2probe")
		want(p.t, ws, "3probe")
		ctx, cancel := context.WithTimeout(p.t.Context(), 50*time.Millisecond) // half as long as it takes the server to answer it
		defer cancel()
		a := s.doContext(ctx, http.MethodGet, s.its(), nil)
		if a.err == nil && a.status == http.StatusOK && a.body == p.payload("6") {
			return false // which asks for the upgrade: the next one would wait
		}
		if a.err == nil {
			p.t.Fatalf("poll: %v, want it to be cancelled", a)
		}
		select {
		case got, ok := <-ws.in:
			if ok {
				p.t.Fatalf("got packet %.300q, want the session to be over", got)
			}
		case <-time.After(patience / 6):
			return false // it goes on
		}
		s.wantGone()
		return true
	})
}

// TestUpgradedHeartbeat: a session that went over to a WebSocket and is quiet
// from then on ends like any other, also when the ping was on its way. Official
// servers wait for ever in two of the cases.
func TestUpgradedHeartbeat(t *testing.T) {
	t.Parallel() // it waits
	if !ours() {
		return
	}
	trials := []trial{
		{"quiet after the upgrade", func(p *peer) { socketEnds(p, p.poll().upgrade()) }},
	}
	perform(t, start(t, dies(), "--eio3"), "/engine.io/", "3", 1, trials)
	perform(t, start(t, dies()), "/engine.io/", "4", 2, append(trials, trial{"pinged before the upgrade", func(p *peer) {
		s := p.poll()
		s.wantGet("2")
		socketEnds(p, s.upgrade())
	}}))
}

// socketEnds wants a session to end in time without a word from the client.
func socketEnds(p *peer, s *socket) {
	begin := time.Now()
	for _, ok := s.next(); ok; _, ok = s.next() {
		continue // pings
	}
	if d := time.Since(begin); d > patience/2 {
		p.t.Errorf("the session was over after %v", d)
	}
}
