package polywire_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/polywire/polywire"
)

// refused is a row of a WebSocket handshake that is answered with an HTTP status.
func refused(name string, status int, headers ...string) badInput {
	return badInput{name: name, only: webSockets, do: func(s *site, l language) {
		c := s.connect(l)
		if resp := c.upgrade(headers...); resp.StatusCode != status {
			s.t.Errorf("answered with %s", resp.Status)
		}
	}}
}

// refusedStream is refused for an HTTP Upgrade to a stream.
func refusedStream(name string, status int, headers ...string) badInput {
	row := refused(name, status, headers...)
	row.only = func(l language) bool { return l.upgraded }
	return row
}

func TestBadHandshakes(t *testing.T) {
	runBadInput(t, []badInput{
		refused("foreign origin", http.StatusForbidden, "Origin: https://evil.example"),
		refused("two origins", http.StatusForbidden, "Origin: https://evil.example", "Origin: https://example.com"),
		refused("origin that is none", http.StatusForbidden, "Origin: null"),
		refused("unknown subprotocol", http.StatusBadRequest, "Sec-WebSocket-Protocol: soap"),
		refused("another version", http.StatusUpgradeRequired, "Sec-WebSocket-Version: 8"),
		{name: "another port is another origin", only: webSockets, do: func(s *site, l language) {
			c := s.connect(l)
			c.write([]byte(strings.Replace(request("Origin: http://example.com:81"), "example.com", "example.com:82", 1)))
			op := make([]byte, 12)
			if _, err := io.ReadFull(c.r, op); err != nil || string(op) != "HTTP/1.1 403" {
				s.t.Errorf("answered with %q %v", op, err)
			}
		}},
		{name: "headers over the limit", only: webSockets, do: func(s *site, l language) {
			c := s.connect(l)
			if resp := c.upgrade("X: " + strings.Repeat("x", 100<<10)); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				s.t.Errorf("answered with %s", resp.Status)
			}
		}},
		{name: "origins that are listed", only: webSockets, opts: []polywire.Option{polywire.WithOrigins("https://good.example")}, do: func(s *site, l language) {
			for origin, status := range map[string]int{
				"https://good.example": http.StatusSwitchingProtocols, "https://GOOD.example": http.StatusSwitchingProtocols,
				"http://good.example": http.StatusForbidden, "https://good.example.evil.example": http.StatusForbidden,
			} {
				if resp := s.connect(l).upgrade("Origin: " + origin); resp.StatusCode != status {
					s.t.Errorf("%s: %s", origin, resp.Status)
				}
			}
		}},
		{name: "no HTTP at all", only: webSockets, do: func(s *site, l language) {
			c := s.connect(l)
			c.write([]byte("\x16\x03\x01\x02\x00\r\n\r\n"))
			c.drains() // a 400 and the end
		}},
		refusedStream("stream from a foreign origin", http.StatusForbidden, "Origin: https://evil.example"),
		refusedStream("stream in no encoding that there is", http.StatusNotAcceptable, "Accept: text/html, application/json;q=0"),
		refusedStream("stream with a malformed Accept", http.StatusBadRequest, "Accept: application"),
		refusedStream("stream with too much to accept", http.StatusBadRequest, "Accept: "+strings.Repeat("a/b,", 1000)),
		refusedStream("stream with a body", http.StatusBadRequest, "Transfer-Encoding: chunked"),
		opening("unknown form", 3506, []byte("soap")),
		opening("no form", 3506, nil),
		{name: "opening in binary", only: streams, do: func(s *site, l language) {
			c := s.connect(l)
			c.write(l.frame(opBinary, l.form()))
			c.closes(3501)
		}},
		{name: "opening over the limit", only: streams, do: func(s *site, l language) {
			c := s.connect(l)
			c.write(l.header(opText, 1<<30))
			c.closes(1009)
		}},
		{name: "HTTP where a stream is expected", only: streams, do: func(s *site, l language) {
			c := s.connect(l)
			c.write([]byte("GET / HTTP/1.1\r\n\r\n"))
			c.closes(1002)
		}},
	})
}

