package engineio

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire/transport"
)

func TestClientPolls(t *testing.T) {
	s := newScript(t)
	s.cookie = "lb=7; Path=/; HttpOnly"
	c := s.dial(DialOptions{
		Header: http.Header{"Host": {"example.org"}, "X-Token": {"1"}, "content-type": {"no"}, "Cookie": {"own=1"}},
		Query:  url.Values{"a": {"b c"}, "EIO": {"9"}, "sid": {"no"}},
	})
	if c.ID() != "abc+/=" || c.Version() != 4 || c.Transport() != "polling" || c.NetConn() != nil {
		t.Fatal(c.ID(), c.Version(), c.Transport(), c.NetConn())
	}
	if want := (transport.Heartbeat{Expected: true, Interval: 300 * time.Millisecond, Timeout: 200 * time.Millisecond}); c.Heartbeat() != want {
		t.Fatal(c.Heartbeat())
	}
	if c.Framer().Format() != "engineio/4" {
		t.Fatal(c.Framer().Format())
	}
	s.answer("4hello\x1e2\x1e6\x1ebAQID\x1e3\x1e5\x1e4")
	receives(t, c, "text hello", "ping ", "binary \x01\x02\x03", "text ")
	c.Detach()()
	s.answer("4again")
	receives(t, c, "text again")

	write(t, c, "pong ", "text a€", "binary \x01\x02\x03\x04")
	if got := take(t, s.posts, "POST"); got != "text/plain;charset=UTF-8 3\x1e4a€\x1ebAQIDBA==" {
		t.Fatalf("%q", got)
	}
	s.checkRequests(t)
}

// checkRequests checks what every request of TestClientPolls must have.
func (s *script) checkRequests(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	for i, r := range s.requests {
		q := r.URL.Query()
		sid, cookie := "abc+/=", "own=1; lb=7"
		if i == 0 {
			sid, cookie = "", "own=1"
		}
		if r.URL.Path != "/socket.io/" || q.Get("EIO") != "4" || q.Get("transport") != "polling" || q.Get("a") != "b c" ||
			q.Get("sid") != sid || len(q["sid"]) > 1 || q.Get("b64") != "" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		if seen[q.Get("t")] || q.Get("t") == "" {
			t.Errorf("%s %s: not new", r.Method, r.URL)
		}
		seen[q.Get("t")] = true
		if r.Host != "example.org" || r.Header.Get("X-Token") != "1" || r.Header.Get("Cookie") != cookie {
			t.Errorf("%s: host %s, header %v", r.Method, r.Host, r.Header)
		}
		if r.Method == http.MethodGet && (r.ContentLength != 0 || r.TransferEncoding != nil || r.Header.Get("Content-Type") != "") {
			t.Errorf("a GET with a body: %d %v %v", r.ContentLength, r.TransferEncoding, r.Header)
		}
	}
}

func TestClientPollsVersion3(t *testing.T) {
	s := newScript(t)
	open := openText()
	s.handshake.body = lengthed(open, "40") // old servers say more at once
	c := s.dial(DialOptions{Version: 3})
	if want := (transport.Heartbeat{Interval: 300 * time.Millisecond, Timeout: 200 * time.Millisecond}); c.Heartbeat() != want || c.Version() != 3 {
		t.Fatal(c.Heartbeat(), c.Version())
	}
	receives(t, c, "text 0")
	s.answer("1:33:4😀1:21:6")
	receives(t, c, "pong ", "text 😀")
	s.reply(reply{contentType: "application/octet-stream", body: "\x00\x02\xff4a\x01\x03\xff\x04\x01\x02"})
	receives(t, c, "text a", "binary \x01\x02")

	write(t, c, "ping ", "text €")
	if got := take(t, s.posts, "POST"); got != "text/plain;charset=UTF-8 1:22:4€" {
		t.Fatalf("%q", got)
	}
	write(t, c, "text a", "binary \x01\x02")
	if got := take(t, s.posts, "POST"); got != "application/octet-stream \x00\x02\xff4a\x01\x03\xff\x04\x01\x02" {
		t.Fatalf("%q", got)
	}
}

// lengthed is a payload of version 3.
func lengthed(packets ...string) string {
	var b []byte
	for _, p := range packets {
		b = appendLengthed(b, transport.Text, []byte(p))
	}
	return string(b)
}

