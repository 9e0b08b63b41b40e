package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Corners of Socket.IO that the official suite does not look into. Each runs on
// every transport.

// placeholder stands for a packet's n-th attachment.
func placeholder(n any) string { return fmt.Sprintf(`{"_placeholder":true,"num":%v}`, n) }

func TestSocketEdges5(t *testing.T) {
	perform(t, target(t), "/socket.io/", "4", 25, append(socketEdges(), []trial{
		{"a message without a packet", func(p *peer) { fatal(p, "4") }},
		{"a packet before there is a connection", tooEarly},
		{"connecting twice", func(p *peer) { fatal(p, "40") }},
		{"connecting twice, at once", func(p *peer) {
			onEach(p, "", func(p *peer, l link) {
				l.send("40", "40")
				// Official servers let both in, and say so: two ids, two events.
				for i := 0; ; i++ {
					if _, ok := l.next(); !ok {
						return
					} else if i == 3 {
						break
					}
				}
				l.send(`42["message"]`)
				next(p.t, l)
			})
		}},
		{"several namespaces in one body", func(p *peer) {
			s := p.poll()
			s.wantPost("40", "40/custom,", "40/random,")
			var got []string
			for len(got) < 5 {
				packet := next(p.t, s)
				if i := strings.Index(packet, `{"sid"`); i >= 0 {
					packet = packet[:i]
				}
				got = append(got, packet)
			}
			slices.Sort(got)
			if want := []string{"40", "40/custom,", `42/custom,["auth",{}]`, `42["auth",{}]`, `44/random,{"message":"Invalid namespace"}`}; !slices.Equal(got, want) {
				p.t.Errorf("got %q, want %q", got, want)
			}
		}},
		{"a namespace's name is taken as it is", func(p *peer) {
			for _, name := range []string{"/custom?x=1", "/Custom", "/custom/", "//custom", "/__proto__", "/" + strings.Repeat("n", 200)} {
				s := p.open().beating()
				s.send("40" + name + ",")
				want(p.t, s, "44"+name+`,{"message":"Invalid namespace"}`)
				join(p, s)
			}
		}},
		{"what somebody comes with is an object", func(p *peer) {
			for _, auth := range []string{`"text"`, `[]`, `null`, `{"a":1`, `{}x`} {
				onEach(p, auth, func(p *peer, l link) {
					l.send("40" + auth)
					wantOver(p.t, l)
				})
			}
		}},
		{"a session that is over because of a packet: HTTP long-polling", func(p *peer) {
			s := p.poll()
			s.wantPost("40")
			join2(s)
			s.post(`42{}`)
			if a := s.get(); a.body != "6\x1e1" && a.body != "1" && a.status != http.StatusBadRequest {
				p.t.Errorf("poll: %v, want the end", a)
			}
			s.wantGone()
		}},
		{"what was said before the end arrives: HTTP long-polling", func(p *peer) {
			s := p.poll()
			s.wantPost("40")
			join2(s)
			s.wantPost(`42["message","last words"]`)
			s.post(`42{}`)
			want(p.t, s, `42["message-back","last words"]`)
			wantOver(p.t, s)
		}},
	}...))
}

// tooEarly packets end the session.
func tooEarly(p *peer) {
	for _, packet := range []string{`42["message"]`, "41", `430[]`, `451-["message",` + placeholder(0) + `]`, "\x00\x01", `44{"message":"x"}`} {
		onEach(p, packet, func(p *peer, l link) {
			if strings.HasPrefix(packet, "45") {
				l.send(packet, "\x00\x01")
			} else {
				l.send(packet)
			}
			wantOver(p.t, l)
		})
	}
}

// join2 reads what follows a CONNECT that has been sent.
func join2(s *polling) {
	s.t.Helper()
	wantPrefix(s.t, s, `40{"sid":"`)
	want(s.t, s, `42["auth",{}]`)
}

func TestSocketEdges4(t *testing.T) {
	perform(t, targetEIO3(t), "/socket.io/", "3", 16, socketEdges())
}

