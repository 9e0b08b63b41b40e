package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// What the official suites of Engine.IO 4 and 3 test, title by title. Both
// versions share the tests; a peer knows how its version writes a payload.

func TestEngine4(t *testing.T) {
	t.Parallel() // it waits
	perform(t, target(t), "/engine.io/", "4", 25, append(engineTrials(), []trial{
		{"handshake: HTTP long-polling: fails with an invalid EIO query parameter", pollWrongEIO},
		{"handshake: WebSocket: fails with an invalid EIO query parameter", socketWrongEIO},
		{"message: HTTP long-polling: closes the session upon duplicate poll requests", duplicatePoll},
		{"message: HTTP long-polling: closes the session upon cancelled polling request", cancelledPoll},
		{"message: HTTP long-polling: plain text and binary packets", func(p *peer) { pollEcho(p, "4hello", "bAQIDBA==") }},
		{"heartbeat: HTTP long-polling: sends ping/pong packets", pollPing},
		{"heartbeat: HTTP long-polling: closes the session upon ping timeout", pollPingTimeout},
		{"heartbeat: WebSocket: sends ping/pong packets", socketPing},
	}...))
}

// Version 3 has the heartbeat reversed, and a binary form of payloads. An
// unknown EIO parameter is version 3 there, so nothing refuses it.
func TestEngine3(t *testing.T) {
	t.Parallel() // it waits
	perform(t, targetEIO3(t), "/engine.io/", "3", 24, append(engineTrials(), []trial{
		{"message: HTTP long-polling: closes the session upon duplicate poll requests", duplicatePoll},
		{"message: HTTP long-polling: closes the session upon cancelled polling request", cancelledPoll},
		{"message: HTTP long-polling: plain text and binary packets (base64 encoded)", func(p *peer) { pollEcho(p, "4hello", "b4AQIDBA==") }},
		{"message: HTTP long-polling: plain text and binary packets (binary)", binaryPayload3},
		{"heartbeat: HTTP long-polling: sends ping/pong packets", pollPing3},
		{"heartbeat: HTTP long-polling: closes the session upon ping timeout", pollPingTimeout3},
		{"heartbeat: WebSocket: sends ping/pong packets", socketPing3},
	}...))
}

// engineTrials are those that are the same in both versions.
func engineTrials() []trial {
	return []trial{
		{"handshake: HTTP long-polling: successfully opens a session", pollOpens},
		{"handshake: HTTP long-polling: fails with an invalid transport query parameter", pollWrongTransport},
		{"handshake: HTTP long-polling: fails with an invalid request method", pollWrongMethod},
		{"handshake: WebSocket: successfully opens a session", func(p *peer) { p.open() }},
		{"handshake: WebSocket: fails with an invalid transport query parameter", socketWrongTransport},
		{"message: HTTP long-polling: one plain text packet", func(p *peer) { pollEcho(p, "4hello") }},
		{"message: HTTP long-polling: several plain text packets", func(p *peer) { pollEcho(p, "4test1", "4test2", "4test3") }},
		{"message: HTTP long-polling: closes the session upon invalid packet format", pollInvalid},
		{"message: WebSocket: sends and receives a plain text packet", func(p *peer) { socketEcho(p, "4hello") }},
		{"message: WebSocket: sends and receives a binary packet", func(p *peer) { socketEcho(p, binaryMark+"\x01\x02\x03\x04") }},
		{"message: WebSocket: closes the session upon invalid packet format", socketInvalid},
		{"heartbeat: WebSocket: closes the session upon ping timeout", socketPingTimeout},
		{"close: HTTP long-polling: forcefully closes the session", pollClose},
		{"close: WebSocket: forcefully closes the session", socketClose},
		{"upgrade: successfully upgrades from HTTP long-polling to WebSocket", upgrades},
		{"upgrade: ignores HTTP requests with same sid after upgrade", upgradedPoll},
		{"upgrade: ignores WebSocket connection with same sid after upgrade", upgradedSocket},
	}
}

func pollOpens(p *peer) {
	a := p.do(http.MethodGet, p.query("polling"), nil)
	p.wantStatus("handshake", a, http.StatusOK)
	if got := a.header.Get("Content-Type"); !strings.EqualFold(got, "text/plain; charset=UTF-8") {
		p.t.Errorf("Content-Type %q", got)
	}
	packets := p.packets(a.body)
	if len(packets) != 1 {
		p.t.Fatalf("handshake: %q, want one packet", packets)
	}
	p.opened(packets[0], "websocket")
}

func pollWrongEIO(p *peer) {
	p.wantError("no EIO", p.do(http.MethodGet, "?transport=polling", nil), 5)
	p.wantError("EIO=abc", p.do(http.MethodGet, "?EIO=abc&transport=polling", nil), 5)
	p.wantError("EIO=3", p.do(http.MethodGet, "?EIO=3&transport=polling", nil), 5)
}