// Facts 1.6: as many packets in a POST as maxPayload allows, but one at least.
func TestClientBatches(t *testing.T) {
	s := newScript(t)
	s.handshake.body = strings.Replace(openText(), "1000}", "10}", 1)
	c := s.dial(DialOptions{})
	write(t, c, "text aaa", "text bbbb", "text c", "binary abc", "text dddd", "text far too long for one", "text e")
	for _, want := range []string{"4aaa\x1e4bbbb", "4c\x1ebYWJj", "4dddd", "4far too long for one", "4e"} {
		if _, got, _ := strings.Cut(take(t, s.posts, "POST"), " "); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}

func TestClientBatchesToTheByte(t *testing.T) {
	frames := func(f framer, all ...string) []byte {
		w := transport.NewWriter(f, nil)
		for _, s := range all {
			if err := w.Frame(transport.Binary, []byte(s)); err != nil {
				t.Fatal(err)
			}
		}
		return w.Bytes()
	}
	for _, v := range []version{v3, v4} {
		for most := range 200 {
			c := &ClientConn{v: v, most: most}
			neutral := frames(framer{v}, "a", "bcd", "", "efghijklm", "n", "o", strings.Repeat("p", 50), "q")
			for n := 0; len(neutral) > 0; n++ {
				batch, _, err := c.batch(neutral)
				if err != nil || len(batch) == 0 {
					t.Fatal(len(batch), err)
				}
				_, _, rest, err := cutFrame(batch)
				if err != nil {
					t.Fatal(err)
				}
				body, _, err := encodePayload(nil, v, false, batch)
				if err != nil || len(body) > most && len(rest) > 0 {
					t.Fatalf("%d: a body of %d bytes for %d, %v", v, len(body), most, err)
				}
				neutral = neutral[len(batch):]
			}
		}
	}
}

func TestClientSocketFirst(t *testing.T) {
	rows := []struct {
		version             int
		hello, ping, binary string
		beat                transport.Heartbeat
		sends               []string
		hears               []string
	}{
		{4, "2", "ping ", "\x01\x02", transport.Heartbeat{Expected: true, Interval: 300 * time.Millisecond, Timeout: 200 * time.Millisecond},
			[]string{"pong ", "text a", "binary \x01"}, []string{"text 3", "text 4a", "binary \x01"}},
		{3, "3", "pong ", "\x04\x01\x02", transport.Heartbeat{Interval: 300 * time.Millisecond, Timeout: 200 * time.Millisecond},
			[]string{"ping ", "text a", "binary \x01"}, []string{"text 2", "text 4a", "binary \x04\x01"}},
	}
	for _, row := range rows {
		s := newScript(t)
		go func() { s.socket().serve(t, row.hello, row.binary, row.hears) }()
		c := s.dial(DialOptions{NoPolling: true, Version: row.version, Header: http.Header{"Host": {"example.org"}}})
		if c.Transport() != "websocket" || c.NetConn() == nil || c.ID() != "abc+/=" || c.Heartbeat() != row.beat {
			t.Fatal(c.Transport(), c.NetConn(), c.ID(), c.Heartbeat())
		}
		receives(t, c, row.ping, "text hello", "binary \x01\x02")
		write(t, c, row.sends...)
		receives(t, c, "text b64", "binary \x01\x02\x03\x04")
		if r := s.first(); r.Host != "example.org" || r.URL.Query().Get("sid") != "" {
			t.Fatal(r.Host, r.URL)
		}
		c.Close()
	}
}

// serve is the server of TestClientSocketFirst.
func (s *socket) serve(t *testing.T, hello, binary string, hears []string) {
	s.write(transport.Ping, "of the WebSocket")
	s.say(openText())
	s.write(transport.Ping, "another")
	s.write(transport.Pong, "nobody asked")
	s.say(hello, "6", "5", "4hello")
	s.write(transport.Binary, binary)
	for _, want := range append([]string{"pong another"}, hears...) {
		if got := next(t, s.conn); got != want {
			t.Errorf("the server received %q, want %q", got, want)
		}
	}
	s.say("4b64")
	if hello == "2" {
		s.say("bAQIDBA==")
	} else {
		s.say("b4AQIDBA==")
	}
}

// How a session ends by what the server does.
func TestClientEnds(t *testing.T) {
	const longest = 100
	long := strings.Repeat("x", longest)
	polling := []struct {
		name  string
		reply reply
		want  transport.CloseError
		lost  bool // io.EOF too
		text  string
	}{
		{"close packet", reply{body: "1"}, transport.CloseError{Code: 1005, Reason: reasonClose}, true, ""},
		{"unknown session", reply{status: 400, body: `{"code":1,"message":"Session ID unknown"}`},
			transport.CloseError{Code: 1005, Reason: reasonError}, true, "code 1: Session ID unknown"},
		{"empty refusal", reply{status: 400}, transport.CloseError{Code: 1005, Reason: reasonError}, true, "400: Bad Request"},
		{"redirect", reply{status: 302}, transport.CloseError{Code: 1005, Reason: reasonError}, true, "302"},
		{"cut", reply{cut: true}, transport.CloseError{Code: 1005, Reason: reasonError}, true, "EOF"},
		{"malformed", reply{body: "7"}, transport.CloseError{Code: 1002, Reason: reasonParse, Local: true}, false, ""},
		{"empty", reply{}, transport.CloseError{Code: 1002, Reason: reasonParse, Local: true}, false, ""},
		{"binary in version 4", reply{contentType: "application/octet-stream", body: "4a"},
			transport.CloseError{Code: 1002, Reason: reasonParse, Local: true}, false, ""},
		{"not text", reply{body: "4\xff"}, transport.CloseError{Code: 1007, Reason: reasonParse, Local: true}, false, ""},
		{"message too big", reply{body: "4" + long + "x"}, transport.CloseError{Code: 1009, Reason: reasonError, Local: true}, false, ""},
		{"answer too long", reply{body: strings.Repeat("4"+long+"\x1e", 20)},
			transport.CloseError{Code: 1009, Reason: reasonError, Local: true}, false, ""},
	}
	for _, row := range polling {
		t.Run(row.name, func(t *testing.T) {
			s := newScript(t)
			c := s.dial(DialOptions{MaxMessageBytes: longest})
			s.answer("4" + long)
			receives(t, c, "text "+long)
			if !strings.HasPrefix(row.reply.body, "4") && row.reply.status == 0 && row.reply.body != "" {
				row.reply.body = "4before\x1e" + row.reply.body
				s.reply(row.reply)
				if row.reply.contentType == "" {
					receives(t, c, "text before")
				}
			} else {
				s.reply(row.reply)
			}
			checkEnd(t, c, row.want, row.lost, row.text)
			err := tryWrite(c, "close \x03\xf1")
			if local := row.want.Local; local != (err == nil) {
				t.Fatalf("Write: %v", err)
			} else if local {
				if got := take(t, s.posts, "POST"); !strings.HasSuffix(got, " 1") {
					t.Fatalf("%q", got)
				}
			}
		})
	}
}

// checkEnd wants the end of a session, more than once.
func checkEnd(t *testing.T, c *ClientConn, want transport.CloseError, lost bool, text string) {
	t.Helper()
	for range 2 {
		var err error
		for err == nil {
			var ok bool
			if _, ok, err = c.Next(); ok {
				t.Fatal("a frame")
			}
			if err == nil {
				err = c.Wait()
			}
		}
		var got *transport.CloseError
		if !errors.As(err, &got) || *got != want || errors.Is(err, io.EOF) != lost || !strings.Contains(err.Error(), text) {
			t.Fatalf("%v (%+v), want %+v", err, got, want)
		}
	}
}

func TestClientSocketEnds(t *testing.T) {
	const longest = 100
	rows := []struct {
		name  string
		typ   transport.FrameType
		frame string
		want  transport.CloseError
		lost  bool
	}{
		{"close packet", transport.Text, "1", transport.CloseError{Code: 1005, Reason: reasonClose}, true},
		{"close frame", transport.Close, "", transport.CloseError{Code: 1005, Reason: reasonClose}, false},
		{"close frame 1000", transport.Close, "\x03\xe8bye", transport.CloseError{Code: 1005, Reason: reasonClose}, false},
		{"close frame 1009", transport.Close, "\x03\xf1", transport.CloseError{Code: 1009, Reason: reasonClose}, false},
		{"close frame of the application", transport.Close, "\x0f\xa0because", transport.CloseError{Code: 4000, Reason: "because"}, false},
		{"malformed", transport.Text, "7", transport.CloseError{Code: 1002, Reason: reasonParse, Local: true}, false},
		{"empty", transport.Text, "", transport.CloseError{Code: 1002, Reason: reasonParse, Local: true}, false},
		{"not text", transport.Text, "4\xff", transport.CloseError{Code: 1007, Reason: reasonError, Local: true}, false},
		{"binary too big", transport.Binary, strings.Repeat("x", longest+1), transport.CloseError{Code: 1009, Reason: reasonError, Local: true}, false},
		{"text too big", transport.Text, strings.Repeat("4", longest+2), transport.CloseError{Code: 1009, Reason: reasonError, Local: true}, false},
		{"lost", 0, "", transport.CloseError{Code: 1005, Reason: reasonClose}, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newScript(t)
			done := make(chan *socket, 1)
			go func() {
				peer := s.socket()
				peer.say(openText())
				done <- peer
			}()
			c := s.dial(DialOptions{NoPolling: true, MaxMessageBytes: longest})
			peer := <-done
			if row.typ == 0 {
				peer.conn.Close()
			} else {
				peer.write(row.typ, row.frame)
			}
			checkEnd(t, c, row.want, row.lost, "")
			if row.want.Local {
				write(t, c, "close \x03\xf1")
				if got := next(t, peer.conn); !strings.Contains(got, "1009") {
					t.Fatal(got)
				}
			}
		})
	}
}