// opening is a row of a stream whose opening is refused with a close code.
func opening(name string, code polywire.CloseCode, offer []byte) badInput {
	return badInput{name: name, only: streams, do: func(s *site, l language) {
		c := s.connect(l)
		c.write(l.frame(opText, string(offer)))
		c.closes(code)
	}}
}

// Openings that dribble, or never come, end with the handshake's time.
func TestDribblingHandshakes(t *testing.T) {
	const timeout = 2 * time.Second
	beginning := func(l language) []byte {
		if l.http() {
			return []byte(l.request("X: " + strings.Repeat("x", 10_000)))
		}
		return l.frame(opText, spaces(10_000))
	}
	bounded := func(do func(c *rawConn)) func(*site, language) {
		return func(s *site, l language) {
			start := time.Now()
			c := s.connect(l)
			do(c)
			if took := time.Since(start); took < timeout || took > patience {
				s.t.Errorf("it took %v", took)
			}
		}
	}
	runSlowInput(t, []polywire.Option{polywire.WithHandshakeTimeout(timeout)}, []badInput{
		{name: "nothing", do: bounded(func(c *rawConn) {
			if c.http() {
				c.ends()
			} else {
				c.closes(3502)
			}
		})},
		{name: "half of it", do: bounded(func(c *rawConn) {
			c.write(beginning(c.language)[:20])
			if c.http() {
				c.drains() // a 400 and the end
			} else {
				c.closes(3502)
			}
		})},
		{name: "a body that never comes", only: webSockets, do: bounded(func(c *rawConn) {
			if resp := c.upgrade("Content-Length: 5"); resp.StatusCode != http.StatusBadRequest {
				c.t.Errorf("answered with %s", resp.Status)
			}
			c.ends()
		})},
		{name: "byte for byte", do: bounded(func(c *rawConn) {
			for _, b := range beginning(c.language) {
				_ = c.nc.SetReadDeadline(time.Now().Add(5 * time.Millisecond)) // the pace
				if _, err := c.r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
					return // it has ended, or a close frame says that it will
				}
				if _, err := c.nc.Write([]byte{b}); err != nil {
					return
				}
			}
			c.t.Error("all of it was taken")
		})},
	})
}

// byHello lets witnesses in, and does with others what their hello says.
func byHello(_ context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
	if !h.Hello {
		return nil, polywire.ErrAwaitHello
	}
	switch user := h.Header["user"]; user {
	case "":
		return nil, errors.New("secret reason")
	case "banned":
		return nil, polywire.Errorf(polywire.CodeForbidden, "banned")
	case "unlucky":
		return nil, polywire.Errorf(polywire.CodeUnavailable, "later")
	default:
		return &polywire.Identity{User: user}, nil
	}
}

func TestRefusedIdentities(t *testing.T) {
	auth := polywire.WithAuth(byHello)
	after := func(name, want string, code polywire.CloseCode, first envelope) badInput {
		return badInput{name: name, opts: []polywire.Option{auth}, do: func(s *site, l language) {
			c := s.open(l)
			c.send(first)
			if reason := c.closes(code); reason != want {
				s.t.Errorf("the reason is %q", reason)
			}
			if s.srv.Stats().Accepted != 1 {
				s.t.Error("it counts as accepted")
			}
		}}
	}
	hello := func(user string) envelope {
		return envelope{Type: "hello", Headers: map[string]string{"user": user}}
	}
	runBadInput(t, []badInput{
		after("no credentials", "unauthorized", 3500, envelope{Type: "hello"}),
		after("forbidden", "banned", 3507, hello("banned")),
		after("unavailable", "later", 3004, hello("unlucky")),
		after("no hello", "the first message must be a hello", 3500, envelope{Type: "call", ID: 1, Kind: "echo"}),
		{name: "refused at once", only: webSockets, opts: []polywire.Option{
			polywire.WithAuth(func(ctx context.Context, h *polywire.Handshake) (*polywire.Identity, error) {
				if h.Request != nil && h.Request.Header.Get("X-Refuse") != "" {
					return nil, polywire.Errorf(polywire.CodeUnauthorized, "who are you?")
				}
				return &polywire.Identity{}, nil
			}),
		}, do: func(s *site, l language) {
			c := s.connect(l)
			c.upgrade("X-Refuse: yes", "Sec-WebSocket-Protocol: "+l.form())
			c.closes(3500)
		}},
	})
	runSlowInput(t, []polywire.Option{auth, polywire.WithAuthTimeout(2 * time.Second)}, []badInput{
		{name: "no hello in time", do: func(s *site, l language) { s.open(l).closes(3502) }},
	})
}