func pollWrongTransport(p *peer) {
	p.wantError("no transport", p.do(http.MethodGet, "?EIO="+p.version, nil), 0)
	p.wantError("transport=abc", p.do(http.MethodGet, p.query("abc"), nil), 0)
}

func pollWrongMethod(p *peer) {
	p.wantError("POST", p.do(http.MethodPost, p.query("polling"), nil), 2)
	p.wantError("PUT", p.do(http.MethodPut, p.query("polling"), nil), 2)
}

func socketWrongEIO(p *peer) {
	p.wantRefused("?transport=websocket")
	p.wantRefused("?EIO=abc&transport=websocket")
	p.wantRefused("?EIO=3&transport=websocket")
}

func socketWrongTransport(p *peer) {
	p.wantRefused("?EIO=" + p.version)
	p.wantRefused(p.query("abc"))
}

// pollEcho wants all packets back in one body.
func pollEcho(p *peer, packets ...string) {
	s := p.poll("b64=1")
	s.wantPost(packets...)
	s.wantGet(p.payload(packets...))
}

func pollInvalid(p *peer) {
	s := p.poll()
	if a := s.post("abc"); a.err == nil && a.status != http.StatusOK && a.status != http.StatusBadRequest {
		p.t.Errorf("post: %v, want status 400", a)
	}
	s.wantGone()
}

// duplicatePoll: the first of two polls is told that the session is over, the
// other one is refused.
func duplicatePoll(p *peer) {
	s := p.poll()
	answers := make(chan answer, 2)
	for range 2 {
		go func() { answers <- s.get() }()
	}
	a, b := <-answers, <-answers
	if a.status != http.StatusOK {
		a, b = b, a
	}
	if want := p.payload("1"); a.err != nil || a.status != http.StatusOK || a.body != want {
		p.t.Errorf("first poll: %v, want %q", a, want)
	}
	if b.err != nil || b.status != http.StatusBadRequest || b.body != "" {
		p.t.Errorf("second poll: %v, want status 400 without a body", b)
	}
	s.wantGone()
}

// cancelledPoll: who gives a poll up has given up the session. The server
// hears of it a moment later.
func cancelledPoll(p *peer) {
	p.unseen(func(wait time.Duration) (done bool) {
		s := p.poll()
		ctx, cancel := context.WithTimeout(p.t.Context(), wait)
		defer cancel()
		if a := s.doContext(ctx, http.MethodGet, s.its(), nil); a.err == nil {
			p.t.Fatalf("poll: %v, want it to be cancelled", a)
		}
		ctx, cancel = context.WithTimeout(p.t.Context(), patience/6)
		defer cancel()
		a := s.doContext(ctx, http.MethodGet, s.its(), nil)
		if a.err != nil {
			return false // the session goes on
		}
		if a.status == http.StatusOK && a.body == p.payload("1") {
			a = s.get() // it was there before the news of the first one's end
		}
		p.wantStatus("poll after a cancelled one", a, http.StatusBadRequest)
		s.wantGone()
		return true
	})
}

// unseen is for what begins with a request that the server has to have seen
// before something else happens, of which nothing tells a client. It is done
// again with more time in between where there was too little of it.
func (p *peer) unseen(do func(wait time.Duration) (done bool)) {
	p.t.Helper()
	if !slices.ContainsFunc([]time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second}, do) {
		p.t.Error("the server does not see it")
	}
}

// timely is for what has to happen in a time that is short: a machine that is
// late, not the server, is so once, not always.
func (p *peer) timely(do func() (late bool)) {
	p.t.Helper()
	for range 5 {
		if !do() || p.t.Failed() {
			return
		}
	}
	p.t.Error("it is late each time")
}

func pollPing(p *peer) {
	p = p.at(beats())
	p.timely(func() (late bool) {
		begin := time.Now()
		s := p.poll()
		for range 3 {
			s.wantGet("2")
			late = p.offBeat(begin) || late
			begin = time.Now()
			s.wantPost("3")
		}
		return late
	})
}

// offBeat: a ping comes an interval after the last answer, which was not sent
// before begin. How late it is depends on the machine, too.
func (p *peer) offBeat(begin time.Time) (late bool) {
	p.t.Helper()
	d := time.Since(begin)
	if d < p.interval*9/10 {
		p.t.Errorf("the ping came after %v, want %v", d, p.interval)
	}
	return d > 3*p.interval
}

// onTime is when a session without a heartbeat must be over: timers that are
// looked at now and then make it somewhat more than their sum.
func (p *peer) onTime() time.Duration { return p.interval + p.timeout*11/10 }

