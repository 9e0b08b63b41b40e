package engineio

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/transport"
	"github.com/polywire/polywire/transport/websocket"
)

// TestUpgrade is the whole way, as official clients go it.
func TestUpgrade(t *testing.T) {
	for _, v := range []struct{ poll, sock, noop, data, echo string }{
		{poll4, sock4, "6", "4a", "4hello"}, {poll3, sock3, "1:6", "2:4a", "4hello"},
	} {
		inRig(t, Options{}, func(r *rig) {
			session := r.open(v.poll)
			c := r.sessions()[0]
			wait := r.later("GET", session, "")
			w := r.socket(v.sock + sidOf(session))
			w.say("2probe")
			start := time.Now()
			w.hears("3probe")
			if c.Transport() != transportPolling {
				r.Error("gone over too early")
			}
			// Not at once, and again when the client polls once more.
			r.is(wait(), 200, v.noop)
			if took := time.Since(start); took != noopEvery {
				r.Errorf("the noop came after %v", took)
			}
			r.is(r.get(session), 200, v.noop)
			r.is(r.post(session, v.data), 200, "ok") // POSTs still count
			r.is(r.get(session), 200, v.data)
			w.say("5", v.echo)
			w.hears(v.echo)
			if c.Transport() != transportWebSocket || c.NetConn() == nil || !c.Ready() {
				r.Error("not gone over")
			}
			if c.poll.Load() != nil {
				r.Error("the polling part is kept")
			}
			// The address stays that of the handshake.
			if c.RemoteAddr().String() == c.NetConn().RemoteAddr().String() {
				r.Error("the address is that of the WebSocket")
			}
			// Nothing else is good for this session now, and nothing harms it.
			r.refusedAs(r.get(session), codeBadRequest)
			r.refusedAs(r.post(session, v.data), codeBadRequest)
			r.socket(v.sock + sidOf(session)).hears(bareClose)
			w.say(v.echo)
			w.hears(v.echo)
			w.ws.Close()
			r.ended("transport close", false)
			r.refusedAs(r.get(session), codeSession)
		})
	}
}

// TestUpgradeOrder: what waits for the client leaves first, once, in order.
func TestUpgradeOrder(t *testing.T) {
	conns := make(chan *Conn, 1)
	inRig(t, Options{Accept: unserved(conns), PollBytes: 1}, func(r *rig) {
		session := r.open(poll4)
		c := <-conns
		wrote := make(chan error, 1)
		var want []string
		var frames [][]byte
		for i := range 50 {
			want = append(want, fmt.Sprintf("4%d", i))
			frames = append(frames, appendControl(nil, v4, kindMessage, fmt.Sprint(i)))
		}
		go func() { // blocks in the midst, while all changes below it
			if err := c.Write(frames[:25]...); err != nil {
				wrote <- err
				return
			}
			wrote <- c.Write(frames[25:]...)
		}()
		read := make(chan error, 1)
		go func() { read <- c.Wait() }()
		w := r.socket(sock4 + sidOf(session))
		w.say("2probe")
		w.hears("3probe")
		r.is(r.get(session), 200, "40")
		w.say("5")
		w.hears(want[1:]...)
		if err := errors.Join(<-wrote, <-read); err != nil {
			r.Error(err)
		}
	})
}

// TestUpgradeWithoutProbe: official servers do not insist.
func TestUpgradeWithoutProbe(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll4)
		wait := r.later("GET", session, "")
		w := r.socket(sock4 + sidOf(session))
		w.say("5")
		r.is(wait(), 200, "1") // a poll that waits is over
		w.say("4a")
		w.hears("4a")
	})
}

