package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// What the official suite of Socket.IO 5 tests, title by title, and the same
// for Socket.IO 4, which has none.

func TestSocket5(t *testing.T) {
	t.Parallel() // it waits
	perform(t, target(t), "/socket.io/", "4", 32, []trial{
		{"Engine.IO: handshake: HTTP long-polling: should successfully open a session", pollOpens},
		{"Engine.IO: handshake: HTTP long-polling: should fail with an invalid EIO query parameter", pollWrongEIO},
		{"Engine.IO: handshake: HTTP long-polling: should fail with an invalid transport query parameter", pollWrongTransport},
		{"Engine.IO: handshake: HTTP long-polling: should fail with an invalid request method", pollWrongMethod},
		{"Engine.IO: handshake: WebSocket: should successfully open a session", func(p *peer) { p.open() }},
		{"Engine.IO: handshake: WebSocket: should fail with an invalid EIO query parameter", socketWrongEIO},
		{"Engine.IO: handshake: WebSocket: should fail with an invalid transport query parameter", socketWrongTransport},
		{"Engine.IO: heartbeat: HTTP long-polling: should send ping/pong packets", pollPing},
		{"Engine.IO: heartbeat: HTTP long-polling: should close the session upon ping timeout", pollPingTimeout},
		{"Engine.IO: heartbeat: WebSocket: should send ping/pong packets", socketPing},
		{"Engine.IO: heartbeat: WebSocket: should close the session upon ping timeout", socketPingTimeout},
		{"Engine.IO: close: HTTP long-polling: should forcefully close the session", pollClose},
		{"Engine.IO: close: WebSocket: should forcefully close the session", socketClose},
		{"Engine.IO: upgrade: should successfully upgrade from HTTP long-polling to WebSocket", socketIOUpgrade},
		{"Engine.IO: upgrade: should ignore HTTP requests with same sid after upgrade", socketIOUpgradedPoll},
		{"Engine.IO: upgrade: should ignore WebSocket connection with same sid after upgrade", socketIOUpgradedSocket},

		{"connect: should allow connection to the main namespace", func(p *peer) { connects(p, "40", "40", "42", "{}") }},
		{"connect: should allow connection to the main namespace with a payload", func(p *peer) { connects(p, `40{"token":"123"}`, "40", "42", `{"token":"123"}`) }},
		{"connect: should allow connection to a custom namespace", func(p *peer) {
			connects(p, "40/custom,", "40/custom,", "42/custom,", "{}")
			connects(p, "40/custom", "40/custom,", "42/custom,", "{}")
		}},
		{"connect: should allow connection to a custom namespace with a payload", func(p *peer) {
			connects(p, `40/custom,{"token":"abc"}`, "40/custom,", "42/custom,", `{"token":"abc"}`)
		}},
		{"connect: should disallow connection to an unknown namespace", func(p *peer) {
			s := p.open().beating()
			s.send("40/random")
			want(p.t, s, `44/random,{"message":"Invalid namespace"}`)
			s.send("40/random,")
			want(p.t, s, `44/random,{"message":"Invalid namespace"}`)
		}},
		{"connect: should disallow connection with an invalid handshake", func(p *peer) {
			s := p.open().beating()
			s.send("4abc")
			wantOver(p.t, s)
		}},
		{"connect: should close the connection if no handshake is received", noConnect},

		{"disconnect: should disconnect from the main namespace", disconnects},
		{"disconnect: should connect then disconnect from a custom namespace", disconnectsCustom},

		{"message: should send a plain-text packet", func(p *peer) {
			exchange(p, []string{`42["message",1,"2",{"3":[true]}]`}, `42["message-back",1,"2",{"3":[true]}]`)
		}},
		{"message: should send a packet with binary attachments", func(p *peer) {
			exchange(p, []string{`452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, "\x00\x01\x02\x03", "\x00\x04\x05\x06"},
				`452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, "\x00\x01\x02\x03", "\x00\x04\x05\x06")
		}},
		{"message: should send a plain-text packet with an ack", func(p *peer) {
			exchange(p, []string{`42456["message-with-ack",1,"2",{"3":[false]}]`}, `43456[1,"2",{"3":[false]}]`)
		}},
		{"message: should send a packet with binary attachments and an ack", func(p *peer) {
			exchange(p, []string{`452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, "\x00\x01\x02\x03", "\x00\x04\x05\x06"},
				`462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, "\x00\x01\x02\x03", "\x00\x04\x05\x06")
		}},
		{"message: should close the connection upon invalid format (unknown packet type)", func(p *peer) { fatal(p, "4abc") }},
		{"message: should close the connection upon invalid format (invalid payload format)", func(p *peer) { fatal(p, "42{}") }},
		{"message: should close the connection upon invalid format (invalid ack id)", func(p *peer) { fatal(p, `42abc["message-with-ack",1,"2",{"3":[false]}]`) }},
	})
}

// join connects to the main namespace, on any version.
func join(p *peer, l link) {
	p.t.Helper()
	if p.version != "3" {
		l.send("40")
	}
	wantPrefix(p.t, l, "40")
	want(p.t, l, `42["auth",{}]`)
}

// connects wants a CONNECT to be answered by a fresh id and nothing else, and
// then the event that says what it came with.
func connects(p *peer, connect, reply, event, auth string) {
	p.t.Helper()
	onEach(p, connect, func(p *peer, l link) {
		l.send(connect)
		got := wantPrefix(p.t, l, reply+"{")
		var body map[string]string
		if err := json.Unmarshal([]byte(got[len(reply):]), &body); err != nil || len(body) != 1 || body["sid"] == "" {
			p.t.Errorf("%q was answered by %q, want a sid and nothing else", connect, got)
		}
		want(p.t, l, event+`["auth",`+auth+"]")
	})
}

// exchange sends packets on each transport and wants others back.
func exchange(p *peer, packets []string, back ...string) {
	p.t.Helper()
	onEach(p, fmt.Sprintf("%.60q", packets), func(p *peer, l link) {
		join(p, l)
		l.send(packets...)
		want(p.t, l, back...)
	})
}

// fatal sends packets that end the session, on each transport.
func fatal(p *peer, packets ...string) {
	p.t.Helper()
	onEach(p, fmt.Sprintf("%.60q", packets), func(p *peer, l link) {
		join(p, l)
		l.send(packets...)
		wantOver(p.t, l)
	})
}

// onEach runs a test with a session on each transport.
func onEach(p *peer, what string, run func(p *peer, l link)) {
	for _, c := range carriers() {
		p.t.Run(c.name+" "+what, func(t *testing.T) {
			p := p.within(t)
			run(p, c.open(p))
		})
	}
}

func noConnect(p *peer) {
	p = p.at(beats())
	p.timely(func() (late bool) {
		begin := time.Now()
		wantOver(p.t, p.open().beating())
		d := time.Since(begin)
		if d < p.times.connect/2 {
			p.t.Errorf("the session was over after %v, want %v", d, p.times.connect)
		}
		return d > 3*p.times.connect
	})
}

// disconnects: the session stays, also for longer than it may take to connect.
func disconnects(p *peer) {
	p = p.at(beats())
	s := p.open()
	join(p, s)
	s.send("41")
	for range p.times.connect/p.interval + 1 {
		want(p.t, s, "2")
		s.send("3")
	}
	join(p, s)
}

func disconnectsCustom(p *peer) {
	for _, leave := range []string{"41/custom", "41/custom,"} {
		onEach(p, leave, func(p *peer, l link) {
			join(p, l)
			l.send("40/custom,")
			wantPrefix(p.t, l, `40/custom,{"sid":"`)
			want(p.t, l, `42/custom,["auth",{}]`)
			l.send(leave)
			l.send(`42["message","message to main namespace"]`)
			want(p.t, l, `42["message-back","message to main namespace"]`)
		})
	}
}

func socketIOUpgrade(p *peer) {
	s := p.poll()
	ws := p.mustDial(p.query("websocket", "sid="+s.sid))
	ws.send("2probe")
	want(p.t, ws, "3probe")
	s.wantGet("6")
	ws.send("5")
	ws.beating()
	join(p, ws)
}

func socketIOUpgradedPoll(p *peer) {
	s := p.poll()
	ws := s.upgrade().beating()
	join(p, ws)
	p.wantError("poll", s.get(), 3)
	ws.send(`42["message"]`)
	want(p.t, ws, `42["message-back"]`)
}

func socketIOUpgradedSocket(p *peer) {
	s := p.poll()
	ws := s.upgrade().beating()
	join(p, ws)
	p.wantRefused(p.query("websocket", "sid="+s.sid))
	ws.send(`42["message"]`)
	want(p.t, ws, `42["message-back"]`)
}

// Socket.IO 4: the main namespace is joined by opening the link, and the
// namespace's name has the query.
func TestSocket4(t *testing.T) {
	perform(t, targetEIO3(t), "/socket.io/", "3", 13, []trial{
		{"connect: the main namespace by itself", func(p *peer) {
			onEach(p, "", func(p *peer, l link) { want(p.t, l, "40", `42["auth",{}]`) })
		}},
		{"connect: HTTP long-polling: the open packet comes alone", func(p *peer) {
			s := p.poll()
			packets := p.packets(s.get().body)
			if len(packets) < 2 {
				packets = append(packets, p.packets(s.get().body)...)
			}
			if !slices.Equal(packets, []string{"40", `42["auth",{}]`}) {
				p.t.Errorf("got %q", packets)
			}
		}},
		{"connect: a custom namespace", func(p *peer) { connects4(p, "40/custom", `{}`) }},
		{"connect: a custom namespace, with a comma", func(p *peer) { connects4(p, "40/custom,", `{}`) }},
		{"connect: a custom namespace with a query", func(p *peer) {
			connects4(p, "40/custom?token=1234&uid=a%20b,", `{"token":"1234","uid":"a b"}`)
		}},
		{"connect: an unknown namespace", func(p *peer) {
			s := p.open().beating()
			join(p, s)
			s.send("40/random")
			if got := next(p.t, s); got != `44/random,"Invalid namespace"` && got != `44/random,{"message":"Invalid namespace"}` {
				p.t.Errorf("got packet %q", got)
			}
		}},
		{"disconnect: the main namespace", func(p *peer) {
			s := p.open()
			join(p, s)
			s.send("41", "2")
			want(p.t, s, "3")
		}},
		{"disconnect: a custom namespace", func(p *peer) {
			s := p.open().beating()
			join(p, s)
			s.send("40/custom")
			want(p.t, s, "40/custom,", `42/custom,["auth",{}]`)
			s.send("41/custom", `42["message",1]`)
			want(p.t, s, `42["message-back",1]`)
		}},
		{"message: text", func(p *peer) {
			exchange(p, []string{`42["message",1,"2€😀",{"3":[true]}]`}, `42["message-back",1,"2€😀",{"3":[true]}]`)
		}},
		{"message: binary", func(p *peer) {
			exchange(p, []string{`451-["message",{"_placeholder":true,"num":0}]`, "\x00\x01\x02\x03"},
				`451-["message-back",{"_placeholder":true,"num":0}]`, "\x00\x01\x02\x03")
		}},
		{"message: with an ack", func(p *peer) {
			exchange(p, []string{`420["message-with-ack",1]`}, `430[1]`)
		}},
		{"message: binary with an ack", func(p *peer) {
			exchange(p, []string{`451-12["message-with-ack",{"_placeholder":true,"num":0}]`, "\x00\x01\x02\x03"},
				`461-12[{"_placeholder":true,"num":0}]`, "\x00\x01\x02\x03")
		}},
		{"message: invalid", func(p *peer) { fatal(p, "4abc") }},
	})
}

func connects4(p *peer, connect, auth string) {
	p.t.Helper()
	onEach(p, connect, func(p *peer, l link) {
		join(p, l)
		l.send(connect)
		want(p.t, l, "40/custom,", `42/custom,["auth",`+auth+"]")
	})
}

// TestIDs: the engine's id is a secret of the link; a connection has another
// one, in each namespace. In version 4 clients make the id of a
// namespace themselves, of the engine's.
func TestIDs(t *testing.T) {
	p := newPeer(t, target(t), "/socket.io/", "4")
	s := p.poll()
	s.wantPost("40", "40/custom,")
	seen := map[string]bool{s.sid: true}
	for len(seen) < 3 {
		a := s.get()
		p.wantStatus("poll", a, http.StatusOK)
		for _, packet := range p.packets(a.body) {
			if _, body, ok := strings.Cut(packet, `{"sid":"`); ok {
				id, _, _ := strings.Cut(body, `"`)
				if seen[id] || len(id) < 16 {
					t.Fatalf("id %q after %v", id, seen)
				}
				seen[id] = true
			}
		}
	}
}
