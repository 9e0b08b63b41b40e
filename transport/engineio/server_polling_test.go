package engineio

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/transport"
)

// exchange is a POST, its answer, what comes back by the next poll, and how the
// session fares.
type exchange struct {
	name, query, kind, body string
	status                  int
	back                    string // of the next poll, if there is any
	reason                  string // the session's end; empty: it lives
}

func exchanges() []exchange {
	const parse = reasonParse
	return []exchange{
		// Version 4.
		{"one", poll4, "", "4hello", 200, "4hello", ""},
		{"several", poll4, "text/plain;charset=UTF-8", "4test1\x1e4test2\x1e4test3", 200, "4test1\x1e4test2\x1e4test3", ""},
		{"binary", poll4, "", "4hello\x1ebAQIDBA==", 200, "4hello\x1ebAQIDBA==", ""},
		{"binary without padding", poll4, "", "bAQIDBA", 200, "bAQIDBA==", ""},
		{"b64 makes no difference", poll4 + "&b64=1", "", "bAQIDBA==", 200, "bAQIDBA==", ""},
		{"empty message", poll4, "", "4", 200, "4", ""},
		{"b inside is text", poll4, "", "4bAQID", 200, "4bAQID", ""},
		{"characters", poll4, "", "4naïve 馬 🐎", 200, "4naïve 馬 🐎", ""},
		{"ignored packets", poll4, "", "0\x1e5\x1e6\x1e4after", 200, "4after", ""},
		{"pong", poll4, "", "3\x1e4after", 200, "4after", ""},
		{"many", poll4, "", strings.Repeat("4a\x1e", 999) + "4b", 200, strings.Repeat("4a\x1e", 999) + "4b", ""},
		{"empty body", poll4, "", "", 400, "", parse},
		{"separator at the end", poll4, "", "4a\x1e", 400, "", parse},
		{"separator at the beginning", poll4, "", "\x1e4a", 400, "", parse},
		{"unknown packet", poll4, "", "abc", 400, "", parse},
		{"type 7", poll4, "", "7", 400, "", parse},
		{"bad base64", poll4, "", "b!!", 400, "", parse},
		{"not UTF-8", poll4, "", "4\xff", 400, "", parse},
		{"ping", poll4, "", "2", 400, "", "transport error"},
		{"probe", poll4, "", "2probe", 400, "", "transport error"},
		{"binary body", poll4, "application/octet-stream", "\x01\x05\xff\x04\x01\x02\x03\x04", 400, "", "transport error"},
		{"close", poll4, "", "1", 200, "", "transport close"},
		{"nothing counts after close", poll4, "", "1\x1eabc", 200, "", "transport close"},
		// Version 3.
		{"3: one", poll3, "", "6:4hello", 200, "6:4hello", ""},
		{"3: several", poll3, "", "6:4test16:4test26:4test3", 200, "6:4test16:4test26:4test3", ""},
		{"3: units", poll3, "", "6:4hello2:4€3:4😀", 200, "6:4hello2:4€3:4😀", ""},
		{"3: base64", poll3 + "&b64=1", "", "6:4hello10:b4AQIDBA==", 200, "6:4hello10:b4AQIDBA==", ""},
		{"3: binary", poll3, "application/octet-stream", "\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04", 200, "\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04", ""},
		{"3: text of a binary body", poll3, "application/octet-stream", "\x00\x06\xff4hello", 200, "6:4hello", ""},
		{"3: ping", poll3, "", "1:2", 200, "1:3", ""},
		{"3: the ping's data is not echoed", poll3, "", "4:2abc", 200, "1:3", ""},
		{"3: pong", poll3, "", "1:3", 400, "", "transport error"},
		{"3: empty entry", poll3, "", "0:6:4hello", 200, "6:4hello", ""},
		{"3: empty body", poll3, "", "", 400, "", parse},
		{"3: no length", poll3, "", "4hello", 400, "", parse},
		{"3: truncated", poll3, "", "7:4hello", 400, "", parse},
		{"3: digits at the end", poll3, "", "6:4hello6", 400, "", parse},
		{"3: huge length", poll3, "", "99999999999999999999:4", 400, "", parse},
		{"3: endless digits", poll3, "application/octet-stream", "\x00" + strings.Repeat("\x09", 400), 400, "", parse},
		{"3: close", poll3, "", "1:1", 200, "", "transport close"},
	}
}