// TestFailedProbes: the session goes on without, and may try again.
func TestFailedProbes(t *testing.T) {
	rows := []struct {
		name string
		fail func(w *web)
		ends string // as the client sees it
	}{
		{"another packet", func(w *web) { w.say("4hello") }, eof},
		{"another ping", func(w *web) { w.say("2hello") }, eof},
		{"binary", func(w *web) { w.send(transport.Binary, "5") }, eof},
		{"no packet", func(w *web) { w.say("") }, eof},
		{"close", func(w *web) { w.send(transport.Close, "") }, eof},
		{"cut", func(w *web) { w.ws.Close() }, "use of closed network connection"},
		{"time", func(*web) {
			time.Sleep(defaultUpgradeTimeout) // virtual
		}, eof},
		{"time, while it says something", func(w *web) {
			for range 2 {
				time.Sleep(4 * time.Second) // virtual
				w.send(transport.Ping, "x")
				w.hears("pong x")
			}
			time.Sleep(2 * time.Second) // virtual
		}, eof},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inRig(t, Options{}, func(r *rig) {
				session := r.open(poll4)
				w := r.socket(sock4 + sidOf(session))
				w.say("2probe", "2probe")
				w.hears("3probe", "3probe")
				row.fail(w)
				if got := w.receive(); !strings.Contains(got, row.ends) {
					r.Errorf("received %q, want %q", got, row.ends)
				}
				synctest.Wait()
				wait := r.later("GET", session, "")
				time.Sleep(time.Minute) // virtual
				r.is(r.post(session, "4a"), 200, "ok")
				r.is(wait(), 200, "4a")
				r.alive()
				again := r.socket(sock4 + sidOf(session))
				again.say("2probe")
				again.hears("3probe")
				again.say("5", "4b")
				again.hears("4b")
			})
		})
	}
}

// TestUpgradeTwice: a second attempt beside the first is turned away.
func TestUpgradeTwice(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll4)
		w := r.socket(sock4 + sidOf(session))
		w.say("2probe")
		w.hears("3probe")
		r.socket(sock4 + sidOf(session)).hears(bareClose)
		r.socket(poll4 + sidOf(session)).hears(bareClose) // not even a WebSocket is asked for
		w.say("5", "4a")
		w.hears("4a")
	})
}

// TestUpgradeTrafficOnTheSide: a slow probe does not disturb polling.
func TestUpgradeTrafficOnTheSide(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll4)
		w := r.socket(sock4 + sidOf(session))
		w.say("2probe")
		w.hears("3probe")
		for i := range 90 { // until it has timed out, and on
			data := fmt.Sprintf("4%d", i)
			r.is(r.post(session, data), 200, "ok")
			r.is(r.get(session), 200, data)
			time.Sleep(150 * time.Millisecond) // virtual
		}
		w.hears(eof)
		r.alive()
	})
}

// TestCloseDuringUpgrade: the probe ends with its session.
func TestCloseDuringUpgrade(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll4)
		w := r.socket(sock4 + sidOf(session))
		w.say("2probe")
		w.hears("3probe")
		r.sessions()[0].Close()
		w.hears(eof)
	})
	inRig(t, Options{}, func(r *rig) { // overlapping polls end it as well
		session := r.open(poll4)
		w := r.socket(sock4 + sidOf(session))
		w.say("2probe")
		w.hears("3probe")
		wait := r.later("GET", session, "")
		r.is(r.get(session), 400, "")
		r.is(wait(), 200, "1")
		w.hears(eof)
	})
	inRig(t, Options{}, func(r *rig) { // the server's close goes over with the rest
		session := r.open(poll4)
		w := r.socket(sock4 + sidOf(session))
		w.say("2probe")
		w.hears("3probe")
		r.is(r.post(session, "4a\x1e4close"), 200, "ok")
		w.say("5")
		w.hears("4a", bareClose)
		w.ws.Close()
		r.ended("transport close", false)
	})
	inRig(t, Options{}, func(r *rig) { // closed by the client's POST
		session := r.open(poll4)
		w := r.socket(sock4 + sidOf(session))
		r.is(r.post(session, "1"), 200, "ok")
		w.hears(eof)
		r.ended("transport close", false)
	})
}

// TestInterruptAcrossUpgrade: it is not lost when the session goes over.
func TestInterruptAcrossUpgrade(t *testing.T) {
	conns := make(chan *Conn, 1)
	inRig(t, Options{Accept: unserved(conns)}, func(r *rig) {
		session := r.open(poll4)
		c := <-conns
		c.Interrupt()
		if err := c.Wait(); !errors.Is(err, transport.ErrInterrupted) {
			r.Errorf("Wait: %v", err)
		}
		if _, idle := c.Idle(); idle {
			r.Error("a session that polls says that it can be watched")
		}
		r.socket(sock4 + sidOf(session)).say("5")
		synctest.Wait()
		c.Interrupt()
		if err := c.Wait(); err != nil {
			r.Errorf("Wait: %v", err)
		}
		if err := c.Wait(); !errors.Is(err, transport.ErrInterrupted) {
			r.Errorf("Wait: %v", err)
		}
	})
}