func socketEdges() []trial {
	return []trial{
		{"malformed packets", malformed},
		{"names of events that are not to be had", func(p *peer) {
			for _, name := range []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"} {
				fatal(p, `42["`+name+`","x"]`)
			}
		}},
		{"an event named error is like any other", func(p *peer) {
			exchange(p, []string{`42["error",{"a":1}]`, `42["message"]`}, `42["message-back"]`)
		}},
		{"names that are numbers, or nothing", func(p *peer) {
			exchange(p, []string{`42[5,"x"]`, `42["","x"]`, `42["__proto__",1]`, `42["message"]`}, `42["message-back"]`)
		}},
		{"text between attachments", func(p *peer) {
			fatal(p, `452-["message",`+placeholder(0)+`,`+placeholder(1)+`]`, "\x00\x01", `42["message"]`)
		}},
		{"an attachment that belongs to nothing", func(p *peer) { fatal(p, "\x00\x01") }},
		{"an attachment too many", func(p *peer) {
			onEach(p, "", func(p *peer, l link) {
				join(p, l)
				l.send(`451-["message",`+placeholder(0)+`]`, "\x00\x01", "\x00\x02")
				mayEnd(p, l, `451-["message-back",`+placeholder(0)+`]`, "\x00\x01")
				wantOver(p.t, l)
			})
		}},
		{"packets that may be forgiven", func(p *peer) {
			lenient(p, []string{"421", `42["message"]`}, `42["message-back"]`)
			lenient(p, []string{"42", `42["message"]`}, `42["message-back"]`)
			lenient(p, []string{`42 1["x"]`, `42["message"]`}, `42["message-back"]`)
			// Parsers have changed their minds about none.
			lenient(p, []string{`450-["message","x"]`, `42["message","y"]`}, `42["message-back","x"]`, `42["message-back","y"]`)
		}},
		{"an attachment used twice, and one not at all", func(p *peer) {
			exchange(p, []string{`452-["message",` + placeholder(0) + `,` + placeholder(0) + `]`, "\x00\x01", "\x00\x02"},
				`452-["message-back",`+placeholder(0)+`,`+placeholder(1)+`]`, "\x00\x01", "\x00\x01")
		}},
		{"attachments inside of values", func(p *peer) {
			exchange(p, []string{`452-["message",{"a":[` + placeholder(1) + `],"b":{"c":` + placeholder(0) + `}}]`, "\x00\x01", "\x00\x02"},
				`452-["message-back",{"a":[`+placeholder(0)+`],"b":{"c":`+placeholder(1)+`}}]`, "\x00\x02", "\x00\x01")
		}},
		{"ten attachments", func(p *peer) {
			packets := []string{`4510-["message"`, `4510-["message-back"`}
			for i := range 10 {
				packets[0] += "," + placeholder(i)
				packets[1] += "," + placeholder(i)
			}
			var parts []string
			for i := range 10 {
				parts = append(parts, fmt.Sprintf("\x00part %d", i))
			}
			exchange(p, append([]string{packets[0] + "]"}, parts...), append([]string{packets[1] + "]"}, parts...)...)
		}},
		{"acknowledgement of nothing", func(p *peer) {
			exchange(p, []string{`437["x"]`, `43123[]`, `461-9[` + placeholder(0) + `]`, "\x00\x01", `42["message"]`}, `42["message-back"]`)
		}},
		{"an acknowledgement without arguments", func(p *peer) {
			exchange(p, []string{`420["message-with-ack"]`}, `430[]`)
		}},
		{"characters that JSON escapes and JavaScript does not", func(p *peer) {
			exchange(p, []string{`42["message","<a href='x'>&amp;</a> \u001e \" \\ é 😀"]`},
				`42["message-back","<a href='x'>&amp;</a> \u001e \" \\ é 😀"]`)
		}},
		{"a refusal from a client", func(p *peer) { fatal(p, `44{"message":"x"}`) }},
		{"a packet for a namespace not joined", func(p *peer) {
			for _, packet := range []string{`42/custom,["message"]`, `42/nowhere,["message"]`, "41/nowhere,", `43/custom,1[]`} {
				fatal(p, packet)
			}
		}},
	}
}

// malformed packets each end the session.
func malformed(p *peer) {
	for _, packets := range [][]string{
		{"47"}, {"49"}, {"4-"}, {"4 "}, {"4\x00"},
		{`42["some","data"`}, {`42["message"]]`}, {`42["message"] x`}, {"42{}"}, {"42null"}, {`42"message"`},
		{`42[{"toString":"foo"}]`}, {`42[true,"foo"]`}, {`42[null,"bar"]`}, {"42[]"}, {`42[[]]`},
		{`42abc["x"]`}, {`42-1["x"]`}, {`421.5["x"]`},
		{"41{}"}, {"41[]"}, {"43{}"}, {`431{"a":1}`}, {"431null"},
		{"45"}, {"451"}, {`45["message"]`}, {`45a-["message"]`}, {`451.23-["message"]`}, {`45-1-["message"]`}, {`45-["message"]`},
		{`4511-["message"]`}, {`45999999999999999999999-["message"]`}, {`461`}, {`461-{}`},
		{`451-["message",` + placeholder(1) + `]`, "\x00\x01"},
		{`451-["message",` + placeholder(-1) + `]`, "\x00\x01"},
		{`451-["message",` + placeholder(`"splice"`) + `]`, "\x00\x01"},
		{`451-["message",` + placeholder(`null`) + `]`, "\x00\x01"},
		{`451-["message",{"_placeholder":true}]`, "\x00\x01"},
		{`42["message","\ud83d`},
		{"42/custom"},
	} {
		fatal(p, packets...)
	}
}

// lenient is for packets that official servers forgive, and that may as well
// end the session: it is over, or is told these packets.
func lenient(p *peer, packets []string, back ...string) {
	p.t.Helper()
	onEach(p, fmt.Sprintf("%.60q", packets), func(p *peer, l link) {
		join(p, l)
		l.send(packets...)
		mayEnd(p, l, back...)
	})
}

// mayEnd wants packets, or the end before any of them.
func mayEnd(p *peer, l link, packets ...string) {
	p.t.Helper()
	for _, want := range packets {
		got, ok := l.next()
		if !ok {
			return
		}
		if got != want {
			p.t.Fatalf("got packet %.300q, want %.300q or the end", got, want)
		}
	}
}