func TestExchanges(t *testing.T) {
	for _, row := range exchanges() {
		t.Run(row.name, func(t *testing.T) {
			inRig(t, Options{}, func(r *rig) {
				session := r.open(row.query)
				got := r.do("POST", session, row.body, "Content-Type", row.kind)
				body := ""
				if row.status == 200 {
					body = "ok"
					if got.header.Get("Content-Type") != "text/html" || got.header.Get("Cache-Control") != "no-store" {
						r.Errorf("headers %v", got.header)
					}
				}
				r.is(got, row.status, body)
				if row.reason != "" {
					r.ended(row.reason, row.reason == reasonParse || row.status == 400 && row.kind == "")
					r.refusedAs(r.get(session), codeSession)
					r.refusedAs(r.post(session, row.body), codeSession)
					return
				}
				got = r.get(session)
				r.is(got, 200, row.back)
				want := "text/plain; charset=UTF-8"
				if strings.HasPrefix(row.back, "\x00") {
					want = octetStream
				}
				if got.header.Get("Content-Type") != want {
					r.Errorf("content type %q, want %q", got.header.Get("Content-Type"), want)
				}
				r.alive()
			})
		})
	}
}

// TestBinaryOfVersion3: a batch is binary if one packet is, and the client can.
func TestBinaryOfVersion3(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll3)
		r.do("POST", session, "6:4hello10:b4AQIDBA==")
		got := r.get(session)
		r.is(got, 200, "\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04")
		if got.header.Get("Content-Type") != octetStream {
			r.Errorf("content type %q", got.header.Get("Content-Type"))
		}
	})
}

// TestPollWaits: a poll is answered as soon as there is something.
func TestPollWaits(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll4)
		c := r.sessions()[0]
		if c.Ready() {
			r.Error("ready without a poll")
		}
		wait := r.later("GET", session, "")
		if !c.Ready() {
			r.Error("not ready with a poll")
		}
		time.Sleep(10 * time.Minute) // virtual
		r.alive()
		r.is(r.post(session, "4a"), 200, "ok")
		r.is(wait(), 200, "4a")
		if c.Ready() {
			r.Error("ready after the poll")
		}
	})
}

// TestOrder: answers are there before a POST is answered.
func TestOrder(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll4)
		for range 20 {
			r.is(r.post(session, "4a\x1e4b"), 200, "ok")
			r.is(r.get(session), 200, "4a\x1e4b")
		}
	})
}

func TestOverlap(t *testing.T) {
	for _, row := range []struct{ query, last string }{{poll4, "1"}, {poll3, "1:1"}} {
		inRig(t, Options{}, func(r *rig) {
			session := r.open(row.query)
			first := r.later("GET", session, "")
			r.is(r.get(session), 400, "")
			r.is(first(), 200, row.last)
			r.ended("transport error", false)
			r.refusedAs(r.get(session), codeSession)
		})
	}
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll4)
		body, send := io.Pipe()
		first := make(chan response, 1)
		go func() {
			got, _ := r.try(context.Background(), "POST", session, body) // its body is not read to the end
			first <- got
		}()
		_, _ = send.Write([]byte("4a"))
		synctest.Wait()
		r.is(r.post(session, "4b"), 400, "")
		send.CloseWithError(errors.New("never mind"))
		if got := <-first; got.status == 200 {
			r.Errorf("the first POST was answered %d %q", got.status, got.body)
		}
		r.ended("transport error", false)
	})
}

// TestAborts: a client that gives a request up has gone.
func TestAborts(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll4)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			_, err := r.try(ctx, "GET", session, nil)
			done <- err
		}()
		synctest.Wait()
		cancel()
		<-done
		r.ended("transport error", false)
		r.refusedAs(r.get(session), codeSession)
	})
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll4)
		body, send := io.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := r.try(context.Background(), "POST", session, body)
			done <- err
		}()
		_, _ = send.Write([]byte("4a"))
		synctest.Wait()
		send.CloseWithError(errors.New("changed my mind"))
		<-done
		r.ended("transport error", false)
	})
	conns := make(chan *Conn, 1) // nobody reads: the POST is not answered
	inRig(t, Options{Accept: unserved(conns)}, func(r *rig) {
		session := r.open(poll4)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			_, err := r.try(ctx, "POST", session, strings.NewReader("4a"))
			done <- err
		}()
		synctest.Wait()
		cancel()
		<-done
		synctest.Wait()
		if err := (<-conns).Wait(); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), reasonError) {
			r.Errorf("Wait: %v", err)
		}
	})
}