// TestSocketPackets: what a session on a WebSocket does about each packet.
func TestSocketPackets(t *testing.T) {
	rows := []struct {
		name, query string
		typ         transport.FrameType
		send        string
		want        string
		reason      string
		local       bool
	}{
		{"text", sock4, transport.Text, "4hello", "4hello", "", false},
		{"empty message", sock4, transport.Text, "4", "4", "", false},
		{"binary", sock4, transport.Binary, "\x01\x02", "binary \x01\x02", "", false},
		{"base64 in text", sock4, transport.Text, "bAQI=", "binary \x01\x02", "", false},
		{"b64 wanted", sock4 + "&b64=1", transport.Binary, "\x01\x02", "bAQI=", "", false},
		{"a ping of the WebSocket's own", sock4, transport.Ping, "abc", "pong abc", "", false},
		{"3: text", sock3, transport.Text, "4hello", "4hello", "", false},
		{"3: binary", sock3, transport.Binary, "\x04\x01\x02", "binary \x04\x01\x02", "", false},
		{"3: base64 in text", sock3, transport.Text, "b4AQI=", "binary \x04\x01\x02", "", false},
		{"3: b64 wanted", sock3 + "&b64=1", transport.Binary, "\x04\x01\x02", "b4AQI=", "", false},
		{"3: ping", sock3, transport.Text, "2probe", "3", "", false},
		{"empty frame", sock4, transport.Text, "", eof, "parse error", true},
		{"unknown packet", sock4, transport.Text, "abc", eof, "parse error", true},
		{"3: empty binary frame", sock3, transport.Binary, "", eof, "parse error", true},
		{"3: binary of unknown type", sock3, transport.Binary, "\x34a", eof, "parse error", true},
		{"ping", sock4, transport.Text, "2", eof, "transport error", true},
		{"3: pong", sock3, transport.Text, "3", eof, "transport error", true},
		{"close packet", sock4, transport.Text, "1", eof, "transport close", false},
		{"close frame", sock4, transport.Close, "\x03\xe8", eof, "transport close", false},
		{"not UTF-8", sock4, transport.Text, "4\xff", eof, "transport error", true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inRig(t, Options{}, func(r *rig) {
				w := r.socket(row.query)
				sid := w.opened()
				w.say("0", "5", "6") // ignored
				w.send(row.typ, row.send)
				w.hears(row.want)
				if row.reason == "" {
					r.alive()
					return
				}
				r.ended(row.reason, row.local)
				r.refusedAs(r.get(poll4+"&sid="+sid), codeSession)
			})
		})
	}
}

// TestSocketEnds: what the reader is told of the ends of WebSockets.
func TestSocketEnds(t *testing.T) {
	rows := []struct {
		name string
		do   func(w *web)
		want transport.CloseError
		eof  bool
	}{
		{"cut", func(w *web) { w.ws.Close() }, transport.CloseError{Code: 1005, Reason: "transport close"}, true},
		{"no code", func(w *web) { w.send(transport.Close, "") }, transport.CloseError{Code: 1005, Reason: "transport close"}, false},
		{"1000", func(w *web) { w.send(transport.Close, "\x03\xe8bye") }, transport.CloseError{Code: 1005, Reason: "transport close"}, false},
		{"1001", func(w *web) { w.send(transport.Close, "\x03\xe9") }, transport.CloseError{Code: 1001, Reason: "transport close"}, false},
		{"4000", func(w *web) { w.send(transport.Close, "\x0f\xa0") }, transport.CloseError{Code: 4000, Reason: "transport close"}, false},
		{"too big", func(w *web) { w.say("4" + strings.Repeat("a", 100)) }, transport.CloseError{Code: 1009, Reason: "transport error", Local: true}, false},
		{"reserved bits", func(w *web) { _, _ = w.ws.NetConn().Write([]byte{0xf1, 0x80, 0, 0, 0, 0}) }, transport.CloseError{Code: 1002, Reason: "transport error", Local: true}, false},
		{"not masked", func(w *web) { _, _ = w.ws.NetConn().Write([]byte{0x81, 0x01, '4'}) }, transport.CloseError{Code: 1002, Reason: "transport error", Local: true}, false},
		{"too many fragments", func(w *web) {
			_, _ = w.ws.NetConn().Write(append([]byte{0x01, 0x80, 0, 0, 0, 0}, []byte(strings.Repeat("\x00\x80\x00\x00\x00\x00", 10))...))
		}, transport.CloseError{Code: 1009, Reason: "transport error", Local: true}, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inRig(t, Options{MaxPayloadBytes: 100, MaxFragments: 10}, func(r *rig) {
				w := r.socket(sock4)
				w.opened()
				row.do(w)
				err := <-r.ends
				var got *transport.CloseError
				if !errors.As(err, &got) || *got != row.want || errors.Is(err, io.EOF) != row.eof {
					r.Errorf("ended with %v (%+v), want %+v", err, got, row.want)
				}
			})
		})
	}
}