func TestConnectionLimits(t *testing.T) {
	overTheLimit := func(s *site, l language) {
		for range 3 {
			c := s.connect(l)
			if !l.http() {
				c.ends()
				continue
			}
			resp := c.upgrade("Sec-WebSocket-Protocol: " + l.form())
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "7" {
				s.t.Errorf("answered with %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
			}
		}
		if n := s.srv.Stats().Refused; n != 3 {
			s.t.Errorf("%d connections count as refused, want 3", n)
		}
	}
	runBadInput(t, []badInput{
		{name: "all", opts: []polywire.Option{polywire.WithMaxConnections(1, 0, 0), polywire.WithRetryAfter(7 * time.Second)}, do: overTheLimit},
		{name: "per address", opts: []polywire.Option{polywire.WithMaxConnections(0, 1, 0), polywire.WithRetryAfter(7 * time.Second)}, do: overTheLimit},
		{name: "per user", opts: []polywire.Option{polywire.WithMaxConnections(0, 0, 1), polywire.WithAuth(byHello)}, do: func(s *site, l language) {
			hello := func(c *rawConn, user string) {
				c.send(envelope{Type: "hello", Headers: map[string]string{"user": user}})
			}
			ann, again, bob := s.open(l), s.open(l), s.open(l)
			hello(ann, "ann")
			ann.receive()
			hello(again, "ann")
			again.closes(polywire.CloseConnectionLimit)
			hello(bob, "bob")
			bob.receive()
			ann.echo()
			ann.nc.Close()
			s.until("ann has gone", func() bool { return s.srv.Stats().Connections == 2 })
			back := s.open(l)
			hello(back, "ann")
			back.receive()
			back.echo()
		}},
		{name: "a place that is free again", opts: []polywire.Option{polywire.WithMaxConnections(2, 2, 0)}, do: func(s *site, l language) {
			for range 20 {
				c := s.open(l)
				c.echo()
				c.nc.Close()
				s.until("it has gone", func() bool { return s.srv.Stats().Connections == 1 })
			}
		}},
	})
}

// timedAnswer is an answer that can be told until when its request is read.
type timedAnswer struct {
	*httptest.ResponseRecorder

	until time.Time
}

func (w *timedAnswer) SetReadDeadline(t time.Time) error {
	w.until = t
	return nil
}

// A request that is answered before its body has come is not read for ever by
// net/http: not where no route is, and not at a host name that the server does
// not have. The application's own routes take the time that they like.
func TestBodiesThatNobodyWants(t *testing.T) {
	s := newSite(t, func(srv *polywire.Server) {
		srv.HandleHTTP("POST /upload", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	}, polywire.WithHostnames("a.example"))
	defer s.close()
	for _, tt := range []struct {
		method, host, path string
		bytes              int64
		status             int
		bounded            bool
	}{
		{"POST", "a.example", "/nothing", 100_000, http.StatusNotFound, true},
		{"POST", "a.example", "/nothing", -1, http.StatusNotFound, true},
		{"GET", "a.example", "/nothing", 0, http.StatusNotFound, false},
		{"PUT", "a.example", "/upload", 1, http.StatusMethodNotAllowed, true},
		{"POST", "a.example", "/upload", 1, http.StatusOK, false},
		{"POST", "b.example", "/upload", 1, http.StatusMisdirectedRequest, true},
		{"POST", "a.example", "/polywire", 1, http.StatusMethodNotAllowed, true},
		{"POST", "b.example", "/polywire", 1, http.StatusMisdirectedRequest, true},
	} {
		r := httptest.NewRequest(tt.method, tt.path, strings.NewReader("never read"))
		r.Host, r.ContentLength = tt.host, tt.bytes
		w := &timedAnswer{ResponseRecorder: httptest.NewRecorder()}
		s.srv.ServeHTTP(w, r)
		if w.Code != tt.status || w.until.IsZero() == tt.bounded {
			t.Errorf("%+v: status %d, read until %v", tt, w.Code, w.until)
		}
	}
}
