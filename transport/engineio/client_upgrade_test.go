package engineio

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
)

// newScriptTLS is a script behind TLS.
func newScriptTLS(t testing.TB) *script {
	s := newScript(t)
	s.Server.Close()
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	return s
}

// upgrade does the server's part of an upgrade.
func (s *script) upgrade(t testing.TB) *socket {
	t.Helper()
	peer := s.socket()
	peer.hears("text 2probe")
	peer.say("3probe")
	for {
		select { // a poll may come at any time until the client has paused
		case s.polls <- reply{body: "6"}:
			continue
		case <-s.asked:
			continue
		case f := <-peer.heard():
			if f != "text 5" {
				t.Fatalf("the server received %q", f)
			}
		case <-time.After(scriptTime):
			t.Fatal("no upgrade")
		}
		return peer
	}
}

// heard returns the next frame when it is there, and nothing again afterwards.
func (s *socket) heard() <-chan string {
	if s.next == nil {
		s.next = make(chan string, 1)
		go func() { s.next <- next(s.t, s.conn) }()
	}
	return s.next
}

func TestClientUpgrades(t *testing.T) {
	for _, v := range []int{3, 4} {
		s := newScript(t)
		s.handshake.body = openText("websocket")
		if v == 3 {
			s.handshake.body = lengthed(openText("websocket"))
		}
		c := s.dial(DialOptions{Version: v})
		take(t, s.asked, "poll")
		peer := s.socket()
		peer.hears("text 2probe")
		write(t, c, "text posted")
		take(t, s.posts, "POST")
		peer.say("3probe")
		c.waitPaused()
		body := "4polled\x1e4twice"
		if v == 3 {
			body = lengthed("4polled", "4twice")
		}
		s.answer(body)
		peer.hears("text 5")
		peer.say("4through the socket")
		receives(t, c, "text polled", "text twice", "text through the socket")
		if c.Transport() != "websocket" || c.NetConn() == nil {
			t.Fatal(c.Transport())
		}
		write(t, c, "text back", "binary \x01")
		binary := map[int]string{3: "binary \x04\x01", 4: "binary \x01"}[v]
		peer.hears("text 4back", binary)
		c.Detach()()
		write(t, c, "close ")
		if got := next(t, peer.conn); !strings.Contains(got, "1005") {
			t.Fatal(got)
		}
		if len(s.posts) != 0 || len(s.asked) != 0 {
			t.Fatal("requests after the upgrade")
		}
	}
}

// What is written while the client pauses goes through the WebSocket, behind
// the upgrade packet.
func TestClientUpgradeFlushes(t *testing.T) {
	s := newScript(t)
	s.handshake.body = openText("websocket")
	s.answers = make(chan reply)
	c := s.dial(DialOptions{})
	take(t, s.asked, "poll")
	write(t, c, "text posted")
	take(t, s.posts, "POST") // which is not answered yet
	peer := s.socket()
	peer.hears("text 2probe")
	peer.say("3probe")
	c.waitPaused()
	s.answer("6")
	c.waitHalted()
	write(t, c, "text a", "text b")
	s.answers <- reply{body: "ok"}
	peer.hears("text 5", "text 4a", "text 4b")
	write(t, c, "text c")
	peer.hears("text 4c")
}

// A server may take its time to answer the last poll: what is written meanwhile is
// posted, and what is polled with the answer comes before all that the WebSocket brings.
func TestClientPostsUntilPolled(t *testing.T) {
	s := newScript(t)
	s.handshake.body = openText("websocket")
	c := s.dial(DialOptions{})
	take(t, s.asked, "poll")
	peer := s.socket()
	peer.hears("text 2probe")
	peer.say("3probe")
	c.waitPaused()
	for _, text := range []string{"a", "b"} {
		write(t, c, "text "+text)
		if got := take(t, s.posts, "POST"); !strings.HasSuffix(got, " 4"+text) {
			t.Fatalf("%q", got)
		}
	}
	s.answer("4polled")
	peer.hears("text 5")
	write(t, c, "text c")
	peer.hears("text 4c")
	receives(t, c, "text polled")
}