// A POST that is refused ends the session.
func TestClientPostRefused(t *testing.T) {
	for _, a := range []reply{{status: 413}, {status: 400, body: `{"code":1,"message":"Session ID unknown"}`}, {cut: true}} {
		s := newScript(t)
		s.answers = make(chan reply, 1)
		s.answers <- a
		c := s.dial(DialOptions{})
		write(t, c, "text a")
		text := "413"
		if a.status != 413 {
			text = ""
		}
		checkEnd(t, c, transport.CloseError{Code: 1005, Reason: reasonError}, true, text)
		if tryWrite(c, "text b") == nil {
			t.Fatal("Write succeeded")
		}
	}
}

// While polling, what is written leaves at once when nothing is being posted.
func TestClientReady(t *testing.T) {
	s := newScript(t)
	s.answers = make(chan reply)
	c := s.dial(DialOptions{})
	if !c.Ready() {
		t.Fatal("not ready")
	}
	write(t, c, "text a")
	if c.Ready() {
		t.Fatal("ready while a POST is not answered")
	}
	take(t, s.posts, "POST")
	s.answers <- reply{body: "ok"}
	write(t, c, "text b") // what is posted after the first one
	take(t, s.posts, "POST")
	if c.Ready() {
		t.Fatal("ready while a POST is not answered")
	}
}