// TestSlowPost: a body has a deadline, its handling has none.
func TestSlowPost(t *testing.T) {
	inRig(t, Options{HandshakeTimeout: 3 * time.Second}, func(r *rig) {
		session := r.open(poll4)
		body, send := io.Pipe()
		defer send.Close()
		start := time.Now()
		go func() { _, _ = send.Write([]byte("4a")) }()
		got, err := r.try(context.Background(), "POST", session, body)
		if err != nil || got.status != 408 || time.Since(start).Round(time.Second) != 3*time.Second {
			r.Errorf("after %v: %+v, %v", time.Since(start), got, err)
		}
		r.ended("transport error", false)
	})
	inRig(t, Options{HandshakeTimeout: 3 * time.Second}, func(r *rig) { // slow, but not too slow
		session := r.open(poll4)
		body, send := io.Pipe()
		go func() {
			part := strings.Repeat("4", slowest)
			for range 20 {
				_, _ = send.Write([]byte(part))
				time.Sleep(time.Second) // virtual
			}
			send.Close()
		}()
		got, err := r.try(context.Background(), "POST", session, body)
		if err != nil {
			r.Fatal(err)
		}
		r.is(got, 200, "ok")
	})
	conns := make(chan *Conn, 1)
	inRig(t, Options{Accept: unserved(conns)}, func(r *rig) {
		session := r.open(poll4)
		wait := r.later("POST", session, "4a")
		time.Sleep(time.Hour) // virtual
		go echo(<-conns)      // until the rig ends
		r.is(wait(), 200, "ok")
	})
}

// TestBodyLimit: what is too much is refused, and the session goes on.
func TestBodyLimit(t *testing.T) {
	inRig(t, Options{MaxPayloadBytes: 20000}, func(r *rig) {
		session := r.open(poll4)
		fits := "4" + strings.Repeat("a", 19999)
		chunked := func(body string) response {
			got, err := r.try(context.Background(), "POST", session, io.MultiReader(strings.NewReader(body)))
			if err != nil {
				r.Fatal(err)
			}
			return got
		}
		r.is(r.post(session, fits+"b"), 413, "")
		r.is(chunked(fits+"b"), 413, "")
		r.is(chunked(fits), 200, "ok")
		r.is(r.get(session), 200, fits)
		r.is(r.post(session, fits), 200, "ok")
		r.is(r.get(session), 200, fits)
		r.alive()
	})
}

func TestReadBody(t *testing.T) {
	for _, size := range []int{0, 1, 100, firstRead - 1, firstRead, firstRead + 1, 100000} {
		text := strings.Repeat("x", size)
		for _, announced := range []int64{-1, int64(size)} {
			got, err := readBody(io.MultiReader(strings.NewReader(text)), announced, 100000, func(int) {})
			if err != nil || string(got) != text {
				t.Errorf("%d bytes, %d announced: %d, %v", size, announced, len(got), err)
			}
		}
	}
	if _, err := readBody(strings.NewReader("abcd"), -1, 3, func(int) {}); !errors.Is(err, errTooBig) {
		t.Errorf("four bytes of three: %v", err)
	}
	if _, err := readBody(nil, 1<<40, 1<<20, nil); !errors.Is(err, errTooBig) { // before anything is read
		t.Errorf("a terabyte: %v", err)
	}
}

// TestMethods: a session is polled with GET and POST.
func TestMethods(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll4)
		for _, method := range []string{"PUT", "DELETE", "HEAD", "OPTIONS"} {
			r.is(r.do(method, session, ""), 500, "")
		}
		r.refusedAs(r.do("GET", session, "a body"), codeBadRequest)
		r.refusedAs(r.get(sock4+sidOf(session)), codeBadRequest)
		r.alive()
		r.is(r.post(session, "4a"), 200, "ok")
	})
}