// TestLimitOfSocket: a message of exactly the limit passes, with its type.
func TestLimitOfSocket(t *testing.T) {
	inRig(t, Options{MaxPayloadBytes: 100}, func(r *rig) {
		w := r.socket(sock4)
		w.opened()
		fits := "4" + strings.Repeat("a", 99)
		w.say(fits)
		w.hears(fits)
	})
}

// TestCloseFrames: what a close frame looks like on the wire.
func TestCloseFrames(t *testing.T) {
	conns := make(chan *Conn, 1)
	for _, row := range []struct {
		code   uint16
		reason string
		want   string
	}{
		{1000, "bye", bareClose}, {1002, "no", bareClose}, {1009, "transport error", "transport: peer closed (1009)"},
		{4001, "why", "transport: peer closed (4001): why"},
	} {
		inRig(t, Options{Accept: unserved(conns)}, func(r *rig) {
			w := r.socket(sock4)
			w.opened()
			c := <-conns
			out := transport.NewWriter(c.Framer(), nil)
			if err := out.Frame(transport.Close, transport.AppendClosePayload(nil, row.code, row.reason)); err != nil {
				r.Fatal(err)
			}
			if err := c.Write(out.Bytes()); err != nil {
				r.Fatal(err)
			}
			w.hears(row.want)
		})
	}
}

// TestSubprotocol: the first that a client offers is echoed.
func TestSubprotocol(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		w, err := r.dial(sock4, websocket.DialOptions{Subprotocols: []string{"one", "two"}})
		if err != nil {
			r.Fatal(err)
		}
		if w.ws.Subprotocol() != "one" {
			r.Errorf("subprotocol %q", w.ws.Subprotocol())
		}
	})
}

// TestCompression: long messages are compressed on WebSockets that agreed to
// it, also by way of an upgrade, whoever else gets the same bytes.
func TestCompression(t *testing.T) {
	o := Options{Compression: &websocket.Compression{MinBytes: 100}}
	long := "4" + strings.Repeat("many times the same ", 500)
	inRig(t, o, func(r *rig) {
		for _, deflate := range []bool{true, false} {
			var do websocket.DialOptions
			if deflate {
				do.Compression = &websocket.Compression{}
			}
			direct, err := r.dial(sock4, do)
			if err != nil {
				r.Fatal(err)
			}
			direct.opened()
			session := r.open(poll4)
			later, err := r.dial(sock4+sidOf(session), do)
			if err != nil {
				r.Fatal(err)
			}
			later.say("5")
			for _, w := range []*web{direct, later} {
				w.say(long, "4short")
				w.send(transport.Binary, long)
				w.hears(long, "4short", "binary "+long)
			}
		}
		for _, c := range r.sessions() {
			if c.Framer().Format() != "engineio/4" {
				r.Errorf("format %q", c.Framer().Format())
			}
		}
	})
}

// TestReading costs nothing: no memory for a message on a WebSocket.
func TestReadingAllocatesNothing(t *testing.T) {
	conns := make(chan *Conn, 1)
	inRig(t, Options{Accept: unserved(conns)}, func(r *rig) {
		w := r.socket(sock4)
		w.opened()
		c := <-conns
		out := transport.NewWriter(w.ws.Framer(), nil)
		for range 100 {
			if err := out.Frame(transport.Text, []byte("4hello")); err != nil {
				r.Fatal(err)
			}
		}
		if err := w.ws.Write(out.Bytes()); err != nil {
			r.Fatal(err)
		}
		if err := c.Wait(); err != nil {
			r.Fatal(err)
		}
		if n := testing.AllocsPerRun(50, func() {
			if f, ok, err := c.Next(); !ok || err != nil || string(f.Data) != "hello" {
				r.Fatalf("Next: %v %v", ok, err)
			}
		}); n != 0 {
			r.Errorf("%v allocations for a message", n)
		}
	})
}