func (c *ClientConn) waitPaused() { c.waitFor(func() bool { return c.paused }) }
func (c *ClientConn) waitHalted() { c.waitFor(c.halted) }

func (c *ClientConn) waitFor(reached func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !reached() {
		c.changed.Wait()
	}
}

// A WebSocket that does not work leaves the session as it was.
func TestClientUpgradeFails(t *testing.T) {
	rows := map[string]struct {
		refuse *reply
		peer   func(s *socket)
		gives  time.Duration // how long the client tries when nothing ends it
	}{
		"refused":        {&reply{status: 400, body: "Bad request"}, nil, 0},
		"closed":         {nil, func(s *socket) { s.conn.Close() }, 0},
		"wrong answer":   {nil, func(s *socket) { s.hears("text 2probe"); s.say("3prob") }, 0},
		"another packet": {nil, func(s *socket) { s.hears("text 2probe"); s.say("6") }, 0},
		"malformed":      {nil, func(s *socket) { s.hears("text 2probe"); s.say("x") }, 0},
		"binary":         {nil, func(s *socket) { s.hears("text 2probe"); s.write(transport.Binary, "3probe") }, 0},
		"no answer":      {nil, func(s *socket) { s.hears("text 2probe") }, 2 * time.Second},
		"no noop":        {nil, func(s *socket) { s.hears("text 2probe"); s.say("3probe") }, 2 * time.Second},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			s.handshake.body = openText("websocket")
			s.refuse = row.refuse
			c := s.dial(DialOptions{UpgradeTimeout: row.gives})
			if row.peer != nil {
				peer := s.socket()
				row.peer(peer)
				if got := next(t, peer.conn); !strings.HasPrefix(got, "error") {
					t.Fatalf("%q", got)
				}
			}
			for i := range 5 {
				text := fmt.Sprint(i)
				write(t, c, "text "+text)
				if got := take(t, s.posts, "POST"); !strings.HasSuffix(got, " 4"+text) {
					t.Fatalf("%q", got)
				}
				s.answer("4" + text)
				receives(t, c, "text "+text)
			}
			if c.Transport() != "polling" {
				t.Fatal(c.Transport())
			}
		})
	}
}

func TestClientDoesNotUpgrade(t *testing.T) {
	rows := map[string]struct {
		upgrades []string
		o        DialOptions
	}{
		"not offered":  {nil, DialOptions{}},
		"others":       {[]string{"webtransport"}, DialOptions{}},
		"not wanted":   {[]string{"websocket"}, DialOptions{NoUpgrade: true}},
		"of NoPolling": {[]string{"websocket"}, DialOptions{NoPolling: true}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			s.handshake.body = openText(row.upgrades...)
			if row.o.NoPolling {
				go func() { s.socket().say(s.handshake.body) }()
			}
			c := s.dial(row.o)
			if !row.o.NoPolling {
				s.answer("4a")
				receives(t, c, "text a")
			}
			c.Close()
			s.mu.Lock()
			defer s.mu.Unlock()
			for i, r := range s.requests {
				if r.URL.Query().Get("transport") == "websocket" && (i > 0 || !row.o.NoPolling) {
					t.Fatal(r.URL)
				}
			}
		})
	}
}

// The session ends while the upgrade is on its way.
func TestClientEndsWhileUpgrading(t *testing.T) {
	s := newScript(t)
	s.handshake.body = openText("websocket")
	c := s.dial(DialOptions{})
	peer := s.socket()
	peer.hears("text 2probe")
	s.answer("4a\x1e1")
	receives(t, c, "text a")
	checkEnd(t, c, transport.CloseError{Code: 1005, Reason: reasonClose}, true, "")
	if got := next(t, peer.conn); !strings.HasPrefix(got, "error") {
		t.Fatalf("%q", got)
	}
}