// TestPeerCloses: a poll that waits gets a noop.
func TestPeerCloses(t *testing.T) {
	for _, row := range []struct{ query, one, noop string }{{poll4, "1", "6"}, {poll3, "1:1", "1:6"}} {
		inRig(t, Options{}, func(r *rig) {
			session := r.open(row.query)
			wait := r.later("GET", session, "")
			r.is(r.post(session, row.one), 200, "ok")
			r.is(wait(), 200, row.noop)
			r.refusedAs(r.get(session), codeSession)
			r.ended("transport close", false)
		})
	}
	inRig(t, Options{}, func(r *rig) { // what was before it counts
		session := r.open(poll4)
		wait := r.later("GET", session, "")
		r.is(r.post(session, "4a\x1e1"), 200, "ok")
		r.is(wait(), 200, "4a")
		r.ended("transport close", false)
	})
}

// TestServerCloses: after what is buffered, the client is told once.
func TestServerCloses(t *testing.T) {
	closeFrame := func(c *Conn) error {
		w := transport.NewWriter(c.Framer(), nil)
		if err := w.Frame(transport.Close, transport.AppendClosePayload(nil, 1000, "bye")); err != nil {
			return err
		}
		return c.Write(w.Bytes())
	}
	check := func(r *rig, session string) {
		r.Helper()
		r.refusedAs(r.get(session), codeSession)
		synctest.Wait()
		if err := <-r.ends; err != io.EOF { //nolint:errorlint // exactly that
			r.Errorf("the session ended with %v", err)
		}
	}
	for _, v := range []struct{ query, one, noopAndOne, data string }{
		{poll4, "1", "6\x1e1", "4a"}, {poll3, "1:1", "1:61:1", "2:4a"},
	} {
		inRig(t, Options{}, func(r *rig) { // a poll waits
			session := r.open(v.query)
			wait := r.later("GET", session, "")
			if err := closeFrame(r.sessions()[0]); err != nil {
				r.Fatal(err)
			}
			r.is(wait(), 200, v.one)
			check(r, session)
		})
		inRig(t, Options{}, func(r *rig) { // none does
			session := r.open(v.query)
			c := r.sessions()[0]
			if err := closeFrame(c); err != nil {
				r.Fatal(err)
			}
			if err := c.Write(appendControl(nil, c.version, kindMessage, "late")); err != nil {
				r.Errorf("Write after the close frame: %v", err)
			}
			r.alive()
			r.is(r.get(session), 200, v.noopAndOne)
			check(r, session)
		})
		inRig(t, Options{}, func(r *rig) { // with data
			session := r.open(v.query)
			r.post(session, v.data)
			if err := closeFrame(r.sessions()[0]); err != nil {
				r.Fatal(err)
			}
			r.is(r.get(session), 200, v.data)
			r.is(r.post(session, v.data), 200, "ok") // and dropped
			r.is(r.get(session), 200, v.noopAndOne)
			check(r, session)
		})
		inRig(t, Options{}, func(r *rig) { // in answer to a POST, and with a poll
			session := r.open(v.query)
			wait := r.later("GET", session, "")
			r.is(r.post(session, strings.Replace(strings.Replace(v.data, "a", "close", 1), "2:", "6:", 1)), 200, "ok")
			r.is(wait(), 200, v.one)
			check(r, session)
		})
	}
}

// TestClose cuts a session off: a poll is released, the writer and the reader too.
func TestClose(t *testing.T) {
	conns := make(chan *Conn, 1)
	inRig(t, Options{Accept: unserved(conns), PollBytes: 10}, func(r *rig) {
		session := r.open(poll4)
		c := <-conns
		big := appendControl(nil, v4, kindMessage, strings.Repeat("a", 20))
		results := make(chan error, 2)
		if err := c.Write(big); err != nil {
			r.Fatal(err)
		}
		go func() { results <- c.Write(big) }()
		go func() { results <- c.Wait() }()
		synctest.Wait()
		c.Close()
		for range 2 {
			if err := <-results; !errors.Is(err, net.ErrClosed) {
				r.Errorf("after Close: %v", err)
			}
		}
		r.refusedAs(r.get(session), codeSession)
		c.Close()
	})
	inRig(t, Options{}, func(r *rig) {
		session := r.open(poll4)
		wait := r.later("GET", session, "")
		r.sessions()[0].Close()
		r.is(wait(), 200, "1")
	})
}