// Writing to a WebSocket takes no memory.
func TestClientWriteAllocatesNothing(t *testing.T) {
	s := newScript(t)
	go func() { s.socket().say(openText()) }()
	c := s.dial(DialOptions{NoPolling: true})
	masked := c.socket.Framer()
	w := transport.NewWriter(framer{v4}, nil)
	for _, size := range []int{10, 1000} {
		if err := w.Frame(transport.Text, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	neutral := w.Bytes()
	if n := testing.AllocsPerRun(100, func() {
		c.out, _ = reframe(c.out[:0], masked, neutral)
	}); n != 0 || len(c.out) != len(neutral)+8 {
		t.Fatalf("%v allocations, %d bytes of %d", n, len(c.out), len(neutral))
	}
}

// A close frame has left when Write returns, and the session is over.
func TestClientWritesClose(t *testing.T) {
	s := newScript(t)
	s.answers = make(chan reply)
	c := s.dial(DialOptions{})
	done := make(chan error, 1)
	go func() { done <- tryWrite(c, "text a", "close \x03\xe8bye", "text never") }()
	if got := take(t, s.posts, "POST"); !strings.HasSuffix(got, " 4a\x1e1") {
		t.Fatalf("%q", got)
	}
	select {
	case err := <-done:
		t.Fatal(err)
	default:
	}
	s.answers <- reply{body: "ok"}
	if err := take(t, done, "end of Write"); err != nil {
		t.Fatal(err)
	}
	checkEnd(t, c, transport.CloseError{Code: 1005, Reason: reasonClose}, true, "")
}

// Write blocks while 64 KiB wait; what is behind that is posted in order.
func TestClientBackPressure(t *testing.T) {
	s := newScript(t)
	s.handshake.body = strings.Replace(openText(), "1000}", "100000}", 1)
	s.answers = make(chan reply)
	c := s.dial(DialOptions{})
	big := strings.Repeat("x", 40<<10)
	for range 2 {
		write(t, c, "text "+big)
	}
	third := make(chan error, 1)
	go func() { third <- tryWrite(c, "text third") }()
	take(t, s.posts, "POST")
	select {
	case err := <-third:
		t.Fatal("Write does not block", err)
	case <-time.After(20 * time.Millisecond): // it may only be slow, which harms nobody
	}
	s.answers <- reply{body: "ok"}
	for {
		if got := take(t, s.posts, "POST"); strings.HasSuffix(got, "4third") {
			break
		}
		s.answers <- reply{body: "ok"}
	}
	if err := take(t, third, "end of Write"); err != nil {
		t.Fatal(err)
	}
}

// No more than a few answers wait for a reader that does not come.
func TestClientReaderHoldsPollsBack(t *testing.T) {
	s := newScript(t)
	c := s.dial(DialOptions{})
	for i := range clientInbox {
		s.answer("4" + string(rune('a'+i)))
	}
	for range clientInbox {
		take(t, s.asked, "poll")
	}
	select {
	case <-s.asked:
		t.Fatal("one poll more")
	case <-time.After(20 * time.Millisecond): // it may only be slow, which harms nobody
	}
	receives(t, c, "text a")
	s.answer("4c")
	receives(t, c, "text b", "text c")
}

// clientStates are sessions in all states.
func clientStates() map[string]func(t *testing.T, s *script) *ClientConn {
	return map[string]func(t *testing.T, s *script) *ClientConn{
		"polling": func(t *testing.T, s *script) *ClientConn {
			c := s.dial(DialOptions{})
			take(t, s.asked, "poll")
			return c
		},
		"posting": func(t *testing.T, s *script) *ClientConn {
			s.answers = make(chan reply)
			c := s.dial(DialOptions{})
			write(t, c, "text "+strings.Repeat("x", 70<<10))
			take(t, s.posts, "POST")
			return c
		},
		"writing a close": func(t *testing.T, s *script) *ClientConn {
			s.answers = make(chan reply)
			c := s.dial(DialOptions{})
			go func() { _ = tryWrite(c, "close ") }()
			take(t, s.posts, "POST")
			return c
		},
		"unread answers": func(t *testing.T, s *script) *ClientConn {
			c := s.dial(DialOptions{})
			for range clientInbox {
				s.answer("4a")
			}
			return c
		},
		"probing": func(t *testing.T, s *script) *ClientConn {
			s.handshake.body = openText("websocket")
			c := s.dial(DialOptions{})
			s.socket().hears("text 2probe")
			return c
		},
		"pausing": func(t *testing.T, s *script) *ClientConn {
			s.handshake.body = openText("websocket")
			c := s.dial(DialOptions{})
			take(t, s.asked, "poll")
			peer := s.socket()
			peer.hears("text 2probe")
			peer.say("3probe")
			return c
		},
		"upgraded": func(t *testing.T, s *script) *ClientConn {
			s.handshake.body = openText("websocket")
			c := s.dial(DialOptions{})
			s.upgrade(t)
			return c
		},
		"websocket": func(t *testing.T, s *script) *ClientConn {
			go func() { s.socket().say(openText()) }()
			return s.dial(DialOptions{NoPolling: true})
		},
	}
}

// An answer of many short packets takes no more memory than a long one.
func TestClientTakesAnswersInParts(t *testing.T) {
	const count = 3*clientPart*clientInbox + 1
	s := newScript(t)
	c := s.dial(DialOptions{})
	s.answer(strings.Repeat("4\x1e", count-1) + "4")
	for range count {
		receives(t, c, "text ")
		c.mu.Lock()
		parts := len(c.inbox)
		c.mu.Unlock()
		if parts > clientInbox+1 { // the last part does not wait
			t.Fatalf("%d parts", parts)
		}
	}
	s.answer(strings.Repeat("4\x1e", count) + "1") // the reader does not come any more
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// Close ends whatever blocks, in every state.
func TestClientClose(t *testing.T) {
	for name, state := range clientStates() {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			c := state(t, s)
			waited, wrote := make(chan error, 1), make(chan error, 1)
			go func() {
				for {
					if err := c.Wait(); err != nil {
						waited <- err
						return
					}
					for ok := true; ok; {
						_, ok, _ = c.Next()
					}
				}
			}()
			go func() {
				for {
					if err := tryWrite(c, "text "+strings.Repeat("x", 20000)); err != nil {
						wrote <- err
						return
					}
				}
			}()
			for range 2 {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
			if err := take(t, waited, "end of Wait"); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			take(t, wrote, "end of Write")
			if err := c.Wait(); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
	}
}