// pollPingTimeout: the session ends on time, not a little later.
func pollPingTimeout(p *peer) {
	p = p.at(dies())
	p.timely(func() (late bool) {
		s := p.poll()
		<-time.After(p.onTime()) // real: this time is what is tested
		if a := s.get(); a.status != http.StatusBadRequest {
			return true
		}
		s.wantGone()
		return false
	})
}

func socketPing(p *peer) {
	p = p.at(beats())
	p.timely(func() (late bool) {
		begin := time.Now()
		s := p.open()
		for range 3 {
			want(p.t, s, "2")
			late = p.offBeat(begin) || late
			begin = time.Now()
			s.send("3")
		}
		return late
	})
}

func socketPingTimeout(p *peer) {
	p = p.at(dies())
	p.timely(func() (late bool) {
		begin := time.Now()
		s := p.open()
		if p.version != "3" {
			want(p.t, s, "2")
		}
		wantOver(p.t, s)
		d := time.Since(begin)
		if d < (p.interval+p.timeout)*3/4 {
			p.t.Errorf("the session was over after %v, want %v", d, p.interval+p.timeout)
		}
		return d > 3*(p.interval+p.timeout)
	})
}

func pollPing3(p *peer) {
	s := p.poll()
	for range 3 {
		s.wantPost("2")
		s.wantGet("1:3")
	}
}

func pollPingTimeout3(p *peer) {
	p = p.at(dies())
	p.timely(func() (late bool) {
		s := p.poll()
		<-time.After(p.onTime()) // real: this time is what is tested
		if a := s.post("1:2"); a.status != http.StatusBadRequest {
			return true
		}
		s.wantGone()
		return false
	})
}

func socketPing3(p *peer) {
	s := p.open()
	for range 3 {
		s.send("2")
		want(p.t, s, "3")
	}
	s.send("2probe") // what a ping carries does not come back
	if got := next(p.t, s); got != "3" && got != "3probe" {
		p.t.Errorf("got packet %q, want 3", got)
	}
}

func pollClose(p *peer) {
	p.unseen(func(wait time.Duration) (done bool) {
		s := p.poll()
		pending := make(chan answer, 1)
		go func() { pending <- s.get() }()
		<-time.After(wait) // real: nothing tells a client that its poll has come
		s.wantPost("1")
		a := <-pending
		if a.status == http.StatusBadRequest {
			return false // it came too late, and found no session
		}
		if a.err != nil || a.status != http.StatusOK || a.body != p.payload("6") {
			p.t.Errorf("poll: %v, want %q", a, p.payload("6"))
		}
		s.wantGone()
		return true
	})
}

// socketClose: official servers do not read this packet here, and wait for the
// heartbeat to fail.
func socketClose(p *peer) {
	s := p.open()
	s.send("1")
	for packet, ok := s.next(); ok; packet, ok = s.next() {
		if packet != "2" {
			p.t.Errorf("got packet %q, want the session to be over", packet)
		}
	}
}

func socketEcho(p *peer, packet string) {
	s := p.open()
	s.send(packet)
	want(p.t, s, packet)
}

func socketInvalid(p *peer) {
	s := p.open().beating()
	s.send("abc")
	wantOver(p.t, s)
}

func upgrades(p *peer) {
	s := p.poll()
	ws := p.mustDial(p.query("websocket", "sid="+s.sid))
	ws.send("2probe")
	want(p.t, ws, "3probe")
	s.wantGet(p.payload("6"))
	ws.send("5", "4hello")
	want(p.t, ws, "4hello")
}

func upgradedPoll(p *peer) {
	s := p.poll()
	ws := s.upgrade()
	ws.send("4first")
	want(p.t, ws, "4first") // the upgrade is done
	p.wantError("poll", s.get(), 3)
	p.wantError("post", s.post(p.payload("4hello")), 3)
	ws.send("4hello")
	want(p.t, ws, "4hello")
}

func upgradedSocket(p *peer) {
	s := p.poll()
	ws := s.upgrade()
	ws.send("4first")
	want(p.t, ws, "4first")
	p.wantRefused(p.query("websocket", "sid="+s.sid))
	ws.send("4hello")
	want(p.t, ws, "4hello")
}

// binaryPayload3: a session that takes binary gets text and binary in the
// binary form, and may send it.
func binaryPayload3(p *peer) {
	const want = "\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04"
	s := p.poll()
	s.wantPost("4hello", "b4AQIDBA==")
	for range 2 {
		a := s.get()
		if a.err != nil || a.status != http.StatusOK || a.body != want ||
			a.header.Get("Content-Type") != "application/octet-stream" {
			p.t.Fatalf("poll: %v of %q, want %q", a, a.header.Get("Content-Type"), want)
		}
		if a := s.post(want, "Content-Type", "application/octet-stream"); a.status != http.StatusOK || a.body != "ok" {
			p.t.Fatalf("post: %v", a)
		}
	}
}