// TestPollBytes: a writer waits until the client polls, and nothing is lost.
func TestPollBytes(t *testing.T) {
	conns := make(chan *Conn, 1)
	inRig(t, Options{Accept: unserved(conns), PollBytes: 10}, func(r *rig) {
		session := r.open(poll4)
		c := <-conns
		packet := appendControl(nil, v4, kindMessage, "0123456789")
		wrote := make(chan error, 1)
		go func() { wrote <- c.Write(packet, packet, packet) }()
		synctest.Wait()
		select {
		case <-wrote:
			r.Error("Write has not waited")
		default:
		}
		for range 3 {
			r.is(r.get(session), 200, "40123456789")
		}
		if err := <-wrote; err != nil {
			r.Error(err)
		}
		// A poll that waits is no reason to wait for.
		wait := r.later("GET", session, "")
		go func() { wrote <- c.Write(packet, packet) }()
		r.is(wait(), 200, "40123456789")
		r.is(r.get(session), 200, "40123456789")
		if err := <-wrote; err != nil {
			r.Error(err)
		}
	})
}

// TestJSONP: old browsers poll with scripts and post forms.
func TestJSONP(t *testing.T) {
	inRig(t, Options{JSONP: true}, func(r *rig) {
		got := r.get(poll4 + "&j=a0b7'")
		if !strings.HasPrefix(got.body, `___eio[07]("0{\"sid\":\"`) || !strings.HasSuffix(got.body, `}");`) {
			r.Fatalf("open packet %q", got.body)
		}
		session := poll4 + "&j=1&sid=" + r.sessions()[0].ID()
		form := []string{"Content-Type", "application/x-www-form-urlencoded"}
		rows := []struct{ body, want string }{
			{"d=4hello", `4hello`},
			{`d=4a%5Cnb`, `4a\nb`},               // \n: a line end
			{`d=4a%5C%5Cnb`, `4a\\nb`},           // \\n: the text \n
			{"d=4%E2%80%A8%22%3C", `4\u2028\"<`}, // which old scripts take for a line end
			{"d=4a%1E4b", `4a\u001e4b`},
			{"d=bAQIDBA==", `bAQIDBA==`},
			{"d=4x&d=4y", `4y`},
		}
		for _, row := range rows {
			r.is(r.do("POST", session, row.body, form...), 200, "ok")
			got := r.get(session)
			r.is(got, 200, `___eio[07]("`+row.want+`");`)
			if got.header.Get("Content-Type") != "text/plain; charset=UTF-8" {
				r.Errorf("content type %q", got.header.Get("Content-Type"))
			}
		}
		r.is(r.do("POST", session, "x=4hello", form...), 200, "ok") // nothing to do
		r.is(r.do("POST", session, "%zz", form...), 200, "ok")
		r.alive()
		r.refusedAs(r.get(poll4+"&j="+strings.Repeat("1", 21)), codeBadRequest)
		r.is(r.do("POST", session, "d=abc", form...), 400, "")
		r.ended("parse error", true)
	})
	inRig(t, Options{JSONP: true}, func(r *rig) { // no binary answers to scripts
		r.get(poll3 + "&j=0")
		session := poll3 + "&j=0&sid=" + r.sessions()[0].ID()
		r.do("POST", session, "d=10%3Ab4AQIDBA%3D%3D")
		r.is(r.get(session), 200, `___eio[0]("10:b4AQIDBA==");`)
	})
}

// TestWriterWithoutDeadlines: not every http.ResponseWriter has all powers.
func TestWriterWithoutDeadlines(t *testing.T) {
	s, err := NewServer(Options{Accept: func(c *Conn, _ *http.Request) error { return c.Close() }})
	if err != nil {
		t.Fatal(err)
	}
	w := &plainWriter{header: http.Header{}}
	r, err := http.NewRequest(http.MethodGet, "/?"+poll4, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.ServeHTTP(w, r); w.status != 200 {
		t.Errorf("status %d", w.status)
	}
}

type plainWriter struct {
	header http.Header
	status int
}

func (w *plainWriter) Header() http.Header         { return w.header }
func (w *plainWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *plainWriter) WriteHeader(status int)      { w.status = status }
